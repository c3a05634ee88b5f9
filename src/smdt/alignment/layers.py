"""Building blocks that the generators and the discriminators of the dual conditional GAN share.

A panorama closes on itself: its last column is the first one's neighbour. With ``wrap`` every block treats it so, and
turning the input turns the output. The published networks pad all four sides alike; that is ``wrap=False``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Padding = Literal["zero", "reflect"]


def pad_one(images: Tensor, padding: Padding, wrap: bool) -> Tensor:
    """One more pixel on every side of (B, C, H, W).

    Args:
        images: what to pad.
        padding: what stands above and below, and at the sides too unless they wrap.
        wrap: the columns go on from the other end.
    """
    mode = "constant" if padding == "zero" else "reflect"
    if not wrap:
        return F.pad(images, (1, 1, 1, 1), mode=mode)
    around = torch.cat([images[..., -1:], images, images[..., :1]], dim=-1)
    return F.pad(around, (0, 0, 1, 1), mode=mode)


class PaddedConv(nn.Conv2d):
    """A 3×3 convolution that keeps the size, with a choice of padding.

    Args:
        inputs: channels in.
        outputs: channels out.
        padding: see :func:`pad_one`.
        wrap: see :func:`pad_one`.
    """

    def __init__(self, inputs: int, outputs: int, *, padding: Padding = "zero", wrap: bool = False) -> None:
        inside = padding == "zero" and not wrap
        super().__init__(inputs, outputs, 3, padding=1 if inside else 0)
        self.outside: Padding | None = None if inside else padding
        self.wrap = wrap

    def forward(self, images: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        padded = images if self.outside is None else pad_one(images, self.outside, self.wrap)
        return super().forward(padded)


class Halving(nn.Module):
    """Convolution, 3×3 mean of every second pixel, instance norm, and a ReLU with some slope below zero.

    Args:
        inputs: channels in.
        outputs: channels out.
        slope: of the ReLU below zero.
        wrap: see :func:`pad_one`.
        halve: without it the size stays.
    """

    def __init__(self, inputs: int, outputs: int, *, slope: float, wrap: bool, halve: bool = True) -> None:
        super().__init__()
        self.convolution = PaddedConv(inputs, outputs, wrap=wrap)
        self.slope, self.wrap, self.halve = slope, wrap, halve

    def forward(self, images: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/2, W/2), or (B, outputs, H, W)."""
        features = self.convolution(images)
        if self.halve:
            features = F.avg_pool2d(pad_one(features, "zero", self.wrap), 3, 2)
        return F.leaky_relu(F.instance_norm(features), self.slope)


def doubled(features: Tensor, wrap: bool) -> Tensor:
    """Twice the rows and columns of (B, C, H, W), bilinear; seamless at the sides with ``wrap``."""
    if not wrap:
        return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
    around = torch.cat([features[..., -1:], features, features[..., :1]], dim=-1)
    return F.interpolate(around, scale_factor=2.0, mode="bilinear", align_corners=False)[..., 2:-2]


def start_weights(network: nn.Module, generator: torch.Generator, deviation: float = 0.02) -> None:
    """Draw all convolutions' weights from a normal distribution and set their biases to zero.

    Args:
        network: changed in place.
        generator: where the randomness comes from.
        deviation: of the weights. Source: pix2pix (CVPR 2017).
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.normal_(0.0, deviation, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
