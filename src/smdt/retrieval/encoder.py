"""What evaluation, index and training ask of every retrieval model, whatever its network.

A model gives a *strip* for an image: features in azimuth order, (C, W'), one column for each part of the circle. A
model that gives one global descriptor gives a strip of one column. It is compared by the same cosine; it has one turn
only, so it finds no heading, and a query whose heading is known has to be turned before it is embedded.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from smdt.errors import ConfigError
from smdt.geometry.mapping import MAPPINGS

if TYPE_CHECKING:
    from smdt.retrieval.aerial_views import GroundViews

View = Literal["ground", "aerial"]
VIEWS: tuple[View, View] = ("ground", "aerial")
AERIAL_INPUTS = ("mapped", "ground_view", "both")
"""What the aerial branch reads: the mapped tile; Ig′, the ground view that a dual conditional GAN makes of the tile
alone; or both."""
BEYOND = ("black", "mirror")
"""What a network sees beyond the edges of a photo that does not show the whole circle."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderConfig:
    """What every model says of itself; stored beside its weights.

    Attributes:
        name: the model's name.
        mapping: aerial mapping, ``polar``, ``perspective`` or ``mixed``; ``none`` leaves the aerial image square,
            ``tile_px`` on a side.
        height_px: rows of panoramas and mapped aerial images.
        width_px: columns of the same.
        tile_side_m: side of the aerial tiles it was trained on; 0 if on none in particular.
        tile_px: pixels a tile's side is read with before it is mapped.
        remove_mean: whether each view's mean is removed (untrained features need it).
        scale: softmax temperature's inverse, for confidences.
        aerial_input: what the aerial branch reads, one of ``AERIAL_INPUTS``. With ``both`` one network embeds mapped
            tile and Ig′, and the strip of Ig′ is added with a learned weight for each channel, 0 in a new model.
        cgan: the dual conditional GAN that makes Ig′: one that ships, or a folder, seen from the model's own.
        cgan_fingerprint: of that model as it was in training; another one is refused.
        beyond: what its network sees where a photo shows nothing, ``black`` or ``mirror``, the photo mirrored at its
            edges; see :func:`smdt.geometry.panorama.mirror_beyond` and ``mirror_above_and_below``.
        camera_within_m: how far off the tile's centre, east and north each, cameras stood in training; 0: not said.
            Where they may stand further off, a tile is embedded round several points; see
            :mod:`smdt.retrieval.centres`.
        mirrored: whether matching sees each picture's mirror image as well; see
            :mod:`smdt.retrieval.embedding`. No training does anything else for it, so a model that was trained with
            mirror images can be given it afterwards.
    """

    family: ClassVar[str] = ""

    name: str
    mapping: str = "polar"
    height_px: int = 128
    width_px: int = 512
    tile_side_m: float = 0.0
    tile_px: int = 256
    remove_mean: bool = False
    scale: float = 20.0
    aerial_input: str = "mapped"
    cgan: str = ""
    cgan_fingerprint: str = ""
    beyond: str = "black"
    camera_within_m: float = 0.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        """Refuse what no model can be."""
        if self.mapping not in (*MAPPINGS, "none"):
            raise ConfigError(
                f"mapping '{self.mapping}' is unknown",
                where="mapping",
                remedy=f"choose from {', '.join(MAPPINGS)}, none",
            )
        if min(self.height_px, self.width_px, self.tile_px) < 1:
            raise ConfigError(
                "an image needs at least one row and one column", where="height_px/width_px/tile_px"
            )
        if self.beyond not in BEYOND:
            raise ConfigError(
                f"beyond a photo's edges nothing can be '{self.beyond}'",
                where="beyond",
                remedy=f"choose from {', '.join(BEYOND)}",
            )
        if not 0.0 <= self.camera_within_m < math.inf:
            raise ConfigError(
                f"cameras cannot stand within {self.camera_within_m} m of a tile's centre",
                where="camera_within_m",
                remedy="give metres, or 0 where nothing is known",
            )
        self._check_aerial_input()

    def _check_aerial_input(self) -> None:
        if self.aerial_input not in AERIAL_INPUTS:
            raise ConfigError(
                f"an aerial branch cannot read '{self.aerial_input}'",
                where="aerial_input",
                remedy=f"choose from {', '.join(AERIAL_INPUTS)}",
            )
        if self.aerial_input == "mapped":
            return
        if not self.cgan:
            raise ConfigError(
                f"aerial_input {self.aerial_input} needs ground views, and no model is named that makes them",
                where="cgan",
                remedy="name dual-cgan, or a folder of `smdt train dual-cgan`",
            )
        if self.mapping == "none":
            raise ConfigError(
                "ground views are in the panorama's frame, and a square tile is not",
                where="mapping",
                remedy="choose polar, perspective or mixed",
            )

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """Settings that have a name of their own, by that name; a config's key ``variant`` chooses one."""
        return {}

    def image_shape(self, view: View) -> tuple[int, int]:
        """Rows and columns of the images that a view's network takes."""
        if view == "aerial" and self.mapping == "none":
            return self.tile_px, self.tile_px
        return self.height_px, self.width_px

    def image_channels(self, view: View) -> int:
        """Channels of these images: six where mapped tile and Ig′ come together."""
        return 6 if view == "aerial" and self.aerial_input == "both" else 3


class Encoder(nn.Module, ABC):
    """A model of one family: strips of ground panoramas and of aerial images.

    Args:
        config: what it is.
        channels: features of a column.
        columns: columns of a strip; 1 for a global descriptor.
        pixel_mean: of each colour, removed before the network.
        pixel_std: of each colour, divided by before the network.

    Attributes:
        ground_mean: (C,) mean of the ground view's strips, for models whose mean is removed; one for both where
            mirror images are seen as well.
        ground_view_weight: (C,) of Ig′'s strip beside the mapped tile's; None unless the aerial input is ``both``.
        ground_views: makes Ig′ of tiles; None unless the aerial input needs it, and then set by
            :func:`smdt.retrieval.aerial_views.attach_ground_views`. It is no part of the network's weights.
    """

    ground_mean: Tensor
    ground_view_weight: nn.Parameter | None

    def __init__(
        self,
        config: EncoderConfig,
        *,
        channels: int,
        columns: int,
        pixel_mean: tuple[float, ...] = IMAGENET_MEAN,
        pixel_std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.columns = columns
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("ground_mean", torch.zeros(channels))
        both = config.aerial_input == "both"
        self.ground_view_weight = nn.Parameter(torch.zeros(channels)) if both else None
        self.ground_views: GroundViews | None = None

    def forward(self, images: Tensor, view: View) -> Tensor:
        """Strips of images.

        Args:
            images: (B, 3, H, W) RGB in [0, 1], of ``config.image_shape(view)``; panoramas with their heading in the
                centre column, or aerial images, mapped or, with mapping ``none``, square and north up. Where the
                aerial input is ``ground_view`` Ig′, and where it is ``both`` (B, 6, H, W), the mapped tile and Ig′.
            view: which of the two.

        Returns:
            (B, C, W') in azimuth order, not centred.
        """
        if view == "aerial" and self.ground_view_weight is not None:
            mapped, made = images.chunk(2, dim=1)
            return self.joined(self.strips(mapped, view), self.strips(made, view))
        return self.strips(images, view)

    def joined(self, mapped: Tensor, made: Tensor) -> Tensor:
        """The strip (B, C, W') of an aerial tile from those of its mapped image and of Ig′."""
        assert self.ground_view_weight is not None  # the aerial input is both
        return mapped + self.ground_view_weight[:, None] * made

    @abstractmethod
    def strips(self, images: Tensor, view: View) -> Tensor:
        """Strips (B, C, W') of images (B, 3, H, W) as in :meth:`forward`, three channels each."""

    @abstractmethod
    def trunks(self) -> tuple[nn.Module, ...]:
        """The parts that may start from weights of another task and then want a gentler learning rate."""

    @property
    def finds_heading(self) -> bool:
        """Whether a strip has more than one turn."""
        return self.columns > 1

    def normalise_pixels(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] as the network wants them: each colour's mean removed, over its deviation."""
        return (images - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_std")
