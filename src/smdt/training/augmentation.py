"""Changes to training pairs that leave them true: turns and mirrors of the world, other light, things in the way.

A panorama's columns are a circle, so turning the camera is an index, and so are turning and mirroring the world, as
long as both views take part. Column j looks along 180° + 360°·j/W; its mirror is column −j.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

GroundAugmentation = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""A change to panoramas alone: called with images (B, 3, H, W) in [0, 1], their labels (B, H, W), and a generator
on the CPU; returns images of the same shape."""


def ground_columns(width_px: int, turned_px: Tensor, mirrored: Tensor) -> Tensor:
    """Which column of the panorama, or mapped aerial image, as it is each column of the changed one shows.

    The world is mirrored first, east for west, and then turned.

    Args:
        width_px: columns W, 360°.
        turned_px: (B,) whole columns by which the centre looks further clockwise.
        mirrored: (B,) True where the world is mirrored.

    Returns:
        (B, W) int64.
    """
    columns = torch.arange(width_px, device=turned_px.device)[None] + turned_px[:, None]
    return torch.remainder(torch.where(mirrored[:, None], -columns, columns), width_px)


def take_columns(images: Tensor, columns: Tensor) -> Tensor:
    """Images (B, …, W) with their columns in the order given, (B, W)."""
    index = columns.view(len(columns), *(1,) * (images.ndim - 2), columns.shape[1])
    return images.gather(-1, index.expand_as(images))


def change_square(images: Tensor, quarter_turns: Tensor, mirrored: Tensor) -> Tensor:
    """Square aerial images (B, C, S, S) of the world mirrored, east for west, and then turned by quarters.

    Args:
        images: north up.
        quarter_turns: (B,) how often what lies east comes to lie north: a turn to the left of the picture.
        mirrored: (B,) True where the world is mirrored.
    """
    changed = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    return torch.stack(
        [one.rot90(int(turns), (-2, -1)) for one, turns in zip(changed, quarter_turns.tolist(), strict=True)]
    )


def photometric(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Another day, another sensor: brightness, contrast, colour, gamma, blur and noise, drawn for each image.

    Args:
        images: (B, 3, H, W) in [0, 1].
        generator: where the randomness comes from, on the images' device.
        strength: how much, 0 to 1.
    """
    size = len(images)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        drawn = torch.rand(size, channels, 1, 1, generator=generator, device=images.device)
        return 1.0 + strength * (low - 1.0 + (high - low) * drawn)

    grey = images.mean(1, keepdim=True)
    mixed = grey + (images - grey) * draw(0.3, 1.3)
    mean = mixed.mean((2, 3), keepdim=True)
    mixed = (mixed - mean) * draw(0.6, 1.4) + mean * draw(0.7, 1.3) * draw(0.88, 1.12, 3)
    mixed = mixed.clamp(1e-3, 1).pow(draw(0.7, 1.4))
    blurred = F.avg_pool2d(F.pad(mixed, (1, 1, 1, 1), mode="replicate"), 3, 1)
    one_in = torch.rand(size, 1, 1, 1, generator=generator, device=images.device)
    mixed = torch.where(one_in < 0.4 * strength, blurred, mixed)
    level = torch.rand(size, 1, 1, 1, generator=generator, device=images.device) * 0.04 * strength
    noise = torch.randn(mixed.shape, generator=generator, device=images.device)
    return (mixed + level * noise).clamp(0, 1)


def occlude(images: Tensor, share: float, generator: torch.Generator, largest: float = 0.35) -> Tensor:
    """Put a box of one grey into some images, as something in the way would; boxes go on round the circle.

    Args:
        images: (B, 3, H, W) in [0, 1].
        share: of the images that get one.
        generator: where the randomness comes from, on the images' device.
        largest: sides are up to this share of the image's.
    """
    size, _, height, width = images.shape
    device = images.device
    drawn = torch.rand(size, 6, generator=generator, device=device)
    tall, wide = (0.1 + (largest - 0.1) * drawn[:, 0]) * height, (0.1 + (largest - 0.1) * drawn[:, 1]) * width
    top, left = drawn[:, 2] * (height - tall), drawn[:, 3] * width
    row = torch.arange(height, device=device)[None] - top[:, None]
    column = torch.remainder(torch.arange(width, device=device)[None] - left[:, None], width)
    inside = ((row >= 0) & (row < tall[:, None]))[:, :, None] & (column < wide[:, None])[:, None]
    inside = inside[:, None] & (drawn[:, 4] < share)[:, None, None, None]
    return torch.where(inside, drawn[:, 5, None, None, None], images)


def mix_styles(features: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Give each picture's features channel statistics on the way to another's of the batch, and scale them at random.

    What a channel's mean and deviation over a picture say is mostly its light and its sensor.

    Args:
        features: (B, C, H, W) of an early stage.
        strength: how far on the way at most, 0 to 1, and how much they are scaled.
        generator: where the randomness comes from, on the CPU.

    Source: MixStyle (ICLR 2021), with uniform instead of beta shares, and with log-normal scales and normal shifts of
    a quarter deviation besides.
    """
    size, channels = features.shape[:2]
    mean = features.mean((2, 3), keepdim=True)
    deviation = features.std((2, 3), keepdim=True) + 1e-3
    others = torch.randperm(size, generator=generator)
    share = (torch.rand(size, 1, 1, 1, generator=generator) * strength).to(features.device)
    scale, shift = (
        0.25 * strength * torch.randn(2, size, channels, 1, 1, generator=generator).to(features.device)
    )
    new_mean = mean + (mean[others] - mean) * share + shift * deviation
    new_deviation = (deviation + (deviation[others] - deviation) * share) * scale.exp()
    styled: Tensor = (features - mean) / deviation * new_deviation + new_mean
    return styled


def drop_channels(features: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Features (B, C, H, W) with a share of each picture's channels set to 0, the others larger for it."""
    kept = torch.rand(*features.shape[:2], 1, 1, generator=generator) >= share
    return features * (kept.to(features) / (1.0 - share))


def seen_mask(columns: int, kept: int, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Masks (B, W), True for the ``kept`` columns in the middle, where a photo's are in its panorama."""
    mask = torch.zeros(size, columns, dtype=torch.bool, device=device)
    first = columns // 2 - kept // 2
    mask[:, first : first + kept] = True
    return mask


def kept_columns(columns: int, field_of_view_deg: float) -> int:
    """How many of a circle's columns a field of view covers, rounded, 1 at least."""
    return min(columns, max(1, math.floor(columns * field_of_view_deg / 360.0 + 0.5)))
