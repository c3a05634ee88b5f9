"""GeoTIFF, COG and every other raster GDAL reads, as north-up 8-bit colour in Web Mercator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.warp import reproject
from rasterio.warp import transform as transform_points
from rasterio.windows import Window

from smdt.errors import ImageryError
from smdt.geometry.geodesy import WEB_MERCATOR_MAX_LATITUDE_DEG, from_web_mercator, to_web_mercator
from smdt.imagery.aerial import AerialSource, CellWindow, MercatorArea, PixelGrid, Rgba

_MERCATOR = CRS.from_epsg(3857)
_WGS84 = CRS.from_epsg(4326)
_SAMPLE_PX = 1024  # side of the decimated read that percentiles and the "no valid pixel" check are taken from
_SAMPLE_WHOLE_PX = 2**26  # rasters without overviews larger than this are sampled in patches instead
_WARP_COLUMNS = 512  # GDAL interpolates positions along a row; in pieces this short to a hundredth of a pixel

Floats = npt.NDArray[np.float64]


class GeoTiff(AerialSource):
    """A raster file with coordinates.

    A raster in any coordinate system is warped to Web Mercator (bilinear, at its own resolution); one that is
    in EPSG:3857 already, north up, is read as it is. Bands: one is grey (or a palette); of three or more,
    those marked red, green and blue, else the first three; an alpha band, a mask or a no-data value says
    where nothing is known; further bands (infrared) are left out. Values that are not 8-bit are scaled to 8
    bits, band by band, so that the 2 % and the 98 % percentile of a decimated read become 0 and 255. Two
    files of one city are therefore scaled differently: give them as one (a ``.vrt`` mosaic) where that
    matters.
    """

    def __init__(self, path: Path) -> None:
        """Open a raster; see :func:`smdt.imagery.aerial.open_aerial`."""
        self.path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # told as an error below
                self._raster = rasterio.open(path)
        except RasterioError:
            raise ImageryError(
                "not a raster that can be read",
                where=path,
                remedy="give a GeoTIFF or COG, an .mbtiles file, or a folder of XYZ tiles",
            ) from None
        try:
            self._place()
            self._choose_bands()
            self._scale: tuple[Floats, Floats] | None = None
            self._look_at_values()
        except BaseException:
            self._raster.close()
            raise
        tags = self._raster.tags()
        self.name = tags.get("TIFFTAG_DOCUMENTNAME") or path.stem
        self.attribution = tags.get("TIFFTAG_COPYRIGHT", "")

    def close(self) -> None:
        """Close the file."""
        self._raster.close()

    def _place(self) -> None:
        raster = self._raster
        if raster.crs is None or raster.transform.is_identity:
            raise ImageryError(
                "the raster has no coordinates",
                where=self.path,
                remedy="export it as a GeoTIFF with its coordinate system (gdal_translate -a_srs -a_ullr, "
                "or gdalwarp if it has control points)",
            )
        transform = raster.transform
        upright = transform.b == 0 and transform.d == 0 and transform.a > 0 and transform.e < 0
        self._aligned = upright and raster.crs == _MERCATOR
        columns, rows = (
            array.ravel()
            for array in np.meshgrid(np.linspace(0, raster.width, 33), np.linspace(0, raster.height, 33))
        )
        x, y = _apply(transform, columns, rows)
        longitude, latitude = self._transform(raster.crs, _WGS84, x, y)
        if np.all(np.abs(latitude) > WEB_MERCATOR_MAX_LATITUDE_DEG):
            raise ImageryError(
                "the raster lies beyond Web Mercator, which ends at latitude ±85.0511°",
                where=self.path,
                remedy="check its coordinate system; polar imagery cannot be used",
            )
        if np.ptp(longitude) > 180.0 and raster.crs.is_projected:
            raise ImageryError(
                "the raster crosses the 180° meridian",
                where=self.path,
                remedy="split it there, for example by gdalwarp",
            )
        limit = WEB_MERCATOR_MAX_LATITUDE_DEG
        x, y = to_web_mercator(np.clip(latitude, -limit, limit), longitude)
        self.area = MercatorArea(float(x.min()), float(y.min()), float(x.max()), float(y.max()))
        if self._aligned:
            self.grid = PixelGrid(transform.c, transform.f, transform.a, -transform.e)
            return
        x, y = x.reshape(33, 33)[15:18, 15:18], y.reshape(33, 33)[15:18, 15:18]
        east_x, east_y = x[1, 2] - x[1, 0], y[1, 2] - y[1, 0]
        south_x, south_y = x[2, 1] - x[0, 1], y[2, 1] - y[0, 1]
        pixels = raster.width / 16 * raster.height / 16
        pixel_m = math.sqrt(abs(east_x * south_y - east_y * south_x) / pixels)  # keeps the area of a pixel
        self.grid = PixelGrid(self.area.west_m, self.area.north_m, pixel_m, pixel_m)

    def _transform(self, source: CRS, target: CRS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        try:
            moved = transform_points(source, target, x.tolist(), y.tolist())
        except (RasterioError, CRSError, CPLE_BaseError) as error:
            raise ImageryError(
                f"its coordinate system cannot be transformed ({error})",
                where=self.path,
                remedy="check the file with gdalinfo and reproject it with gdalwarp -t_srs EPSG:3857",
            ) from None
        return np.asarray(moved[0], dtype=np.float64), np.asarray(moved[1], dtype=np.float64)

    def _choose_bands(self) -> None:
        raster = self._raster
        meanings = list(raster.colorinterp)
        rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        colour = [number for number, meaning in enumerate(meanings, 1) if meaning != ColorInterp.alpha]
        if not colour:
            raise ImageryError(
                "the raster has no colour band", where=self.path, remedy="give an RGB or grey raster"
            )
        if all(meanings.count(one) == 1 for one in rgb):
            self._bands = [meanings.index(one) + 1 for one in rgb]
        else:
            self._bands = colour[:3] if len(colour) >= 3 else colour[:1]
        kinds = {np.dtype(raster.dtypes[band - 1]) for band in self._bands}
        if any(kind.kind not in "uif" for kind in kinds):
            raise ImageryError(
                f"pixels of type {raster.dtypes[0]} are no colours",
                where=self.path,
                remedy="give an RGB or grey raster",
            )
        self._eight_bit = kinds == {np.dtype(np.uint8)}
        self._palette: npt.NDArray[np.uint8] | None = None
        if len(self._bands) == 1 and meanings[self._bands[0] - 1] == ColorInterp.palette:
            entries = raster.colormap(self._bands[0])
            self._palette = np.zeros((max(entries) + 1, 3), dtype=np.uint8)
            self._palette[list(entries)] = [entry[:3] for entry in entries.values()]
            self._eight_bit = True
        self._whole = all(MaskFlags.all_valid in raster.mask_flag_enums[band - 1] for band in self._bands)

    def _look_at_values(self) -> None:
        """Find the percentiles of values that are not 8-bit, and refuse a raster without a valid pixel."""
        if self._eight_bit and self._whole:
            return
        values, valid = zip(*self._samples(), strict=True)
        sample = np.concatenate([part.reshape(len(self._bands), -1) for part in values], axis=1)
        known = np.concatenate([part.ravel() for part in valid])
        if not known.any():
            raise ImageryError(
                "the raster has no valid pixel",
                where=self.path,
                remedy="check its no-data value, mask or alpha band",
            )
        if not self._eight_bit:
            low, high = np.percentile(sample[:, known].astype(np.float64), [2.0, 98.0], axis=1)
            self._scale = low, np.where(high > low, high - low, 1.0)

    def _samples(self) -> Iterator[tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]]:
        raster = self._raster
        pixels = raster.width * raster.height
        if pixels <= _SAMPLE_WHOLE_PX or raster.overviews(self._bands[0]):
            shrink = max(1.0, math.sqrt(pixels) / _SAMPLE_PX)
            size = max(1, round(raster.height / shrink)), max(1, round(raster.width / shrink))
            yield self._read(Window(0, 0, raster.width, raster.height), *size, nearest=True)
            return
        side = _SAMPLE_PX // 8
        for row in np.linspace(0, raster.height - side, 8).astype(int):
            for column in np.linspace(0, raster.width - side, 8).astype(int):
                yield self._read(Window(column, row, side, side), side, side, nearest=True)

    def covers(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which positions fall on a pixel of the file."""
        broadcast = np.broadcast_arrays(latitude_deg, longitude_deg)
        latitude, longitude = (np.asarray(one, dtype=np.float64).ravel() for one in broadcast)
        west, south, east, north = self.bounds
        inside = (latitude >= south) & (latitude <= north) & (longitude >= west) & (longitude <= east)
        if not self._aligned and inside.any():
            x, y = self._transform(_WGS84, self._raster.crs, longitude[inside], latitude[inside])
            column, row = _apply(~self._raster.transform, x, y)
            width, height = self._raster.width, self._raster.height
            inside[inside] = (column >= 0) & (column <= width) & (row >= 0) & (row <= height)
        return inside.reshape(broadcast[0].shape)

    def read_cells(self, window: CellWindow) -> Rgba:
        """Cells of the Web-Mercator grid as RGBA; see :meth:`AerialSource.read_cells`."""
        if self._aligned:
            return np.moveaxis(self._read_file(window), 0, 2)
        pixel_m = self.grid.pixel_x_m * window.shrink
        west = self.grid.west_m + window.column * pixel_m
        north = self.grid.north_m - window.row * pixel_m
        cells = np.zeros((4, window.height, window.width), dtype=np.uint8)
        source = self._window_in_file(west, north, pixel_m, window)
        if source is not None:
            own = self._read_file(source)
            for first in range(0, window.width, _WARP_COLUMNS):
                part = np.zeros((4, window.height, min(_WARP_COLUMNS, window.width - first)), dtype=np.uint8)
                with self._reading():
                    reproject(
                        own,
                        part,
                        src_transform=_cells_transform(self._raster.transform, source),
                        src_crs=self._raster.crs,
                        dst_transform=Affine(pixel_m, 0.0, west + first * pixel_m, 0.0, -pixel_m, north),
                        dst_crs=_MERCATOR,
                        src_alpha=4,
                        dst_alpha=4,
                        resampling=Resampling.bilinear,
                        XSCALE=1,  # pixels keep their size: no smoothing where the raster is turned
                        YSCALE=1,
                    )
                cells[:, :, first : first + _WARP_COLUMNS] = part
            cells[3] = np.where(cells[3] >= 128, 255, 0)
            cells[:3] *= cells[3] > 0
        return np.moveaxis(cells, 0, 2)

    def _window_in_file(
        self, west: float, north: float, pixel_m: float, window: CellWindow
    ) -> CellWindow | None:
        """The cells of the file that a Web-Mercator window needs, or None if it lies beside the file."""
        x = west + pixel_m * np.linspace(0, window.width, 17)
        y = north - pixel_m * np.linspace(0, window.height, 17)
        x = np.clip(x, self.area.west_m, self.area.east_m)
        y = np.clip(y, self.area.south_m, self.area.north_m)
        if x[0] == x[-1] or y[0] == y[-1]:
            return None
        grid_x, grid_y = np.meshgrid(x, y)
        latitude, longitude = from_web_mercator(grid_x.ravel(), grid_y.ravel())
        x, y = self._transform(_WGS84, self._raster.crs, longitude, latitude)
        column, row = _apply(~self._raster.transform, x, y)
        column, row = column / window.shrink, row / window.shrink
        spare = 4 + 0.01 * max(
            np.ptp(column), np.ptp(row)
        )  # bilinear neighbours, and the bend between the samples
        first_column = max(math.floor(column.min() - spare), 0)
        first_row = max(math.floor(row.min() - spare), 0)
        last_column = min(math.ceil(column.max() + spare), math.ceil(self._raster.width / window.shrink))
        last_row = min(math.ceil(row.max() + spare), math.ceil(self._raster.height / window.shrink))
        if last_column <= first_column or last_row <= first_row:
            return None
        return CellWindow(
            first_column, first_row, last_column - first_column, last_row - first_row, window.shrink
        )

    def _read_file(self, window: CellWindow) -> npt.NDArray[np.uint8]:
        """Cells of the file's own pixels as (4, height, width) uint8, zero outside the file."""
        cells = np.zeros((4, window.height, window.width), dtype=np.uint8)
        shrink = window.shrink
        first_column, first_row = (
            max(window.column, 0),
            max(window.row, 0),
        )  # only cells that are whole in the file
        columns = min(window.column + window.width, self._raster.width // shrink) - first_column
        rows = min(window.row + window.height, self._raster.height // shrink) - first_row
        if columns <= 0 or rows <= 0:
            return cells
        part = Window(first_column * shrink, first_row * shrink, columns * shrink, rows * shrink)
        values, valid = self._read(part, rows, columns)
        top, left = first_row - window.row, first_column - window.column
        inside = cells[:, top : top + rows, left : left + columns]
        inside[:3] = self._to_colour(values)
        inside[3] = 255
        if not self._whole or not valid.all():
            inside *= valid
        return cells

    def _to_colour(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        """Band values (1 or 3, h, w) as 8-bit RGB (3, h, w) or grey (1, h, w)."""
        if self._palette is not None:
            return np.moveaxis(self._palette[np.minimum(values[0], len(self._palette) - 1)], 2, 0)
        if self._scale is None:
            return values.astype(np.uint8, copy=False)
        low, spread = (one[:, None, None] for one in self._scale)
        scaled = np.nan_to_num((values.astype(np.float64) - low) / spread * 255.0)
        return np.asarray(np.rint(np.clip(scaled, 0.0, 255.0)), dtype=np.uint8)

    def _read(
        self, window: Window, height: int, width: int, *, nearest: bool = False
    ) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]:
        """A window of the file at a size: values (bands, h, w), and which of them are valid (h, w)."""
        smooth = Resampling.nearest if nearest or self._palette is not None else Resampling.average
        with self._reading():
            values = self._raster.read(
                self._bands, window=window, out_shape=(len(self._bands), height, width), resampling=smooth
            )
            if self._whole:
                valid = np.ones((height, width), dtype=np.bool_)
            else:
                masks = self._raster.read_masks(
                    self._bands, window=window, out_shape=(len(self._bands), height, width)
                )
                valid = (masks >= 128).any(axis=0)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        return values, valid

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (RasterioError, CRSError, CPLE_BaseError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise ImageryError(
                f"the raster cannot be read to its end ({reason})",
                where=self.path,
                remedy="it is damaged or incomplete: copy or download it again",
            ) from None


def _apply(transform: Affine, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    return (
        transform.a * first + transform.b * second + transform.c,
        transform.d * first + transform.e * second + transform.f,
    )


def _cells_transform(transform: Affine, window: CellWindow) -> Affine:
    """From cells of a window of a raster to coordinates, given the transform of the raster's pixels."""
    column, row, shrink = window.column * window.shrink, window.row * window.shrink, window.shrink
    return Affine(
        transform.a * shrink,
        transform.b * shrink,
        transform.a * column + transform.b * row + transform.c,
        transform.d * shrink,
        transform.e * shrink,
        transform.d * column + transform.e * row + transform.f,
    )
