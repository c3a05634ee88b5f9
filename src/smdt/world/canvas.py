"""Layers under construction: windows, soft coverage, and what is noted down on the way.

Things are drawn with the share of each pixel they cover, taken from a signed distance, so that no edge shows steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from smdt.world.layers import BuildingTable, Surface, TreeTable

Floats = npt.NDArray[np.float64]
Rasters = npt.NDArray[np.floating[Any]]
Masks = npt.NDArray[np.bool_]
Window = tuple[slice, slice]

USE_STEP_M = 1.0
USES = (
    "meadow", "homes", "town", "flats", "shops", "yard", "park", "crop", "ploughed", "pasture", "wood",
    "thin wood", "orchard", "scrub", "clearcut", "pivot", "plaza", "parking", "perimeter", "towers", "slabs",
    "hall", "beach", "water", "verge",
)  # fmt: skip
"""What ground is for; `Canvas.use` holds positions in this tuple."""

CODE = {name: code for code, name in enumerate(USES)}


@dataclass(frozen=True)
class Frame:
    """Local coordinates x along and y away from something.

    Attributes:
        origin: (2,) east, north.
        along: (2,) unit vector of x.
        away: (2,) unit vector of y, at a right angle to it on either side.
    """

    origin: Floats
    along: Floats
    away: Floats

    @staticmethod
    def turned(origin: Floats, angle_rad: float) -> Frame:
        """The frame at a place whose x axis has an angle anticlockwise from east."""
        cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
        return Frame(np.asarray(origin, np.float64), np.array([cosine, sine]), np.array([-sine, cosine]))

    @property
    def angle_rad(self) -> float:
        """Direction of x, anticlockwise from east."""
        return math.atan2(self.along[1], self.along[0])

    def world(self, x: float, y: float) -> Floats:
        """East and north of a local position."""
        at: Floats = self.origin + x * self.along + y * self.away
        return at

    def moved(self, x: float, y: float) -> Frame:
        """The same directions with another origin."""
        return Frame(self.world(x, y), self.along, self.away)

    def local(self, east_m: Rasters, north_m: Rasters) -> tuple[Rasters, Rasters]:
        """Local x and y of positions (broadcast)."""
        de, dn = east_m - float(self.origin[0]), north_m - float(self.origin[1])
        x = de * float(self.along[0]) + dn * float(self.along[1])
        return x, de * float(self.away[0]) + dn * float(self.away[1])


@dataclass
class Canvas:
    """The layers of a place while it is drawn. Row 0 is the northern edge.

    Attributes:
        side_m: side of the square place.
        pixel_m: metres per pixel.
        colour: (H, W, 3) albedo.
        height_m: (H, W).
        surface: (H, W) of :class:`Surface`.
        object_id: (H, W), 1 + row of the building.
        claimed: (H, W), ground that belongs to a lot.
        use: what the ground is for, one cell a metre, row 0 in the south; a value of ``CODE``.
        drift: (H, W) broad noise, about -1..1.
        mottle: (H, W) fine noise, about -1..1.
        buildings: centre, half size, angle, facade, storey of each.
        trees: rows of east, north, radius, top, crown base, red, green, blue, conifer.
        car_spots: rows of east, north, direction.
        poles: rows of east, north, height.
    """

    side_m: float
    pixel_m: float
    colour: Rasters
    height_m: Rasters
    surface: npt.NDArray[np.uint8]
    object_id: npt.NDArray[np.int32]
    claimed: Masks
    use: npt.NDArray[np.uint8]
    drift: Rasters
    mottle: Rasters
    buildings: list[tuple[Floats, tuple[float, float], float, Floats, float]] = field(default_factory=list)
    trees: list[tuple[float, ...]] = field(default_factory=list)
    car_spots: list[tuple[float, float, float]] = field(default_factory=list)
    poles: list[tuple[float, float, float]] = field(default_factory=list)

    @staticmethod
    def blank(rng: np.random.Generator, side_m: float, pixel_m: float) -> Canvas:
        """An empty canvas with its noise."""
        size = round(side_m / pixel_m)
        cells = math.ceil(side_m / USE_STEP_M)
        return Canvas(
            side_m=side_m,
            pixel_m=pixel_m,
            colour=np.zeros((size, size, 3), np.float32),
            height_m=np.zeros((size, size), np.float32),
            surface=np.zeros((size, size), np.uint8),
            object_id=np.zeros((size, size), np.int32),
            claimed=np.zeros((size, size), np.bool_),
            use=np.zeros((cells, cells), np.uint8),
            drift=noise(rng, size, side_m, ((140.0, 0.6), (45.0, 0.45), (12.0, 0.3))),
            mottle=noise(rng, size, side_m, ((4.0, 0.45), (1.3, 0.45)), grain=0.28),
        )

    @property
    def size_px(self) -> int:
        """Rows, and columns."""
        return int(self.surface.shape[0])

    def window(
        self, east_m: Floats, north_m: Floats, margin_m: float
    ) -> tuple[Window, Rasters, Rasters] | None:
        """The pixels around some points: their slices, and the east and north of their centres (broadcastable)."""
        size, step = self.size_px, self.pixel_m
        left = max(0, int((float(east_m.min()) - margin_m) / step))
        right = min(size, int((float(east_m.max()) + margin_m) / step) + 2)
        top = max(0, size - int((float(north_m.max()) + margin_m) / step) - 2)
        bottom = min(size, size - int((float(north_m.min()) - margin_m) / step))
        if left >= right or top >= bottom:
            return None
        east = ((np.arange(left, right) + 0.5) * step).astype(np.float32)
        north = ((size - np.arange(top, bottom) - 0.5) * step).astype(np.float32)
        return (slice(top, bottom), slice(left, right)), east[None, :], north[:, None]

    def box(
        self, frame: Frame, x: tuple[float, float], y: tuple[float, float], margin_m: float = 0.5
    ) -> tuple[Window, Rasters, Rasters] | None:
        """The pixels around a box of a frame, and their local coordinates."""
        corners = np.array([frame.world(a, b) for a in x for b in y])
        found = self.window(corners[:, 0], corners[:, 1], margin_m)
        if found is None:
            return None
        return found[0], *frame.local(found[1], found[2])

    def inside(self, distance: Rasters) -> Rasters:
        """Share of a pixel covered by something whose signed distance (negative inside) is given in metres."""
        result: Rasters = np.clip(np.float32(0.5) - distance * np.float32(1.0 / self.pixel_m), 0.0, 1.0)
        return result

    def stripe(self, distance: Rasters, width_m: float) -> Rasters:
        """Share of a pixel covered by a line of some width at a distance from its middle; right for thin lines."""
        half, pixel = 0.5 * width_m, self.pixel_m
        away = np.abs(distance)
        share = np.minimum(away + 0.5 * pixel, half) - np.maximum(away - 0.5 * pixel, -half)
        return np.clip(share / pixel, 0.0, 1.0).astype(np.float32)

    def blend(
        self, where: Window, cover: Rasters, colour: Floats | Rasters, surface: Surface | None = None
    ) -> None:
        """Paint a colour, (3,) or (h, w, 3), with coverage; pixels covered by half take the class."""
        target = self.colour[where]
        paint = np.asarray(colour, np.float32) - target
        paint *= cover[..., None]
        target += paint
        if surface is not None:
            self.surface[where][cover > 0.5] = surface

    def textured(self, where: Window, tone: Floats, mottle: float = 0.05, drift: float = 0.0) -> Rasters:
        """A colour with noise over a window, (h, w, 3)."""
        factor = 1.0 + mottle * self.mottle[where]
        if drift:
            factor = factor + drift * self.drift[where]
        shaded: Rasters = factor[..., None] * np.asarray(tone, np.float32)
        return shaded

    def fill(
        self,
        frame: Frame,
        x: tuple[float, float],
        y: tuple[float, float],
        tone: Floats,
        surface: Surface,
        *,
        over: Iterable[Surface],
        mottle: float = 0.05,
        round_m: float = 0.0,
    ) -> None:
        """Paint a box of a frame over ground of some classes only."""
        found = self.box(frame, x, y)
        if found is None:
            return
        where, a, b = found
        distance = box_distance(a, b, x, y, round_m)
        cover = self.inside(distance) * member(self.surface[where], over)
        self.blend(where, cover, self.textured(where, tone, mottle), surface)

    def surface_at(self, east_m: float, north_m: float) -> int:
        """Class at a position; -1 outside."""
        column, row = int(east_m // self.pixel_m), self.size_px - 1 - int(north_m // self.pixel_m)
        if not (0 <= row < self.size_px and 0 <= column < self.size_px):
            return -1
        return int(self.surface[row, column])

    def use_at(self, east_m: float, north_m: float) -> int:
        """Use at a position; 0 outside."""
        column, row = int(east_m // USE_STEP_M), int(north_m // USE_STEP_M)
        if not (0 <= row < self.use.shape[0] and 0 <= column < self.use.shape[1]):
            return 0
        return int(self.use[row, column])

    def note_use(self, where: Window, mask: Masks, use: str) -> None:
        """Set the use of the cells that some pixels of a window lie in."""
        step = max(1, int(USE_STEP_M / self.pixel_m / 2))
        rows, columns = np.nonzero(mask[::step, ::step])
        metres = self.pixel_m / USE_STEP_M
        north = (self.size_px - 0.5 - where[0].start - step * rows) * metres
        east = (where[1].start + step * columns + 0.5) * metres
        self.use[north.astype(int), east.astype(int)] = CODE[use]

    def building_table(self) -> BuildingTable:
        """What was built."""
        rows = self.buildings
        return BuildingTable(
            centre_m=np.array([row[0] for row in rows], np.float32).reshape(-1, 2),
            half_size_m=np.array([row[1] for row in rows], np.float32).reshape(-1, 2),
            angle_rad=np.array([row[2] for row in rows], np.float32),
            facade=np.array([row[3] for row in rows], np.float32).reshape(-1, 3),
            storey_m=np.array([row[4] for row in rows], np.float32),
        )

    def tree_table(self) -> TreeTable:
        """What was planted."""
        rows = np.array(self.trees, np.float32).reshape(-1, 9)
        return TreeTable(rows[:, :2], rows[:, 2], rows[:, 3], rows[:, 4], rows[:, 5:8], rows[:, 8] > 0.5)


def member(surface: npt.NDArray[np.uint8], classes: Iterable[Surface]) -> Masks:
    """Where a class raster is one of some classes."""
    table = np.zeros(256, np.bool_)
    table[[int(one) for one in classes]] = True
    chosen: Masks = table[surface]
    return chosen


def box_distance(
    a: Rasters, b: Rasters, x: tuple[float, float], y: tuple[float, float], round_m: float = 0.0
) -> Rasters:
    """Signed distance to a box of local coordinates, negative inside; its corners may be round."""
    da = np.abs(a - 0.5 * (x[0] + x[1])) - (0.5 * (x[1] - x[0]) - round_m)
    db = np.abs(b - 0.5 * (y[0] + y[1])) - (0.5 * (y[1] - y[0]) - round_m)
    if round_m <= 0:
        result: Rasters = np.maximum(da, db)
        return result
    outside = np.hypot(np.maximum(da, 0), np.maximum(db, 0))
    return np.asarray(outside + np.minimum(np.maximum(da, db), 0) - round_m, np.float32)


def convex_distance(points_m: Floats, east_m: Rasters, north_m: Rasters) -> Rasters:
    """Distance to a convex polygon's boundary lines, negative inside; its corners may go round either way."""
    turn = np.roll(points_m, -1, 0) - points_m
    following = np.roll(turn, -1, 0)
    sign = 1.0 if (turn[:, 0] * following[:, 1] - turn[:, 1] * following[:, 0]).sum() > 0 else -1.0
    distance: Rasters | None = None
    for start, step in zip(points_m, turn, strict=True):
        length = float(np.hypot(*step))
        if length < 1e-6:
            continue
        normal = sign * np.array([step[1], -step[0]]) / length
        line = (east_m - float(start[0])) * float(normal[0]) + (north_m - float(start[1])) * float(normal[1])
        distance = line if distance is None else np.maximum(distance, line, out=distance)
    assert distance is not None
    return distance


def noise(
    rng: np.random.Generator,
    size: int,
    side_m: float,
    octaves: Iterable[tuple[float, float]],
    grain: float = 0.0,
) -> Rasters:
    """Noise of about -1..1, (size, size): a smoothly enlarged random grid for each (wavelength in metres, weight).

    Args:
        rng: where the randomness comes from.
        size: pixels of a side.
        side_m: metres of a side.
        octaves: wavelength and weight of each.
        grain: weight of noise that differs from pixel to pixel.
    """
    total = np.zeros((size, size), np.float32)
    for wavelength_m, weight in octaves:
        cells = min(size, max(3, round(2.0 * side_m / wavelength_m)))
        grid = Image.fromarray(rng.uniform(-1.4, 1.4, (cells, cells)).astype(np.float32))
        total += np.float32(weight) * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
    if grain:
        tile = rng.standard_normal((512, 512), dtype=np.float32) * np.float32(grain)
        for top in range(0, size, 512):
            for left in range(0, size, 512):
                part = total[top : top + 512, left : left + 512]
                part += np.roll(tile, int(rng.integers(512)), 1)[: part.shape[0], : part.shape[1]]
    return total
