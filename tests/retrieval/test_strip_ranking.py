"""Ranking by strips: what is seen, what all share, and descriptors of one column."""

import torch
from torch import Tensor

from smdt.retrieval.metrics import ranks
from smdt.retrieval.strip_ranking import rank_strips, seen_columns
from smdt.retrieval.strip_scores import AlignedScores, QueryStrips, ready_references


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_mean_that_all_share_is_removed_for_models_that_ask() -> None:
    strips = normal(9, 6, 16, seed=0)
    common = 20.0 * normal(6, 1, seed=1)
    drowned, other = strips + common, strips + 15.0 * common.flip(0)
    for remove, all_found in ((False, False), (True, True)):
        found = rank_strips(
            drowned,
            ready_references(other, remove_mean=remove),
            torch.arange(9),
            remove_mean=remove,
            heading_deg=torch.zeros(9),
        )
        assert bool((found.ranks == 0).all()) == all_found
        assert found.heading_deg.numel() == 0


def test_what_a_query_sees_is_centred() -> None:
    assert seen_columns(8, 90.0).tolist() == [False] * 3 + [True] * 2 + [False] * 3
    assert bool(seen_columns(8, 360.0).all())
    assert int(seen_columns(8, 1.0).sum()) == 1
    assert seen_columns(1, 70.0).tolist() == [True]


def test_strips_of_one_column_rank_as_descriptors_and_find_no_heading() -> None:
    queries, references = normal(20, 32, 1, seed=2), normal(50, 32, 1, seed=3)
    positive = torch.arange(20) * 2
    unit = [torch.nn.functional.normalize(some[..., 0], dim=1) for some in (queries, references)]
    wanted = ranks(*unit, positive)
    ready = ready_references(references, remove_mean=False)
    for heading_deg in (None, torch.linspace(0, 350, 20)):
        for field_of_view_deg in (360.0, 70.0):
            found = rank_strips(
                queries, ready, positive, remove_mean=False,
                heading_deg=heading_deg, field_of_view_deg=field_of_view_deg, shortlist=5,
            )  # fmt: skip
            assert found.ranks.tolist() == wanted.tolist()
            assert found.heading_deg.numel() == 0
            assert not found.shortlisted
            best = (unit[0] @ unit[1].T).max(dim=1)
            assert found.best.tolist() == best.indices.tolist()
            torch.testing.assert_close(found.score, best.values)


def test_near_ties_of_known_headings_are_decided_in_float64() -> None:
    query = torch.zeros(1, 2, 4)
    query[0, 0] = 1.0
    nearly = query.clone()
    nearly[0, 1, 0] = 1e-4  # its cosine is 1 - 1.25e-9, which is 1 in float32
    references = ready_references(torch.cat([nearly, query, nearly, query]), remove_mean=False)
    found = rank_strips(query, references, torch.tensor([0]), remove_mean=False, heading_deg=torch.zeros(1))
    assert found.ranks.tolist() == [2]
    found = rank_strips(query, references, torch.tensor([1]), remove_mean=False, heading_deg=torch.zeros(1))
    assert found.ranks.tolist() == [0]  # its equal is a tie


def test_margins_are_of_the_columns_that_are_seen_after_turning() -> None:
    queries, references = (
        normal(4, 3, 8, seed=4),
        ready_references(normal(6, 3, 8, seed=5), remove_mean=False),
    )
    heading_deg = torch.tensor([0.0, 90.0, 225.0, 100.0])
    scores = AlignedScores(QueryStrips(queries, seen_columns(8, 180.0), heading_deg), references)
    block = scores(slice(0, 4), slice(0, 6)).double()
    query, first, second = torch.tensor([3, 0, 3, 1]), torch.tensor([0, 1, 2, 5]), torch.tensor([4, 4, 2, 0])
    margin = scores.margin(query, first, second)
    torch.testing.assert_close(margin, block[query, first] - block[query, second], atol=1e-6, rtol=0)
    assert float(margin[2]) == 0.0
    assert float(scores.near_ties().tolerance) < 1e-5
