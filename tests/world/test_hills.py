"""Hilly places: what is seen of them is where geometry says, in numbers worked out by hand."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from smdt.world.aerial import aerial_view
from smdt.world.layers import BuildingTable, Place, Surface
from smdt.world.moment import Moment, Sun
from smdt.world.render import RenderConfig, Renderer, View

from .test_render import DEGREES_PER_ROW, plain, with_pillar
from .test_sprites import CALM, one_tree, rows_deg

CONFIG = RenderConfig(height_px=128, width_px=512, steps=480, sensor=False)
SOUTH, WEST, NORTH, EAST = 0, 128, 256, 384

Shape = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def on(place: Place, shape: Shape) -> Place:
    """The place on a ground whose elevation is a function of east and north."""
    rows, columns = place.surface.shape
    east = (np.arange(columns) + 0.5)[None, :] * place.pixel_m
    north = (rows - np.arange(rows) - 0.5)[:, None] * place.pixel_m
    elevation = np.broadcast_to(shape(east, north), (rows, columns))
    return replace(place, ground_m=elevation.astype(np.float32))


def rising_north(place: Place, slope: float = 0.1) -> Place:
    return on(place, lambda east, north: slope * north + 0 * east)


def plateau(place: Place, height_m: float, from_m: float, to_m: float) -> Place:
    """Level up to ``from_m`` north, and ``height_m`` higher from ``to_m`` on."""
    return on(
        place, lambda east, north: height_m * np.clip((north - from_m) / (to_m - from_m), 0, 1) + 0 * east
    )


def seen(place: Place, moment: Moment = CALM, **camera: float) -> View:
    return Renderer(place, CONFIG).panorama(100.0, 100.0, moment=moment, **camera)


def row_of(slope: float) -> float:
    """Row, counted from the upper edge, at which a line of sight of some slope leaves the picture."""
    return 64.0 - math.degrees(math.atan(slope)) / DEGREES_PER_ROW


def slope_of(row: int) -> float:
    """Tangent of the elevation of a row's middle."""
    return math.tan(math.radians((64 - (row + 0.5)) * DEGREES_PER_ROW))


def test_the_edges_of_a_road_down_a_slope_are_where_they_should_be() -> None:
    place = plain()
    rows = place.surface.shape[0]
    place.surface[rows - 360 : rows - 320] = Surface.ROAD  # 80 to 90 m north: 10 to 20 m south of the camera
    road = torch.nonzero(seen(rising_north(place)).surface[:, SOUTH] == Surface.ROAD)[:, 0]
    road = road[road > 75]  # its mirror image beyond the place's edge is higher up
    # The ground falls by 0.1 a metre: at 10 m it is seen at a slope of -0.1 - 2.5 / 10, at 20 m of -0.1 - 2.5 / 20.
    assert abs(int(road.max()) + 1 - row_of(-0.35)) <= 0.5
    assert abs(int(road.min()) - row_of(-0.225)) <= 0.5


def test_the_horizon_up_a_slope_is_its_upper_end() -> None:
    sky = seen(rising_north(plain())).surface[:, NORTH] == Surface.SKY
    # The place ends 100 m further north and 10 m higher, 7.5 m above the camera; its mirror image falls again.
    assert abs(int(sky.sum()) - row_of(7.5 / 100)) <= 0.5


def test_depth_down_a_slope_is_camera_height_over_the_difference_of_slopes() -> None:
    view = seen(rising_north(plain()))
    for row in (85, 100, 120):
        assert float(view.depth_m[row, SOUTH]) == pytest.approx(2.5 / (-slope_of(row) - 0.1), rel=2e-3)


def test_along_the_contour_a_slope_looks_level() -> None:
    view = seen(on(plain(), lambda east, north: 0.2 * east + 0 * north))
    for row in (90, 110, 125):
        assert float(view.depth_m[row, NORTH]) == pytest.approx(2.5 / -slope_of(row), rel=2e-3)
    assert float(view.depth_m[100, WEST]) > float(view.depth_m[100, NORTH]) > float(view.depth_m[100, EAST])


def test_the_camera_stands_on_the_ground_where_it_is() -> None:
    place = on(plain(), lambda east, north: 5.0 * np.sin(east / 9.0) + 0.3 * north)
    for east, north in ((100.0, 100.0), (71.3, 120.4)):
        assert float(place.ground_at(east, north)) == pytest.approx(
            5.0 * math.sin(east / 9.0) + 0.3 * north, abs=0.02
        )
    below = Renderer(place, CONFIG).panorama(100.0, 100.0, camera_height_m=2.5).depth_m[127]
    assert float(below.min()) > 2.0
    assert float(below.max()) < 9.0


def test_a_steep_bank_is_no_wall_and_shows_no_steps() -> None:
    view = seen(plateau(plain(), 6.0, 110.0, 114.0))  # 1.5 m up for each metre, from 10 m to 14 m away
    bank = [row for row in range(128) if -0.22 < slope_of(row) < 0.20]
    for row in bank:  # 1.5 (d - 10) - 2.5 = s d
        assert float(view.depth_m[row, NORTH]) == pytest.approx(17.5 / (1.5 - slope_of(row)), rel=3e-3)
    depths = view.depth_m[bank, NORTH]
    assert bool((depths[:-1] > depths[1:]).all())
    assert len(bank) > 40


def test_a_hill_hides_what_is_behind_it() -> None:
    place = with_pillar(100.0, 150.0, 5.0)
    assert bool((seen(place).surface == Surface.TREE).any())
    ridge = on(place, lambda east, north: np.clip(9.0 - np.abs(north - 125.0), 0, None) + 0 * east)
    assert not bool((seen(ridge).surface == Surface.TREE).any())


def test_a_pillar_on_a_hill_has_foot_and_top_at_their_elevations() -> None:
    place = plateau(with_pillar(100.0, 140.0, 9.0), 6.0, 115.0, 125.0)
    pillar = seen(place, camera_height_m=9.0).surface[:, NORTH] == Surface.TREE
    foot, top = rows_deg(pillar)
    # Its face is 39.5 m away; it stands 3 m below the camera and is 9 m high.
    assert foot == pytest.approx(math.degrees(math.atan(-3 / 39.5)), abs=DEGREES_PER_ROW)
    assert top == pytest.approx(math.degrees(math.atan(6 / 39.5)), abs=DEGREES_PER_ROW)


def test_a_tree_stands_with_its_foot_on_the_bank() -> None:
    place = plateau(one_tree(100.0, 112.0), 3.0, 106.0, 108.0)
    tree = seen(place, camera_height_m=4.0).surface[:, NORTH] == Surface.TREE
    foot, top = rows_deg(tree)
    assert foot == pytest.approx(math.degrees(math.atan((3 - 4) / 12)), abs=DEGREES_PER_ROW)
    assert top == pytest.approx(math.degrees(math.atan((3 + 8 - 4) / 12)), abs=3.0)


def test_a_car_tilts_with_its_road() -> None:
    place = replace(plain(), car_spots=np.array([[100.0, 110.0, math.pi / 2]], np.float32))
    car = seen(rising_north(place)).surface[:, NORTH] == Surface.VEHICLE
    # Its end is 10 - 2.15 m away, where the ground is 0.785 m higher than under the camera; it is 0.2 m off the ground.
    foot, _ = rows_deg(car)
    assert foot == pytest.approx(math.degrees(math.atan((0.785 + 0.2 - 2.5) / 7.85)), abs=DEGREES_PER_ROW)


def test_poles_and_wires_follow_the_ground() -> None:
    poles = np.array([[100.0, 120.0, 9.0], [130.0, 120.0, 9.0]], np.float32)
    view = seen(rising_north(replace(plain(), poles=poles)))
    foot, top = rows_deg(view.surface[:, NORTH] == Surface.POLE)
    # 20 m away and 2 m higher: foot at (2 - 2.5) / 20, top at (2 + 9 - 2.5) / 20.
    assert foot == pytest.approx(math.degrees(math.atan(-0.5 / 20)), abs=DEGREES_PER_ROW)
    assert top == pytest.approx(math.degrees(math.atan(8.5 / 20)), abs=DEGREES_PER_ROW)
    half_way = NORTH + round(math.degrees(math.atan(15 / 20)) / 360 * 512)
    wire = torch.nonzero(view.surface[:, half_way] == Surface.POLE)[:, 0]
    # The highest wire hangs 0.9 m through at its middle, 0.25 m under the tops: 2 + 9 - 0.9 - 0.25 m up.
    assert abs(int(wire.min()) + 0.5 - row_of((9.85 - 2.5) / 25.0)) <= 1.0


def house() -> Place:
    """A house 12 m to the north, 10 m wide, 6 m high."""
    place = plain()
    rows = place.surface.shape[0]
    place.height_m[rows - 480 : rows - 448, 380:420] = 6.0
    place.surface[rows - 480 : rows - 448, 380:420] = Surface.BUILDING
    place.object_id[rows - 480 : rows - 448, 380:420] = 1
    row = lambda *values: np.array([values], np.float32)  # noqa: E731
    table = BuildingTable(row(100, 116), row(5, 4), row(0)[0], row(200, 190, 170), row(3)[0])
    return replace(place, buildings=table)


def test_a_place_that_is_high_up_as_a_whole_looks_the_same() -> None:
    # One corner is higher, so that the place is not flat; it lies 140 m away.
    lifted = on(house(), lambda east, north: 300.0 + 1.0 * ((east > 199) & (north > 199)))
    low, high = (
        Renderer(place, replace(CONFIG, far_m=130.0)).panorama(100.0, 100.0, moment=CALM)
        for place in (house(), lifted)
    )
    land = low.surface != Surface.SKY
    assert float((high.surface == low.surface)[land].float().mean()) > 0.998
    wall = low.surface == Surface.BUILDING
    difference = (high.image.int() - low.image.int()).abs().float()
    assert int(wall.sum()) > 500
    assert float(difference[:, wall].mean()) < 1.0  # its windows are where they were


def test_a_flat_place_at_any_level_renders_as_at_zero() -> None:
    low, high = seen(house()), seen(replace(house(), ground_m=np.full((800, 800), 57.0, np.float32)))
    assert torch.equal(low.image, high.image)
    assert torch.equal(low.depth_m, high.depth_m)


@pytest.mark.parametrize("azimuth", [180.0, 0.0])
def test_both_views_light_a_slope_alike(azimuth: float) -> None:
    moment = Moment(sun=Sun(azimuth, 40.0), direct=0.6, haze_m=1e7, crowd=0.0)
    up, towards = math.sin(math.radians(40)), math.cos(math.radians(40)) * (-1 if azimuth == 180 else 1)
    lit = (up - 0.3 * towards) / math.sqrt(1.09) / up  # the ground rises north by 0.3
    expected = 0.4 + 0.6 * lit
    level = plain()
    level.surface[:] = Surface.PAVEMENT
    place = rising_north(level, 0.3)
    above = [aerial_view(one, moment)[0, 300:500, 300:500].mean() for one in (place, level)]
    below = [seen(one, moment).image[:, 90:].float().mean() for one in (place, level)]
    assert float(above[0] / above[1]) == pytest.approx(expected, rel=0.01)
    assert float(below[0] / below[1]) == pytest.approx(expected, rel=0.03)


def test_the_skyline_stands_at_its_elevation_and_far_away() -> None:
    place = on(plain(), lambda east, north: 1.0 * ((east > 199) & (north > 199)))
    line = np.zeros((2, 360), np.float32)
    line[0, 80:101] = 50.0  # east, 900 m away
    line[1, 170:191] = 120.0  # south, 3 km away
    view = seen(replace(place, skyline_m=line))
    for column, top in ((EAST, (50 - 2.5) / 900), (SOUTH, (120 - 2.5) / 3000)):
        sky = view.surface[:, column] == Surface.SKY
        assert abs(int(sky.sum()) - row_of(top)) <= 0.5
    assert float(view.depth_m[62, EAST]) == 900.0
    assert float(view.depth_m[62, SOUTH]) == 3000.0
    assert bool(torch.isinf(view.depth_m[62, NORTH]))


def test_beyond_its_edge_a_hilly_place_goes_on_mirrored() -> None:
    place = rising_north(plain(), 0.1)
    place.surface[:20] = Surface.WATER  # its northern 5 m
    # From 10 m south of the edge: water lies from 5 m to 15 m away, half of it in the mirror.
    view = Renderer(place, CONFIG).panorama(100.0, 190.0, moment=CALM)
    water = torch.nonzero(view.surface[:, NORTH] == Surface.WATER)[:, 0]
    near = row_of((0.5 - 2.5) / 5)
    assert abs(int(water.max()) + 1 - near) <= 1.0
    far = row_of((0.5 - 2.5) / 15)  # as far behind the edge as 5 m before it
    assert abs(int(water.min()) - far) <= 1.0
