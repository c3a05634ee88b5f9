from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smdt.data.pairs import PairSplit, Query, Reference
from smdt.errors import ConfigError
from smdt.geometry.geodesy import distance_m
from smdt.retrieval.mining import (
    mined_batches,
    nearest_by_place,
    nearest_by_similarity,
    place_coordinates,
    shown_places,
)


def _split(count: int) -> PairSplit:
    return PairSplit(
        dataset="test",
        split="all",
        listing=Path("list"),
        queries=tuple(Query(str(i), Path(f"{i}.jpg")) for i in range(count)),
        references=tuple(Reference(str(i), Path(f"{i}.png")) for i in range(count)),
        positive=np.arange(count),
        ground_frame=None,
        elevation_deg=45.0,
    )


def test_coordinates_come_from_the_plane_or_from_latitude_and_longitude() -> None:
    split = _split(2)
    with pytest.raises(ConfigError, match="no coordinates"):
        place_coordinates(split)
    plane = replace(split, query_xy_m=np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert place_coordinates(plane).tolist() == [[0.0, 0.0], [3.0, 4.0]]
    turned = replace(
        split, reference_xy_m=np.array([[9.0, 9.0], [1.0, 2.0]]), positive=np.array([1, 0], np.int64)
    )
    assert place_coordinates(turned).tolist() == [[1.0, 2.0], [9.0, 9.0]]
    here, there = (60.0, 24.0), (60.001, 24.003)
    sphere = replace(
        split,
        queries=(replace(split.queries[0], latitude=here[0], longitude=here[1]), split.queries[1]),
        references=(split.references[0], replace(split.references[1], latitude=there[0], longitude=there[1])),
    )
    points = place_coordinates(sphere)
    straight = float(np.linalg.norm(points[0] - points[1]))
    assert straight == pytest.approx(float(distance_m(*here, *there)), rel=0.005)


def test_neighbours_in_metres_by_hand() -> None:
    line = np.array([[0.0, 0.0], [10.0, 0.0], [11.0, 0.0], [50.0, 0.0]])
    assert nearest_by_place(line, 2).tolist() == [[1, 2], [2, 0], [1, 0], [2, 1]]
    assert nearest_by_place(line, 9).shape == (4, 3)
    same = np.zeros((3, 2))
    assert all(i not in row for i, row in enumerate(nearest_by_place(same, 1).tolist()))


def test_neighbours_in_looks_are_the_queries_of_the_references_most_alike() -> None:
    def unit(degrees: list[float]) -> np.ndarray:
        angle = np.radians(degrees)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    queries = unit([0.0, 40.0, 90.0])
    references = unit([170.0, 95.0, 5.0, 30.0])  # the first belongs to no query
    positive = np.array([2, 3, 1])
    assert nearest_by_similarity(queries, references, positive, 2).tolist() == [[1, 2], [0, 2], [1, 0]]
    assert nearest_by_similarity(queries, references, positive, 1).tolist() == [[1], [0], [1]]


def test_two_queries_of_one_reference_count_as_the_first() -> None:
    queries = np.eye(3, dtype=np.float32)[[0, 1, 0]]
    references = np.eye(3, dtype=np.float32)[:2]
    found = nearest_by_similarity(queries, references, np.array([0, 1, 0]), 1)
    assert found.tolist() == [[1], [0], [0]]


def test_every_query_is_used_once_at_most_and_batches_differ_by_epoch() -> None:
    shown = np.arange(50)[:, None]
    first, again, other = (mined_batches(shown, 8, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 8)
    assert len(np.unique(first)) == 48
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_groups_are_near_neighbours() -> None:
    points = np.random.default_rng(0).uniform(0, 1000, (400, 2))
    near = nearest_by_place(points, 16)
    shown = np.arange(400)[:, None]

    def spread(batches: np.ndarray) -> float:
        apart = np.linalg.norm(points[batches][:, :, None] - points[batches][:, None], axis=3)
        np.einsum("bii->bi", apart)[:] = np.inf
        return float(np.median(apart.min(axis=2)))

    mined = mined_batches(shown, 16, np.random.default_rng(1), near, group=4)
    at_random = mined_batches(shown, 16, np.random.default_rng(1))
    assert spread(mined) < 0.5 * spread(at_random)
    assert len(np.unique(mined)) == mined.size == 400


def test_no_batch_shows_a_place_twice() -> None:
    # six queries of three references, and query 6's reference also shows what query 7 sees
    shown = np.array([[0, -1], [0, -1], [1, -1], [1, -1], [2, -1], [2, -1], [3, -1], [4, 3]])
    for seed in range(30):
        for batch in mined_batches(shown, 3, np.random.default_rng(seed), group=2).tolist():
            own = shown[batch, 0]
            assert len(set(own.tolist())) == 3
            assert not {6, 7} <= set(batch)
    with pytest.raises(ConfigError, match="make no batch of 5 different places"):
        mined_batches(shown, 5, np.random.default_rng(0))


def test_semi_positives_count_as_shown() -> None:
    split = replace(_split(3), semi_positives=np.array([[1, -1], [2, 0], [-1, -1]]))
    assert shown_places(split).tolist() == [[0, 1, -1], [1, 2, 0], [2, -1, -1]]
    assert shown_places(_split(2)).tolist() == [[0], [1]]
