"""What `smdt world pairs` and `smdt benchmark` do, behind their options."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smdt.app.benchmark_page import write_benchmark_page
from smdt.app.commands import parse_seeds
from smdt.app.condition_table import centres_text, condition_record, interval_text, print_condition_table
from smdt.app.evaluation_page import widest_unknown
from smdt.app.tables import console, print_facts
from smdt.errors import ConfigError
from smdt.files import write_text_whole
from smdt.retrieval.models import load_model
from smdt.townbench import TownBenchConfig, TownBenchResult, run_townbench, write_townbench
from smdt.world.dataset import check_training_seeds
from smdt.world.layers import Place
from smdt.world.pair_plan import PairSetConfig
from smdt.world.pairs import ATTRIBUTION_FILE, write_pairs
from smdt.world.places import PlaceSource, StoredPlace, TownPlace, apart_longitudes, check_training_places

PAGE_FILE = "townbench.html"
RESULT_FILE = "townbench.json"


def write_pair_set(
    out: Path,
    town_seeds: str | None,
    places: Sequence[Path],
    town_side_m: float,
    style: str,
    relief: float | None,
    workers: int,
    height_px: int,
    tile_factors: str | None,
    **options: Any,
) -> None:
    """Write pairs of simulated views as a data set, and say what they are."""
    factors = _parse_factors(tile_factors) if tile_factors is not None else (1.0,)
    config = PairSetConfig(
        **options, height_px=height_px, width_px=round(5.5 * height_px), tile_factors=factors
    )
    seeds = parse_seeds(town_seeds) if town_seeds is not None else ()
    if not seeds and not places:
        raise ConfigError(
            "no place is given", where="--town-seeds/--place", remedy="name town seeds, or a place's folder"
        )
    check_training_seeds(seeds)
    sources: list[PlaceSource] = [
        TownPlace(seed, town_side_m, style=style, relief=relief, longitude_deg=longitude_deg)
        for seed, longitude_deg in zip(seeds, apart_longitudes(len(seeds)), strict=True)
    ]
    sources += [StoredPlace(folder) for folder in places]
    with step_bars() as progress:
        plan = write_pairs(out, sources, config, workers=workers, check=_check_place, progress=progress)
    facts = {
        "pairs": f"{plan.val_from - 1} to train on, {config.count - plan.val_from + 1} to evaluate on",
        "places": "; ".join(f"{part.name} ({len(part.positions_m)})" for part in plan.places),
        "aerial images": f"{config.aerial_px} pixels, {config.tile_side_m:g} m",
        "panoramas": f"{config.width_px} × {config.height_px} pixels",
    }
    if any(part.attribution for part in plan.places):
        facts["map data"] = f"see {ATTRIBUTION_FILE}"
    print_facts(str(out), facts)


def _parse_factors(text: str) -> tuple[float, ...]:
    """Numbers from ``0.8,1.0,1.1``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"'{text}' is no list of factors", where="--tile-factors", remedy="write it like 0.8,1.0,1.1"
        ) from None


def _check_place(place: Place) -> None:
    check_training_places([place])


def run_benchmark(
    model: str,
    cache: Path | None,
    json_file: Path | None,
    report: Path | None,
    **options: Any,
) -> None:
    """Judge a model on TownBench, print a table, write what was asked for."""
    config = TownBenchConfig(**options)
    loaded = load_model(model)  # said before the rendering, not after it
    with _pairs_folder(cache) as folder, step_bars() as progress:
        result = run_townbench(loaded, folder, config, progress)
        if report:
            page = report if report.suffix.lower() in (".html", ".htm") else report / PAGE_FILE
            write_benchmark_page(page, result, folder, write_townbench(folder, config))
            if page != report:
                write_text_whole(report / RESULT_FILE, _to_json(result))
    if json_file == Path("-"):
        print(_to_json(result), end="")  # noqa: T201 - for programs, so nothing else may stand there
        return
    if json_file:
        write_text_whole(json_file, _to_json(result))
    _print_result(result)
    if report:
        console().print(f"report: {page}")


@contextmanager
def _pairs_folder(cache: Path | None) -> Iterator[Path]:
    """The folder of the pairs: the one to keep, or one that goes away."""
    if cache is not None:
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="smdt-townbench-") as folder:
        yield Path(folder)


@contextmanager
def step_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on standard error, one a step; call what it gives with (step, done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        last: dict[str, TaskID] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in last:
                last.clear()  # one bar at a time: the step before is over
                for task in bars.task_ids:
                    bars.remove_task(task)
                last[step] = bars.add_task(step, total=total)
            bars.update(last[step], completed=done, total=total)

        yield progress


def _print_result(result: TownBenchResult) -> None:
    from rich.table import Table

    facts = result.facts
    print_condition_table(
        result.conditions,
        f"{facts['benchmark']}, simulated places: {facts['queries']} queries, {facts['references']} references, "
        f"model '{facts['model']}', tiles seen from {centres_text(facts['centres'])}",
    )
    shown = widest_unknown(result.conditions)
    kinds = Table(title=f"By kind of place, {shown.name}", title_justify="left")
    for name in ("kind of place", "queries", "R@1", "95 %", "not found: taken for"):
        kinds.add_column(name, justify="right" if name in ("queries", "R@1", "95 %") else "left")
    for kind, row in shown.by_kind.items():
        confused = shown.confused.get(kind, {})
        taken = ", ".join(
            f"{other} {count}" for other, count in sorted(confused.items(), key=lambda x: -x[1])
        )
        interval = interval_text(shown.by_kind_intervals[kind])
        kinds.add_row(kind, f"{row['queries']:g}", f"{row['R@1']:.2f}", interval, taken or "–")
    console().print(kinds)
    console().print("  ".join(f"{step} {seconds:.0f} s" for step, seconds in result.seconds.items()))


def _to_json(result: TownBenchResult) -> str:
    """A result for programs."""
    record = {
        **result.facts,
        "seconds": result.seconds,
        "conditions": [condition_record(condition) for condition in result.conditions],
    }
    return json.dumps(record, indent=2) + "\n"
