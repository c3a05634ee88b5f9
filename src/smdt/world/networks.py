"""Nets of roads, straight and bent, and the ground they divide."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import Voronoi

from smdt.world.canvas import Floats
from smdt.world.palette import Palette
from smdt.world.plan import Patch
from smdt.world.roads import Road, clip_to, cross, make_road, offset, resample

Random = np.random.Generator
Warp = Callable[[Floats], Floats]


def warp_of(rng: Random, amplitude_m: float, wavelength_m: float) -> Warp:
    """A smooth displacement of the plane."""
    rows = [
        (rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi), wavelength_m * rng.uniform(0.7, 1.4))
        for _ in range(4)
    ]

    def warp(points: Floats) -> Floats:
        moved = points.copy()
        for index, (heading, phase, length) in enumerate(rows):
            wave = np.sin(
                (points[:, 0] * math.cos(heading) + points[:, 1] * math.sin(heading)) * 2 * math.pi / length
                + phase
            )
            moved[:, index % 2] += 0.7 * amplitude_m * wave
        return moved

    return warp


def voronoi_patches(rng: Random, diagram: Voronoi, side_m: float, uses: tuple[str, ...]) -> list[Patch]:
    """The finite cells of a diagram that reach into the place, with uses at random."""
    patches = []
    for region in diagram.point_region:
        corners = diagram.regions[region]
        use = str(rng.choice(uses))
        if not corners or -1 in corners:
            continue
        polygon = diagram.vertices[corners]
        if polygon.max() < 4 * side_m + 1000 and np.any((polygon > 0).all(1) & (polygon < side_m).all(1)):
            patches.append(Patch(polygon, use))
    return patches


@dataclass(frozen=True)
class Lattice:
    """Nodes (U, V, 2) of a bent net before bending, and the bend."""

    nodes: Floats
    warp: Warp

    def edge(self, i: int, j: int, di: int, dj: int) -> Floats:
        """A bent edge from a node to the next one along u (di = 1) or v (dj = 1)."""
        return self.warp(resample(np.stack([self.nodes[i, j], self.nodes[i + di, j + dj]]), 11.0))

    def cell(self, i: int, j: int) -> Floats:
        """Corners of a cell."""
        corners = [self.nodes[i, j], self.nodes[i + 1, j], self.nodes[i + 1, j + 1], self.nodes[i, j + 1]]
        return self.warp(np.array(corners))


def lattice(
    rng: Random,
    side_m: float,
    gap_u: tuple[float, float],
    gap_v: tuple[float, float],
    angle: float,
    warp: Warp,
) -> Lattice:
    """A net over the whole place with uneven gaps, turned by an angle; one of its lines passes near the middle."""
    reach = 0.75 * side_m + max(*gap_u, *gap_v)

    def lines(gap: tuple[float, float]) -> Floats:
        ahead, behind = [rng.uniform(-0.15, 0.15) * min(side_m, 400.0)], []
        while ahead[-1] < reach:
            ahead.append(ahead[-1] + rng.uniform(*gap))
        behind.append(ahead[0] - rng.uniform(*gap))
        while behind[-1] > -reach:
            behind.append(behind[-1] - rng.uniform(*gap))
        return np.array(behind[::-1] + ahead)

    u, v = np.meshgrid(lines(gap_u), lines(gap_v), indexing="ij")
    cosine, sine = math.cos(angle), math.sin(angle)
    east, north = u * cosine - v * sine, u * sine + v * cosine
    return Lattice(np.stack([east, north], -1) + 0.5 * side_m, warp)


def near(points: Floats, side_m: float, margin_m: float = 30.0) -> bool:
    """Whether any point lies in the place or within a margin of it."""
    return bool(np.any((points > -margin_m).all(1) & (points < side_m + margin_m).all(1)))


def lattice_roads(
    rng: Random,
    palette: Palette,
    net: Lattice,
    side_m: float,
    keep: float,
    kind_u: Callable[[int], str],
    kind_v: Callable[[int], str],
    frontage: str,
) -> list[Road]:
    """Roads along the edges of a net; edges of a line share one kind and look, and some edges are missing."""
    roads = []
    for direction, kind_of in ((0, kind_u), (1, kind_v)):
        for line in range(net.nodes.shape[1 - direction]):
            kind = kind_of(line)
            model = make_road(rng, kind, net.nodes[:2, 0], palette.wear, frontage=frontage)
            main = kind in ("avenue", "boulevard", "country")
            for step in range(net.nodes.shape[direction] - 1):
                missing = rng.random() > keep and not main
                i, j = (step, line) if direction == 0 else (line, step)
                points = net.edge(i, j, 1 - direction, direction)
                if not missing and near(points, side_m):
                    roads.append(replace(model, points_m=points))
    return roads


def lattice_patches(
    rng: Random, net: Lattice, side_m: float, uses: tuple[str, ...], block: bool = False
) -> list[Patch]:
    """The cells of a net that reach into the place."""
    patches = []
    for i in range(net.nodes.shape[0] - 1):
        for j in range(net.nodes.shape[1] - 1):
            polygon, use = net.cell(i, j), str(rng.choice(uses))
            if near(polygon, side_m, 0.0) or near(polygon.mean(0)[None], side_m, 0.0):
                patches.append(Patch(polygon, use, block))
    return patches


def country_roads(
    rng: Random,
    palette: Palette,
    side_m: float,
    gap_m: tuple[float, float],
    angle: float,
    warp: Warp,
    kinds: tuple[str, ...],
    frontage: str,
) -> list[Road]:
    """Single roads that cross the whole place, far apart, in two directions; one of them may be a motorway."""
    roads: list[Road] = []
    ending: list[int] = []
    net = lattice(rng, side_m, gap_m, (1.2 * gap_m[0], 1.5 * gap_m[1]), angle, warp)
    motorway = int(rng.integers(0, 12))
    for direction in (0, 1):
        for line in range(net.nodes.shape[1 - direction]):
            ends = net.nodes[:, line] if direction == 0 else net.nodes[line]
            points = clip_to(warp(resample(ends, 12.0)), -40.0, side_m + 40.0)
            if len(points) < 3:
                continue
            if direction == 0 and line == motorway:
                gap = rng.uniform(8, 14)
                roads.append(make_road(rng, "highway", offset(points, -gap), palette.wear))
                roads.append(make_road(rng, "highway", offset(points, gap)[::-1], palette.wear))
                continue
            kind = str(rng.choice(kinds))
            if direction == 1 and line % 2 and rng.random() < 0.5:
                ending.append(len(roads))
            roads.append(make_road(rng, kind, points, palette.wear, frontage=frontage))
    roads = cross(roads)
    for index in ending:
        others = {tuple(np.round(p, 3)) for k, road in enumerate(roads) if k != index for p in road.points_m}
        shared = [k for k, p in enumerate(roads[index].points_m) if tuple(np.round(p, 3)) in others]
        shared = [k for k in shared if 2 <= k < len(roads[index].points_m) - 2]
        if shared:  # it ends at a crossing
            cut, points = int(rng.choice(shared)), roads[index].points_m
            points = points[: cut + 1] if rng.random() < 0.5 else points[cut:]
            roads[index] = replace(roads[index], points_m=points)
    return roads


def split(rng: Random, polygon: Floats, area_m2: float, angle: float) -> list[Floats]:
    """Cut a convex polygon into convex parts of at most an area, along and across a direction."""
    x, y = polygon[:, 0], polygon[:, 1]
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    if area < area_m2 * rng.uniform(0.6, 1.4) or len(polygon) < 3:
        return [polygon]
    axis = np.array([math.cos(angle), math.sin(angle)])
    normal = np.array([-axis[1], axis[0]])
    normal = normal if np.ptp(polygon @ normal) > np.ptp(polygon @ axis) else axis
    reach = polygon @ normal
    level = reach.min() + np.ptp(reach) * rng.uniform(0.33, 0.67)
    parts: list[list[Floats]] = [[], []]
    for here, there in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        a, b = float(here @ normal) - level, float(there @ normal) - level
        parts[0 if a < 0 else 1].append(here)
        if a * b < 0:
            cut = here + (there - here) * a / (a - b)
            parts[0].append(cut)
            parts[1].append(cut)
    return [piece for part in parts if len(part) > 2 for piece in split(rng, np.array(part), area_m2, angle)]


def square_around(side_m: float) -> Floats:
    """Corners of a square somewhat larger than the place."""
    out = 90.0
    return np.array([(-out, -out), (side_m + out, -out), (side_m + out, side_m + out), (-out, side_m + out)])


def river(rng: Random, side_m: float) -> tuple[Floats, float]:
    """A winding stream across the place, and its width."""
    heading, centre = rng.uniform(0, math.pi), side_m * rng.uniform(0.25, 0.75, 2)
    along = np.arange(-0.9 * side_m, 0.9 * side_m, 12.0)
    axis = np.array([math.cos(heading), math.sin(heading)])
    swing = 18 * np.sin(along / 31 + rng.uniform(0, 6)) + 30 * np.sin(along / 83 + rng.uniform(0, 6))
    points = centre + along[:, None] * axis + swing[:, None] * np.array([-axis[1], axis[0]])
    return clip_to(points, -60.0, side_m + 60.0), float(rng.choice([4.0, 7.0, 14.0, 26.0]))
