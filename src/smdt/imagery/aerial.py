"""Aerial imagery of any file as one kind of thing: north-up colour in Web Mercator (EPSG:3857).

An :class:`AerialSource` is opened with :func:`open_aerial` and gives squares by position and side, or any
rectangle by its edges. All sources share one way of resampling: a source reads whole cells of its own
Web-Mercator pixel grid, and a triangle filter as wide as the reduction (plain bilinear when enlarging) takes
them to the size asked for. So the same ground looks alike from a GeoTIFF, a folder of tiles and an MBTiles
file.

An open source holds a file handle. It cannot be pickled, must not be carried across ``fork``, and serves one
thread: in a worker process or another thread open the path again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from smdt.errors import ConfigError, GeometryError, ImageryError
from smdt.geometry.geodesy import WEB_MERCATOR_MAX_LATITUDE_DEG, from_web_mercator, to_web_mercator

WORLD_HALF_M = math.pi * 6378137.0
"""Half the side of the Web-Mercator square in projected metres."""

Rgba = npt.NDArray[np.uint8]
"""(H, W, 4) uint8: red, green, blue, and validity as 0 or 255; colour is 0 where nothing is known."""


class Bounds(NamedTuple):
    """Edges of a region in degrees (WGS84)."""

    west_deg: float
    south_deg: float
    east_deg: float
    north_deg: float


@dataclass(frozen=True)
class MercatorArea:
    """A north-up rectangle in Web-Mercator metres, of which 1/cos φ make a metre on the ground.

    Attributes:
        west_m: x of the left edge.
        south_m: y of the lower edge.
        east_m: x of the right edge.
        north_m: y of the upper edge.
    """

    west_m: float
    south_m: float
    east_m: float
    north_m: float

    def __post_init__(self) -> None:
        """Refuse rectangles that cannot be."""
        if not (self.west_m < self.east_m and self.south_m < self.north_m):
            raise GeometryError("an area needs west < east and south < north")

    @classmethod
    def around(cls, latitude_deg: float, longitude_deg: float, side_m: float) -> Self:
        """The square of ``side_m`` metres on the ground (at its centre's latitude) centred on a position.

        Raises:
            GeometryError: if the side is not positive, or the latitude lies beyond Web Mercator.
        """
        if not side_m > 0:
            raise GeometryError(f"a square of {side_m} m has no area")
        x, y = (float(value) for value in to_web_mercator(latitude_deg, longitude_deg))
        half = side_m / math.cos(math.radians(latitude_deg)) / 2.0
        return cls(x - half, y - half, x + half, y + half)

    @classmethod
    def from_bounds(cls, bounds: Bounds) -> Self:
        """The rectangle between two meridians and two parallels given in degrees."""
        x, y = to_web_mercator([bounds.south_deg, bounds.north_deg], [bounds.west_deg, bounds.east_deg])
        return cls(float(x[0]), float(y[0]), float(x[1]), float(y[1]))

    @property
    def bounds(self) -> Bounds:
        """The edges in degrees."""
        latitude, longitude = from_web_mercator([self.west_m, self.east_m], [self.south_m, self.north_m])
        return Bounds(float(longitude[0]), float(latitude[0]), float(longitude[1]), float(latitude[1]))

    @property
    def middle_latitude_deg(self) -> float:
        """Latitude halfway between the upper and the lower edge as drawn."""
        return float(from_web_mercator(0.0, (self.south_m + self.north_m) / 2.0)[0])

    def size_px(self, longest_px: int) -> tuple[int, int]:
        """Width and height of a picture of this area whose longer side has ``longest_px`` pixels."""
        width, height = self.east_m - self.west_m, self.north_m - self.south_m
        scale = longest_px / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def position_to_pixel(
        self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, width_px: int, height_px: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where positions lie in a picture of this area, as (x, y) in pixels from its upper left corner."""
        x, y = to_web_mercator(latitude_deg, longitude_deg)
        return (
            (x - self.west_m) / (self.east_m - self.west_m) * width_px,
            (self.north_m - y) / (self.north_m - self.south_m) * height_px,
        )

    def meets(self, other: MercatorArea) -> bool:
        """Whether the two rectangles have area in common."""
        return (
            self.west_m < other.east_m
            and other.west_m < self.east_m
            and self.south_m < other.north_m
            and other.south_m < self.north_m
        )


@dataclass(frozen=True)
class PixelGrid:
    """A north-up pixel grid in Web Mercator, endless in all directions.

    Attributes:
        west_m: x of the left edge of column 0.
        north_m: y of the upper edge of row 0.
        pixel_x_m: width of a pixel in projected metres.
        pixel_y_m: height of a pixel.
        largest_shrink: how many pixels may at most be joined, per side, into one cell; a power of two.
    """

    west_m: float
    north_m: float
    pixel_x_m: float
    pixel_y_m: float
    largest_shrink: int = 2**20


@dataclass(frozen=True)
class CellWindow:
    """A rectangle of cells, each ``shrink`` × ``shrink`` pixels of a grid; column and row may be negative."""

    column: int
    row: int
    width: int
    height: int
    shrink: int = 1

    def union(self, other: CellWindow) -> CellWindow:
        """The smallest window that holds both; they must have the same shrink."""
        column, row = min(self.column, other.column), min(self.row, other.row)
        right = max(self.column + self.width, other.column + other.width)
        bottom = max(self.row + self.height, other.row + other.height)
        return CellWindow(column, row, right - column, bottom - row, self.shrink)

    def within(self, other: CellWindow) -> tuple[slice, slice]:
        """Row and column slices that cut this window from an array that holds the other."""
        row, column = self.row - other.row, self.column - other.column
        return slice(row, row + self.height), slice(column, column + self.width)


@dataclass(frozen=True)
class Cut:
    """How to make one picture: the cells it needs, and the rectangle of them that becomes its pixels."""

    window: CellWindow
    box: tuple[float, float, float, float]
    width_px: int
    height_px: int

    @classmethod
    def plan(cls, grid: PixelGrid, area: MercatorArea, width_px: int, height_px: int) -> Self:
        """Choose the cells for an area at a size: at most three to a pixel, with room for the filter."""
        columns = (area.east_m - area.west_m) / grid.pixel_x_m
        rows = (area.north_m - area.south_m) / grid.pixel_y_m
        reduction = max(columns / width_px, rows / height_px)
        shrink = 2 ** max(0, math.floor(math.log2(reduction / 1.5)))
        shrink = min(shrink, grid.largest_shrink)
        left = (area.west_m - grid.west_m) / grid.pixel_x_m / shrink
        top = (grid.north_m - area.north_m) / grid.pixel_y_m / shrink
        right, bottom = left + columns / shrink, top + rows / shrink
        margin = math.ceil(max(1.0, reduction / shrink)) + 1
        column, row = math.floor(left) - margin, math.floor(top) - margin
        window = CellWindow(
            column, row, math.ceil(right) + margin - column, math.ceil(bottom) + margin - row, shrink
        )
        return cls(window, (left - column, top - row, right - column, bottom - row), width_px, height_px)

    def render(self, cells: Rgba) -> tuple[npt.NDArray[np.uint8], float]:
        """The picture (H, W, 3) made of its window's cells (h, w, 4), and the share of it that is known."""
        size = (cells.shape[1], cells.shape[0])
        data = np.ascontiguousarray(cells)
        image = Image.frombuffer("RGBX", size, data, "raw", "RGBX", 0, 1)  # four channels, each on its own
        image = image.resize((self.width_px, self.height_px), Image.Resampling.BILINEAR, box=self.box)
        picture = np.asarray(image)
        validity = picture[..., 3]
        if validity.min() == 255:
            return picture[..., :3], 1.0
        known = validity >= 128  # colour was 0 where unknown, so dividing by the known share restores it
        colour = picture[..., :3].astype(np.float32) * (255.0 / np.maximum(validity, 1)[..., None])
        colour = np.where(known[..., None], np.minimum(np.rint(colour), 255.0), 0.0)
        return colour.astype(np.uint8), float(known.mean())


class AerialSource(ABC):
    """Georeferenced aerial imagery, open for reading; a context manager.

    Attributes:
        path: the file or folder.
        name: what the imagery calls itself, or the file's name.
        attribution: whom to name beside the pictures; empty if the file does not say. It may be HTML:
            escape it.
        area: the rectangle it covers, in Web Mercator.
        grid: its own pixel grid.
    """

    path: Path
    name: str
    attribution: str
    area: MercatorArea
    grid: PixelGrid

    @abstractmethod
    def read_cells(self, window: CellWindow) -> Rgba:
        """Cells of :attr:`grid` as RGBA; what the imagery does not cover is zero in all four.

        Raises:
            ImageryError: if the file is damaged there.
        """

    @abstractmethod
    def covers(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which positions the imagery has a pixel for (its value may still be "no data")."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Self:
        """Give itself; the file closes at the end of the ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def bounds(self) -> Bounds:
        """West, south, east and north edge in degrees (WGS84)."""
        return self.area.bounds

    @property
    def ground_sampling_distance_m(self) -> float:
        """Metres on the ground per pixel of its own grid, in the middle of the imagery."""
        pixel_m = math.sqrt(self.grid.pixel_x_m * self.grid.pixel_y_m)
        return pixel_m * math.cos(math.radians(self.area.middle_latitude_deg))

    def read_square(
        self, latitude_deg: float, longitude_deg: float, side_m: float, side_px: int
    ) -> tuple[Tensor, float]:
        """Read a north-up square centred on a position.

        Args:
            latitude_deg: of the centre, WGS84.
            longitude_deg: of the centre, WGS84.
            side_m: side in metres on the ground.
            side_px: side of the picture in pixels.

        Returns:
            uint8 (3, side_px, side_px), RGB, row 0 in the north, black where nothing is known; and the share
            of its pixels, in [0, 1], that is known.

        Raises:
            ImageryError: if the position lies outside the imagery or beyond Web Mercator, or the file is
                damaged.
        """
        square = self._square(latitude_deg, longitude_deg, side_m)
        if not bool(self.covers(latitude_deg, longitude_deg)):
            west, south, east, north = self.bounds
            raise ImageryError(
                f"latitude {latitude_deg:.6f}, longitude {longitude_deg:.6f} lies outside the imagery",
                where=self.path,
                remedy=f"it covers latitude {south:.5f} to {north:.5f}, longitude {west:.5f} to {east:.5f}",
            )
        return self.read_area(square, side_px, side_px)

    def read_area(self, area: MercatorArea, width_px: int, height_px: int) -> tuple[Tensor, float]:
        """Read a north-up rectangle as :meth:`read_square` does; ``area.size_px`` gives a fitting size.

        Raises:
            ImageryError: if the rectangle and the imagery have nothing in common, or the file is damaged.
        """
        if not area.meets(self.area):
            west, south, east, north = self.bounds
            raise ImageryError(
                "the area asked for lies outside the imagery",
                where=self.path,
                remedy=f"it covers latitude {south:.5f} to {north:.5f}, longitude {west:.5f} to {east:.5f}",
            )
        cut = Cut.plan(self.grid, area, width_px, height_px)
        picture, known = cut.render(self.read_cells(cut.window))
        return torch.from_numpy(picture.copy()).permute(2, 0, 1), known

    def plan_square(self, latitude_deg: float, longitude_deg: float, side_m: float, side_px: int) -> Cut:
        """The cells that :meth:`read_square` would read, for reading many squares at once."""
        return Cut.plan(self.grid, self._square(latitude_deg, longitude_deg, side_m), side_px, side_px)

    def _square(self, latitude_deg: float, longitude_deg: float, side_m: float) -> MercatorArea:
        if not abs(latitude_deg) <= WEB_MERCATOR_MAX_LATITUDE_DEG:
            raise ImageryError(
                f"latitude {latitude_deg} lies beyond Web Mercator, which ends at ±85.0511°",
                where=self.path,
                remedy="check that latitude and longitude are not swapped",
            )
        return MercatorArea.around(latitude_deg, longitude_deg, side_m)


def open_aerial(path: Path, *, zoom: int | None = None) -> AerialSource:
    """Open aerial imagery: a raster GDAL reads (GeoTIFF, COG, …), a folder of XYZ tiles, or ``.mbtiles``.

    Args:
        path: the file or folder.
        zoom: zoom level of tiled imagery; the deepest one if not given.

    Returns:
        The open source; use it in a ``with`` block. See the module's head on processes and threads.

    Raises:
        ImageryError: if the file is missing, is no image, or has no coordinates or no valid pixel; each says
            what to do.
        ConfigError: if a zoom is given for imagery that has none.
    """
    if not path.exists():
        raise ImageryError(
            "no such file or folder", where=path, remedy="check the path of the aerial imagery"
        )
    if path.is_dir():
        from smdt.imagery.xyz import XyzFolder

        return XyzFolder(path, zoom=zoom)
    if path.suffix.lower() == ".mbtiles":
        from smdt.imagery.mbtiles import MbtilesFile

        return MbtilesFile(path, zoom=zoom)
    if zoom is not None:
        raise ConfigError(
            "a zoom level is only for XYZ folders and .mbtiles", where=path, remedy="leave the zoom out"
        )
    from smdt.imagery.geotiff import GeoTiff

    return GeoTiff(path)
