"""From pairs as they are drawn to what the networks see: mapped, turned, mirrored, and of another light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.geometry.mapping import aerial_grid, map_aerial
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


@dataclass(frozen=True)
class Views:
    """A batch as the networks see it.

    Attributes:
        ground: (B, 3, H, W) in [0, 1], their heading in the centre column; black where the photo does not see.
        aerial: (B, 3, H, W) mapped, or (B, 3, S, S) square.
        heading_deg: (B,) in [0, 360).
        mask: (B, W') of the strip's columns, True where a query sees; None if it sees all, or has one column.
    """

    ground: Tensor
    aerial: Tensor
    heading_deg: Tensor
    mask: Tensor | None


class ViewMaker:
    """Makes views of pairs; what is random depends on the seed, the process and the step alone.

    Args:
        settings: how pairs are changed.
        config: the model's.
        columns: of its strip.
        ground_augmentation: a change to panoramas alone, before their light is changed.
    """

    def __init__(
        self,
        settings: RetrievalTraining,
        config: EncoderConfig,
        columns: int,
        ground_augmentation: GroundAugmentation | None = None,
    ) -> None:
        self.settings, self.config, self.columns = settings, config, columns
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
        settings, config = self.settings, self.config
        words = np.random.SeedSequence([settings.seed, rank, step, 1]).generate_state(2)
        generator = torch.Generator(device).manual_seed(int(words[0]))
        ground, aerial = pairs.ground.to(device), self._aerial(pairs.aerial.to(device))
        size, width = len(ground), config.width_px
        mirrored, world_turn, turned = self._draws(size, step, generator)
        columns = ground_columns(width, world_turn + turned, mirrored)
        ground = take_columns(ground, columns).float() / 255.0
        if config.mapping == "none":
            aerial = change_square(aerial, world_turn * 4 // width, mirrored)
        else:
            aerial = take_columns(aerial, ground_columns(width, world_turn, mirrored))
        if self.ground_augmentation is not None and labels is not None:
            seen = take_columns(labels.to(device), columns)
            ground = self.ground_augmentation(ground, seen, torch.Generator().manual_seed(int(words[1])))
        if settings.photometric > 0:
            aerial = photometric(aerial, generator, settings.photometric)
            ground = photometric(ground, generator, settings.photometric)
        if settings.occlusion > 0:
            ground = occlude(ground, settings.occlusion, generator)
        heading = torch.remainder(turned * 360.0 / width, 360.0)
        return self._narrowed(ground, aerial, heading, step)

    def _aerial(self, aerial: Tensor) -> Tensor:
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

    def _draws(self, size: int, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Which worlds are mirrored, and by how many columns worlds and cameras are turned, (B,) each."""
        settings, width = self.settings, self.config.width_px
        drawn = torch.rand(size, 3, generator=generator, device=generator.device)
        mirrored = (drawn[:, 0] < 0.5) & settings.mirror
        quarters = 4 if self.config.mapping == "none" else width
        world = (drawn[:, 1] * quarters).long().clamp_max(quarters - 1) * (width // quarters)
        if not settings.turn_both:
            world = torch.zeros_like(world)
        reach = settings.turn_deg * self._ramp(step) / 360.0 * width
        turned = ((drawn[:, 2] - 0.5) * reach).round().long()
        return mirrored, world, turned

    def _narrowed(self, ground: Tensor, aerial: Tensor, heading: Tensor, step: int) -> Views:
        """The views, with the ground's field of view cut for some steps, alike in all processes."""
        settings = self.settings
        narrow, part = np.random.default_rng([settings.seed, step, 2]).random(2)
        if narrow >= settings.narrow_share:
            return Views(ground, aerial, heading, None)
        widest = 360.0 - (360.0 - settings.narrowest_deg) * self._ramp(step)
        columns = self.columns if self.columns > 1 else ground.shape[-1]
        kept = kept_columns(columns, widest + (360.0 - widest) * float(part))
        mask = seen_mask(columns, kept, len(ground), ground.device)
        pixels = mask.repeat_interleave(ground.shape[-1] // columns, dim=1)
        return Views(ground * pixels[:, None, None], aerial, heading, mask if self.columns > 1 else None)

    def _ramp(self, step: int) -> float:
        """How far the curriculum has come, 0 to 1."""
        return min(1.0, step / self.settings.curriculum_steps) if self.settings.curriculum_steps else 1.0
