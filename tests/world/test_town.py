import numpy as np
import pytest

from smdt.errors import ConfigError
from smdt.geometry.geodesy import distance_m
from smdt.world.layers import Place, Surface
from smdt.world.town import TownConfig, build_town

SMALL = TownConfig(seed=5, side_m=240.0, pixel_m=0.5)


@pytest.fixture(scope="module")
def town() -> Place:
    return build_town(SMALL)


def test_one_seed_gives_one_town_to_the_byte(town: Place) -> None:
    again = build_town(SMALL)
    for name in ("colour", "height_m", "surface", "object_id"):
        assert getattr(town, name).tobytes() == getattr(again, name).tobytes()
    assert town.buildings.facade.tobytes() == again.buildings.facade.tobytes()


def test_another_seed_gives_another_town(town: Place) -> None:
    other = build_town(TownConfig(seed=6, side_m=240.0, pixel_m=0.5))
    assert (other.surface != town.surface).mean() > 0.2


def test_layers_are_aligned_and_agree(town: Place) -> None:
    assert town.colour.shape == (480, 480, 3)
    assert town.height_m.shape == town.surface.shape == town.object_id.shape == (480, 480)
    built = town.surface == Surface.BUILDING
    assert built.any()
    assert (town.object_id[built] > 0).all()
    assert (town.object_id[~built] == 0).all()
    assert town.object_id.max() <= len(town.buildings.angle_rad)
    assert (town.height_m[built] > 2.5).all()
    assert (town.height_m[town.surface == Surface.ROAD] == 0).all()
    assert (town.height_m[town.surface == Surface.TREE] > 0.5).all()


def test_a_town_has_roads_homes_and_trees(town: Place) -> None:
    share = {surface: float((town.surface == surface).mean()) for surface in Surface}
    assert 0.05 < share[Surface.ROAD] < 0.4
    assert share[Surface.BUILDING] > 0.01
    assert share[Surface.TREE] > 0.01


def test_positions_round_trip_and_metres_are_metres(town: Place) -> None:
    latitude, longitude = town.to_position([10.0, 110.0, 10.0], [20.0, 20.0, 120.0])
    east, north = town.to_local_m(latitude, longitude)
    np.testing.assert_allclose(east, [10.0, 110.0, 10.0], atol=1e-6)
    np.testing.assert_allclose(north, [20.0, 20.0, 120.0], atol=1e-6)
    # The sphere of Web Mercator differs from the ellipsoid by up to 0.7 %.
    across = distance_m(latitude[0], longitude[0], latitude[1:], longitude[1:])
    np.testing.assert_allclose(across, [100.0, 100.0], rtol=7e-3)


@pytest.mark.parametrize(("setting", "value"), [("side_m", 10.0), ("pixel_m", 0.0), ("block_m", 1.0)])
def test_impossible_towns_are_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        TownConfig(**{setting: value})
