"""The raster that a real place is drawn on: its size, resolution and anchor, from bounds in degrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smdt.errors import ConfigError
from smdt.geometry.geodesy import WEB_MERCATOR_MAX_LATITUDE_DEG, to_web_mercator

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees on WGS84."""

_EARTH_RADIUS_M = 6378137.0
_MOST_PIXELS = 400_000_000  # about 5 GB of layers


@dataclass(frozen=True)
class PlaceGrid:
    """The raster over an area, anchored in Web Mercator as :class:`smdt.world.layers.Place` is.

    Attributes:
        west_mercator_m: Web-Mercator x of the south-west corner.
        south_mercator_m: its y.
        scale: Web-Mercator metres per metre on the ground.
        columns: width in pixels.
        rows: height in pixels.
        pixel_m: metres on the ground per pixel.
        latitude_deg: of the south-west corner.
        longitude_deg: of the south-west corner.
    """

    west_mercator_m: float
    south_mercator_m: float
    scale: float
    columns: int
    rows: int
    pixel_m: float
    latitude_deg: float
    longitude_deg: float

    @property
    def size_m(self) -> tuple[float, float]:
        """Extent east and north in metres on the ground."""
        return self.columns * self.pixel_m, self.rows * self.pixel_m

    @property
    def step_mercator_m(self) -> float:
        """Side of a pixel in Web-Mercator metres."""
        return self.pixel_m * self.scale

    @property
    def north_mercator_m(self) -> float:
        """Web-Mercator y of the northern edge."""
        return self.south_mercator_m + self.rows * self.step_mercator_m

    @property
    def east_mercator_m(self) -> float:
        """Web-Mercator x of the eastern edge."""
        return self.west_mercator_m + self.columns * self.step_mercator_m

    def to_local_m(self, longitude_deg: Sequence[float], latitude_deg: Sequence[float]) -> Floats:
        """(N, 2) metres east and north of the corner."""
        latitude = np.clip(latitude_deg, -WEB_MERCATOR_MAX_LATITUDE_DEG, WEB_MERCATOR_MAX_LATITUDE_DEG)
        x, y = to_web_mercator(latitude, longitude_deg)
        return np.stack([x - self.west_mercator_m, y - self.south_mercator_m], axis=-1) / self.scale


def grid_over(bounds: Bounds, pixel_m: float, *, largest_pixel_m: float = 2.0) -> PlaceGrid:
    """The raster over some bounds.

    Raises:
        ConfigError: if the bounds are not west, south, east, north, or too large for the pixel size.
    """
    west, south, east, north = bounds
    limit = WEB_MERCATOR_MAX_LATITUDE_DEG
    if not (-180.0 <= west < east <= 180.0 and -limit <= south < north <= limit):
        raise ConfigError(
            f"{west:g},{south:g},{east:g},{north:g} is no area",
            where="--bounds",
            remedy="give west,south,east,north in degrees",
        )
    if not 0.05 <= pixel_m <= largest_pixel_m:
        raise ConfigError(
            f"{pixel_m} m per pixel is not between 0.05 and {largest_pixel_m:g}", where="--pixel-m"
        )
    x, y = to_web_mercator([south, north], [west, east])
    middle_deg = (south + north) / 2.0
    rough = math.cos(math.radians(middle_deg)) / pixel_m
    columns, rows = max(1, round(float(x[1] - x[0]) * rough)), max(1, round(float(y[1] - y[0]) * rough))
    if columns * rows > _MOST_PIXELS:
        raise ConfigError(
            f"the area would be {columns}×{rows} pixels of {pixel_m:g} m",
            where="--pixel-m",
            remedy="give a larger --pixel-m, or a smaller area by --bounds",
        )
    middle = south + math.degrees(rows * pixel_m / 2.0 / _EARTH_RADIUS_M)  # as Place.mercator_scale has it
    scale = 1.0 / math.cos(math.radians(middle))
    return PlaceGrid(float(x[0]), float(y[0]), scale, columns, rows, pixel_m, south, west)
