"""Write a place's layers as GeoTIFFs with real coordinates."""

from __future__ import annotations

from pathlib import Path

import torch

from smdt.imagery.raster_writing import write_geotiff, write_raster
from smdt.world.layers import Place, Surface

COLOUR_FILE, HEIGHT_FILE, CLASS_FILE = "colour.tif", "height.tif", "class.tif"


def write_colour(place: Place, path: Path) -> None:
    """Write the place seen from above as an RGB GeoTIFF in Web Mercator."""
    west, north = place.mercator_corner_m()
    write_geotiff(
        path,
        torch.from_numpy(place.colour).permute(2, 0, 1),
        west,
        north,
        place.pixel_m * place.mercator_scale,
    )


def write_place(place: Place, folder: Path) -> None:
    """Write colour.tif, height.tif (metres above ground) and class.tif (:class:`Surface`) into a folder."""
    from rasterio.transform import from_origin

    folder.mkdir(parents=True, exist_ok=True)
    write_colour(place, folder / COLOUR_FILE)
    west, north = place.mercator_corner_m()
    step = place.pixel_m * place.mercator_scale
    transform = from_origin(west, north, step, step)
    write_raster(
        folder / HEIGHT_FILE,
        place.height_m[None],
        transform,
        "EPSG:3857",
        descriptions=["height above ground, metres"],
        tags={"place": place.name},
    )
    names = {f"class_{surface.value}": surface.name.lower() for surface in Surface}
    write_raster(
        folder / CLASS_FILE,
        place.surface[None],
        transform,
        "EPSG:3857",
        descriptions=["surface class"],
        tags={"place": place.name, **names},
    )
