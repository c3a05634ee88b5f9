"""The ground of a hilly place, as the renderer sees it: elevations, slopes, their light, and what lies beyond.

A place's layers end at its edge. Past it the renderer of hilly places goes on with their mirror image, and beyond its
reach it shows a plain and the place's skyline: ridges at fixed distances, hazy by the same air as everything else.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.world.eye import Eye
from smdt.world.layers import SKYLINE_AT_M, Place, Surface
from smdt.world.light import sun_on_slope
from smdt.world.lookup import bilinear_at
from smdt.world.moment import Moment
from smdt.world.picture import Points
from smdt.world.texture import noise_at

_CELL_M = 0.5
_WOODED_SHARE = 0.12
_STEEP = (0.5, 1.1)


class Hills:
    """A place's ground on the device: bilinear on cells of half a metre, or of a pixel where that is more.

    Args:
        place: whose ground.
        device: where to compute.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        coarse = max(1, round(_CELL_M / place.pixel_m))
        self._cell_m = coarse * place.pixel_m
        self._east_m, self._north_m = place.size_m
        ground = torch.from_numpy(place.ground_m).to(device)[None, None]
        if coarse > 1:
            rows, columns = ground.shape[-2:]
            short = (-columns % coarse, -rows % coarse)
            ground = F.pad(ground, (0, short[0], 0, short[1]), mode="replicate")
            ground = F.avg_pool2d(ground, coarse)
        self._ground = ground[0].contiguous()
        padded = F.pad(ground, (1, 1, 1, 1), mode="replicate")[0, 0]
        rise_east = (padded[1:-1, 2:] - padded[1:-1, :-2]) / (2 * self._cell_m)
        rise_north = (padded[:-2, 1:-1] - padded[2:, 1:-1]) / (2 * self._cell_m)
        self._slope = torch.stack([rise_east, rise_north])
        edge = torch.cat([ground[0, 0, 0], ground[0, 0, -1], ground[0, 0, :, 0], ground[0, 0, :, -1]])
        self._plain_m = float(edge.median())
        self._skyline = torch.from_numpy(place.skyline_m).to(device)
        wooded = float((place.surface[::4, ::4] == Surface.TREE).mean()) > _WOODED_SHARE
        self._far = Surface.TREE if wooded else Surface.GRASS
        self._far_colour = _mean_colour(place, self._far)

    def fold(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor]:
        """Positions beyond the edge mirrored into the place."""
        east = self._east_m - (self._east_m - east.abs()).abs()
        return east, self._north_m - (self._north_m - north.abs()).abs()

    def at(self, east: Tensor, north: Tensor) -> Tensor:
        """Elevation at positions (...) inside the place, of the same shape."""
        return self._look_up(self._ground, east, north)[0]

    def slope_at(self, east: Tensor, north: Tensor) -> Tensor:
        """Rise of the ground towards east and north at positions (...): (2, ...)."""
        return self._look_up(self._slope, east, north)

    def _look_up(self, layer: Tensor, east: Tensor, north: Tensor) -> Tensor:
        """A layer (C, h, w) at positions (...): (C, ...)."""
        rows, columns = layer.shape[-2:]
        x = east * (2 / (columns * self._cell_m)) - 1
        y = (self._north_m - north) * (2 / (rows * self._cell_m)) - 1
        return bilinear_at(layer, x, y, beyond="border")

    def light_at(
        self, slope: Tensor, depth: Tensor, along: Tensor, z: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        """Sunlight on slopes relative to level ground, and the factor that roughens what is steep.

        Args:
            slope: (2, K) of :meth:`slope_at`.
            depth: (K,) metres from the camera.
            along: (K,) metres across the view.
            z: (K,) elevation.
            moment: gives the sun.
        """
        lit = sun_on_slope(slope[0], slope[1], moment)
        share = ((torch.hypot(slope[0], slope[1]) - _STEEP[0]) / (_STEEP[1] - _STEEP[0])).clamp(0, 1)
        rough = torch.ones_like(lit)
        steep = torch.nonzero(share > 0)[:, 0]
        if len(steep):
            u, v = along[steep], z[steep]
            layers = noise_at(u * 7 + v * 5, v * 52) + 0.7 * noise_at(u * 40, v * 70) - 0.85
            near = torch.exp(-depth[steep] / 60.0)
            rough[steep] = 1 + 0.55 * share[steep] * (0.35 + 0.65 * near) * layers
        return lit, rough

    def beyond(self, eye: Eye, empty: Tensor, reach_m: float, moment: Moment) -> Points:
        """The plain and the ridges beyond a distance.

        Args:
            eye: the camera.
            empty: (W·H,) bool, pixels that have met nothing yet.
            reach_m: where the nearer land ends.
            moment: gives light and season.
        """
        rises = [
            (self._ridge(number, eye.azimuth) - eye.height_m) / away
            for number, away in enumerate(SKYLINE_AT_M)
        ]
        seen = empty.view(eye.slope.shape) & (eye.slope < torch.maximum(*rises)[:, None])
        column, row = torch.nonzero(seen, as_tuple=True)
        pixel = column * eye.rows + row
        steep, around = eye.slope.view(-1).index_select(0, pixel), eye.azimuth.index_select(0, column)
        near = steep < rises[0].index_select(0, column)
        foot = min((self._plain_m - eye.height_m) / SKYLINE_AT_M[0], -1e-6)
        plain = ((self._plain_m - eye.height_m) / steep.clamp_max(-1e-6)).clamp(reach_m, SKYLINE_AT_M[0])
        depth = torch.where(near, torch.where(steep < foot, plain, SKYLINE_AT_M[0]), SKYLINE_AT_M[1])
        tint = moment.leaf_tint if self._far == Surface.TREE else moment.grass_tint
        base = steep.new_tensor(self._far_colour) * steep.new_tensor(tint)
        sun_east, sun_north, _ = moment.sun.direction()
        behind = -(eye.sine * sun_east + eye.cosine * sun_north).index_select(0, column)
        light = 1 - moment.direct * (0.25 - 0.3 * behind)
        far = depth.sqrt()
        patches = noise_at(around * far * 16, steep * far * 90) + noise_at(around * far * 55, steep * 4000)
        colour = base[:, None] * (light * (0.72 + 0.28 * patches))
        surface = torch.full_like(pixel, int(self._far), dtype=torch.uint8)
        return Points(pixel, depth, colour, surface)

    def _ridge(self, number: int, azimuth: Tensor) -> Tensor:
        """Elevation (W,) of a ridge of the skyline; the plain's where nothing is known."""
        count = self._skyline.shape[1]
        if not count:
            return torch.full_like(azimuth, self._plain_m)
        at = torch.remainder(azimuth / (2 * math.pi), 1.0) * count
        low = at.floor().long() % count
        line = self._skyline[number]
        return torch.lerp(line[low], line[(low + 1) % count], at - at.floor())


def _mean_colour(place: Place, surface: Surface) -> tuple[float, float, float]:
    """Mean colour of a class in a place; of all of it where there is none."""
    colour, where = place.colour[::4, ::4], place.surface[::4, ::4] == surface
    picked = colour[where] if where.any() else colour.reshape(-1, 3)
    red, green, blue = (float(one) for one in picked.mean(0, dtype=np.float64))
    return red, green, blue
