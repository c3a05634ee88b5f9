"""Colour layers at halving resolutions, and the filling of holes in them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Pyramid:
    """A colour layer at halving resolutions, looked up bilinearly at a footprint."""

    def __init__(self, colour: Tensor, pixel_m: float, levels: int = 5) -> None:
        self._pixel_m = pixel_m
        self._north_m = colour.shape[0] * pixel_m
        layer = colour.permute(2, 0, 1)[None].float()
        flat, shapes, start = [], [], 0
        for level in range(levels):
            if level:
                layer = F.avg_pool2d(layer, 2, ceil_mode=True)
            rows, columns = layer.shape[-2:]
            shapes.append((start, rows, columns, pixel_m * 2**level))
            flat.append(_packed(layer[0]).view(-1))
            start += rows * columns
        self._flat, self._levels = torch.cat(flat), levels
        self._start, self._rows, self._columns = (
            torch.tensor([shape[:3] for shape in shapes], dtype=torch.int32, device=colour.device)
            .t()
            .contiguous()
        )

    def at(self, east: Tensor, north: Tensor, footprint_m: Tensor) -> Tensor:
        """Colours (3, K) float at positions (K,), from the level whose pixels are about the footprint (K,)."""
        level = (footprint_m / self._pixel_m).clamp_min_(1.0).log2_().round_().clamp_max_(self._levels - 1)
        scale = torch.exp2(-level).div_(self._pixel_m)
        x, y = (east * scale).sub_(0.5), ((self._north_m - north) * scale).sub_(0.5)
        level = level.int()
        start, rows, columns = (
            table.index_select(0, level) for table in (self._start, self._rows, self._columns)
        )
        left, right, part_x = _neighbours(x, columns)
        low, high, part_y = _neighbours(y, rows)
        low, high = (low * columns).add_(start), (high * columns).add_(start)
        number = torch.stack([left + low, left + high, right + low, right + high])
        texel = self._flat.index_select(0, number.view(-1)).view(2, 2, -1)
        colour = torch.empty(3, len(east), device=east.device)
        for channel in range(3):
            value = ((texel >> 8 * channel) & 0xFF).float()
            side = torch.lerp(value[0], value[1], part_x)
            torch.lerp(side[0], side[1], part_y, out=colour[channel])
        return colour


def _packed(colour: Tensor) -> Tensor:
    """Colours (3, H, W) in 0..255 as one whole number each, so that one look-up finds all three channels."""
    red, green, blue = colour.round().int()
    packed: Tensor = red + (green << 8) + (blue << 16)
    return packed


def _neighbours(at: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after fractional ones, inside 0..count - 1, and how far from one to the other."""
    low = at.floor()
    first, last = low.int(), count - 1
    after = torch.minimum((first + 1).clamp_min_(0), last)
    return torch.minimum(first.clamp_min_(0), last), after, at - low


def fill_holes(colour: Tensor, hole: Tensor, darken: float = 0.8) -> Tensor:
    """A colour layer with its holes filled from around them, somewhat darker, as the ground under trees.

    Push and pull: known colours are averaged down level by level until every hole has some, and what is still
    unknown at a level is taken from the next coarser one.

    Args:
        colour: (H, W, 3) uint8.
        hole: (H, W) bool.
        darken: factor on what is filled in.

    Returns:
        (H, W, 3) uint8.
    """
    keep = (~hole).float()[None, None]
    total = colour.permute(2, 0, 1)[None].float() * keep
    levels = [(total, keep)]
    while min(levels[-1][0].shape[-2:]) > 2 and bool((levels[-1][1] == 0).any()):
        levels.append(tuple(F.avg_pool2d(one, 2, ceil_mode=True) for one in levels[-1]))  # type: ignore[arg-type]
    total, weight = levels.pop()
    filled = total / weight.clamp_min(1e-6)
    while levels:
        total, weight = levels.pop()
        coarse = F.interpolate(filled, total.shape[-2:], mode="bilinear", align_corners=False)
        filled = torch.where(weight > 0, total / weight.clamp_min(1e-6), coarse)
    filled = torch.where(hole, darken * filled, filled)
    return filled[0].permute(1, 2, 0).round().clamp(0, 255).byte()
