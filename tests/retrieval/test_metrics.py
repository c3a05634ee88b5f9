"""Ranks against brute force in exact arithmetic, ties, radii, streams, and the summaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smdt.errors import DatasetError, ModelError, SmdtError
from smdt.retrieval import ranking
from smdt.retrieval.metrics import (
    DotProduct,
    NearTies,
    distances,
    heading_errors,
    nearby_references,
    ranks,
    ranks_from_blocks,
    ranks_within,
    recall_at,
    top_k,
)


def normalised(count: int, length: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    descriptors = torch.randn(
        count, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return torch.nn.functional.normalize(descriptors, dim=1).to(dtype)


def brute_force(queries: Tensor, references: Tensor, positive: Tensor) -> Tensor:
    scores = queries.double() @ references.double().T
    return (scores > scores.gather(1, positive[:, None])).sum(dim=1)


# Recall


def test_recall_at_counts_ranks_below_k_in_percent() -> None:
    # Of eight queries: ranks 0 and 0 are found at 1, up to 4 at 5, up to 9 at 10.
    found = recall_at(torch.tensor([0, 0, 1, 4, 5, 9, 10, 87]), 8884)
    assert found == {"R@1": 25.0, "R@5": 50.0, "R@10": 75.0, "R@1%": 100.0}


@pytest.mark.parametrize(("count", "k"), [(8884, 88), (92802, 928), (10, 1), (199, 1), (200, 2)])
def test_one_percent_is_floor_and_at_least_one(count: int, k: int) -> None:
    assert recall_at(torch.tensor([k - 1]), count)["R@1%"] == 100.0
    assert recall_at(torch.tensor([k]), count)["R@1%"] == 0.0


def test_a_query_without_a_true_reference_is_found_at_no_k() -> None:
    found = ranks(normalised(1, 8, 0), normalised(3, 8, 1), torch.tensor([-1]))
    assert found.tolist() == [3]
    assert recall_at(found, 3) == {"R@1": 0.0, "R@5": 0.0, "R@10": 0.0, "R@1%": 0.0}


def test_recall_of_nothing_is_refused() -> None:
    with pytest.raises(DatasetError, match="0 queries among 5"):
        recall_at(torch.empty(0, dtype=torch.int64), 5)


# Ranks by descriptors


def test_ranks_by_hand() -> None:
    references = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    # Scores of (1, 0): 1, .8, 0, -1; of (0, 1): 0, .6, 1, 0 (0 and 3 tie behind 2 and 1).
    queries = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert ranks(queries, references, torch.tensor([0, 3, 3, 1])).tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("chunks", [(25, 60), (64, 97), (1000, 1000)])
def test_ranks_equal_brute_force(dtype: torch.dtype, chunks: tuple[int, int]) -> None:
    queries, references = normalised(97, 40, 2, dtype), normalised(203, 40, 3, dtype)
    positive = torch.randint(203, (97,), generator=torch.Generator().manual_seed(4))
    found = ranks(queries, references, positive, query_chunk=chunks[0], reference_chunk=chunks[1])
    assert torch.equal(found, brute_force(queries, references, positive))
    assert found.unique().numel() > 50  # not all one


def test_half_precision_is_accumulated_in_float32() -> None:
    # 4096 + 1 is 4096 in float16 and bfloat16: accumulated there, both references would score alike.
    query = torch.ones(1, 2, dtype=torch.float16)
    references = torch.tensor([[4096.0, 0.0], [4096.0, 1.0]], dtype=torch.float16)
    for dtype in (torch.float16, torch.bfloat16):
        assert ranks(query.to(dtype), references.to(dtype), torch.tensor([0])).tolist() == [1]
        scores = DotProduct(query.to(dtype), references.to(dtype))(slice(0, 1), slice(0, 2))
        assert scores.dtype == torch.float32
        assert scores.tolist() == [[4096.0, 4097.0]]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_ranks_equal_exact_brute_force_with_ties(data: st.DataObject) -> None:
    """Small integers: scores tie often, and exactly; powers of two keep the descriptors exact, not their products."""
    length = data.draw(st.integers(1, 6))
    vectors = st.lists(st.integers(-3, 3), min_size=length, max_size=length)
    queries = torch.tensor(data.draw(st.lists(vectors, min_size=1, max_size=6)))
    references = torch.tensor(data.draw(st.lists(vectors, min_size=1, max_size=12)))
    index = st.integers(0, len(references) - 1)
    positive = torch.tensor([data.draw(index) for _ in queries])
    ignore = torch.tensor(
        [[data.draw(st.integers(-1, len(references) - 1)) for _ in range(2)] for _ in queries]
    )
    exact = queries @ references.T  # int64
    nearer = exact > exact.gather(1, positive[:, None])
    ignored = torch.zeros_like(nearer)
    for row, columns in enumerate(ignore.tolist()):
        for column in columns:
            ignored[row, column] |= column >= 0
    for query_scale, reference_scale in ((1.0, 1.0), (2.0**-80, 2.0**-80), (2.0**100, 1.0)):
        found = ranks(
            queries.float() * query_scale,
            references.float() * reference_scale,
            positive,
            ignore=ignore,
            query_chunk=data.draw(st.integers(1, 7)),
            reference_chunk=data.draw(st.integers(1, 13)),
        )
        assert found.tolist() == (nearer & ~ignored).sum(dim=1).tolist()


def test_all_equal_descriptors_tie() -> None:
    one = normalised(1, 96, 5)
    found = ranks(one.expand(40, -1), one.expand(70, -1), torch.arange(40), query_chunk=16, reference_chunk=9)
    assert found.tolist() == [0] * 40


def test_duplicates_of_the_true_descriptor_are_not_nearer() -> None:
    # Whatever the matrix product makes of them at different places of different blocks.
    queries, references = normalised(50, 257, 6), normalised(50, 257, 7).repeat(5, 1)
    for reference_chunk in (30, 50, 64, 250):
        found = ranks(queries, references, torch.arange(50), reference_chunk=reference_chunk)
        assert torch.equal(found, 5 * brute_force(queries, references[:50], torch.arange(50)))


def test_references_closer_than_float32_tells_are_still_ordered() -> None:
    # Descriptors that differ in one number by one unit in the last place, amid 511 others: their scores
    # differ by less than float32 resolves, but one of them is strictly nearer.
    query = normalised(1, 512, 8).abs()
    base = normalised(1, 512, 9).abs()
    higher, lower = base.clone(), base.clone()
    place = int((base * query).argmin())
    higher[0, place] = torch.nextafter(base[0, place], torch.tensor(1.0))
    lower[0, place] = torch.nextafter(base[0, place], torch.tensor(0.0))
    references = torch.cat([lower, base, higher])
    single = query @ references.T
    assert float(single[0, 2]) <= float(single[0, 0])  # float32 cannot tell, or errs
    assert ranks(query.expand(3, -1), references, torch.arange(3)).tolist() == [2, 1, 0]


def test_lower_matrix_precision_does_not_change_ranks() -> None:
    queries, references = normalised(128, 256, 10), normalised(512, 256, 11)
    positive = torch.arange(128)
    everything = slice(0, 128), slice(0, 512)
    single = DotProduct(queries, references)(*everything)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = ranks(queries, references, positive)
            assert torch.equal(DotProduct(queries, references)(*everything), single)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, brute_force(queries, references, positive))


def test_semi_positives_are_not_counted_as_nearer() -> None:
    references = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    query = torch.ones(1, 1)
    assert ranks(query, references, torch.tensor([3])).tolist() == [3]
    # 0 and 2 ignored, given twice and padded; ignoring the true one changes nothing.
    for ignore in ([[0, 2, -1]], [[0, 2, 0]], [[0, 2, 3]]):
        assert ranks(query, references, torch.tensor([3]), ignore=torch.tensor(ignore)).tolist() == [1]


def test_several_true_references_the_nearest_counts() -> None:
    references = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    table = torch.tensor([[3, 1], [2, -1], [-1, -1]])
    assert ranks(torch.ones(3, 1), references, table).tolist() == [1, 2, 4]


def test_descriptors_that_are_not_finite_name_their_rows() -> None:
    queries = normalised(9, 4, 12)
    queries[3, 1], queries[7, 0] = float("nan"), float("inf")
    with pytest.raises(ModelError, match=r"2 of 9 query descriptors are not finite \(rows 3, 7\)") as caught:
        ranks(queries, normalised(9, 4, 13), torch.arange(9))
    assert isinstance(caught.value, SmdtError)
    with pytest.raises(ModelError, match=r"7 of 7 reference descriptors .*\(rows 0, 1, 2, 3, 4, …\)"):
        ranks(normalised(1, 4, 13), torch.full((7, 4), torch.nan), torch.tensor([0]))


def test_descriptors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="do not fit references"):
        ranks(normalised(2, 4, 0), normalised(2, 5, 0), torch.arange(2))
    with pytest.raises(ModelError, match="too large"):
        ranks(torch.full((1, 2), 1e20), torch.full((1, 2), 1e20), torch.tensor([0]))


@pytest.mark.parametrize("positive", [[0, 3], [0, -2]])
def test_a_reference_outside_the_gallery_is_refused(positive: list[int]) -> None:
    with pytest.raises(DatasetError, match="is not in the gallery of 3"):
        ranks(normalised(2, 4, 0), normalised(3, 4, 0), torch.tensor(positive))


def test_one_true_reference_for_each_query() -> None:
    with pytest.raises(DatasetError, match="given for 1 queries, but there are 2"):
        ranks(normalised(2, 4, 0), normalised(3, 4, 0), torch.tensor([0]))


# Within a radius


def test_ranks_within_by_hand() -> None:
    references = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    reference_xy_m = [[1000.0, 0.0], [40.0, 0.0], [15.0, 20.0], [0.0, -25.5]]
    # From (0, 0): 1000 m, 40 m, exactly 25 m, 25.5 m. From (500, 500) nothing within 25 m; from (40, 10) the
    # second, and the third at 26.9 m not.
    query_xy_m = [[0.0, 0.0], [500.0, 500.0], [40.0, 10.0]]
    found = ranks_within(torch.ones(3, 1), references, query_xy_m, reference_xy_m, 25.0)
    assert found.tolist() == [2, 4, 1]
    assert recall_at(found, 4)["R@1"] == 0.0


def test_a_hit_within_the_radius_is_among_the_top_k() -> None:
    queries, references = normalised(60, 16, 14), normalised(300, 16, 15)
    generator = np.random.default_rng(16)
    query_xy_m = generator.uniform(0, 400, (60, 2))
    reference_xy_m = generator.uniform(0, 400, (300, 2))
    found = ranks_within(
        queries, references, query_xy_m, reference_xy_m, 25.0, query_chunk=17, reference_chunk=31
    )
    order = (queries.double() @ references.double().T).argsort(dim=1, descending=True)
    apart_m = np.linalg.norm(query_xy_m[:, None] - reference_xy_m[None], axis=2)
    for k in (1, 5, 10, 300):
        hit = (np.take_along_axis(apart_m, order.numpy()[:, :k], axis=1) <= 25.0).any(axis=1)
        assert ((found < k).numpy() == hit).all()
    assert 0 < int((found < 10).sum()) < 60


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_nearby_references_equal_all_pairs(data: st.DataObject) -> None:
    position = st.tuples(st.integers(-60, 60), st.integers(-60, 60))
    query = np.array(data.draw(st.lists(position, min_size=1, max_size=8)), dtype=float)
    reference = np.array(data.draw(st.lists(position, min_size=1, max_size=30)), dtype=float)
    radius_m = data.draw(st.sampled_from([0.0, 0.3, 5.0, 25.0, 200.0]))
    rows, found = nearby_references(query + 6e5, reference + 6e5, radius_m)(slice(0, len(query)))
    apart = np.linalg.norm(query[:, None] - reference[None], axis=2) <= radius_m
    assert sorted(zip(rows.tolist(), found.tolist(), strict=True)) == list(
        map(tuple, np.argwhere(apart).tolist())
    )


def test_nearby_references_across_cells() -> None:
    generator = np.random.default_rng(21)
    query, reference = generator.uniform(-30, 230, (200, 2)), generator.uniform(0, 200, (500, 2))
    rows, found = nearby_references(query, reference, 25.0)(slice(50, 200))
    apart = np.linalg.norm(query[50:, None] - reference[None], axis=2) <= 25.0
    assert apart.sum() > 1000
    assert sorted(zip(rows.tolist(), found.tolist(), strict=True)) == list(
        map(tuple, np.argwhere(apart).tolist())
    )


def test_positions_that_do_not_fit_are_refused() -> None:
    one = normalised(1, 4, 0)
    with pytest.raises(DatasetError, match=r"reference positions of shape \(2, 2\) do not fit 1 descriptors"):
        ranks_within(one, one, [[0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(DatasetError, match="not all finite"):
        ranks_within(one, one, [[0.0, float("nan")]], [[0.0, 0.0]])


# Streams of scores


def test_each_block_is_scored_once_and_the_matrix_never_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(20, 33, generator=torch.Generator().manual_seed(17))
    before = scores.clone()
    asked: list[tuple[int, int, int, int]] = []

    def block(queries: slice, references: slice) -> Tensor:
        asked.append((queries.start, queries.stop, references.start, references.stop))
        return scores[queries, references]

    positive = torch.randperm(33, generator=torch.Generator().manual_seed(18))[:20]
    # Space for three rows of held scores: chunks of three queries, although eight were asked for.
    monkeypatch.setattr(ranking, "HELD_SCORES_BYTES", 3 * 33 * 4)
    found = ranks_from_blocks(block, 20, 33, positive, query_chunk=8, reference_chunk=10)
    assert torch.equal(found, (scores > scores.gather(1, positive[:, None])).sum(dim=1))
    assert len(asked) == len(set(asked)) == 7 * 4
    assert all(q1 - q0 <= 3 and r1 - r0 <= 10 for q0, q1, r0, r1 in asked)
    assert torch.equal(scores, before)  # a caller's matrix is left as it was


def test_near_ties_without_a_margin_are_ties() -> None:
    scores = torch.tensor([[0.5, 0.5 + 1e-6, 0.6, 0.4]])
    ties = NearTies(torch.tensor([1e-5]))
    for near_ties, expected in ((None, 2), (ties, 1)):
        found = ranks_from_blocks(lambda q, r: scores[q, r], 1, 4, torch.tensor([0]), near_ties=near_ties)
        assert found.tolist() == [expected]


def test_a_stream_takes_the_best_of_several_true_references() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.1, 0.9, 0.5, 0.7]])
    pairs = nearby_references(
        [[0.0, 0.0], [100.0, 0.0]], [[1.0, 0.0], [99.0, 0.0], [2.0, 0.0], [50.0, 0.0]], 5.0
    )
    found = ranks_from_blocks(lambda q, r: scores[q, r], 2, 4, pairs, reference_chunk=3)
    assert found.tolist() == [2, 0]


def test_scores_that_are_not_numbers_are_refused() -> None:
    scores = torch.zeros(2, 3)
    scores[1, 2] = torch.nan
    with pytest.raises(ModelError, match=r"scores of queries 0\.\.1 are not all numbers"):
        ranks_from_blocks(lambda q, r: scores[q, r], 2, 3, torch.tensor([0, 0]))


def test_half_precision_scores_are_counted_in_full() -> None:
    # 5,001 references are nearer, which float16 would round to 5,000.
    scores = torch.ones(1, 5002, dtype=torch.float16)
    scores[0, 0] = 0.5
    assert (
        ranks_from_blocks(lambda q, r: scores[q, r], 1, 5002, torch.tensor([0]), reference_chunk=5002).item()
        == 5001
    )


def test_top_k_equals_sorting() -> None:
    queries, references = normalised(30, 24, 19), normalised(101, 24, 20)
    scores, indices = top_k(DotProduct(queries, references), 30, 101, 7, query_chunk=11, reference_chunk=13)
    expected = (queries.double() @ references.double().T).sort(dim=1, descending=True)
    assert torch.equal(indices, expected.indices[:, :7])
    assert torch.allclose(scores.double(), expected.values[:, :7], atol=1e-6)


def test_top_k_gives_what_there_is_and_equal_scores_by_index() -> None:
    scores = torch.tensor([[0.5, 0.9, 0.5, 0.5]])
    values, indices = top_k(lambda q, r: scores[q, r], 1, 4, 9, reference_chunk=3)
    assert indices.tolist() == [[1, 0, 2, 3]]
    assert values.tolist() == scores[:, [1, 0, 2, 3]].tolist()
    _, indices = top_k(lambda q, r: torch.ones(2, 300)[q, r], 2, 300, 300, reference_chunk=70)
    assert indices.tolist() == [list(range(300))] * 2


# Summaries


def test_heading_errors_wrap() -> None:
    # Errors: 2, 2, 5, 11, 180 degrees.
    found = heading_errors([359, 1, 85, 11, 270], [1, 359, 90, 0, 90])
    assert found == {
        "median_deg": pytest.approx(5.0),
        "mean_deg": pytest.approx(40.0),
        "within_2_deg": pytest.approx(40.0),
        "within_5_deg": pytest.approx(60.0),
        "within_10_deg": pytest.approx(60.0),
    }


def test_distances_in_metres() -> None:
    # One second of latitude at the equator is 30.715 m on WGS84; of longitude 30.922 m.
    second = 1 / 3600
    found = distances([0.0, second, 0.0, second / 10], [0.0, 0.0, second, 0.0], [0.0] * 4, [0.0] * 4)
    assert found["median_m"] == pytest.approx((3.0715 + 30.715) / 2, abs=0.001)
    assert found["mean_m"] == pytest.approx((0 + 30.715 + 30.922 + 3.0715) / 4, abs=0.001)
    assert [found[f"within_{limit}_m"] for limit in (5, 10, 25, 50)] == [50.0, 50.0, 50.0, 100.0]


def test_summaries_of_what_was_not_found_are_refused() -> None:
    with pytest.raises(DatasetError, match="1 of 2 answers"):
        heading_errors([float("nan"), 3.0], [1.0, 2.0])
    with pytest.raises(DatasetError, match="0 of 0 answers"):
        distances([], [], [], [])
