"""A head found in closed form: the directions in which the two views' features agree where they show the same.

A column of features of a panorama and the column of its mapped tile that looks the same way are two readings of one
thing. Over many pairs, canonical correlation analysis (Hotelling, 1936) finds the directions in which such readings go
together. Here both views share the projection: as with learned whitening in instance retrieval (Mikolajczyk and Matas,
2007; Radenović et al., 2018), features are whitened by the covariance of both views pooled, shrunk towards a multiple
of the identity, and turned to the eigenvectors of what is left of the covariance between the views. Each direction
counts by the root of its correlation, so the product of two projections is a correlation's worth of agreement.

It has one optimum, and no step size to choose. Found among simulated places, it holds on real pictures where gradient
descent's gains do not (``docs/worlds.md`` has the figures).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from smdt.errors import TrainingError
from smdt.retrieval.compact import Compact

SHRINKAGE = 0.1
"""Weight of the identity in the covariance; from 0.01 to 0.3 real pictures are found about as well."""


class CanonicalHead(NamedTuple):
    """A projection of columns.

    Attributes:
        weight: (K, D), the direction of largest correlation first.
        correlations: (K,) of these directions, from 0 to about 1.
        ground_mean: (D,) of the panoramas' columns.
    """

    weight: Tensor
    correlations: Tensor
    ground_mean: Tensor


class ColumnMoments:
    """Means and second moments of matched columns, gathered batch by batch in double precision.

    Args:
        size: D, features of a column, all rows.

    Attributes:
        count: columns seen.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self._sums = torch.zeros(2, size, dtype=torch.float64)  # of panoramas, of aerial images
        self._own = torch.zeros(size, size, dtype=torch.float64)  # products within either view
        self._between = torch.zeros(size, size, dtype=torch.float64)

    def add(self, ground: Tensor, aerial: Tensor) -> None:
        """Add features (B, C, R, L) of panoramas and of aerial images; column by column they look the same way."""
        x, y = (_columns(features) for features in (ground, aerial))
        self.count += len(x)
        self._sums += torch.stack([x.sum(0), y.sum(0)]).double().cpu()
        self._own += (x.T @ x + y.T @ y).double().cpu()
        self._between += (x.T @ y).double().cpu()

    @staticmethod
    def merged(parts: Iterable[ColumnMoments]) -> ColumnMoments:
        """The moments of all parts' columns together, one part or more."""
        first, *rest = parts
        whole = ColumnMoments(first._own.shape[0])
        for part in (first, *rest):
            whole.count += part.count
            whole._sums += part._sums
            whole._own += part._own
            whole._between += part._between
        return whole

    def head(self, channels: int, shrinkage: float = SHRINKAGE) -> CanonicalHead:
        """The projection into some channels.

        Args:
            channels: K, at most D.
            shrinkage: weight of the identity, scaled to the mean variance, in the pooled covariance; in (0, 1].

        Raises:
            TrainingError: if there are fewer than two columns, a figure is not a number, or features do not vary.
        """
        means = self._sums / max(1, self.count)
        pooled = (self._own / self.count - means.T @ means) / 2 if self.count > 1 else torch.zeros(1, 1)
        variance = pooled.diagonal().mean()
        if not bool(torch.isfinite(pooled).all()) or not bool(variance > 0):
            raise TrainingError(
                f"the features of {self.count} columns do not vary, or are not numbers",
                where="head_pairs",
                remedy="look at the pairs, and give more of them",
            )
        between = self._between / self.count - torch.outer(means[0], means[1])
        size = len(pooled)
        shrunk = (1 - shrinkage) * pooled + shrinkage * variance * torch.eye(size, dtype=pooled.dtype)
        values, vectors = torch.linalg.eigh(shrunk)
        whitening = (vectors * values.rsqrt()) @ vectors.T
        values, vectors = torch.linalg.eigh(whitening @ (between + between.T) @ whitening / 2)
        correlations = values.flip(0)[:channels].clamp_min(0)
        directions = vectors.flip(1)[:, :channels] * correlations.sqrt()
        return CanonicalHead((directions.T @ whitening).float(), correlations.float(), means[0].float())


def set_head(model: Compact, head: CanonicalHead) -> None:
    """Let a compact model begin with such a head; its azimuths do not speak to each other yet.

    Args:
        model: whose features the head was found of.
        head: of as many channels as the model's strip.
    """
    fold = model.fold
    assert fold.bias is not None  # compact models have one
    with torch.no_grad():
        fold.weight.copy_(head.weight.view_as(fold.weight))
        fold.bias.zero_()
        model.mix.weight.zero_()
        model.ground_mean.copy_(head.weight @ head.ground_mean)


def _columns(features: Tensor) -> Tensor:
    """Features (B, C, R, L) as columns (B·L, C·R)."""
    return features.float().flatten(1, 2).transpose(1, 2).flatten(0, 1)
