"""The discriminators of the dual conditional GAN: patch judgements at five scales of a feature pyramid.

A convolutional encoder of five stages, a top-down path with lateral connections, and at each of the five scales two
things: a map of how real the patches look, and a map of features. The product of one discriminator's features with the
other's says whether image and labels belong together, and is added to both maps; see ``adversarial.py``.

At 64 filters and six input channels this has 4,147,073 parameters, as each published one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.alignment.layers import Halving, doubled


class Judgement(NamedTuple):
    """What a discriminator says of a batch, at each scale, the finest (half the size) first.

    Attributes:
        scores: (B, 1, h, w) each; logits, positive for real.
        features: (B, C, h, w) each, to be multiplied with the other discriminator's.
        feedback: (B, C, h, w) each without gradient, the coarsest first: for the generators' next pass.
    """

    scores: tuple[Tensor, ...]
    features: tuple[Tensor, ...]
    feedback: tuple[Tensor, ...]


class _Projection(nn.Conv2d):
    """A 1×1 convolution with instance norm and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        return F.leaky_relu(F.instance_norm(super().forward(features)), 0.2)


class FeaturePyramidDiscriminator(nn.Module):
    """Judges a picture given another one, patch by patch, at five scales.

    Args:
        inputs: channels of both pictures together.
        filters: of the first stage; also the channels of the features.
        wrap: columns go on from the other end.
    """

    def __init__(self, inputs: int, *, filters: int = 64, wrap: bool = False) -> None:
        super().__init__()
        widths = [filters * factor for factor in (1, 2, 4, 8, 8)]
        self.wrap = wrap
        self.stages = nn.ModuleList(
            Halving(before, after, slope=0.2, wrap=wrap, halve=number < len(widths) - 1)
            for number, (before, after) in enumerate(zip([inputs, *widths], widths, strict=False))
        )
        self.lateral = nn.ModuleList(_Projection(width, 2 * filters) for width in widths)
        self.final = nn.ModuleList(_Projection(2 * filters, filters) for _ in widths)
        self.score = nn.Conv2d(filters, 1, 1)
        self.feature = nn.Conv2d(filters, filters, 1)

    def forward(self, condition: Tensor, judged: Tensor) -> Judgement:
        """Judge one picture (B, C, H, W) given the other (B, D, H, W); H and W multiples of 16."""
        stages = []
        features = torch.cat([condition, judged], dim=1)
        for stage in self.stages:
            features = stage(features)
            stages.append(features)
        sideways = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        downwards = [sideways[-1]]  # the two coarsest stages are of one size
        for finer in sideways[-2::-1]:
            above = downwards[-1]
            downwards.append(finer + (above if len(downwards) == 1 else doubled(above, self.wrap)))
        levels = [final(level) for final, level in zip(self.final, reversed(downwards), strict=True)]
        return Judgement(
            tuple(self.score(level) for level in levels),
            tuple(self.feature(level) for level in levels),
            tuple(level.detach() for level in reversed(levels)),
        )
