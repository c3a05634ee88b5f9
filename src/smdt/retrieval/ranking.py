"""Ranking in bounded memory: true references' ranks and the k best, streamed over blocks of scores.

A block holds the scores of some queries against some references, larger is nearer, and is computed by a
function of two slices. So descriptors compared by a dot product (:class:`DotProduct`) and features compared
over all headings are ranked by the same code, and the full matrix of scores never stands in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from smdt.errors import DatasetError, ModelError

ScoreBlock = Callable[[slice, slice], Tensor]
"""Scores (q, r) of a slice of the queries against a slice of the references; larger is nearer."""
PairsOf = Callable[[slice], tuple[Tensor, Tensor]]
"""For a slice of the queries: pairs (row within the slice, reference), two int64 tensors (n,) on the CPU."""
Margin = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of (query, reference, other reference), each (n,): how much nearer the reference is than the other."""

QUERY_CHUNK = 512
REFERENCE_CHUNK = 2048
"""A block of 512×2048 float32 scores (4 MiB) stays in a CPU's cache between scoring and counting."""
HELD_SCORES_BYTES = 2**28
"""Blocks of scores that hold true references are kept until all are there; together they stay below this."""

_REMEDY = "look for blank images, or a model whose training diverged"


@dataclass(frozen=True)
class NearTies:
    """How to treat references whose score is too close to the true reference's to be told apart.

    Attributes:
        tolerance: (Q,) or (1,); scores no further than this from the true reference's are near ties.
        margin: decides near ties: a reference is nearer where it is above zero. Without it, near ties are
            ties, which never count as nearer.
    """

    tolerance: Tensor
    margin: Margin | None = None


class DotProduct:
    """The dot products of descriptors as a :data:`ScoreBlock`, accumulated in float32 at least.

    Args:
        queries: (Q, D) float16, bfloat16, float32 or float64, on any device.
        references: (R, D), on the same device.

    Raises:
        ModelError: if descriptors are not finite, or queries and references differ in length.
    """

    def __init__(self, queries: Tensor, references: Tensor) -> None:
        """Check the descriptors and measure their norms."""
        if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1]:
            raise ModelError(
                f"query descriptors of shape {tuple(queries.shape)} do not fit references of shape "
                f"{tuple(references.shape)}",
                remedy="make both with the same model",
            )
        self.queries, self.references = queries, references
        self.dtype = torch.promote_types(torch.promote_types(queries.dtype, references.dtype), torch.float32)
        largest = (
            _row_norms(references, "reference").max()
            if len(references)
            else torch.zeros((), device=queries.device)
        )
        self.scale = _row_norms(queries, "query") * largest
        """(Q,) float64: no score of a query is larger."""
        if len(queries) and float(self.scale.max()) > torch.finfo(self.dtype).max / 4:
            raise ModelError("descriptors are too large for their dot products", remedy="L2-normalise them")

    def __call__(self, queries: slice, references: slice) -> Tensor:
        """Scores (q, r) in float32, or float64 where the descriptors are."""
        with _full_precision(self.queries.device.type):
            return self.queries[queries].to(self.dtype) @ self.references[references].to(self.dtype).T

    def near_ties(self) -> NearTies:
        """Scores that rounding may have put in the wrong order, to be decided in float64.

        A sum of D products is off by at most D·u times the norms, and by more than 8·√D·u with a probability
        below 1e-13 (u: unit round-off; Higham and Mary 2019). Two scores are compared, hence eps = 2·u.
        """
        precision = torch.finfo(self.dtype)
        terms = min(self.queries.shape[1], 8.0 * math.sqrt(self.queries.shape[1])) + 2.0
        tolerance = terms * precision.eps * self.scale + self.queries.shape[1] * precision.tiny
        return NearTies(tolerance.to(self.dtype), self.margin)

    def margin(self, query: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """Query·(reference - other) in float64, (n,): exactly zero where the two references are equal."""
        parts = []
        for part in slices(query.numel(), max(1, 2**21 // max(1, self.queries.shape[1]))):
            difference = self.references[reference[part]].double() - self.references[other[part]].double()
            parts.append((difference * self.queries[query[part]].double()).sum(dim=1))
        return torch.cat(parts) if parts else query.new_empty(0, dtype=torch.float64)

    def best_of(self, pairs: PairsOf) -> PairsOf:
        """Of each query's references in ``pairs``, the one with the largest score in float64 alone."""

        def best(queries: slice) -> tuple[Tensor, Tensor]:
            rows, references = (index.to(self.queries.device) for index in pairs(queries))
            size = queries.stop - queries.start
            any_one = references.new_full((size,), -1).scatter_reduce(0, rows, references, "amax")
            margin = self.margin(rows + queries.start, references, any_one[rows])
            greatest = margin.new_full((size,), -math.inf).scatter_reduce(0, rows, margin, "amax")
            leads = margin == greatest[rows]
            champion = references.new_full((size,), -1).scatter_reduce(
                0, rows[leads], references[leads], "amax"
            )
            kept = torch.nonzero(champion >= 0).flatten()
            return kept.cpu(), champion[kept].cpu()

        return best


@torch.no_grad()
def ranks_from_blocks(
    score_block: ScoreBlock,
    query_count: int,
    reference_count: int,
    positive: Tensor | PairsOf,
    *,
    ignore: Tensor | None = None,
    near_ties: NearTies | None = None,
    query_chunk: int = QUERY_CHUNK,
    reference_chunk: int = REFERENCE_CHUNK,
) -> Tensor:
    """Rank of each query's true reference: the references strictly nearer. Every block is computed once.

    The true reference's score is taken from the block it stands in, and it is never counted against itself.

    Args:
        score_block: scores of a slice of queries against a slice of references; larger is nearer.
        query_count: Q.
        reference_count: R.
        positive: (Q,) or (Q, M) int64 padded with -1: the nearest counts; or a function giving the pairs.
        ignore: (Q, M) int64 padded with -1: references never counted as nearer.
        near_ties: how to treat scores that rounding cannot tell apart; None compares them as they are.
        query_chunk: queries scored at a time (fewer where the gallery is very large).
        reference_chunk: references scored at a time.

    Returns:
        (Q,) int64 on the CPU: 0 is best; R for a query without a true reference.

    Raises:
        ModelError: if a score is NaN.
        DatasetError: if a reference index lies outside the gallery, or is not given for each query.
    """
    pairs = listed_pairs(positive, query_count, reference_count) if isinstance(positive, Tensor) else positive
    ignored = None if ignore is None else listed_pairs(ignore, query_count, reference_count)
    rows_held = HELD_SCORES_BYTES // (4 * max(1, reference_count))
    found = torch.full((query_count,), reference_count, dtype=torch.int64)
    for queries in slices(query_count, max(1, min(query_chunk, rows_held))):
        rows, hits = pairs(queries)
        if not rows.numel():
            continue
        left_out = rows * reference_count + hits
        if ignored is not None:
            row, reference = ignored(queries)
            left_out = torch.cat([left_out, row * reference_count + reference])
        counter = _RankCounter(score_block, queries, reference_count, reference_chunk)
        found[queries] = counter.ranks(
            rows, hits, torch.unique(left_out), near_ties or NearTies(torch.zeros(1))
        )
    return found


class _RankCounter:
    """Ranks one chunk of queries, block of references by block."""

    def __init__(
        self, score_block: ScoreBlock, queries: slice, references: int, reference_chunk: int
    ) -> None:
        self.score_block, self.queries, self.size = score_block, queries, queries.stop - queries.start
        self.references, self.chunk = references, reference_chunk

    def ranks(self, rows: Tensor, hits: Tensor, left_out: Tensor, ties: NearTies) -> Tensor:
        """Ranks (q,) on the CPU.

        Args:
            rows: (n,) rows of the chunk, one for each true reference.
            hits: (n,) the true references.
            left_out: keys row·R + reference, each once, of pairs not to be counted; the hits are among them.
            ties: how to treat near ties.
        """
        held = {number: self._scores(number) for number in torch.unique(hits // self.chunk).tolist()}
        device = next(iter(held.values())).device
        rows, hits, left_out = rows.to(device), hits.to(device), left_out.to(device)
        best, champion = self._best_hits(held, rows, hits)
        tolerance = ties.tolerance.to(device)
        tolerance = (tolerance[self.queries] if tolerance.numel() > 1 else tolerance).expand(self.size)
        below, above = (best - tolerance)[:, None], (best + tolerance)[:, None]
        out_row, out_reference = left_out // self.references, left_out % self.references
        nearer = torch.zeros(self.size, dtype=torch.int64, device=device)
        for number in range(math.ceil(self.references / self.chunk)):
            scores = held.pop(number) if number in held else self._scores(number)
            counted = _count_above(scores, above)
            nearer += counted
            here = out_reference // self.chunk == number
            row, column = out_row[here], out_reference[here] - number * self.chunk
            nearer.index_add_(0, row, -(scores[row, column] > above[row, 0]).long())
            if ties.margin is not None:
                row, column = _between(scores, below, above, counted)
                reference = column + number * self.chunk
                is_open = ~torch.isin(row * self.references + reference, left_out)
                row, reference = row[is_open], reference[is_open]
                margin = ties.margin(row + self.queries.start, reference, champion[row])
                nearer.index_add_(0, row, (margin > 0).long())
        nearer[champion < 0] = self.references
        return nearer.cpu()

    def _scores(self, number: int) -> Tensor:
        start = number * self.chunk
        scores = self.score_block(self.queries, slice(start, min(start + self.chunk, self.references)))
        if bool(torch.isnan(scores.amax())):
            raise ModelError(
                f"scores of queries {self.queries.start}..{self.queries.stop - 1} are not all numbers",
                remedy=_REMEDY,
            )
        return scores

    def _best_hits(self, held: dict[int, Tensor], rows: Tensor, hits: Tensor) -> tuple[Tensor, Tensor]:
        """Score and index of each query's best true reference, (q,) each; infinity and -1 if it has none."""
        scores = torch.empty(rows.numel(), dtype=next(iter(held.values())).dtype, device=rows.device)
        for number, block in held.items():
            here = hits // self.chunk == number
            scores[here] = block[rows[here], hits[here] - number * self.chunk]
        best = scores.new_full((self.size,), -math.inf).scatter_reduce(0, rows, scores, "amax")
        leads = scores == best[rows]
        champion = hits.new_full((self.size,), -1).scatter_reduce(0, rows[leads], hits[leads], "amax")
        return torch.where(champion < 0, math.inf, best), champion


@torch.no_grad()
def top_k(
    score_block: ScoreBlock,
    query_count: int,
    reference_count: int,
    k: int,
    *,
    query_chunk: int = QUERY_CHUNK,
    reference_chunk: int = REFERENCE_CHUNK,
) -> tuple[Tensor, Tensor]:
    """The k best references of each query, streamed.

    Args:
        score_block: scores of a slice of queries against a slice of references; larger is nearer.
        query_count: Q.
        reference_count: R.
        k: references wanted; all R if there are fewer.
        query_chunk: queries scored at a time.
        reference_chunk: references scored at a time.

    Returns:
        Scores and reference indices, (Q, min(k, R)) each, on the CPU, best first; equal scores by index.
    """
    kept = min(k, reference_count)
    all_scores, all_indices = [torch.empty(0, kept)], [torch.empty(0, kept, dtype=torch.int64)]
    for queries in slices(query_count, query_chunk):
        parts: list[tuple[Tensor, Tensor]] = []
        for references in slices(reference_count, reference_chunk):
            block = score_block(queries, references)
            best, columns = block.topk(min(kept, block.shape[1]), dim=1)
            parts.append((best, columns + references.start))
            scores, indices = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
            best, order = scores.topk(min(kept, scores.shape[1]), dim=1)
            parts = [(best, indices.gather(1, order))]
        for scores, indices in parts:
            by_index = indices.argsort(dim=1)
            best_first = scores.gather(1, by_index).argsort(dim=1, descending=True, stable=True)
            order = by_index.gather(1, best_first)
            all_scores.append(scores.gather(1, order).cpu())
            all_indices.append(indices.gather(1, order).cpu())
    return torch.cat(all_scores), torch.cat(all_indices)


def listed_pairs(references: Tensor, query_count: int, reference_count: int) -> PairsOf:
    """Pairs from a table of references (Q,) or (Q, M) int64, padded with -1.

    Raises:
        DatasetError: if a reference lies outside the gallery, or there is not one row for each query.
    """
    table = references.detach().cpu().reshape(len(references), -1).long()
    if len(table) != query_count:
        raise DatasetError(f"references are given for {len(table)} queries, but there are {query_count}")
    wrong = table[(table < -1) | (table >= reference_count)]
    if wrong.numel():
        raise DatasetError(
            f"reference {int(wrong[0])} is not in the gallery of {reference_count}",
            remedy="references count from 0; -1 stands for none",
        )

    def pairs(queries: slice) -> tuple[Tensor, Tensor]:
        rows, columns = torch.nonzero(table[queries] >= 0, as_tuple=True)
        return rows, table[queries][rows, columns]

    return pairs


def slices(count: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most ``step`` that cover 0..count-1."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _count_above(scores: Tensor, threshold: Tensor) -> Tensor:
    """How many scores (q, r) lie above a threshold (q, 1), (q,) int64; 0 and 1 sum fastest as float32."""
    flags = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    return torch.gt(scores, threshold, out=flags).sum(dim=1).long()


def _between(scores: Tensor, below: Tensor, above: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of scores in (below, above], given how many are above in each row."""
    rows = torch.nonzero(_count_above(scores, below) != counted).flatten()
    near = scores[rows]
    row, column = torch.nonzero((near > below[rows]) & (near <= above[rows]), as_tuple=True)
    return rows[row], column


def _row_norms(descriptors: Tensor, name: str) -> Tensor:
    """L2 norms (N,) in float64 of descriptors (N, D), refusing those that are not finite."""
    parts = [
        torch.linalg.vector_norm(descriptors[part].double(), dim=1)
        for part in slices(len(descriptors), max(1, 2**22 // max(1, descriptors.shape[1])))
    ]
    norms = torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64, device=descriptors.device)
    bad = torch.nonzero(~torch.isfinite(norms)).flatten().tolist()
    if bad:
        rows = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
        raise ModelError(
            f"{len(bad)} of {len(norms)} {name} descriptors are not finite (rows {rows})", remedy=_REMEDY
        )
    return norms


@contextmanager
def _full_precision(device_type: str) -> Iterator[None]:
    """Multiply float32 matrices in float32, whatever training has chosen (TF32, bfloat16, autocast)."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
