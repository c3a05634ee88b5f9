"""Where the pairs of a retrieval training come from: simulated places, or a data set in its published layout.

Both give batches by number. The batch of a step depends on the seed, the process and the step alone, whatever the
number of loader workers, so a training that is resumed sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from smdt.alignment.label_cache import PanoramaLabels
from smdt.alignment.labels import merge_labels
from smdt.data.images import GroundViewOf, PairImages, ViewSettings
from smdt.data.pairs import PairSplit
from smdt.errors import ConfigError, DatasetError, SmdtError
from smdt.world.dataset import PairConfig, PairSource, check_training_seeds, clustered_positions
from smdt.world.places import PlaceSource, TownPlace, check_training_places
from smdt.world.render import Renderer


class ViewPairs(NamedTuple):
    """A batch of pairs whose panoramas look north.

    Attributes:
        ground: (B, 3, H, W) uint8.
        aerial: (B, 3, S, S) uint8 square and north up, or (B, 3, H, W) uint8 mapped;
            Ig′, or six channels, where the model reads these.
        labels: (B, H, W) int64 what the panoramas show: surfaces of places, classes of data sets; empty where there
            are none.
        ids: a name for each pair.
        aerial_side_m: side of square aerial images on the ground; 0 where they are no tiles any more.
    """

    ground: Tensor
    aerial: Tensor
    labels: Tensor
    ids: list[str]
    aerial_side_m: float = 0.0


class WorldPairs(Dataset[ViewPairs]):
    """Batches from simulated places, by step; one comes from one place, so that its negatives are neighbours.

    Labels are of :class:`smdt.world.layers.Surface`. Aerial images are square tiles.

    Args:
        places: where pairs are taken.
        config: how they are drawn; panoramas look north whatever it says.
        batch: pairs in a batch.
        tile_factors: a batch's tiles are larger by one of these.
        seed: of everything random.
        rank: number of the process that trains.

    Raises:
        ConfigError: if a place is held out for judging, or there is none.
    """

    def __init__(
        self,
        places: Sequence[PlaceSource],
        config: PairConfig,
        *,
        batch: int,
        tile_factors: Sequence[float] = (1.0,),
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        if not places:
            raise ConfigError("no place is given", where="--town-seeds", remedy="name one at least")
        if not tile_factors or min(tile_factors) <= 0:
            raise ConfigError("tiles need a factor above 0", where="tile_factors", remedy="write [1.0]")
        check_training_seeds([place.seed for place in places if isinstance(place, TownPlace)])
        self.places, self.batch, self.seed, self.rank = tuple(places), batch, seed, rank
        self.configs = tuple(
            replace(config, random_heading=False, tile_side_m=config.tile_side_m * factor)
            for factor in tile_factors
        )
        self._sources: list[PairSource] | None = None  # made by the process that draws
        self._renderers: dict[int, Renderer] = {}

    def __getitem__(self, step: int) -> ViewPairs:
        """The batch of a step.

        Raises:
            ConfigError: if its place turns out to be held out for judging.
        """
        rng = np.random.default_rng([self.seed, self.rank, step])
        if self._sources is None:
            first = PairSource((0,), config=self.configs[0])  # its towns are never built: places are given
            self._sources = [first.with_config(config) for config in self.configs]
        source = self._sources[int(rng.integers(len(self._sources)))]
        number = int(rng.integers(len(self.places)))
        renderer = self._renderer(number)
        positions = clustered_positions(renderer.place, self.batch, rng)
        drawn = source.batch_of(renderer, positions, rng)
        name = self.places[number].key
        return ViewPairs(
            (drawn.ground * 255.0).round().byte(),
            drawn.aerial,
            drawn.surface.long(),
            [f"{name} at {east:.1f} m east, {north:.1f} m north" for east, north in positions],
            source.config.tile_side_m,
        )

    def _renderer(self, number: int) -> Renderer:
        if number not in self._renderers:
            place = self.places[number].open()
            check_training_places([place])
            self._renderers[number] = Renderer(place, self.configs[0].render_config())
        return self._renderers[number]


class DatasetPairs(Dataset[ViewPairs]):
    """Pairs of a split, by the indices of their queries; aerial images as ``views`` says.

    Args:
        split: what a reader returned.
        views: sizes and mapping.
        with_labels: read the panoramas' labels, too.
        ground_view: makes Ig′ of a square aerial image, where the views have one.
        labeller: labels the panoramas, instead of the data set's own labels.

    Raises:
        DatasetError: if labels are asked for and a query has none.
    """

    def __init__(
        self,
        split: PairSplit,
        views: ViewSettings,
        *,
        with_labels: bool = False,
        ground_view: GroundViewOf | None = None,
        labeller: PanoramaLabels | None = None,
    ) -> None:
        self.split, self.with_labels, self.labeller = split, with_labels, labeller
        self.queries, self.references = (
            PairImages(split, "query", views),
            PairImages(split, "reference", views, ground_view),
        )
        self.label_set = "smdt"
        self._elevation_deg = split.elevation_deg if views.elevation_deg is None else views.elevation_deg
        bare = next((query for query in split.queries if query.labels_path is None), None)
        if with_labels and labeller is None and bare is not None:
            raise DatasetError(
                "there are no labels for this panorama, and keep and remove pictures need them",
                where=bare.path,
                remedy="complete the labels, name a segmenter under align, or leave keep_share and remove_share 0",
            )

    def __getitem__(self, indices: Sequence[int]) -> ViewPairs:
        """The pairs of some queries.

        Raises:
            DatasetError: if a picture cannot be read.
        """
        chosen = [int(index) for index in indices]
        ground = [_bytes(self.queries[index][0]) for index in chosen]
        aerial = [_bytes(self.references[int(self.split.positive[index])][0]) for index in chosen]
        labels: list[Tensor] = []
        if self.with_labels and self.labeller is not None:
            labels = [self.labeller.of_panorama(one, self._elevation_deg).long() for one in ground]
        elif self.with_labels:
            labels = [self._own_labels(index) for index in chosen]
        return ViewPairs(
            torch.stack(ground),
            torch.stack(aerial),
            torch.stack(labels) if labels else torch.zeros(0, dtype=torch.int64),
            [self.split.queries[index].id for index in chosen],
        )

    def _own_labels(self, index: int) -> Tensor:
        """The data set's labels of a query, (H, W) of :class:`smdt.alignment.labels.SemanticClass`."""
        where = self.split.queries[index].labels_path
        return merge_labels(self.queries.labels(index), self.split.dataset, where).long()


def _bytes(image: Tensor) -> Tensor:
    return (image * 255.0).round().clamp(0, 255).byte()


class _Steps(Sampler[int]):
    """Numbers from the first on, without end."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return count(self.first)


class _Rows(Sampler[list[int]]):
    """The rows of a table, in order."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[list[int]]:
        return map(list, self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def load_steps(pairs: WorldPairs, first_step: int, workers: int) -> Iterator[ViewPairs]:
    """Batches by step, from the first on; ``workers`` processes draw ahead."""
    return _loaded(pairs, _Steps(first_step), workers)


def load_rows(pairs: DatasetPairs, rows: Sequence[Sequence[int]], workers: int) -> Iterator[ViewPairs]:
    """Batches of the queries in each row, as indices."""
    return _loaded(pairs, _Rows(rows), workers)


def _loaded(
    pairs: Dataset[ViewPairs], sampler: Sampler[int] | Sampler[list[int]], workers: int
) -> Iterator[ViewPairs]:
    """A generator, so that a loader, which draws from torch's global randomness, is made where the loop shields it."""
    loader: DataLoader[ViewPairs | SmdtError] = DataLoader(
        _Handed(pairs),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, SmdtError):
            raise batch
        yield batch


class _Handed(Dataset[ViewPairs | SmdtError]):
    """Batches that hand a user's mistake over instead of raising it, which a loader process would bury."""

    def __init__(self, pairs: Dataset[ViewPairs]) -> None:
        self.pairs = pairs

    def __getitem__(self, which: Any) -> ViewPairs | SmdtError:
        try:
            return self.pairs[which]
        except SmdtError as error:
            return error


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
