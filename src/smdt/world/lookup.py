"""Looking up layers at fractional positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def bilinear_at(
    layer: Tensor, x: Tensor, y: Tensor, *, beyond: str = "zeros", pixels: bool = False
) -> Tensor:
    """A layer's values between its pixels.

    Args:
        layer: (C, H, W).
        x: (...) from -1 at its left edge to 1 at its right one.
        y: (...) from -1 at its upper edge to 1 at its lower one.
        beyond: what lies beyond its edges: "zeros", or "border" for the values there.
        pixels: -1 and 1 are the middles of the outermost pixels, not their outer edges.

    Returns:
        (C, ...).
    """
    at = torch.view_as_real(torch.complex(x, y)).view(1, 1, -1, 2)  # several times as fast as stacking
    values = F.grid_sample(layer[None], at, padding_mode=beyond, align_corners=pixels)
    return values.view(len(layer), *x.shape)
