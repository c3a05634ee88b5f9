"""Plans of places in several styles: where the roads run, and what the ground between them is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial import Voronoi

from smdt.world.canvas import Floats, Rasters
from smdt.world.networks import (
    Random,
    country_roads,
    lattice,
    lattice_patches,
    lattice_roads,
    near,
    river,
    split,
    square_around,
    voronoi_patches,
    warp_of,
)
from smdt.world.palette import Palette
from smdt.world.plan import Patch, Plan, Shore
from smdt.world.roads import clip_to, make_road, resample, smooth

_TOWN = ("homes", "homes", "homes", "homes", "flats", "flats", "shops", "park", "meadow", "yard")
_COUNTRY = ("crop", "crop", "crop", "ploughed", "meadow", "meadow", "pasture", "wood", "wood", "wood", "crop")


def plan_organic(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """Bent edges of a relaxed Voronoi diagram: an old town, never a grid."""
    margin = 2.0 * block_m
    count = max(8, round(((side_m + 2 * margin) / block_m) ** 2))
    seeds = rng.uniform(-margin, side_m + margin, (count, 2))
    for _ in range(2):  # Lloyd's relaxation: evener blocks, still irregular
        diagram = Voronoi(seeds)
        moved = seeds.copy()
        for index, region in enumerate(diagram.point_region):
            corners = diagram.regions[region]
            if corners and -1 not in corners:
                moved[index] = seeds[index] + 0.8 * (diagram.vertices[corners].mean(0) - seeds[index])
        seeds = np.clip(moved, -margin, side_m + margin)
    diagram = Voronoi(seeds)
    plan = Plan("meadow", patches=voronoi_patches(rng, diagram, side_m, _TOWN))
    for start, end in diagram.ridge_vertices:
        if start < 0 or rng.random() < 0.1:  # some edges are no street: larger blocks, dead ends
            continue
        ends = diagram.vertices[[start, end]]
        length = float(np.linalg.norm(ends[1] - ends[0]))
        if length < 8.0 or not np.any((ends > -40.0).all(1) & (ends < side_m + 40.0).all(1)):
            continue
        normal = np.array([ends[0, 1] - ends[1, 1], ends[1, 0] - ends[0, 0]]) / length
        bend = ends.mean(0) + normal * rng.normal(0.0, 0.07) * length
        t = np.linspace(0, 1, max(2, round(length / 12.0)) + 1)[:, None]
        points = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * bend + t**2 * ends[1]
        kind = str(rng.choice(["lane", "street", "street"]))
        plan.roads.append(make_road(rng, kind, points, palette.wear, frontage="town"))
    return plan


def plan_grid(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """Straight or slightly bent streets at right angles, with uneven blocks and an avenue here and there."""
    warp = warp_of(rng, rng.choice([0.0, 4.0, 10.0]), 450.0)
    long, angle = rng.uniform(1.1, 1.9), rng.uniform(0, math.pi / 2) * rng.choice([0, 1])
    net = lattice(rng, side_m, (0.75 * block_m, 1.15 * block_m), (0.8 * long * block_m, 1.2 * long * block_m),
                   angle, warp)  # fmt: skip
    plan = Plan("meadow")
    every = int(rng.integers(3, 6))

    def kind(line: int) -> str:
        return "avenue" if line % every == 1 else "street"

    plan.roads = lattice_roads(
        rng, palette, net, side_m, 0.92, kind, lambda line: "street" if line % 2 else "lane", "town"
    )
    plan.patches = lattice_patches(rng, net, side_m, _TOWN)
    return plan


def plan_highrise(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """City blocks with large buildings, courtyards, plazas and wide streets."""
    warp = warp_of(rng, rng.choice([0.0, 6.0]), 600.0)
    net = lattice(rng, side_m, (0.9 * block_m, 1.4 * block_m), (1.0 * block_m, 1.7 * block_m),
                   rng.uniform(0, math.pi / 2), warp)  # fmt: skip
    plan = Plan("plaza")
    first = int(rng.integers(3))
    plan.roads = lattice_roads(
        rng, palette, net, side_m, 0.95,
        lambda line: "boulevard" if line % 4 == first else ("avenue" if line % 2 else "street"),
        lambda line: "avenue" if line % 3 == first else "street", "none",
    )  # fmt: skip
    uses = (
        ("perimeter",) * 5 + ("towers",) * 5 + ("slabs", "slabs", "hall", "hall", "plaza", "park", "parking")
    )
    plan.patches = lattice_patches(rng, net, side_m, uses, block=True)
    return plan


def plan_radial(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """Spokes and rings around a roundabout off the middle."""
    centre = side_m * rng.uniform(0.38, 0.62, 2)
    radii = [float(rng.uniform(17, 24))]
    while radii[-1] < 0.95 * side_m:
        radii.append(radii[-1] + block_m * rng.uniform(0.75, 1.25))
    spokes = int(rng.integers(6, 10))
    angles = np.sort(
        np.arange(spokes) * 2 * math.pi / spokes + rng.uniform(-0.16, 0.16, spokes)
    ) + rng.uniform(0, 6)
    warp = warp_of(rng, 7.0, 350.0)
    island = warp(centre[None])[0]
    plan = Plan("meadow", islands=[(float(island[0]), float(island[1]), radii[0] - 6.0)])

    def at(radius: float, angle: float) -> Floats:
        return centre + radius * np.array([math.cos(angle), math.sin(angle)])

    def add(kind: str, points: Floats, **changes: object) -> None:
        if near(points, side_m):
            changes = {"frontage": "town", **changes}
            plan.roads.append(make_road(rng, kind, points, palette.wear, **changes))

    for index, radius in enumerate(radii):
        while len(angles) * 1.9 * block_m < 2 * math.pi * radius:  # further out, spokes fork
            middle = 0.5 * (angles + np.append(angles[1:], angles[0] + 2 * math.pi))
            angles = np.sort(np.concatenate([angles, middle]))
        after = np.append(angles[1:], angles[0] + 2 * math.pi)
        if index == 0:
            turn = np.linspace(angles[0], angles[0] + 2 * math.pi, 41)
            ring = np.sort(np.concatenate([turn, after[:-1]]))
            points = np.array([at(radius, angle) for angle in ring])
            add("street", warp(points), one_way=True, closed=True, width_m=9.0, lanes=1, centre="none",
                frontage="none", kerb_parking=False)  # fmt: skip
        for start, end in zip(angles, after, strict=True):
            arc = np.array(
                [at(radius, a) for a in np.linspace(start, end, max(2, round(radius * (end - start) / 11)))]
            )
            if index and rng.random() < 0.9:
                add("street" if index % 2 else "lane", warp(arc))
            if index + 1 < len(radii):
                out = resample(np.stack([at(radius, start), at(radii[index + 1], start)]), 11.0)
                add("avenue" if index == 0 and rng.random() < 0.3 else "street", warp(out))
                corners = [
                    at(radius, start),
                    at(radius, end),
                    at(radii[index + 1], end),
                    at(radii[index + 1], start),
                ]
                polygon = warp(np.array(corners))
                if near(polygon, side_m, 0.0):
                    plan.patches.append(Patch(polygon, str(rng.choice(_TOWN))))
    return plan


def plan_suburb(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """Curved residential streets and cul-de-sacs; the centre of American life."""
    warp = warp_of(rng, rng.uniform(12, 30), rng.uniform(260, 420))
    net = lattice(rng, side_m, (1.7 * block_m, 2.6 * block_m), (0.85 * block_m, 1.25 * block_m),
                   rng.uniform(0, math.pi), warp)  # fmt: skip
    plan = Plan("homes")
    collector = int(rng.integers(2, 5))
    poor = palette.trailer_share > 0
    kind = "gravel" if poor and rng.random() < 0.6 else "lane"
    plan.roads = lattice_roads(
        rng, palette, net, side_m, 0.8,
        lambda line: "street" if line % collector == 1 else kind, lambda line: kind, "homes",
    )  # fmt: skip
    for parent in list(plan.roads):
        length = parent.stations()[-1]
        if length < 90 or rng.random() < 0.55:
            continue
        vertex = len(parent.points_m) // 2
        tangent = parent.points_m[vertex + 1] - parent.points_m[vertex - 1]
        tangent = tangent / np.hypot(*tangent)
        normal = np.array([-tangent[1], tangent[0]]) * rng.choice([-1.0, 1.0])
        start, reach = parent.points_m[vertex], rng.uniform(36, 48)
        bend = tangent * rng.uniform(-14, 14)
        points = smooth(np.stack([start, start + 0.5 * reach * normal, start + reach * normal + bend]), 9.0)
        plan.roads.append(
            make_road(
                rng, kind, points, palette.wear, frontage="homes", bulb_m=rng.uniform(8, 11), verge_m=0.0
            )
        )
    for patch in lattice_patches(rng, net, side_m, ("homes",) * 14 + ("park", "shops", "wood", "flats")):
        plan.patches.append(patch)
    return plan


def plan_rural(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """Single roads through meadows, fields, woods or desert, with farmsteads and drives."""
    angle, warp = rng.uniform(0, math.pi), warp_of(rng, rng.uniform(10, 34), rng.uniform(420, 900))
    kinds = (
        ("country", "country", "country", "byway", "gravel")
        if rng.random() < 0.8
        else ("gravel", "dirt", "byway")
    )
    plan = Plan("scrub" if palette.climate == "arid" else "meadow")
    gap = (2.6 * block_m, 3.8 * block_m)
    plan.roads = country_roads(rng, palette, side_m, gap, angle, warp, kinds, "farm")
    uses = _COUNTRY if palette.climate != "arid" else ("scrub",) * 6 + ("crop", "ploughed")
    for polygon in split(rng, square_around(side_m), 5.0 * block_m**2, angle):
        plan.patches.append(Patch(warp(polygon), str(rng.choice(uses))))
    if rng.random() < 0.35:
        plan.rivers.append(river(rng, side_m))
    return plan


def plan_farmland(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """Large fields in many colours on a square survey: tracks, hedgerows, centre pivots."""
    angle = float(rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)]))
    warp = warp_of(rng, rng.choice([0.0, 0.0, 8.0]), 800.0)
    kinds = ("country", "byway", "gravel", "gravel", "dirt")
    plan = Plan("ploughed")
    gap = (2.8 * block_m, 4.4 * block_m)
    plan.roads = country_roads(rng, palette, side_m, gap, angle, warp, kinds, "farm")
    dry = palette.climate in ("arid", "dry")
    uses: tuple[str, ...] = ("crop",) * 6 + ("ploughed", "ploughed", "pasture", "pasture", "wood", "orchard")
    uses += ("pivot",) * (4 if dry else 1)
    for polygon in split(rng, square_around(side_m), rng.uniform(3.5, 8) * block_m**2, angle):
        plan.patches.append(Patch(warp(polygon), str(rng.choice(uses))))
    return plan


def plan_forest(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """Winding roads through woods of varied kind, with clearings and cabins."""
    broad, fine = warp_of(rng, rng.uniform(15, 35), 500.0), warp_of(rng, rng.uniform(4, 9), 170.0)
    plan = Plan("wood")
    gap = (2.4 * block_m, 3.4 * block_m)
    kinds = ("country", "country", "byway", "gravel", "dirt")
    plan.roads = country_roads(
        rng, palette, side_m, gap, rng.uniform(0, math.pi), lambda p: fine(broad(p)), kinds, "cabin"
    )
    uses = ("wood",) * 14 + ("thin wood",) * 4 + ("meadow", "clearcut")
    for polygon in split(rng, square_around(side_m), 2.2 * block_m**2, rng.uniform(0, math.pi)):
        plan.patches.append(Patch(fine(polygon), str(rng.choice(uses))))
    if rng.random() < 0.35:
        plan.rivers.append(river(rng, side_m))
    return plan


def plan_coast(rng: Random, palette: Palette, side_m: float, block_m: float) -> Plan:
    """A shore with beach or quay, a road along it, and a small town behind."""
    heading = rng.uniform(0, 2 * math.pi)
    inland = np.array([math.cos(heading), math.sin(heading)])
    waves = np.array(
        [(rng.uniform(8, 22), rng.uniform(260, 480), rng.uniform(0, 6)), (4, 110, rng.uniform(0, 6))]
    )
    origin = side_m * (0.5 + rng.uniform(-0.06, 0.06, 2)) - inland * side_m * rng.uniform(0.14, 0.26)
    shore = Shore(origin, inland, waves, quay=bool(rng.random() < 0.35))
    road_m = rng.uniform(14, 20) if shore.quay else rng.uniform(38, 62)
    plan = plan_organic(rng, palette, side_m, block_m)
    plan.base, plan.shore = "meadow", shore
    kept = []
    for road in plan.roads:
        away = shore.inland_m(road.points_m[:, 0], road.points_m[:, 1]) - road_m
        if (away > 0).all():
            kept.append(road)
        elif (away > 0).any():
            points = road.points_m if away[-1] > 0 else road.points_m[::-1]
            away = away if away[-1] > 0 else away[::-1]
            if away[-1] <= 0:  # both ends lie at sea: the last stretch on land is kept
                last = int(np.flatnonzero(away > 0)[-1])
                points = np.concatenate([points[: last + 1], _ashore(points, away, last)[None]])
                away = np.append(away[: last + 1], away[last])
            first = len(away) - int(np.argmax(away[::-1] <= 0)) - 1
            points = np.concatenate([_ashore(points, away, first)[None], points[first + 1 :]])
            kept.append(replace(road, points_m=points))
    line = clip_to(shore.line(road_m, 1.2 * side_m), -40.0, side_m + 40.0)
    plan.roads = [*kept, make_road(rng, "street", line, palette.wear, width_m=9.0, centre="double", rank=4)]
    return plan


def _ashore(points: Floats, away: Rasters, before: int) -> Floats:
    """Where a road crosses the shore, between a point and the next: (2,)."""
    t = -away[before] / (away[before + 1] - away[before])
    crossing: Floats = points[before] + t * (points[before + 1] - points[before])
    return crossing


PLANS: dict[str, Callable[[Random, Palette, float, float], Plan]] = {
    "organic": plan_organic,
    "grid": plan_grid,
    "radial": plan_radial,
    "rural": plan_rural,
    "suburb": plan_suburb,
    "highrise": plan_highrise,
    "farmland": plan_farmland,
    "forest": plan_forest,
    "coast": plan_coast,
}
