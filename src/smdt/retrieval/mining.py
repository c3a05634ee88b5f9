"""Which pairs of a data set share a batch: near neighbours in metres or in looks, so that negatives are hard.

Every epoch is one table of batches, (N, B) indices of queries, that uses each query once at most. No batch holds two
queries whose references show one place: such a negative would be none.

Source: sampling by place and by similarity as in Sample4Geo (ICCV 2023), here by groups of neighbours within a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from smdt.data.pairs import PairSplit
from smdt.errors import ConfigError

Indices = npt.NDArray[np.int64]
_EARTH_RADIUS_M = 6_371_008.8


def shown_places(split: PairSplit) -> Indices:
    """The references that show each query's place, (Q, 1 + k): its true one, then its semi-positives, -1 for none."""
    own = split.positive[:, None]
    return own if split.semi_positives is None else np.concatenate([own, split.semi_positives], axis=1)


def place_coordinates(split: PairSplit) -> npt.NDArray[np.float64]:
    """Where each query is, as points (Q, 2 or 3) in metres whose straight distance is that on the ground.

    From the split's plane coordinates, or else from latitude and longitude as points in space on a sphere.

    Raises:
        ConfigError: if the data set has no coordinates.
    """
    if split.query_xy_m is not None:
        return split.query_xy_m
    if split.reference_xy_m is not None:
        return split.reference_xy_m[split.positive]
    found = []
    for query, place in zip(split.queries, split.positive, strict=True):
        for one in (query, split.references[int(place)]):
            if one.latitude is not None and one.longitude is not None:
                found.append((one.latitude, one.longitude))
                break
    if len(found) < len(split.queries):
        raise ConfigError(
            f"{split.dataset} has no coordinates to find neighbours by",
            where="mining",
            remedy="use mining: similarity, or random",
        )
    latitude, longitude = np.radians(np.array(found)).T
    east, north, up = (
        np.cos(latitude) * np.cos(longitude),
        np.cos(latitude) * np.sin(longitude),
        np.sin(latitude),
    )
    return _EARTH_RADIUS_M * np.stack([east, north, up], axis=1)


def nearest_by_place(points_m: npt.NDArray[np.float64], count: int) -> Indices:
    """The nearest other queries of each, (Q, count), nearest first.

    Args:
        points_m: (Q, 2 or 3) metres.
        count: neighbours wanted; fewer where there are not as many.
    """
    wanted = min(count + 1, len(points_m))
    _, found = cKDTree(points_m).query(points_m, k=wanted)
    return _without_self(np.asarray(found, np.int64).reshape(len(points_m), wanted))


def nearest_by_similarity(
    queries: npt.NDArray[np.float32], references: npt.NDArray[np.float32], positive: Indices, count: int
) -> Indices:
    """The queries whose references look most like each query's place, (Q, count), most alike first.

    Args:
        queries: (Q, D) descriptors of unit norm.
        references: (N, D) of unit norm.
        positive: (Q,) each query's reference. A reference of several queries stands for the first of them.
        count: neighbours wanted; fewer where there are not as many, then -1.

    Raises:
        ConfigError: if faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "mining by similarity needs a package that is not installed",
            where="faiss-cpu",
            remedy="pip install 'smdt[train]'",
        ) from error
    owner = np.full(len(references), -1, np.int64)
    owner[positive[::-1]] = np.arange(len(positive))[::-1]
    searched = np.flatnonzero(owner >= 0)
    faiss.cvar.distance_compute_blas_threshold = 20  # the default makes this six times slower
    index = faiss.IndexFlatIP(int(references.shape[1]))
    index.add(np.ascontiguousarray(references[searched]))
    _, found = index.search(np.ascontiguousarray(queries), min(count + 1, len(searched)))
    return _without_self(np.asarray(owner[searched[found]], np.int64))


def _without_self(neighbours: Indices) -> Indices:
    """Neighbours (Q, k+1) without the query itself, or without the last where it is not among them: (Q, k)."""
    itself = neighbours == np.arange(len(neighbours))[:, None]
    itself[~itself.any(axis=1), -1] = True
    drop = itself.argmax(axis=1)
    kept = np.arange(neighbours.shape[1])[None] != drop[:, None]
    others: Indices = neighbours[kept].reshape(len(neighbours), -1)
    return others


def mined_batches(
    shown: Indices, batch: int, rng: np.random.Generator, neighbours: Indices | None = None, group: int = 1
) -> Indices:
    """One epoch of batches.

    Each batch is filled with groups: a query at random and its nearest that are still free. Where neighbours run out,
    another query at random begins the next group. Queries that do not fill a last batch wait for the next epoch.

    Args:
        shown: (Q, m) the references that show each query's place, its own first, -1 for none.
        batch: queries in a batch.
        rng: where the randomness comes from.
        neighbours: (Q, k) other queries, nearest first, -1 for none; None: all batches are at random.
        group: queries in a group.

    Returns:
        (N, batch) indices of queries.

    Raises:
        ConfigError: if there are not enough different places for one batch.
    """
    if batch < 2 or group < 1:
        raise ConfigError(
            f"batches of {batch} in groups of {group} cannot be",
            where="--batch",
            remedy="give 2 or more, and 1 or more",
        )
    free = np.ones(len(shown), bool)
    waiting = list(map(int, rng.permutation(len(shown))[::-1]))
    batches = []
    while True:
        filled = _fill(shown, batch, free, waiting, neighbours, group)
        if filled is None:
            break
        batches.append(filled)
    if not batches:
        raise ConfigError(
            f"{len(shown)} pairs make no batch of {batch} different places",
            where="--batch",
            remedy="choose a smaller one",
        )
    table = np.array(batches, np.int64)
    return table[rng.permutation(len(table))]


class _Batch:
    """A batch being filled, and which places it shows."""

    def __init__(self, shown: Indices) -> None:
        self.shown, self.members = shown, list[int]()
        self.own, self.all = set[int](), set[int]()

    def take(self, query: int) -> bool:
        """Take a query in, unless a member's reference shows its place or its reference a member's."""
        places = {int(one) for one in self.shown[query] if one >= 0}
        own = int(self.shown[query, 0])
        if own in self.all or places & self.own:
            return False
        self.members.append(query)
        self.own.add(own)
        self.all |= places
        return True


def _fill(
    shown: Indices,
    batch: int,
    free: npt.NDArray[np.bool_],
    waiting: list[int],
    neighbours: Indices | None,
    group: int,
) -> list[int] | None:
    """Fill one batch from the queries waiting; None, with all of them used up, when it cannot be filled."""
    filling, passed_over = _Batch(shown), list[int]()
    while len(filling.members) < batch and waiting:
        seed = waiting.pop()
        if not free[seed]:
            continue
        if not filling.take(seed):
            passed_over.append(seed)
            continue
        free[seed] = False
        near: Iterable[int] = () if neighbours is None else map(int, neighbours[seed])
        wanted = min(batch, len(filling.members) + group - 1)
        for one in near:
            if len(filling.members) >= wanted:
                break
            if one >= 0 and free[one] and filling.take(one):
                free[one] = False
    waiting.extend(reversed(passed_over))
    return filling.members if len(filling.members) == batch else None


def batches_in(pairs: int, batch: int) -> int:
    """How many whole batches pairs make."""
    return math.floor(pairs / batch)
