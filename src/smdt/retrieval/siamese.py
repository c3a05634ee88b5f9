"""The thin siamese descriptor: one convolutional trunk for both views, features kept in azimuth order.

The trunk gives stride-16 features of the 128×512 panorama and of the 128×512 mapped aerial image: 8 elevation
rows × 32 azimuths. Without a head (model ``imagenet``) the rows are stacked into a strip as they are, and
each view's mean is removed. With a head (model ``town``) one learned projection a view folds features and
rows into a few channels. Columns are padded with their neighbours round the circle, so that a turned panorama
gives a turned strip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt import torchvision_guard
from smdt.errors import ModelError
from smdt.retrieval.encoder import VIEWS, Encoder, EncoderConfig, View

_WRAP_PX = 32
_STRIDE = 16


@dataclass(frozen=True)
class SiameseConfig(EncoderConfig):
    """What a siamese model is.

    Attributes:
        backbone: a timm model with stride-16 features.
        strip_channels: channels of the learned strip; 0 stacks the trunk's features as they are.
    """

    family: ClassVar[str] = "siamese"

    backbone: str = "tf_efficientnet_lite0"
    strip_channels: int = 0


class Siamese(Encoder):
    """Strips of ground panoramas and mapped aerial images.

    Args:
        config: what to build. The trunk starts with random weights; see ``models.load_model``.

    Raises:
        ModelError: if timm has no such backbone, it has no stride-16 features, or the aerial image is not mapped.
    """

    config: SiameseConfig

    def __init__(self, config: SiameseConfig) -> None:
        if config.mapping == "none":
            raise ModelError(
                "a siamese model compares both views in the panorama frame, so its aerial images are mapped",
                where="mapping",
                remedy="choose polar, perspective or mixed",
            )
        trunk, features, (mean, std) = build_trunk(config.backbone)
        rows = config.height_px // _STRIDE
        super().__init__(
            config,
            channels=config.strip_channels or features * rows,
            columns=config.width_px // _STRIDE,
            pixel_mean=mean,
            pixel_std=std,
        )
        self.trunk = trunk
        self.heads = nn.ModuleDict()
        if config.strip_channels:
            for view in VIEWS:
                self.heads[view] = nn.Conv2d(features, config.strip_channels, (rows, 1))

    def trunks(self) -> tuple[nn.Module, ...]:
        """The trunk, one for both views."""
        return (self.trunk,)

    def strips(self, images: Tensor, view: View) -> Tensor:
        """Strips of images.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; panoramas, or mapped aerial images.
            view: which of the two.

        Returns:
            (B, C, W/16), neither centred nor normalised.
        """
        padded = F.pad(self.normalise_pixels(images), (_WRAP_PX, _WRAP_PX, 0, 0), mode="circular")
        padded = padded.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.trunk(padded)[0]
        cut = _WRAP_PX // _STRIDE
        features = features[..., cut:-cut]
        if self.config.strip_channels:
            strip: Tensor = self.heads[view](features)
            return strip.squeeze(2)
        return features.flatten(1, 2)


def build_trunk(
    backbone: str, stride: int = _STRIDE
) -> tuple[nn.Module, int, tuple[tuple[float, ...], tuple[float, ...]]]:
    """A timm backbone cut at a stride: the module, its channels, and the pixel mean and deviation it wants.

    Raises:
        ModelError: if timm has no such backbone, or it has no features of that stride.
    """
    torchvision_guard.install()
    import timm

    if not timm.is_model(backbone):
        raise ModelError(
            "timm has no such backbone", where=backbone, remedy="see timm.list_models() for those it has"
        )
    try:
        probe: Any = timm.create_model(backbone, features_only=True, pretrained=False)
        level = list(probe.feature_info.reduction()).index(stride)
        trunk: nn.Module = timm.create_model(
            backbone, features_only=True, pretrained=False, out_indices=(level,)
        )
        with torch.inference_mode():
            trunk.eval()(torch.zeros(1, 3, 64, 128))  # some take one image size only
    except (ValueError, RuntimeError, AttributeError, AssertionError) as error:
        raise ModelError(
            f"this backbone gives no stride-{stride} feature map for images of any size",
            where=backbone,
            remedy="choose a convolutional one, such as tf_efficientnet_lite0 or resnet50",
        ) from error
    _drop_unused_stages(trunk)
    settings = probe.default_cfg
    return trunk, int(probe.feature_info.channels()[level]), (tuple(settings["mean"]), tuple(settings["std"]))


def _drop_unused_stages(trunk: nn.Module) -> None:
    """Delete the stages behind the last one whose features are asked for; timm keeps, and runs, EfficientNet's."""
    last = getattr(trunk, "_stage_out_idx", None)
    blocks = getattr(trunk, "blocks", None)
    if isinstance(last, dict) and isinstance(blocks, nn.Sequential):
        del blocks[max(last) :]
