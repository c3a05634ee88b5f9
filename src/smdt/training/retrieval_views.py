"""From pairs as they are drawn to what the networks see: mapped, turned, mirrored, and of another light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from smdt.files import write_whole
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.retrieval.aerial_views import GroundViews
from smdt.retrieval.embedding import filled_beyond
from smdt.retrieval.encoder import EncoderConfig
from smdt.training.augmentation import (
    GroundAugmentation,
    change_square,
    ground_columns,
    kept_columns,
    occlude,
    photometric,
    seen_mask,
    take_columns,
)
from smdt.training.pairs import ViewPairs
from smdt.training.retrieval_settings import RetrievalTraining

_PICTURED = 6


@dataclass(frozen=True)
class Views:
    """A batch as the networks see it.

    Attributes:
        ground: (B, 3, H, W) in [0, 1], their heading in the centre column; black where the photo does not see, or
            mirrored there if the model wants that. Or a front's features of these, see
            :class:`smdt.training.retrieval_front.FrontCache`.
        aerial: (B, 3, H, W) mapped, or (B, 3, S, S) square; Ig′, or (B, 6, H, W) the mapped tile and Ig′; or features.
        heading_deg: (B,) in [0, 360).
        mask: (B, W') of the strip's columns, True where a query sees; None if it sees all, or has one column.
    """

    ground: Tensor
    aerial: Tensor
    heading_deg: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Turns:
    """How worlds and cameras are turned, (B,) each.

    Attributes:
        mirrored: True where the world is mirrored, east for west.
        world_px: columns by which the world is turned, under both views.
        camera_px: columns by which the camera is turned further: its heading.
    """

    mirrored: Tensor
    world_px: Tensor
    camera_px: Tensor


class ViewMaker:
    """Makes views of pairs; what is random depends on the seed, the process and the step alone.

    Args:
        settings: how pairs are changed.
        config: the model's.
        columns: of its strip.
        ground_augmentation: a change to panoramas alone, before their light is changed.
        ground_views: makes Ig′ of tiles that come square, where the model reads it.
    """

    def __init__(
        self,
        settings: RetrievalTraining,
        config: EncoderConfig,
        columns: int,
        ground_augmentation: GroundAugmentation | None = None,
        ground_views: GroundViews | None = None,
    ) -> None:
        self.settings, self.config, self.columns = settings, config, columns
        self.ground_views = ground_views
        self.ground_augmentation = ground_augmentation

    def make(
        self, pairs: ViewPairs, labels: Tensor | None, step: int, rank: int, device: torch.device
    ) -> Views:
        """The views of a step's pairs.

        Args:
            pairs: as drawn.
            labels: (B, H, W) of what the panoramas show, for ``ground_augmentation``.
            step: from 1.
            rank: the process's number.
            device: where to make them.
        """
        words = np.random.SeedSequence([self.settings.seed, rank, step, 1]).generate_state(2)
        generator = torch.Generator(device).manual_seed(int(words[0]))
        turns = self.turns(len(pairs.ground), step, generator)
        ground, aerial = self.changed(pairs, labels, turns, generator, int(words[1]))
        heading = torch.remainder(turns.camera_px * 360.0 / self.config.width_px, 360.0)
        return self._narrowed(ground, aerial, heading, step)

    def changed(
        self, pairs: ViewPairs, labels: Tensor | None, turns: Turns, generator: torch.Generator, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Both views, turned and of another light, on the generator's device.

        Args:
            pairs: as drawn.
            labels: (B, H, W) of what the panoramas show, for ``ground_augmentation``.
            turns: of these pairs.
            generator: for all that is random but the ground augmentation.
            seed: of the ground augmentation.

        Returns:
            Panoramas (B, 3, H, W) and aerial images, as in :class:`Views`; none is narrowed.
        """
        settings, config, device = self.settings, self.config, generator.device
        ground, aerial = pairs.ground.to(device), self._aerial(pairs, device)
        width, mirrored = config.width_px, turns.mirrored
        columns = ground_columns(width, turns.world_px + turns.camera_px, mirrored)
        ground = take_columns(ground, columns).float() / 255.0
        if config.mapping == "none":
            aerial = change_square(aerial, turns.world_px * 4 // width, mirrored)
        else:
            aerial = take_columns(aerial, ground_columns(width, turns.world_px, mirrored))
        if self.ground_augmentation is not None and labels is not None:
            seen = take_columns(labels.to(device), columns)
            ground = self.ground_augmentation(ground, seen, torch.Generator().manual_seed(seed))
        if settings.photometric > 0:
            parts = aerial.chunk(aerial.shape[1] // 3, dim=1)  # Ig′ has a light of its own
            aerial = torch.cat([photometric(one, generator, settings.photometric) for one in parts], dim=1)
            ground = photometric(ground, generator, settings.photometric)
        if settings.occlusion > 0:
            ground = occlude(ground, settings.occlusion, generator)
        return ground, aerial

    def _aerial(self, pairs: ViewPairs, device: torch.device) -> Tensor:
        """What the aerial branch reads, in [0, 1]: of tiles, or as the data set's pairs have it already."""
        config, square = self.config, pairs.aerial_side_m > 0
        if config.aerial_input == "mapped" or not square:
            return self._mapped(pairs.aerial.to(device))
        assert self.ground_views is not None  # the model reads what it makes
        made = self.ground_views.of_tiles(pairs.aerial, pairs.aerial_side_m).to(device)
        if config.aerial_input == "ground_view":
            return made
        return torch.cat([self._mapped(pairs.aerial.to(device)), made], dim=1)

    def _mapped(self, aerial: Tensor) -> Tensor:
        """Aerial images in [0, 1], mapped if the model wants them so and they are still square."""
        config = self.config
        rows, columns = config.image_shape("aerial")
        if config.mapping != "none" and aerial.shape[-1] == aerial.shape[-2]:
            half_side_m = config.tile_side_m / 2.0
            sizes = (aerial.shape[-1], rows, columns)
            grid = aerial_grid(
                config.mapping, *sizes, **({"half_side_m": half_side_m} if half_side_m else {})
            )
            return (map_aerial(aerial, grid) / 255.0).clamp(0.0, 1.0)
        images = aerial.float() / 255.0
        if images.shape[-2:] == (rows, columns):
            return images
        return F.interpolate(images, (rows, columns), mode="bilinear", antialias=True).clamp(0.0, 1.0)

    def turns(self, size: int, step: int, generator: torch.Generator) -> Turns:
        """How a step's worlds and cameras are turned, drawn as the settings say."""
        settings, width = self.settings, self.config.width_px
        drawn = torch.rand(size, 3, generator=generator, device=generator.device)
        mirrored = (drawn[:, 0] < 0.5) & settings.mirror
        quarters = 4 if self.config.mapping == "none" else width
        world = (drawn[:, 1] * quarters).long().clamp_max(quarters - 1) * (width // quarters)
        if not settings.turn_both:
            world = torch.zeros_like(world)
        reach = settings.turn_deg * self._ramp(step) / 360.0 * width
        return Turns(mirrored, world, ((drawn[:, 2] - 0.5) * reach).round().long())

    def seen(self, columns: int, size: int, step: int, device: torch.device) -> Tensor | None:
        """Masks (B, columns) of what a step's queries see, alike in all processes; None if they see all."""
        settings = self.settings
        narrow, part = np.random.default_rng([settings.seed, step, 2]).random(2)
        if narrow >= settings.narrow_share:
            return None
        narrowest_deg = 360.0 - (360.0 - settings.narrowest_deg) * self._ramp(step)
        kept = kept_columns(columns, narrow_width_deg(float(part), narrowest_deg, settings.narrow_widths))
        return seen_mask(columns, kept, size, device)

    def _narrowed(self, ground: Tensor, aerial: Tensor, heading: Tensor, step: int) -> Views:
        """The views, with the ground's field of view cut for some steps."""
        columns = self.columns if self.columns > 1 else ground.shape[-1]
        mask = self.seen(columns, len(ground), step, ground.device)
        if mask is None:
            return Views(ground, aerial, heading, None)
        pixels = mask[0].repeat_interleave(ground.shape[-1] // columns)  # alike in all rows
        ground = filled_beyond(self.config, ground * pixels, pixels)
        return Views(ground, aerial, heading, mask if self.columns > 1 else None)

    def _ramp(self, step: int) -> float:
        """How far the curriculum has come, 0 to 1."""
        return min(1.0, step / self.settings.curriculum_steps) if self.settings.curriculum_steps else 1.0


def narrow_width_deg(share: float, narrowest_deg: float, widths: str) -> float:
    """How much of the circle a narrow photo sees, degrees.

    Args:
        share: how far on the way from the narrowest one, 0, to the whole circle, 1; drawn evenly.
        narrowest_deg: the narrowest one.
        widths: by what that way is measured, width or one over it, see :class:`RetrievalTraining`.
    """
    if widths == "inverse":
        return 1.0 / (1.0 / narrowest_deg + (1.0 / 360.0 - 1.0 / narrowest_deg) * share)
    return narrowest_deg + (360.0 - narrowest_deg) * share


def write_pictures(views: Views, folder: Path) -> None:
    """Write a batch's first pairs as the networks saw them, panorama over aerial image."""
    for number in range(min(_PICTURED, len(views.ground))):
        rows = [views.ground[number], *views.aerial[number].chunk(views.aerial.shape[1] // 3)]
        width = max(one.shape[-1] for one in rows)
        padded = [F.pad(one.float().cpu(), (0, width - one.shape[-1])) for one in rows]
        shown = (torch.cat(padded, dim=1) * 255.0).round().clamp(0, 255).byte()
        picture = Image.fromarray(np.ascontiguousarray(shown.permute(1, 2, 0).numpy()))
        write_whole(folder / f"pair-{number}.png", picture.save)
