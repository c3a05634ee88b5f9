"""Positions and metres against published geodetic values, hand-computed numbers and pyproj."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer

from smdt.errors import GeometryError
from smdt.geometry.geodesy import (
    distance_m,
    from_utm,
    from_web_mercator,
    ground_sampling_distance_m,
    offset_position,
    to_utm,
    to_web_mercator,
    utm_epsg,
)

GENERATOR = np.random.default_rng(0)
LATITUDES = GENERATOR.uniform(-84, 84, 200)
LONGITUDES = GENERATOR.uniform(-180, 180, 200)


def test_ground_sampling_distance_by_hand() -> None:
    # 156543.034 / 2^19 = 0.2985821; cos 60° = 1/2; cos 40° = 0.7660444.
    assert ground_sampling_distance_m(0.0, 19) == pytest.approx(0.2985821, abs=1e-6)
    assert ground_sampling_distance_m(60.0, 19) == pytest.approx(0.1492911, abs=1e-6)
    assert ground_sampling_distance_m(-40.0, 19) == pytest.approx(0.2287272, abs=1e-6)
    assert ground_sampling_distance_m(0.0, 20) == pytest.approx(0.1492911, abs=1e-6)


def test_ground_sampling_distance_is_metres_on_the_ground() -> None:
    # A hundred pixels east at zoom 19 are a hundred sampling distances, up to the ellipsoid's flattening.
    pixels_m = 100 * ground_sampling_distance_m(0.0, 19)
    for latitude_deg in (0.0, 38.9, -35.3, 60.0):
        x, y = to_web_mercator(latitude_deg, 10.0)
        latitude, longitude = from_web_mercator(x + pixels_m, y)
        apart_m = float(distance_m(latitude_deg, 10.0, latitude, longitude))
        assert apart_m == pytest.approx(100 * ground_sampling_distance_m(latitude_deg, 19), rel=4e-3)


def test_web_mercator_by_hand() -> None:
    # Half the equator: pi · 6378137 m; the square's upper edge is as far north.
    x, y = to_web_mercator([0.0, 85.0511287798066], [180.0, -180.0])
    assert x.tolist() == pytest.approx([20037508.342789, -20037508.342789])
    assert y.tolist() == pytest.approx([0.0, 20037508.342789], abs=1e-4)


def test_web_mercator_equals_pyproj() -> None:
    x, y = to_web_mercator(LATITUDES, LONGITUDES)
    expected = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(LONGITUDES, LATITUDES)
    assert np.abs(x - expected[0]).max() < 1e-5
    assert np.abs(y - expected[1]).max() < 1e-5
    latitude, longitude = from_web_mercator(x, y)
    assert np.abs(latitude - LATITUDES).max() < 1e-11
    assert np.abs(longitude - LONGITUDES).max() < 1e-11


def test_web_mercator_ends_before_the_pole() -> None:
    with pytest.raises(GeometryError, match=r"latitude beyond ±85\.0511°.*not swapped"):
        to_web_mercator([0.0, -104.99], [0.0, 39.74])


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "epsg"),
    [
        (40.0, -100.0, 32614),  # Nebraska
        (-35.28, 149.13, 32755),  # Canberra
        (47.37, 8.54, 32632),  # Zurich
        (0.0, -180.0, 32601),
        (0.0, 180.0, 32601),
        (-0.1, 179.9, 32760),
        (0.0, 6.0, 32632),
    ],
)
def test_utm_zone(latitude_deg: float, longitude_deg: float, epsg: int) -> None:
    assert utm_epsg(latitude_deg, longitude_deg) == epsg


def test_utm_on_the_central_meridian_by_hand() -> None:
    # Zone 31, 3° east: easting 500 km; northing 0.9996 times the meridian's arc to 45°, 4984944.378 m.
    easting, northing = to_utm([0.0, 45.0], [3.0, 3.0], 32631)
    assert easting.tolist() == pytest.approx([500000.0, 500000.0], abs=1e-3)
    assert northing.tolist() == pytest.approx([0.0, 0.9996 * 4984944.378], abs=1e-2)
    # South of the equator northings count down from 10,000 km.
    assert float(to_utm(-45.0, 3.0, 32731)[1]) == pytest.approx(1e7 - 0.9996 * 4984944.378, abs=1e-2)


def test_utm_round_trip() -> None:
    latitudes, longitudes = GENERATOR.uniform(-36, -35, 50), GENERATOR.uniform(148.5, 149.5, 50)
    easting, northing = to_utm(latitudes, longitudes, 32755)
    latitude, longitude = from_utm(easting, northing, 32755)
    assert np.abs(latitude - latitudes).max() < 1e-9
    assert np.abs(longitude - longitudes).max() < 1e-9
    # Metres in the plane are metres on the ground, up to the zone's scale (0.9996 .. 1.0004 near its middle).
    plane_m = np.hypot(easting[1:] - easting[0], northing[1:] - northing[0])
    ground_m = distance_m(latitudes[0], longitudes[0], latitudes[1:], longitudes[1:])
    assert np.abs(plane_m / ground_m - 1).max() < 6e-4


def test_distance_of_a_published_pair() -> None:
    # Flinders Peak to Buninyong, Geoscience Australia's example for Vincenty's formula: 54972.271 m.
    flinders = (-(37 + 57 / 60 + 3.72030 / 3600), 144 + 25 / 60 + 29.52440 / 3600)
    buninyong = (-(37 + 39 / 60 + 10.15610 / 3600), 143 + 55 / 60 + 35.38390 / 3600)
    assert float(distance_m(*flinders, *buninyong)) == pytest.approx(54972.271, abs=1e-3)


def test_distance_of_one_degree_on_the_equator() -> None:
    metres = distance_m(0.0, [0.0, 0.0, 179.5], [0.0, 1.0, 0.0], [1.0, 0.0, -179.5])
    # pi/180 · 6378137 m east, also across the date line; the meridian's first degree is shorter.
    assert metres.tolist() == pytest.approx([111319.4908, 110574.3886, 111319.4908], abs=1e-3)


def test_distance_broadcasts() -> None:
    fixed = np.zeros((3, 1))
    fixed.setflags(write=False)
    apart = distance_m(fixed, 0.0, 0.0, np.arange(4.0))
    assert apart.shape == (3, 4)
    assert apart[0, 0] == 0.0
    assert apart[2, 3] == apart[0, 3] > 3e5


def test_offset_position_moves_east_and_north() -> None:
    latitude, longitude = offset_position(47.0, 8.0, [300.0, 0.0, 0.0, -50.0], [400.0, 1000.0, 0.0, 0.0])
    apart_m = distance_m(47.0, 8.0, latitude, longitude)
    assert apart_m.tolist() == pytest.approx([500.0, 1000.0, 0.0, 50.0], abs=1e-6)
    assert longitude[1] == pytest.approx(8.0, abs=1e-12)
    assert latitude[1] > 47.0  # north is up
    assert longitude[3] < 8.0  # -50 m east is west
    # The parts of the first: 300 m along the parallel and 400 m along the meridian.
    assert float(distance_m(latitude[0], 8.0, latitude[0], longitude[0])) == pytest.approx(300.0, abs=0.05)
    assert float(distance_m(47.0, 8.0, latitude[0], 8.0)) == pytest.approx(400.0, abs=0.05)
