"""Repeatable noise on the device: hashes of cells, and a smooth tileable texture for leaves and clouds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.world.lookup import bilinear_at

TEXTURE_PX = 512


def cell_hash(first: Tensor, *others: Tensor | int) -> Tensor:
    """A repeatable value in 0..1 for each combination of whole numbers.

    Args:
        first: floats or integers.
        others: the like, or one number for all.
    """
    mixed = first.long() * 73856093
    for factor, cell in zip((19349663, 83492791, 49979687), others, strict=False):
        mixed = mixed ^ ((cell if isinstance(cell, int) else cell.long()) * factor)
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
    number = _wrapped(u).add_(_wrapped(v), alpha=TEXTURE_PX)
    return smooth_noise(str(u.device)).view(-1).index_select(0, number.flatten()).view(number.shape)


def _wrapped(at: Tensor) -> Tensor:
    """Texel numbers of coordinates; masking wraps negative ones too, and is far quicker than a remainder."""
    return at.floor().int().bitwise_and_(TEXTURE_PX - 1)


@lru_cache(maxsize=4)
def _wrapped_noise(device: str) -> Tensor:
    """The smooth noise with its first row and column repeated at the end, (1, 513, 513)."""
    return F.pad(smooth_noise(device)[None], (0, 1, 0, 1), mode="circular")


def smooth_noise_at(u: Tensor, v: Tensor) -> Tensor:
    """The smooth noise at texture coordinates, bilinear, wrapped."""
    x, y = (2 * (at - at.floor()) - 1 for at in (u / TEXTURE_PX, v / TEXTURE_PX))
    return bilinear_at(_wrapped_noise(str(u.device)), x, y, pixels=True)[0]
