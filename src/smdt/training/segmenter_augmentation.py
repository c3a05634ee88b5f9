"""Other skies, soils, leaves, light and cameras for simulated panoramas, so that a segmenter serves on real ones.

The labels say where each class is. So each class gets colours, textures and light of its own that real places have and
simulated ones may lack; what stays the same is the form of things, and the segmenter learns to go by that.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.alignment.segmenter_network import NATIVE_CLASSES

_COLOURS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "sky": (
        (0.35, 0.55, 0.85), (0.62, 0.76, 0.95), (0.96, 0.96, 0.97), (0.75, 0.78, 0.80), (0.50, 0.55, 0.60),
        (0.25, 0.40, 0.65), (1.0, 1.0, 1.0),
    ),
    "tree": (
        (0.20, 0.30, 0.10), (0.30, 0.40, 0.15), (0.12, 0.18, 0.10), (0.55, 0.32, 0.12), (0.60, 0.15, 0.10),
        (0.62, 0.50, 0.20), (0.42, 0.38, 0.30), (0.08, 0.10, 0.07),
    ),
    "grass": (
        (0.35, 0.45, 0.15), (0.60, 0.55, 0.30), (0.70, 0.62, 0.42), (0.45, 0.35, 0.22), (0.30, 0.36, 0.20),
        (0.50, 0.50, 0.30), (0.25, 0.20, 0.15),
    ),
    "road": (
        (0.30, 0.30, 0.32), (0.50, 0.50, 0.50), (0.66, 0.62, 0.58), (0.76, 0.70, 0.62), (0.20, 0.20, 0.22),
        (0.45, 0.38, 0.33), (0.60, 0.46, 0.36),
    ),
    "bare": (
        (0.70, 0.60, 0.45), (0.60, 0.45, 0.35), (0.85, 0.80, 0.70), (0.50, 0.40, 0.30), (0.70, 0.45, 0.30),
    ),
}  # fmt: skip
"""Typical colours of things outdoors, RGB in [0, 1]; other classes may have any."""

_ROUGHNESS = {"sky": 0.08, "tree": 0.7, "grass": 0.4, "road": 0.15, "bare": 0.35}
_GROUND = ("grass", "road", "bare")


def augment(images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Panoramas of other places, days and cameras.

    Args:
        images: (B, 3, H, W) float32, RGB in [0, 1].
        labels: (B, H, W) int64 of the segmenter's native classes.
        rng: where the randomness comes from.

    Returns:
        Images and labels of the same shapes; labels move with their pixels and are never changed otherwise.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    images, labels = move(images, labels, generator)
    images = recolour(images, labels, generator)
    images = roughen(images, labels, generator)
    images = light(images, labels, generator)
    return camera(images, generator).clamp(0, 1), labels


def uniform(size: int, low: float, high: float, generator: torch.Generator, channels: int = 1) -> Tensor:
    """Numbers (B, channels, 1, 1) drawn evenly between two bounds."""
    return low + (high - low) * torch.rand(size, channels, 1, 1, generator=generator)


def field(shape: tuple[int, int, int], cells: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A smooth random field (B, 1, H, W) of mean 0 and deviation about 1, with features of 1/cells of the picture."""
    size, height, width = shape
    coarse = torch.randn(size, 1, cells[0] + 1, cells[1] + 1, generator=generator)
    return 1.4 * F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)


def move(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn, mirror, stretch upright and bend up and down (hills, banks, a tilted camera); a share gets columns of
    another picture of the batch."""
    size, _, height, width = images.shape
    turn = torch.randint(width, (size,), generator=generator)
    column = (torch.arange(width)[None] + turn[:, None]) % width
    mirrored = torch.rand(size, 1, generator=generator) < 0.5
    column = torch.where(mirrored, column.flip(1), column)
    angle = torch.arange(width) / width * 2 * math.pi
    bend = torch.zeros(size, width)
    for harmonic in (1, 2, 3, 5):
        phase = 2 * math.pi * torch.rand(size, 1, generator=generator)
        strength = torch.randn(size, 1, generator=generator) * 0.035 / harmonic**0.5
        bend += strength * torch.sin(harmonic * angle + phase)
    shift = 0.04 * torch.randn(size, 1, generator=generator)
    stretch = torch.exp(uniform(size, -0.3, 0.3, generator)[:, 0])
    row = (torch.arange(height) + 0.5) / height - 0.5
    source = row[None, :, None] / stretch + (shift + bend)[:, None, :]
    source = ((source + 0.5) * height - 0.5).round().long().clamp(0, height - 1)
    index = (source * width + column[:, None, :]).flatten(1)
    images = images.flatten(2).gather(2, index[:, None].expand(-1, 3, -1)).view_as(images)
    labels = labels.flatten(1).gather(1, index).view_as(labels)
    start = torch.randint(width, (size,), generator=generator)
    length = torch.randint(width // 8, width // 2, (size,), generator=generator)
    swapped = (torch.arange(width)[None] - start[:, None]) % width < length[:, None]
    swapped &= torch.rand(size, 1, generator=generator) < 0.3
    other = torch.roll(torch.arange(size), 1)
    return (
        torch.where(swapped[:, None, None], images[other], images),
        torch.where(swapped[:, None], labels[other], labels),
    )


def recolour(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Give each class of each picture two colours of its kind, mixed in patches; or only tint it; or leave it."""
    size, _, height, width = images.shape
    count = len(NATIVE_CLASSES)
    grey = images.mean(1)
    flat = labels.flatten(1)
    total = torch.zeros(size, count).scatter_add_(1, flat, grey.flatten(1))
    number = torch.zeros(size, count).scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))
    mean = (total / number.clamp_min(1)).clamp_min(0.05)
    relative = (grey.flatten(1) / mean.gather(1, flat)).view(size, 1, height, width)
    contrast = uniform(size, 0.5, 1.1, generator)
    patches = torch.sigmoid(2.5 * field((size, height, width), (6, 24), generator))
    painted = torch.zeros_like(images)
    for share in (patches, 1 - patches):
        painted += share * _paint(size, generator)[torch.arange(size)[:, None, None], labels].movedim(-1, 1)
    painted = painted * (1 + contrast * (relative - 1))
    tint = torch.exp(0.12 * torch.randn(size, count, 3, generator=generator))
    tint = tint * torch.exp(0.22 * torch.randn(size, count, 1, generator=generator))
    tinted = images * tint[torch.arange(size)[:, None, None], labels].movedim(-1, 1)
    # How far each class of each picture goes: a third stay tinted, the rest are painted more or less.
    degree = (1.5 * torch.rand(size, count, generator=generator) - 0.5).clamp(0, 1)
    amount = degree.gather(1, flat).view(size, 1, height, width)
    return ((1 - amount) * tinted + amount * painted).clamp(0, 1.5)


def _paint(size: int, generator: torch.Generator) -> Tensor:
    """A colour (B, K, 3) for each class of each picture."""
    colours = 0.1 + 0.8 * torch.rand(size, len(NATIVE_CLASSES), 3, generator=generator)
    grey = colours.mean(2, keepdim=True)
    colours = grey + 0.5 * (colours - grey)
    for name, palette in _COLOURS.items():
        choice = torch.randint(len(palette), (size,), generator=generator)
        jitter = torch.exp(0.15 * torch.randn(size, 1, generator=generator))
        jitter = jitter * torch.exp(0.06 * torch.randn(size, 3, generator=generator))
        colours[:, NATIVE_CLASSES.index(name)] = torch.tensor(palette)[choice] * jitter
    return colours


def roughen(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Fine and coarse texture by class, and clouds of any brightness in the sky."""
    size, _, height, width = images.shape
    shape = (size, height, width)
    coarse = field(shape, (8, 32), generator) + field(shape, (20, 80), generator)
    fine = field(shape, (48, 192), generator) + torch.randn(size, 1, height, width, generator=generator)
    streaks = field(shape, (4, 170), generator)  # trunks, stalks
    mix, upright = uniform(size, 0, 1, generator), uniform(size, -0.5, 1, generator).clamp_min(0)
    amplitude = torch.full((size, len(NATIVE_CLASSES)), 0.2)
    for name, most in _ROUGHNESS.items():
        amplitude[:, NATIVE_CLASSES.index(name)] = most
    amplitude = amplitude * torch.rand(amplitude.shape, generator=generator)
    at = amplitude.gather(1, labels.flatten(1)).view(size, 1, height, width)
    grown = (labels == NATIVE_CLASSES.index("tree")) | (labels == NATIVE_CLASSES.index("grass"))
    texture = mix * coarse + (1 - mix) * fine + upright * streaks * grown[:, None]
    images = images * torch.exp(0.7 * at * texture)
    cover = field(shape, (5, 12), generator) + 0.5 * coarse + uniform(size, -3, 1, generator)
    brightness = uniform(size, 0.35, 1.05, generator)
    cloudy = (labels == NATIVE_CLASSES.index("sky"))[:, None] * torch.sigmoid(2 * cover) * 0.9
    return images * (1 - cloudy) + brightness * cloudy


def light(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Shadows on the ground, uneven light, haze at the horizon, a glaring sun, and exposures that differ between
    the shots a panorama is stitched of."""
    size, _, height, width = images.shape
    shape = (size, height, width)
    on_ground = torch.zeros_like(labels, dtype=torch.bool)
    for name in _GROUND:
        on_ground |= labels == NATIVE_CLASSES.index(name)
    cast = field(shape, (16, 32), generator) + field(shape, (32, 64), generator) * 0.7
    dark = torch.sigmoid(6 * (cast - uniform(size, 0.5, 4, generator))) * uniform(size, 0.2, 0.7, generator)
    images = images * (1 - dark * on_ground[:, None])
    images = images * torch.exp(uniform(size, 0, 0.3, generator) * field(shape, (2, 4), generator))
    row = (torch.arange(height) + 0.5)[:, None] / height
    column = torch.arange(width)[None] / width
    horizon = torch.exp(-(((row - 0.48) / 0.12) ** 2))
    haze = horizon * (uniform(size, -1.0, 0.7, generator).clamp_min(0))
    images = images * (1 - haze) + haze * uniform(size, 0.6, 1, generator)
    from_sun = (column - uniform(size, 0, 1, generator) + 0.5) % 1.0 - 0.5
    reach = uniform(size, 0.05, 0.16, generator)
    near = (from_sun / reach) ** 2 + ((row - uniform(size, -0.1, 0.4, generator)) / (3.2 * reach)) ** 2
    glare = torch.exp(-near) * uniform(size, -3.0, 2.0, generator).clamp_min(0)
    images = images + (1.05 - images) * glare.clamp_max(1)
    shots = torch.randint(0, 8, (size,), generator=generator).clamp_min(1)
    gain = torch.exp(0.22 * torch.randn(size, 8, generator=generator) * (shots > 4)[:, None])
    number = ((column[0] * shots[:, None]).long() % 8).clamp_max(7)
    exposure = gain.gather(1, number)[:, None, None]
    soft = F.avg_pool2d(F.pad(exposure, (3, 3, 0, 0), mode="circular"), (1, 7), 1)
    return images * soft


def camera(images: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, gamma, contrast, saturation, white balance, blur or sharpening, and noise."""
    size = len(images)
    images = images.clamp(0, 1.2)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * uniform(size, 0.2, 1.5, generator)
    images = images * torch.exp(0.05 * torch.randn(size, 3, 1, 1, generator=generator))
    mean = images.mean((2, 3), keepdim=True)
    images = (images - mean) * uniform(size, 0.65, 1.45, generator) + mean * uniform(
        size, 0.7, 1.3, generator
    )
    images = images.clamp(1e-3, 1).pow(uniform(size, 0.65, 1.45, generator))
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    sharpness = uniform(size, -1.2, 1.2, generator)
    images = images + sharpness.clamp(-0.8, 1.2) * (images - blurred)
    return images + uniform(size, 0, 0.04, generator) * torch.randn(images.shape, generator=generator)
