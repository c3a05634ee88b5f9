"""Paint the ground of an OpenStreetMap extract: uses of land, water and barriers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rasterio import Affine
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter, label

from smdt.world.grid import PlaceGrid
from smdt.world.layers import Surface
from smdt.world.osm_canvas import Canvas, Layer, Paint, stroke
from smdt.world.osm_reading import OsmArea, OsmFeatures, OsmLine, number_in
from smdt.world.osm_tags import (
    Ground,
    ground_of,
)

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

_COARSE_M = 4.0
_PAVED_DENSITY = 0.25
"""Where buildings cover this share of the ground around, unmapped ground is paved courtyard, not garden."""

_GARDEN_TREES_PER_HA, _OPEN_TREES_PER_HA = 25.0, 4.0
_WATERWAY_WIDTH_M = {"river": 14.0, "canal": 10.0, "stream": 2.0, "ditch": 1.2, "drain": 1.2}
_HEDGE = np.array([72.0, 88.0, 50.0])
_BARRIERS = {
    "fence": (0.25, 1.2, Surface.FENCE, (128.0, 122.0, 112.0)),
    "wall": (0.4, 1.7, Surface.FENCE, (158.0, 152.0, 142.0)),
    "city_wall": (1.5, 6.0, Surface.FENCE, (160.0, 150.0, 134.0)),
    "retaining_wall": (0.4, 0.7, Surface.FENCE, (150.0, 146.0, 138.0)),
    "guard_rail": (0.3, 0.7, Surface.FENCE, (176.0, 178.0, 180.0)),
    "jersey_barrier": (0.5, 0.8, Surface.FENCE, (176.0, 174.0, 168.0)),
    "hedge": (1.0, 1.5, Surface.TREE, (74.0, 92.0, 52.0)),
}
"""Width, height, class and colour, by ``barrier``."""


@dataclass(frozen=True)
class CoarseMap:
    """Values on a coarse grid over a place, row 0 in the north, counted from its south-west corner.

    Attributes:
        values: (h, w).
        cell_m: side of a cell.
    """

    values: Singles
    cell_m: float = _COARSE_M

    def at(self, east_m: Floats, north_m: Floats) -> Singles:
        """Values at positions; arrays broadcast."""
        rows, columns = self.values.shape
        column = np.clip(np.floor(np.asarray(east_m) / self.cell_m).astype(int), 0, columns - 1)
        row = np.clip(rows - 1 - np.floor(np.asarray(north_m) / self.cell_m).astype(int), 0, rows - 1)
        return np.asarray(self.values[row, column])

    def smooth_at(self, east_m: Floats, north_m: Floats) -> Singles:
        """Values between the cells' centres, for a row of eastings (1, w) and a column of northings (h, 1)."""
        rows, columns = self.values.shape
        right = np.clip(east_m[0] / self.cell_m - 0.5, 0, columns - 1).astype(np.float32)
        down = np.clip(rows - 0.5 - north_m[:, 0] / self.cell_m, 0, rows - 1).astype(np.float32)
        i, j = down.astype(int), right.astype(int)
        u, v = (down - i)[:, None], right - j
        lines = self.values[i] * (1 - u) + self.values[np.minimum(i + 1, rows - 1)] * u
        return np.asarray(lines[:, j] * (1 - v) + lines[:, np.minimum(j + 1, columns - 1)] * v, np.float32)


@dataclass(frozen=True)
class GroundPlan:
    """What painting the ground found out, for what is set upon it.

    Attributes:
        trees_per_ha: trees to scatter.
        dense: share of the ground that buildings cover around, 0..1.
    """

    trees_per_ha: CoarseMap
    dense: CoarseMap


def paint_ground(canvas: Canvas, features: OsmFeatures, rng: np.random.Generator) -> GroundPlan:
    """Paint uses of land and water.

    Args:
        canvas: painted on.
        features: of the extract.
        rng: of tints.
    """
    grounds = [(ground, area) for area in features.areas if (ground := ground_of(area.tags)) is not None]
    grounds.sort(key=lambda pair: -pair[1].area_m2())
    dense = _building_density(canvas.grid, features.areas)
    _paint_open_ground(canvas, dense, rng)
    _paint_sea(canvas, features.lines, rng)
    trees = _paint_uses(canvas, dense, grounds, rng)
    _paint_waterways(canvas, features.lines)
    return GroundPlan(trees, dense)


def _coarse(grid: PlaceGrid, shapes: list[tuple[dict[str, object], float]]) -> Singles:
    """Shapes burnt into a grid of 4 m."""
    width, height = grid.size_m
    size = max(1, math.ceil(height / _COARSE_M)), max(1, math.ceil(width / _COARSE_M))
    if not shapes:
        return np.zeros(size, np.float32)
    transform = Affine(_COARSE_M, 0.0, 0.0, 0.0, -_COARSE_M, size[0] * _COARSE_M)
    burnt: Singles = rasterize(shapes, out_shape=size, transform=transform, dtype="float32")
    return burnt


def _polygons(area: OsmArea) -> list[dict[str, object]]:
    return [
        {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings if len(ring) >= 4]}
        for rings in area.polygons
        if len(rings[0]) >= 4
    ]


def _building_density(grid: PlaceGrid, areas: list[OsmArea]) -> CoarseMap:
    built = [area for area in areas if area.tags.get("building", "no") != "no"]
    shapes = [(polygon, 1.0) for area in built for polygon in _polygons(area)]
    return CoarseMap(gaussian_filter(_coarse(grid, shapes), 22.0 / _COARSE_M, mode="nearest"))


def _paint_open_ground(canvas: Canvas, dense: CoarseMap, rng: np.random.Generator) -> None:
    """Ground that nothing else covers: rough grass, gardens between houses, paving between blocks."""
    tint = rng.normal(1.0, 0.05) + rng.normal(0.0, 0.015, 3)
    rough, lawn = np.array([120.0, 122.0, 82.0]) * tint, np.array([108.0, 116.0, 76.0]) * tint
    paving = np.array([140.0, 137.0, 132.0]) + rng.normal(0, 5)
    for top in range(0, canvas.grid.rows, 512):
        where = slice(top, min(top + 512, canvas.grid.rows)), slice(0, canvas.grid.columns)
        built, noise = dense.smooth_at(*canvas.centres(where)), canvas.noise(where)
        garden = np.clip((built + 0.03 * noise) / 0.06, 0, 1)[..., None]
        paved = built > _PAVED_DENSITY
        colour = (rough * (1 - garden) + lawn * garden) * (1 + 0.17 * noise[..., None])
        colour[paved] = (paving * (1 + 0.09 * noise[..., None]))[paved]
        canvas.colour[where] = np.clip(colour, 0, 255).astype(np.uint8)
        canvas.surface[where] = np.where(paved, Surface.PAVEMENT, Surface.GRASS)


def _paint_uses(
    canvas: Canvas, dense: CoarseMap, grounds: list[tuple[Ground, OsmArea]], rng: np.random.Generator
) -> CoarseMap:
    """Uses of land, the largest first; returns the trees to scatter per hectare on the coarse grid."""
    layer = Layer()
    trees: list[tuple[dict[str, object], float]] = []
    for ground, area in grounds:
        residential = area.tags.get("landuse") == "residential"
        colour = np.array(ground.colour) * (1 + rng.normal(0, 0.05)) + rng.normal(0, 2.5, 3)
        stripes = (0.0, 1.0, 0.0)
        if ground.surface is Surface.FIELD:
            dry = rng.uniform(0.0, 1.0)
            colour = colour * dry + np.array([106.0, 122.0, 70.0]) * (1 - dry)
            stripes = (float(rng.uniform(0, math.pi)), float(rng.uniform(1.6, 4.0)), 0.07)
        if not residential:  # what is open ground is already garden or courtyard, by how dense it is built
            layer.add_area(area, Paint(colour, ground.surface, ground.height_m, ground.mottle, stripes))
        density = 1.4 * _GARDEN_TREES_PER_HA if residential else ground.trees_per_ha
        if area.tags.get("leisure") in ("park", "garden") or area.tags.get("landuse") == "village_green":
            density = 40.0
        trees += [(polygon, density) for polygon in _polygons(area)]
    canvas.paint(layer)
    scattered = _coarse(canvas.grid, trees)
    suburb = (dense.values > 0.04) & (dense.values < 0.25)
    unmapped = np.where(suburb, _GARDEN_TREES_PER_HA, _OPEN_TREES_PER_HA)
    return CoarseMap(np.where(scattered == 0, unmapped, scattered).astype(np.float32))


def _paint_sea(canvas: Canvas, lines: list[OsmLine], rng: np.random.Generator) -> None:
    """Fill the sea: water lies to the right of a coastline. Nothing where the extract has no coastline."""
    coast = [line.points_m for line in lines if line.tags.get("natural") == "coastline"]
    if not coast:
        return
    grid = canvas.grid
    shapes = []
    starts = np.array([points[0] for points in coast])
    ends = np.array([points[-1] for points in coast])
    for points in coast:
        run = points
        if np.hypot(*(ends - points[0]).T).min() > 0.5:  # begins at the extract's edge: go on to the raster's
            run = np.concatenate([_beyond(points[1], points[0]), run])
        if np.hypot(*(starts - points[-1]).T).min() > 0.5:
            run = np.concatenate([run, _beyond(points[-2], points[-1])])
        shapes.append(({"type": "LineString", "coordinates": run.tolist()}, 1))
    step = grid.pixel_m
    transform = Affine(step, 0.0, 0.0, 0.0, -step, grid.rows * step)
    line = rasterize(
        shapes, out_shape=(grid.rows, grid.columns), transform=transform, dtype="uint8", all_touched=True
    )
    regions, count = label(line == 0)
    votes = np.zeros(count + 1)
    for points in coast:
        move = np.diff(points, axis=0)
        right = np.stack([move[:, 1], -move[:, 0]], axis=-1) / np.maximum(np.hypot(*move.T), 1e-9)[:, None]
        middle = (points[1:] + points[:-1]) / 2.0
        for side, vote in ((1.0, 1.0), (-1.0, -1.0)):
            probe = middle + right * side * 3.0 * step
            inside = ((probe > 0) & (probe < np.array(grid.size_m))).all(axis=1)
            np.add.at(votes, regions[canvas.at(probe[inside])], vote)
    votes[0] = 0.0
    sea = votes[regions] > 0
    sea |= (line > 0) & (votes.max() > 0)
    colour = np.array([50.0, 64.0, 66.0]) + rng.normal(0, 4, 3)
    for top in range(0, grid.rows, 512):
        where = slice(top, min(top + 512, grid.rows)), slice(0, grid.columns)
        rows, columns = np.nonzero(sea[where])
        noise = canvas.noise(where)[rows, columns]
        canvas.colour[where][rows, columns] = np.clip(colour * (1 + 0.06 * noise)[:, None], 0, 255).astype(
            np.uint8
        )
        canvas.surface[where][rows, columns] = Surface.WATER


def _beyond(inner: Floats, end: Floats) -> Floats:
    """A point 5 km further on in the direction from inner to end."""
    step = end - inner
    return np.asarray(end + step * (5000.0 / max(float(np.hypot(*step)), 1e-9)))[None]


def _paint_waterways(canvas: Canvas, lines: list[OsmLine]) -> None:
    layer = Layer()
    for line in lines:
        usual = _WATERWAY_WIDTH_M.get(line.tags.get("waterway", ""))
        if usual is not None:
            width = min(max(number_in(line.tags, "width", usual), 0.5), 200.0)
            layer.add_line(
                line.points_m, width, Paint(np.array([60.0, 70.0, 64.0]), Surface.WATER, 0.0, 0.08)
            )
    canvas.paint(layer)


def paint_barriers(canvas: Canvas, features: OsmFeatures) -> None:
    """Fences, walls and hedges."""
    layer = Layer()
    hedge = Paint(_HEDGE, Surface.TREE, 1.4, 0.3)
    for area in features.areas:
        if area.tags.get("barrier") == "hedge" and area.tags.get("area") == "yes":
            layer.add_area(area, hedge)
    for line in features.lines:
        found = _BARRIERS.get(line.tags.get("barrier", ""))
        if found is None or (line.tags["barrier"] == "hedge" and line.tags.get("area") == "yes"):
            continue
        width, height, kind, colour = found
        height = min(max(number_in(line.tags, "height", height), 0.3), 20.0)
        width = max(width, canvas.grid.pixel_m)
        paint = Paint(np.array(colour), kind, height, 0.35 if kind is Surface.TREE else 0.06)
        layer.add(stroke(line.points_m, width), paint)
    canvas.paint(layer, (Surface.GRASS, Surface.FIELD, Surface.PAVEMENT, Surface.BARE, Surface.PARKING))
