"""What networks see of a step's pairs: drawn, turned, narrowed, and changed in step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smdt.retrieval.matching import best_turn, circular_scores, normalise_queries
from smdt.retrieval.siamese import Siamese
from smdt.training.pairs import ViewPairs, WorldPairs
from smdt.training.retrieval import RetrievalTraining
from smdt.training.retrieval_views import ViewMaker, narrow_width_deg
from smdt.world.dataset import PairConfig


def _settings(out: Path, **changes: Any) -> RetrievalTraining:
    given: dict[str, Any] = {"height_px": 32, "width_px": 128, "strip_channels": 8, "batch": 4, "freeze": ()}
    model = {"backbone": "test_efficientnet", "tile_px": 64}
    return RetrievalTraining(out, **{**given, "model": model, **changes})


def _pairs(batch: int = 4) -> ViewPairs:
    generator = torch.Generator().manual_seed(0)
    ground = torch.randint(0, 256, (batch, 3, 32, 128), dtype=torch.uint8, generator=generator)
    aerial = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8, generator=generator)
    return ViewPairs(ground, aerial, ground[:, 0].long() % 7, [str(number) for number in range(batch)])


def test_pairs_of_a_step_are_the_same_whenever_they_are_drawn(
    crossroads: Callable[..., Any], tmp_path: Path
) -> None:
    config = PairConfig(height_px=16, width_px=64, tile_px=32, tile_side_m=60.0)

    def drawn(rank: int) -> WorldPairs:
        return WorldPairs([crossroads(), crossroads(seed=1)], config, batch=3, seed=4, rank=rank)

    source = drawn(0)
    third = source[3]
    source[4]
    for one, other in zip(third[:3], source[3][:3], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(drawn(0)[3].ground, third.ground)
    assert not torch.equal(drawn(1)[3].ground, third.ground)
    assert third.ids[0].startswith("crossroads")
    assert third.labels.shape == (3, 16, 64)


def test_views_are_turned_together_and_keep_their_heading(tmp_path: Path, tiny_model: Siamese) -> None:
    settings = _settings(
        tmp_path, photometric=0.0, narrow_share=0.0, mirror=True, turn_both=True, turn_deg=360.0
    )
    maker = ViewMaker(settings, tiny_model.config, tiny_model.columns)
    still = ViewMaker(
        replace(settings, mirror=False, turn_both=False, turn_deg=0.0), tiny_model.config, tiny_model.columns
    )
    pairs = _pairs(8)
    views, again = (maker.make(pairs, None, 3, 0, torch.device("cpu")) for _ in range(2))
    assert torch.equal(views.ground, again.ground)
    plain = still.make(pairs, None, 3, 0, torch.device("cpu"))
    assert torch.equal(plain.ground, pairs.ground.float() / 255.0)
    assert float(plain.heading_deg.abs().max()) == 0.0
    assert len(torch.unique(views.heading_deg)) >= 6
    # the panorama's own mapped tile, were it one, would be turned against it by exactly the heading
    as_aerial = ViewPairs(pairs.ground, pairs.ground, pairs.labels, pairs.ids)
    both = maker.make(as_aerial, None, 3, 0, torch.device("cpu"))
    scores = circular_scores(normalise_queries(both.ground.flatten(1, 2)), both.aerial.flatten(1, 2))
    score, heading = best_turn(scores.diagonal(dim1=0, dim2=1).T)
    assert float(score.min()) > 0.999
    assert torch.allclose(heading, both.heading_deg, atol=0.05)


def test_the_curriculum_turns_and_narrows_by_degrees(tmp_path: Path, tiny_model: Siamese) -> None:
    settings = _settings(tmp_path, photometric=0.0, narrow_share=1.0, curriculum_steps=100)
    maker = ViewMaker(settings, tiny_model.config, tiny_model.columns)
    for step, widest_turn, least_seen in ((1, 2.0, 8), (50, 90.0, 5), (100, 180.0, 2)):
        for rank in range(3):
            views = maker.make(_pairs(), None, step, rank, torch.device("cpu"))
            off = (views.heading_deg + 180.0) % 360.0 - 180.0
            assert float(off.abs().max()) <= widest_turn + 1.5
            assert views.mask is not None
            assert least_seen <= int(views.mask[0].sum()) <= 8
            dark = (views.ground == 0).all(dim=1).all(dim=1)
            assert torch.equal(dark, ~views.mask.repeat_interleave(16, dim=1))
        masks = [maker.make(_pairs(), None, step, rank, torch.device("cpu")).mask for rank in (0, 1)]
        assert masks[0] is not None
        assert masks[1] is not None
        assert torch.equal(masks[0], masks[1])


@pytest.mark.parametrize(("widths", "narrow"), [("even", 40 / 290), ("inverse", 0.451)])
def test_widths_are_drawn_evenly_by_themselves_or_by_one_over_them(
    tmp_path: Path, tiny_model: Siamese, widths: str, narrow: float
) -> None:
    assert narrow_width_deg(0.0, 70.0, widths) == pytest.approx(70.0)
    assert narrow_width_deg(1.0, 70.0, widths) == pytest.approx(360.0)
    drawn = [narrow_width_deg((number + 0.5) / 2000, 70.0, widths) for number in range(2000)]
    assert sum(one < 110.0 for one in drawn) / 2000 == pytest.approx(narrow, abs=2e-3)
    settings = _settings(tmp_path, narrow_share=1.0, narrowest_deg=70.0, narrow_widths=widths)
    maker = ViewMaker(settings, tiny_model.config, tiny_model.columns)
    seen = [maker.seen(360, 1, step, torch.device("cpu")) for step in range(1000)]
    found = sum(int(mask.sum()) < 110 for mask in seen if mask is not None) / 1000
    assert found == pytest.approx(narrow, abs=0.05)


def test_the_ground_augmentation_sees_labels_in_step_and_changes_panoramas_alone(
    tmp_path: Path, tiny_model: Siamese
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def white(images: Tensor, labels: Tensor, _: torch.Generator) -> Tensor:
        seen.append((images, labels))
        return torch.ones_like(images)

    settings = _settings(tmp_path, photometric=0.0, narrow_share=0.0, mirror=True)
    makers = [ViewMaker(settings, tiny_model.config, tiny_model.columns, one) for one in (None, white)]
    pairs = _pairs()
    views = [maker.make(pairs, pairs.labels, 1, 0, torch.device("cpu")) for maker in makers]
    assert torch.equal(views[0].aerial, views[1].aerial)
    assert bool((views[1].ground == 1).all())
    images, labels = seen[0]
    assert torch.equal((images[:, 0] * 255).round().long() % 7, labels)
