"""How far a figure would move with other queries: percentile bootstrap over queries.

A resample takes as many queries as there are, with repetition. Figures are not computed on resamples one by one where
their distribution over resamples is known: the hits of a resample are binomial, and its k-th smallest value is the
value that the k-th smallest of as many uniform numbers points at, which is a beta variate. These draws are those of
the bootstrap, not an approximation, and take no longer for 92,802 queries than for ten.

Queries that stand near each other are found or missed together, so an interval over them is rather too narrow.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from smdt.errors import DatasetError
from smdt.retrieval.metrics import recall_levels

LEVEL = 0.95
RESAMPLES = 2000
_DRAWS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Interval:
    """Where a figure lies in 95 % of the resamples, in the figure's unit.

    Attributes:
        low: lower end.
        high: upper end.
    """

    low: float
    high: float


Intervals = Mapping[str, Interval]
"""The interval of each figure, by the figure's name."""


def share_interval(hits: int, count: int, *, seed: int = 0) -> Interval:
    """Interval of a share in percent.

    Where all or none hit, every resample says the same, whatever the number of queries. Then the open end is the
    exact binomial bound (Clopper and Pearson): of ten hits in ten it is 69.2 %.

    Args:
        hits: how many queries hit.
        count: how many queries there are.
        seed: of the resamples.

    Raises:
        DatasetError: if there is no query.
    """
    _require(count)
    if hits in (0, count):
        bound = ((1.0 - LEVEL) / 2.0) ** (1.0 / count)
        return Interval(0.0, 100.0 * (1.0 - bound)) if hits == 0 else Interval(100.0 * bound, 100.0)
    drawn = np.random.default_rng(seed).binomial(count, hits / count, RESAMPLES)
    return _percentiles(100.0 * drawn / count)


def recall_intervals(
    ranks: Tensor, reference_count: int, ks: Sequence[int] = (1, 5, 10), *, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of :func:`smdt.retrieval.metrics.recall_at`, in percent, under the same names.

    Args:
        ranks: (Q,) int64, the references strictly nearer than the true one.
        reference_count: N, the size of the gallery.
        ks: values of K beside 1 %.
        seed: of the resamples.

    Raises:
        DatasetError: if there are no queries or no references.
    """
    levels = recall_levels(ranks, reference_count, ks)
    return {
        name: share_interval(int((ranks < k).sum()), ranks.numel(), seed=seed) for name, k in levels.items()
    }


def median_interval(values: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """Interval of the median of values (Q,), one a query, in their unit.

    Raises:
        DatasetError: if there is none.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    _require(count)
    rng = np.random.default_rng(seed)
    upper = count // 2 + 1  # the k-th smallest, counted from 1; with an even count the one below is the other
    point = rng.beta(upper, count - upper + 1, RESAMPLES)
    medians = ordered[_place(point, count)]
    if count % 2 == 0:
        below = point * rng.random(RESAMPLES) ** (
            1.0 / (upper - 1)
        )  # the largest of those under the upper one
        medians = (medians + ordered[_place(below, count)]) / 2.0
    return _percentiles(medians)


def mean_interval(values: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """Interval of the mean of values (Q,), one a query, in their unit.

    Raises:
        DatasetError: if there is none.
    """
    given = np.asarray(values, dtype=np.float64)
    _require(len(given))
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // len(given))
    means = [
        given[rng.integers(0, len(given), (min(at_once, RESAMPLES - done), len(given)))].mean(axis=1)
        for done in range(0, RESAMPLES, at_once)
    ]
    return _percentiles(np.concatenate(means))


def error_intervals(
    errors: npt.ArrayLike, unit: str, limits: Sequence[int], *, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of what :func:`smdt.retrieval.metrics.error_summary` says, under the same names.

    Args:
        errors: (Q,) errors of a unit.
        unit: ``m`` or ``deg``.
        limits: the limits of ``within_…``.
        seed: of the resamples.

    Raises:
        DatasetError: if there is no error.
    """
    given = np.asarray(errors, dtype=np.float64)
    within = {
        f"within_{limit}_{unit}": share_interval(int((given <= limit).sum()), len(given), seed=seed)
        for limit in limits
    }
    return {
        f"median_{unit}": median_interval(given, seed=seed),
        f"mean_{unit}": mean_interval(given, seed=seed),
        **within,
    }


def _place(point: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Which of so many values a number in [0, 1) points at."""
    return np.minimum((point * count).astype(np.int64), count - 1)


def _percentiles(figures: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(figures, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Interval(float(low), float(high))


def _require(count: int) -> None:
    if count < 1:
        raise DatasetError("there is no interval of the figures of no query")
