"""Recall@K as the protocol defines it, heading errors with wrap, and distances by geodesic.

A query's rank counts the references strictly nearer than its own true reference: 0 is best, and a query is
found at K if its rank is below K. The ranking itself, streamed in bounded memory, is smdt.retrieval.ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smdt.errors import DatasetError
from smdt.geometry.angles import angular_error
from smdt.geometry.geodesy import distance_m
from smdt.retrieval.ranking import (
    QUERY_CHUNK,
    REFERENCE_CHUNK,
    DotProduct,
    NearTies,
    PairsOf,
    ScoreBlock,
    listed_pairs,
    ranks_from_blocks,
    top_k,
)

__all__ = [
    "DotProduct",
    "NearTies",
    "ScoreBlock",
    "distances",
    "error_summary",
    "heading_errors",
    "nearby_references",
    "ranks",
    "ranks_from_blocks",
    "ranks_within",
    "recall_at",
    "recall_levels",
    "top_k",
]

CVACT_TEST_RADIUS_M = 25.0
"""On CVACT_test a hit is any reference this close to the query (UTM)."""
HEADING_LIMITS_DEG = (2, 5, 10)
DISTANCE_LIMITS_M = (5, 10, 25, 50)
"""Shares of queries are given whose error is at most this."""


def recall_at(ranks: Tensor, reference_count: int, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Recall@K in percent: ``{"R@1": …, "R@5": …, "R@10": …, "R@1%": …}``.

    Args:
        ranks: (Q,) int64, the references strictly nearer than the true one; ``reference_count`` if none.
        reference_count: N, the size of the gallery. R@1% takes K = max(1, ⌊N/100⌋): 88 of 8,884.
        ks: the other values of K.

    Raises:
        DatasetError: if there are no queries or no references.
    """
    levels = recall_levels(ranks, reference_count, ks)
    return {name: 100.0 * int((ranks < k).sum()) / ranks.numel() for name, k in levels.items()}


def recall_levels(ranks: Tensor, reference_count: int, ks: Sequence[int] = (1, 5, 10)) -> dict[str, int]:
    """The K of each name in :func:`recall_at`, at most N; same arguments and errors."""
    if ranks.numel() == 0 or reference_count < 1:
        raise DatasetError(
            f"recall of {ranks.numel()} queries among {reference_count} references is undefined"
        )
    named = {f"R@{k}": k for k in ks} | {"R@1%": max(1, reference_count // 100)}
    return {name: min(k, reference_count) for name, k in named.items()}


def ranks(
    queries: Tensor,
    references: Tensor,
    positive: Tensor,
    *,
    ignore: Tensor | None = None,
    query_chunk: int = QUERY_CHUNK,
    reference_chunk: int = REFERENCE_CHUNK,
) -> Tensor:
    """Rank of each query's true reference by dot product, equal to brute force in float64.

    For L2-normalised descriptors the order is that of the distance 2 - 2·cos. Blocks are scored in float32,
    whatever the descriptors' type; references too close to the true one for float32 are compared with it in
    float64. So neither rounding nor the size of the chunks changes a rank, and a duplicate of the true
    descriptor is a tie.

    Args:
        queries: (Q, D) float16, bfloat16, float32 or float64, on any device.
        references: (R, D), on the same device.
        positive: (Q,) int64, each query's true reference; or (Q, M) padded with -1: the nearest counts.
        ignore: (Q, M) int64, padded with -1: references never counted as nearer (VIGOR's semi-positives).
        query_chunk: queries scored at a time (fewer where the gallery is very large).
        reference_chunk: references scored at a time.

    Returns:
        (Q,) int64 on the CPU: 0 is best; R for a query without a true reference (all -1), found at no K.

    Raises:
        ModelError: if descriptors are not finite, or queries and references differ in length.
        DatasetError: if a reference index lies outside the gallery.
    """
    pairs = listed_pairs(positive, len(queries), len(references))
    return _ranks_by_dot_product(
        queries, references, pairs, ignore=ignore, query_chunk=query_chunk, reference_chunk=reference_chunk
    )


def ranks_within(
    queries: Tensor,
    references: Tensor,
    query_xy_m: npt.ArrayLike,
    reference_xy_m: npt.ArrayLike,
    radius_m: float = CVACT_TEST_RADIUS_M,
    *,
    query_chunk: int = QUERY_CHUNK,
    reference_chunk: int = REFERENCE_CHUNK,
) -> Tensor:
    """Rank of the best-scored reference within a radius of each query (CVACT_test: 25 m in UTM).

    It is below K exactly if one of the top K references lies within the radius.

    Args:
        queries: (Q, D) descriptors, as for :func:`ranks`.
        references: (R, D) descriptors.
        query_xy_m: (Q, 2) metres east and north in one plane for all, such as one UTM zone.
        reference_xy_m: (R, 2), the same plane.
        radius_m: references at most this far away are hits.
        query_chunk: queries scored at a time.
        reference_chunk: references scored at a time.

    Returns:
        (Q,) int64 on the CPU; R for a query with no reference within the radius, found at no K.

    Raises:
        ModelError: as for :func:`ranks`.
        DatasetError: if positions are not finite, or are not one for each descriptor.
    """
    for name, xy_m, descriptors in (
        ("query", query_xy_m, queries),
        ("reference", reference_xy_m, references),
    ):
        if np.shape(xy_m) != (len(descriptors), 2):
            raise DatasetError(
                f"{name} positions of shape {np.shape(xy_m)} do not fit {len(descriptors)} descriptors"
            )
    pairs = nearby_references(query_xy_m, reference_xy_m, radius_m)
    return _ranks_by_dot_product(
        queries, references, pairs, query_chunk=query_chunk, reference_chunk=reference_chunk
    )


def _ranks_by_dot_product(
    queries: Tensor,
    references: Tensor,
    pairs: PairsOf,
    *,
    ignore: Tensor | None = None,
    query_chunk: int,
    reference_chunk: int,
) -> Tensor:
    products = DotProduct(queries, references)
    return ranks_from_blocks(
        products,
        len(queries),
        len(references),
        products.best_of(pairs),
        ignore=ignore,
        near_ties=products.near_ties(),
        query_chunk=query_chunk,
        reference_chunk=reference_chunk,
    )


def nearby_references(query_xy_m: npt.ArrayLike, reference_xy_m: npt.ArrayLike, radius_m: float) -> PairsOf:
    """The references within a radius of each query, by a grid of cells, for :func:`ranks_from_blocks`.

    Args:
        query_xy_m: (Q, 2) metres east and north in one plane.
        reference_xy_m: (R, 2), the same plane.
        radius_m: inclusive.

    Raises:
        DatasetError: if a position is not finite, or the radius is negative.
    """
    query, reference = (np.asarray(xy_m, dtype=np.float64) for xy_m in (query_xy_m, reference_xy_m))
    if not (np.isfinite(query).all() and np.isfinite(reference).all() and radius_m >= 0):
        raise DatasetError(f"positions are not all finite, or the radius of {radius_m} m is negative")
    side_m = max(1.0, radius_m * (1.0 + 1e-9))
    origin = reference.min(axis=0) if len(reference) else np.zeros(2)
    cell = np.floor((reference - origin) / side_m).astype(np.int64)
    stride = int(cell[:, 1].max(initial=0)) + 6  # room for neighbours beyond both ends
    order = np.argsort(cell[:, 0] * stride + cell[:, 1], kind="stable")
    key = (cell[:, 0] * stride + cell[:, 1])[order]

    def pairs(queries: slice) -> tuple[Tensor, Tensor]:
        xy_m = query[queries]
        home = np.floor((xy_m - origin) / side_m).astype(np.int64)
        home[:, 1] = np.clip(home[:, 1], -2, stride - 4)
        rows, found = [], []
        for east in (-1, 0, 1):
            middle = (home[:, 0] + east) * stride + home[:, 1]
            first = np.searchsorted(key, middle - 1, "left")
            count = np.searchsorted(key, middle + 1, "right") - first
            row = np.repeat(np.arange(len(xy_m)), count)
            within_row = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            near = order[np.repeat(first, count) + within_row]
            inside = np.hypot(*(xy_m[row] - reference[near]).T) <= radius_m
            rows.append(row[inside])
            found.append(near[inside])
        return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(found))

    return pairs


def heading_errors(found_deg: npt.ArrayLike, true_deg: npt.ArrayLike) -> dict[str, float]:
    """Errors of headings the short way round: 359° against 1° is 2°.

    Args:
        found_deg: (Q,) headings found, degrees clockwise from north.
        true_deg: (Q,) true headings.

    Returns:
        ``median_deg``, ``mean_deg``, and in percent ``within_2_deg``, ``within_5_deg``, ``within_10_deg``.

    Raises:
        DatasetError: if there are none, or one is not finite.
    """
    return error_summary(angular_error(found_deg, true_deg), "deg", HEADING_LIMITS_DEG)


def distances(
    found_latitude_deg: npt.ArrayLike,
    found_longitude_deg: npt.ArrayLike,
    true_latitude_deg: npt.ArrayLike,
    true_longitude_deg: npt.ArrayLike,
) -> dict[str, float]:
    """Distances of found from true positions along the WGS84 ellipsoid.

    Args:
        found_latitude_deg: (Q,) latitudes found.
        found_longitude_deg: (Q,) longitudes found.
        true_latitude_deg: (Q,) true latitudes.
        true_longitude_deg: (Q,) true longitudes.

    Returns:
        ``median_m``, ``mean_m``, and in percent ``within_5_m``, ``within_10_m``, ``within_25_m`` and
        ``within_50_m``.

    Raises:
        DatasetError: if there are none, or one is not finite.
    """
    metres = distance_m(found_latitude_deg, found_longitude_deg, true_latitude_deg, true_longitude_deg)
    return error_summary(metres, "m", DISTANCE_LIMITS_M)


def error_summary(errors: npt.NDArray[np.float64], unit: str, limits: Sequence[int]) -> dict[str, float]:
    """Median, mean and shares of errors (Q,).

    Args:
        errors: one a query, in a unit.
        unit: ``m`` or ``deg``, as the names end.
        limits: errors at most this large are counted, in percent.

    Returns:
        ``median_UNIT``, ``mean_UNIT`` and, of each limit, ``within_LIMIT_UNIT``.

    Raises:
        DatasetError: if there are none, or one is not finite.
    """
    if errors.size == 0 or not np.isfinite(errors).all():
        raise DatasetError(
            f"{int(np.sum(~np.isfinite(errors)))} of {errors.size} answers are not numbers: no mean error",
            remedy="leave out what was not located",
        )
    shares = {f"within_{limit}_{unit}": 100.0 * float(np.mean(errors <= limit)) for limit in limits}
    return {f"median_{unit}": float(np.median(errors)), f"mean_{unit}": float(np.mean(errors))} | shares
