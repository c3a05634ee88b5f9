"""The smallest turned rectangle around a footprint."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rectangle:
    """The smallest turned rectangle around a footprint.

    Attributes:
        centre_m: (2,) east, north.
        half_m: half length and half depth; the length is the longer.
        angle_rad: direction of the length, anticlockwise from east.
    """

    centre_m: Floats
    half_m: tuple[float, float]
    angle_rad: float

    def along_and_across(self, east_m: Floats, north_m: Floats) -> tuple[Floats, Floats]:
        """Coordinates in the rectangle's frame."""
        cosine, sine = math.cos(self.angle_rad), math.sin(self.angle_rad)
        east, north = east_m - self.centre_m[0], north_m - self.centre_m[1]
        return east * cosine + north * sine, north * cosine - east * sine


def smallest_rectangle(points_m: Floats) -> Rectangle:
    """The rectangle of smallest area around points (N, 2): one of its sides lies on the convex hull."""
    try:
        hull = points_m[ConvexHull(points_m).vertices]
    except (QhullError, ValueError):  # all on one line
        hull = points_m
    sides = np.roll(hull, -1, axis=0) - hull
    best: Rectangle | None = None
    for angle in np.unique(np.round(np.arctan2(sides[:, 1], sides[:, 0]) % (math.pi / 2), 9)):
        cosine, sine = math.cos(angle), math.sin(angle)
        turned = hull @ np.array([[cosine, -sine], [sine, cosine]])
        low, high = turned.min(axis=0), turned.max(axis=0)
        half, middle = (high - low) / 2, (high + low) / 2
        if best is None or half[0] * half[1] < best.half_m[0] * best.half_m[1]:
            centre = np.array([middle[0] * cosine - middle[1] * sine, middle[0] * sine + middle[1] * cosine])
            best = Rectangle(centre, (float(half[0]), float(half[1])), float(angle))
    assert best is not None  # a ring has points
    if best.half_m[0] < best.half_m[1]:
        turn = best.angle_rad + math.pi / 2
        best = Rectangle(
            best.centre_m, (best.half_m[1], best.half_m[0]), turn - math.pi * (turn > math.pi / 2)
        )
    return best
