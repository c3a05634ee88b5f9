"""The generator of the dual conditional GAN: a U-Net with residual blocks in its middle.

Four halvings, residual blocks, four doublings; each doubling sees the encoder's features of its size. Optional feedback
blocks let the discriminators' features of a first pass into the decoder of the next one.

At 64 filters, 4 + 5 residual blocks, six output channels and feedback of 128 channels this has 79,724,102 parameters,
as the published single generator, so the blocks and their places are taken to be those. SMDT's two generators of
three output channels each are our reading of its figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.alignment.layers import Halving, PaddedConv

Output = Literal["tanh", "softmax"]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with instance norm, added to what came in; reflection padding."""

    def __init__(self, channels: int, *, dropout: float, wrap: bool) -> None:
        super().__init__()
        self.first = PaddedConv(channels, channels, padding="reflect", wrap=wrap)
        self.second = PaddedConv(channels, channels, padding="reflect", wrap=wrap)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        inner = self.dropout(F.relu(F.instance_norm(self.first(features))))
        return features + F.instance_norm(self.second(inner))


class FeedbackBlock(nn.Module):
    """What the discriminators' features add to the decoder's: two convolutions over both.

    Args:
        channels: of the decoder's features.
        feedback: channels of the discriminators'.
        wrap: see :func:`smdt.alignment.layers.pad_one`.
    """

    def __init__(self, channels: int, feedback: int, *, wrap: bool) -> None:
        super().__init__()
        self.first = PaddedConv(channels + feedback, channels, wrap=wrap)
        self.second = PaddedConv(channels, channels, wrap=wrap)

    def forward(self, features: Tensor, feedback: Tensor, share: float) -> Tensor:
        """Features (B, C, h, w) and feedback (B, F, h, w) to (B, C, h, w); ``share`` weighs what is added."""
        inner = F.relu(F.instance_norm(self.first(torch.cat([feedback, features], dim=1))))
        added = F.relu(F.instance_norm(self.second(inner)))
        return features + share * F.instance_norm(added)


class Generator(nn.Module):
    """Images in one style to images in another, of the same size.

    Args:
        inputs: channels in.
        outputs: channels out.
        filters: of the first halving; each one more has twice as many.
        encoder_blocks: residual blocks before the middle.
        decoder_blocks: residual blocks after it.
        dropout: within the residual blocks, while training.
        output: ``tanh`` for images in [-1, 1], ``softmax`` for class probabilities.
        wrap: columns go on from the other end.
        feedback: channels of the discriminators' features at each scale; 0 for a generator without feedback.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        filters: int = 64,
        encoder_blocks: int = 4,
        decoder_blocks: int = 5,
        dropout: float = 0.5,
        output: Output = "tanh",
        wrap: bool = False,
        feedback: int = 0,
    ) -> None:
        super().__init__()
        widths = [filters * factor for factor in (1, 2, 4, 8)]
        self.output: Output = output
        self.down = nn.ModuleList(
            Halving(before, after, slope=0.0, wrap=wrap)
            for before, after in zip([inputs, *widths], widths, strict=False)
        )

        def middle(count: int) -> nn.Sequential:
            return nn.Sequential(
                *(ResidualBlock(widths[-1], dropout=dropout, wrap=wrap) for _ in range(count))
            )

        self.encoder_middle, self.decoder_middle = middle(encoder_blocks), middle(decoder_blocks)
        self.up = nn.ModuleList(
            PaddedConv(2 * before, after, padding="reflect", wrap=wrap)
            for before, after in zip(widths[::-1], [*widths[-2::-1], outputs], strict=True)
        )
        fed = [widths[-1], *(2 * width for width in widths[::-1])] if feedback else []
        self.feedback = nn.ModuleList(FeedbackBlock(channels, feedback, wrap=wrap) for channels in fed)

    def forward(self, images: Tensor, feedback: Sequence[Tensor] | None = None, share: float = 0.5) -> Tensor:
        """Make an image.

        Args:
            images: (B, inputs, H, W) in [-1, 1], with H and W multiples of 16.
            feedback: the discriminators' features of an earlier pass, (B, feedback, h, w) each, of 1/16, 1/16, 1/8,
                1/4 and 1/2 the size; only for generators made for it.
            share: weight of the feedback.

        Returns:
            (B, outputs, H, W) in [-1, 1], or class probabilities.
        """
        skips = []
        features = images
        for halving in self.down:
            features = halving(features)
            skips.append(features)
        features = self._fed(self.encoder_middle(features), 0, feedback, share)
        features = self.decoder_middle(features)
        for step, convolution in enumerate(self.up):
            features = torch.cat([features, skips.pop()], dim=1)
            features = self._fed(features, step + 1, feedback, share)
            features = convolution(F.interpolate(features, scale_factor=2.0, mode="nearest"))
            if step < len(self.up) - 1:
                features = F.relu(F.instance_norm(features))
        return torch.tanh(features) if self.output == "tanh" else features.softmax(dim=1)

    def _fed(self, features: Tensor, place: int, feedback: Sequence[Tensor] | None, share: float) -> Tensor:
        if feedback is None:
            return features
        fed: Tensor = self.feedback[place](features, feedback[place], share)
        return fed
