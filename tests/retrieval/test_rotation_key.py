"""The rotation-free key: what it keeps, what it bounds, and what a shortlist by it changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smdt.retrieval.matching import circular_scores, normalise_references
from smdt.retrieval.rotation_key import RotationKeys, ShortlistedScores, rotation_key, turned_pairs
from smdt.retrieval.strip_ranking import rank_strips
from smdt.retrieval.strip_scores import QueryStrips, TurnedScores, ready_references

C, W = 5, 16
widths = st.integers(1, 17)


def strips(count: int, seed: int, width: int = W) -> Tensor:
    return torch.randn(count, C, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(widths, st.integers(-40, 40), st.integers(0, 10**6))
def test_turning_a_strip_leaves_its_key(width: int, turn: int, seed: int) -> None:
    some = strips(3, seed, width)
    torch.testing.assert_close(rotation_key(torch.roll(some, turn, dims=-1)), rotation_key(some))


@settings(max_examples=30, deadline=None)
@given(widths, st.integers(0, 10**6))
def test_a_key_has_the_strips_norm_and_no_turn_scores_above_the_keys(width: int, seed: int) -> None:
    queries, references = (
        normalise_references(strips(4, seed, width)),
        normalise_references(strips(6, seed + 1, width)),
    )
    torch.testing.assert_close(rotation_key(queries).norm(dim=1), torch.ones(4))
    best = circular_scores(queries, references).amax(2)
    assert bool((rotation_key(queries) @ rotation_key(references).T >= best - 1e-5).all())


def test_different_places_have_different_keys() -> None:
    keys = rotation_key(normalise_references(strips(6, 0)))
    assert float((keys @ keys.T).fill_diagonal_(0).max()) < 0.98


def test_products_at_all_turns_are_the_circular_ones() -> None:
    queries, references = strips(3, 1), normalise_references(strips(7, 2))
    chosen = torch.tensor([[0, 3], [6, 1], [2, 2]])
    wanted = circular_scores(queries, references)
    found = turned_pairs(queries, references[chosen])
    torch.testing.assert_close(found, torch.stack([wanted[i, c] for i, c in enumerate(chosen)]))


@pytest.mark.parametrize("dims", [3, 500])
def test_compressed_keys_are_of_unit_norm_and_their_own_nearest(dims: int) -> None:
    references = normalise_references(strips(30, 3))
    keys = RotationKeys(references, dims, centred=False)
    assert keys.keys.shape == (30, min(dims, 30))
    torch.testing.assert_close(keys.keys.norm(dim=1), torch.ones(30))
    turned = torch.roll(references, 5, dims=-1)
    assert keys.nearest(keys.of(turned), 4)[:, 0].tolist() == list(range(30))


def test_references_that_are_all_alike_do_no_harm() -> None:
    alike = normalise_references(strips(1, 4)).expand(9, -1, -1)
    keys = RotationKeys(alike, centred=True)
    assert bool(torch.isfinite(keys.keys).all())


@pytest.mark.parametrize("centred", [False, True])
def test_the_shortlist_has_exact_scores_and_stands_above_the_rest(centred: bool) -> None:
    references = ready_references(strips(40, 5), remove_mean=False)
    queries = QueryStrips(strips(6, 6), torch.ones(W, dtype=torch.bool))
    found = ShortlistedScores(queries, references, 7, RotationKeys(references, centred=centred))
    exact = TurnedScores(queries, references)(slice(0, 6), slice(0, 40))
    parts = [found(slice(0, 6), slice(start, start + 10)) for start in range(0, 40, 10)]
    scores = torch.cat(parts, dim=1)
    _, chosen, _ = found.shortlisted(slice(0, 6))
    torch.testing.assert_close(scores.gather(1, chosen), exact.gather(1, chosen))
    rest = scores.scatter(1, chosen, -9.0)
    assert bool((rest.amax(1) < scores.gather(1, chosen).amin(1)).all())
    assert chosen.shape == (6, 7)


def test_ranks_are_exact_where_the_true_reference_is_shortlisted() -> None:
    references, noise = strips(60, 7), strips(60, 8)
    queries = torch.roll(references + 0.5 * noise, 3, dims=-1)
    ready = ready_references(references, remove_mean=True)
    truth = torch.arange(60)
    exact = rank_strips(queries, ready, truth, remove_mean=True)
    found = rank_strips(queries, ready, truth, remove_mean=True, shortlist=20)
    assert found.shortlisted
    assert not exact.shortlisted
    assert float((found.ranks == exact.ranks).float().mean()) > 0.8
    assert float((exact.ranks == 0).float().mean()) > 0.9
    torch.testing.assert_close(found.heading_deg, exact.heading_deg, atol=1e-2, rtol=0)
    whole = rank_strips(queries, ready, truth, remove_mean=True, shortlist=60)
    assert not whole.shortlisted
    assert whole.ranks.tolist() == exact.ranks.tolist()


def test_narrow_photos_are_scored_against_all() -> None:
    references = strips(30, 9)
    ready = ready_references(references, remove_mean=False)
    options = {"remove_mean": False, "field_of_view_deg": 90.0}
    narrow = rank_strips(references, ready, torch.arange(30), shortlist=3, **options)  # type: ignore[arg-type]
    exact = rank_strips(references, ready, torch.arange(30), **options)  # type: ignore[arg-type]
    assert not narrow.shortlisted
    assert narrow.ranks.tolist() == exact.ranks.tolist()
