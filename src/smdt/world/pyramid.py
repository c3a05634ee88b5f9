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
        flat, self._shapes, start = [], [], 0
        for level in range(levels):
            if level:
                layer = F.avg_pool2d(layer, 2, ceil_mode=True)
            rows, columns = layer.shape[-2:]
            self._shapes.append((start, rows, columns))
            flat.append(layer[0].permute(1, 2, 0).reshape(-1, 3).round().byte())
            start += rows * columns
        self._flat = torch.cat(flat)
        table = torch.tensor(self._shapes, dtype=torch.int32, device=colour.device)
        self._start, self._rows, self._columns = table[:, 0], table[:, 1], table[:, 2]

    def at(self, east: Tensor, north: Tensor, footprint_m: Tensor) -> Tensor:
        """Colours (..., 3) float at positions, from the level whose pixels are about the footprint."""
        level = (
            (footprint_m / self._pixel_m)
            .clamp_min(1.0)
            .log2()
            .round()
            .long()
            .clamp_max(len(self._shapes) - 1)
        )
        step = self._pixel_m * 2.0**level
        x, y = east / step - 0.5, (self._north_m - north) / step - 0.5
        low_x, low_y = x.floor(), y.floor()
        part_x, part_y = (x - low_x)[..., None], (y - low_y)[..., None]
        start, rows, columns = self._start[level], self._rows[level], self._columns[level]

        def neighbours(low: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
            first = low.int()
            return torch.minimum(first.clamp_min(0), count - 1), torch.minimum(
                (first + 1).clamp_min(0), count - 1
            )

        def texel(column: Tensor, row_start: Tensor) -> Tensor:
            number = (row_start + column).flatten()
            return self._flat.index_select(0, number).view(*column.shape, 3).float()

        left, right = neighbours(low_x, columns)
        low, high = neighbours(low_y, rows)
        low, high = start + low * columns, start + high * columns
        upper = torch.lerp(texel(left, low), texel(right, low), part_x)
        lower = torch.lerp(texel(left, high), texel(right, high), part_x)
        return torch.lerp(upper, lower, part_y)


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
