"""The losses of the dual conditional GAN: who is fooled, and how far off the pictures are.

The two discriminators work together. D1 looks at labels, D2 at images; at every patch of every scale the product of
their features says whether image and labels belong together, and it is added to both scores:

- real: (real image, real labels) for both;
- made image: its features with those of the real labels;
- made labels: their features with those of the real image.

Vanilla GAN loss: binary cross entropy of the scores, against ``REAL`` for what is to pass as real and 0 for what is
not. Source: PanoGAN, which SMDT's published code carries; fig. 3 of SMDT gives what each discriminator sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.alignment.discriminators import Judgement

REAL = 0.9
"""Label of real patches; below 1, so that a discriminator is never rewarded for being certain."""


def belonging(first: Judgement, second: Judgement) -> tuple[Tensor, ...]:
    """How well two judgements' features agree: their product summed over channels, (B, 1, h, w) at each scale."""
    return tuple(
        (one.float() * other.float()).sum(dim=1, keepdim=True)
        for one, other in zip(first.features, second.features, strict=True)
    )


def patch_loss(scores: Sequence[Tensor], added: Sequence[Tensor] | None, label: float) -> Tensor:
    """Binary cross entropy of scores (logits) plus what is added to them, against a label; the scales' mean."""
    logits = list(scores) if added is None else [a + b for a, b in zip(scores, added, strict=True)]
    losses = [
        F.binary_cross_entropy_with_logits(one.float(), torch.full_like(one, label, dtype=torch.float32))
        for one in logits
    ]
    return torch.stack(losses).mean()


def discriminator_loss(
    real: tuple[Judgement, Judgement], made: tuple[Judgement, Judgement], aligned: bool = True
) -> Tensor:
    """The loss of both discriminators.

    Args:
        real: what D1 (labels) and D2 (image) say of the real ones.
        made: what they say of the made ones, which carry no gradient to the generators.
        aligned: add the features' products.

    Returns:
        Half the sum of the four losses: real and made, labels and image.
    """
    together, image, labels = _agreements(real, made, aligned)
    total = patch_loss(real[0].scores, together, REAL) + patch_loss(real[1].scores, together, REAL)
    total = total + patch_loss(made[0].scores, labels, 0.0) + patch_loss(made[1].scores, image, 0.0)
    return total / 2


def generator_loss(
    real: tuple[Judgement, Judgement], made: tuple[Judgement, Judgement], aligned: bool = True
) -> Tensor:
    """How far the made labels and image are from passing as real; see :func:`discriminator_loss`."""
    _, image, labels = _agreements(real, made, aligned)
    return patch_loss(made[0].scores, labels, REAL) + patch_loss(made[1].scores, image, REAL)


_Agreement = tuple[Tensor, ...] | None


def _agreements(
    real: tuple[Judgement, Judgement], made: tuple[Judgement, Judgement], aligned: bool
) -> tuple[_Agreement, _Agreement, _Agreement]:
    """Agreement of the real two, of the made image with real labels, and of made labels with the real image."""
    if not aligned:
        return None, None, None
    return belonging(*real), belonging(real[0], made[1]), belonging(made[0], real[1])
