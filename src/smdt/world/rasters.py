"""A place from a real orthophoto and a real surface model, as mapping agencies publish them.

The files may have any coordinate systems and pixel grids: all are brought to one north-up Web-Mercator grid over the
area that they share. What such files do not say is derived simply (``raster_objects.py``). Two things are as the
orthophoto has them: its shadows and its cars. The colour of a simulated place has neither.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import rasterize
from rasterio.warp import reproject, transform_bounds
from scipy.ndimage import distance_transform_edt

from smdt.errors import ConfigError, ImageryError
from smdt.imagery.aerial import Bounds as MapBounds
from smdt.imagery.aerial import Cut, MercatorArea, open_aerial
from smdt.world.grid import Bounds, PlaceGrid, grid_over
from smdt.world.layers import Place, Street, Surface
from smdt.world.osm_canvas import stroke
from smdt.world.osm_reading import read_features
from smdt.world.osm_roads import find_roads
from smdt.world.osm_tags import ATTRIBUTION
from smdt.world.osm_traffic import to_streets
from smdt.world.raster_ground import estimate_ground
from smdt.world.raster_objects import Layers, derive_classes, find_buildings, find_trees

Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_MERCATOR = "EPSG:3857"
_KNOWN_SHARE = 0.98
_BURIED_M, _TALLEST_M = -50.0, 900.0
_FLAT_M = 0.5
_OPEN_GROUND = (
    Surface.ROAD, Surface.PAVEMENT, Surface.PARKING, Surface.BARE, Surface.GRASS, Surface.FIELD,
)  # fmt: skip
_LAS_CLASSES = {
    2: Surface.GRASS, 3: Surface.GRASS, 4: Surface.TREE, 5: Surface.TREE, 6: Surface.BUILDING, 9: Surface.WATER,
    10: Surface.BARE, 11: Surface.ROAD, 17: Surface.ROAD,
}  # fmt: skip
CLASS_SCHEMES: dict[str, dict[int, Surface]] = {
    "smdt": {int(surface): surface for surface in Surface},
    "las": _LAS_CLASSES,
}
"""What the numbers of a class raster mean: smdt's own (:class:`Surface`), or those of the ASPRS LAS format."""


def place_from_rasters(
    colour: Path,
    height: Path,
    *,
    classes: Path | None = None,
    terrain: Path | None = None,
    pixel_m: float | None = None,
    bounds: Bounds | None = None,
    class_scheme: str = "smdt",
    ground_window_m: float = 60.0,
    osm: Path | None = None,
) -> Place:
    """Make a place of an orthophoto and a surface model.

    Height above ground is the surface less the terrain, and the terrain is the place's ground. Without a terrain model
    the place is flat: the ground is estimated (:func:`estimate_ground`) and taken off, and a building wider than
    ``ground_window_m`` is taken for a hill.

    Args:
        colour: orthophoto; whatever :func:`smdt.imagery.aerial.open_aerial` opens.
        height: surface model, metres, any datum (with ``terrain``: the same one).
        classes: class raster; derived from colour and height unless given (:func:`derive_classes`).
        terrain: terrain model (of the bare ground), metres.
        pixel_m: metres on the ground per pixel; the orthophoto's, but at least 0.1, unless given.
        bounds: west, south, east, north in degrees; all that the files share unless given.
        class_scheme: what ``classes`` numbers mean, ``smdt`` or ``las``.
        ground_window_m: wider than the widest building.
        osm: OpenStreetMap extract to take the roads from: their centre lines, and the class ROAD on the ground there.

    Returns:
        The layers. Where a file has a hole, height is that of the nearest known pixel up to 3 m away and 0 beyond,
        colour is grey and the class BARE. Buildings are numbered by connected component.

    Raises:
        ConfigError: if an option is impossible.
        ImageryError: if a file cannot be read or has no coordinates, or the files share no area.
    """
    if class_scheme not in CLASS_SCHEMES:
        raise ConfigError(
            f"'{class_scheme}' is no class scheme", where="--class-scheme", remedy="choose smdt or las"
        )
    if not 5.0 <= ground_window_m <= 1000.0:
        raise ConfigError(f"{ground_window_m:g} m is not between 5 and 1000", where="--ground-window-m")
    models = [path for path in (height, terrain, classes) if path is not None]
    grid = _common_grid(colour, models, pixel_m, bounds)
    picture, known, attribution = _read_colour(colour, grid)
    terrain_m = None if terrain is None else _read_numbers(terrain, grid, Resampling.bilinear)
    raised_m = _read_raised(height, terrain_m, grid, ground_window_m)
    if not (known & np.isfinite(raised_m)).any():
        raise ImageryError(
            "has no known pixel where the orthophoto has one",
            where=height,
            remedy="check both files' no-data values",
        )
    raised, filled = _fill(raised_m, 3.0 / grid.pixel_m)
    known &= filled
    layers = Layers(picture, np.clip(raised, 0.0, _TALLEST_M).astype(np.float32), grid.pixel_m)
    scheme = CLASS_SCHEMES[class_scheme]
    surface = derive_classes(layers) if classes is None else _read_classes(classes, grid, scheme)
    streets: tuple[Street, ...] = ()
    if osm is not None:
        streets = _lay_streets(osm, grid, surface)
        attribution = "; ".join(part for part in (attribution, ATTRIBUTION) if part)
    surface[~known] = Surface.BARE
    picture[~known] = 128
    above = np.isin(surface, [Surface.BUILDING, Surface.TREE, Surface.FENCE])
    layers = replace(layers, height_m=np.where(above, layers.height_m, _flatten(layers.height_m, surface)))
    object_id, buildings = find_buildings(layers, surface)
    return Place(
        name=f"{colour.name} with {height.name}",
        colour=picture,
        height_m=layers.height_m,
        surface=surface,
        object_id=object_id,
        buildings=buildings,
        streets=streets,
        pixel_m=grid.pixel_m,
        latitude_deg=grid.latitude_deg,
        longitude_deg=grid.longitude_deg,
        trees=find_trees(layers, surface),
        attribution=attribution,
        ground_m=np.zeros((0, 0), np.float32) if terrain_m is None else _without_holes(terrain_m),
    )


def open_ground_positions(
    place: Place, count: int, rng: np.random.Generator, *, margin_m: float = 60.0, clear_m: float = 2.0
) -> npt.NDArray[np.float64]:
    """Random camera positions on open ground, for places whose roads are not known.

    Args:
        place: the place.
        count: how many.
        rng: where the randomness comes from.
        margin_m: distance kept from the place's edge.
        clear_m: distance kept from whatever is higher than 0.5 m, and from water.

    Returns:
        (count, 2) east and north in metres, at the centres of pixels; all different where there are enough.

    Raises:
        ConfigError: if there is no such ground.
    """
    free = np.isin(place.surface, _OPEN_GROUND) & (place.height_m < _FLAT_M)
    away = distance_transform_edt(free) * place.pixel_m if not free.all() else np.full(free.shape, np.inf)
    edge = max(1, round(margin_m / place.pixel_m))
    inner = np.zeros(free.shape, np.bool_)
    inner[edge:-edge, edge:-edge] = True
    rows, columns = np.nonzero(inner & (away > clear_m))
    if not len(rows):
        raise ConfigError(
            f"has no open ground {margin_m:g} m from its edge and {clear_m:g} m from anything high",
            where=place.name,
            remedy="use a larger area, or a smaller margin",
        )
    chosen = rng.choice(len(rows), count, replace=count > len(rows))
    east = (columns[chosen] + 0.5) * place.pixel_m
    north = (place.surface.shape[0] - rows[chosen] - 0.5) * place.pixel_m
    return np.stack([east, north], axis=-1).astype(np.float64)


def _common_grid(colour: Path, models: list[Path], pixel_m: float | None, bounds: Bounds | None) -> PlaceGrid:
    """The grid over what all files (and the bounds) share."""
    with open_aerial(colour) as source:
        area, native_m = source.area, source.ground_sampling_distance_m
    shared = [area.west_m, area.south_m, area.east_m, area.north_m]
    others = [(path, _mercator_bounds(path)) for path in models]
    if bounds is not None:
        box = MercatorArea.from_bounds(MapBounds(*bounds))
        others.append((Path("--bounds"), (box.west_m, box.south_m, box.east_m, box.north_m)))
    for path, (west, south, east, north) in others:
        shared = [max(shared[0], west), max(shared[1], south), min(shared[2], east), min(shared[3], north)]
        if shared[0] >= shared[2] or shared[1] >= shared[3]:
            raise ImageryError(
                f"shares no area with {colour.name}",
                where=path,
                remedy="check both files' coordinate systems with gdalinfo",
            )
    edges = _in_degrees(MercatorArea(*shared))
    pixel_m = max(native_m, 0.1) if pixel_m is None else pixel_m
    return grid_over(edges if bounds is not None else _known_bounds(colour, models, edges, pixel_m), pixel_m)


def _known_bounds(colour: Path, models: list[Path], edges: Bounds, pixel_m: float) -> Bounds:
    """The bounds without the edges where little is known, for turned files leave wedges there: by a coarse look."""
    area = MercatorArea.from_bounds(MapBounds(*edges))
    coarse_m = max(pixel_m, (area.east_m - area.west_m) / 1000.0, (area.north_m - area.south_m) / 1000.0)
    grid = grid_over(edges, coarse_m, largest_pixel_m=1e6)
    known = _read_colour(colour, grid)[1]
    for path in models:
        known &= np.isfinite(_read_numbers(path, grid, Resampling.nearest))
    rows, columns = _known_window(known)
    step = grid.step_mercator_m
    return _in_degrees(
        MercatorArea(
            grid.west_mercator_m + columns.start * step,
            grid.north_mercator_m - rows.stop * step,
            grid.west_mercator_m + columns.stop * step,
            grid.north_mercator_m - rows.start * step,
        )
    )


def _area(grid: PlaceGrid) -> MercatorArea:
    return MercatorArea(
        grid.west_mercator_m, grid.south_mercator_m, grid.east_mercator_m, grid.north_mercator_m
    )


def _in_degrees(area: MercatorArea) -> Bounds:
    west, south, east, north = area.bounds
    return west, south, east, north


def _lay_streets(extract: Path, grid: PlaceGrid, surface: npt.NDArray[np.uint8]) -> tuple[Street, ...]:
    """Give open ground under the carriageways of an extract the class ROAD; returns their centre lines."""
    streets = to_streets(grid, find_roads(read_features(extract, grid).lines))
    shapes = [
        ({"type": "Polygon", "coordinates": [rings[0].tolist()]}, 1)
        for street in streets
        for rings in stroke(street.points_m, street.width_m)
    ]
    if shapes:
        step = grid.pixel_m
        transform = Affine(step, 0.0, 0.0, 0.0, -step, grid.rows * step)
        road = rasterize(shapes, out_shape=surface.shape, transform=transform, dtype="uint8") > 0
        surface[road & np.isin(surface, _OPEN_GROUND)] = Surface.ROAD
    return streets


def _mercator_bounds(path: Path) -> tuple[float, float, float, float]:
    with _opened(path) as raster:
        west, south, east, north = transform_bounds(raster.crs, _MERCATOR, *raster.bounds, densify_pts=33)
        return float(west), float(south), float(east), float(north)


def _opened(path: Path) -> Any:
    """A raster with coordinates, open for reading."""
    if not path.is_file():
        raise ImageryError("there is no such raster", where=path, remedy="check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # told as an error below
            raster = rasterio.open(path)
    except RasterioError:
        raise ImageryError("not a raster that can be read", where=path, remedy="give a GeoTIFF") from None
    if raster.crs is None or raster.transform.is_identity:
        raster.close()
        raise ImageryError(
            "the raster has no coordinates",
            where=path,
            remedy="export it as a GeoTIFF with its coordinate system",
        )
    return raster


def _read_colour(path: Path, grid: PlaceGrid) -> tuple[npt.NDArray[np.uint8], Bools, str]:
    """The orthophoto on the common grid (H, W, 3), where it is known, and its attribution."""
    with open_aerial(path) as source:
        cut = Cut.plan(source.grid, _area(grid), grid.columns, grid.rows)
        cells = source.read_cells(cut.window)
        picture, share = cut.render(cells)
        known = np.ones(picture.shape[:2], np.bool_)
        if share < 1.0:
            validity = np.repeat(cells[..., 3:], 4, axis=2)
            validity[..., 3] = 255
            known = cut.render(validity)[0][..., 0] >= 128
        return np.array(picture), known, source.attribution


def _read_numbers(path: Path, grid: PlaceGrid, resampling: Resampling) -> Singles:
    """The first band of a raster on the common grid, NaN where nothing is known."""
    with _opened(path) as raster:
        coarser = abs(raster.transform.a) < 0.67 * grid.pixel_m and raster.crs.is_projected
        if coarser and resampling is Resampling.bilinear:
            resampling = Resampling.average
        found = np.full((grid.rows, grid.columns), np.nan, np.float32)
        nodata, step = raster.nodata, grid.step_mercator_m
        try:
            reproject(
                rasterio.band(raster, 1),
                found,
                src_nodata=nodata if nodata is not None else _nan_of(raster.dtypes[0]),
                dst_transform=Affine(step, 0.0, grid.west_mercator_m, 0.0, -step, grid.north_mercator_m),
                dst_crs=_MERCATOR,
                dst_nodata=np.nan,
                resampling=resampling,
            )
        except RasterioError as error:
            reason = " ".join(str(error).split())
            raise ImageryError(
                f"the raster cannot be read to its end ({reason})",
                where=path,
                remedy="it is damaged or incomplete: copy or download it again",
            ) from None
    return found


def _nan_of(kind: str) -> float | None:
    return float("nan") if np.dtype(kind).kind == "f" else None


def _read_raised(height: Path, terrain_m: Singles | None, grid: PlaceGrid, ground_window_m: float) -> Singles:
    """Height above ground on the grid, NaN where it is not known."""
    surface_m = _read_numbers(height, grid, Resampling.bilinear)
    if terrain_m is not None:
        return np.asarray(surface_m - terrain_m, np.float32)
    if not np.isfinite(surface_m).any():
        return surface_m
    return np.asarray(surface_m - estimate_ground(surface_m, grid.pixel_m, ground_window_m), np.float32)


def _read_classes(path: Path, grid: PlaceGrid, scheme: dict[int, Surface]) -> npt.NDArray[np.uint8]:
    numbers = _read_numbers(path, grid, Resampling.nearest)
    table = np.full(256, 255, np.uint8)
    for number, surface in scheme.items():
        table[number] = surface
    known = np.isfinite(numbers)
    whole = np.clip(np.where(known, numbers, 0), 0, 255).astype(np.uint8)
    out = np.where(known, table[whole], Surface.BARE).astype(np.uint8)
    if (out == 255).any():
        raise ImageryError(
            f"class {int(whole[out == 255][0])} is not in the class scheme",
            where=path,
            remedy=f"the scheme has {', '.join(str(number) for number in scheme)}; choose another --class-scheme",
        )
    return out


def _known_window(known: Bools) -> tuple[slice, slice]:
    """The grid without the edges where little is known: turned files leave wedges there."""
    top, bottom, left, right = 0, known.shape[0], 0, known.shape[1]
    while bottom - top > 1 and right - left > 1:
        shares = {
            "top": known[top, left:right].mean(),
            "bottom": known[bottom - 1, left:right].mean(),
            "left": known[top:bottom, left].mean(),
            "right": known[top:bottom, right - 1].mean(),
        }
        worst = min(shares, key=lambda side: shares[side])
        if shares[worst] >= _KNOWN_SHARE:
            break
        top, bottom = top + (worst == "top"), bottom - (worst == "bottom")
        left, right = left + (worst == "left"), right - (worst == "right")
    return slice(top, bottom), slice(left, right)


def _fill(raised_m: Singles, reach_px: float) -> tuple[Singles, Bools]:
    """Holes filled from the nearest known pixel up to a distance, and with 0 beyond; and where a height stands now."""
    known = np.isfinite(raised_m) & (raised_m > _BURIED_M) & (raised_m < _TALLEST_M)
    if known.all() or not known.any():
        return np.where(known, raised_m, 0.0).astype(np.float32), known
    away, nearest = distance_transform_edt(~known, return_indices=True)
    filled = away <= reach_px
    return np.where(filled, raised_m[tuple(nearest)], 0.0).astype(np.float32), filled


def _without_holes(terrain_m: Singles) -> Singles:
    """A terrain model with its holes filled from the nearest known pixel."""
    hole = ~np.isfinite(terrain_m)
    if not hole.any() or hole.all():
        return np.where(hole, 0.0, terrain_m).astype(np.float32)
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    return np.asarray(terrain_m[tuple(nearest)], np.float32)


def _flatten(height_m: Singles, surface: npt.NDArray[np.uint8]) -> Singles:
    """Open ground made level: what is left there is error of the models, or a car."""
    level = np.isin(surface, [*_OPEN_GROUND, Surface.WATER])
    return np.where(level, 0.0, height_m).astype(np.float32)
