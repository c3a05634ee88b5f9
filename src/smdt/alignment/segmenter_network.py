"""The small segmentation network: an EfficientNet-Lite0 encoder and a light decoder that run round the circle.

Every convolution pads columns with their neighbours across the panorama's edge, so that there is no seam: turning
the panorama by whole steps of 32 pixels turns the scores exactly. Rows are padded with zeros, which tells the network
how high it looks.

The decoder ends at half the picture's size, where a pole, one or two pixels wide, is hardly a thing. So a thin branch
at full size looks at the pixels themselves, beside what the decoder knows of their neighbourhood, and corrects its
scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt import torchvision_guard
from smdt.alignment.labels import SemanticClass
from smdt.errors import ModelError
from smdt.world.layers import Surface

STRIDE = 32
"""Rows and columns of an image must be whole multiples of this."""

NATIVE_CLASSES = (
    "sky", "tree", "grass", "road", "bare", "building", "vehicle", "person", "pole", "fence", "water"
)  # fmt: skip
"""What our network tells apart; finer than the method's classes, which the scores are merged into."""

NATIVE_MERGING = (
    SemanticClass.SKY, SemanticClass.VEGETATION, SemanticClass.VEGETATION, SemanticClass.ROAD, SemanticClass.ROAD,
    SemanticClass.BUILDING, SemanticClass.OBJECT, SemanticClass.OBJECT, SemanticClass.POLE, SemanticClass.BUILDING,
    SemanticClass.VOID,
)  # fmt: skip

_SURFACE_CLASSES = {
    Surface.GRASS: "grass", Surface.ROAD: "road", Surface.PAVEMENT: "road", Surface.FIELD: "grass",
    Surface.WATER: "water", Surface.TREE: "tree", Surface.BUILDING: "building", Surface.PARKING: "road",
    Surface.SKY: "sky", Surface.VEHICLE: "vehicle", Surface.BARE: "bare", Surface.FENCE: "fence",
    Surface.POLE: "pole", Surface.PERSON: "person",
}  # fmt: skip

NATIVE_OF_SURFACE = tuple(NATIVE_CLASSES.index(_SURFACE_CLASSES[surface]) for surface in sorted(Surface))
"""The network's class of each :class:`~smdt.world.layers.Surface`."""


@dataclass(frozen=True)
class SegmenterConfig:
    """What a segmentation network is; stored beside its weights.

    Attributes:
        name: the model's name.
        backbone: a timm model with features at strides 2 to 32.
        channels: of the decoder.
        detail_channels: of the branch at full size; 0: there is none.
        height_px: rows of a CVUSA-framed panorama (±32.73°) as the network was trained.
        width_px: columns of the same, 360°.
    """

    name: str
    backbone: str = "tf_efficientnet_lite0"
    channels: int = 48
    detail_channels: int = 0
    height_px: int = 128
    width_px: int = 512


class SegmentationNetwork(nn.Module):
    """Scores of :data:`NATIVE_CLASSES` for panoramas.

    Args:
        config: what to build; weights are random.

    Raises:
        ModelError: if timm has no such backbone, or it has no features at strides 2 to 32.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        torchvision_guard.install()
        import timm

        try:
            encoder: Any = timm.create_model(config.backbone, features_only=True, pretrained=False)
            reductions = list(encoder.feature_info.reduction())
        except (RuntimeError, AttributeError) as error:
            raise ModelError(
                "timm has no such backbone with features", where=config.backbone, remedy="name another"
            ) from error
        if reductions != [2, 4, 8, 16, 32]:
            raise ModelError(
                f"its features have the strides {reductions}, not 2 to 32",
                where=config.backbone,
                remedy="choose one such as tf_efficientnet_lite0",
            )
        settings = encoder.default_cfg
        for name in ("mean", "std"):
            value = torch.tensor(list(settings[name])).view(1, 3, 1, 1)
            self.register_buffer(f"pixel_{name}", value, persistent=False)
        self.encoder: nn.Module = encoder
        wide = config.channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, wide, 1) for c in encoder.feature_info.channels())
        self.blend = nn.ModuleList(_Blend(wide) for _ in range(4))
        self.context = nn.Conv2d(wide, wide, 1)
        self.head = nn.Conv2d(wide, len(NATIVE_CLASSES), 1)
        self.detail = _Detail(config.detail_channels, wide) if config.detail_channels else None
        wrap_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of panoramas.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; H and W whole multiples of 32.

        Returns:
            (B, 11, H, W), before any softmax.
        """
        pixels = (images - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_std")
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        features = self.encoder(pixels)
        x = self.lateral[-1](features[-1])
        x = F.relu(x + self.context(x.mean((2, 3), keepdim=True)))
        for level in range(3, -1, -1):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") + self.lateral[level](features[level])
            x = self.blend[level](x)
        scores = double_size(self.head(x))
        return scores if self.detail is None else scores + self.detail(pixels, x)


class _Detail(nn.Module):
    """Corrections to the scores at full size, from pixels and the decoder's features at half of it; none at first."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.know = nn.Conv2d(features, channels, 1)
        self.blend = _Blend(channels)
        self.correct = nn.Conv2d(channels, len(NATIVE_CLASSES), 3, padding=1)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        known = F.interpolate(self.know(features), scale_factor=2.0, mode="nearest")
        corrections: Tensor = self.correct(self.blend(self.see(pixels) + known))
        return corrections


class _Blend(nn.Module):
    """Two depthwise separable convolutions, the second one added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _separable(channels)
        self.second = _separable(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return F.relu(x + self.second(x))


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class WrappedConv2d(nn.Conv2d):
    """A convolution that keeps the size (divided by its stride), with columns padded round the circle."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, H, W); H and W divisible by the stride."""
        rows, columns = (k - s for k, s in zip(self.kernel_size, self.stride, strict=True))
        left, top = columns // 2, rows // 2
        x = wrap_columns(input, left, columns - left)
        if rows % 2 == 0:
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, 0), 1, self.groups)
        x = F.pad(x, (0, 0, top, rows - top))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


def wrap_columns(x: Tensor, left: int, right: int) -> Tensor:
    """Columns of (…, W) continued round the circle on both sides: (…, left + W + right)."""
    parts = ([x[..., -left:]] if left else []) + [x] + ([x[..., :right]] if right else [])
    return torch.cat(parts, -1) if len(parts) > 1 else x


def wrap_convolutions(module: nn.Module) -> None:
    """Make every convolution in a module, with a kernel larger than one pixel, wrap; parameters keep their names.

    Raises:
        ModelError: if one is dilated.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1):
            if child.dilation != (1, 1):
                raise ModelError("dilated convolutions cannot wrap", where=type(child).__name__)
            child.__class__ = WrappedConv2d


def double_size(scores: Tensor) -> Tensor:
    """Scores (B, C, H, W) at twice the size, bilinear, without a seam at the panorama's edge."""
    wide = F.interpolate(wrap_columns(scores, 1, 1), scale_factor=2.0, mode="bilinear", align_corners=False)
    return wide[..., 2:-2]
