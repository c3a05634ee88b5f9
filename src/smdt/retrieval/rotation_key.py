"""A key of a strip that no turn changes, to find among many references the few worth trying at every turn.

Turning a strip by whole columns moves only the phases of its Fourier transform over azimuth. The magnitudes, C for each
of W/2+1 frequencies, stay: they are the strip's *rotation-free key*. Weighted as Parseval's theorem has it, the dot
product of two keys is at least the product of the strips at their best turn, so what matches well at some turn has
keys that match well. Keys are compressed to the directions in which those of the gallery differ most.

The best references by key are then scored at every turn (:class:`ShortlistedScores`). A photo that does not see the
whole circle has no such key, for what it sees of a place depends on where it looks: it is scored against all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdt.retrieval.matching import between_columns
from smdt.retrieval.ranking import slices
from smdt.retrieval.strip_scores import QueryStrips, energy_of

KEY_DIMS = 128
SAMPLE = 2048
"""References that the directions are computed from; more of them change little, and take time with their square."""

_PART = 512
_SCORES_AT_ONCE = 2**24
_BELOW = 3.0
"""Taken off the scores of keys, so that all of them lie below those of strips, which are cosines as they are."""
_SMALL = 1e-6


def rotation_key(strips: Tensor) -> Tensor:
    """Rotation-free keys of strips.

    Args:
        strips: (N, C, W).

    Returns:
        (N, C·(W//2 + 1)) float32, of the strips' norm. The dot product of two keys is at least the strips' product at
        any turn by whole columns.
    """
    width = strips.shape[-1]
    twice = torch.full((width // 2 + 1,), 2.0, device=strips.device)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    magnitude: Tensor = torch.fft.rfft(strips.float(), dim=-1).abs()
    return (magnitude * (twice / width).sqrt()).flatten(1)


class RotationKeys:
    """The compressed keys of a gallery.

    Args:
        references: (R, C, W) strips of unit norm, float16 or float32.
        dims: numbers in a key, at most; there are never more than references in the sample.
        centred: whether each view's mean key is removed. It tells places apart better, and needs a set of queries to
            have a mean of; a photo that comes alone has none.
    """

    def __init__(self, references: Tensor, dims: int = KEY_DIMS, *, centred: bool) -> None:
        """Find the directions in a sample spread over the gallery, and compress all keys."""
        chosen = torch.linspace(0, len(references) - 1, min(SAMPLE, len(references))).round().long()
        sample = rotation_key(references[chosen])
        self.centred = centred
        mean = sample.mean(0) if centred else None
        self.directions = _directions(sample if mean is None else sample - mean, dims)
        parts = [self.of(references[part], mean) for part in slices(len(references), _PART)]
        self.keys = torch.cat(parts)
        """(R, dims) float32 of unit norm."""

    def of(self, strips: Tensor, mean: Tensor | None = None) -> Tensor:
        """Compressed keys (N, dims) of unit norm of strips (N, C, W), less their view's mean key (C·(W//2 + 1),)."""
        keys = rotation_key(strips)
        compressed = (keys if mean is None else keys - mean) @ self.directions
        normed: Tensor = compressed / compressed.norm(dim=1, keepdim=True).clamp_min(_SMALL)
        return normed

    def nearest(self, keys: Tensor, count: int) -> Tensor:
        """Numbers (N, count) of the references whose keys are nearest to keys (N, dims), the nearest first."""
        rows = max(1, _SCORES_AT_ONCE // len(self.keys))
        parts = [(keys[part] @ self.keys.T).topk(count, dim=1).indices for part in slices(len(keys), rows)]
        return torch.cat(parts)


def _directions(rows: Tensor, dims: int) -> Tensor:
    """The main directions (D, at most dims), orthonormal, of rows (N, D), by the products of the rows."""
    energy, vectors = torch.linalg.eigh(rows @ rows.T)
    energy, vectors = energy.flip(0)[:dims], vectors.flip(1)[:, :dims]
    kept = energy > energy[0].clamp_min(_SMALL**2) * _SMALL
    if not bool(kept.any()):  # all keys are alike: any direction serves
        return torch.eye(rows.shape[1], 1)
    directions: Tensor = rows.T @ (vectors[:, kept] / energy[kept].sqrt())
    return directions


def turned_pairs(queries: Tensor, references: Tensor) -> Tensor:
    """Products of each query with its own references at every turn.

    Args:
        queries: (q, C, W) of unit norm.
        references: (q, M, C, W).

    Returns:
        (q, M, W); element s is the product if the query's heading is 360°·s/W.
    """
    width = queries.shape[-1]
    column = torch.arange(width)
    turned = queries[
        ..., (column[None] - column[:, None]) % width
    ]  # (q, C, turn, W): column k holds k - turn
    rows = turned.permute(0, 2, 1, 3).flatten(2)
    return torch.bmm(references.flatten(2), rows.transpose(1, 2))


class ShortlistedScores:
    """Scores at every turn for the references nearest by key, and by key alone for the others: a ScoreBlock.

    Every reference of the shortlist stands above every one that is not on it.

    Args:
        queries: without ``heading_deg``, seeing all columns.
        references: (R, C, W) of :func:`smdt.retrieval.strip_scores.ready_references`.
        shortlist: references scored at every turn for each query; at most R.
        keys: of the same references, centred if the queries are a set to have a mean of.
    """

    def __init__(self, queries: QueryStrips, references: Tensor, shortlist: int, keys: RotationKeys) -> None:
        self.queries, self.references, self.keys = queries, references, keys
        self.shortlist = min(shortlist, len(references))
        self._mean = None
        if keys.centred:
            sums = [rotation_key(queries.ready(part)[0]).sum(0) for part in slices(len(queries), _PART)]
            self._mean = torch.stack(sums).sum(0) / len(queries)
        self._weight = energy_of(references).sum(1).clamp_min(_SMALL**2).rsqrt()
        self._last: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def shortlisted(self, queries: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Keys (q, dims) of a slice of queries, the numbers (q, M) on their shortlists, and these' scores (q, M)."""
        key = (queries.start, queries.stop)
        if key not in self._last:
            strips, _ = self.queries(queries)
            keys = self.keys.of(strips, self._mean)
            chosen = self.keys.nearest(keys, self.shortlist)
            scores = torch.cat(
                [
                    between_columns(self._cosines(strips[i : i + 1], chosen[i : i + 1])).amax(2)
                    for i in range(len(strips))
                ]
            )
            self._last.clear()
            self._last[key] = (keys, chosen, scores)
        return self._last[key]

    def _cosines(self, strips: Tensor, chosen: Tensor) -> Tensor:
        """Cosines (q, M, W) of strips (q, C, W) of unit norm at every turn with the references chosen, (q, M)."""
        products = turned_pairs(strips, self.references[chosen].float())
        return products * self._weight[chosen][..., None]

    def __call__(self, queries: slice, references: slice) -> Tensor:
        """Scores (q, r)."""
        keys, chosen, scores = self.shortlisted(queries)
        block = keys @ self.keys.keys[references].T - _BELOW
        row, place = torch.nonzero((chosen >= references.start) & (chosen < references.stop), as_tuple=True)
        block[row, chosen[row, place] - references.start] = scores[row, place]
        return block

    def at_turns(self, chosen: Tensor) -> Tensor:
        """Scores (Q, W) at every column's turn of each query with a reference chosen for it, (Q,) int64."""
        parts = slices(len(chosen), _PART)
        return torch.cat(
            [self._cosines(self.queries.ready(part)[0], chosen[part, None])[:, 0] for part in parts]
        )
