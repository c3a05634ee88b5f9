import math

import pytest
import torch

from smdt.world.eye import Eye, tilt_rad


def eye(pitch_deg: float = 0.0) -> Eye:
    """Eight columns from south, four rows of 10° about the horizon."""
    azimuth = 2 * math.pi * (torch.arange(8) / 8 - 0.5)
    return Eye(
        0, 0, 2.5, 2.5, azimuth, tilt_rad(azimuth, 0.0, pitch_deg), 4, math.radians(15), math.radians(10)
    )


def test_slopes_are_tangents_of_rows_top_first() -> None:
    expected = [math.tan(math.radians(angle)) for angle in (15, 5, -5, -15)]
    assert eye().slope[3].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_pitched_camera_looks_up_ahead_and_down_behind() -> None:
    slope = eye(pitch_deg=4.0).slope
    assert math.degrees(math.atan(float(slope[4, 0]))) == pytest.approx(19.0, abs=1e-4)
    assert math.degrees(math.atan(float(slope[0, 0]))) == pytest.approx(11.0, abs=1e-4)


def test_rows_of_slopes_are_the_rows_that_look_along_them() -> None:
    camera = eye(pitch_deg=4.0)
    for row in range(4):
        found = camera.row_of(torch.arange(8), camera.slope[:, row])
        assert found.tolist() == pytest.approx([row] * 8, abs=1e-4)
