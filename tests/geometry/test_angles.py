"""Azimuth, columns and circular arithmetic, by hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from smdt.geometry.angles import (
    angular_error,
    azimuth_of_column,
    circular_mean,
    column_of_azimuth,
    wrap_180,
    wrap_360,
)

settings = hypothesis_settings(deadline=None, derandomize=True)


def test_convention_column_zero_looks_south() -> None:
    assert float(azimuth_of_column(0, 616)) == 180.0
    assert float(column_of_azimuth(180.0, 616)) == 0.0


def test_convention_quarters_look_west_north_east() -> None:
    assert azimuth_of_column([154, 308, 462], 616).tolist() == [270.0, 0.0, 90.0]
    assert column_of_azimuth([270.0, 0.0, 90.0], 616).tolist() == [154.0, 308.0, 462.0]


def test_convention_columns_run_clockwise() -> None:
    # 1232 columns: 360/1232 = 0.2922078 degrees each, growing to the right.
    assert float(azimuth_of_column(617, 1232)) == pytest.approx(0.2922078, abs=1e-7)


def test_centre_column_looks_along_the_heading() -> None:
    # Heading east: the centre looks east, column 0 west, W/4 north, 3W/4 south.
    assert azimuth_of_column([256, 0, 128, 384], 512, heading_deg=90.0).tolist() == [90.0, 270.0, 0.0, 180.0]
    assert column_of_azimuth([90.0, 270.0, 0.0, 180.0], 512, heading_deg=90.0).tolist() == [256, 0, 128, 384]


@settings
@given(column=st.floats(0, 1, exclude_max=True), width=st.integers(1, 4096), heading=st.floats(-720, 720))
def test_column_and_azimuth_are_inverse(column: float, width: int, heading: float) -> None:
    back = float(column_of_azimuth(azimuth_of_column(column * width, width, heading), width, heading))
    assert 0.0 <= back < width
    apart = abs(back - column * width)
    assert min(apart, width - apart) < 1e-8  # column 0 may come back as the far end of the circle


def test_column_stays_below_the_width() -> None:
    for azimuth_deg in (180.0, np.nextafter(180.0, 0.0), 180.0 - 1e-13, -180.0, 540.0):
        for width in (3, 512, 616):
            assert 0.0 <= float(column_of_azimuth(azimuth_deg, width)) < width


def test_wrap_360() -> None:
    assert wrap_360([-90.0, 0.0, 360.0, 725.0, -720.0]).tolist() == [270.0, 0.0, 0.0, 5.0, 0.0]
    assert float(wrap_360(-1e-20)) == 0.0  # not 360


def test_wrap_180() -> None:
    assert wrap_180([0.0, 180.0, 190.0, -180.0, 539.0, -190.0]).tolist() == [0, -180, -170, -180, 179, 170]


def test_angular_error_goes_the_short_way_round() -> None:
    assert angular_error([359.0, 1.0, 10.0, 0.0, 90.0], [1.0, 359.0, 350.0, 180.0, 90.0]).tolist() == [
        2.0,
        2.0,
        20.0,
        180.0,
        0.0,
    ]


@settings
@given(first=st.floats(-1000, 1000), second=st.floats(-1000, 1000), turns=st.integers(-3, 3))
def test_angular_error_is_symmetric_and_ignores_whole_turns(first: float, second: float, turns: int) -> None:
    error = float(angular_error(first, second))
    assert 0.0 <= error <= 180.0
    assert float(angular_error(second, first)) == pytest.approx(error, abs=1e-9)
    assert float(angular_error(first + 360.0 * turns, second)) == pytest.approx(error, abs=1e-9)
    # The angle between two unit vectors, computed otherwise; acos is unsure near its ends.
    cosine = math.cos(math.radians(first - second))
    assert math.cos(math.radians(error)) == pytest.approx(cosine, abs=1e-9)


def test_circular_mean_wraps() -> None:
    assert float(angular_error(circular_mean([359.0, 1.0]), 0.0)) < 1e-9  # not 180
    assert circular_mean([350.0, 20.0]) == pytest.approx(5.0)
    assert circular_mean([80.0, 100.0]) == pytest.approx(90.0)
    assert circular_mean(-90.0) == pytest.approx(270.0)


def test_circular_mean_weighted() -> None:
    # Three parts north, one part east: atan(1/3) = 18.4349488 degrees.
    assert circular_mean([0.0, 90.0], weights=[3.0, 1.0]) == pytest.approx(18.4349488, abs=1e-6)


def test_circular_mean_of_directions_that_cancel_is_nan() -> None:
    assert math.isnan(circular_mean([0.0, 180.0]))
    assert math.isnan(circular_mean([10.0, 130.0, 250.0]))
    assert math.isnan(circular_mean([]))
