"""Two published methods as plain baselines: SAFA's spatial-aware aggregation, and a weight-shared siamese backbone.

Both give global descriptors, strips of one column. They are written from the papers on timm's backbones, small by
default; the published sizes are settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt import torchvision_guard
from smdt.errors import ConfigError, ModelError
from smdt.retrieval.encoder import VIEWS, Encoder, EncoderConfig, View
from smdt.retrieval.siamese import build_trunk

_START_STD, _START_BIAS = 0.005, 0.1


@dataclass(frozen=True)
class SafaConfig(EncoderConfig):
    """What a SAFA model is.

    Attributes:
        backbone: a timm model; each view has one of its own.
        stride: of the features taken from it; published is 32, VGG16's last pooling.
        heads: spatial-aware embeddings, each C features of the descriptor.
    """

    family: ClassVar[str] = "safa"

    backbone: str = "tf_efficientnet_lite0"
    stride: int = 16
    heads: int = 8

    def __post_init__(self) -> None:
        """Refuse what has no features or no head."""
        super().__post_init__()
        if self.heads < 1:
            raise ConfigError(
                "a descriptor needs a head", where="heads", remedy="give 1 or more; published is 8"
            )
        for view in VIEWS:
            rows, columns = self.image_shape(view)
            if (-(-rows // self.stride)) * (-(-columns // self.stride)) < 2:
                raise ConfigError(
                    f"{view} images of {rows}×{columns} pixels have one feature at stride {self.stride}",
                    where="height_px/width_px/stride",
                )

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """The published size."""
        return {"VGG16": {"backbone": "vgg16", "stride": 32, "height_px": 112, "width_px": 616}}


class SpatialAttention(nn.Module):
    """Weights of places, one set a head, out of where the features are strong.

    The maximum over channels at each place passes two linear maps, N to N/2 and back to N, without a bend in between.

    Args:
        places: N.
        heads: sets of weights.

    Source: SAFA, section 3.2.
    """

    def __init__(self, places: int, heads: int) -> None:
        super().__init__()
        self.narrow = nn.Parameter(torch.empty(heads, places, places // 2))
        self.narrow_bias = nn.Parameter(torch.full((heads, places // 2), _START_BIAS))
        self.wide = nn.Parameter(torch.empty(heads, places // 2, places))
        self.wide_bias = nn.Parameter(torch.full((heads, places), _START_BIAS))
        for weight in (self.narrow, self.wide):
            nn.init.trunc_normal_(weight, std=_START_STD, a=-2 * _START_STD, b=2 * _START_STD)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, N) to weights (B, heads, N)."""
        strongest = features.amax(dim=1)
        between = torch.einsum("bn,hnm->bhm", strongest, self.narrow) + self.narrow_bias
        weights: Tensor = torch.einsum("bhm,hmn->bhn", between, self.wide) + self.wide_bias
        return weights


class Safa(Encoder):
    """Spatial-aware feature aggregation: each head sums the features over places with weights of its own.

    Args:
        config: what to build, with random weights.

    Raises:
        ModelError: if timm has no such backbone, or it has no features of that stride.

    Source: Shi et al., Spatial-Aware Feature Aggregation for Cross-View Image Based Geo-Localization, NeurIPS 2019.
    """

    config: SafaConfig

    def __init__(self, config: SafaConfig) -> None:
        backbones, attentions = nn.ModuleDict(), nn.ModuleDict()
        for view in VIEWS:
            trunk, features, (mean, std) = build_trunk(config.backbone, config.stride)
            with torch.inference_mode():
                probe = trunk(torch.zeros(1, 3, *config.image_shape(view)))[0]
            backbones[view] = trunk
            attentions[view] = SpatialAttention(probe.shape[2] * probe.shape[3], config.heads)
        super().__init__(config, channels=features * config.heads, columns=1, pixel_mean=mean, pixel_std=std)
        self.backbones, self.attentions = backbones, attentions

    def strips(self, images: Tensor, view: View) -> Tensor:
        """Descriptors as strips of one column.

        Args:
            images: (B, 3, H, W) RGB in [0, 1], of ``config.image_shape(view)``.
            view: whose trunk and heads.

        Returns:
            (B, C·heads, 1) of unit norm.
        """
        pixels = self.normalise_pixels(images).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.backbones[view](pixels)[0].flatten(2)
        descriptors = torch.einsum("bcn,bhn->bch", features, self.attentions[view](features))
        return F.normalize(descriptors.flatten(1), dim=1)[..., None]

    def trunks(self) -> tuple[nn.Module, ...]:
        """Both backbones."""
        return tuple(self.backbones[view] for view in VIEWS)


@dataclass(frozen=True)
class SharedBackboneConfig(EncoderConfig):
    """What a Sample4Geo-style model is: no mapping, the square aerial image ``tile_px`` on a side.

    Attributes:
        backbone: a timm model that pools globally; one for both views.
    """

    family: ClassVar[str] = "sample4geo"

    mapping: str = "none"
    backbone: str = "convnext_atto"

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """The published size on CVUSA."""
        return {
            "ConvNeXt-B": {"backbone": "convnext_base", "height_px": 140, "width_px": 768, "tile_px": 384}
        }


class SharedBackbone(Encoder):
    """One backbone for both views, pooled globally.

    Args:
        config: what to build, with random weights.

    Raises:
        ModelError: if timm has no such backbone, or it does not take images of these sizes.

    Source: Deuser et al., Sample4Geo: Hard Negative Sampling For Cross-View Geo-Localisation, ICCV 2023.
    """

    config: SharedBackboneConfig

    def __init__(self, config: SharedBackboneConfig) -> None:
        torchvision_guard.install()
        import timm

        if not timm.is_model(config.backbone):
            raise ModelError(
                "timm has no such backbone",
                where=config.backbone,
                remedy="see timm.list_models() for those it has",
            )
        backbone: Any = timm.create_model(config.backbone, pretrained=False, num_classes=0)
        try:
            with torch.inference_mode():
                for view in VIEWS:
                    pooled = backbone.eval()(torch.zeros(1, 3, *config.image_shape(view)))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"this backbone does not take images of both sizes ({str(error).splitlines()[0]})",
                where=config.backbone,
                remedy="choose a convolutional one, such as convnext_atto",
            ) from error
        settings = backbone.default_cfg
        super().__init__(
            config,
            channels=pooled.shape[1],
            columns=1,
            pixel_mean=tuple(settings["mean"]),
            pixel_std=tuple(settings["std"]),
        )
        self.backbone = backbone

    def strips(self, images: Tensor, view: View) -> Tensor:
        """Descriptors as strips of one column; both views go through the same weights.

        Args:
            images: (B, 3, H, W) RGB in [0, 1], of ``config.image_shape(view)``.
            view: which view; it changes nothing here.

        Returns:
            (B, C, 1) of unit norm.
        """
        pixels = self.normalise_pixels(images).contiguous(memory_format=torch.channels_last)
        return F.normalize(self.backbone(pixels), dim=1)[..., None]

    def trunks(self) -> tuple[nn.Module, ...]:
        """The backbone."""
        return (self.backbone,)
