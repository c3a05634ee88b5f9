"""Stages run round the circle are timm's own on a picture that goes on beyond its edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from smdt.retrieval.round_trunk import run_stages, run_stem, runs_round
from smdt.retrieval.siamese import build_trunk

_WRAP = 256  # more than any stage sees


def _trunk(backbone: str, stride: int = 16) -> Any:
    torch.manual_seed(0)
    trunk = build_trunk(backbone, stride)[0].eval()
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.2)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr,operator]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return trunk


@pytest.mark.parametrize(
    ("backbone", "stride"),
    [("tf_efficientnet_lite0", 16), ("efficientnet_lite0", 16), ("tf_efficientnetv2_b0", 8)],
)
def test_it_is_timms_own_on_a_wider_picture(backbone: str, stride: int) -> None:
    trunk = _trunk(backbone, stride)
    images = torch.randn(2, 3, 32, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wide = trunk(F.pad(images, (_WRAP, _WRAP, 0, 0), mode="circular"))[0]
        found = run_stages(trunk.blocks, run_stem(trunk.conv_stem, trunk.bn1, images))
    assert found.shape[2:] == (32 // stride, 256 // stride)
    cut = _WRAP // stride
    torch.testing.assert_close(found, wide[..., cut:-cut], rtol=1e-3, atol=1e-3 * float(found.abs().max()))


@pytest.mark.parametrize(("number", "channels", "stride"), [(4, 80, 1), (3, 40, 2)])
def test_gradients_are_those_of_norms_that_are_not_folded(number: int, channels: int, stride: int) -> None:
    trunk = _trunk("tf_efficientnet_lite0")
    features = torch.randn(2, channels, 4, 32, generator=torch.Generator().manual_seed(1))
    stage = trunk.blocks[number]
    assert stage[0].conv_dw.stride == (stride, stride)
    found = []
    for images in (features, F.pad(features, (32, 32, 0, 0), mode="circular")):
        trunk.zero_grad()
        wide, beyond = images.shape[-1] > 32, 32 // stride
        strip = stage(images)[..., beyond:-beyond] if wide else run_stages([stage], images)
        strip.square().mean().backward()
        found.append({name: one.grad.clone() for name, one in stage.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_norms_that_measure_are_run_as_they_are() -> None:
    trunk = _trunk("tf_efficientnet_lite0").train()
    before = trunk.blocks[0][0].bn1.running_mean.clone()
    run_stages(trunk.blocks[:1], torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(2)))
    assert not torch.equal(trunk.blocks[0][0].bn1.running_mean, before)


def test_only_efficientnets_of_known_kinds_of_blocks_run_round() -> None:
    assert runs_round(build_trunk("efficientnet_b0")[0])
    assert not runs_round(build_trunk("mobilenetv4_conv_small")[0])
    assert not runs_round(build_trunk("test_resnet")[0])
