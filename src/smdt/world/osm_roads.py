"""Paint the ways of an OpenStreetMap extract: railways, paths, pavements, roads and their markings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from smdt.world.layers import Surface
from smdt.world.osm_canvas import Canvas, Layer, Paint, box
from smdt.world.osm_ground import CoarseMap
from smdt.world.osm_reading import OsmFeatures, OsmLine, Tags, number_in, ring_area_m2
from smdt.world.osm_tags import (
    PATH_WIDTH_M,
    UNPAVED,
    importance,
    is_drivable,
    path_width_m,
    road_width_m,
    way_colour,
)

Floats = npt.NDArray[np.float64]

_KERB = np.array([172.0, 170.0, 164.0])
_WHITE = np.array([214.0, 213.0, 206.0])


_HOUSES = ("yes", "house", "detached", "residential", "semidetached_house", "bungalow", "terrace", "farm")


@dataclass(frozen=True)
class Road:
    """A carriageway.

    Attributes:
        tags: of the way.
        points_m: (N, 2) centre line.
        width_m: of the carriageway.
    """

    tags: Tags
    points_m: Floats
    width_m: float


@dataclass(frozen=True)
class RoadPlan:
    """The carriageways of a place.

    Attributes:
        roads: in the order painted.
        junctions_m: (N, 2) where they meet.
        dense: share of the ground that buildings cover around.
    """

    roads: list[Road]
    junctions_m: Floats
    dense: CoarseMap


def paint_ways(canvas: Canvas, features: OsmFeatures, dense: CoarseMap, rng: np.random.Generator) -> RoadPlan:
    """Paint railways, paths, pavements, roads and markings.

    Args:
        canvas: painted on.
        features: of the extract.
        dense: share of the ground that buildings cover around.
        rng: of tints, and of which small roads have markings.
    """
    roads = find_roads(features.lines)
    plan = RoadPlan(roads, _junctions(roads), dense)
    _paint_drives(canvas, features, roads, rng)
    _paint_ways(canvas, features.lines, plan, rng)
    _paint_rails(canvas, features.lines)
    _paint_markings(canvas, plan, features, rng)
    return plan


def find_roads(lines: list[OsmLine]) -> list[Road]:
    """The carriageways; pieces of one street, which tags often make of unlike width, get their usual width."""
    drivable = [line for line in lines if is_drivable(line.tags)]
    widths: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for line in drivable:
        length = float(np.hypot(*np.diff(line.points_m, axis=0).T).sum())
        widths.setdefault(_street_key(line.tags), []).append((road_width_m(line.tags), length))
    usual = {key: _weighted_median(pieces) for key, pieces in widths.items()}
    roads = [
        Road(
            line.tags,
            line.points_m,
            usual[_street_key(line.tags)] if "name" in line.tags else road_width_m(line.tags),
        )
        for line in drivable
    ]
    return sorted(roads, key=lambda road: importance(road.tags))


def _street_key(tags: Tags) -> tuple[str, ...]:
    return tags.get("name", ""), tags["highway"], tags.get("oneway", "no")


def _weighted_median(pieces: list[tuple[float, float]]) -> float:
    """The value that half of the weight does not exceed, of (value, weight)."""
    values, weights = np.array(sorted(pieces)).T
    reached = np.cumsum(weights)
    return float(values[np.searchsorted(reached, reached[-1] / 2.0)])


def _junctions(roads: list[Road]) -> Floats:
    """Points (N, 2) where at least three pieces of road meet."""
    if not roads:
        return np.zeros((0, 2))
    ends = np.concatenate(
        [
            np.concatenate([np.repeat(road.points_m[1:-1], 2, axis=0), road.points_m[[0, -1]]])
            for road in roads
        ]
    )
    spots, count = np.unique(np.round(ends, 2), axis=0, return_counts=True)
    return np.asarray(spots[count >= 3])


def _paint_ways(canvas: Canvas, lines: list[OsmLine], plan: RoadPlan, rng: np.random.Generator) -> None:
    """Railway beds, paths, pavements, kerbs and carriageways, in that order so that junctions join."""
    beds, paths, pavements, kerbs, roads = (Layer() for _ in range(5))
    for line in lines:
        if line.tags.get("railway") in ("rail", "light_rail", "narrow_gauge", "disused", "subway"):
            beds.add_line(line.points_m, 3.6, Paint(np.array([122.0, 112.0, 102.0]), Surface.BARE, 0.0, 0.16))
        if line.tags.get("highway", "") in PATH_WIDTH_M:
            unpaved = line.tags.get("surface", "") in UNPAVED or line.tags["highway"] in (
                "track",
                "path",
                "bridleway",
            )
            default = (154.0, 140.0, 118.0) if unpaved else (142.0, 140.0, 136.0)
            colour = way_colour(line.tags, default) + rng.normal(0, 3)
            kind = Surface.BARE if unpaved else Surface.PAVEMENT
            paths.add_line(line.points_m, path_width_m(line.tags), Paint(colour, kind, 0.0, 0.08))
    asphalt = np.array([104.0, 104.0, 106.0]) + rng.normal(0, 5)
    tints: dict[str, float] = {}
    for road in plan.roads:
        dense = float(plan.dense.at(*road.points_m[len(road.points_m) // 2]))
        if _has_pavement(road.tags, dense):
            wide = 3.0 if dense > 0.2 else 1.7
            pavements.add_line(
                road.points_m,
                road.width_m + 2 * wide,
                Paint(np.array([150.0, 147.0, 141.0]) + rng.normal(0, 3), Surface.PAVEMENT, 0.0, 0.06),
            )
            kerbs.add_line(road.points_m, road.width_m + 0.4, Paint(_KERB, Surface.PAVEMENT, 0.0, 0.03))
        fresh = float(rng.normal(1.0, 0.035))
        tint = tints.setdefault(road.tags.get("name", ""), fresh) if "name" in road.tags else fresh
        unpaved = road.tags.get("surface", "") in UNPAVED
        colour = way_colour(road.tags, (float(asphalt[0]), float(asphalt[1]), float(asphalt[2]))) * tint
        roads.add_line(
            road.points_m, road.width_m, Paint(colour, Surface.ROAD, 0.0, 0.14 if unpaved else 0.06)
        )
    for layer in (beds, pavements, paths, kerbs, roads):
        canvas.paint(layer)


def _paint_drives(canvas: Canvas, features: OsmFeatures, roads: list[Road], rng: np.random.Generator) -> None:
    """A drive from each house over open ground to the nearest street, where that is at most 25 m away."""
    served = ("residential", "living_street", "unclassified", "tertiary", "service")
    beside = [
        spot for road in roads if road.tags["highway"] in served for spot, _ in along_line(road.points_m, 3.0)
    ]
    if not beside:
        return
    tree, layer = cKDTree(np.array(beside)), Layer()
    for area in features.areas:
        ring = area.polygons[0][0]
        if area.tags.get("building", "no") not in _HOUSES or not 50.0 < ring_area_m2(ring) < 350.0:
            continue
        away, nearest = tree.query(ring)
        corner = int(np.argmin(away))
        if 3.0 < away[corner] < 25.0 and rng.random() < 0.85:
            side = ring[corner] + 0.25 * (ring.mean(axis=0) - ring[corner])
            colour = np.array([(150.0, 138.0, 120.0), (122.0, 120.0, 118.0)][int(rng.integers(2))])
            paint = Paint(colour + rng.normal(0, 5), Surface.BARE, 0.0, 0.1)
            layer.add_line(
                np.stack([side, beside[int(nearest[corner])]]), float(rng.uniform(2.6, 4.2)), paint
            )
    canvas.paint(layer, (Surface.GRASS,))


def _has_pavement(tags: Tags, dense: float) -> bool:
    """Whether pavements run along a road, where no tag says so by kind and surroundings."""
    tagged = tags.get("sidewalk", tags.get("sidewalk:both", ""))
    if tagged in ("no", "none"):
        return False
    if tagged in ("both", "left", "right", "yes"):
        return True
    kind = tags["highway"].removesuffix("_link")
    return kind not in ("service", "motorway", "trunk", "road", "raceway") and dense > 0.12


def _paint_rails(canvas: Canvas, lines: list[OsmLine]) -> None:
    """Sleepers and rails; trams have rails alone."""
    sleepers, rails = Layer(), Layer()
    steel = Paint(np.array([92.0, 84.0, 78.0]), None, None, 0.05)
    for line in lines:
        kind = line.tags.get("railway", "")
        if kind in ("rail", "light_rail", "narrow_gauge"):
            concrete = Paint(np.array([146.0, 140.0, 132.0]), None, None, 0.1)
            for at, angle in along_line(line.points_m, 0.65):
                sleepers.add([[box(at, (0.12, 1.25), angle)]], concrete)
        if kind in ("rail", "light_rail", "narrow_gauge", "tram"):
            for side in (-0.76, 0.76):
                rails.add_line(offset_line(line.points_m, side), 0.14, steel, round_ends=False)
    canvas.paint(sleepers, (Surface.BARE,))
    canvas.paint(rails, (Surface.BARE, Surface.ROAD, Surface.PAVEMENT))


def along_line(points_m: Floats, spacing_m: float, start_m: float = 0.0) -> list[tuple[Floats, float]]:
    """Points at equal distances along a polyline, with its direction there (radians, anticlockwise from east)."""
    steps = np.diff(points_m, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    reached = np.concatenate([[0.0], np.cumsum(lengths)])
    found = []
    for at in np.arange(start_m, reached[-1], spacing_m):
        piece = min(int(np.searchsorted(reached, at, side="right")) - 1, len(steps) - 1)
        if lengths[piece] > 0:
            spot = points_m[piece] + steps[piece] * ((at - reached[piece]) / lengths[piece])
            found.append((spot, math.atan2(steps[piece, 1], steps[piece, 0])))
    return found


def offset_line(points_m: Floats, left_m: float) -> Floats:
    """A polyline moved to its left, its bends kept in the middle of their turn."""
    steps = np.diff(points_m, axis=0)
    along = steps / np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-9)[:, None]
    left = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    at = np.concatenate([left[:1], left[:-1] + left[1:], left[-1:]])
    at /= np.maximum(np.hypot(at[:, 0], at[:, 1]), 0.5)[:, None]
    return np.asarray(points_m + at * left_m)


def _paint_markings(canvas: Canvas, plan: RoadPlan, features: OsmFeatures, rng: np.random.Generator) -> None:
    """Centre and lane lines, edge lines of fast roads, and zebra crossings."""
    layer = Layer()
    paint = Paint(_WHITE, None, None, 0.10)
    meeting = cKDTree(plan.junctions_m) if len(plan.junctions_m) else None
    for road in plan.roads:
        kind = road.tags["highway"].removesuffix("_link")
        fast = kind in ("motorway", "trunk")
        minor = kind in ("service", "living_street", "road", "residential", "unclassified")
        if road.tags.get("surface", "asphalt") not in ("asphalt", "paved", "concrete") or road.width_m < 5.0:
            continue
        if minor and (road.width_m < 6.0 or rng.random() < 0.75):
            continue
        one_way = road.tags.get("oneway") in ("yes", "1", "-1") or kind == "motorway"
        lanes = int(
            min(max(number_in(road.tags, "lanes", round(road.width_m / 3.6) if one_way else 2), 1), 8)
        )
        for number in range(1, lanes):
            left = road.width_m * (number / lanes - 0.5)
            for spot, angle in along_line(offset_line(road.points_m, left), 9.0 if fast else 6.0, 3.0):
                clear = road.width_m / 2 + 5.0
                if meeting is None or meeting.query(spot)[0] > clear:
                    layer.add([[box(spot, (1.5, 0.07), angle)]], paint)
        if fast:
            for side in (-1.0, 1.0):
                edge = offset_line(road.points_m, side * (road.width_m / 2 - 0.5))
                layer.add_line(edge, 0.16, paint, round_ends=False)
    _add_crossings(layer, plan.roads, features, paint)
    canvas.paint(layer, (Surface.ROAD,))


def _add_crossings(layer: Layer, roads: list[Road], features: OsmFeatures, paint: Paint) -> None:
    vertices = {
        (round(float(point[0]), 2), round(float(point[1]), 2)): (road, index)
        for road in roads
        for index, point in enumerate(road.points_m)
    }
    for point in features.points:
        if point.tags.get("highway") != "crossing" or point.tags.get("crossing") in ("unmarked", "no"):
            continue
        found = vertices.get((round(float(point.at_m[0]), 2), round(float(point.at_m[1]), 2)))
        if found is None or found[0].width_m < 3.0:
            continue
        road, index = found
        step = road.points_m[min(index + 1, len(road.points_m) - 1)] - road.points_m[max(index - 1, 0)]
        angle = math.atan2(step[1], step[0])
        left = np.array([-math.sin(angle), math.cos(angle)])
        for at in np.arange(-road.width_m / 2 + 0.5, road.width_m / 2, 1.0):
            layer.add([[box(point.at_m + left * at, (1.6, 0.25), angle)]], paint)
