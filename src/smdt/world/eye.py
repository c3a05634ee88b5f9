"""The camera of a panorama: where it is, and along which slope each of its pixels looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Eye:
    """Where the camera is and what its pixels look along. Pixels are numbered column·H + row.

    Attributes:
        east_m: in the place.
        north_m: in the place.
        height_m: elevation, from the level that the ground of things is measured from.
        above_m: height above the ground under it.
        azimuth: (W,) radians of each column.
        tilt: (W,) radians, how much higher each column looks than a level camera's.
        rows: H.
        top_rad: elevation of the first row's middle in a level camera.
        row_rad: angle from row to row, downwards.
    """

    east_m: float
    north_m: float
    height_m: float
    above_m: float
    azimuth: Tensor
    tilt: Tensor
    rows: int
    top_rad: float
    row_rad: float

    @cached_property
    def slope(self) -> Tensor:
        """(W, H) tangent of each pixel's elevation."""
        level = self.top_rad - self.row_rad * torch.arange(self.rows, device=self.azimuth.device)
        return torch.tan((level + self.tilt[:, None]).clamp(-1.5, 1.5))

    @cached_property
    def sine(self) -> Tensor:
        """(W,) of each column's azimuth."""
        return torch.sin(self.azimuth)

    @cached_property
    def cosine(self) -> Tensor:
        """(W,) of each column's azimuth."""
        return torch.cos(self.azimuth)

    def row_of(self, column: Tensor, slope: Tensor) -> Tensor:
        """Fractional rows (P,) in which columns (P,) look along slopes (P,); whole at a row's middle."""
        return (self.top_rad + self.tilt[column] - torch.atan(slope)) / self.row_rad


def tilt_rad(relative_azimuth_rad: Tensor, roll_deg: float, pitch_deg: float) -> Tensor:
    """How much higher each column looks if the camera is pitched up and rolled clockwise, for small angles."""
    return math.radians(pitch_deg) * torch.cos(relative_azimuth_rad) - math.radians(roll_deg) * torch.sin(
        relative_azimuth_rad
    )
