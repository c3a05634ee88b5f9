"""A small world whose colour tells the position, so that what was read can be compared with where it must lie."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from smdt.geometry.geodesy import from_utm, from_web_mercator, to_utm, to_web_mercator

LATITUDE_DEG, LONGITUDE_DEG = 47.37, 8.54
METRES_PER_DEG = 111_320.0
LEVELS_PER_M = 3.7
PIXEL_M = 0.5


class World:
    """Helpers of the tests, handed out by the fixture ``world``."""

    latitude_deg = LATITUDE_DEG
    longitude_deg = LONGITUDE_DEG

    @staticmethod
    def colour_at(
        latitude_deg: NDArray[np.float64], longitude_deg: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(3, …): red grows by 3.7 levels a metre eastward, green northward, 128 at the centre; blue is 77."""
        east_m = (longitude_deg - LONGITUDE_DEG) * METRES_PER_DEG * math.cos(math.radians(LATITUDE_DEG))
        north_m = (latitude_deg - LATITUDE_DEG) * METRES_PER_DEG
        return np.stack(
            [128 + LEVELS_PER_M * east_m, 128 + LEVELS_PER_M * north_m, np.full_like(east_m, 77.0)], axis=0
        )

    @staticmethod
    def square(side_m: float, side_px: int, east_m: float = 0.0, north_m: float = 0.0) -> NDArray[np.float64]:
        """The colours (3, S, S) a north-up square must show, its centre so many projected metres from the world's."""
        x, y = to_web_mercator(LATITUDE_DEG, LONGITUDE_DEG)
        latitude, _ = from_web_mercator(x + east_m, y + north_m)
        side = side_m / math.cos(math.radians(float(latitude)))
        steps = ((np.arange(side_px) + 0.5) / side_px - 0.5) * side
        grid_x, grid_y = np.meshgrid(x + east_m + steps, y + north_m - steps)
        return World.colour_at(*from_web_mercator(grid_x, grid_y))

    @staticmethod
    def write(
        path: Path, array: NDArray[np.generic], crs: str | None, transform: Affine, **more: object
    ) -> None:
        """The plainest way to a raster file, independent of the writer under test."""
        bands, height, width = array.shape
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=bands, dtype=array.dtype.name,
            crs=None if crs is None else CRS.from_user_input(crs), transform=transform, **more,
        ) as raster:  # fmt: skip
            raster.write(array)

    @staticmethod
    def mercator_transform(width_px: int, height_px: int, pixel_m: float = PIXEL_M) -> Affine:
        """A north-up grid in EPSG:3857 centred on the world's centre, ``pixel_m`` metres on the ground per pixel."""
        x, y = (float(one) for one in to_web_mercator(LATITUDE_DEG, LONGITUDE_DEG))
        pixel = pixel_m / math.cos(math.radians(LATITUDE_DEG))
        return Affine(pixel, 0, x - width_px / 2 * pixel, 0, -pixel, y + height_px / 2 * pixel)

    @staticmethod
    def raster(crs: str, size_px: int) -> tuple[NDArray[np.uint8], Affine]:
        """The coloured world as pixels and transform in a coordinate system; 0.5 m per pixel."""
        if crs == "EPSG:3857":
            transform = World.mercator_transform(size_px, size_px)
        elif crs == "EPSG:32632":
            easting, northing = (float(one) for one in to_utm(LATITUDE_DEG, LONGITUDE_DEG, 32632))
            half = size_px / 2 * PIXEL_M
            transform = Affine(PIXEL_M, 0, easting - half, 0, -PIXEL_M, northing + half)
        else:
            tall = PIXEL_M / METRES_PER_DEG
            wide = tall / math.cos(math.radians(LATITUDE_DEG))
            half = size_px / 2
            transform = Affine(wide, 0, LONGITUDE_DEG - half * wide, 0, -tall, LATITUDE_DEG + half * tall)
        columns, rows = np.meshgrid(np.arange(size_px) + 0.5, np.arange(size_px) + 0.5)
        x, y = transform.c + transform.a * columns, transform.f + transform.e * rows
        if crs == "EPSG:3857":
            latitude, longitude = from_web_mercator(x, y)
        elif crs == "EPSG:32632":
            latitude, longitude = from_utm(x, y, 32632)
        else:
            latitude, longitude = y, x
        return np.rint(np.clip(World.colour_at(latitude, longitude), 0, 255)).astype(np.uint8), transform


@pytest.fixture
def world() -> type[World]:
    """The helpers."""
    return World


@pytest.fixture
def world_tif(tmp_path: Path) -> Path:
    """A GeoTIFF of 60 × 60 m in EPSG:3857."""
    path = tmp_path / "world.tif"
    array, transform = World.raster("EPSG:3857", 120)
    World.write(path, array, "EPSG:3857", transform)
    return path
