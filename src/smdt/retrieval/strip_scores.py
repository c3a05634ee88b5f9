"""Scores of whole sets of strips, block by block, for :mod:`smdt.retrieval.ranking`.

The formulas are those of :mod:`smdt.retrieval.matching`. What makes thousands of queries against thousands of
references quick is the order of the work: the spectra of the references are made once, a block of correlations is one
matrix product for each frequency, and the way back from the frequencies to the turns is a matrix product too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smdt.retrieval.matching import half_column, normalise_queries, turn_mask, turn_strips
from smdt.retrieval.ranking import NearTies, ScoreBlock, slices

QUERY_CHUNK, REFERENCE_CHUNK = 256, 1024
"""A block of 256×1024 scores at 32 turns and between them, with its spectra, takes about 100 MB."""
HELD_BYTES = 2**30
"""Spectra and strips of a set are held in half precision where they would take more than this in single."""

_SMALL = 1e-6
_PART = 2048


@dataclass(frozen=True, eq=False)
class QueryStrips:
    """A query set made ready slice by slice: turned to north where headings are known, centred, normalised.

    Attributes:
        strips: (Q, C, W) as embedded, float16 or float32.
        seen: (W,) bool, the columns that queries see; the others are not compared.
        heading_deg: (Q,) known headings; None where they are to be found.
        mean: (C, W) or (C, 1), removed from the strips (after turning); None removes nothing.
    """

    strips: Tensor
    seen: Tensor
    heading_deg: Tensor | None = None
    mean: Tensor | None = None
    _last: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.strips)

    def __call__(self, part: slice) -> tuple[Tensor, Tensor]:
        """Strips (q, C, W) float32 of unit norm over what they see, and the share (q, W) they see of each column."""
        key = (part.start, part.stop)
        if key not in self._last:
            ready = self.ready(part)
            self._last.clear()
            self._last[key] = ready
        return self._last[key]

    def ready(self, part: slice | Tensor) -> tuple[Tensor, Tensor]:
        """The same of a slice, or of the numbers of some queries (q,); not kept.

        What a query does not see is taken away before it is turned, so that no column mixes both.
        """
        strips = self.strips[part].float()
        seen, heading = self._seen(len(strips)), self._heading(part)
        if self.mean is not None:
            strips = strips - (self.mean if heading is None else turn_strips(self.mean[None], -heading))
        if heading is None:
            return normalise_queries(strips, seen), seen
        turned = turn_strips(strips * seen[:, None], heading)
        return normalise_queries(turned), turn_mask(seen, heading)

    def _seen(self, count: int) -> Tensor:
        return self.seen.float().expand(count, -1)

    def _heading(self, part: slice | Tensor) -> Tensor | None:
        """By how much to turn queries (q,); None where there is nothing to turn."""
        heading = None if self.heading_deg is None else self.heading_deg[part]
        return None if heading is None or not bool(heading.any()) else heading

    def mean_of_set(self) -> Tensor:
        """The mean over queries that see a column: (C, W) where headings are known, else (C, 1) over all columns."""
        total = torch.zeros(self.strips.shape[1:], dtype=torch.float64)
        count = torch.zeros(self.strips.shape[2], dtype=torch.float64)
        for part in slices(len(self), _PART):
            strips = self.strips[part].float()
            mask, heading = self._seen(len(strips)), self._heading(part)
            strips = strips * mask[:, None]
            if heading is not None:
                strips, mask = turn_strips(strips, heading), turn_mask(mask, heading)
            total += strips.sum(0, dtype=torch.float64)
            count += mask.sum(0)
        if self.heading_deg is None:
            total, count = total.sum(1, keepdim=True), count.sum()[None]
        return (total / count.clamp_min(1)).float()


def ready_references(strips: Tensor, *, remove_mean: bool) -> Tensor:
    """Reference strips (R, C, W) of unit norm, the set's mean removed if asked for; float16 if they are many.

    The strips given are not changed.
    """
    mean = torch.zeros(())
    if remove_mean:
        sums = [strips[part].sum(0, dtype=torch.float64) for part in slices(len(strips), _PART)]
        mean = (torch.stack(sums).sum(0) / len(strips)).float()
    ready = torch.empty(strips.shape, dtype=held_type(strips.numel()))
    for part in slices(len(strips), _PART):
        ready[part] = normalise_queries(strips[part].float() - mean)
    return ready


def held_type(elements: int) -> torch.dtype:
    """In what precision that many numbers are held."""
    return torch.float16 if 4 * elements > HELD_BYTES else torch.float32


class AlignedScores:
    """Cosine of queries whose heading is known with every reference, over what the queries see: a ScoreBlock.

    Args:
        queries: with ``heading_deg``.
        references: (R, C, W) of :func:`ready_references`.
    """

    def __init__(self, queries: QueryStrips, references: Tensor) -> None:
        self.queries, self.references = queries, references
        self._energy = energy_of(references)

    def __call__(self, queries: slice, references: slice) -> Tensor:
        """Scores (q, r)."""
        strips, mask = self.queries(queries)
        scores = strips.flatten(1) @ self.references[references].flatten(1).float().T
        seen = mask.float() @ self._energy[references].T
        return scores / seen.sqrt().clamp_min(_SMALL)

    def near_ties(self) -> NearTies:
        """Scores that rounding may have put in the wrong order, to be decided in float64.

        The bound is that of :meth:`smdt.retrieval.ranking.DotProduct.near_ties`, for scores of at most 1, with the sum
        over columns of the reference's norm added.
        """
        _, channels, width = self.references.shape
        elements = channels * width
        terms = min(elements, 8.0 * math.sqrt(elements)) + width + 4.0
        return NearTies(torch.tensor([terms * torch.finfo(torch.float32).eps]), self.margin)

    def margin(self, query: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """How much more a query is like the reference than the other, (n,) float64; zero where the two are equal."""
        margins = []
        for part in slices(query.numel(), max(1, 2**21 // self.references[0].numel())):
            number, place = torch.unique(query[part], return_inverse=True)
            strips, mask = self.queries.ready(number)
            found = [
                _cosine(strips.double()[place], self.references[chosen[part]].double(), mask.double()[place])
                for chosen in (reference, other)
            ]
            margins.append(found[0] - found[1])
        return torch.cat(margins) if margins else torch.empty(0, dtype=torch.float64)


def _cosine(queries: Tensor, references: Tensor, mask: Tensor) -> Tensor:
    """Cosine (n,) of queries (n, C, W) of unit norm with one reference each, over what the mask (n, W) lets be seen."""
    norm = (references.square().sum(1) * mask).sum(1).sqrt().clamp_min(_SMALL)
    return (queries * references).sum((1, 2)) / norm


class TurnedScores:
    """The best cosine over all turns of every query with every reference: a ScoreBlock for unknown headings.

    Turns are by every half column, see :func:`smdt.retrieval.matching.between_columns`.

    Args:
        queries: without ``heading_deg``.
        references: (R, C, W) of :func:`ready_references`.
    """

    def __init__(self, queries: QueryStrips, references: Tensor) -> None:
        self.queries, self.references = queries, references
        count, channels, width = references.shape
        frequencies = width // 2 + 1
        elements = frequencies * count * 2 * channels
        self._spectra = torch.empty(frequencies, count, 2 * channels, dtype=held_type(elements))
        for part in slices(count, _PART):
            self._spectra[:, part] = right_factors(references[part].float())
        self._back, self._half = inverse_transform(width), half_column(width)
        self._weight = self._weights(energy_of(references))
        self._last: dict[tuple[int, int], Tensor] = {}

    def _weights(self, energy: Tensor) -> Tensor:
        """One over the reference's norm over the columns compared, at each turn: (W, 1, R), or (1, 1, R) if all are."""
        seen = self.queries.seen.float()
        if bool(self.queries.seen.all()):
            total = energy.sum(1)[None]
        else:  # a query's column j meets the reference's column j + turn
            total = torch.stack([torch.roll(seen, turn) for turn in range(len(seen))]) @ energy.T
        return total.clamp_min(_SMALL**2).rsqrt()[:, None]

    def _left(self, queries: slice) -> Tensor:
        """Left factors of a slice of queries."""
        key = (queries.start, queries.stop)
        if key not in self._last:
            self._last.clear()
            self._last[key] = left_factors(self.queries(queries)[0])
        return self._last[key]

    def __call__(self, queries: slice, references: slice) -> Tensor:
        """Scores (q, r)."""
        right = self._spectra[:, references].float().transpose(1, 2)
        products = torch.bmm(self._left(queries), right)  # (F, 2q, r)
        size, count = queries.stop - queries.start, right.shape[2]
        turns = (self._back @ products.view(-1, size * count)).view(-1, size, count)
        weight = self._weight[..., references]
        if len(weight) > 1:
            turns.mul_(weight)
        best: Tensor = turns.amax(dim=0)
        if len(turns) > 1:
            between = (self._half @ turns.view(len(turns), -1)).amax(dim=0)
            best = torch.maximum(best, between.view(size, count))
        return best if len(weight) > 1 else best * weight[0]

    def at_turns(self, chosen: Tensor) -> Tensor:
        """Scores (Q, W) at every column's turn of each query with a reference chosen for it, (Q,) int64."""
        found = []
        for part in slices(len(chosen), QUERY_CHUNK):
            strips, _ = self.queries(part)
            reference = self.references[chosen[part]].float()
            spectrum = torch.fft.rfft(strips, dim=-1).conj() * torch.fft.rfft(reference, dim=-1)
            turns = torch.fft.irfft(spectrum.sum(1), n=strips.shape[-1])
            found.append(turns * self._weight[:, 0, chosen[part]].T)
        return torch.cat(found)


class PooledCentres:
    """Scores of references that have several strips each, seen from several points: a soft maximum over these.

    A camera stands between the points as often as at one. What is its place then fits from several of them, while a
    wrong place fits from one by chance. With s the strips' scores, the reference's is log(mean(exp(β·s))) / β.

    Args:
        scores: a ScoreBlock over all strips, those of one reference one after another.
        centres: strips of a reference.
        sharpness: β; the larger, the nearer to the best strip's score.
    """

    def __init__(self, scores: ScoreBlock, centres: int, sharpness: float) -> None:
        self.scores, self.centres, self.sharpness = scores, centres, sharpness

    def __call__(self, queries: slice, references: slice) -> Tensor:
        """Scores (q, r)."""
        block = self.scores(queries, slice(references.start * self.centres, references.stop * self.centres))
        sharp = block.view(len(block), -1, self.centres) * self.sharpness
        pooled: Tensor = (sharp.logsumexp(dim=2) - math.log(self.centres)) / self.sharpness
        return pooled


class BestReference:
    """Passes blocks of scores on, and remembers the best reference of each query; of equal ones the first.

    Args:
        scores: the ScoreBlock to watch; each block is to be asked for once.
        count: number of queries.
        progress: called with queries begun and queries in all.
    """

    def __init__(
        self, scores: ScoreBlock, count: int, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._scores, self._progress = scores, progress
        self.score = torch.full((count,), -math.inf)
        self.reference = torch.full((count,), -1, dtype=torch.int64)

    def __call__(self, queries: slice, references: slice) -> Tensor:
        """Scores (q, r)."""
        block = self._scores(queries, references)
        best, column = block.max(dim=1)
        number = column + references.start
        held, holder = self.score[queries], self.reference[queries]
        better = (best > held) | ((best == held) & (number < holder))
        self.score[queries] = torch.where(better, best, held)
        self.reference[queries] = torch.where(better, number, holder)
        if self._progress:
            self._progress(queries.stop, len(self.score))
        return block


def energy_of(references: Tensor) -> Tensor:
    """Squared norm of each column of reference strips, (R, W) float32."""
    parts = [references[part].float().square().sum(1) for part in slices(len(references), _PART)]
    return torch.cat(parts)


def left_factors(queries: Tensor) -> Tensor:
    """Spectra of query strips (q, C, W) as left factors, (F, 2q, 2C): rows of real parts, then of imaginary ones."""
    spectrum = torch.fft.rfft(queries, dim=-1).permute(2, 0, 1)
    real, imaginary = spectrum.real, spectrum.imag
    rows = [torch.cat([real, imaginary], dim=2), torch.cat([-imaginary, real], dim=2)]
    return torch.cat(rows, dim=1).contiguous()


def right_factors(references: Tensor) -> Tensor:
    """Spectra of reference strips (r, C, W), (F, r, 2C): the right factors, transposed, of :func:`left_factors`."""
    spectrum = torch.fft.rfft(references, dim=-1).permute(2, 0, 1)
    return torch.cat([spectrum.real, spectrum.imag], dim=2)


def inverse_transform(width: int) -> Tensor:
    """The inverse real Fourier transform as a matrix (W, 2F): real and imaginary part of each frequency in turn."""
    turn = torch.arange(width, dtype=torch.float64)[:, None]
    frequency = torch.arange(width // 2 + 1, dtype=torch.float64)[None]
    angle = 2 * math.pi * turn * frequency / width
    twice = torch.full_like(frequency, 2.0)
    twice[0, 0] = 1.0
    if width % 2 == 0:
        twice[0, -1] = 1.0
    pairs = torch.stack([twice * torch.cos(angle), -twice * torch.sin(angle)], dim=-1) / width
    return pairs.flatten(1).float()
