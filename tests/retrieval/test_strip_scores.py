import numpy as np
import pytest
import torch
from torch import Tensor

from smdt.retrieval import strip_scores
from smdt.retrieval.matching import (
    between_columns,
    circular_scores,
    normalise_queries,
    normalise_references,
    turn_strips,
)
from smdt.retrieval.strip_scores import (
    AlignedScores,
    BestReference,
    QueryStrips,
    TurnedScores,
    inverse_transform,
    ready_references,
)

ALL = slice(0, 7)


def strips(count: int, seed: int, width: int = 16, channels: int = 5) -> Tensor:
    return torch.randn(count, channels, width, generator=torch.Generator().manual_seed(seed))


def centre(kept: int, width: int = 16) -> Tensor:
    number = torch.arange(width)
    return (number >= width // 2 - kept // 2) & (number < width // 2 - kept // 2 + kept)


@pytest.mark.parametrize("width", [8, 9, 16])
def test_the_matrix_is_the_inverse_real_transform(width: int) -> None:
    signal = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    spectrum = torch.view_as_real(torch.fft.rfft(signal, dim=-1)).flatten(1)
    torch.testing.assert_close(spectrum @ inverse_transform(width).T, signal, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kept", [16, 8, 3])
def test_turned_scores_are_the_best_circular_scores(kept: int) -> None:
    queries, references, seen = strips(7, 1), strips(9, 2), centre(kept)
    scores = TurnedScores(QueryStrips(queries, seen), ready_references(references, remove_mean=False))
    mask = seen.expand(7, -1)
    want = circular_scores(normalise_queries(queries, mask), normalise_references(references), mask)
    best = between_columns(want).amax(2)
    assert bool((best > want.amax(2)).any())
    torch.testing.assert_close(scores(ALL, slice(0, 9)), best, atol=1e-6, rtol=0)
    torch.testing.assert_close(scores(slice(2, 4), slice(5, 8)), best[2:4, 5:8], atol=1e-6, rtol=0)
    chosen = torch.tensor([8, 0, 3, 3, 1, 7, 2])
    torch.testing.assert_close(scores.at_turns(chosen), want[torch.arange(7), chosen], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kept", [16, 6])
def test_aligned_scores_turn_queries_to_north_and_compare_what_they_see(kept: int) -> None:
    queries, references, seen = strips(7, 3), strips(9, 4), centre(kept)
    heading = torch.tensor([0.0, 22.5, 90.0, 101.0, 180.0, 270.0, 359.0])
    scores = AlignedScores(
        QueryStrips(queries, seen, heading), ready_references(references, remove_mean=False)
    )
    mask = seen.expand(7, -1)
    offered = normalise_references(references)
    turns = circular_scores(normalise_queries(queries, mask), offered, mask)
    found = scores(ALL, slice(0, 9))
    whole = (heading % 22.5) == 0  # of whole columns a known heading is one of the turns of an unknown one
    number = torch.nonzero(whole)[:, 0]
    assert len(number) == 5
    torch.testing.assert_close(
        found[number], turns[number, :, (heading[number] / 22.5).long()], atol=1e-6, rtol=0
    )
    for query in torch.nonzero(~whole)[:, 0]:
        shift = float(heading[query]) / 22.5
        low, part = int(shift), shift - int(shift)
        asked = turn_strips((queries * mask[:, None])[query, None], heading[query, None])[0]
        energy = offered.square().sum(1)
        compared = (1 - part) * (torch.roll(seen.float(), low) * energy).sum(1)
        compared += part * (torch.roll(seen.float(), low + 1) * energy).sum(1)
        want = (asked * offered).sum((1, 2)) / (asked.norm() * compared.sqrt())
        torch.testing.assert_close(found[query], want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mean_of", ["columns", "set"])
def test_what_lies_beyond_a_photo_s_edges_tells_nothing_of_it(mean_of: str) -> None:
    queries, references, seen = strips(7, 3), strips(9, 4), centre(5)
    heading = torch.linspace(0.0, 340.0, 7)
    ready = ready_references(references, remove_mean=False)

    def scored(queries: Tensor) -> Tensor:
        mean = QueryStrips(queries, seen, heading).mean_of_set() if mean_of == "set" else torch.ones(5, 1)
        return AlignedScores(QueryStrips(queries, seen, heading, mean), ready)(ALL, slice(0, 9))

    elsewhere = torch.where(seen, queries, 100.0)
    torch.testing.assert_close(scored(queries), scored(elsewhere), atol=1e-5, rtol=0)


def test_convention_a_query_that_faces_east_is_the_reference_rolled_by_a_quarter() -> None:
    reference = strips(1, 5)
    query = torch.roll(
        reference, -4, dims=-1
    )  # its centre column shows what the reference's column 12, east, shows
    full = torch.ones(16, dtype=torch.bool)
    ready = ready_references(reference, remove_mean=False)
    turned = TurnedScores(QueryStrips(query, full), ready)
    assert float(turned(slice(0, 1), slice(0, 1))) == pytest.approx(1.0, abs=1e-5)
    assert int(turned.at_turns(torch.tensor([0])).argmax()) == 4
    aligned = AlignedScores(QueryStrips(query, full, torch.tensor([90.0])), ready)
    assert float(aligned(slice(0, 1), slice(0, 1))) == pytest.approx(1.0, abs=1e-4)


def test_the_mean_counts_what_queries_see() -> None:
    queries, seen = torch.full((3, 2, 8), 100.0), centre(4, 8)
    queries[:, :, 2:6] = torch.arange(3.0)[:, None, None]  # seen columns 2..5 hold 0, 1, 2
    unknown = QueryStrips(queries, seen).mean_of_set()
    assert unknown.tolist() == [[1.0], [1.0]]
    # Turned by half a circle, the second query's columns 6, 7, 0, 1 are seen.
    known = QueryStrips(queries, seen, torch.tensor([0.0, 180.0, 0.0])).mean_of_set()
    np.testing.assert_allclose(known[0], [1, 1, 1, 1, 1, 1, 1, 1], atol=1e-4)
    ready, mask = QueryStrips(queries, seen, None, unknown)(slice(0, 3))
    np.testing.assert_allclose(ready[2, :, 2:6], 1 / np.sqrt(8), atol=1e-6)
    assert not ready[:, :, ~seen].any()
    assert mask.shape == (3, 8)


def test_references_lose_their_mean_only_if_asked_and_are_not_changed() -> None:
    references = strips(6, 6) + 3.0
    before = references.clone()
    kept, centred = (ready_references(references, remove_mean=flag) for flag in (False, True))
    assert torch.equal(references, before)
    torch.testing.assert_close(kept, normalise_references(references))
    torch.testing.assert_close(centred, normalise_references(references - references.mean(0)))


def test_large_sets_are_held_in_half_precision_and_rank_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references, seen = strips(7, 7), strips(9, 8), centre(16)
    single = TurnedScores(QueryStrips(queries, seen), ready_references(references, remove_mean=False))
    monkeypatch.setattr(strip_scores, "HELD_BYTES", 100)
    ready = ready_references(references, remove_mean=False)
    assert ready.dtype == torch.float16
    half = TurnedScores(QueryStrips(queries, seen), ready)
    a, b = single(ALL, slice(0, 9)), half(ALL, slice(0, 9))
    torch.testing.assert_close(a, b, atol=2e-3, rtol=0)
    assert torch.equal(a.argmax(1), b.argmax(1))


def test_the_best_reference_is_remembered_over_blocks_in_any_order_and_ties_go_to_the_first() -> None:
    table = torch.tensor([[0.1, 0.7, 0.7, 0.2], [0.9, 0.3, 0.1, 0.9], [0.0, 0.1, 0.2, 0.3]])
    seen: list[tuple[int, int]] = []
    watched = BestReference(lambda q, r: table[q, r], 3, lambda done, total: seen.append((done, total)))
    for queries, references in (((0, 2), (2, 4)), ((0, 2), (0, 2)), ((2, 3), (0, 2)), ((2, 3), (2, 4))):
        block = watched(slice(*queries), slice(*references))
        assert torch.equal(block, table[slice(*queries), slice(*references)])
    assert watched.reference.tolist() == [1, 0, 3]
    assert watched.score.tolist() == pytest.approx([0.7, 0.9, 0.3])
    assert seen[-1] == (3, 3)
