"""How much memory and time does recall take among 92,802 references, and is it what brute force gives?

CVACT's test split has as many. Random L2-normalised descriptors are the hard case: true references stand in the
middle of the scores, where most others are close to them. They are ranked twice over: as descriptors
(``smdt.retrieval.metrics.ranks``), or, with ``--strips``, as `smdt evaluate` ranks strips of one column. Brute force
scores a sample of queries against all references in float64, with descriptors as they are held for ranking; the bare
matrix product of the same blocks is timed before and after, for a share of the queries.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from closing import add_closing_options, circumstances, write_result
from smdt.retrieval.metrics import ranks, recall_at
from smdt.retrieval.ranking import QUERY_CHUNK, REFERENCE_CHUNK
from smdt.retrieval.strip_ranking import rank_strips
from smdt.retrieval.strip_scores import QueryStrips, ready_references

BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024


def peak_memory_mb() -> float:
    """The largest resident set this process has had, in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_MAXRSS / 1e6


def normalised(count: int, dims: int, generator: torch.Generator) -> torch.Tensor:
    """Random unit descriptors (count, dims), float32."""
    descriptors = torch.randn(count, dims, generator=generator)
    return descriptors.div_(descriptors.norm(dim=1, keepdim=True))


def brute_force_ranks(
    queries: torch.Tensor, references: torch.Tensor, positive: torch.Tensor, sample: torch.Tensor
) -> torch.Tensor:
    """Ranks of a sample of the queries, from all their scores in float64."""
    doubled = references.double()
    parts = []
    for part in sample.split(64):
        scores = queries[part].double() @ doubled.T
        parts.append((scores > scores.gather(1, positive[part, None])).sum(dim=1))
    return torch.cat(parts)


def seconds_of_products(queries: torch.Tensor, references: torch.Tensor, share: int) -> float:
    """Time of the bare products of all blocks, from one query chunk in ``share``."""
    chunks = queries.split(QUERY_CHUNK)[::share]
    started = time.perf_counter()
    for chunk in chunks:
        for block in references.split(REFERENCE_CHUNK):
            chunk @ block.T
    return (time.perf_counter() - started) * len(queries) / sum(map(len, chunks))


def ranks_of_strips(queries: torch.Tensor, references: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """The same ranks by the way of `smdt evaluate`: ready strips of one column whose headings are known."""
    heading_deg = torch.zeros(len(queries))
    found = rank_strips(
        queries[..., None], references[..., None], positive, remove_mean=False, heading_deg=heading_deg
    )
    return found.ranks


def held_for_ranking(queries: torch.Tensor, references: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and references whose cosines strips are ranked by: normalised once more, rounded to float32."""
    ready, _ = QueryStrips(queries[..., None], torch.ones(1, dtype=torch.bool)).ready(slice(0, len(queries)))
    return ready[..., 0], torch.nn.functional.normalize(references.double(), dim=1)


def measure(count: int, dims: int, sample_size: int, seed: int, *, strips: bool) -> dict[str, Any]:
    """Rank all queries, note the peak, then compare a sample with brute force."""
    after_imports_mb = peak_memory_mb()
    generator = torch.Generator().manual_seed(seed)
    queries, references = normalised(count, dims, generator), normalised(count, dims, generator)
    if strips:
        references = ready_references(references[..., None], remove_mean=False)[..., 0]
    positive = torch.randperm(count, generator=generator)
    bare = [seconds_of_products(queries, references, 12)]
    started = time.perf_counter()
    found = (ranks_of_strips if strips else ranks)(queries, references, positive)
    seconds = time.perf_counter() - started
    bare.append(seconds_of_products(queries, references, 12))
    peak_mb = peak_memory_mb()  # before brute force, which takes more
    sample = torch.randperm(count, generator=generator)[:sample_size]
    if strips:
        queries, references = held_for_ranking(queries, references)
    different = int((found[sample] != brute_force_ranks(queries, references, positive, sample)).sum())
    return {
        "ranked_as": "strips of one column" if strips else "descriptors",
        "queries": count,
        "references": count,
        "dims": dims,
        "seconds": round(seconds, 2),
        "bare_products_seconds": [round(value, 2) for value in bare],
        "ratio_to_bare_products": round(seconds / (sum(bare) / 2), 2),
        "gflops": round(2e-9 * count * count * dims / seconds, 1),
        "after_imports_mb": round(after_imports_mb, 1),
        "peak_mb": round(peak_mb, 1),
        "increase_mb": round(peak_mb - after_imports_mb, 1),
        "descriptors_mb": round(2 * count * dims * 4 / 1e6, 1),
        "full_matrix_mb": round(count * count * 4 / 1e6, 1),
        "sampled_queries": sample_size,
        "sampled_different": different,
        "recall_percent": recall_at(found, count),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=92802, help="queries, and as many references")
    parser.add_argument("--dims", type=int, default=768, help="numbers in a descriptor")
    parser.add_argument("--sample", type=int, default=512, help="queries compared with brute force")
    parser.add_argument("--limit-mb", type=float, default=3000.0, help="exit 1 if the peak is above this")
    parser.add_argument("--strips", action="store_true", help="rank as `smdt evaluate` does")
    add_closing_options(parser)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = measure(
        arguments.count, arguments.dims, arguments.sample, arguments.seed, strips=arguments.strips
    )
    result |= circumstances()
    table = Table("", "", title=f"Recall among {arguments.count:,} references", show_header=False)
    for name, value in result.items():
        table.add_row(name, json.dumps(value) if isinstance(value, dict | list) else str(value))
    Console().print(table)
    write_result(arguments.json, result)
    if result["sampled_different"] or result["peak_mb"] > arguments.limit_mb:
        sys.exit("the ranks differ from brute force, or memory is above the limit")


if __name__ == "__main__":
    main()
