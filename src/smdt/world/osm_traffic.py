"""Where cars may stand or drive in an OpenStreetMap extract, its car parks' bays, and its poles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from smdt.world.grid import PlaceGrid
from smdt.world.layers import Street, Surface
from smdt.world.osm_canvas import Canvas, Layer, Paint, box
from smdt.world.osm_reading import OsmArea, OsmFeatures, number_in
from smdt.world.osm_roads import Road, RoadPlan, along_line, offset_line
from smdt.world.rectangle import smallest_rectangle

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Spot = tuple[float, float, float]

_BAY_M = 2.5
_BAY_DEPTH_M = 5.0
_AISLE_M = 6.0
_LINE = np.array([206.0, 205.0, 200.0])
_DRIVEN_SPACING_M = 18.0
_PARKED_SPACING_M = 6.2
_LAMP_SPACING_M = 32.0
_POLE_HEIGHT_M = {
    ("highway", "street_lamp"): 7.5, ("highway", "traffic_signals"): 3.6, ("man_made", "utility_pole"): 8.5,
    ("man_made", "flagpole"): 8.0, ("power", "pole"): 9.0, ("power", "tower"): 28.0, ("man_made", "mast"): 20.0,
    ("highway", "bus_stop"): 2.8, ("highway", "give_way"): 2.4, ("highway", "stop"): 2.4,
}  # fmt: skip


def draw_bays(canvas: Canvas, features: OsmFeatures) -> Singles:
    """Mark the bays of open car parks; returns (N, 3) east, north and direction of their places.

    Bays lie in double rows with aisles between, along the car park's longer side; mapped parking spaces are taken
    as they are.
    """
    lines, found = Layer(), list[Spot]()
    paint = Paint(_LINE, None, None, 0.08)
    for area in features.areas:
        if area.tags.get("amenity") == "parking_space":
            rectangle = smallest_rectangle(area.polygons[0][0])
            found.append((*rectangle.centre_m.tolist(), rectangle.angle_rad))
        elif area.tags.get("amenity") == "parking" and area.tags.get("parking", "surface") == "surface":
            found += _bays_of(canvas, area, lines, paint)
    canvas.paint(lines, (Surface.PARKING,))
    return _inside(canvas, found, (Surface.PARKING,))


def _bays_of(canvas: Canvas, area: OsmArea, lines: Layer, paint: Paint) -> list[Spot]:
    found: list[Spot] = []
    for rings in area.polygons:
        rectangle = smallest_rectangle(rings[0])
        (half_length, half_depth), angle = rectangle.half_m, rectangle.angle_rad
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        step = 2 * _BAY_DEPTH_M + _AISLE_M
        row = -half_depth + _BAY_DEPTH_M / 2
        rows = []
        while row < half_depth - _BAY_DEPTH_M / 2 + 0.1:
            rows.append(row)
            row += _BAY_DEPTH_M + _AISLE_M if len(rows) % 2 else step - _BAY_DEPTH_M - _AISLE_M
        for row in rows:
            for along in np.arange(-half_length + 1.0 + _BAY_M / 2, half_length - 1.0, _BAY_M):
                centre = rectangle.centre_m + np.array([along, row]) @ turn
                corner = rectangle.centre_m + np.array([along - _BAY_M / 2, row]) @ turn
                if _is_free(canvas, centre, (Surface.PARKING,)):
                    found.append((float(centre[0]), float(centre[1]), angle + math.pi / 2))
                    lines.add([[box(corner, (0.06, _BAY_DEPTH_M / 2), angle)]], paint)
    return found


def road_spots(canvas: Canvas, plan: RoadPlan, rng: np.random.Generator) -> Singles:
    """Places (N, 3) in the lanes of roads, and along kerbs where cars are parked.

    Traffic keeps to the right. Cars stand along both kerbs where ``parking:lane`` tags say so, and where a
    two-way residential street is at least 6 m wide.
    """
    found: list[Spot] = []
    for road in plan.roads:
        one_way = road.tags.get("oneway") in ("yes", "1", "-1")
        back = road.tags.get("oneway") == "-1"
        sides = _parked_sides(road, one_way)
        free = road.width_m - 2.1 * len(sides)
        middle = (2.1 if -1.0 in sides else 0.0) / 2 - (2.1 if 1.0 in sides else 0.0) / 2
        lanes = [(0.0, 1)] if one_way or free < 4.4 else [(-free / 4, 1), (free / 4, -1)]
        if road.tags["highway"] != "service" or free > 4.4:
            for left, way in lanes:
                line = offset_line(road.points_m, middle + left)
                start = float(rng.uniform(2.0, _DRIVEN_SPACING_M))
                for (east, north), angle in along_line(line, _DRIVEN_SPACING_M, start):
                    forward = way > 0 and not back
                    found.append((float(east), float(north), angle if forward else angle + math.pi))
        for side in sides:
            line = offset_line(road.points_m, side * (road.width_m / 2 - 1.05))
            for (east, north), angle in along_line(line, _PARKED_SPACING_M, 8.0):
                if not len(plan.junctions_m) or np.hypot(*(plan.junctions_m - (east, north)).T).min() > 9.0:
                    found.append((float(east), float(north), angle))
    return _inside(canvas, found, (Surface.ROAD,))


def _parked_sides(road: Road, one_way: bool) -> list[float]:
    """Sides of a road (1 left, -1 right) along which cars stand."""
    tags, both = road.tags, road.tags.get("parking:lane:both", road.tags.get("parking:both", ""))
    sides = []
    for side, name in ((1.0, "left"), (-1.0, "right")):
        here = tags.get(f"parking:lane:{name}", tags.get(f"parking:{name}", both))
        if here in ("parallel", "marked", "lane", "street_side", "diagonal"):
            sides.append(side)
    silent = not any(key.startswith("parking:") for key in tags)
    if silent and tags["highway"] == "residential" and road.width_m >= 6.0 and not one_way:
        sides = [-1.0]
    return sides


def find_poles(canvas: Canvas, features: OsmFeatures, plan: RoadPlan, rng: np.random.Generator) -> Singles:
    """Poles (N, 3) east, north, height: mapped ones, and lamps along roads where none is mapped."""
    found: list[Spot] = []
    lamps = 0
    for point in features.points:
        height = next(
            (value for (key, kind), value in _POLE_HEIGHT_M.items() if point.tags.get(key) == kind),
            2.4 if "traffic_sign" in point.tags else None,
        )
        if height is not None:
            lamps += point.tags.get("highway") == "street_lamp"
            height = min(max(number_in(point.tags, "height", height), 1.0), 120.0)
            found.append(
                (float(point.at_m[0]), float(point.at_m[1]), height * float(rng.uniform(0.95, 1.05)))
            )
    if not lamps:
        for road in plan.roads:
            kind = road.tags["highway"]
            built = float(plan.dense.at(*road.points_m[len(road.points_m) // 2])) > 0.05
            if road.tags.get("lit", "yes" if built and kind != "service" else "no") in ("no", "disused"):
                continue
            beside = offset_line(road.points_m, road.width_m / 2 + 0.9)
            for (east, north), _ in along_line(beside, _LAMP_SPACING_M, 12.0):
                found.append((float(east), float(north), float(rng.uniform(6.5, 8.5))))
    return _inside(
        canvas,
        found,
        (Surface.GRASS, Surface.PAVEMENT, Surface.FIELD, Surface.BARE, Surface.PARKING, Surface.TREE),
    )


def to_streets(grid: PlaceGrid, roads: list[Road]) -> tuple[Street, ...]:
    """Centre lines of the roads, cut to the pieces that touch the place."""
    width, height = grid.size_m
    streets = []
    for road in roads:
        low = np.minimum(road.points_m[:-1], road.points_m[1:])
        high = np.maximum(road.points_m[:-1], road.points_m[1:])
        near = (high > 0).all(axis=1) & (low < (width, height)).all(axis=1)
        ends = np.flatnonzero(np.diff(np.concatenate([[False], near, [False]]).astype(int)))
        for first, last in zip(ends[::2], ends[1::2], strict=True):
            streets.append(Street(road.points_m[first : last + 1], road.width_m))
    return tuple(streets)


def _is_free(canvas: Canvas, at_m: Floats, kinds: tuple[Surface, ...]) -> bool:
    width, height = canvas.grid.size_m
    if not (0 <= at_m[0] < width and 0 <= at_m[1] < height):
        return False
    row, column = canvas.at(at_m[None])
    return bool(canvas.surface[row[0], column[0]] in kinds)


def _inside(canvas: Canvas, spots: list[Spot], kinds: tuple[Surface, ...]) -> Singles:
    """Those spots that lie in the place on ground of some kinds."""
    table = np.array(spots, np.float64).reshape(-1, 3)
    width, height = canvas.grid.size_m
    table = table[((table[:, :2] >= 0) & (table[:, :2] < (width, height))).all(axis=1)]
    rows, columns = canvas.at(table[:, :2])
    return table[np.isin(canvas.surface[rows, columns], kinds)].astype(np.float32)
