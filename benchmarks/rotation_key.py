"""How much recall does the shortlist by rotation-free key keep, and how much faster is it than scoring all turns?

The gallery is 20,000 random strips in 200 clusters, so that each has a hundred near misses; queries are members of it,
turned at random, under noise of several strengths. All ways rank the same queries, in turn, within every repetition;
what is compared is processor time, which a busy machine does not stretch. A second question is what the shortlist does
for a photo that comes alone, as in `smdt locate`. With ``--cvusa`` real pairs are ranked too: there the gallery is so
small that only the keys' own order tells anything.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from closing import add_closing_options, circumstances, write_result
from smdt.data import open_split
from smdt.data.images import PairImages, ViewSettings
from smdt.index.store import DescriptorIndex, IndexInfo
from smdt.retrieval.embedding import embed_mapped
from smdt.retrieval.matching import normalise_queries
from smdt.retrieval.models import load_model
from smdt.retrieval.set_embedding import embed_all, embed_queries
from smdt.retrieval.strip_ranking import rank_strips
from smdt.retrieval.strip_scores import ready_references

CLUSTERS = 200


def clustered(options: argparse.Namespace, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (Q, C, W), references (R, C, W) and the true reference of each query."""
    generator = torch.Generator().manual_seed(options.seed)
    shape = (options.channels, options.columns)
    centres = torch.randn(CLUSTERS, *shape, generator=generator)
    member = torch.randint(0, CLUSTERS, (options.count,), generator=generator)
    references = centres[member] + torch.randn(options.count, *shape, generator=generator)
    truth = torch.randperm(options.count, generator=generator)[: options.queries]
    added = noise * torch.randn(options.queries, *shape, generator=generator)
    turns = torch.randint(0, options.columns, (options.queries,), generator=generator)
    shown = references[truth] + added
    return (
        torch.stack([torch.roll(one, -int(turn), dims=-1) for one, turn in zip(shown, turns, strict=True)]),
        references,
        truth,
    )


def timed(ways: dict[str, Callable[[], Any]], repetitions: int) -> tuple[dict[str, Any], dict[str, float]]:
    """What each way gives, and its median seconds of the processor; all run in turn within every repetition."""
    found, seconds = {}, {name: [] for name in ways}  # type: ignore[var-annotated]
    for _ in range(repetitions):
        for name, way in ways.items():
            started = time.process_time()
            found[name] = way()
            seconds[name].append(time.process_time() - started)
    return found, {name: statistics.median(values) for name, values in seconds.items()}


def of_sets(options: argparse.Namespace, noise: float) -> list[dict[str, object]]:
    """A whole query set, as `smdt evaluate` ranks it; making the keys is part of the time."""
    queries, references, truth = clustered(options, noise)
    ready = ready_references(references, remove_mean=True)

    def ranked(shortlist: int) -> Callable[[], Any]:
        return lambda: rank_strips(queries, ready, truth, remove_mean=True, shortlist=shortlist)

    found, seconds = timed({str(m): ranked(m) for m in (0, *options.shortlist)}, options.repetitions)
    exact = found.pop("0")
    return [
        {
            "what": f"noise {noise:g}, {options.queries} queries at once",
            "shortlist": int(name),
            "exact_recall_at_1": share(exact.ranks == 0),
            "recall_at_1": share(one.ranks == 0),
            "same_best": share(one.best == exact.best),
            "times_faster": round(seconds["0"] / seconds[name], 2),
            "milliseconds_a_query": round(1000 * seconds[name] / options.queries, 2),
        }
        for name, one in found.items()
    ]


def of_photos(options: argparse.Namespace, noise: float) -> list[dict[str, object]]:
    """One photo after another in an index, as `smdt locate` searches; its keys are made once, and told apart."""
    queries, references, truth = clustered(options, noise)
    zero = torch.zeros(options.count, dtype=torch.float64)
    info = IndexInfo(1, "none", "", "polar", "", 100.0, 12.5, 256, (0.0, 0.0, 0.0, 0.0))
    ready = ready_references(references, remove_mean=False).half()
    index = DescriptorIndex(info, ready, zero, zero, torch.zeros(()))
    started = time.process_time()
    index.rotation_keys  # noqa: B018 - made once
    making = time.process_time() - started
    photos = normalise_queries(queries[: options.photos])

    def searched(shortlist: int) -> Callable[[], Tensor]:
        return lambda: torch.stack(
            [index.search(one[None], shortlist=shortlist)[0][0].argmax() for one in photos]
        )

    found, seconds = timed({str(m): searched(m) for m in (0, *options.shortlist)}, options.repetitions)
    exact = found.pop("0")
    return [
        {
            "what": f"noise {noise:g}, photos one by one; keys once, {making:.1f} s",
            "shortlist": int(name),
            "exact_recall_at_1": share(exact == truth[: len(photos)]),
            "recall_at_1": share(one == truth[: len(photos)]),
            "same_best": share(one == exact),
            "times_faster": round(seconds["0"] / seconds[name], 2),
            "milliseconds_a_query": round(1000 * seconds[name] / len(photos), 2),
        }
        for name, one in found.items()
    ]


def of_pairs(root: Path, model_name: str, seed: int) -> list[dict[str, object]]:
    """Real pairs: how many first places the keys' shortlist keeps."""
    model, split = load_model(model_name), open_split("cvusa", root, "val")
    views = ViewSettings(model.config.height_px, model.config.width_px, mapping=model.config.mapping)
    count = len(split.queries)
    references = embed_all(
        PairImages(split, "reference", views), lambda images, _: embed_mapped(model, images), "aerial images"
    )
    turns = np.random.default_rng(seed).integers(0, views.width_px, count)
    queries = embed_queries(model, PairImages(split, "query", views), turns, 360.0)
    remove = model.config.remove_mean
    ready = ready_references(references, remove_mean=remove)
    exact, *short = (
        rank_strips(queries, ready, torch.arange(count), remove_mean=remove, shortlist=m)
        for m in (0, *(m for m in (1, 2, 3, 5) if m < count))
    )
    return [
        {
            "what": f"{count} pairs of {root.name}, model '{model_name}'",
            "shortlist": m,
            "exact_recall_at_1": share(exact.ranks == 0),
            "recall_at_1": share(one.ranks == 0),
            "same_best": share(one.best == exact.best),
        }
        for m, one in zip((1, 2, 3, 5), short, strict=False)
    ]


def share(hits: Tensor) -> float:
    """How many of all, in percent."""
    return round(100.0 * float(hits.float().mean()), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="references")
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--photos", type=int, default=8, help="of the queries, searched one by one")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument(
        "--noise",
        type=float,
        nargs="+",
        default=[1.5, 3.0],
        help="of queries; references differ from a cluster by 1",
    )
    parser.add_argument("--shortlist", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--cvusa", type=Path, help="a folder of pairs in CVUSA's layout")
    parser.add_argument("--model", nargs="+", default=["town", "imagenet"], help="for --cvusa")
    add_closing_options(parser)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = [row for noise in options.noise for of in (of_sets, of_photos) for row in of(options, noise)]
    if options.cvusa:
        rows += [row for name in options.model for row in of_pairs(options.cvusa, name, options.seed)]
    table = Table(title=f"{options.count:,} references in {CLUSTERS} clusters", title_justify="left")
    for column in ("what", "shortlist", "R@1 of all turns", "R@1", "same best", "times faster", "ms a query"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        cells = [*row.values(), *["–"] * (7 - len(row))]
        table.add_row(*map(str, cells))
    Console(width=120).print(table)
    write_result(options.json, {"rows": rows} | circumstances())


if __name__ == "__main__":
    main()
