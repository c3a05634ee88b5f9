"""Roads of several kinds, and where they meet."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from smdt.world.canvas import Floats


@dataclass(frozen=True)
class Road:
    """A road's centre line and cross-section.

    Attributes:
        points_m: (N, 2) east, north.
        width_m: carriageway.
        lanes: in both directions together.
        cover: asphalt, concrete, gravel or dirt.
        centre: none, dashed, solid or double.
        edge_lines: white lines along the edges.
        pavement_m: width of the pavements; 0 for none.
        verge_m: grass between kerb and pavement.
        shoulder_m: width of gravel shoulders.
        mown_m: width of the grass beside them that is kept clear.
        frontage: what stands along it: none, homes, town, flats, farm or cabin.
        one_way: all traffic goes along the points.
        bulb_m: radius of the turning circle at its end.
        rank: which goes over which.
        poles: none, lamps or power.
        kerb_parking: cars stand along the kerbs.
        rail: a guard rail on its right and left.
        tone: factor on the palette's colour.
        wear: 0 new to 1 worn.
        closed: it ends where it began.
    """

    points_m: Floats
    width_m: float = 6.0
    lanes: int = 2
    cover: str = "asphalt"
    centre: str = "none"
    edge_lines: bool = False
    pavement_m: float = 0.0
    verge_m: float = 0.0
    shoulder_m: float = 0.0
    mown_m: float = 0.0
    frontage: str = "none"
    one_way: bool = False
    bulb_m: float = 0.0
    rank: int = 1
    poles: str = "none"
    kerb_parking: bool = False
    rail: bool = False
    tone: float = 1.0
    wear: float = 0.4
    closed: bool = False

    @property
    def half_m(self) -> float:
        """From the centre line to the outer edge of pavement or shoulder."""
        return 0.5 * self.width_m + max(self.verge_m + self.pavement_m, self.shoulder_m)

    @property
    def urban(self) -> bool:
        """It has pavements."""
        return self.pavement_m > 0

    def stations(self) -> Floats:
        """Distance travelled at each point, in metres."""
        steps = np.diff(self.points_m, axis=0)
        return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


KINDS = ("lane", "street", "avenue", "boulevard", "country", "byway", "highway", "ramp", "gravel", "dirt")


def make_road(rng: np.random.Generator, kind: str, points_m: Floats, wear: float, **changes: object) -> Road:
    """A road of a kind, with the variation found among them.

    Args:
        rng: where the randomness comes from.
        kind: one of ``KINDS``.
        points_m: (N, 2) east, north.
        wear: of the region, 0..1.
        changes: fields to set otherwise.
    """
    own = float(np.clip(wear + rng.normal(0, 0.25), 0, 1))
    cover = "concrete" if rng.random() < 0.12 else "asphalt"
    settings: dict[str, object] = {"tone": float(rng.normal(1, 0.06)), "wear": own, "cover": cover}
    if kind == "lane":
        settings |= {"width_m": float(rng.uniform(5.2, 7.5)), "poles": "lamps"}
        settings |= {"pavement_m": 1.5, "verge_m": float(rng.choice([0.0, 1.5, 2.5]))}
    elif kind == "street":
        width = float(rng.choice([6.5, 7.5, 9.0, 10.5]))
        settings |= {"width_m": width, "pavement_m": float(rng.uniform(1.6, 2.6)), "poles": "lamps"}
        settings |= {"verge_m": float(rng.choice([0.0, 0.0, 1.8])), "kerb_parking": width >= 9.0, "rank": 2}
        settings |= {"centre": str(rng.choice(["none", "dashed", "double"], p=[0.4, 0.35, 0.25]))}
    elif kind in ("avenue", "boulevard"):
        lanes = 4 if kind == "avenue" else 6
        settings |= {"width_m": lanes * 3.3 + 0.6, "lanes": lanes, "centre": "double", "pavement_m": 3.4}
        settings |= {"poles": "lamps", "rank": 4 if kind == "avenue" else 5}
    elif kind == "country":
        settings |= {"width_m": float(rng.uniform(6.6, 8.2)), "centre": str(rng.choice(["double", "dashed"]))}
        settings |= {"edge_lines": bool(rng.random() < 0.8), "shoulder_m": float(rng.uniform(0.6, 2.2))}
        settings |= {"poles": "power" if rng.random() < 0.7 else "none", "rank": 3}
        settings |= {"rail": bool(rng.random() < 0.15)}
        settings |= {"mown_m": float(rng.uniform(2, 9))}
        if rng.random() < 0.15:
            settings |= {"width_m": 14.4, "lanes": 4, "centre": "double", "edge_lines": True}
    elif kind == "byway":
        settings |= {"width_m": float(rng.uniform(4.8, 6.2)), "shoulder_m": float(rng.uniform(0.3, 1.2))}
        settings |= {"mown_m": float(rng.uniform(1, 5))}
        settings |= {"centre": "dashed" if rng.random() < 0.5 else "none", "rank": 2}
        settings |= {"poles": "power" if rng.random() < 0.5 else "none"}
    elif kind == "highway":
        settings |= {"width_m": 10.8, "centre": "none", "edge_lines": True, "one_way": True, "rank": 6}
        settings |= {"shoulder_m": 2.2, "mown_m": 8.0, "rail": bool(rng.random() < 0.3)}
    elif kind in ("gravel", "dirt"):
        settings |= {"width_m": float(rng.uniform(4.2, 6.2)), "cover": kind, "rank": 1}
        settings |= {"poles": "power" if rng.random() < 0.3 else "none", "shoulder_m": 0.5}
        settings |= {"mown_m": float(rng.uniform(0.5, 3))}
    return replace(Road(np.asarray(points_m, np.float64)), **{**settings, **changes})  # type: ignore[arg-type]


def resample(points_m: Floats, step_m: float = 14.0) -> Floats:
    """The polyline with vertices added, so that no step is longer than a length."""
    pieces = [points_m[:1]]
    for start, end in itertools.pairwise(points_m):
        count = max(1, int(np.ceil(np.hypot(*(end - start)) / step_m)))
        t = np.linspace(0, 1, count + 1)[1:, None]
        pieces.append(start + t * (end - start))
    return np.concatenate(pieces)


def smooth(points_m: Floats, step_m: float = 12.0) -> Floats:
    """A curve through points (Catmull-Rom), with a vertex about every step; the points stay vertices."""
    if len(points_m) < 3:
        return resample(points_m, step_m)
    padded = np.concatenate([2 * points_m[:1] - points_m[1:2], points_m, 2 * points_m[-1:] - points_m[-2:-1]])
    pieces = [points_m[:1]]
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        count = max(2, int(np.ceil(np.hypot(*(c - b)) / step_m)))
        t = np.linspace(0, 1, count + 1)[1:, None]
        pieces.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return np.concatenate(pieces)


def offset(points_m: Floats, distance_m: float) -> Floats:
    """The polyline moved to its left."""
    tangent = np.gradient(points_m, axis=0)
    tangent /= np.hypot(tangent[:, 0], tangent[:, 1])[:, None]
    return points_m + distance_m * np.stack([-tangent[:, 1], tangent[:, 0]], 1)


def clip_to(points_m: Floats, low_m: float, high_m: float) -> Floats:
    """The part of a polyline between its first and last vertex inside a square, with one vertex more each way."""
    inside = ((points_m > low_m) & (points_m < high_m)).all(1)
    found = np.nonzero(inside)[0]
    if not len(found):
        return points_m[:0]
    return points_m[max(0, found[0] - 1) : found[-1] + 2]


def cross(roads: list[Road]) -> list[Road]:
    """The same roads with a vertex of each wherever two of them cross."""
    starts = np.concatenate([road.points_m[:-1] for road in roads])
    steps = np.concatenate([np.diff(road.points_m, axis=0) for road in roads])
    owner = np.concatenate([np.full(len(road.points_m) - 1, index) for index, road in enumerate(roads)])
    first = np.concatenate([[0], np.cumsum([len(road.points_m) - 1 for road in roads])])
    extra: dict[int, list[tuple[int, float, Floats]]] = defaultdict(list)
    for index in range(len(starts)):
        others = np.nonzero(owner[index + 1 :] != owner[index])[0] + index + 1
        between = starts[others] - starts[index]
        det = steps[index, 0] * steps[others, 1] - steps[index, 1] * steps[others, 0]
        safe = np.where(np.abs(det) < 1e-9, np.inf, det)
        t = (between[:, 0] * steps[others, 1] - between[:, 1] * steps[others, 0]) / safe
        u = (between[:, 0] * steps[index, 1] - between[:, 1] * steps[index, 0]) / safe
        hit = (t > 1e-6) & (t < 1 - 1e-6) & (u > 1e-6) & (u < 1 - 1e-6)
        for other, at, there in zip(others[hit], t[hit], u[hit], strict=True):
            point = starts[index] + at * steps[index]
            extra[int(owner[index])].append((index - int(first[owner[index]]), float(at), point))
            extra[int(owner[other])].append((int(other) - int(first[owner[other]]), float(there), point))
    return [
        replace(road, points_m=_with_vertices(road.points_m, extra[index])) if index in extra else road
        for index, road in enumerate(roads)
    ]


def _with_vertices(points_m: Floats, extra: list[tuple[int, float, Floats]]) -> Floats:
    """A polyline with points inserted at (segment, share of it)."""
    rows = [(float(index), point) for index, point in enumerate(points_m)]
    rows += [(segment + at, point) for segment, at, point in extra]
    rows.sort(key=lambda row: row[0])
    kept = [rows[0][1]]
    for _, point in rows[1:]:
        if np.hypot(*(point - kept[-1])) > 1e-3:
            kept.append(point)
    return np.array(kept)


@dataclass(frozen=True)
class Meeting:
    """Where a road meets others.

    Attributes:
        along_m: on this road.
        clear_m: half the width of the widest other there.
        ends: this road ends there.
        minor: the others there only end at this road, and are of lower rank.
        count: arms of the junction.
    """

    along_m: float
    clear_m: float
    ends: bool
    minor: bool
    count: int


def find_meetings(roads: list[Road]) -> list[list[Meeting]]:
    """For each road, the junctions on it: vertices that roads share with three arms or more."""
    arms: dict[tuple[int, int], list[tuple[int, int, bool]]] = defaultdict(list)
    for index, road in enumerate(roads):
        last = len(road.points_m) - 1
        for vertex, point in enumerate(road.points_m):
            if road.closed and vertex == last:
                continue
            ends = not road.closed and vertex in (0, last)
            arms[round(point[0] * 5), round(point[1] * 5)].append((index, vertex, ends))
    stations = [road.stations() for road in roads]
    meetings: list[list[Meeting]] = [[] for _ in roads]
    for here in arms.values():
        count = sum(1 if ends else 2 for _, _, ends in here)
        if len(here) < 2 or count < 3:
            continue
        for index, vertex, ends in here:
            others = [other for other in here if other[0] != index]
            if not others:
                continue
            clear = 0.5 * max(roads[other].width_m for other, _, _ in others)
            minor = not ends and all(
                gone and roads[other].rank < roads[index].rank for other, _, gone in others
            )
            meetings[index].append(Meeting(float(stations[index][vertex]), clear, ends, minor, count))
    return meetings
