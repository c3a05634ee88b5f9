"""Derive what an orthophoto and a surface model do not say: classes, buildings and single trees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import (
    center_of_mass,
    distance_transform_edt,
    find_objects,
    gaussian_filter,
    label,
    laplace,
    maximum,
    maximum_filter,
    uniform_filter,
)
from scipy.spatial import cKDTree

from smdt.world.layers import BuildingTable, Surface, TreeTable
from smdt.world.rectangle import smallest_rectangle

Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]

_TALL_M, _PLANT_M = 2.2, 0.7
_GREEN = 0.05
_ROUGH_M = 0.45
_SMALLEST_BUILDING_M2 = 8.0
_WALLS = np.array(
    [(222, 206, 168), (206, 182, 132), (226, 220, 208), (168, 104, 82), (190, 178, 164), (152, 148, 142)],
    np.float64,
)


@dataclass(frozen=True)
class Layers:
    """Colour and height on one grid.

    Attributes:
        colour: (H, W, 3) uint8.
        height_m: (H, W) above ground.
        pixel_m: metres per pixel.
    """

    colour: npt.NDArray[np.uint8]
    height_m: Singles
    pixel_m: float


def derive_classes(layers: Layers) -> Classes:
    """Classes by simple rules: good enough to render, no match for a map.

    - Excess green, (2G − R − B) / (R + G + B) smoothed over 0.25 m, above 0.05 is green. Smooth is where the root mean
      square, within 2 m, of how far heights lie from the plane through their neighbours 0.5 m away is below 0.45 m.
    - BUILDING: smooth and higher than 2.2 m, with what is as high within 3 m of it (edges are not smooth) and the
      narrow rest within 5 m, in pieces of at least 8 m². Green pieces must be 5 m wide everywhere: copper and
      planted roofs are, clipped hedges are not.
    - TREE: the rest that is green and higher than 0.7 m, or higher than 2.2 m and at least 2 m wide.
    - GRASS: the rest that is green. BARE: of a warm colour. PAVEMENT: grey. Roads and water are not told apart.

    Returns:
        (H, W) uint8 of :class:`Surface`.
    """
    height, pixel_m = layers.height_m, layers.pixel_m
    red, green, blue = (
        gaussian_filter(layers.colour[..., band].astype(np.float32), 0.25 / pixel_m) for band in range(3)
    )
    leafy = (2 * green - red - blue) / np.maximum(red + green + blue, 30.0) > _GREEN
    tall = height > _TALL_M
    smooth = tall & (_roughness(height, pixel_m) < _ROUGH_M)
    verdigris = _opened(smooth & leafy, 2.5 / pixel_m)
    seeds = _opened(smooth & ~leafy, 0.5 / pixel_m) | verdigris
    beside = tall & (~leafy | _grown(verdigris, 3.0 / pixel_m, tall))
    roof = _grown(seeds, 3.0 / pixel_m, beside)
    rough = _opened(tall & ~roof & ~leafy, 1.0 / pixel_m)
    roof = _grown(roof, 5.0 / pixel_m, tall & ~leafy & ~rough)  # what stands on roofs, and rims left over
    roof = _without_small(roof, _SMALLEST_BUILDING_M2 / pixel_m**2)
    plant = ((leafy & (height > _PLANT_M)) | rough) & ~roof
    warm = red > 1.12 * blue
    ground = np.where(leafy, Surface.GRASS, np.where(warm, Surface.BARE, Surface.PAVEMENT))
    return np.where(roof, Surface.BUILDING, np.where(plant, Surface.TREE, ground)).astype(np.uint8)


def _opened(mask: Bools, radius_px: float) -> Bools:
    """A mask without whatever is narrower than twice a radius."""
    inner = distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1] > radius_px
    if not inner.any():
        return np.zeros_like(mask)
    return np.asarray((distance_transform_edt(~inner) <= radius_px) & mask, np.bool_)


def _grown(mask: Bools, radius_px: float, within: Bools) -> Bools:
    """A mask spread by a radius inside another."""
    if not mask.any():
        return mask
    return np.asarray(mask | ((distance_transform_edt(~mask) <= radius_px) & within), np.bool_)


def _roughness(height_m: Singles, pixel_m: float) -> Singles:
    """How far heights are from the plane through their neighbours 0.5 m away, root mean square within 2 m."""
    step = max(1, round(0.5 / pixel_m))
    coarse = height_m[::step, ::step]
    size = max(3, round(2.0 / (step * pixel_m)) | 1)
    mean = uniform_filter(laplace(coarse, mode="nearest").astype(np.float64) ** 2, size, mode="nearest")
    rough = np.sqrt(np.maximum(mean, 0.0))  # a running mean may end a little below zero
    rows, columns = height_m.shape
    return np.asarray(rough.repeat(step, 0).repeat(step, 1)[:rows, :columns] / 2.0, np.float32)


def _without_small(mask: Bools, pixels: float) -> Bools:
    parts, count = label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    large = sizes >= pixels
    large[0] = False
    return np.asarray(large[parts])


def find_buildings(layers: Layers, surface: Classes) -> tuple[npt.NDArray[np.int32], BuildingTable]:
    """Connected pieces of the class BUILDING, numbered, each with its smallest turned rectangle.

    Wall colours are drawn from a palette by the piece's position, for no orthophoto shows walls; storeys are 3 m.

    Returns:
        (H, W) int32, 1 + row of the table, 0 where there is none; and the table.
    """
    parts, _ = label(surface == Surface.BUILDING)
    rows = surface.shape[0]
    centre, half, angle, walls = [], [], [], []
    for number, where in enumerate(find_objects(parts), start=1):
        inside = np.argwhere(parts[where] == number)
        corners = np.concatenate([inside + corner for corner in ((0, 0), (0, 1), (1, 0), (1, 1))])
        row, column = np.unique(corners, axis=0).T
        points = np.stack([column + where[1].start, rows - (row + where[0].start)], axis=-1) * layers.pixel_m
        rectangle = smallest_rectangle(points.astype(np.float64))
        centre.append(rectangle.centre_m)
        half.append(rectangle.half_m)
        angle.append(rectangle.angle_rad)
        own = np.random.default_rng([int(where[0].start), int(where[1].start), len(inside)])
        walls.append(np.clip(_WALLS[own.integers(len(_WALLS))] + own.normal(0, 8), 40, 245))
    table = BuildingTable(
        centre_m=np.array(centre, np.float32).reshape(-1, 2),
        half_size_m=np.array(half, np.float32).reshape(-1, 2),
        angle_rad=np.array(angle, np.float32),
        facade=np.array(walls, np.float32).reshape(-1, 3),
        storey_m=np.full(len(angle), 3.0, np.float32),
    )
    return parts.astype(np.int32), table


def find_trees(layers: Layers, surface: Classes) -> TreeTable:
    """Single trees: the peaks of the class TREE, at least 3 m high and 3 m apart, each with the pixels nearest to it.

    A crown's radius is that of a circle of its pixels' area, 0.8 m to 7 m; its underside is at three tenths of its
    height; its colour is its pixels' mean. None is taken for a conifer.
    """
    plants = surface == Surface.TREE
    height = np.where(plants, gaussian_filter(layers.height_m, 0.4 / layers.pixel_m), 0.0)
    size = max(3, round(3.0 / layers.pixel_m) | 1)
    highest = (height == maximum_filter(height, size)) & (height >= 3.0)
    parts, number = label(highest, np.ones((3, 3)))  # a top may be a few pixels of one height
    if not number:
        return TreeTable.empty()
    peaks = np.array(center_of_mass(highest, parts, np.arange(1, number + 1))).reshape(-1, 2)
    pixels = np.argwhere(plants)
    away, owner = cKDTree(peaks).query(pixels, distance_upper_bound=7.0 / layers.pixel_m)
    near = np.isfinite(away)
    pixels, owner = pixels[near], owner[near]
    count = np.bincount(owner, minlength=len(peaks))
    colour = layers.colour[pixels[:, 0], pixels[:, 1]].astype(np.float64)
    mean = np.stack([np.bincount(owner, colour[:, band], len(peaks)) for band in range(3)], axis=-1)
    kept = count > 0
    radius = np.sqrt(count * layers.pixel_m**2 / math.pi)
    top = np.asarray(maximum(layers.height_m, parts, np.arange(1, number + 1)))
    at = np.stack([peaks[:, 1] + 0.5, surface.shape[0] - peaks[:, 0] - 0.5], axis=-1) * layers.pixel_m
    return TreeTable(
        centre_m=at[kept].astype(np.float32),
        radius_m=np.clip(radius, 0.8, 7.0)[kept].astype(np.float32),
        top_m=top[kept].astype(np.float32),
        crown_base_m=(0.3 * top[kept]).astype(np.float32),
        colour=(mean[kept] / count[kept, None]).astype(np.float32),
        conifer=np.zeros(int(kept.sum()), np.bool_),
    )
