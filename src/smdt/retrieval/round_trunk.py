"""Run the stages of timm's EfficientNets on pictures whose columns are a circle.

A convolution looks round the circle where the picture ends, instead of at nothing. So a picture turned by whole columns
of features gives them turned, and nothing has to be computed twice, as where a wider picture is made of the circle and
cut again. Above and below there is nothing, as timm has it. Batch norms that do not measure are folded into the
convolutions before them, with gradients as ever: the activations are read and written once less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LAYERS: dict[str, tuple[tuple[str, str], ...]] = {
    "ConvBnAct": (("conv", "bn1"),),
    "DepthwiseSeparableConv": (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    "EdgeResidual": (("conv_exp", "bn1"), ("conv_pwl", "bn2")),
    "InvertedResidual": (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
}
"""Convolutions and norms of the blocks that can be run, in order; channels are weighed before the last of several."""


def runs_round(trunk: nn.Module) -> bool:
    """Whether a trunk is an EfficientNet of timm's, of kinds of blocks that can be run here."""
    from timm.models.efficientnet import EfficientNetFeatures

    if not isinstance(trunk, EfficientNetFeatures) or trunk.feature_hooks is not None:
        return False
    stages: Any = trunk.blocks
    blocks = [block for stage in stages for block in stage]
    return all(
        type(block).__name__ in _LAYERS
        and getattr(block, "conv_s2d", None) is None
        and isinstance(block.aa, nn.Identity)
        for block in blocks
    )


def run_stem(conv: nn.Conv2d, norm: Any, images: Tensor) -> Tensor:
    """The first convolution (B, C, H/2, W/2) of images (B, 3, H, W), with its norm and activation."""
    return _convolved(conv, norm, _wrapped(images, conv), wrapped=True)


def run_stages(stages: Iterable[nn.Module], features: Tensor) -> Tensor:
    """Features behind some stages of a trunk that :func:`runs_round`, of those before them.

    Args:
        stages: a few of ``trunk.blocks``, in order.
        features: (B, C, H, W), columns a circle; fastest with channels last.

    Returns:
        (B, C', H', W'), columns a circle.
    """
    for stage in stages:
        for block in stage.children():
            features = _block(block, features)
    return features


def _block(block: Any, features: Tensor) -> Tensor:
    """A block with its shortcut, where it has one."""
    layers = [(getattr(block, conv), getattr(block, norm)) for conv, norm in _LAYERS[type(block).__name__]]
    wide = next(conv for conv, _ in layers if conv.kernel_size != (1, 1))
    added = _wrapped(features, wide)
    for number, (conv, norm) in enumerate(layers):
        if 0 < number == len(layers) - 1:
            added = block.se(added)
        added = _convolved(conv, norm, added, wrapped=conv is wide)
    return block.drop_path(added) + features if block.has_skip else added


def _convolved(conv: nn.Conv2d, norm: Any, features: Tensor, *, wrapped: bool = False) -> Tensor:
    """A convolution, its norm and activation; with ``wrapped``, columns from round the circle are there already."""
    padding = (0, 0)
    if wrapped:
        above, below = _reach(conv, 0, features.shape[-2])
        if above == below:
            padding = (above, 0)
        else:
            features = F.pad(features, (0, 0, above, below))
    if norm.training:
        result: Tensor = norm(_conv2d(conv, features, conv.weight, conv.bias, padding))
        return result
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    weight = conv.weight * scale[:, None, None, None]
    folded = _conv2d(conv, features, weight, shift, padding)
    activated: Tensor = norm.act(norm.drop(folded))
    return activated


def _conv2d(
    conv: nn.Conv2d, features: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """A convolution as ``conv`` has it, with other weights; its gradient soon, where it steps over places.

    On a CPU the gradient of a depthwise one with strides, with regard to its input, takes longer than the rest of its
    block. So where it is asked for, every place is computed and some are taken: the same, in a third of the time.
    """
    stepping = conv.groups > 1 and max(conv.stride) > 1 and features.device.type == "cpu"
    if not (stepping and features.requires_grad and torch.is_grad_enabled()):
        return F.conv2d(features, weight, bias, conv.stride, padding, conv.dilation, conv.groups)
    every = F.conv2d(features, weight, bias, 1, padding, conv.dilation, conv.groups)
    taken = every[..., :: conv.stride[0], :: conv.stride[1]]
    return taken.contiguous(memory_format=torch.channels_last)


def _wrapped(features: Tensor, conv: nn.Conv2d) -> Tensor:
    """Features with as many columns from round the circle as a convolution looks at beyond them."""
    left, right = _reach(conv, 1, features.shape[-1])
    if left + right == 0:
        return features
    wide = F.pad(features, (left, right, 0, 0), mode="circular")
    return wide.contiguous(memory_format=torch.channels_last)


def _reach(conv: nn.Conv2d, axis: int, size: int) -> tuple[int, int]:
    """Rows (axis 0) or columns (1) that a convolution looks at before the first and behind the last of some."""
    from timm.layers.conv2d_same import Conv2dSame

    reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
    if not isinstance(conv, Conv2dSame):
        padding = conv.padding[axis]
        assert isinstance(padding, int)
        return padding, max(0, reach - padding - (size - 1) % conv.stride[axis])
    missing = max(0, (-(-size // conv.stride[axis]) - 1) * conv.stride[axis] + reach + 1 - size)
    return missing // 2, missing - missing // 2
