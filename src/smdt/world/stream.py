"""Pairs of simulated views drawn on the fly, by as many loader processes as there are, with nothing on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from smdt.errors import ConfigError
from smdt.geometry.mapping import MAPPINGS, aerial_grid, map_aerial
from smdt.world.dataset import PairBatch, PairConfig, PairSource, check_training_seeds, clustered_positions
from smdt.world.places import PlaceSource, TownPlace, check_training_places
from smdt.world.render import Renderer


class StreamedPair(NamedTuple):
    """One pair; a loader's batch of them is a ``StreamedPair`` of tensors with one more dimension in front.

    Attributes:
        ground: (3, H, W) uint8, the panorama.
        aerial: (3, S, S) uint8, north up; or (3, H, W) float32 in [0, 1] where the stream maps.
        heading_deg: azimuth of the panorama's centre column.
        position_deg: (2,) float64, latitude and longitude of the camera.
        offset_m: (2,) east, north of the camera from the aerial image's centre.
        place: number of the place in the stream's list.
    """

    ground: Tensor
    aerial: Tensor
    heading_deg: Tensor
    position_deg: Tensor
    offset_m: Tensor
    place: int


class PairStream(IterableDataset[StreamedPair]):
    """An endless or measured stream of pairs for training.

    Pairs come in groups from one place, and each group has neighbours that are near misses; with a loader's batch as
    large as a group, a batch's negatives are its neighbours. Each worker draws from its own seeds, and from its own
    share of the places where there are enough for all: so one (seed, workers, epoch) gives one stream, to the byte.

    Args:
        places: where the pairs are taken; towns, or whatever opens a place.
        config: how pairs are drawn.
        group: pairs in a row from one place.
        pairs: pairs an epoch, over all workers; None: no end.
        mapping: map aerial images to the panorama's frame with this mapping; None leaves them square.
        seed: of everything random.

    Raises:
        ConfigError: if a place is held out for judging, there is none, or a number or mapping cannot be.
    """

    def __init__(
        self,
        places: Sequence[PlaceSource],
        config: PairConfig | None = None,
        *,
        group: int = 32,
        pairs: int | None = None,
        mapping: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not places:
            raise ConfigError("no place is given", where="--town-seeds", remedy="name one at least")
        if group < 1 or (pairs is not None and pairs < 1) or seed < 0:
            raise ConfigError(
                f"groups of {group}, {pairs} pairs and seed {seed} make no stream",
                where="PairStream",
                remedy="give numbers of 1 or more, and a seed of 0 or more",
            )
        if mapping is not None and mapping not in MAPPINGS:
            raise ConfigError(
                f"mapping '{mapping}' is unknown",
                where="--mapping",
                remedy=f"choose from {', '.join(MAPPINGS)}",
            )
        check_training_seeds([place.seed for place in places if isinstance(place, TownPlace)])
        self.places, self.config, self.group = tuple(places), config or PairConfig(), group
        self.pairs, self.mapping, self.seed, self.epoch = pairs, mapping, seed, 0
        self._source: PairSource | None = None  # made by the process that draws: it cannot be sent to one
        self._renderers: dict[int, Renderer] = {}

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration draw other pairs than the last; call it before the loader starts."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[StreamedPair]:
        """Draw this worker's pairs.

        Raises:
            ConfigError: if a place turns out to be held out for judging.
        """
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        mine = list(range(number % len(self.places), len(self.places), workers))
        left = None if self.pairs is None else len(range(number, self.pairs, workers))
        rng = np.random.default_rng([self.seed, self.epoch, workers, number])
        while left is None or left > 0:
            chosen = mine[int(rng.integers(len(mine)))]
            size = self.group if left is None else min(self.group, left)
            yield from self._draw(chosen, size, rng)
            left = None if left is None else left - size

    def _draw(self, number: int, size: int, rng: np.random.Generator) -> Iterator[StreamedPair]:
        renderer = self._renderer(number)
        place = renderer.place
        if self._source is None:
            self._source = PairSource((0,), config=self.config)  # its towns are never built: places are given
        batch = self._source.batch_of(renderer, clustered_positions(place, self.group, rng)[:size], rng)
        ground = batch.ground if batch.ground.dtype == torch.uint8 else (batch.ground * 255.0).round().byte()
        aerial = self._mapped(batch)
        latitude, longitude = place.to_position(*batch.position_m.double().numpy().T)
        position = torch.from_numpy(np.stack([latitude, longitude], axis=1))
        for i in range(size):
            yield StreamedPair(
                ground[i], aerial[i], batch.heading_deg[i], position[i], batch.offset_m[i], number
            )

    def _mapped(self, batch: PairBatch) -> Tensor:
        if self.mapping is None:
            return batch.aerial
        config = self.config
        size = (config.tile_px, config.height_px, config.width_px)
        grid = aerial_grid(self.mapping, *size, half_side_m=config.tile_side_m / 2.0)
        return map_aerial(batch.aerial, grid).div(255.0).clamp(0.0, 1.0)

    def _renderer(self, number: int) -> Renderer:
        if number not in self._renderers:
            place = self.places[number].open()
            check_training_places([place])
            self._renderers[number] = Renderer(place, self.config.render_config())
        return self._renderers[number]
