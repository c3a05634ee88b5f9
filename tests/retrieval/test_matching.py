from collections.abc import Sequence

import numpy as np
import pytest
import torch

from smdt.geometry.angles import angular_error
from smdt.retrieval.matching import (
    aligned_scores,
    best_turn,
    between_columns,
    circular_scores,
    held_within,
    mean_turn,
    normalise_queries,
    normalise_references,
    turn_strips,
    turns_within,
)

WIDTH = 32


def strips(count: int, seed: int = 0) -> torch.Tensor:
    return normalise_references(
        torch.randn(count, 6, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    )


def seen_by(headings_px: list[int], references: torch.Tensor) -> torch.Tensor:
    """What a camera turned clockwise by some columns sees of references: its column j is their column j + turn."""
    return torch.stack(
        [torch.roll(r, -turn, dims=-1) for r, turn in zip(references, headings_px, strict=True)]
    )


def test_a_strip_matches_itself_with_score_one() -> None:
    references = strips(5)
    scores = aligned_scores(normalise_queries(references), references)
    torch.testing.assert_close(scores.diagonal(), torch.ones(5))
    assert bool((scores.argmax(1) == torch.arange(5)).all())


def test_convention_a_camera_turned_east_is_found_at_90_degrees() -> None:
    references = strips(4)
    queries = normalise_queries(seen_by([0, 8, 16, 24], references))
    score, heading = best_turn(circular_scores(queries, references))
    torch.testing.assert_close(score.diagonal(), torch.ones(4))
    assert angular_error(heading.diagonal().numpy(), [0.0, 90.0, 180.0, 270.0]).max() < 2.0


def test_circular_scores_equal_brute_force() -> None:
    queries, references = strips(3, 1), strips(4, 2)
    scores = circular_scores(queries, references)
    for turn in range(WIDTH):
        expected = torch.einsum("qcw,rcw->qr", queries, torch.roll(references, -turn, dims=-1))
        torch.testing.assert_close(scores[..., turn], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("width", [16, 9])
def test_scores_between_columns_are_those_of_strips_turned_by_half_a_column(width: int) -> None:
    queries, references = strips(3, 1)[..., :width], strips(4, 2)[..., :width]
    turned = turn_strips(queries, torch.full((3,), 180.0 / width))
    scores = between_columns(circular_scores(queries, references))
    assert scores.shape == (3, 4, 2 * width)
    torch.testing.assert_close(scores[..., ::2], circular_scores(queries, references))
    expected = circular_scores(turned, references)
    torch.testing.assert_close(scores[..., 1::2], expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(between_columns(scores[..., :1]), scores[..., :1])


def test_scores_between_columns_have_gradients_whoever_asked_first() -> None:
    with torch.inference_mode():
        between_columns(torch.ones(2, 12))
    scores = torch.ones(2, 12, requires_grad=True)
    between_columns(scores).sum().backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.full((2, 12), 2.0))


def test_masked_circular_scores_equal_brute_force_over_the_part_seen() -> None:
    mask = torch.zeros(2, WIDTH, dtype=torch.bool)
    mask[0, 10:22] = True
    mask[1, 4:29] = True
    queries, references = normalise_queries(strips(2, 3), mask), strips(3, 4)
    scores = circular_scores(queries, references, mask)
    for turn in (0, 1, 17, 31):
        turned = torch.roll(references, -turn, dims=-1)
        for q in range(2):
            part = turned[:, :, mask[q]].flatten(1)
            expected = part @ queries[q][:, mask[q]].flatten() / part.norm(dim=1)
            torch.testing.assert_close(scores[q, :, turn], expected, atol=1e-5, rtol=1e-4)


def test_aligned_scores_are_the_unturned_circular_ones() -> None:
    mask = torch.zeros(2, WIDTH, dtype=torch.bool)
    mask[:, 8:24] = True
    queries, references = normalise_queries(strips(2, 3), mask), strips(3, 4)
    torch.testing.assert_close(
        aligned_scores(queries, references, mask), circular_scores(queries, references, mask)[..., 0]
    )


def test_a_narrow_photo_finds_its_place_and_heading() -> None:
    references = strips(20, 5)
    mask = torch.zeros(20, WIDTH, dtype=torch.bool)
    mask[:, 12:20] = True  # 90°
    queries = normalise_queries(seen_by([5] * 20, references), mask)
    score, heading = best_turn(circular_scores(queries, references, mask))
    assert bool((score.argmax(1) == torch.arange(20)).all())
    torch.testing.assert_close(heading.diagonal(), torch.full((20,), 5 * 360.0 / WIDTH), atol=6.0, rtol=0)


def test_the_peak_is_refined_between_columns() -> None:
    peak = 10.3
    scores = -((torch.arange(WIDTH) - peak) ** 2).float()[None]
    _, heading = best_turn(scores)
    assert float(heading) == pytest.approx(peak * 360.0 / WIDTH, abs=1e-3)
    _, wrapped = best_turn(torch.roll(scores, -11, dims=-1))
    assert float(wrapped) == pytest.approx((peak - 11) % WIDTH * 360.0 / WIDTH, abs=3.0)


def bump(peak_deg: Sequence[float], height: Sequence[float], width_deg: float = 12.0) -> torch.Tensor:
    """Scores (n, WIDTH) at every turn, highest around given headings."""
    turn = torch.arange(WIDTH) * 360.0 / WIDTH
    off = torch.remainder(turn - torch.tensor(peak_deg)[:, None] + 180.0, 360.0) - 180.0
    return torch.tensor(height)[:, None] * torch.exp(-((off / width_deg) ** 2) / 2.0)


def away_deg(found: torch.Tensor, wanted: Sequence[float]) -> float:
    """The largest angle between headings."""
    return float(angular_error(found.numpy(), np.array(wanted)).max())


def test_turns_are_chosen_from_those_allowed_and_still_refined() -> None:
    scores = bump([40.0], [0.5]) + bump([203.0], [0.6])
    near = turns_within(torch.tensor([30.0]), 15.0, WIDTH)
    assert torch.nonzero(near[0])[:, 0].tolist() == [1, 2, 3, 4]  # 11.25° to 45°
    score, heading = best_turn(scores, near)
    assert away_deg(heading, [40.0]) < 2.0
    assert 0.45 < float(score) < 0.51
    assert away_deg(best_turn(scores)[1], [203.0]) < 2.0


def test_turns_near_north_lie_on_both_sides_of_it_and_one_is_always_allowed() -> None:
    near = turns_within(torch.tensor([358.0, 5.0]), 12.0, WIDTH)
    assert torch.nonzero(near[0])[:, 0].tolist() == [0, 1, 31]
    assert bool(turns_within(torch.arange(0.0, 360.0, 0.5), 0.0, WIDTH).any(1).all())


def test_a_heading_is_held_within_degrees_of_another_the_short_way_round() -> None:
    found, around = torch.tensor([350.0, 20.0, 3.0]), torch.tensor([10.0, 350.0, 358.0])
    assert away_deg(held_within(found, around, 10.0), [0.0, 0.0, 3.0]) < 1e-4


def test_one_strip_s_heading_is_its_peak_wherever_it_lies() -> None:
    wanted = [0.0, 3.0, 100.0, 357.0, 359.9]
    found = mean_turn(bump(wanted, [0.6] * 5)[None], sharpness=80.0)
    assert found.shape == (5,)
    assert bool(((found >= 0) & (found < 360)).all())
    assert away_deg(found, wanted) < 0.1


def test_strips_of_one_place_agree_on_a_heading_between_theirs_by_how_well_they_fit() -> None:
    alike = torch.stack([bump([356.0], [0.6]), bump([8.0], [0.6])])
    assert away_deg(mean_turn(alike, sharpness=80.0), [2.0]) < 0.1
    unlike = torch.stack([bump([356.0], [0.6]), bump([8.0], [0.3])])
    assert away_deg(mean_turn(unlike, sharpness=80.0), [356.0]) < 0.1


def test_a_turn_far_from_the_best_one_does_not_pull_the_heading() -> None:
    scores = bump([40.0], [0.6]) + bump([200.0], [0.59])
    assert away_deg(mean_turn(scores[None], sharpness=80.0), [40.0]) < 0.2


def test_a_strip_of_one_column_has_no_heading() -> None:
    assert bool(mean_turn(torch.zeros(2, 3, 1), sharpness=80.0).isnan().all())


def test_turning_a_query_to_its_heading_undoes_the_camera() -> None:
    references = strips(3, 6)
    queries = seen_by([8, 8, 8], references)
    torch.testing.assert_close(turn_strips(queries, torch.full((3,), 90.0)), references, atol=1e-5, rtol=1e-4)
