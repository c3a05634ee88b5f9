"""Angles as the field writes them: azimuth 0° is north and grows clockwise (90° east, 180° south, 270° west).

A panorama is 360° wide and its centre column looks along its *heading* (yaw): north in CVUSA, CVACT and
VIGOR. So with heading 0°, column 0 looks south, column W/4 west, W/2 north, 3W/4 east.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Angle = float | npt.NDArray[np.float64]


def wrap_360(degrees: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Wrap angles in degrees to [0, 360)."""
    wrapped = np.mod(np.asarray(degrees, dtype=np.float64), 360.0)
    return np.where(wrapped == 360.0, 0.0, wrapped)  # a tiny negative angle rounds up to 360 itself


def wrap_180(degrees: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Wrap angles in degrees to [-180, 180)."""
    return wrap_360(np.asarray(degrees, dtype=np.float64) + 180.0) - 180.0


def angular_error(first_deg: npt.ArrayLike, second_deg: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Absolute difference of two angles, the short way round, in [0, 180] degrees."""
    return np.abs(
        wrap_180(np.asarray(first_deg, dtype=np.float64) - np.asarray(second_deg, dtype=np.float64))
    )


def circular_mean(degrees: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean direction in [0, 360) degrees of angles in degrees, optionally weighted.

    Returns NaN where the directions cancel out (their mean vector is shorter than 1e-12).
    """
    angles = np.deg2rad(np.asarray(degrees, dtype=np.float64))
    factors = np.ones_like(angles) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = np.sum(factors * np.exp(1j * angles)) / max(float(np.sum(np.abs(factors))), 1e-300)
    return float(wrap_360(np.rad2deg(np.angle(mean)))) if abs(mean) > 1e-12 else float("nan")


def azimuth_of_column(
    column_px: npt.ArrayLike, width_px: int, heading_deg: float = 0.0
) -> npt.NDArray[np.float64]:
    """Azimuth in [0, 360) degrees that a column of a 360° panorama looks along.

    Args:
        column_px: column index, whole numbers at pixel centres as in SAFA eq. 1.
        width_px: width of the panorama.
        heading_deg: azimuth of the centre column (W/2).
    """
    columns = np.asarray(column_px, dtype=np.float64)
    return wrap_360(heading_deg + 180.0 + 360.0 * columns / width_px)


def column_of_azimuth(
    azimuth_deg: npt.ArrayLike, width_px: int, heading_deg: float = 0.0
) -> npt.NDArray[np.float64]:
    """Column in [0, W), fractional, of a 360° panorama that looks along an azimuth (degrees)."""
    relative = wrap_360(np.asarray(azimuth_deg, dtype=np.float64) - heading_deg - 180.0)
    columns = relative / 360.0 * width_px
    return np.where(columns >= width_px, 0.0, columns)
