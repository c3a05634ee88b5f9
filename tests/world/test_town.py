import numpy as np
import pytest

from smdt.errors import ConfigError
from smdt.geometry.geodesy import distance_m
from smdt.world.layers import Place, Surface
from smdt.world.palette import Palette
from smdt.world.streets import PLANS
from smdt.world.town import STYLES, TownConfig, build_town, style_of

SMALL = TownConfig(seed=5, side_m=240.0, pixel_m=0.5, style="organic")
LAYERS = ("colour", "height_m", "surface", "object_id", "car_spots", "poles")


@pytest.fixture(scope="module")
def town() -> Place:
    return build_town(SMALL)


@pytest.fixture(scope="module")
def places(town: Place) -> dict[str, Place]:
    others = {
        style: build_town(TownConfig(seed=3, side_m=260.0, pixel_m=0.5, style=style))
        for style in STYLES
        if style not in ("organic", "mixed")
    }
    return {"organic": town, **others}


def share(place: Place, surface: Surface) -> float:
    return float((place.surface == surface).mean())


def surface_at(place: Place, east_m: float, north_m: float) -> int:
    return int(
        place.surface[len(place.surface) - 1 - int(north_m / place.pixel_m), int(east_m / place.pixel_m)]
    )


def test_one_seed_gives_one_town_to_the_byte(town: Place) -> None:
    again = build_town(SMALL)
    for name in LAYERS:
        assert getattr(town, name).tobytes() == getattr(again, name).tobytes()
    assert town.buildings.facade.tobytes() == again.buildings.facade.tobytes()
    assert town.trees.colour.tobytes() == again.trees.colour.tobytes()


def test_another_seed_gives_another_town(town: Place) -> None:
    other = build_town(TownConfig(seed=6, side_m=240.0, pixel_m=0.5, style="organic"))
    assert (other.surface != town.surface).mean() > 0.2


def test_layers_are_aligned_and_agree(places: dict[str, Place]) -> None:
    for style, place in places.items():
        size = place.surface.shape
        assert place.colour.shape == (*size, 3), style
        assert place.height_m.shape == place.object_id.shape == size
        built = place.surface == Surface.BUILDING
        assert built.any(), style
        assert (place.object_id[built] > 0).all(), style
        assert (place.object_id[~built] == 0).all(), style
        assert place.object_id.max() <= len(place.buildings.angle_rad)
        assert (place.height_m[built] > 2.5).all(), style
        for flat in (Surface.ROAD, Surface.PAVEMENT, Surface.PARKING, Surface.WATER, Surface.GRASS):
            assert (place.height_m[place.surface == flat] == 0).all(), (style, flat)
        assert (place.height_m[place.surface == Surface.TREE] > 0.5).all(), style


def test_a_town_has_roads_homes_and_trees(town: Place) -> None:
    assert 0.05 < share(town, Surface.ROAD) < 0.4
    assert share(town, Surface.BUILDING) > 0.01
    assert share(town, Surface.TREE) > 0.01


def test_each_style_shows_what_it_is_named_for(places: dict[str, Place]) -> None:
    assert max(places, key=lambda style: share(places[style], Surface.TREE)) == "forest"
    assert share(places["forest"], Surface.TREE) > 0.25
    assert share(places["farmland"], Surface.FIELD) > 0.2
    assert share(places["coast"], Surface.WATER) > 0.1
    built = {style: place.height_m[place.surface == Surface.BUILDING] for style, place in places.items()}
    assert built["highrise"].max() > 30.0
    assert np.percentile(built["suburb"], 90) < 12.0
    rural = {style: share(places[style], Surface.ROAD) for style in ("rural", "farmland", "forest")}
    urban = {style: share(places[style], Surface.ROAD) for style in ("grid", "radial", "highrise", "organic")}
    assert 0 < max(rural.values()) < min(urban.values())
    assert share(places["rural"], Surface.PAVEMENT) < share(places["grid"], Surface.PAVEMENT)


@pytest.mark.parametrize("seed", [32, 3568])
def test_a_road_with_both_ends_at_sea_keeps_its_stretch_on_land(seed: int) -> None:
    rng = np.random.default_rng([seed, 20220718])
    plan = PLANS["coast"](rng, Palette.draw(rng), 700.0, TownConfig().block_m)
    assert plan.shore is not None
    for road in plan.roads:
        assert (plan.shore.inland_m(road.points_m[:, 0], road.points_m[:, 1]) > 0.0).all()


@pytest.mark.parametrize("seed", range(4))
def test_every_place_has_a_road_near_its_middle(seed: int) -> None:
    for style in ("rural", "farmland", "forest"):
        place = build_town(TownConfig(seed=seed, side_m=260.0, pixel_m=1.0, style=style))
        middle = place.surface[60:200, 60:200]
        assert (middle == Surface.ROAD).sum() > 100, style


def test_what_moves_is_in_no_raster_but_its_places_are_known(places: dict[str, Place]) -> None:
    for style, place in places.items():
        assert not (place.surface == Surface.VEHICLE).any()
        east, north, direction = place.car_spots.T
        assert len(east) > 10, style
        assert np.isfinite(direction).all()
        found = {
            surface_at(place, e, n) for e, n in zip(east, north, strict=True) if 0 < e < 240 and 0 < n < 240
        }
        assert Surface.ROAD in found
        assert Surface.BUILDING not in found, style
        assert Surface.WATER not in found, style


def test_moving_cars_keep_to_the_right_of_their_street() -> None:
    place = build_town(TownConfig(seed=3, side_m=400.0, pixel_m=0.5, style="grid"))
    right = left = 0
    for street in place.streets:
        start, end = street.points_m[:-1], street.points_m[1:]
        unit = (end - start) / np.hypot(*(end - start).T)[:, None]
        for east, north, direction in place.car_spots:
            away = np.array([east, north]) - start
            along = (away * unit).sum(1)
            lateral = unit[:, 0] * away[:, 1] - unit[:, 1] * away[:, 0]
            on = (along > 0) & (along < np.hypot(*(end - start).T)) & (np.abs(lateral) < street.width_m / 2)
            for piece in np.nonzero(on)[0]:
                forward = float(np.cos(direction) * unit[piece, 0] + np.sin(direction) * unit[piece, 1])
                if abs(forward) > 0.95:
                    right += forward * lateral[piece] < 0
                    left += forward * lateral[piece] > 0
    assert right > 100
    assert left < 0.03 * right


def test_trees_of_the_table_stand_in_the_rasters(places: dict[str, Place]) -> None:
    for style, place in places.items():
        trees = place.trees
        assert len(trees.radius_m) > 20, style
        assert (trees.crown_base_m < trees.top_m).all()
        large = trees.radius_m >= 1.4
        centres = trees.centre_m[large]
        shown = [surface_at(place, *centre) == Surface.TREE for centre in centres]
        assert np.mean(shown) > 0.97, style
        rows = len(place.surface) - 1 - (centres[:, 1] / place.pixel_m).astype(int)
        height = place.height_m[rows, (centres[:, 0] / place.pixel_m).astype(int)]
        assert np.mean(height >= 0.85 * trees.top_m[large]) > 0.9, style


def test_poles_stand_beside_roads(places: dict[str, Place]) -> None:
    seen = 0
    for place in places.values():
        for east, north, height in place.poles:
            assert 2.0 < height < 12.0
            if 0 <= east < place.size_m[0] and 0 <= north < place.size_m[1]:
                seen += 1
                assert surface_at(place, east, north) not in (Surface.ROAD, Surface.BUILDING, Surface.WATER)
    assert seen > 100


def test_mixed_takes_its_style_from_the_seed_and_covers_them_all() -> None:
    chosen = {seed: style_of(TownConfig(seed=seed)) for seed in range(200)}
    assert set(chosen.values()) == set(STYLES) - {"mixed"}
    assert chosen[7] == style_of(TownConfig(seed=7, side_m=300.0))
    config = TownConfig(seed=7, side_m=120.0, pixel_m=1.0)
    same = build_town(TownConfig(seed=7, side_m=120.0, pixel_m=1.0, style=chosen[7]))
    assert build_town(config).colour.tobytes() == same.colour.tobytes()


def test_positions_round_trip_and_metres_are_metres(town: Place) -> None:
    latitude, longitude = town.to_position([10.0, 110.0, 10.0], [20.0, 20.0, 120.0])
    east, north = town.to_local_m(latitude, longitude)
    np.testing.assert_allclose(east, [10.0, 110.0, 10.0], atol=1e-6)
    np.testing.assert_allclose(north, [20.0, 20.0, 120.0], atol=1e-6)
    # The sphere of Web Mercator differs from the ellipsoid by up to 0.7 %.
    across = distance_m(latitude[0], longitude[0], latitude[1:], longitude[1:])
    np.testing.assert_allclose(across, [100.0, 100.0], rtol=7e-3)


@pytest.mark.parametrize(
    ("setting", "value"), [("side_m", 10.0), ("pixel_m", 0.0), ("block_m", 1.0), ("style", "gothic")]
)
def test_impossible_towns_are_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        TownConfig(**{setting: value})


def test_an_unknown_style_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"use one of organic, grid, radial, rural, suburb, .*coast, mixed"):
        TownConfig(style="gothic")
