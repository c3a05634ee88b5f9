"""Which network learns most from the same pairs in the same number of steps?

`transformer`, `compact`, SAFA's aggregation and a siamese in Sample4Geo's manner are trained by the shared loop on one
set of simulated pairs, in batches that are mined and changed alike, and judged on pairs of towns that no row has been
trained on. What is a method's own stays its own: its loss, its rates, its mapping, its start. Each row is a file in
`configs/`, which `smdt train retrieval` takes too. A row that is done is not made again; one that was stopped goes on.

Three sizes: `small` for one CPU thread, of pictures of 64×256 and a Transformer of four narrow layers; `full`, of the
published sizes, for a GPU and a day; and `short`, the same networks with so few pairs and steps that a GPU is done with
each row in a minute.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from closing import add_closing_options, circumstances, write_result
from equal_budget_rows import RANDOM, SIZES, row_settings
from smdt.app.benchmark_commands import step_bars, write_pair_set
from smdt.app.condition_table import condition_record
from smdt.app.train_commands import training_report
from smdt.data import open_split
from smdt.data.images import PairImages
from smdt.data.pairs import PairSplit
from smdt.errors import ConfigError, SmdtError
from smdt.evaluate import EvaluateConfig, evaluate, view_settings
from smdt.files import write_text_whole
from smdt.retrieval.embedding import embed_ground, embed_mapped
from smdt.retrieval.encoder import VIEWS, Encoder
from smdt.retrieval.models import create_model, load_model, save_model
from smdt.training.checkpoint import checkpoints, plain
from smdt.training.retrieval import train_retrieval
from smdt.training.retrieval_settings import RetrievalTraining

_PICTURES, _EMBED_BATCH, _REPETITIONS = 64, 16, 5


def write_set(folder: Path, options: Mapping[str, Any], workers: int) -> dict[str, PairSplit]:
    """The pairs to train on and those to judge on, written unless they are there."""
    words = [
        f"--{'no-' if value is False else ''}{name.replace('_', '-')}" for name, value in options.items()
    ]
    values = ["" if isinstance(value, bool) else f" {value}" for value in options.values()]
    print("smdt world pairs", *(w + v for w, v in zip(words, values, strict=True)), flush=True)
    write_pair_set(
        folder, places=(), style="mixed", relief=None, workers=workers, tile_factors=None, **dict(options)
    )
    splits = {name: open_split("cvusa", folder, name) for name in ("train", "val")}
    towns = {name: towns_of(folder, split) for name, split in splits.items()}
    if towns["train"] & towns["val"]:
        raise ConfigError("a town is in both parts", where=folder, remedy="write the set anew")
    return splits


def towns_of(folder: Path, split: PairSplit) -> set[str]:
    """The places that a split's pairs are of."""
    facts = (json.loads((folder / "smdt/pairs" / f"{query.id}.json").read_text()) for query in split.queries)
    return {str(one["place"]) for one in facts}


def random_start(settings: RetrievalTraining, like: Encoder, folder: Path) -> RetrievalTraining:
    """The training, begun from random weights where its family would take ImageNet's."""
    torch.manual_seed(settings.seed)
    config = {one.name: getattr(like.config, one.name) for one in fields(like.config)}
    save_model(create_model(settings.family, config), folder, {"started_from": "random weights"})
    return replace(settings, start=str(folder))


def start_of(name: str, settings: RetrievalTraining) -> str:
    """What a row's weights were before."""
    if name == RANDOM:
        return "random"
    if settings.start is not None:
        return Path(settings.start).name
    if settings.pretrained or settings.family in ("siamese", "compact"):
        return "ImageNet"
    return "random"


def gflop_of_a_pair(model: Encoder) -> float:
    """Of a forward pass of both views; a multiplication and an addition are two."""
    bare = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        for view in VIEWS:
            bare(torch.zeros(1, 3, *model.config.image_shape(view), device="meta"), view)
    return counter.get_total_flops() / 1e9


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds: of the processor on a CPU, which others may use too, and of the wall's clock on a GPU."""
    if device.type == "cpu":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def images_per_second(model: Encoder, split: PairSplit, device: torch.device) -> float:
    """Embedded, both views alike, of pictures that are loaded already."""
    views = view_settings(model, EvaluateConfig())
    clock, seconds = clock_of(device), []
    count = min(_PICTURES, len(split.queries))
    loaded = {
        kind: torch.stack([PairImages(split, kind, views)[number][0] for number in range(count)])  # type: ignore[arg-type]
        for kind in ("query", "reference")
    }
    for _ in range(_REPETITIONS + 1):
        began = clock()
        for first in range(0, count, _EMBED_BATCH):
            embed_ground(model, loaded["query"][first : first + _EMBED_BATCH])
            embed_mapped(model, loaded["reference"][first : first + _EMBED_BATCH])
        seconds.append(clock() - began)
    return 2 * count / statistics.median(seconds[1:])


def trained(name: str, settings: RetrievalTraining, device: torch.device) -> dict[str, Any]:
    """Train a row, or the rest of it; its pairs a second, and how many steps these are of."""
    stops = []
    clock = clock_of(device)
    begun = bool(checkpoints(settings.out))
    with training_report(name, settings.steps) as report:

        def note(step: int, figures: dict[str, float]) -> None:
            stops.append(clock())
            report(step, figures)

        train_retrieval(replace(settings, resume=begun), note)
    steps = [after - before for before, after in pairwise(stops)]
    if not steps:  # it had been trained already, and no more than judging was missing
        return {"pairs_per_second_trained": None, "timed_steps": 0}
    speed = settings.batch / statistics.median(steps)
    return {"pairs_per_second_trained": speed, "timed_steps": len(steps)}


def make_row(
    name: str,
    settings: RetrievalTraining,
    split: PairSplit,
    device: torch.device,
    out: Path,
    made_on: Mapping[str, object],
) -> dict[str, Any]:
    """Train, judge, and measure one row."""
    speed = trained(name, settings, device)
    model = load_model(str(settings.out), device)
    with step_bars() as progress:
        judged = evaluate(
            model, split, EvaluateConfig(unknown_heading=True, workers=settings.workers), progress
        )
    record = json.loads((settings.out / "training.json").read_text())
    row = {
        "row": name,
        "settings": plain(settings.lasting()),
        "start": start_of(name, settings),
        "ground_px": model.config.image_shape("ground"),
        "aerial_px": model.config.image_shape("aerial"),
        "parameters": sum(one.numel() for one in model.parameters()),
        "gflop_of_a_pair": gflop_of_a_pair(model),
        **speed,
        "images_per_second_embedded": images_per_second(model, split, device),
        "hours": record["hours"],
        "queries": judged.queries,
        "references": judged.references,
        "turned_in_training": settings.turn_deg > 0,
        "conditions": [condition_record(condition) for condition in judged.conditions],
        "precision": settings.precision,
        **made_on,
    }
    write_text_whole(out / f"{name}.json", json.dumps(row, indent=2) + "\n")
    return row


def row_that_is_there(path: Path, settings: RetrievalTraining) -> dict[str, Any] | None:
    """A row made before with these settings."""
    if not path.is_file():
        return None
    row: dict[str, Any] = json.loads(path.read_text())
    return row if row["settings"] == json.loads(json.dumps(plain(settings.lasting()))) else None


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    header = ("", "start", "R@1 known", "R@5 known", "R@1 unknown", "parameters", "GFLOP a pair")
    header += ("pairs/s trained", "images/s embedded", "device")
    lines = [header, ("---",) * 2 + ("---:",) * 7 + ("---",)]
    for row in rows:
        known, unknown = row["conditions"]
        speed = row["pairs_per_second_trained"]
        lines.append(
            (
                row["row"],
                row["start"],
                _recall(known, "R@1"),
                _recall(known, "R@5"),
                _recall(unknown, "R@1") + ("" if row["turned_in_training"] else " *"),
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['gflop_of_a_pair']:.2f}",
                "–" if speed is None else f"{speed:.3g}",
                f"{row['images_per_second_embedded']:.3g}",
                row["device"],
            )
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _recall(condition: Mapping[str, Any], name: str) -> str:
    interval = condition["recall_percent_intervals"][name]
    return f"{condition['recall_percent'][name]:.1f} ({interval['low']:.1f}–{interval['high']:.1f})"


def run(arguments: argparse.Namespace) -> None:
    """Pairs, rows, table."""
    size, device, out = SIZES[arguments.size], torch.device(arguments.device), arguments.out
    made_on = circumstances() | ({"device": torch.cuda.get_device_name()} if device.type == "cuda" else {})
    workers = arguments.workers if arguments.workers is not None else (8 if device.type == "cuda" else 0)
    pairs = dict(size.pairs) | ({"count": arguments.pairs} if arguments.pairs else {})
    splits = write_set(out / "pairs", pairs, workers)
    given = {"steps": arguments.steps, "batch": arguments.batch, "seed": arguments.seed, "workers": workers}
    given |= {
        "accelerator": arguments.device,
        "precision": "bf16-mixed" if device.type == "cuda" else "32-true",
        "keep_pictures": arguments.keep_pictures,
    }
    if arguments.no_fetch:
        given["pretrained"] = False
    every = row_settings(size, out / "pairs", out / "models", given, arguments.transformer_start)
    chosen = arguments.rows or [name for name in every if name != RANDOM]
    rows = []
    for number, name in enumerate(chosen, 1):
        settings = every[name]
        if name == RANDOM:
            like = create_model(settings.family, _config_like(settings))
            settings = random_start(settings, like, out / "starts" / name)
        row = row_that_is_there(out / f"{name}.json", settings)
        print(f"row {number} of {len(chosen)}: {name}" + (", which is there" if row else ""), flush=True)
        rows.append(row or make_row(name, settings, splits["val"], device, out, made_on))
        print(table_of(rows[-1:]).splitlines()[-1], flush=True)
    first = rows[0]
    print(
        f"\n{len(splits['train'].queries)} simulated pairs to train on, {first['queries']} of other towns to judge on; "
        f"{settings.steps} steps of {settings.batch}; {first['threads']} threads, torch {first['torch']}, "
        f"commit {first['commit']}\n\n{table_of(rows)}\n\n* trained on panoramas that look north, as published"
    )
    write_result(arguments.json, {"rows": rows, "pairs": pairs})


def _config_like(settings: RetrievalTraining) -> dict[str, Any]:
    """A model's settings as a training builds it."""
    views = {
        name: getattr(settings, name)
        for name in ("name", "mapping", "height_px", "width_px", "strip_channels")
    }
    return {**views, "remove_mean": True, **dict(settings.model)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda computes in bf16")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of pairs, models and rows; goes on there"
    )
    parser.add_argument(
        "--rows", nargs="+", choices=sorted(SIZES["small"].configs), help=f"[default: all but {RANDOM}]"
    )
    parser.add_argument("--steps", type=int, help="of every row")
    parser.add_argument("--batch", type=int, help="pairs a step, of every row")
    parser.add_argument("--pairs", type=int, help="another number of pairs, for a trial")
    parser.add_argument("--workers", type=int, help="processes that render and load")
    parser.add_argument(
        "--transformer-start", help="a model's folder, or random  [default: what its config says]"
    )
    parser.add_argument(
        "--no-fetch", action="store_true", help="begin at random where a row's weights would be fetched"
    )
    parser.add_argument(
        "--keep-pictures", action="store_true", help="in memory, on the GPU where there is one"
    )
    add_closing_options(parser)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        run(arguments)
    except SmdtError as error:
        sys.exit(f"equal_budget.py: {error}")


if __name__ == "__main__":
    main()
