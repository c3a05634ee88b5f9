"""Write rasters with coordinates: tiled, compressed GeoTIFFs, the same bytes for the same content."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from torch import Tensor

from smdt.errors import ImageryError
from smdt.geometry.geodesy import WEB_MERCATOR

_BLOCK_PX = 256
_OVERVIEW_PX = 1024  # a file whose longer side exceeds this gets overviews, down to below it
_STORABLE = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"}


def write_geotiff(
    path: Path, image: Tensor, west_mercator_m: float, north_mercator_m: float, pixel_m_mercator: float
) -> None:
    """Write a north-up colour image in Web Mercator as a GeoTIFF.

    Args:
        path: the file to make or replace.
        image: uint8 (3, H, W), RGB, row 0 in the north.
        west_mercator_m: x of the image's left edge in EPSG:3857.
        north_mercator_m: y of its upper edge.
        pixel_m_mercator: side of a pixel in projected metres (metres on the ground divided by cos φ).

    Raises:
        ImageryError: if the image has another shape or type, or the file cannot be written.
    """
    array = image.detach().cpu().numpy()
    if array.ndim != 3 or array.shape[0] != 3 or array.dtype != np.uint8:
        raise ImageryError(
            f"an image of shape {array.shape} and type {array.dtype} is no RGB image",
            where=path,
            remedy="give uint8 (3, H, W)",
        )
    transform = Affine(pixel_m_mercator, 0.0, west_mercator_m, 0.0, -pixel_m_mercator, north_mercator_m)
    write_raster(path, array, transform, WEB_MERCATOR, descriptions=("red", "green", "blue"))


def write_raster(
    path: Path,
    array: npt.NDArray[np.generic],
    transform: Affine,
    crs: str,
    *,
    descriptions: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    nodata: float | None = None,
) -> None:
    """Write layers of numbers as one GeoTIFF: tiled, deflate-compressed, with overviews where it is large.

    The file appears at once under its name (a temporary file beside it is renamed), and the same content
    gives the same bytes with the same GDAL. Overviews average colours and measurements; integer layers that
    are not 8-bit colour keep the nearest value, as class numbers must.

    Args:
        path: the file to make or replace; its folder must exist.
        array: (B, H, W), whole or floating-point numbers of 8 to 64 bits (float16 is not among them).
        transform: pixel corner → coordinates, as ``Affine(pixel, 0, west, 0, -pixel, north)``.
        crs: coordinate system, as ``EPSG:3857``.
        descriptions: a name for each band; none or all.
        tags: metadata to store.
        nodata: the value that says "nothing known here".

    Raises:
        ImageryError: if the array does not fit, the coordinate system is unknown, or the file cannot be
            written.
    """
    if array.ndim != 3 or 0 in array.shape or array.dtype.name not in _STORABLE:
        raise ImageryError(
            f"an array of shape {array.shape} and type {array.dtype} cannot be stored",
            where=path,
            remedy="give (bands, height, width) of whole numbers, float32 or float64",
        )
    if descriptions and len(descriptions) != array.shape[0]:
        raise ImageryError(
            f"{len(descriptions)} descriptions for {array.shape[0]} bands",
            where=path,
            remedy="give one a band",
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        profile = {"crs": CRS.from_user_input(crs), "transform": transform, "nodata": nodata}
        with rasterio.open(temporary, "w", **profile, **_layout(array)) as raster:
            raster.write(array)
            for number, description in enumerate(descriptions, 1):
                raster.set_band_description(number, description)
            if tags:
                raster.update_tags(**tags)
            factors = [2**step for step in range(1, 16) if max(array.shape[1:]) >> (step - 1) > _OVERVIEW_PX]
            if factors:
                smooth = array.dtype.kind == "f" or _is_colour(array)
                raster.build_overviews(factors, Resampling.average if smooth else Resampling.nearest)
        temporary.replace(path)
    except CRSError as error:
        raise ImageryError(
            f"unknown coordinate system '{crs}' ({error})", where=path, remedy="give one as EPSG:3857"
        ) from None
    except (RasterioError, OSError) as error:
        raise ImageryError(
            f"cannot be written ({error})", where=path, remedy="check that the folder exists and has room"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _is_colour(array: npt.NDArray[np.generic]) -> bool:
    return array.shape[0] == 3 and array.dtype == np.uint8


def _layout(array: npt.NDArray[np.generic]) -> dict[str, Any]:
    """How the pixels lie in the file."""
    bands, height, width = array.shape
    return {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": bands,
        "dtype": array.dtype.name,
        "tiled": True,
        "blockxsize": _BLOCK_PX,
        "blockysize": _BLOCK_PX,
        "compress": "deflate",
        "predictor": 3 if array.dtype.kind == "f" else 2,
        "interleave": "pixel" if _is_colour(array) else "band",
        "photometric": "rgb" if _is_colour(array) else "minisblack",
        "bigtiff": "if_safer",
    }
