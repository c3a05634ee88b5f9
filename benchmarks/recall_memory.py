"""How much memory and time does recall take among 88,840 references, and is it what brute force gives?

Random L2-normalised descriptors are the hard case: true references stand in the middle of the scores, where
most others are close to them. Brute force scores a sample of queries against all references in float64; the
bare matrix product of the same blocks is timed before and after, for a share of the queries.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from smdt.retrieval.metrics import ranks, recall_at
from smdt.retrieval.ranking import QUERY_CHUNK, REFERENCE_CHUNK

BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024


def peak_memory_mb() -> float:
    """The largest resident set this process has had, in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_MAXRSS / 1e6


def normalised(count: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Random unit descriptors (count, length), float32."""
    return torch.nn.functional.normalize(torch.randn(count, length, generator=generator), dim=1)


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


def measure(count: int, length: int, sample_size: int, seed: int) -> dict[str, object]:
    """Rank all queries, note the peak, then compare a sample with brute force."""
    after_imports_mb = peak_memory_mb()
    generator = torch.Generator().manual_seed(seed)
    queries, references = normalised(count, length, generator), normalised(count, length, generator)
    positive = torch.randperm(count, generator=generator)
    bare = [seconds_of_products(queries, references, 12)]
    started = time.perf_counter()
    found = ranks(queries, references, positive)
    seconds = time.perf_counter() - started
    bare.append(seconds_of_products(queries, references, 12))
    peak_mb = peak_memory_mb()  # before brute force, which takes more
    sample = torch.randperm(count, generator=generator)[:sample_size]
    different = int((found[sample] != brute_force_ranks(queries, references, positive, sample)).sum())
    return {
        "queries": count,
        "references": count,
        "descriptor_length": length,
        "seconds": round(seconds, 2),
        "bare_products_seconds": [round(value, 2) for value in bare],
        "ratio_to_bare_products": round(seconds / (sum(bare) / 2), 2),
        "gflops": round(2e-9 * count * count * length / seconds, 1),
        "after_imports_mb": round(after_imports_mb, 1),
        "peak_mb": round(peak_mb, 1),
        "increase_mb": round(peak_mb - after_imports_mb, 1),
        "descriptors_mb": round(2 * count * length * 4 / 1e6, 1),
        "full_matrix_mb": round(count * count * 4 / 1e6, 1),
        "sampled_queries": sample_size,
        "sampled_different": different,
        "recall_percent": recall_at(found, count),
    }


def circumstances() -> dict[str, object]:
    """Device, threads, versions and commit of a measurement."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return {
        "device": f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": asked.stdout.strip() or None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=88840, help="queries, and as many references")
    parser.add_argument("--length", type=int, default=256, help="numbers in a descriptor")
    parser.add_argument("--sample", type=int, default=512, help="queries compared with brute force")
    parser.add_argument("--limit-mb", type=float, default=2000.0, help="exit 1 if the peak is above this")
    parser.add_argument(
        "--threads", type=int, help="PyTorch's threads; one is steadiest on a machine that is busy"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = measure(arguments.count, arguments.length, arguments.sample, arguments.seed) | circumstances()
    table = Table("", "", title=f"Recall among {arguments.count:,} references", show_header=False)
    for name, value in result.items():
        table.add_row(name, json.dumps(value) if isinstance(value, dict | list) else str(value))
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    if result["sampled_different"] or float(str(result["peak_mb"])) > arguments.limit_mb:
        sys.exit("the ranks differ from brute force, or memory is above the limit")


if __name__ == "__main__":
    main()
