"""Roads graded into hills, pads under buildings and level water, by numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, label

from smdt.errors import ConfigError
from smdt.world.canvas import Floats, Rasters
from smdt.world.earthworks import Bank, Ground, grade
from smdt.world.layers import Place, Surface
from smdt.world.plan import Plan
from smdt.world.roads import Road, cross
from smdt.world.terrain import Terrain, Waves, relief_of
from smdt.world.town import STYLES, TownConfig, build_town

NO_WAVES = Waves(np.zeros((1, 2)), np.zeros(1), np.zeros(1))


class Plane(Terrain):
    """Ground that rises north by 0.3 a metre."""

    def at(self, points_m: Floats) -> Floats:
        height: Floats = 0.3 * points_m[:, 1]
        return height

    def grid(self, axis_m: Floats) -> Rasters:
        return np.repeat((0.3 * axis_m[:, None]).astype(np.float32), len(axis_m), axis=1)


PLANE = Plane(0.5, NO_WAVES, NO_WAVES, 0.0, Plan("meadow"))
ALONG = Road(np.array([(0.0, 100.0), (200.0, 100.0)]), width_m=8.0)
BANK = Bank(cut=0.8, fill=0.5, ditch_m=0.0)


def laid(roads: list[Road], bank: Bank = BANK) -> Ground:
    ground = Ground.of(PLANE, 200.0)
    ground.lay_roads(roads, [bank] * len(roads), PLANE, NO_WAVES)
    return ground


def test_a_road_along_a_slope_is_level_across_and_its_banks_end_at_the_land() -> None:
    column = laid([ALONG]).level[:, 100]
    at = lambda north: float(column[int(north)])  # noqa: E731  cells of a metre, centres at .5
    # Level at 30 m to 4 + 0.6 m aside; then 0.8 up a metre until the land, 0.3 y, is reached 7.36 m aside.
    assert [at(96.5), at(99.5), at(103.5)] == pytest.approx([30.0, 30.0, 30.0], abs=1e-4)
    assert at(105.5) == pytest.approx(30.0 + 0.8 * (5.5 - 4.6), abs=1e-3)
    assert at(106.5) == pytest.approx(30.0 + 0.8 * (6.5 - 4.6), abs=1e-3)
    assert at(108.5) == pytest.approx(0.3 * 108.5, abs=1e-3)
    # Downhill 0.5 down a metre until it is reached 11.5 m aside.
    assert at(90.5) == pytest.approx(30.0 - 0.5 * (9.5 - 4.6), abs=1e-3)
    assert at(87.5) == pytest.approx(0.3 * 87.5, abs=1e-3)


def test_a_road_up_a_slope_climbs_with_it() -> None:
    ((points, heights),) = grade([replace(ALONG, points_m=np.array([(100.0, 0.0), (100.0, 200.0)]))], PLANE)
    slopes = np.diff(heights) / np.diff(points[:, 1])
    middle = len(slopes) // 2
    assert heights[middle] + 0.5 * slopes[middle] * (points[middle + 1] - points[middle])[1] == pytest.approx(
        30.0
    )
    # With z - 34² z'' = 0.3 y and free ends at 0 and 200 m: z' = 0.3 (1 - 1 / cosh(100 / 34)) in the middle.
    assert slopes[middle] == pytest.approx(0.3 * (1 - 1 / np.cosh(100 / 34)), abs=0.004)
    assert (slopes > 0).all()


def test_roads_that_cross_have_one_elevation_there() -> None:
    first, second = cross([ALONG, Road(np.array([(60.0, 20.0), (140.0, 180.0)]), width_m=6.0)])
    (here, z_here), (there, z_there) = grade([first, second], PLANE)
    meet = np.array([100.0, 100.0])
    at_first = z_here[np.hypot(*(here - meet).T).argmin()]
    at_second = z_there[np.hypot(*(there - meet).T).argmin()]
    assert at_first == at_second


def test_a_ditch_lies_beside_the_road_and_not_on_it() -> None:
    ground = laid([ALONG], replace(BANK, ditch_m=0.4))
    assert float(ground.ditch[98:103].max()) <= 0.0
    # Its middle lies 5.0 m aside, and this cell's 5.5 m.
    assert float(ground.ditch[105, 100]) == pytest.approx(0.4 * np.exp(-((0.5 / 0.75) ** 2)), abs=1e-3)


def test_waves_have_the_slope_asked_for_and_agree_with_their_grid() -> None:
    waves = Waves.draw(np.random.default_rng(1), 40.0, 400.0, 30, 0.2)
    axis = np.arange(0.0, 4000.0, 5.0)
    grid = waves.grid(axis)
    north, east = np.gradient(grid, 5.0)
    assert float(np.sqrt((north**2 + east**2).mean())) == pytest.approx(0.2, rel=0.1)
    points = np.array([(axis[3], axis[40]), (axis[500], axis[7])])
    np.testing.assert_allclose(waves.at(points), [grid[40, 3], grid[7, 500]], atol=1e-3)


@pytest.fixture(scope="module")
def valley() -> Place:
    return build_town(TownConfig(seed=21, side_m=320.0, pixel_m=0.5, style="forest", relief=0.8))


def test_roads_of_a_hilly_town_are_graded(valley: Place) -> None:
    across, along, land = [], [], []
    for street in valley.streets:
        start, end = street.points_m[:-1], street.points_m[1:]
        step = end - start
        unit = step / np.hypot(*step.T)[:, None]
        middle, normal = (start + end) / 2, np.stack([-unit[:, 1], unit[:, 0]], 1)
        inside = ((middle > 30) & (middle < 290)).all(1)
        reach = 0.5 * street.width_m - 0.5
        left, right = (valley.ground_at(*(middle + side * reach * normal).T)[inside] for side in (-1, 1))
        across += list(np.abs(left - right) / (2 * reach))
        ahead, back = (valley.ground_at(*(middle + side * 3 * unit).T)[inside] for side in (-1, 1))
        along += list(np.abs(ahead - back) / 6)
    north, east = np.gradient(valley.ground_m, valley.pixel_m)
    land = np.hypot(north, east)[valley.surface == Surface.TREE]
    assert len(across) > 20
    assert np.median(across) < 0.01
    assert np.percentile(across, 90) < 0.05
    assert np.percentile(along, 90) < 0.6 * np.percentile(land, 90)


def test_buildings_stand_level_and_water_is_level() -> None:
    place = build_town(TownConfig(seed=9, side_m=300.0, pixel_m=0.5, style="suburb", relief=0.5))
    assert np.ptp(place.ground_m) > 5.0
    seen = 0
    for number in np.unique(place.object_id)[1:]:
        inner = binary_erosion(place.object_id == number, iterations=3)
        if inner.sum() > 40:
            assert np.ptp(place.ground_m[inner]) < 0.05
            seen += 1
    assert seen > 10
    wet = build_town(TownConfig(seed=34, side_m=300.0, pixel_m=0.5, style="coast", relief=0.3))
    numbers, count = label(wet.surface == Surface.WATER)
    parts = [binary_erosion(numbers == part, iterations=4) for part in range(1, count + 1)]
    parts = [part for part in parts if part.sum() > 100]
    assert parts
    for part in parts:
        assert np.ptp(wet.ground_m[part]) < 0.05
        assert wet.ground_m[part].mean() < wet.ground_m[wet.surface == Surface.ROAD].min()


def test_banks_beside_the_roads_of_hilly_towns_are_bare(valley: Place) -> None:
    level = build_town(TownConfig(seed=21, side_m=320.0, pixel_m=0.5, style="forest", relief=0.0))
    north, east = np.gradient(valley.ground_m, valley.pixel_m)
    steep = np.hypot(north, east) > 1.0
    open_ground = np.isin(valley.surface, [Surface.GRASS, Surface.BARE])
    assert (steep & open_ground).sum() > 200
    assert (valley.surface[steep & open_ground] == Surface.BARE).mean() > 0.8
    assert not level.ground_m.any()


def test_one_seed_gives_one_hilly_town_to_the_byte(valley: Place) -> None:
    again = build_town(TownConfig(seed=21, side_m=320.0, pixel_m=0.5, style="forest", relief=0.8))
    for name in ("colour", "height_m", "surface", "ground_m", "skyline_m", "poles"):
        assert getattr(valley, name).tobytes() == getattr(again, name).tobytes()


def test_relief_is_by_style_and_seed_unless_given() -> None:
    drawn = {style: [relief_of(style, seed) for seed in range(60)] for style in STYLES if style != "mixed"}
    assert max(drawn["highrise"]) <= 0.12
    assert max(drawn["grid"]) <= 0.15
    assert max(drawn["rural"]) > 0.8
    assert min(drawn["rural"]) >= 0.1
    assert 0.0 in drawn["highrise"]
    assert drawn["forest"] == [relief_of("forest", seed) for seed in range(60)]
    config = TownConfig(seed=4, side_m=120.0, pixel_m=1.0, style="rural")
    given = replace(config, relief=relief_of("rural", 4))
    assert build_town(config).ground_m.tobytes() == build_town(given).ground_m.tobytes()
    for relief in (-0.1, 1.5):
        with pytest.raises(ConfigError, match="relief"):
            replace(config, relief=relief)
