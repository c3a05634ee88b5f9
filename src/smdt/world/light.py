"""Sunlight on a height raster: cast shadows and the shading of slopes, the same for both views of one moment."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdt.world.moment import Moment

_REACH_M = 60.0
_SOFT_M = 0.6


def shadow(height_m: Tensor, pixel_m: float, moment: Moment) -> Tensor:
    """How much each pixel of a height raster lies in cast shadow, (H, W) in 0..1.

    A point is shaded by what stands towards the sun and rises above its ray: the raster is shifted step by step along
    the sun's azimuth and lowered by the ray's slope; the highest of all shifts, less the point's own height, tells. The
    edge is soft over 0.6 m of height, as the sun is no point.

    Args:
        height_m: (H, W), row 0 in the north.
        pixel_m: metres per pixel.
        moment: gives the sun.
    """
    east, north, up = moment.sun.direction()
    flat = math.hypot(east, north)
    slope = up / flat
    tallest = float(height_m.max()) if height_m.numel() else 0.0
    reach = min(_REACH_M, tallest / slope)
    blocker = torch.zeros_like(height_m)
    distance = pixel_m
    while distance < reach:
        columns, rows = round(east / flat * distance / pixel_m), -round(north / flat * distance / pixel_m)
        _raise(blocker, height_m, rows, columns, distance * slope)
        distance += max(pixel_m, 0.04 * distance)
    return ((blocker - height_m) / _SOFT_M).clamp_(0, 1)


def _raise(blocker: Tensor, height: Tensor, rows: int, columns: int, lower_m: float) -> None:
    """blocker[r, c] = max(blocker[r, c], height[r + rows, c + columns] - lower), where that lies inside."""
    size_r, size_c = height.shape
    if abs(rows) >= size_r or abs(columns) >= size_c:
        return
    here = (
        slice(max(0, -rows), size_r - max(0, rows)),
        slice(max(0, -columns), size_c - max(0, columns)),
    )
    there = (
        slice(max(0, rows), size_r - max(0, -rows)),
        slice(max(0, columns), size_c - max(0, -columns)),
    )
    torch.maximum(blocker[here], height[there] - lower_m, out=blocker[here])


def sun_on_slope(rise_east: Tensor, rise_north: Tensor, moment: Moment) -> Tensor:
    """Sunlight on a slope relative to level ground, clamped to 0.3..1.5, from its rise towards east and north."""
    east, north, up = moment.sun.direction()
    towards = up - rise_east * east - rise_north * north
    lit = towards / torch.sqrt(1 + rise_east**2 + rise_north**2) / up
    return lit.clamp(0.3, 1.5)


def slope_light(height_m: Tensor, pixel_m: float, moment: Moment) -> Tensor:
    """Sunlight on each pixel's slope relative to level ground, (H, W), clamped to 0.3..1.5; walls count as level."""
    padded = torch.nn.functional.pad(height_m[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    rise_east = (padded[1:-1, 2:] - padded[1:-1, :-2]) / (2 * pixel_m)
    rise_north = (padded[:-2, 1:-1] - padded[2:, 1:-1]) / (2 * pixel_m)
    steep = torch.hypot(rise_east, rise_north) > 2.0
    lit = sun_on_slope(rise_east, rise_north, moment)
    return torch.where(steep, torch.ones_like(lit), lit)


def light_layer(height_m: Tensor, pixel_m: float, moment: Moment, ground_m: Tensor | None = None) -> Tensor:
    """Light on each pixel seen from above, (H, W): 1 on open level ground; shadow leaves the sky's share.

    Args:
        height_m: (H, W) above the ground; casts the shadows.
        pixel_m: metres per pixel.
        moment: gives the sun.
        ground_m: (H, W) elevation of the ground, whose slopes are shaded with those of what stands on it.
    """
    relief = height_m if ground_m is None else height_m + ground_m
    sun = (1 - shadow(height_m, pixel_m, moment)) * slope_light(relief, pixel_m, moment)
    return (1 - moment.direct) + moment.direct * sun
