"""Where the pixels of a panorama first meet ground, roofs, walls and far crowns.

For each azimuth column the profile of ground and height is read at log-spaced distances. The running maximum of the
slope (surface - camera) / distance along that profile says how high the horizon of everything nearer stands; the
first distance at which it reaches a pixel row's slope is what that row sees. So one ``cummax`` and one
``searchsorted`` give first hits with exact occlusion and no ray loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smdt.world.eye import Eye
from smdt.world.hills import Hills
from smdt.world.layers import Place
from smdt.world.near_things import flat_index

_WALL_RISE_M = 0.7


@dataclass(frozen=True)
class Met:
    """Where rays first meet the layers, for the K pixels that meet anything within reach.

    Attributes:
        pixel: (K,) int64, column·H + row.
        azimuth: (K,) radians.
        slope: (K,) tangent of the ray's elevation.
        wall: they meet something upright.
        depth: metres, horizontal.
        east: metres, in the place.
        north: metres, in the place.
        index: flat raster index of what is met.
        z: height above the ground there.
        top: height above the ground of what is met.
        steeper: in hilly places, how much more the surface rises than the ray does, for each metre.
    """

    pixel: Tensor
    azimuth: Tensor
    slope: Tensor
    wall: Tensor
    depth: Tensor
    east: Tensor
    north: Tensor
    index: Tensor
    z: Tensor
    top: Tensor
    steeper: Tensor | None


class Walk:
    """Walks outwards over the layers of a place.

    Args:
        place: the layers.
        height: (H, W) heights above the ground on the device.
        bare: (H, W) heights to use nearer than ``bare_m``.
        bare_m: how far those reach.
        radius: (N,) distances looked at, metres, increasing.
        hills: the ground; None where it is flat.
    """

    def __init__(
        self,
        place: Place,
        height: Tensor,
        bare: Tensor,
        bare_m: float,
        radius: Tensor,
        hills: Hills | None,
    ) -> None:
        self._place, self._height, self._bare, self._hills = place, height.view(-1), bare.view(-1), hills
        self._radius, self._bare_steps = radius, int((radius < bare_m).sum())

    def first_hits(self, eye: Eye) -> Met:
        """Where each ray first meets ground, roof, wall or far crown."""
        sine, cosine = eye.sine[:, None], eye.cosine[:, None]
        outwards = eye.east_m + self._radius * sine, eye.north_m + self._radius * cosine  # (W, N)
        if self._hills is not None:
            outwards = self._hills.fold(*outwards)
        index = flat_index(self._place, *outwards)
        near, far = index[:, : self._bare_steps], index[:, self._bare_steps :]
        height = torch.cat([_read(self._bare, near), _read(self._height, far)], 1)
        ground = None if self._hills is None else self._hills.at(*outwards)
        profile = height if ground is None else height + ground
        rise = (profile - eye.height_m).div_(self._radius)
        step = torch.searchsorted(rise.cummax(dim=1).values, eye.slope)  # (W, H)
        column, row = torch.nonzero(step < len(self._radius), as_tuple=True)
        pixel = column * eye.rows + row
        step = step.view(-1).index_select(0, pixel)
        return self._meet(eye, column, pixel, step, (index, height, ground))

    def _meet(
        self,
        eye: Eye,
        column: Tensor,
        pixel: Tensor,
        step: Tensor,
        layers: tuple[Tensor, Tensor, Tensor | None],
    ) -> Met:
        """The meeting of pixels' rays between the sample that hides what is behind it and the one before it.

        Args:
            eye: the camera.
            column: (K,) of the pixels.
            pixel: (K,) their numbers.
            step: (K,) number of that sample.
            layers: (W, N) raster index, height above the ground and elevation of the ground, at all samples.
        """
        index, height, ground = layers
        slope = eye.slope.view(-1).index_select(0, pixel)
        here = column * len(self._radius) + step
        before = here - (step > 0).long()
        far, near = self._radius.index_select(0, step), self._radius.index_select(0, (step - 1).clamp_min_(0))
        top, below = _read(height, here), _read(height, before)
        steeper = None
        if ground is None:
            wall = (top - below > _WALL_RISE_M) & (eye.height_m + slope * far < top - 0.15)
            # Elsewhere the ray meets the level of the sample's height.
            level = ((top - eye.height_m) / slope).nan_to_num_(0.0, 0.0, 0.0)
            depth = torch.where(wall, 0.5 * (near + far), level.clamp_(near, far))
        else:
            foot = _read(ground, here)
            clear = eye.height_m + slope * near - below - _read(ground, before)
            under = top + foot - eye.height_m - slope * far
            jumps = top - below > _WALL_RISE_M
            wall = jumps & (under > 0.15)
            # Between the samples the surface is a line, but for a jump.
            share = (clear / (clear + under).clamp_min(1e-6)).clamp_(0, 1)
            depth = torch.where(jumps, far, near + share * (far - near))
            depth = torch.where(wall, 0.5 * (near + far), depth)
            steeper = (clear + under) / (far - near).clamp_min(1e-6)
        east = eye.east_m + depth * eye.sine.index_select(0, column)
        north = eye.north_m + depth * eye.cosine.index_select(0, column)
        z = eye.height_m + slope * depth
        if self._hills is not None:
            east, north = self._hills.fold(east, north)
            z -= foot
        at = torch.where(wall, _read(index, here), flat_index(self._place, east, north))
        azimuth = eye.azimuth.index_select(0, column)
        return Met(pixel, azimuth, slope, wall, depth, east, north, at, z, top, steeper)


def _read(layer: Tensor, index: Tensor) -> Tensor:
    """A layer's values at flat indices, of their shape; quicker than indexing."""
    return layer.view(-1).index_select(0, index.reshape(-1)).view(index.shape)
