"""Batches for the dual conditional GAN: mapped aerial images, ground labels and ground images.

A batch depends on the seed, the process and the step alone. Pairs are numbered; each pass over them takes them in
another order, turns both views alike and may mirror both.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from smdt.alignment.dual_cgan import DualCganConfig, cut_tile, map_tiles
from smdt.alignment.label_cache import PanoramaLabels
from smdt.alignment.labels import merge_labels
from smdt.data import open_split
from smdt.data.images import PairImages, ViewSettings
from smdt.data.transforms import load_image, require_square
from smdt.errors import DatasetError, SmdtError
from smdt.world.dataset import PairConfig, PairSource
from smdt.world.render import street_positions

_UNSEEN = 10_000_000


class CganPair(NamedTuple):
    """One pair as it is kept: bytes.

    Attributes:
        aerial: (3, H, W) uint8, in the panorama's frame.
        labels: (H, W) uint8 of SemanticClass.
        image: (3, H, W) uint8, the panorama.
        name: for messages.
    """

    aerial: Tensor
    labels: Tensor
    image: Tensor
    name: str


class CganBatch(NamedTuple):
    """A batch.

    Attributes:
        aerial: (B, 3, H, W) float32 in [0, 1].
        labels: (B, H, W) uint8 of SemanticClass.
        image: (B, 3, H, W) float32 in [0, 1].
        names: of the pairs.
    """

    aerial: Tensor
    labels: Tensor
    image: Tensor
    names: tuple[str, ...]


class NumberedPairs(Protocol):
    """Pairs by number."""

    @property
    def count(self) -> int | None:
        """How many there are; None: endless ones."""
        ...

    def pair(self, number: int) -> CganPair:
        """The pair of a number, the same at every call."""
        ...

    def samples(self, count: int) -> list[CganPair]:
        """Pairs to look at, the same at every call."""
        ...


class WorldPairs:
    """Pairs of simulated towns, drawn when they are first asked for.

    A pool is drawn town by town and kept, so that one town is in memory at a time; endless pairs keep their towns.

    Args:
        config: sizes and mapping.
        seeds: of the towns; the pairs' numbers go round them.
        draw: how pairs are drawn.
        count: pairs of the pool; None: endless ones, and none is kept.
        town_side_m: side of each town.
        ground_variety: of the ground views' days; that of ``draw`` unless given.
        seed: of everything random.
    """

    def __init__(
        self,
        config: DualCganConfig,
        seeds: tuple[int, ...],
        draw: PairConfig,
        *,
        count: int | None = None,
        town_side_m: float = 450.0,
        ground_variety: float | None = None,
        seed: int = 0,
    ) -> None:
        self.config, self.count, self._seeds, self._seed = config, count, seeds, seed
        self._draw, self._town_side_m, self._ground_variety = draw, town_side_m, ground_variety
        self._source = self._source_of(seeds)
        self._kept: dict[int, CganPair] = {}

    def _source_of(self, seeds: tuple[int, ...]) -> PairSource:
        source = PairSource(seeds, self._town_side_m, self._draw)
        if self._ground_variety is None:
            return source
        # A source of another config keeps the first one's aerial views, and their variety with them.
        return source.with_config(replace(self._draw, variety=self._ground_variety))

    def pair(self, number: int) -> CganPair:
        """The pair of a number."""
        if self.count is None:
            return self._drawn(number, self._source)
        if number not in self._kept:
            self._keep(range(number % len(self._seeds), self.count, len(self._seeds)))
        return self._kept[number]

    def _keep(self, numbers: Iterable[int]) -> None:
        """Draw pairs of one town."""
        source: PairSource | None = None
        for number in numbers:
            source = source or self._source_of((self._seeds[number % len(self._seeds)],))
            self._kept[number] = self._drawn(number, source)
        del source
        gc.collect()  # a source and what it has cached hold each other, hundreds of megabytes of them

    def _drawn(self, number: int, source: PairSource) -> CganPair:
        town = self._seeds[number % len(self._seeds)]
        rng = np.random.default_rng([self._seed, 31, number])
        renderer = source.renderer(town)
        batch = source.batch_of(renderer, street_positions(renderer.place, 1, rng), rng)
        return CganPair(
            _bytes(map_tiles(batch.aerial, self.config)[0]),
            merge_labels(batch.surface[0], "worlds"),
            _bytes(batch.ground[0]),
            f"town {town}, pair {number}",
        )

    def samples(self, count: int) -> list[CganPair]:
        """Pairs of these towns that no batch holds."""
        numbers = range(_UNSEEN, _UNSEEN + count)
        for number in numbers:
            if number not in self._kept:
                self._keep([number])
        return [self._kept[number] for number in numbers]


class DatasetPairs:
    """Pairs of a data set whose panoramas have labels (CVUSA with its annotations), or get them from a segmenter.

    Args:
        config: sizes and mapping.
        dataset: ``cvusa``, or with a labeller any other.
        root: its folder.
        split: of the data set.
        labeller: makes the labels, instead of the data set's own.

    Raises:
        DatasetError: if a panorama has no labels, or the data set is incomplete.
    """

    def __init__(
        self,
        config: DualCganConfig,
        dataset: str,
        root: str,
        split: str | None,
        labeller: PanoramaLabels | None = None,
    ) -> None:
        opened = open_split(dataset, root, split)
        self.labeller, self._elevation_deg = labeller, opened.elevation_deg
        unlabelled = [query for query in opened.queries if query.labels_path is None]
        if unlabelled and labeller is None:
            raise DatasetError(
                f"{len(unlabelled)} of {len(opened.queries)} panoramas have no labels, this one first",
                where=unlabelled[0].path,
                remedy="name a segmenter, or use a data set with annotations",
            )
        self._ground = PairImages(opened, "query", ViewSettings(config.height_px, config.width_px))
        self._config, self._opened, self.count = config, opened, len(opened.queries)

    def pair(self, number: int) -> CganPair:
        """The pair of a number."""
        query = self._opened.queries[number]
        reference = self._opened.references[int(self._opened.positive[number])]
        square = load_image(reference.path)
        require_square(square, reference.path)
        tile = cut_tile(square, 2.0 * reference.half_side_m, self._config.tile_side_m, reference.path)
        aerial = map_tiles(tile[None], self._config)[0]
        image = _bytes(self._ground[number][0])
        if self.labeller is not None:
            labels = self.labeller.of_panorama(image, self._elevation_deg)
        else:
            labels = merge_labels(self._ground.labels(number), "cvusa", query.labels_path)
        return CganPair(_bytes(aerial), labels, image, query.id)

    def samples(self, count: int) -> list[CganPair]:
        """The first pairs."""
        return [self.pair(number) for number in range(min(count, len(self._opened.queries)))]


def _bytes(image: Tensor) -> Tensor:
    return (image * 255.0).round().clamp(0, 255).byte()


def turned(pair: CganPair, columns: int, mirrored: bool) -> CganPair:
    """A pair seen from another heading, and in a mirror: both views and the labels alike.

    Args:
        pair: the aerial image in the panorama's frame.
        columns: to turn by, clockwise.
        mirrored: east and west change places.
    """

    def change(picture: Tensor) -> Tensor:
        if mirrored:  # column j looks along 360°·j/W, so j becomes W - j and column 0 stays
            picture = torch.roll(picture.flip(-1), 1, dims=-1)
        return torch.roll(picture, -columns, dims=-1)

    return CganPair(change(pair.aerial), change(pair.labels), change(pair.image), pair.name)


def batch_of_step(
    pairs: NumberedPairs,
    step: int,
    *,
    size: int,
    seed: int,
    rank: int,
    processes: int,
    turn: bool,
    mirror: bool,
) -> CganBatch:
    """The batch of a step in a process.

    Args:
        pairs: what to take from.
        step: from 1.
        size: pairs a process takes.
        seed: of the order, turns and mirrors.
        rank: the process.
        processes: of the training.
        turn: turn pairs at random.
        mirror: mirror every second pair, at random.
    """
    rng = np.random.default_rng([seed, 37, step, rank])
    first = ((step - 1) * processes + rank) * size
    chosen = []
    for place in range(first, first + size):
        pair = pairs.pair(_number(place, pairs.count, seed))
        columns = int(rng.integers(pair.image.shape[-1])) if turn else 0
        chosen.append(turned(pair, columns, mirror and bool(rng.random() < 0.5)))
    return joined(chosen)


def joined(pairs: Sequence[CganPair]) -> CganBatch:
    """Pairs as a batch."""
    return CganBatch(
        torch.stack([pair.aerial for pair in pairs]).float() / 255.0,
        torch.stack([pair.labels for pair in pairs]),
        torch.stack([pair.image for pair in pairs]).float() / 255.0,
        tuple(pair.name for pair in pairs),
    )


def _number(place: int, count: int | None, seed: int) -> int:
    """The pair at a place of the endless order, in which each pass over the pairs has an order of its own."""
    if count is None:
        return place
    epoch, within = divmod(place, count)
    return int(_order(seed, epoch, count)[within])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, 41, epoch]).permutation(count)


class _Batches(IterableDataset[CganBatch | SmdtError]):
    """The batches of one process from a step on; workers take steps in turn."""

    def __init__(self, pairs: NumberedPairs, first_step: int, options: dict[str, int | bool]) -> None:
        self._pairs, self._first, self._options = pairs, first_step, options

    def __iter__(self) -> Iterator[CganBatch | SmdtError]:
        worker = get_worker_info()
        if worker is not None:
            torch.set_num_threads(1)
        step = self._first + (0 if worker is None else worker.id)
        while True:
            try:
                batch = batch_of_step(self._pairs, step, **self._options)  # type: ignore[arg-type]
            except SmdtError as error:  # a loader process would bury it
                yield error
                return
            yield batch
            step += 1 if worker is None else worker.num_workers


def batches_from(
    pairs: NumberedPairs,
    first_step: int,
    workers: int,
    *,
    size: int,
    seed: int,
    rank: int,
    processes: int,
    turn: bool,
    mirror: bool,
) -> Iterator[CganBatch]:
    """Endless batches from a step on, drawn by loader processes or, with none, in between.

    See :func:`batch_of_step` for the arguments.
    """
    options = {
        "size": size, "seed": seed, "rank": rank, "processes": processes, "turn": turn, "mirror": mirror
    }  # fmt: skip
    # Within the generator: a loader draws from torch's global randomness, which the loop shields only here.
    for batch in DataLoader(_Batches(pairs, first_step, options), batch_size=None, num_workers=workers):
        if isinstance(batch, SmdtError):
            raise batch
        yield batch
