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
        table = torch.tensor(self._shapes, device=colour.device)
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

        def texel(dx: int, dy: int) -> Tensor:
            column = torch.minimum((low_x.long() + dx).clamp_min(0), columns - 1)
            row = torch.minimum((low_y.long() + dy).clamp_min(0), rows - 1)
            return self._flat[start + row * columns + column].float()

        upper = texel(0, 0) * (1 - part_x) + texel(1, 0) * part_x
        lower = texel(0, 1) * (1 - part_x) + texel(1, 1) * part_x
        return upper * (1 - part_y) + lower * part_y


def fill_holes(colour: Tensor, hole: Tensor) -> Tensor:
    """The colour layer with holes filled from around them, darker, as under trees."""
    keep = (~hole).float()[None, None]
    layer = colour.permute(2, 0, 1)[None].float()
    total, weight = layer * keep, keep
    filled = layer[0]
    found = keep[0, 0] > 0
    for size in (9, 33, 129):
        total = F.avg_pool2d(layer * keep, size, stride=4, padding=size // 2, count_include_pad=False)
        weight = F.avg_pool2d(keep, size, stride=4, padding=size // 2, count_include_pad=False)
        mean = F.interpolate(
            total / weight.clamp_min(1e-6), layer.shape[-2:], mode="bilinear", align_corners=False
        )
        known = F.interpolate(weight, layer.shape[-2:], mode="nearest")[0, 0] > 0.02
        use = ~found & known
        filled = torch.where(use, 0.8 * mean[0], filled)
        found = found | use
    return filled.permute(1, 2, 0).round().clamp(0, 255).byte()
