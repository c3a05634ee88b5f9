import numpy as np
import pytest
import torch

from smdt.errors import ConfigError
from smdt.world.aerial import aerial_square
from smdt.world.dataset import (
    HELD_OUT_SEEDS,
    PairConfig,
    PairSource,
    check_training_seeds,
    clustered_positions,
)
from smdt.world.town import TownConfig, build_town


@pytest.fixture(scope="module")
def source() -> PairSource:
    return PairSource((5,), 400.0, PairConfig(height_px=32, width_px=128, tile_px=64))


def test_held_out_towns_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="held out"):
        check_training_seeds([3, min(HELD_OUT_SEEDS)])
    check_training_seeds([3, 100])


def test_a_batch_holds_pairs_of_the_sizes_asked_for(source: PairSource) -> None:
    batch = source.batch(6, np.random.default_rng(0))
    assert batch.ground.shape == (6, 3, 32, 128)
    assert batch.aerial.shape == (6, 3, 64, 64)
    assert batch.aerial.dtype == torch.uint8
    assert bool((batch.offset_m.abs() <= 8.0).all())
    assert bool(((batch.heading_deg >= 0) & (batch.heading_deg < 360)).all())
    assert len(torch.unique(batch.heading_deg)) == 6


def test_one_seed_draws_the_same_pairs(source: PairSource) -> None:
    first, again = (source.batch(4, np.random.default_rng(9)) for _ in range(2))
    assert torch.equal(first.ground, again.ground)
    assert torch.equal(first.aerial, again.aerial)


def test_positions_in_a_batch_are_apart_and_have_neighbours() -> None:
    place = build_town(TownConfig(seed=5, side_m=400.0, pixel_m=0.5))
    spots = clustered_positions(place, 16, np.random.default_rng(1))
    away = np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1)) + 1e9 * np.eye(16)
    assert away.min() >= 16.0
    assert np.median(away.min(1)) < 40.0


def test_an_aerial_square_is_north_up_and_centred() -> None:
    view = torch.zeros(3, 480, 480)
    view[:, 480 - 260 : 480 - 240, 220:240] = 255  # at 0.5 m: centred 115 m east, 125 m north of the corner
    square = aerial_square(view, 0.5, 115.0, 125.0, 40.0, 80)
    assert square.shape == (3, 80, 80)
    bright = torch.nonzero(square[0] > 128).float()
    assert bright.mean(0).tolist() == pytest.approx([39.5, 39.5], abs=0.6)
    north_west = aerial_square(view, 0.5, 120.0, 120.0, 40.0, 80)
    rows, columns = torch.nonzero(north_west[0] > 128).float().mean(0).tolist()
    assert rows < 39
    assert columns < 39
