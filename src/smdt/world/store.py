"""A place on disk: its layers as GeoTIFFs with real coordinates, and its tables beside them.

The folder of a place, simulated or real, holds ``colour.tif``, ``height.tif`` (metres above ground), ``class.tif``
(:class:`Surface`), ``objects.tif`` (building numbers), where the place is not flat ``ground.tif`` (elevation of the
ground), ``tables.safetensors`` (buildings, trees, streets, car spots, poles, skyline) and ``place.json`` (name,
attribution, anchor). What was written comes back equal, to the byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smdt.errors import ImageryError
from smdt.files import write_text_whole, write_whole
from smdt.imagery.raster_writing import write_raster
from smdt.world.layers import SKYLINE_AT_M, BuildingTable, Place, Street, Surface, TreeTable

COLOUR_FILE, HEIGHT_FILE, CLASS_FILE, OBJECT_FILE = "colour.tif", "height.tif", "class.tif", "objects.tif"
GROUND_FILE = "ground.tif"
TABLE_FILE, PLACE_FILE, ATTRIBUTION_FILE = "tables.safetensors", "place.json", "ATTRIBUTION.txt"
_FORMAT = "smdt place 1"
_BUILDINGS = ("centre_m", "half_size_m", "angle_rad", "facade", "storey_m")
_TREES = ("centre_m", "radius_m", "top_m", "crown_base_m", "colour", "conifer")
_REMEDY = "write it again with `smdt world …`"

Arrays = dict[str, npt.NDArray[Any]]


def write_colour(place: Place, path: Path) -> None:
    """Write the place seen from above as an RGB GeoTIFF in Web Mercator, with its name and attribution as tags."""
    _write_layer(place, path, np.moveaxis(place.colour, 2, 0), ("red", "green", "blue"))


def write_place(place: Place, folder: Path) -> None:
    """Write a place as a folder that :func:`open_place` gives back equal.

    Args:
        place: the place.
        folder: made where it is missing; files of those names in it are replaced.

    Raises:
        ImageryError: if a layer cannot be written.
        SmdtError: if a table cannot be written.
    """
    from safetensors.numpy import save_file

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLACE_FILE).unlink(missing_ok=True)  # last to come back: a half-written folder is no place
        for name in (ATTRIBUTION_FILE, GROUND_FILE):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ImageryError(
            f"cannot be written ({error.strerror})", where=folder, remedy="name a folder you may write to"
        ) from None
    write_colour(place, folder / COLOUR_FILE)
    height = ("height above ground, metres",)
    _write_layer(place, folder / HEIGHT_FILE, place.height_m[None], height)
    flat = not place.ground_m.any()
    if not flat:
        _write_layer(place, folder / GROUND_FILE, place.ground_m[None], ("elevation of the ground, metres",))
    names = {f"class_{surface.value}": surface.name.lower() for surface in Surface}
    _write_layer(place, folder / CLASS_FILE, place.surface[None], ("surface class",), names)
    _write_layer(place, folder / OBJECT_FILE, place.object_id[None], ("building number",))
    tables = {name: np.ascontiguousarray(array) for name, array in _to_tables(place).items()}
    write_whole(folder / TABLE_FILE, lambda path: save_file(tables, path))
    if place.attribution:
        write_text_whole(folder / ATTRIBUTION_FILE, place.attribution + "\n")
    facts = {
        "format": _FORMAT,
        "name": place.name,
        "attribution": place.attribution,
        "pixel_m": place.pixel_m,
        "latitude_deg": place.latitude_deg,
        "longitude_deg": place.longitude_deg,
    } | ({} if flat else {"ground": GROUND_FILE})
    write_text_whole(folder / PLACE_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def open_place(folder: Path) -> Place:
    """Read a place written by :func:`write_place`.

    Args:
        folder: the place's folder.

    Raises:
        ImageryError: if the folder is not a place, a file is missing or damaged, or the layers do not fit together.
    """
    facts = _read_facts(folder)
    colour = _read_layer(folder / COLOUR_FILE, 3, np.uint8)
    height = _read_layer(folder / HEIGHT_FILE, 1, np.float32)[0]
    surface = _read_layer(folder / CLASS_FILE, 1, np.uint8)[0]
    objects = _read_layer(folder / OBJECT_FILE, 1, np.int32)[0]
    layers = [(HEIGHT_FILE, height), (CLASS_FILE, surface), (OBJECT_FILE, objects)]
    ground = np.zeros(surface.shape, np.float32)
    if facts.pop("ground"):  # folders from before there was terrain say nothing of it: they are flat
        ground = _read_layer(folder / GROUND_FILE, 1, np.float32)[0]
        layers.append((GROUND_FILE, ground))
    for name, layer in layers:
        if layer.shape != colour.shape[1:]:
            raise ImageryError(
                f"is {_size(layer)} pixels where {COLOUR_FILE} is {_size(colour[0])}",
                where=folder / name,
                remedy=f"all layers must be of one size; {_REMEDY}",
            )
    tables = _read_tables(folder / TABLE_FILE)
    try:
        buildings = BuildingTable(*(tables[f"buildings.{name}"] for name in _BUILDINGS))
        trees = TreeTable(*(tables[f"trees.{name}"] for name in _TREES))
        ends = np.cumsum(tables["streets.count"])
        pieces = np.split(tables["streets.points_m"], ends[:-1]) if len(ends) else []
        widths = tables["streets.width_m"].tolist()
        streets = tuple(Street(points, width) for points, width in zip(pieces, widths, strict=True))
        car_spots, poles = tables["car_spots"], tables["poles"]
        skyline = tables.get("skyline_m", np.zeros((len(SKYLINE_AT_M), 0), np.float32))
    except (KeyError, ValueError) as error:
        raise ImageryError(f"lacks a table ({error})", where=folder / TABLE_FILE, remedy=_REMEDY) from None
    if int(objects.max()) > len(buildings.angle_rad):
        raise ImageryError(
            f"names building {int(objects.max())} of {len(buildings.angle_rad)}",
            where=folder / OBJECT_FILE,
            remedy=_REMEDY,
        )
    return Place(
        colour=np.ascontiguousarray(np.moveaxis(colour, 0, 2)),
        height_m=height,
        surface=surface,
        object_id=objects,
        buildings=buildings,
        streets=streets,
        trees=trees,
        car_spots=car_spots,
        poles=poles,
        ground_m=ground,
        skyline_m=skyline,
        **facts,
    )


def _to_tables(place: Place) -> Arrays:
    """Everything but the layers, as named arrays."""
    tables: Arrays = {f"buildings.{name}": getattr(place.buildings, name) for name in _BUILDINGS}
    tables |= {f"trees.{name}": getattr(place.trees, name) for name in _TREES}
    points = [np.asarray(street.points_m, np.float64) for street in place.streets]
    tables["streets.points_m"] = np.concatenate([np.zeros((0, 2)), *points])
    tables["streets.count"] = np.array([len(piece) for piece in points], np.int64)
    tables["streets.width_m"] = np.array([street.width_m for street in place.streets], np.float64)
    if place.skyline_m.size:
        tables["skyline_m"] = place.skyline_m
    return {**tables, "car_spots": place.car_spots, "poles": place.poles}


def _write_layer(
    place: Place,
    path: Path,
    array: npt.NDArray[Any],
    descriptions: tuple[str, ...],
    tags: dict[str, str] | None = None,
) -> None:
    from rasterio import Affine

    west, north = place.mercator_corner_m()
    step = place.pixel_m * place.mercator_scale
    transform = Affine(step, 0.0, west, 0.0, -step, north)
    owner = {"TIFFTAG_COPYRIGHT": place.attribution} if place.attribution else {}
    tags = {"TIFFTAG_DOCUMENTNAME": place.name, **owner, **(tags or {})}
    write_raster(path, array, transform, "EPSG:3857", descriptions=descriptions, tags=tags)


def _read_facts(folder: Path) -> dict[str, Any]:
    """What ``place.json`` says, as fields of :class:`Place`."""
    path = folder / PLACE_FILE
    if not folder.is_dir() or not path.is_file():
        raise ImageryError(
            f"is not a place: there is no {PLACE_FILE}" if folder.is_dir() else "there is no such folder",
            where=folder,
            remedy="name a folder written by `smdt world …`",
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT:
            raise ImageryError(
                f"is of format '{facts['format']}', not '{_FORMAT}'", where=path, remedy=_REMEDY
            )
        numbers = {name: float(facts[name]) for name in ("pixel_m", "latitude_deg", "longitude_deg")}
        texts = {"name": str(facts["name"]), "attribution": str(facts["attribution"])}
        return {**texts, **numbers, "ground": "ground" in facts}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageryError(f"is damaged ({error})", where=path, remedy=_REMEDY) from None


def _read_layer(path: Path, bands: int, kind: type[np.generic]) -> npt.NDArray[Any]:
    """A layer as (bands, H, W) of the kind asked for."""
    import rasterio
    from rasterio.errors import RasterioError

    if not path.is_file():
        raise ImageryError("the place's layer is missing", where=path, remedy=_REMEDY)
    try:
        with rasterio.open(path) as raster:
            array: npt.NDArray[Any] = raster.read()
    except RasterioError:
        raise ImageryError("the place's layer cannot be read", where=path, remedy=_REMEDY) from None
    if len(array) != bands or array.dtype != kind:
        raise ImageryError(
            f"has {len(array)} bands of {array.dtype}, not {bands} of {np.dtype(kind)}",
            where=path,
            remedy=_REMEDY,
        )
    return array


def _read_tables(path: Path) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise ImageryError("the place's tables are missing", where=path, remedy=_REMEDY)
    try:
        tables: Arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ImageryError(f"cannot be read ({error})", where=path, remedy=_REMEDY) from None
    return tables


def _size(layer: npt.NDArray[Any]) -> str:
    return f"{layer.shape[1]}×{layer.shape[0]}"
