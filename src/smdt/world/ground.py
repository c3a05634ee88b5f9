"""The colour of ground and roofs as a panorama's rays meet them: the layer, its grain, and the moment's light."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.world.eye import Eye
from smdt.world.hills import Hills
from smdt.world.layers import Place, Surface
from smdt.world.light import shadow
from smdt.world.lookup import bilinear_at
from smdt.world.moment import Moment
from smdt.world.pyramid import Pyramid
from smdt.world.texture import noise_at
from smdt.world.walk import Met

_SHADOW_REACH_M = 64.0
_SHADOW_PIXEL_M = 0.5


class Ground:
    """The colours of a place seen from above, and what casts shadows on them.

    Args:
        place: whose layers.
        colour: (H, W, 3) uint8 on the device.
        height: (H, W) metres above the ground, on the device.
        hills: its ground; None where it is flat.
        shadows: whether there are any.
    """

    def __init__(
        self, place: Place, colour: Tensor, height: Tensor, hills: Hills | None, *, shadows: bool
    ) -> None:
        self._colours, self._hills, self._shadows = Pyramid(colour, place.pixel_m), hills, shadows
        coarse = max(1, round(_SHADOW_PIXEL_M / place.pixel_m))
        self._blocks = F.max_pool2d(height[None, None], coarse, ceil_mode=True)[0, 0]
        self._block_m = place.pixel_m * coarse

    def colour(self, eye: Eye, met: Met, surface: Tensor, moment: Moment) -> Tensor:
        """Colour (3, K) of what is met: the layer at the pixel's footprint, in this moment's light.

        Args:
            eye: the camera.
            met: K meetings.
            surface: (K,) class of each.
            moment: light and season.
        """
        east, north, depth = met.east, met.north, met.depth
        if met.steeper is None:
            footprint = depth**2 * (0.4 * eye.row_rad / max(eye.above_m, 0.5))
        else:
            footprint = depth * (0.4 * eye.row_rad) / met.steeper.clamp_min(0.004)
        colour = self._colours.at(east, north, torch.maximum(footprint, depth * 0.012))
        grown = (surface == Surface.GRASS) | (surface == Surface.FIELD)
        fineness = torch.where(grown, 60.0, 90.0)
        contrast = torch.where(grown, 0.36, 0.12)
        grain = noise_at(east * fineness, north * fineness).sub_(0.5).mul_(contrast)
        light = grain.mul_(torch.exp(depth / -14.0)).add_(1)
        dark = self._shadow_at(eye, east, north, moment) if self._shadows else None
        if self._hills is not None:
            slope = self._hills.slope_at(east, north)
            z = eye.height_m + met.slope * depth
            sun, rough = self._hills.light_at(slope, depth, met.azimuth * depth, z, moment)
            if dark is not None:
                sun *= 1 - dark
            light *= (1 - moment.direct + moment.direct * sun) * rough
        elif dark is not None:
            light *= 1 - moment.direct * dark
        for plane, tint in zip(colour, moment.grass_tint, strict=True):
            plane.mul_(light * torch.where(grown, tint, 1.0))
        return colour

    def _shadow_at(self, eye: Eye, east: Tensor, north: Tensor, moment: Moment) -> Tensor:
        """Cast shadow at positions, bilinear, from a window around the camera; what lies beyond is lit."""
        reach = round(_SHADOW_REACH_M / self._block_m)
        rows = self._blocks.shape[0]
        column, row = int(eye.east_m / self._block_m), rows - 1 - int(eye.north_m / self._block_m)
        left, top = max(0, column - reach), max(0, row - reach)
        window = self._blocks[top : row + reach, left : column + reach]
        cast = shadow(window, self._block_m, moment)
        x = (east / self._block_m - left) / window.shape[1] * 2 - 1
        y = (rows - north / self._block_m - top) / window.shape[0] * 2 - 1
        return bilinear_at(cast[None], x, y)[0]
