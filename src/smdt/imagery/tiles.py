"""Overlapping square tiles that cover aerial imagery: where they lie, and reading them by the thousand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smdt.errors import ImageryError
from smdt.imagery.aerial import AerialSource, CellWindow, Cut

_EARTH_RADIUS_M = 6378137.0
_BLOCK_CELLS = 16_000_000  # read at once: 64 MB of RGBA
_SPARE_STRIDE = 0.01  # a remainder below this share of a stride adds no further row or column


@dataclass(frozen=True)
class Tile:
    """A north-up square of aerial imagery.

    Attributes:
        number: its place in the grid, from 0, north to south and in a row west to east.
        latitude_deg: of the centre.
        longitude_deg: of the centre.
        side_m: side in metres on the ground.
    """

    number: int
    latitude_deg: float
    longitude_deg: float
    side_m: float


def tile_grid(source: AerialSource, side_m: float, stride_m: float) -> list[Tile]:
    """Centres of square tiles that cover the imagery evenly.

    Rows and columns are at ``stride_m`` on the ground and symmetric to the middle of the imagery's extent, as
    many as it takes for no position in it to be further than half a stride, north-south and east-west, from a
    tile's centre. (Columns are meridians, spaced for the latitude of the middle.) Tiles at the edge reach
    beyond the imagery; :func:`iter_tiles` drops those that are mostly empty.

    Args:
        source: the imagery.
        side_m: side of a tile in metres on the ground.
        stride_m: metres from one centre to the next.

    Returns:
        The tiles whose centre the imagery covers, north to south, in a row west to east.

    Raises:
        ImageryError: if the side or stride is not positive, the imagery is smaller than one tile, or it
            covers no centre.
    """
    if not (side_m > 0 and stride_m > 0):
        raise ImageryError(
            f"tiles of {side_m} m at a stride of {stride_m} m cannot be",
            where=source.path,
            remedy="give positive metres",
        )
    west, south, east, north = source.bounds
    parallel_m = _EARTH_RADIUS_M * math.cos(math.radians(source.area.middle_latitude_deg))
    width_m = math.radians(east - west) * parallel_m
    height_m = math.radians(north - south) * _EARTH_RADIUS_M
    if min(width_m, height_m) < side_m * (1.0 - 1e-6):
        raise ImageryError(
            f"the imagery covers {width_m:.0f} × {height_m:.0f} m, less than one tile of {side_m:g} m",
            where=source.path,
            remedy="give imagery of a larger area, or smaller tiles",
        )
    latitudes = north - np.rad2deg(_centres(height_m, stride_m) / _EARTH_RADIUS_M)
    longitudes = west + np.rad2deg(_centres(width_m, stride_m) / parallel_m)
    tiles: list[Tile] = []
    for latitude in latitudes.tolist():
        for longitude in longitudes[source.covers(latitude, longitudes)].tolist():
            tiles.append(Tile(len(tiles), latitude, longitude, side_m))
    if not tiles:
        raise ImageryError(
            "the imagery covers no tile's centre", where=source.path, remedy="choose a smaller stride"
        )
    return tiles


def iter_tiles(
    source: AerialSource,
    tiles: Sequence[Tile],
    side_px: int,
    batch: int = 64,
    *,
    min_valid_fraction: float = 0.5,
) -> Iterator[tuple[list[Tile], Tensor]]:
    """Read tiles in batches, each as :meth:`AerialSource.read_square` gives it.

    Tiles that lie close together in the order given (as :func:`tile_grid` gives them) are cut from blocks
    read once, so overlapping tiles cost no second look at the file. (In rasters that are warped a pixel may differ
    by two levels from the square read alone.) The source stays with this process and thread.

    Args:
        source: the imagery.
        tiles: which tiles, in the order they are to come.
        side_px: side of a tile in pixels.
        batch: tiles to a batch; the last one may be smaller.
        min_valid_fraction: tiles known to a smaller share than this are left out.

    Yields:
        The tiles of the batch and their pixels, uint8 (B, 3, side_px, side_px) in channels-last memory, RGB,
        north up.

    Raises:
        ImageryError: if the file is damaged, or no tile at all was known well enough.
    """
    kept: list[Tile] = []
    pictures = np.empty((batch, side_px, side_px, 3), dtype=np.uint8)
    any_kept = False
    for window, group in _blocks(source, tiles, side_px):
        cells = np.ascontiguousarray(source.read_cells(window))
        for tile, cut in group:
            picture, known = cut.render(cells[cut.window.within(window)])
            if known < min_valid_fraction:
                continue
            pictures[len(kept)] = picture
            kept.append(tile)
            if len(kept) == batch:
                yield kept, torch.from_numpy(pictures).permute(0, 3, 1, 2)
                any_kept, kept, pictures = True, [], np.empty_like(pictures)
    if kept:
        yield kept, torch.from_numpy(pictures[: len(kept)]).permute(0, 3, 1, 2)
    elif tiles and not any_kept:
        raise ImageryError(
            f"none of {len(tiles)} tiles has at least {min_valid_fraction:.0%} valid pixels",
            where=source.path,
            remedy="check the no-data value, mask or alpha band, or choose smaller tiles",
        )


def _centres(extent_m: float, stride_m: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Offsets in (0, extent) of the fewest points, symmetric, that leave no more than half a stride bare."""
    count = max(1, math.ceil(extent_m / stride_m - _SPARE_STRIDE))
    return extent_m / 2.0 + (np.arange(count, dtype=np.float64) - (count - 1) / 2.0) * stride_m


def _blocks(
    source: AerialSource, tiles: Sequence[Tile], side_px: int
) -> Iterator[tuple[CellWindow, list[tuple[Tile, Cut]]]]:
    """Group tiles, in their order, into windows worth reading at once: bounded, and mostly made of tiles."""
    group: list[tuple[Tile, Cut]] = []
    window, used = CellWindow(0, 0, 0, 0), 0
    for tile in tiles:
        cut = source.plan_square(tile.latitude_deg, tile.longitude_deg, tile.side_m, side_px)
        area = cut.window.width * cut.window.height
        joined = window.union(cut.window) if group else cut.window
        cells = joined.width * joined.height
        if group and (
            cut.window.shrink != window.shrink or cells > _BLOCK_CELLS or cells > 4 * (used + area)
        ):
            yield window, group
            group, joined, used = [], cut.window, 0
        group.append((tile, cut))
        window, used = joined, used + area
    if group:
        yield window, group
