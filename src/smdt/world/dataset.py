"""Training pairs drawn from simulated places: a street panorama and the aerial tile around it, on different
days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.errors import ConfigError
from smdt.world.layers import Place
from smdt.world.render import RenderConfig, Renderer, Weather, street_positions
from smdt.world.town import TownConfig, build_town

HELD_OUT_SEEDS = frozenset(range(2022, 2032))
"""Towns that no training may see: the demo's and the benchmarks'."""


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one place.

    Attributes:
        ground: (B, 3, H, W) float32 in [0, 1].
        aerial: (B, 3, S, S) uint8, north up, square tiles whose centre is near the camera.
        heading_deg: (B,) azimuth of each panorama's centre column.
        offset_m: (B, 2) east, north of the camera from the tile's centre.
        position_m: (B, 2) east, north of the camera in the place.
    """

    ground: Tensor
    aerial: Tensor
    heading_deg: Tensor
    offset_m: Tensor
    position_m: Tensor


@dataclass(frozen=True)
class PairConfig:
    """How pairs are drawn.

    Attributes:
        tile_side_m: side of the aerial tile.
        tile_px: its pixels.
        height_px: rows of the panorama.
        width_px: its columns.
        max_offset_m: the camera is off the tile's centre by up to this, east and north each.
        random_heading: draw headings evenly; otherwise all look north.
    """

    tile_side_m: float = 100.0
    tile_px: int = 256
    height_px: int = 128
    width_px: int = 512
    max_offset_m: float = 8.0
    random_heading: bool = True


def check_training_seeds(seeds: Sequence[int]) -> None:
    """Refuse held-out towns.

    Raises:
        ConfigError: if a seed is held out for judging.
    """
    forbidden = sorted(HELD_OUT_SEEDS.intersection(seeds))
    if forbidden:
        raise ConfigError(
            f"town seed {forbidden[0]} is held out for judging",
            where="--town-seeds",
            remedy=f"use seeds outside {min(HELD_OUT_SEEDS)}..{max(HELD_OUT_SEEDS)}",
        )


class PairSource:
    """Draws batches of pairs from towns; one batch comes from one town, so that its negatives are neighbours.

    Args:
        seeds: town seeds.
        town_side_m: side of each town.
        config: how pairs are drawn.
    """

    def __init__(
        self, seeds: Sequence[int], town_side_m: float = 600.0, config: PairConfig | None = None
    ) -> None:
        if not seeds:
            raise ConfigError("no town is given", where="--town-seeds", remedy="name one seed at least")
        self.seeds, self.config = tuple(seeds), config or PairConfig()
        self._renderer = lru_cache(maxsize=None)(
            lambda seed: Renderer(
                build_town(TownConfig(seed=seed, side_m=town_side_m)),
                RenderConfig(self.config.height_px, self.config.width_px),
            )
        )

    def batch(self, size: int, rng: np.random.Generator) -> PairBatch:
        """Draw pairs of one town chosen at random."""
        renderer: Renderer = self._renderer(self.seeds[int(rng.integers(len(self.seeds)))])
        return self.batch_of(renderer, clustered_positions(renderer.place, size, rng), rng)

    def batch_of(self, renderer: Renderer, positions: np.ndarray, rng: np.random.Generator) -> PairBatch:
        """Draw the pairs at given camera positions (B, 2) in metres."""
        config, size = self.config, len(positions)
        headings = rng.uniform(0, 360, size) if config.random_heading else np.zeros(size)
        offsets = rng.uniform(-config.max_offset_m, config.max_offset_m, (size, 2))
        ground, aerial = [], []
        for (east, north), heading, offset in zip(positions, headings, offsets, strict=True):
            view = renderer.panorama(
                float(east), float(north), float(heading), float(rng.uniform(1.8, 3.0)), Weather.draw(rng)
            )
            ground.append(view.image)
            centre = (float(east - offset[0]), float(north - offset[1]))
            aerial.append(aerial_square(renderer.place, *centre, config.tile_side_m, config.tile_px))
        return PairBatch(
            torch.stack(ground).float() / 255.0,
            torch.stack(aerial),
            torch.from_numpy(headings).float(),
            torch.from_numpy(offsets).float(),
            torch.from_numpy(np.asarray(positions)).float(),
        )


def clustered_positions(place: Place, count: int, rng: np.random.Generator) -> np.ndarray:
    """Street positions in clusters of about four neighbours, no two closer than 16 m: near misses to learn from."""
    pool = street_positions(place, 8 * count, rng)
    chosen: list[np.ndarray] = []
    while len(chosen) < count:
        anchor = pool[int(rng.integers(len(pool)))]
        near = pool[np.argsort(np.hypot(*(pool - anchor).T))[:40]]
        for spot in near[: 4 if len(pool) > 40 else 1]:
            others = np.array(chosen).reshape(-1, 2)
            if len(chosen) < count and np.all(np.hypot(*(others - spot).T) >= 16.0):
                chosen.append(spot)
        pool = pool[np.hypot(*(pool - anchor).T) >= 1.0]
        if len(pool) < 2:
            pool = street_positions(place, 8 * count, rng)
    return np.array(chosen)


def aerial_square(place: Place, east_m: float, north_m: float, side_m: float, side_px: int) -> Tensor:
    """The square of a place's colour layer around a position, (3, side_px, side_px) uint8; black beyond the edge."""
    half = round(side_m / place.pixel_m / 2)
    rows = place.surface.shape[0]
    column, row = round(east_m / place.pixel_m), rows - round(north_m / place.pixel_m)
    top, left = max(0, row - half), max(0, column - half)
    window = place.colour[top : max(0, row + half), left : max(0, column + half)]
    image = torch.zeros(3, 2 * half, 2 * half)
    r, c = top - (row - half), left - (column - half)
    image[:, r : r + window.shape[0], c : c + window.shape[1]] = torch.from_numpy(window).permute(2, 0, 1)
    resized = F.interpolate(image[None], (side_px, side_px), mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).byte()
