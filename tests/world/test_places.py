from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from smdt.errors import ConfigError
from smdt.world.layers import Place, Surface
from smdt.world.places import (
    HELD_OUT_AREAS,
    TownPlace,
    apart_longitudes,
    check_training_places,
    held_out_by,
    kind_of_place,
    place_fingerprint,
    spread_positions,
)

Sources = Callable[..., Any]


@pytest.fixture(scope="module")
def place(crossroads: Sources) -> Place:
    return crossroads().open()  # type: ignore[no-any-return]


def test_positions_are_on_open_road_apart_and_close_packed(place: Place) -> None:
    spots = spread_positions(place, 10.0, np.random.default_rng(0), margin_m=30.0)
    assert ((spots >= 30.0) & (spots <= 170.0)).all()
    assert (np.abs(spots - 100.0).min(axis=1) <= 4.0).all()
    nearest = cKDTree(spots).query(spots, k=2)[0][:, 1]
    assert nearest.min() >= 10.0
    assert np.median(nearest) < 14.0
    # Two streets of 140 m, less where they cross: 20 would stand at most 14 m apart, the closest packing has 29.
    assert 19 <= len(spots) <= 29
    again = spread_positions(place, 10.0, np.random.default_rng(0), margin_m=30.0)
    np.testing.assert_array_equal(spots, again)
    assert not np.array_equal(
        spots[:5], spread_positions(place, 10.0, np.random.default_rng(1), margin_m=30.0)[:5]
    )


@pytest.mark.parametrize("count", [1, 2, 240, 500, 5000])
def test_towns_of_a_set_lie_apart_in_the_atlantic(count: int) -> None:
    longitudes = np.array(apart_longitudes(count))
    assert len(longitudes) == count
    assert longitudes[0] == TownPlace(1).longitude_deg  # one town alone is where it always was
    assert (longitudes >= -30.0).all()
    assert (longitudes <= -10.0).all()
    if 1 < count <= 500:
        apart_m = np.diff(longitudes).min() * 111_320.0 * np.cos(np.radians(45.0))
        assert apart_m > 3000.0


def test_no_camera_stands_under_a_bridge_or_where_there_is_no_street(place: Place) -> None:
    bridge = place.height_m.copy()
    bridge[:, 240:320] = 6.0  # 120..160 m east
    spots = spread_positions(replace(place, height_m=bridge), 10.0, np.random.default_rng(0), margin_m=30.0)
    assert len(spots)
    assert not ((spots[:, 0] >= 120) & (spots[:, 0] < 160)).any()
    assert spread_positions(replace(place, streets=()), 10.0, np.random.default_rng(0)).shape == (0, 2)


def test_surroundings_have_a_kind(place: Place) -> None:
    surface = np.full_like(place.surface, Surface.GRASS)
    surface[192:208] = Surface.ROAD
    bare = replace(place, surface=surface)
    assert kind_of_place(place, 100.0, 100.0) == "junction"
    assert kind_of_place(bare, 100.0, 100.0) == "open"
    for kind, cover in (
        ("wooded", Surface.TREE),
        ("built-up", Surface.BUILDING),
        ("field", Surface.FIELD),
        ("water", Surface.WATER),
    ):
        around = surface.copy()
        around[:192] = cover  # all north of the street: 45 % of the square around
        assert kind_of_place(replace(place, surface=around), 100.0, 100.0) == kind
        assert kind_of_place(replace(place, surface=around), 100.0, 40.0) == "open"  # 60 m south of it
    assert kind_of_place(bare, 0.0, 0.0) == "open"


def test_held_out_places_are_refused_by_the_name_of_their_town_and_by_where_they_lie(place: Place) -> None:
    check_training_places([place, replace(place, name="simulated grid place, seed 100")])
    for name in ("simulated town, seed 2022", "simulated suburb place, seed 2023"):
        with pytest.raises(ConfigError, match="held out"):
            check_training_places([place, replace(place, name=name)])
    area = HELD_OUT_AREAS[0]
    inside = replace(
        place, name="my city", latitude_deg=area.south_deg + 0.01, longitude_deg=area.west_deg + 0.01
    )
    assert held_out_by(inside) == area.name
    touching = replace(place, latitude_deg=area.south_deg - 0.0017, longitude_deg=area.west_deg - 0.0024)
    assert held_out_by(touching) == area.name  # 200 m: its north-eastern corner lies in the area
    apart = replace(place, latitude_deg=area.south_deg - 0.0019, longitude_deg=area.west_deg + 0.01)
    assert held_out_by(apart) is None


def test_a_fingerprint_tells_places_apart(place: Place, crossroads: Sources) -> None:
    assert place_fingerprint(place) == place_fingerprint(crossroads().open())
    assert place_fingerprint(place) == place_fingerprint(replace(place, name="other"))
    raised = place.height_m.copy()
    raised[5, 5] += 1.0
    for other in (
        replace(place, height_m=raised),
        replace(place, longitude_deg=-31.0),
        crossroads(seed=1).open(),
    ):
        assert place_fingerprint(other) != place_fingerprint(place)


def test_a_town_is_named_by_all_that_makes_it() -> None:
    town = TownPlace(7, 240.0, 0.5, style="grid")
    changes = {"seed": 8, "side_m": 241.0, "pixel_m": 0.4, "style": "radial", "longitude_deg": 1.0}
    others = [replace(town, **{name: value}) for name, value in changes.items()]
    assert len({town.key, *(other.key for other in others)}) == 6
    assert held_out_by(replace(town, seed=2024).open()) == "town seed 2024"
