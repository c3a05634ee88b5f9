"""The compact model that ships: one trunk and one head for both views, a strip of a few channels in azimuth order.

In the panorama's frame a thing stands in about the same row in both views, mapped aerial image and panorama, and has
about the same colour and grain. So both views share not only the trunk but the head: what is learned of one is true of
the other, and on real pictures a shared head keeps more of what ImageNet taught than a head for each view
(``docs/compact.md`` has the figures). The head folds features and elevation rows into C channels by one convolution,
and then lets neighbouring azimuths speak to each other, as what stands near the camera moves sideways when the camera
is off the tile's centre.

Before the head there may be blocks of each view's own, over rows and azimuths: what a hill or an upright thing does to
a row is not the same in a panorama as in a tile. They begin as nothing, and add what helps.

With mapping ``none`` nothing is aligned: a column of the tile is no azimuth. Then each view has a first convolution of
its own, and the strip is averaged over its columns into one global descriptor.

The network can be had in two parts: early stages, up to stride 8, and the rest. Both run round the circle
(:mod:`smdt.retrieval.round_trunk`), so a picture turned by whole columns gives the strip turned, not only nearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.errors import ModelError
from smdt.retrieval.encoder import VIEWS, Encoder, EncoderConfig, View
from smdt.retrieval.round_trunk import run_stages, run_stem, runs_round
from smdt.retrieval.siamese import build_trunk

_WRAP_PX = 32
_STRIDE = 16
_FRONT_STRIDE = 8


@dataclass(frozen=True)
class CompactConfig(EncoderConfig):
    """What a compact model is.

    Attributes:
        backbone: a timm model with stride-16 features, shared by both views.
        strip_channels: channels of the strip.
        context: azimuth columns, an odd number, over which neighbours are mixed; 1 for none.
        blocks: residual blocks of each view's own between trunk and head; 0 for none.
    """

    family: ClassVar[str] = "compact"

    backbone: str = "tf_efficientnet_lite0"
    strip_channels: int = 64
    context: int = 3
    blocks: int = 0


class Compact(Encoder):
    """Strips (B, C, W/16) of panoramas and mapped aerial images, by one network for both.

    Args:
        config: what to build. Weights are random; trainings start the trunk from ImageNet's.

    Raises:
        ModelError: if timm has no such backbone, it has no stride-16 features, the context has no middle, or blocks are
            asked for where columns are no azimuths.

    Attributes:
        front_stages: stages of the trunk that are its :meth:`front`; 0 where the backbone cannot be split.
    """

    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        if config.context < 1 or config.context % 2 == 0 or config.strip_channels < 1:
            raise ModelError(
                f"a context of {config.context} columns and {config.strip_channels} channels make no strip",
                where="context/strip_channels",
                remedy="give an odd context, and one channel or more",
            )
        if config.blocks < 0 or (config.blocks and config.mapping == "none"):
            raise ModelError(
                f"{config.blocks} blocks cannot be had with mapping {config.mapping}",
                where="blocks",
                remedy="give 0 or more, and a mapping where it is more than 0",
            )
        trunk, features, (mean, std) = build_trunk(config.backbone)
        super().__init__(
            config,
            channels=config.strip_channels,
            columns=1 if config.mapping == "none" else config.width_px // _STRIDE,
            pixel_mean=mean,
            pixel_std=std,
        )
        self.trunk = trunk
        self.front_stages = _front_stages(trunk)
        self.blocks: nn.ModuleDict | None = None
        if config.blocks:
            self.blocks = nn.ModuleDict(
                {view: nn.Sequential(*(_Block(features) for _ in range(config.blocks))) for view in VIEWS}
            )
        self.fold = nn.Conv2d(features, config.strip_channels, (config.height_px // _STRIDE, 1))
        self.aerial_fold: nn.Conv2d | None = None
        if config.mapping == "none":
            self.aerial_fold = nn.Conv2d(features, config.strip_channels, (config.height_px // _STRIDE, 1))
        self.mix = nn.Conv1d(config.strip_channels, config.strip_channels, config.context)
        nn.init.zeros_(self.mix.weight)  # a training begins without neighbours, and adds them as they help
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def trunks(self) -> tuple[nn.Module, ...]:
        """The trunk, one for both views."""
        return (self.trunk,)

    def strips(self, images: Tensor, view: View) -> Tensor:
        """Strips of images.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; panoramas, or mapped aerial images; square ones with mapping ``none``.
            view: which of the two; the network is the same where aerial images are mapped.

        Returns:
            (B, C, W/16), or (B, C, 1) with mapping ``none``; neither centred nor normalised.
        """
        if self.front_stages:
            return self._strip(self._late(self._front(images)), view)
        padded = _wrapped(self.normalise_pixels(self._framed(images)), _WRAP_PX)
        features: Tensor = self.trunk(padded)[0]
        wrapped = _WRAP_PX // _STRIDE
        return self._strip(features[..., wrapped:-wrapped], view)

    def front(self, images: Tensor) -> Tensor:
        """Features of the trunk's early stages: what a training can compute once when these stages do not learn.

        Args:
            images: (B, 3, H, W) RGB in [0, 1], or (B, 6, H, W), mapped tiles and Ig′; see :meth:`Encoder.forward`.

        Returns:
            (B, C', H/8, W/8), or of both (B, 2C', H/8, W/8); columns are a circle, as the images' are.

        Raises:
            ModelError: if the backbone cannot be split (``front_stages`` is 0).
        """
        if not self.front_stages:
            raise ModelError(
                "this backbone has no early part that can be had by itself",
                where=self.config.backbone,
                remedy="choose an EfficientNet whose features have stride 8 on the way, or do without the split",
            )
        return torch.cat([self._front(one) for one in images.chunk(images.shape[1] // 3, dim=1)], dim=1)

    def _front(self, images: Tensor) -> Tensor:
        """Early features of three channels."""
        trunk: Any = self.trunk
        images = self.normalise_pixels(self._framed(images))
        return run_stages(self._stages()[: self.front_stages], run_stem(trunk.conv_stem, trunk.bn1, images))

    def back(self, features: Tensor, view: View = "ground") -> Tensor:
        """Strips of what :meth:`front` gives.

        Args:
            features: (B, C', H/8, W/8), or of mapped tiles and Ig′ (B, 2C', H/8, W/8).
            view: whose they are.

        Returns:
            (B, C, W/16), neither centred nor normalised.
        """
        parts = features.chunk(2 if view == "aerial" and self.ground_view_weight is not None else 1, dim=1)
        return self.head(torch.cat([self._late(one) for one in parts], dim=1), view)

    def features(self, images: Tensor) -> Tensor:
        """The trunk's features: what a training can compute once when nothing but the head learns.

        Args:
            images: as for :meth:`front`.

        Returns:
            (B, C'', H/16, W/16), or of mapped tiles and Ig′ (B, 2C'', H/16, W/16).
        """
        parts = images.chunk(images.shape[1] // 3, dim=1)
        return torch.cat([self._late(self._front(one)) for one in parts], dim=1)

    def head(self, features: Tensor, view: View) -> Tensor:
        """Strips (B, C, W/16) of what :meth:`features` gives of a view."""
        if view == "aerial" and self.ground_view_weight is not None:
            return self.joined(*(self._strip(half, view) for half in features.chunk(2, dim=1)))
        return self._strip(features, view)

    def _late(self, features: Tensor) -> Tensor:
        """The trunk's features of its early ones."""
        return run_stages(
            self._stages()[self.front_stages :], features.contiguous(memory_format=torch.channels_last)
        )

    def front_modules(self) -> tuple[nn.Module, ...]:
        """The modules of :meth:`front`, in order; none where the backbone cannot be split."""
        if not self.front_stages:
            return ()
        trunk: Any = self.trunk
        return trunk.conv_stem, trunk.bn1, *self._stages()[: self.front_stages]

    def _stages(self) -> list[nn.Module]:
        stages: Any = self.trunk.blocks
        return list(stages)

    def _framed(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) of the panorama's size; a square tile is stretched to it."""
        size = (self.config.height_px, self.config.width_px)
        if self.config.mapping != "none" or images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)

    def _strip(self, features: Tensor, view: View) -> Tensor:
        """The strip of the trunk's features (B, C'', H/16, W/16)."""
        if self.blocks is not None:
            features = self.blocks[view](features)
        own = self.aerial_fold if view == "aerial" else None
        strip: Tensor = (own or self.fold)(features).squeeze(2)
        reach = self.config.context // 2
        around = F.pad(F.gelu(strip), (reach, reach), mode="circular") if reach else F.gelu(strip)
        mixed: Tensor = self.mix(around)
        return strip + mixed if self.aerial_fold is None else (strip + mixed).mean(dim=2, keepdim=True)


class _Block(nn.Module):
    """A residual block on features (B, C, R, L): each channel's surroundings, then a perceptron of each cell.

    Azimuth is a circle; above and below there is nothing. It is the identity until something is learned.

    Args:
        channels: C.
        reach: rows and columns looked at to either side.
        wider: hidden channels, as a multiple of C.
    """

    def __init__(self, channels: int, reach: int = 2, wider: int = 2) -> None:
        super().__init__()
        self.reach = reach
        self.around = nn.Conv2d(channels, channels, 2 * reach + 1, groups=channels)
        self.widen = nn.Conv2d(channels, wider * channels, 1)
        self.narrow = nn.Conv2d(wider * channels, channels, 1)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        around = F.pad(_wrapped(features, self.reach), (0, 0, self.reach, self.reach))
        added: Tensor = self.narrow(F.gelu(self.widen(self.around(around))))
        return features + added


def _wrapped(features: Tensor, columns: int) -> Tensor:
    """Features (B, C, H, W) with columns from round the circle added on both sides, channels last."""
    padded = F.pad(features, (columns, columns, 0, 0), mode="circular")
    return padded.contiguous(memory_format=torch.channels_last)


def _front_stages(trunk: nn.Module) -> int:
    """How many of a trunk's stages make its features of stride 8; 0 unless it can be run in parts."""
    if not runs_round(trunk):
        return 0
    about: Any = trunk.feature_info
    by_stride = {one["reduction"]: int(one["stage"]) for one in about.info}
    return by_stride.get(_FRONT_STRIDE, 0)
