import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from smdt.errors import ConfigError, ModelError
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.retrieval.aerial_views import aerial_views
from smdt.retrieval.centres import centres_m, points_a_side
from smdt.retrieval.compact import Compact, CompactConfig
from smdt.retrieval.matching import (
    aligned_scores,
    between_columns,
    circular_scores,
    normalise_queries,
    normalise_references,
)
from smdt.retrieval.models import fingerprint
from smdt.retrieval.strip_ranking import CENTRE_SHARPNESS, rank_strips
from smdt.retrieval.strip_scores import ready_references


def strips(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_one_point_is_the_middle_and_more_cover_the_square() -> None:
    assert centres_m(1, 4.0) == [(0.0, 0.0)]
    assert centres_m(2, 4.0) == [(-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0)]
    for side in (3, 5):
        points = centres_m(side, 4.0)
        ticks = torch.linspace(-4.0, 4.0, 33).tolist()
        for east, north in itertools.product(ticks, ticks):
            nearest = min(max(abs(east - e), abs(north - n)) for e, n in points)
            assert nearest <= 4.0 / side + 1e-6


@pytest.mark.parametrize(("side", "off_m"), [(0, 4.0), (9, 4.0), (2, -1.0), (2, float("inf"))])
def test_no_points_too_many_and_no_distance_are_refused(side: int, off_m: float) -> None:
    with pytest.raises(ConfigError, match="cannot be had"):
        centres_m(side, off_m)


def test_a_model_gets_as_many_points_as_bring_cameras_as_near_as_in_training() -> None:
    config = CompactConfig(name="one", camera_within_m=2.0)
    assert [points_a_side(config, off_m) for off_m in (0.0, 2.0, 2.1, 4.0, 4.2, 900.0)] == [1, 1, 2, 2, 3, 8]
    assert points_a_side(replace(config, camera_within_m=0.0), 4.0) == 1
    assert points_a_side(replace(config, mapping="none"), 4.0) == 1
    assert points_a_side(replace(config, aerial_input="both", cgan="dual-cgan"), 4.0) == 1


@pytest.mark.parametrize("mapping", ["polar", "mixed"])
def test_a_tile_seen_from_another_point_is_that_of_the_moved_picture(mapping: str) -> None:
    picture = strips(1, 3, 96, 96, seed=0)  # 48 m wide
    moved = torch.roll(picture, (-6, 4), (3, 2))  # what lay 6 pixels east and 4 north is now in the middle
    middle = aerial_grid(mapping, 96, 32, 64, half_side_m=24.0, join_m=8.0)
    beside = aerial_grid(mapping, 96, 32, 64, half_side_m=24.0, join_m=8.0, centre=(3.0 / 24.0, 2.0 / 24.0))
    near = slice(8, None)  # rings that stay within the picture
    torch.testing.assert_close(
        map_aerial(picture, beside)[..., near, :], map_aerial(moved, middle)[..., near, :], atol=1e-5, rtol=0
    )
    assert float(map_aerial(torch.ones(1, 1, 96, 96), beside)[..., 0, :].min()) == pytest.approx(1.0)


def test_a_model_that_unrolls_nothing_has_no_other_point() -> None:
    model = Compact(CompactConfig(name="square", mapping="none", height_px=32, width_px=64, tile_px=64))
    with pytest.raises(ModelError, match="no other point"):
        aerial_views(model, torch.zeros(1, 3, 64, 64, dtype=torch.uint8), 40.0, (1.0, 0.0))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("field_of_view_deg", [360.0, 90.0])
def test_a_soft_maximum_of_a_references_strips_counts(known: bool, field_of_view_deg: float) -> None:
    centres, count = 3, 1400  # more than a block of references holds
    queries, references = strips(20, 4, 16, seed=1), strips(count * centres, 4, 16, seed=2)
    ready = ready_references(references, remove_mean=False)
    ranking = rank_strips(
        queries,
        ready,
        torch.arange(20),
        remove_mean=False,
        field_of_view_deg=field_of_view_deg,
        heading_deg=torch.zeros(20) if known else None,
        centres=centres,
    )
    kept = round(16 * field_of_view_deg / 360)
    number = torch.arange(16)
    mask = ((number >= 8 - kept // 2) & (number < 8 - kept // 2 + kept)).expand(20, -1)
    asked, offered = normalise_queries(queries, mask), normalise_references(references)
    turns = between_columns(circular_scores(asked, offered, mask))
    scores = aligned_scores(asked, offered, mask) if known else turns.amax(2)
    best = ((scores.view(20, count, centres) * CENTRE_SHARPNESS).exp().mean(2)).log() / CENTRE_SHARPNESS
    own = best[torch.arange(20), torch.arange(20)]
    assert ranking.ranks.tolist() == (best > own[:, None]).sum(1).tolist()
    alone = scores.view(20, count, centres).amax(2)  # the best strip, and it alone
    assert ranking.ranks.tolist() != (alone > alone.diagonal()[:, None]).sum(1).tolist()
    assert ranking.best.tolist() == best.argmax(1).tolist()
    if not known:
        column = turns.flatten(1).view(20, count, -1)[torch.arange(20), ranking.best].argmax(1) % 32
        off = (ranking.heading_deg - column * 11.25 + 180.0) % 360.0 - 180.0
        assert float(off.abs().max()) <= 11.26


def test_a_shortlist_of_references_with_several_strips_finds_a_copy() -> None:
    references = strips(600, 4, 16, seed=3)
    queries = torch.roll(references[1::60], 5, dims=2)  # the second strip of every thirtieth reference
    ranking = rank_strips(
        queries,
        ready_references(references, remove_mean=False),
        torch.arange(0, 300, 30),
        remove_mean=False,
        shortlist=20,
        centres=2,
    )
    assert ranking.shortlisted
    assert ranking.ranks.tolist() == [0] * 10


def test_models_that_do_not_say_where_cameras_stood_keep_their_fingerprint() -> None:
    model = Compact(CompactConfig(name="one", height_px=32, width_px=64))
    before = fingerprint(model)
    model.config = replace(model.config, camera_within_m=2.0)
    assert fingerprint(model) != before
    model.config = replace(model.config, camera_within_m=0.0)
    assert fingerprint(model) == before
    with pytest.raises(ConfigError, match="within -1"):
        replace(model.config, camera_within_m=-1.0)
