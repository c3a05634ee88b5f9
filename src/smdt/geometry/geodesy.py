"""WGS84 positions, Web Mercator metres, UTM, ground sampling distance and distances on the ellipsoid.

Positions are (latitude, longitude) in degrees on WGS84 everywhere in this project. Aerial imagery is handled
in Web Mercator (EPSG:3857), where north is up everywhere and shapes are true; its lengths are stretched by
1/cos(latitude).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from pyproj import Geod, Transformer

from smdt.errors import GeometryError

WEB_MERCATOR = "EPSG:3857"
EQUATOR_RESOLUTION_M = 156543.03392804097
"""Metres per pixel at zoom 0 on the equator, for 256-pixel tiles."""
WEB_MERCATOR_MAX_LATITUDE_DEG = 85.0511287798066

_GEOD = Geod(ellps="WGS84")
_EARTH_RADIUS_M = 6378137.0

Floats = npt.NDArray[np.float64]


@cache
def _utm_transformer(epsg: int, inverse: bool) -> Transformer:
    source, target = ("EPSG:4326", f"EPSG:{epsg}")
    return (
        Transformer.from_crs(target, source, always_xy=True)
        if inverse
        else Transformer.from_crs(source, target, always_xy=True)
    )


def ground_sampling_distance_m(latitude_deg: float, zoom: float) -> float:
    """Metres on the ground per pixel of a Web-Mercator tile (256 px) at a zoom: 156543.034·cos φ / 2^z."""
    return EQUATOR_RESOLUTION_M * math.cos(math.radians(latitude_deg)) / math.exp2(zoom)


def to_web_mercator(latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Web-Mercator x (east) and y (north) in projected metres of WGS84 positions in degrees.

    Raises:
        GeometryError: if a latitude lies beyond ±85.0511°, where Web Mercator ends.
    """
    latitude = np.asarray(latitude_deg, dtype=np.float64)
    longitude = np.asarray(longitude_deg, dtype=np.float64)
    if np.any(np.abs(latitude) > WEB_MERCATOR_MAX_LATITUDE_DEG + 1e-9):
        raise GeometryError(
            f"latitude beyond ±{WEB_MERCATOR_MAX_LATITUDE_DEG:.4f}°, where Web Mercator ends",
            remedy="check that latitude and longitude are not swapped",
        )
    x = np.deg2rad(longitude) * _EARTH_RADIUS_M
    y = _EARTH_RADIUS_M * np.arcsinh(np.tan(np.deg2rad(latitude)))
    return x, y


def from_web_mercator(x_m: npt.ArrayLike, y_m: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Latitude and longitude in degrees of Web-Mercator x, y: inverse of :func:`to_web_mercator`."""
    longitude = np.rad2deg(np.asarray(x_m, dtype=np.float64) / _EARTH_RADIUS_M)
    latitude = np.rad2deg(np.arctan(np.sinh(np.asarray(y_m, dtype=np.float64) / _EARTH_RADIUS_M)))
    return latitude, longitude


def utm_epsg(latitude_deg: float, longitude_deg: float) -> int:
    """EPSG code of a position's WGS84 UTM zone (326xx north, 327xx south), Norway's exceptions left out."""
    zone = int((longitude_deg + 180.0) // 6.0) % 60 + 1
    return (32600 if latitude_deg >= 0 else 32700) + zone


def to_utm(latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, epsg: int) -> tuple[Floats, Floats]:
    """UTM easting and northing in metres in the zone given by its EPSG code."""
    easting, northing = _utm_transformer(epsg, False).transform(longitude_deg, latitude_deg)
    return np.asarray(easting, dtype=np.float64), np.asarray(northing, dtype=np.float64)


def from_utm(easting_m: npt.ArrayLike, northing_m: npt.ArrayLike, epsg: int) -> tuple[Floats, Floats]:
    """Latitude and longitude in degrees of UTM coordinates: inverse of :func:`to_utm`."""
    longitude, latitude = _utm_transformer(epsg, True).transform(easting_m, northing_m)
    return np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64)


def distance_m(
    latitude_deg: npt.ArrayLike,
    longitude_deg: npt.ArrayLike,
    other_latitude_deg: npt.ArrayLike,
    other_longitude_deg: npt.ArrayLike,
) -> Floats:
    """Geodesic distance in metres on the WGS84 ellipsoid; arrays broadcast."""
    arrays = np.broadcast_arrays(longitude_deg, latitude_deg, other_longitude_deg, other_latitude_deg)
    start_x, start_y, end_x, end_y = (np.asarray(array, dtype=np.float64).ravel() for array in arrays)
    _, _, metres = _GEOD.inv(start_x, start_y, end_x, end_y)
    return np.asarray(metres, dtype=np.float64).reshape(arrays[0].shape)


def offset_position(
    latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, east_m: npt.ArrayLike, north_m: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """The positions some metres east and north of given ones, along the geodesic of that azimuth."""
    arrays = [
        np.asarray(array, dtype=np.float64)
        for array in np.broadcast_arrays(latitude_deg, longitude_deg, east_m, north_m)
    ]
    latitude, longitude, east, north = (array.ravel() for array in arrays)
    moved = _GEOD.fwd(longitude, latitude, np.rad2deg(np.arctan2(east, north)), np.hypot(east, north))
    shape = arrays[0].shape
    return np.asarray(moved[1]).reshape(shape), np.asarray(moved[0]).reshape(shape)
