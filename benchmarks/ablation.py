"""What does each stage of the method add to retrieval: mapping, keep and remove pictures, and the ground view Ig′?

Every row trains the same network (family compact, its ImageNet trunk frozen, the head learned) with the same steps on
the same rendered pairs of simulated towns, and is judged on the same pairs of held-out towns (TownBench's nine, but
smaller) and, with --cvusa, on a CVUSA folder. Rows differ in the key ``align`` alone; the raw aerial image, which has
no azimuth, is pooled into one global descriptor of as many numbers. Ground views and labels are made once and shared.
A row's figures are means over seeds of the training; intervals are of queries drawn anew (95 %), differences are
paired by query. What is done stands in --json and is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from closing import circumstances
from smdt.alignment.cgan_models import fingerprint, load_cgan
from smdt.data import open_split
from smdt.errors import ConfigError
from smdt.evaluate import EvaluateConfig, evaluate
from smdt.files import write_text_whole
from smdt.townbench import STYLES_BY_SEED, require_held_out
from smdt.training.retrieval import train_retrieval
from smdt.training.retrieval_settings import RetrievalTraining
from smdt.world.pair_plan import PairSetConfig
from smdt.world.pairs import write_pairs
from smdt.world.places import TownPlace

TOWN_SEEDS = range(440, 448)
"""Towns that neither the GAN nor the segmenter that ship have learned from."""
TOWN_SIDE_M, TILE_SIDE_M, HEIGHT_PX, WIDTH_PX = 480.0, 160.0, 64, 256
RESAMPLES = 4000
_LABELS = {"segmenter": "town"}
_KEEP_REMOVE = {"keep_share": 0.1, "remove_share": 0.1, **_LABELS}


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: for people.
        align: as in the retrieval config; ``GAN`` stands for the model that the command names.
        changes: other settings that differ.
        against: the row it is compared with.
    """

    name: str
    align: dict[str, Any]
    changes: dict[str, Any] = field(default_factory=dict)
    against: str = "mixed"


def _with_view(aerial_input: str, mapping: str = "mixed", start: float = 0.0) -> dict[str, Any]:
    return {"mapping": mapping, "aerial_input": aerial_input, "cgan": "GAN", "ground_view_start": start}


ROWS = (
    Row(
        "raw aerial",
        {"mapping": "none"},
        {"turn_both": False, "strip_channels": 1024, "model": {"context": 1}},
    ),
    Row("polar", {"mapping": "polar"}),
    Row("perspective", {"mapping": "perspective"}),
    Row("mixed", {"mapping": "mixed"}),
    Row("mixed + keep/remove", {"mapping": "mixed", **_KEEP_REMOVE}),
    Row("Ig′ alone", _with_view("ground_view")),
    Row("mixed + Ig′", _with_view("both")),
    Row("whole SMDT", _with_view("both") | _KEEP_REMOVE),
)
TRIALS = (
    Row(
        "mixed + keep/remove, half as often",
        {"mapping": "mixed", "keep_share": 0.05, "remove_share": 0.05, **_LABELS},
    ),
    Row("mixed + remove alone", {"mapping": "mixed", "remove_share": 0.2, **_LABELS}),
    Row("mixed + Ig′, weight from 0.5", _with_view("both", start=0.5)),
    Row("whole SMDT, weight from 0.5", _with_view("both", start=0.5) | _KEEP_REMOVE),
    Row("polar + Ig′", _with_view("both", "polar"), against="polar"),
)
"""Further rows, made where --rows names them."""


def settings_of(row: Row, seed: int, out: Path, options: argparse.Namespace) -> RetrievalTraining:
    """The training of a row."""
    align = dict(row.align)
    if align.get("cgan") == "GAN":
        align["cgan"] = options.cgan
    if "cgan" in align or "segmenter" in align:
        align["cache"] = str(options.work / "cache")
    given: dict[str, Any] = {
        "family": "compact",
        "name": row.name,
        "strip_channels": 64,
        "height_px": HEIGHT_PX,
        "width_px": WIDTH_PX,
        "dataset": "cvusa",
        "split": "train",
        "mining": "place",
        "group": 48,
        "neighbours": 47,
        "batch": 48,
        "trunk_share": 0.0,
        "front_versions": options.versions,
        "turn_both": True,
        "mirror": options.versions > 1,
        "narrow_share": 0.0,
        "workers": 0,
        "log_every": 50,
        "save_every": options.steps,
    }
    given |= {"steps": options.steps, "seed": seed, "root": options.work / "pairs", "align": align}
    return RetrievalTraining(out, **(given | row.changes))


def run_row(row: Row, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train a row with a seed and judge it."""
    out = options.work / "runs" / f"{row.name}-{seed}".replace("/", "-").replace(" ", "-")
    started = time.monotonic()
    settings = settings_of(row, seed, out, options)
    if (out / "checkpoints").is_dir():  # it was stopped after the training
        settings = RetrievalTraining(**(vars(settings) | {"resume": True}))
    figures: dict[str, float] = {}
    model = train_retrieval(
        settings, lambda _, one: figures.update(one), progress=_said(f"{row.name} {seed}")
    )
    trained = time.monotonic()
    model.eval()
    found: dict[str, Any] = {"loss": figures.get("loss"), "training_s": round(trained - started, 1)}
    if model.ground_view_weight is not None:
        found["ground_view_weight"] = round(float(model.ground_view_weight.detach().abs().mean()), 4)
    judged = {"": open_split("cvusa", options.work / "judged", "val")}
    if options.cvusa:
        judged["real "] = open_split("cvusa", options.cvusa, options.cvusa_split)
    for prefix, split in judged.items():
        for condition in evaluate(model, split, EvaluateConfig(unknown_heading=True)).conditions:
            name = "known" if condition.heading_known else "unknown"
            found[prefix + name] = condition.ranks.tolist()
    found["judging_s"] = round(time.monotonic() - trained, 1)
    return found


def pair_set(count: int, seed: int, *, judged: bool) -> PairSetConfig:
    """How pairs are drawn; those to judge on stand close together in the middle of their towns, as TownBench's."""
    return PairSetConfig(
        count=count,
        seed=seed,
        aerial_px=256,
        tile_side_m=TILE_SIDE_M,
        height_px=HEIGHT_PX,
        width_px=round(5.5 * HEIGHT_PX),
        max_offset_m=4.0,
        apart_m=10.0,
        val_share=1.0 if judged else 0.0,
        dense=judged,
        labels=False,
    )


def render(options: argparse.Namespace) -> None:
    """Render all pairs that are not there."""
    said = _said("pairs")

    def told(_: str, done: int, total: int) -> None:
        said(done, total)

    towns = [TownPlace(seed, TOWN_SIDE_M) for seed in TOWN_SEEDS]
    config = pair_set(options.train_pairs, 1, judged=False)
    write_pairs(options.work / "pairs", towns, config, progress=told)
    unseen = [TownPlace(seed, TOWN_SIDE_M, style=style) for seed, style in STYLES_BY_SEED.items()]
    config = pair_set(options.pairs, 2, judged=True)
    write_pairs(options.work / "judged", unseen, config, check=require_held_out, progress=told)


def _said(what: str) -> Any:
    """A progress that prints a line now and then."""
    last = [time.monotonic()]

    def say(done: int, total: int) -> None:
        if time.monotonic() - last[0] > 20.0:
            last[0] = time.monotonic()
            print(f"  {what}: {done}/{total}", file=sys.stderr, flush=True)

    return say


def shares(runs: list[dict[str, Any]], which: str) -> np.ndarray:
    """For each query the share of seeds by which it was found first, (Q,)."""
    return np.mean([np.array(run[which]) == 0 for run in runs], axis=0)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """The mean in percent, and its 95 % interval by queries drawn anew."""
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return 100.0 * float(values.mean()), 100.0 * float(low), 100.0 * float(high)


def summary(rows: tuple[Row, ...], done: dict[str, Any], seeds: list[int]) -> dict[str, dict[str, Any]]:
    """The table's figures."""
    table: dict[str, dict[str, Any]] = {}
    by_row = {row.name: [done[f"{row.name}/{seed}"] for seed in seeds] for row in rows}
    for row in rows:
        runs = by_row[row.name]
        figures: dict[str, Any] = {}
        for which in ("known", "unknown", "real known", "real unknown"):
            if which not in runs[0]:
                continue
            figures[which] = interval(shares(runs, which))
            figures[f"{which}, seeds"] = [100.0 * float(np.mean(np.array(run[which]) == 0)) for run in runs]
            if row.against in by_row and row.name != row.against:
                apart = shares(runs, which) - shares(by_row[row.against], which)
                figures[f"{which}, against {row.against}"] = interval(apart)
        table[row.name] = figures
    return table


def print_table(table: dict[str, dict[str, Any]], title: str) -> None:
    """For people."""
    shown = Table(title=title, title_justify="left")
    columns = ("known", "unknown", "real known", "real unknown")
    for name in ("", *columns, "known, against", "unknown, against"):
        shown.add_column(name)
    for name, figures in table.items():
        cells = []
        for which in columns:
            if which not in figures:
                cells.append("–")
                continue
            mean, low, high = figures[which]
            seeds = "/".join(f"{one:.1f}" for one in figures[f"{which}, seeds"])
            cells.append(f"{mean:.1f} ({low:.1f}–{high:.1f}) [{seeds}]")
        for which in ("known", "unknown"):
            apart = [value for key, value in figures.items() if key.startswith(f"{which}, against")]
            cells.append(f"{apart[0][0]:+.1f} ({apart[0][1]:+.1f} to {apart[0][2]:+.1f})" if apart else "–")
        shown.add_row(name, *cells)
    Console(width=220).print(shown)


def main() -> None:
    """Render, train and judge every row with every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pairs, caches and runs")
    parser.add_argument(
        "--json", type=Path, required=True, help="results; what stands there is not done again"
    )
    parser.add_argument("--pairs", type=int, default=360, help="of held-out towns, to judge on")
    parser.add_argument("--train-pairs", type=int, default=384)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--versions", type=int, default=2, help="of each picture, in other light")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cgan", default="dual-cgan", help="dual-cgan, or a folder")
    parser.add_argument("--cvusa", type=Path, help="a CVUSA folder to judge on, too")
    parser.add_argument("--cvusa-split", default="val")
    parser.add_argument(
        "--rows", help="names of rows to make, by semicolons; all but the trials unless given"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = [one.strip() for one in options.rows.split(";")] if options.rows else [row.name for row in ROWS]
    every = (*ROWS, *TRIALS)
    unknown = [name for name in names if name not in [row.name for row in every]]
    if unknown:
        raise ConfigError(
            f"there is no row '{unknown[0]}'",
            where="--rows",
            remedy=f"choose from {', '.join(row.name for row in every)}",
        )
    rows = tuple(row for row in every if row.name in names)
    kept = ("pairs", "train_pairs", "steps", "versions")
    said = {name: getattr(options, name) for name in kept} | {
        "cgan": fingerprint(load_cgan(options.cgan)),
        "cvusa": options.cvusa is not None,
        "image_px": [HEIGHT_PX, WIDTH_PX],
    }
    result: dict[str, Any] = {"settings": said, "runs": {}}
    if options.json.is_file():
        result = json.loads(options.json.read_text(encoding="utf-8"))
        if result["settings"] != said:
            raise ConfigError(
                "holds figures of other settings", where=options.json, remedy="name another file"
            )
    render(options)
    seeds = list(range(options.seeds))
    for seed in seeds:
        for row in rows:
            if f"{row.name}/{seed}" in result["runs"]:
                continue
            run = run_row(row, seed, options)
            result["runs"][f"{row.name}/{seed}"] = run | circumstances()
            write_text_whole(options.json, json.dumps(result) + "\n")
            first = {key: f"{100 * np.mean(np.array(run[key]) == 0):.1f}" for key in run if "known" in key}
            print(
                f"{row.name}, seed {seed}: {first} {run['training_s']} s + {run['judging_s']} s", flush=True
            )
    result["table"] = summary(rows, result["runs"], seeds)
    write_text_whole(options.json, json.dumps(result) + "\n")
    print_table(
        result["table"],
        f"R@1 in percent, {options.pairs} pairs of held-out towns, {len(seeds)} seeds: {circumstances()}",
    )


if __name__ == "__main__":
    main()
