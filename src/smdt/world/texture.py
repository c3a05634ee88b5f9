"""Repeatable noise on the device: hashes of cells, and a smooth tileable texture for leaves and clouds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

TEXTURE_PX = 512


def cell_hash(*cells: Tensor) -> Tensor:
    """A repeatable value in 0..1 for each combination of whole numbers (as float or integer tensors)."""
    mixed = torch.zeros((), dtype=torch.int64, device=cells[0].device)
    for factor, cell in zip((73856093, 19349663, 83492791, 49979687), cells, strict=False):
        mixed = mixed ^ (cell.long() * factor)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    return ((mixed ^ (mixed >> 16)) & 0xFFFF).float() / 65535.0


@lru_cache(maxsize=4)
def smooth_noise(device: str = "cpu") -> Tensor:
    """Tileable noise of several octaves, (512, 512) in 0..1, evenly spread (its quantiles are its values)."""
    rng = np.random.default_rng(77)
    total = np.zeros((TEXTURE_PX, TEXTURE_PX))
    for cells, weight in ((8, 1.0), (16, 0.6), (32, 0.4), (64, 0.3), (128, 0.2)):
        grid = rng.uniform(-1, 1, (cells, cells))
        at = np.arange(TEXTURE_PX) * cells / TEXTURE_PX
        low, part = at.astype(int), at % 1
        ease = part * part * (3 - 2 * part)
        nxt = (low + 1) % cells
        rows = grid[low] * (1 - ease[:, None]) + grid[nxt] * ease[:, None]
        total += weight * (rows[:, low] * (1 - ease) + rows[:, nxt] * ease)
    order = np.argsort(total, axis=None, kind="stable")
    spread = np.empty(total.size, np.float32)
    spread[order] = np.linspace(0, 1, total.size, dtype=np.float32)
    return torch.from_numpy(spread.reshape(total.shape)).to(device)


def noise_at(u: Tensor, v: Tensor) -> Tensor:
    """The smooth noise at texture coordinates, nearest texel, wrapped."""
    return _texel(_wrapped(u.floor()), _wrapped(v.floor()))


def smooth_noise_at(u: Tensor, v: Tensor) -> Tensor:
    """The smooth noise at texture coordinates, bilinear, wrapped."""
    low_u, low_v = u.floor(), v.floor()
    part_u, part_v = u - low_u, v - low_v
    left, low = _wrapped(low_u), _wrapped(low_v)
    right, high = _wrapped(low_u + 1), _wrapped(low_v + 1)
    top = torch.lerp(_texel(left, low), _texel(right, low), part_u)
    bottom = torch.lerp(_texel(left, high), _texel(right, high), part_u)
    return torch.lerp(top, bottom, part_v)


def _wrapped(whole: Tensor) -> Tensor:
    """Whole coordinates as texel numbers; masking wraps negative ones too, and is far quicker than a remainder."""
    return whole.int() & (TEXTURE_PX - 1)


def _texel(column: Tensor, row: Tensor) -> Tensor:
    number = row * TEXTURE_PX + column
    return smooth_noise(str(number.device)).view(-1).index_select(0, number.flatten()).view(number.shape)
