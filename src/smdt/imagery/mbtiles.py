"""MBTiles: tiled imagery in one SQLite file, rows counted from the south.

Source: the MBTiles specification 1.3, https://github.com/mapbox/mbtiles-spec.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from smdt.errors import ImageryError
from smdt.imagery.xyz import TiledSource

_VECTOR_FORMATS = {"pbf", "mvt"}


class MbtilesFile(TiledSource):
    """An ``.mbtiles`` file of pictures, opened for reading only."""

    def __init__(self, path: Path, *, zoom: int | None = None) -> None:
        """Open an MBTiles file; see :func:`smdt.imagery.aerial.open_aerial`."""
        self.path = path
        self._database: sqlite3.Connection | None = None
        try:
            self._database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            self._open(zoom)
        except sqlite3.Error:
            self.close()
            raise ImageryError(
                "not an MBTiles file",
                where=path,
                remedy="give an SQLite file with the tables tiles and metadata",
            ) from None
        except BaseException:
            self.close()
            raise

    def _open(self, zoom: int | None) -> None:
        described: dict[str, str] = {
            str(name): str(value) for name, value in self._rows("SELECT name, value FROM metadata")
        }
        if described.get("format", "").lower() in _VECTOR_FORMATS:
            raise ImageryError(
                "the file holds vector tiles, which are no pictures",
                where=self.path,
                remedy="give raster tiles (png, jpg or webp)",
            )
        levels = sorted(int(level) for (level,) in self._rows("SELECT DISTINCT zoom_level FROM tiles"))
        if not levels:
            raise ImageryError("the file holds no tiles", where=self.path, remedy="make it again")
        self.zoom = levels[-1] if zoom is None else zoom
        if self.zoom not in levels:
            raise ImageryError(
                f"no zoom level {zoom}", where=self.path, remedy=f"choose from {', '.join(map(str, levels))}"
            )
        last = 2**self.zoom - 1
        found = self._rows("SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ?", self.zoom)
        self.tiles = frozenset((int(x), last - int(row)) for x, row in found)
        self._place()
        self.name = described.get("name") or self.path.stem
        self.attribution = described.get("attribution", "")

    def _rows(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        assert self._database is not None
        return self._database.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def tile_bytes(self, zoom: int, x: int, y: int) -> bytes | None:
        """The tile's content, or None if it is missing. Rows count from the south: row = 2^z - 1 - y."""
        query = "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        try:
            found = self._rows(query, zoom, x, 2**zoom - 1 - y)
        except sqlite3.Error as error:
            raise ImageryError(
                f"the file is damaged ({error})", where=self.path, remedy="copy or download it again"
            ) from None
        data = found[0][0] if found else None
        if not isinstance(data, bytes):
            return None
        if data[:2] == b"\x1f\x8b":  # gzip: vector tiles whose metadata do not say so
            raise ImageryError(
                "the file holds vector tiles, which are no pictures",
                where=self.path,
                remedy="give raster tiles (png, jpg or webp)",
            )
        return data

    def tile_label(self, zoom: int, x: int, y: int) -> str:
        """File and tile, as ``city.mbtiles (zoom 19, x 278421, y 180547)``."""
        return f"{self.path} (zoom {zoom}, x {x}, y {y})"
