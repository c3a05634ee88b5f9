"""Stage 3: the dual conditional GAN. An aerial image in the panorama's frame becomes a ground-view picture.

G1 makes ground labels Sg′ of the mapped aerial image Ia; G2 makes the ground image Ig′ of Sg′. Both are made of the
aerial image alone: nothing of the ground image can reach them, in training or after.

Established (figure 3 of SMDT): G1 and G2 in a row; D1 judges labels given Ia, D2 judges images given Sg′. The
networks' shapes are those of PanoGAN, which SMDT's published code carries. Reconstruction, each a setting: labels as a
colour picture or as class probabilities, whether G2 sees Ia too, and how feedback joins the two generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.alignment.discriminators import FeaturePyramidDiscriminator
from smdt.alignment.generators import Generator
from smdt.alignment.labels import PALETTE
from smdt.alignment.layers import start_weights
from smdt.errors import ConfigError, ImageryError
from smdt.geometry.mapping import DEFAULT_CAMERA_HEIGHT_M, DEFAULT_JOIN_M, MAPPINGS, aerial_grid, map_aerial

Labels = Literal["colours", "classes"]
LABELS: tuple[str, ...] = get_args(Labels)
CLASSES = len(PALETTE)


@dataclass(frozen=True)
class DualCganConfig:
    """What a dual conditional GAN is and what it is fed.

    Attributes:
        name: the model's name.
        height_px: rows of all pictures, a multiple of 16.
        width_px: columns of all pictures, 360°, a multiple of 16.
        mapping: brings the aerial tile to the panorama's frame.
        tile_side_m: side of the aerial tile (perspective and mixed).
        camera_height_m: of the mapping (perspective and mixed).
        join_m: where mixed turns from perspective to polar.
        generator_filters: filters of the generators' first stage; 64 is published.
        discriminator_filters: filters of the discriminators' first stage; 64 is published.
        encoder_blocks: residual blocks before the generators' middle; 4 is published.
        decoder_blocks: residual blocks after it; 5 is published.
        dropout: within the residual blocks while training; 0.5 is published.
        labels: ``colours``, a picture by the palette (as figure 3 shows it), or ``classes``, a probability for each.
        aerial_to_image: G2 sees the mapped aerial image beside Sg′; figure 3 does not show that.
        wrap: columns go on from the other end; the published networks do not.
        feedback_loops: more passes, whose decoders see what the discriminators made of the pass before.
        feedback_share: weight of that.
    """

    name: str = "dual-cgan"
    height_px: int = 128
    width_px: int = 512
    mapping: str = "mixed"
    tile_side_m: float = 100.0
    camera_height_m: float = DEFAULT_CAMERA_HEIGHT_M
    join_m: float = DEFAULT_JOIN_M
    generator_filters: int = 64
    discriminator_filters: int = 64
    encoder_blocks: int = 4
    decoder_blocks: int = 5
    dropout: float = 0.5
    labels: str = "colours"
    aerial_to_image: bool = False
    wrap: bool = False
    feedback_loops: int = 0
    feedback_share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("height_px", "width_px"):
            size = getattr(self, name)
            if size < 32 or size % 16:
                raise ConfigError(
                    f"setting '{name}' is {size}", where=name, remedy="give a multiple of 16, 32 or more"
                )
        if self.mapping not in MAPPINGS:
            raise ConfigError(
                f"mapping '{self.mapping}' is unknown",
                where="mapping",
                remedy=f"choose from {', '.join(MAPPINGS)}",
            )
        if self.labels not in LABELS:
            raise ConfigError(
                f"labels cannot be '{self.labels}'", where="labels", remedy=f"choose from {', '.join(LABELS)}"
            )
        if min(self.generator_filters, self.discriminator_filters) < 1:
            raise ConfigError(
                "a network without filters makes nothing", where="generator_filters", remedy="give 1 or more"
            )
        if min(self.encoder_blocks, self.decoder_blocks, self.feedback_loops) < 0:
            raise ConfigError("blocks and loops are counted from 0", where="encoder_blocks", remedy="give 0")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(
                f"dropout of {self.dropout} leaves nothing", where="dropout", remedy="give 0 to below 1"
            )

    @property
    def label_channels(self) -> int:
        """Channels of a label map as the networks see it."""
        return 3 if self.labels == "colours" else CLASSES


class Synthesis(NamedTuple):
    """What the generators make.

    Attributes:
        labels: (B, L, H, W), Sg′: colours in [-1, 1], or class probabilities.
        image: (B, 3, H, W), Ig′.
    """

    labels: Tensor
    image: Tensor


class DualCgan(nn.Module):
    """The four networks. Weights are drawn from ``generator``, or from a fixed seed.

    Args:
        config: what to build.
        judged: with discriminators; without, it can be applied but not trained. Feedback needs them always.
        generator: where the start weights come from.
    """

    def __init__(
        self, config: DualCganConfig, *, judged: bool = True, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config
        labels = config.label_channels

        def made(inputs: int, outputs: int, *, probabilities: bool) -> Generator:
            return Generator(
                inputs,
                outputs,
                filters=config.generator_filters,
                encoder_blocks=config.encoder_blocks,
                decoder_blocks=config.decoder_blocks,
                dropout=config.dropout,
                output="softmax" if probabilities else "tanh",
                wrap=config.wrap,
                feedback=2 * config.discriminator_filters if config.feedback_loops else 0,
            )

        def judge(inputs: int) -> FeaturePyramidDiscriminator:
            return FeaturePyramidDiscriminator(inputs, filters=config.discriminator_filters, wrap=config.wrap)

        self.g1 = made(3, labels, probabilities=config.labels == "classes")
        self.g2 = made(labels + (3 if config.aerial_to_image else 0), 3, probabilities=False)
        if judged or config.feedback_loops:
            self.d1, self.d2 = judge(3 + labels), judge(labels + 3)
        start_weights(self, generator or torch.Generator().manual_seed(0))

    def forward(self, aerial: Tensor) -> Synthesis:
        """Make labels and ground image of mapped aerial images.

        Args:
            aerial: (B, 3, H, W), RGB in [0, 1], in the panorama's frame.

        Returns:
            Sg′ as the networks know it (see :func:`class_map`), and Ig′ (B, 3, H, W), RGB in [0, 1].
        """
        made = self.passes(aerial * 2.0 - 1.0)[-1]
        return Synthesis(made.labels, (made.image + 1.0) / 2.0)

    def passes(self, aerial: Tensor) -> list[Synthesis]:
        """All passes for mapped aerial images (B, 3, H, W) in [-1, 1]: one, and one more for each feedback loop."""
        made = [self._once(aerial, None)]
        for _ in range(self.config.feedback_loops):
            labels, image = made[-1]
            judged = zip(self.d1(aerial, labels).feedback, self.d2(labels, image).feedback, strict=True)
            made.append(self._once(aerial, [torch.cat(both, dim=1) for both in judged]))
        return made

    def _once(self, aerial: Tensor, feedback: Sequence[Tensor] | None) -> Synthesis:
        share = self.config.feedback_share
        labels = self.g1(aerial, feedback, share)
        seen = torch.cat([labels, aerial], dim=1) if self.config.aerial_to_image else labels
        return Synthesis(labels, self.g2(seen, feedback, share))


def label_picture(labels: Tensor, kind: str) -> Tensor:
    """Label maps (B, H, W) as the networks see them: (B, 3, H, W) in [-1, 1], or (B, 7, H, W) of zeros and ones."""
    wide = labels.long()
    if kind == "classes":
        return F.one_hot(wide, CLASSES).permute(0, 3, 1, 2).float()
    return _palette(labels.device)[wide].permute(0, 3, 1, 2)


def class_map(pictures: Tensor, kind: str) -> Tensor:
    """The classes that made labels show, (B, H, W) uint8: the likeliest, or the one of the nearest colour."""
    if kind == "classes":
        return pictures.argmax(dim=1).to(torch.uint8)
    colours = _palette(pictures.device).to(pictures.dtype)
    far = [((pictures - one[:, None, None]) ** 2).sum(dim=1) for one in colours]
    return torch.stack(far, dim=1).argmin(dim=1).to(torch.uint8)


def _palette(device: torch.device) -> Tensor:
    return torch.tensor(PALETTE, dtype=torch.float32, device=device) / 127.5 - 1.0


def map_tiles(tiles: Tensor, config: DualCganConfig) -> Tensor:
    """Bring aerial tiles to the frame a model works in.

    Args:
        tiles: (B, 3, S, S) uint8, north up, of ``config.tile_side_m``.
        config: of the model.

    Returns:
        (B, 3, H, W) float32 in [0, 1].

    Raises:
        GeometryError: if a tile is not square.
    """
    grid = aerial_grid(
        config.mapping,
        tiles.shape[-1],
        config.height_px,
        config.width_px,
        half_side_m=config.tile_side_m / 2.0,
        camera_height_m=config.camera_height_m,
        join_m=config.join_m,
    )
    return map_aerial(tiles, grid).div(255.0).clamp(0.0, 1.0)


def cut_tile(image: Tensor, side_m: float, wanted_m: float, where: str | Path | None = None) -> Tensor:
    """The middle of an aerial image (3, S, S) that is ``wanted_m`` wide on the ground.

    Args:
        image: square, north up.
        side_m: its side on the ground.
        wanted_m: side of what is cut; up to 2 % more than there is gives the whole image.
        where: the file, for messages.

    Raises:
        ImageryError: if the image is too small.
    """
    kept = round(image.shape[-1] * wanted_m / side_m)
    if kept > 1.02 * image.shape[-1]:
        raise ImageryError(
            f"covers {side_m:g} m, and the model wants {wanted_m:g} m",
            where=where,
            remedy="give a larger tile, or its true side",
        )
    first = max(0, image.shape[-1] - kept) // 2
    return image[:, first : first + kept, first : first + kept].contiguous()


@torch.no_grad()
def ground_views(model: DualCgan, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """The ground-view pictures of aerial tiles.

    Args:
        model: in evaluation mode.
        tiles: (B, 3, S, S) uint8, north up.

    Returns:
        Ig′ (B, 3, H, W) uint8, and the classes of Sg′ (B, H, W) uint8.
    """
    device = next(model.parameters()).device
    made = model(map_tiles(tiles, model.config).to(device))
    image = (made.image * 255.0).round().clamp(0, 255).byte()
    return image.cpu(), class_map(made.labels, model.config.labels).cpu()
