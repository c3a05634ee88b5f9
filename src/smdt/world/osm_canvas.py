"""Paint shapes given in metres onto the layers of a place, with smooth edges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio import Affine
from rasterio.features import rasterize

from smdt.world.grid import PlaceGrid
from smdt.world.layers import Surface
from smdt.world.osm_reading import OsmArea

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Rings = Sequence[Floats]
Window = tuple[slice, slice]

_TILE_PX = 1024
_OCTAVES = ((90.0, 0.35), (17.0, 0.30), (2.6, 0.35))
_NOISE_STEPS = 60.0


@dataclass(frozen=True)
class Paint:
    """How one thing looks from above.

    Attributes:
        colour: RGB in 0..255.
        surface: class of its pixels, or None to leave the class.
        height_m: height of its pixels, or None to leave the height.
        mottle: strength of the mottled noise.
        stripes: direction (radians), period in metres and strength of its rows; strength 0 for none.
    """

    colour: Floats
    surface: Surface | None
    height_m: float | None = None
    mottle: float = 0.08
    stripes: tuple[float, float, float] = (0.0, 1.0, 0.0)


class Layer:
    """Things to be painted at once: later ones lie over earlier ones."""

    def __init__(self) -> None:
        self.paints: list[Paint] = []
        self.shapes: list[tuple[dict[str, Any], int]] = []
        self.boxes: list[tuple[float, float, float, float]] = []

    def add(self, polygons: Iterable[Rings], paint: Paint) -> None:
        """Add a thing made of polygons, each an outer ring (N, 2) and its holes, in metres."""
        self.paints.append(paint)
        for rings in polygons:
            if len(rings[0]) < 4:
                continue
            coordinates = [ring.tolist() for ring in rings if len(ring) >= 4]
            self.shapes.append(({"type": "Polygon", "coordinates": coordinates}, len(self.paints)))
            low, high = rings[0].min(axis=0), rings[0].max(axis=0)
            self.boxes.append((float(low[0]), float(low[1]), float(high[0]), float(high[1])))

    def add_area(self, area: OsmArea, paint: Paint) -> None:
        """Add an area of the extract."""
        self.add(area.polygons, paint)

    def add_line(self, points_m: Floats, width_m: float, paint: Paint, *, round_ends: bool = True) -> None:
        """Add a line of a width."""
        self.add(stroke(points_m, width_m, round_ends=round_ends), paint)


class Canvas:
    """Layers under construction. Row 0 is the northern edge.

    Args:
        grid: size and resolution.
        rng: of the mottled noise.
    """

    def __init__(self, grid: PlaceGrid, rng: np.random.Generator) -> None:
        shape = (grid.rows, grid.columns)
        self.grid = grid
        self.colour = np.zeros((*shape, 3), np.uint8)
        self.height_m = np.zeros(shape, np.float32)
        self.surface = np.full(shape, Surface.GRASS, np.uint8)
        self.object_id = np.zeros(shape, np.int32)
        self._noise = _mottled(rng, grid)

    def window(self, west: float, south: float, east: float, north: float) -> Window | None:
        """The pixels that touch a box given in metres, or None if it lies outside."""
        step, rows, columns = self.grid.pixel_m, self.grid.rows, self.grid.columns
        left, right = max(0, math.floor(west / step)), min(columns, math.ceil(east / step))
        top, bottom = max(0, rows - math.ceil(north / step)), min(rows, rows - math.floor(south / step))
        return None if left >= right or top >= bottom else (slice(top, bottom), slice(left, right))

    def noise(self, where: Window) -> Singles:
        """Mottled noise in about -1..1 of a window."""
        return np.asarray(self._noise[where], np.float32) / np.float32(_NOISE_STEPS)

    def centres(self, where: Window) -> tuple[Floats, Floats]:
        """East (1, w) and north (h, 1) of the pixels' centres in a window."""
        step = self.grid.pixel_m
        east: Floats = (np.arange(where[1].start, where[1].stop, dtype=np.float64) + 0.5) * step
        north: Floats = (
            self.grid.rows - 0.5 - np.arange(where[0].start, where[0].stop, dtype=np.float64)
        ) * step
        return east[None, :], north[:, None]

    def at(self, points_m: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows and columns of points (N, 2), held inside."""
        columns = np.floor(points_m[:, 0] / self.grid.pixel_m).astype(np.intp)
        rows = self.grid.rows - 1 - np.floor(points_m[:, 1] / self.grid.pixel_m).astype(np.intp)
        return np.clip(rows, 0, self.grid.rows - 1), np.clip(columns, 0, self.grid.columns - 1)

    def cover(
        self, where: Window, shapes: Iterable[tuple[Any, int]]
    ) -> tuple[Singles, npt.NDArray[np.int32]]:
        """How much of each pixel of a window some numbered shapes cover, in quarters, and the number on top."""
        step = self.grid.pixel_m
        left, north = where[1].start * step, (self.grid.rows - where[0].start) * step
        height, width = where[0].stop - where[0].start, where[1].stop - where[1].start
        fine = rasterize(
            shapes,
            out_shape=(2 * height, 2 * width),
            transform=Affine(step / 2, 0.0, left, 0.0, -step / 2, north),
            dtype="int32",
        )
        corners = fine[::2, ::2], fine[::2, 1::2], fine[1::2, ::2], fine[1::2, 1::2]
        number = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
        covered = sum((corner > 0).astype(np.float32) for corner in corners)
        return np.asarray(covered, np.float32) / np.float32(4.0), number

    def blend(
        self,
        where: Window,
        inside: tuple[npt.NDArray[Any], npt.NDArray[Any]],
        colour: npt.NDArray[Any],
        cover: npt.NDArray[Any],
    ) -> None:
        """Lay colours (N, 3) over pixels of a window, each covering so much of its pixel (N,)."""
        view = self.colour[where]
        below = view[inside].astype(np.float32)
        view[inside] = np.clip(below + (colour - below) * cover[:, None], 0, 255).astype(np.uint8)

    def paint(self, layer: Layer, only: Sequence[Surface] | None = None) -> None:
        """Paint a layer.

        Args:
            layer: what to paint.
            only: the classes that it is painted on; all unless given.
        """
        if not layer.shapes:
            return
        tables = _Tables(layer.paints)
        side = _TILE_PX * self.grid.pixel_m
        buckets: dict[tuple[int, int], list[int]] = {}
        width, height = self.grid.size_m
        for index, (west, south, east, north) in enumerate(layer.boxes):
            if west >= width or south >= height or east <= 0 or north <= 0:
                continue
            columns = range(int(max(west, 0) // side), int(min(east, width - 1e-6) // side) + 1)
            rows = range(
                int((height - min(north, height)) // side), int((height - max(south, 1e-6)) // side) + 1
            )
            for key in itertools.product(rows, columns):
                buckets.setdefault(key, []).append(index)
        for (row, column), members in buckets.items():
            boxes = np.array([layer.boxes[index] for index in members])
            low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
            north = height - row * side
            tile = self.window(
                max(low[0], column * side),
                max(low[1], north - side),
                min(high[0], (column + 1) * side),
                min(high[1], north),
            )
            if tile is not None:
                self._paint_tile(tile, [layer.shapes[index] for index in members], tables, only)

    def _paint_tile(
        self, where: Window, shapes: list[Any], tables: _Tables, only: Sequence[Surface] | None
    ) -> None:
        cover, number = self.cover(where, shapes)
        if only is not None:
            cover *= np.isin(self.surface[where], only)
        rows, columns = np.nonzero(cover)
        if not len(rows):
            return
        inside = rows, columns
        share, row = cover[inside], number[inside]
        noise = self._noise[where][inside].astype(np.float32) / np.float32(_NOISE_STEPS)
        shade = 1.0 + tables.mottle[row] * noise
        if tables.striped:
            east, north = self.centres(where)
            along = east[0, inside[1]] * tables.east[row] + north[inside[0], 0] * tables.north[row]
            shade = shade + tables.strength[row] * np.sin(along + noise)
        self.blend(where, inside, tables.colour[row] * shade[:, None], share)
        most = share >= 0.5
        kinds = tables.surface[row]
        chosen = most & (kinds >= 0)
        self.surface[where][inside[0][chosen], inside[1][chosen]] = kinds[chosen]
        heights = tables.height[row]
        chosen = most & (heights >= 0)
        self.height_m[where][inside[0][chosen], inside[1][chosen]] = heights[chosen]


class _Tables:
    """A layer's paints as arrays; row 0 is nothing."""

    def __init__(self, paints: list[Paint]) -> None:
        self.colour = np.array([[0.0, 0.0, 0.0], *(paint.colour for paint in paints)], np.float32)
        kinds = [-1 if paint.surface is None else int(paint.surface) for paint in paints]
        self.surface = np.array([-1, *kinds], np.int16)
        heights = [-1.0 if paint.height_m is None else paint.height_m for paint in paints]
        self.height = np.array([-1.0, *heights], np.float32)
        self.mottle = np.array([0.0, *(paint.mottle for paint in paints)], np.float32)
        angle, period, strength = np.array([(0.0, 1.0, 0.0), *(paint.stripes for paint in paints)]).T
        self.east, self.north = np.cos(angle) * 2 * np.pi / period, np.sin(angle) * 2 * np.pi / period
        self.strength = strength.astype(np.float32)
        self.striped = bool(strength.any())


def stroke(points_m: Floats, width_m: float, *, round_ends: bool = True) -> list[list[Floats]]:
    """A polyline (N, 2) of a width, as polygons that overlap at its bends."""
    half = width_m / 2.0
    steps = np.diff(points_m, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    kept = lengths > 1e-3
    if not kept.any():
        return []
    starts, ends = points_m[:-1][kept], points_m[1:][kept]
    along = steps[kept] / lengths[kept, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1) * half
    quads = np.stack(
        [starts + across, ends + across, ends - across, starts - across, starts + across], axis=1
    )
    polygons = [[quad] for quad in quads]
    joints = starts[1:][(along[1:] * along[:-1]).sum(axis=1) < 0.999]
    if round_ends:
        joints = np.concatenate([joints, starts[:1], ends[-1:]])
    angles = np.linspace(0.0, 2.0 * np.pi, 13 if half < 2.0 else 21)
    disc = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * half
    return polygons + [[joint + disc] for joint in joints]


def box(centre_m: Floats, half_m: tuple[float, float], angle_rad: float) -> Floats:
    """A turned rectangle as a closed ring (5, 2)."""
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1), (1, 1)]) * half_m
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    return np.asarray(centre_m + corners @ np.array([[cosine, sine], [-sine, cosine]]))


def _mottled(rng: np.random.Generator, grid: PlaceGrid) -> npt.NDArray[np.int8]:
    """Mottled noise of the whole raster, in steps of 1/60: octaves of smoothly enlarged random grids, and grain."""
    width, height = grid.size_m
    grids = [
        rng.uniform(-1, 1, (int(height / wave) + 3, int(width / wave) + 3)).astype(np.float32)
        for wave, _ in _OCTAVES
    ]
    grain = 0.25 * rng.standard_normal((512, 512), dtype=np.float32)
    out = np.empty((grid.rows, grid.columns), np.int8)
    for top in range(0, grid.rows, 512):
        rows = np.arange(top, min(top + 512, grid.rows))
        total = np.tile(grain, (1, grid.columns // 512 + 1))[: len(rows), : grid.columns].copy()
        for (wave, weight), values in zip(_OCTAVES, grids, strict=True):
            down = (rows * (grid.pixel_m / wave)).astype(np.float32)
            right = (np.arange(grid.columns) * (grid.pixel_m / wave)).astype(np.float32)
            i, j = down.astype(int), right.astype(int)
            u, v = (down - i)[:, None], right - j
            lines = values[i] * (1 - u) + values[i + 1] * u
            total += np.float32(weight) * (lines[:, j] * (1 - v) + lines[:, j + 1] * v)
        out[rows] = np.clip(total * _NOISE_STEPS, -127, 127).astype(np.int8)
    return out
