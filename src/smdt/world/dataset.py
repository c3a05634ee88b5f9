"""Training pairs drawn from simulated places: a street panorama and the aerial tile around it, on different
days."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smdt.errors import ConfigError
from smdt.world.aerial import aerial_square, aerial_view
from smdt.world.layers import Place
from smdt.world.moment import Moment
from smdt.world.render import RenderConfig, Renderer, street_positions
from smdt.world.town import TownConfig, build_town

HELD_OUT_SEEDS = frozenset(range(2022, 2032))
"""Towns that no training may see: the demo's and the benchmarks'."""

Positions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one place.

    Attributes:
        ground: (B, 3, H, W) float32 in [0, 1].
        aerial: (B, 3, S, S) uint8, north up, square tiles whose centre is near the camera.
        heading_deg: (B,) azimuth of each panorama's centre column.
        offset_m: (B, 2) east, north of the camera from the tile's centre.
        position_m: (B, 2) east, north of the camera in the place.
        surface: (B, H, W) uint8 of Surface, what each pixel of the panorama shows.
        depth_m: (B, H, W) float32 horizontal distance; infinite for sky.
    """

    ground: Tensor
    aerial: Tensor
    heading_deg: Tensor
    offset_m: Tensor
    position_m: Tensor
    surface: Tensor
    depth_m: Tensor


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
        camera_height_m: lowest and highest camera.
        max_tilt_deg: the camera rolls and pitches by up to about this.
        same_moment: both views see one moment: the same light and cars, to compare or to look at.
        aerial_moments: aerial views of different days kept for each place.
        style: of the procedural towns, see ``smdt.world.town.STYLES``.
        variety: how much the days and cameras differ, see :meth:`Moment.draw`.
        supersample: rays to a pixel, each way.
    """

    tile_side_m: float = 100.0
    tile_px: int = 256
    height_px: int = 128
    width_px: int = 512
    max_offset_m: float = 8.0
    random_heading: bool = True
    camera_height_m: tuple[float, float] = (1.8, 3.0)
    max_tilt_deg: float = 2.0
    same_moment: bool = False
    aerial_moments: int = 2
    style: str = "mixed"
    variety: float = 1.0
    supersample: int = 1

    def render_config(self) -> RenderConfig:
        """The renderer's settings for these pairs."""
        return RenderConfig(self.height_px, self.width_px, supersample=self.supersample)


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
        self._town_side_m = town_side_m
        self.renderer = lru_cache(maxsize=None)(self._renderer)
        self._view = lru_cache(maxsize=96)(self._aerial_view)

    def with_config(self, config: PairConfig) -> PairSource:
        """Another way of drawing pairs from the same towns, which are built only once; picture sizes stay."""
        other = copy.copy(self)
        other.config = replace(config, height_px=self.config.height_px, width_px=self.config.width_px)
        return other

    def _renderer(self, seed: int) -> Renderer:
        return Renderer(
            build_town(TownConfig(seed=seed, side_m=self._town_side_m, style=self.config.style)),
            self.config.render_config(),
        )

    def _aerial_view(self, renderer: Renderer, number: int) -> tuple[Tensor, Moment]:
        """The place's aerial view on one of its days, as bytes, and that day."""
        rng = np.random.default_rng([renderer.place.seed_of_name(), number, 19])
        moment = Moment.draw(rng, self.config.variety)
        return aerial_view(renderer.place, moment).round().byte(), moment

    def batch(self, size: int, rng: np.random.Generator) -> PairBatch:
        """Draw pairs of one town chosen at random."""
        renderer: Renderer = self.renderer(self.seeds[int(rng.integers(len(self.seeds)))])
        return self.batch_of(renderer, clustered_positions(renderer.place, size, rng), rng)

    def batch_of(self, renderer: Renderer, positions: Positions, rng: np.random.Generator) -> PairBatch:
        """Draw the pairs at given camera positions (B, 2) in metres, each view on a day of its own."""
        config, size = self.config, len(positions)
        headings = rng.uniform(0, 360, size) if config.random_heading else np.zeros(size)
        offsets = rng.uniform(-config.max_offset_m, config.max_offset_m, (size, 2))
        views, tiles = [], []
        for (east, north), heading, offset in zip(positions, headings, offsets, strict=True):
            overhead, above = self._view(renderer, int(rng.integers(config.aerial_moments)))
            moment = above if config.same_moment else Moment.draw(rng, config.variety)
            tilt = rng.normal(0, config.max_tilt_deg / 2, 2).clip(-config.max_tilt_deg, config.max_tilt_deg)
            views.append(
                renderer.panorama(
                    float(east),
                    float(north),
                    float(heading),
                    float(rng.uniform(*config.camera_height_m)),
                    moment,
                    roll_deg=float(tilt[0]),
                    pitch_deg=float(tilt[1]),
                )
            )
            centre = (float(east - offset[0]), float(north - offset[1]))
            tile = aerial_square(
                overhead, renderer.place.pixel_m, *centre, config.tile_side_m, config.tile_px
            )
            tiles.append(Moment.draw(rng, config.variety).sensor.take(tile, rng))
        return PairBatch(
            torch.stack([view.image for view in views]).float() / 255.0,
            torch.stack(tiles),
            torch.from_numpy(headings).float(),
            torch.from_numpy(offsets).float(),
            torch.from_numpy(np.asarray(positions)).float(),
            torch.stack([view.surface for view in views]),
            torch.stack([view.depth_m for view in views]),
        )


def clustered_positions(
    place: Place, count: int, rng: np.random.Generator, apart_m: float = 16.0
) -> Positions:
    """Street positions in clusters of about four neighbours: near misses to learn from.

    Args:
        place: with streets.
        count: how many.
        rng: where the randomness comes from.
        apart_m: no two are closer; halved as often as it takes where the streets are too short for that.
    """
    chosen: list[Positions] = []
    while True:
        pool = street_positions(place, 8 * count, rng)
        for anchor in pool[rng.permutation(len(pool))]:
            near = pool[np.argsort(np.hypot(*(pool - anchor).T))[:40]]
            found = 0
            for spot in near:
                others = np.array(chosen).reshape(-1, 2)
                if np.all(np.hypot(*(others - spot).T) >= apart_m):
                    chosen.append(spot)
                    found += 1
                if len(chosen) == count:
                    return np.array(chosen)
                if found == 4:
                    break
        apart_m /= 2
