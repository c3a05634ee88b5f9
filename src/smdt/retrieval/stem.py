"""The Transformer's hybrid stem: the first three stages of a ResNetV2 with standardised kernels and GroupNorm.

A bottleneck block here normalises after each convolution and adds its shortcut before the last ReLU, which is what the
hybrid ViT calls ResNetV2. Stride 16: the root's convolution, its pooling, and the second and third stage halve each.

Source: ViT (ICLR 2021), appendix B.1; Weight Standardization (2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.errors import ConfigError

STEM_STRIDE = 16
_EXPANSION = 4


@dataclass(frozen=True)
class StemSettings:
    """Sizes and arithmetic of a hybrid stem.

    Attributes:
        blocks: blocks of the three stages.
        width: channels of the root; the stages give 4, 8 and 16 times as many.
        groups: of each GroupNorm.
        projection_groups: of those on shortcuts; 0 is one a channel.
        same_padding: pad on the right and below first, so that outputs are ⌈input/stride⌉ whatever the input.
        norm_eps: of each GroupNorm.
        projection_norm_eps: of those on shortcuts.
        conv_eps: added to a kernel's variance before its root.
    """

    blocks: tuple[int, ...] = (3, 4, 9)
    width: int = 64
    groups: int = 32
    projection_groups: int = 0
    same_padding: bool = False
    norm_eps: float = 1e-6
    projection_norm_eps: float = 1e-5
    conv_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what does not make a stem of stride 16."""
        if len(self.blocks) != 3:
            raise ConfigError(
                f"{len(self.blocks)} stages do not give stride {STEM_STRIDE}",
                where="stem_blocks",
                remedy="give the blocks of three stages",
            )
        if self.groups < 1 or self.width % self.groups:
            raise ConfigError(
                f"{self.width} channels cannot be normalised in {self.groups} groups",
                where="stem_width/stem_groups",
                remedy="choose a width that is a multiple of the groups",
            )
        if self.projection_groups and self.width * _EXPANSION % self.projection_groups:
            raise ConfigError(
                f"{self.width * _EXPANSION} channels cannot be normalised in {self.projection_groups} groups",
                where="projection_groups",
            )


class StandardisedConv(nn.Conv2d):
    """A convolution whose kernels have zero mean and unit variance, each output channel's by itself.

    Args:
        channels: in and out.
        side: of the kernel.
        stride: of the convolution.
        settings: padding and what is added to the variance.
    """

    def __init__(self, channels: tuple[int, int], side: int, stride: int, settings: StemSettings) -> None:
        super().__init__(*channels, side, stride, padding=0, bias=False)
        self.side, self.step = side, stride
        self.eps, self.same_padding = settings.conv_eps, settings.same_padding

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ⌈H/stride⌉, ⌈W/stride⌉)."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        kernel = (self.weight - mean) / torch.sqrt(variance + self.eps)
        if not self.same_padding:
            return F.conv2d(images, kernel, None, self.step, self.side // 2)
        return F.conv2d(_pad_same(images, self.side, self.step, 0.0), kernel, None, self.step)


class Norm(nn.GroupNorm):
    """A GroupNorm that gives the precision it is given: autocast would write, and keep, all of it in float32.

    Means and variances are float32 within it either way.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) of the same type and shape."""
        if features.dtype == torch.float32:
            return super().forward(features)
        weight, bias = self.weight.to(features.dtype), self.bias.to(features.dtype)
        with torch.autocast(features.device.type, enabled=False):
            return F.group_norm(features, self.num_groups, weight, bias, self.eps)


def _pad_same(images: Tensor, side: int, stride: int, value: float) -> Tensor:
    """Pad (B, C, H, W) so that a kernel gives ⌈H/stride⌉×⌈W/stride⌉, the odd pixel on the right and below."""
    pads: list[int] = []
    for size in (images.shape[-1], images.shape[-2]):
        total = max(((size + stride - 1) // stride - 1) * stride + side - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(images, pads, value=value) if any(pads) else images


class Root(nn.Module):
    """The first convolution, 7×7 of stride 2, its norm, and a 3×3 maximum of stride 2.

    Args:
        settings: of the stem.
    """

    def __init__(self, settings: StemSettings) -> None:
        super().__init__()
        self.conv = StandardisedConv((3, settings.width), 7, 2, settings)
        self.norm = Norm(settings.groups, settings.width, settings.norm_eps)
        self.same_padding = settings.same_padding

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, width, H/4, W/4)."""
        features = F.relu(self.norm(self.conv(images)))
        if not self.same_padding:
            return F.max_pool2d(features, 3, 2, 1)
        return F.max_pool2d(_pad_same(features, 3, 2, float("-inf")), 3, 2)


class Block(nn.Module):
    """A bottleneck of three standardised convolutions; a projected shortcut where size or channels change.

    Args:
        channels: in and out.
        stride: of the middle convolution.
        settings: of the stem.
    """

    def __init__(self, channels: tuple[int, int], stride: int, settings: StemSettings) -> None:
        super().__init__()
        coming, going = channels
        middle = going // _EXPANSION
        self.conv1 = StandardisedConv((coming, middle), 1, 1, settings)
        self.norm1 = Norm(settings.groups, middle, settings.norm_eps)
        self.conv2 = StandardisedConv((middle, middle), 3, stride, settings)
        self.norm2 = Norm(settings.groups, middle, settings.norm_eps)
        self.conv3 = StandardisedConv((middle, going), 1, 1, settings)
        self.norm3 = Norm(settings.groups, going, settings.norm_eps)
        self.shortcut: StandardisedConv | None = None
        if stride != 1 or coming != going:
            self.shortcut = StandardisedConv((coming, going), 1, stride, settings)
            groups = settings.projection_groups or going
            self.shortcut_norm = Norm(groups, going, settings.projection_norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        kept = features if self.shortcut is None else self.shortcut_norm(self.shortcut(features))
        mixed = F.relu(self.norm1(self.conv1(features)))
        mixed = F.relu(self.norm2(self.conv2(mixed)))
        return F.relu(self.norm3(self.conv3(mixed)) + kept)


class HybridStem(nn.Module):
    """Features of stride 16, in the memory format of its kernels: channels first unless it was moved to another.

    On a CPU its backward pass is slower with channels last, because of the GroupNorms.

    Args:
        settings: sizes and arithmetic.

    Attributes:
        channels: of the features.
    """

    def __init__(self, settings: StemSettings) -> None:
        super().__init__()
        self.root = Root(settings)
        channels, stages = settings.width, []
        for number, count in enumerate(settings.blocks):
            going = settings.width * _EXPANSION * 2**number
            first = Block((channels, going), 1 if number == 0 else 2, settings)
            stages.append(
                nn.Sequential(first, *(Block((going, going), 1, settings) for _ in range(count - 1)))
            )
            channels = going
        self.stages = nn.Sequential(*stages)
        self.channels = channels

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised to (B, 16·width, H/16, W/16)."""
        features: Tensor = self.stages(self.root(pixels))
        return features
