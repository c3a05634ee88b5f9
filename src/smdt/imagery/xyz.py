"""Tiled imagery in the usual web scheme, and as a folder of files: ``Z/X/Y.png`` (or jpg, jpeg, webp).

Zoom z cuts the Web-Mercator square into 2^z × 2^z tiles; x counts from the west, y from the north (XYZ
scheme, not TMS).
"""

from __future__ import annotations

import io
import json
import os
from abc import abstractmethod
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from smdt.errors import ImageryError
from smdt.geometry.geodesy import to_web_mercator
from smdt.imagery.aerial import WORLD_HALF_M, AerialSource, CellWindow, MercatorArea, PixelGrid, Rgba

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_DEEPEST_ZOOM = 30


def decode_tile(data: bytes, where: str) -> Rgba:
    """The pixels of an encoded tile as RGBA (H, W, 4); transparent ones count as missing.

    Raises:
        ImageryError: if the bytes are not a whole picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            cells = np.array(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageryError(
            f"a tile that cannot be read ({error})", where=where, remedy="download or render this tile again"
        ) from None
    known = cells[..., 3] >= 128
    cells[..., 3] = np.where(known, 255, 0)
    cells[~known] = 0
    return cells


def join_cells(cells: Rgba) -> Rgba:
    """Join 2 × 2 cells into one: the mean of the known ones, known if at least two of them are."""
    height, width = cells.shape[0] // 2, cells.shape[1] // 2
    groups = cells.reshape(height, 2, width, 2, 4).sum(axis=(1, 3), dtype=np.uint16)
    known = groups[..., 3:] // 255
    colour = (groups[..., :3] + known // 2) // np.maximum(known, 1)
    return np.where(known >= 2, np.concatenate([colour, np.full_like(known, 255)], axis=2), 0).astype(
        np.uint8
    )


class TiledSource(AerialSource):
    """What folders of tiles and MBTiles files share; the tiles of one zoom level are the imagery.

    Missing tiles are unknown ground. Coarser zoom levels, where present, serve reduced pictures of large
    areas.
    """

    zoom: int
    tiles: frozenset[tuple[int, int]]
    """(x, y) of the tiles of the zoom level."""
    tile_px: int

    @abstractmethod
    def tile_bytes(self, zoom: int, x: int, y: int) -> bytes | None:
        """The encoded tile of the XYZ scheme, or None if it is missing."""

    @abstractmethod
    def tile_label(self, zoom: int, x: int, y: int) -> str:
        """What an error message calls a tile."""

    def _place(self) -> None:
        """Derive size, grid and area from :attr:`zoom` and :attr:`tiles`."""
        x, y = min(self.tiles)
        data = self.tile_bytes(self.zoom, x, y)
        assert data is not None
        first = decode_tile(data, self.tile_label(self.zoom, x, y))
        if first.shape[0] != first.shape[1]:
            raise ImageryError(
                f"a tile of {first.shape[1]}×{first.shape[0]} pixels is not square",
                where=self.tile_label(self.zoom, x, y),
                remedy="give Web-Mercator tiles of 256 or 512 pixels",
            )
        self.tile_px = first.shape[0]
        tile_m = 2 * WORLD_HALF_M / 2**self.zoom
        columns, rows = (np.array(sorted({tile[axis] for tile in self.tiles})) for axis in (0, 1))
        self.area = MercatorArea(
            float(columns[0] * tile_m - WORLD_HALF_M),
            float(WORLD_HALF_M - (rows[-1] + 1) * tile_m),
            float((columns[-1] + 1) * tile_m - WORLD_HALF_M),
            float(WORLD_HALF_M - rows[0] * tile_m),
        )
        pixel_m = tile_m / self.tile_px
        self.grid = PixelGrid(-WORLD_HALF_M, WORLD_HALF_M, pixel_m, pixel_m, largest_shrink=2**self.zoom)

    def _no_tile(self) -> ImageryError:
        return ImageryError(
            f"no tile in the extent of zoom {self.zoom} can be read",
            where=self.path,
            remedy="check that the tiles are complete",
        )

    def covers(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which positions fall on a tile that is present."""
        x_m, y_m = to_web_mercator(latitude_deg, longitude_deg)
        tile_m = 2 * WORLD_HALF_M / 2**self.zoom
        x = np.floor((x_m + WORLD_HALF_M) / tile_m).astype(np.int64)
        y = np.floor((WORLD_HALF_M - y_m) / tile_m).astype(np.int64)
        present = [tile in self.tiles for tile in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)]
        return np.array(present, dtype=np.bool_).reshape(x.shape)

    def read_cells(self, window: CellWindow) -> Rgba:
        """Cells of the zoom level's pixel grid as RGBA; see :meth:`AerialSource.read_cells`."""
        zoom = self.zoom - (window.shrink.bit_length() - 1)
        side = self.tile_px
        cells = np.zeros((window.height, window.width, 4), dtype=np.uint8)
        bottom, right = window.row + window.height, window.column + window.width
        for y in range(max(window.row // side, 0), min((bottom - 1) // side + 1, 2**zoom)):
            for x in range(max(window.column // side, 0), min((right - 1) // side + 1, 2**zoom)):
                tile = self._tile(zoom, x, y)
                if tile is None:
                    continue
                top, left = y * side, x * side
                first_row, last_row = max(top, window.row), min(top + side, bottom)
                first_column, last_column = max(left, window.column), min(left + side, right)
                rows = slice(first_row - window.row, last_row - window.row)
                columns = slice(first_column - window.column, last_column - window.column)
                cells[rows, columns] = tile[
                    first_row - top : last_row - top, first_column - left : last_column - left
                ]
        return cells

    def _tile(self, zoom: int, x: int, y: int) -> Rgba | None:
        """A tile's pixels; of a coarser level that is not stored, made from the four tiles beneath it."""
        if zoom == self.zoom and (x, y) not in self.tiles:
            return None
        data = self.tile_bytes(zoom, x, y)
        if data is not None:
            cells = decode_tile(data, self.tile_label(zoom, x, y))
            if cells.shape[:2] != (self.tile_px, self.tile_px):
                raise ImageryError(
                    f"a tile of {cells.shape[1]}×{cells.shape[0]} pixels among tiles of {self.tile_px}",
                    where=self.tile_label(zoom, x, y),
                    remedy="give tiles of one size",
                )
            return cells
        if zoom >= self.zoom:
            return None
        below = [self._tile(zoom + 1, 2 * x + column, 2 * y + row) for row in (0, 1) for column in (0, 1)]
        if all(one is None for one in below):
            return None
        empty = np.zeros((self.tile_px, self.tile_px, 4), dtype=np.uint8)
        quarters = [empty if one is None else one for one in below]
        rows = [np.concatenate(quarters[:2], axis=1), np.concatenate(quarters[2:], axis=1)]
        return join_cells(np.concatenate(rows, axis=0))


class XyzFolder(TiledSource):
    """A folder of tiles ``Z/X/Y.png``, ``.jpg``, ``.jpeg`` or ``.webp``, y counted from the north.

    A ``metadata.json`` beside the zoom folders may give ``name`` and ``attribution``.
    """

    def __init__(self, path: Path, *, zoom: int | None = None) -> None:
        """Open a folder of tiles; see :func:`smdt.imagery.aerial.open_aerial`."""
        self.path = path
        numbered = [int(entry.name) for entry in path.iterdir() if entry.name.isdecimal() and entry.is_dir()]
        levels = sorted(level for level in numbered if level <= _DEEPEST_ZOOM)
        layout = "tiles must lie as Z/X/Y.png (or jpg, jpeg, webp), for example 19/278421/180547.png"
        if not levels:
            raise ImageryError("a folder without tiles", where=path, remedy=layout)
        self.zoom = levels[-1] if zoom is None else zoom
        if self.zoom not in levels:
            raise ImageryError(
                f"no zoom level {zoom}", where=path, remedy=f"choose from {', '.join(map(str, levels))}"
            )
        self._suffix_of = self._list_tiles(path / str(self.zoom))
        if not self._suffix_of:
            raise ImageryError(f"no tiles at zoom {self.zoom}", where=path, remedy=layout)
        self.tiles = frozenset(self._suffix_of)
        if max(max(tile) for tile in self.tiles) >= 2**self.zoom:
            raise ImageryError(f"tile numbers beyond those of zoom {self.zoom}", where=path, remedy=layout)
        self._place()
        described = self._description()
        self.name = described.get("name") or path.resolve().name
        self.attribution = described.get("attribution") or ""

    def close(self) -> None:
        """Nothing stays open between reads."""

    @staticmethod
    def _list_tiles(level: Path) -> dict[tuple[int, int], str]:
        found: dict[tuple[int, int], str] = {}
        with os.scandir(level) as columns:
            numbered = [entry for entry in columns if entry.name.isdecimal() and entry.is_dir()]
        for column in numbered:
            with os.scandir(column.path) as files:
                for file in files:
                    stem, suffix = os.path.splitext(file.name)  # noqa: PTH122 - a million Paths are slow
                    if stem.isdecimal() and suffix.lower() in _SUFFIXES:
                        found[int(column.name), int(stem)] = suffix
        return found

    def _description(self) -> dict[str, str]:
        try:
            read = json.loads((self.path / "metadata.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return (
            {key: value for key, value in read.items() if isinstance(value, str)}
            if isinstance(read, dict)
            else {}
        )

    def _file(self, zoom: int, x: int, y: int) -> Path | None:
        column = self.path / str(zoom) / str(x)
        if zoom == self.zoom:
            return column / f"{y}{self._suffix_of[x, y]}" if (x, y) in self._suffix_of else None
        return next((file for suffix in _SUFFIXES if (file := column / f"{y}{suffix}").is_file()), None)

    def tile_bytes(self, zoom: int, x: int, y: int) -> bytes | None:
        """The content of a tile's file, or None if there is none."""
        file = self._file(zoom, x, y)
        if file is None:
            return None
        try:
            return file.read_bytes()
        except OSError as error:
            raise ImageryError(
                f"a tile that cannot be read ({error.strerror})",
                where=file,
                remedy="check the file's permissions",
            ) from None

    def tile_label(self, zoom: int, x: int, y: int) -> str:
        """The tile's file."""
        return str(self._file(zoom, x, y) or self.path / str(zoom) / str(x) / str(y))
