from dataclasses import replace

import numpy as np

from smdt.world.canvas import Canvas
from smdt.world.layers import Surface
from smdt.world.palette import Palette
from smdt.world.paving import draw_roads
from smdt.world.roads import Road, cross, find_meetings, offset, resample, smooth
from smdt.world.strips import strips

EAST = np.array([(0.0, 50.0), (100.0, 50.0)])
NORTH = np.array([(50.0, 0.0), (50.0, 100.0)])


def draw(roads: list[Road]) -> Canvas:
    canvas = Canvas.blank(np.random.default_rng(0), 100.0, 0.25)
    canvas.colour[:] = 90.0
    canvas.mottle[:] = canvas.drift[:] = 0
    draw_roads(np.random.default_rng(0), canvas, Palette.draw(np.random.default_rng(1)), roads)
    return canvas


def column(canvas: Canvas, east_m: float) -> np.ndarray:
    """Brightness from south to north."""
    return canvas.colour[::-1, int(east_m / canvas.pixel_m)].mean(-1)


def test_resampling_keeps_vertices_and_shortens_steps() -> None:
    points = np.array([(0.0, 0.0), (30.0, 0.0), (30.0, 10.0)])
    dense = resample(points, 8.0)
    assert np.hypot(*np.diff(dense, axis=0).T).max() <= 8.0
    assert all((dense == point).all(1).any() for point in points)


def test_a_smooth_curve_goes_through_its_points() -> None:
    points = np.array([(0.0, 0.0), (20.0, 12.0), (44.0, 3.0)])
    curve = smooth(points, 4.0)
    assert all(np.isclose(curve, point).all(1).any() for point in points)


def test_convention_positive_offset_is_left() -> None:
    np.testing.assert_allclose(offset(EAST, 4.0), [(0.0, 54.0), (100.0, 54.0)])


def test_crossing_roads_get_a_common_vertex_and_meet_there() -> None:
    roads = cross([Road(EAST, width_m=8.0), Road(NORTH, width_m=6.0)])
    for road in roads:
        np.testing.assert_allclose(road.points_m[1], (50.0, 50.0))
    first, second = find_meetings(roads)
    assert [(m.along_m, m.clear_m, m.ends, m.count) for m in first] == [(50.0, 3.0, False, 4)]
    assert second[0].clear_m == 4.0


def test_a_side_road_is_minor_to_the_road_it_ends_at() -> None:
    main = Road(np.array([(0.0, 50.0), (50.0, 50.0), (100.0, 50.0)]), rank=3)
    side = Road(np.array([(50.0, 50.0), (50.0, 100.0)]), rank=1)
    on_main, on_side = find_meetings([main, side])
    assert on_main[0].minor
    assert not on_main[0].ends
    assert on_side[0].ends
    assert on_side[0].count == 3


def test_strips_share_the_pixels_out_without_gap_or_overlap() -> None:
    canvas = Canvas.blank(np.random.default_rng(0), 100.0, 0.5)
    line = smooth(np.array([(10.0, 20.0), (40.0, 60.0), (90.0, 70.0)]), 8.0)
    times = np.zeros((200, 200), int)
    for strip in strips(canvas, line, 6.0):
        times[strip.where] += strip.own & (strip.away < 4.0)
    assert times.max() == 1
    dense = resample(line, 0.2)
    rows, columns = 199 - (dense[:, 1] / 0.5).astype(int), (dense[:, 0] / 0.5).astype(int)
    assert (times[rows, columns] == 1).all()


def test_lateral_is_positive_to_the_left_and_along_grows() -> None:
    canvas = Canvas.blank(np.random.default_rng(0), 100.0, 0.5)
    (strip,) = strips(canvas, EAST, 6.0)
    assert strip.lateral[0, 0] > 0 > strip.lateral[-1, 0]
    assert (np.diff(strip.along[0]) > 0).all()


def test_a_road_has_its_width_and_its_edges_are_soft() -> None:
    canvas = draw([Road(EAST, width_m=6.1, cover="asphalt", wear=0.0)])
    assert (canvas.surface[:, 200] == Surface.ROAD).sum() * 0.25 == 6.0
    profile = column(canvas, 50.0)
    ground, road = 90.0, profile[50 * 4 - 12 + 1]
    edge = profile[50 * 4 - 13]  # 46.75 .. 47 m; the road begins at 46.95
    assert min(ground, road) < edge < max(ground, road)
    assert abs((edge - ground) / (road - ground) - 0.2) < 0.06


def test_the_centre_line_stops_at_a_crossing() -> None:
    plain = Road(EAST, width_m=8.0, centre="solid", wear=0.0)
    crossing = cross([plain, Road(NORTH, width_m=8.0, wear=0.0)])
    canvas, bare = draw(crossing), draw(cross([Road(EAST, width_m=8.0, wear=0.0), crossing[1]]))
    marked = np.abs(canvas.colour - bare.colour).max(-1) > 8
    middle = marked[196:204].any(0)  # rows around north 50
    assert middle[30 * 4]
    assert middle[70 * 4]
    assert not middle[44 * 4 : 56 * 4].any()


def test_a_double_line_covers_the_share_of_pixels_it_should() -> None:
    plain = Road(EAST, width_m=8.0, wear=0.0)
    bare = draw([plain]).colour[::-1, 200]
    marked = draw([replace(plain, centre="double")]).colour[::-1, 200]
    yellow = np.array([214.0, 172.0, 66.0]) if Palette.draw(np.random.default_rng(1)).yellow else 226.0
    share = ((marked - bare) / (yellow - bare))[:, 0]
    # Each line is 0.15 m wide, 0.095 .. 0.245 m off the middle: 60 % of its pixel, painted at 92 %.
    np.testing.assert_allclose(share[199:201], 0.6 * 0.92, atol=0.02)
    assert share[:199].max() == share[201:].max() == 0


def test_pavements_are_only_where_a_road_has_them() -> None:
    assert (draw([Road(EAST, pavement_m=2.0)]).surface == Surface.PAVEMENT).any()
    country = draw([Road(EAST, shoulder_m=1.5)])
    assert not (country.surface == Surface.PAVEMENT).any()
    assert (country.surface == Surface.BARE).any()


def test_the_turning_circle_lies_at_the_end() -> None:
    canvas = draw([Road(np.array([(0.0, 50.0), (60.0, 50.0)]), width_m=6.0, bulb_m=9.0)])
    assert canvas.surface_at(60.0, 58.0) == Surface.ROAD
    assert canvas.surface_at(30.0, 58.0) != Surface.ROAD
