"""Pictures of a data set that are decoded and mapped once, and stay in memory: on a GPU, where one trains.

A network that trains faster than its files can be read waits for them in every epoch. Where all pairs fit, they are
read once, by the loader's processes; batches are then rows of a tensor. What changes from step to step (light, turns,
mirror, fields of view) is made from them on the device, as it is from files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from smdt.errors import ConfigError
from smdt.training.epochs import Descriptors, Epochs
from smdt.training.loop import Loop
from smdt.training.pairs import DatasetPairs, ViewPairs, load_rows

_CHUNK = 64
_GIB = 2.0**30
_LEFT_GIB = 4.0  # of a GPU's memory for the network and its steps


class KeptPictures:
    """All pairs of a data set, uint8, on the device that trains; every process keeps all of them.

    Args:
        pairs: the data set's.
        workers: processes that read.
    """

    def __init__(self, pairs: DatasetPairs, workers: int) -> None:
        self.pairs, self.workers = pairs, workers
        self._kept: ViewPairs | None = None

    def batches(
        self,
        loop: Loop,
        first_step: int,
        epochs: Epochs,
        descriptors: Descriptors,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[ViewPairs]:
        """This process's batches, from that of a step on; the pictures are read before the first.

        Args:
            loop: whose device keeps them.
            first_step: from 1.
            epochs: which queries share a batch.
            descriptors: for mining, see :meth:`Epochs.batches`.
            progress: told, in the first process, of pairs read and in all.

        Raises:
            ConfigError: if they do not fit into a GPU's memory.
            DatasetError: if a picture cannot be read.
        """
        self.read(loop.device, progress if loop.rank == 0 else None)
        for table in epochs.tables(loop, first_step, descriptors):
            for row in table:
                yield self.of(row)

    def of(self, row: list[int]) -> ViewPairs:
        """The pairs of some queries, on the device."""
        kept = self._kept
        assert kept is not None  # they have been read
        which = torch.tensor(row, device=kept.ground.device)
        labels = kept.labels[which] if len(kept.labels) else kept.labels
        ids = [self.pairs.split.queries[index].id for index in row]
        return ViewPairs(kept.ground[which], kept.aerial[which], labels, ids)

    def read(self, device: torch.device, progress: Callable[[int, int], None] | None = None) -> None:
        """Read all pairs, once."""
        if self._kept is not None:
            return
        count = len(self.pairs.split.queries)
        rows: list[list[int]] = [part.tolist() for part in torch.split(torch.arange(count), _CHUNK)]
        kept: list[Tensor] = []
        for row, some in zip(rows, load_rows(self.pairs, rows, self.workers), strict=True):
            parts = (some.ground, some.aerial, some.labels.to(torch.int16))
            if not kept:
                _check_room(parts, count, len(row), device)
                kept = [
                    torch.empty((count if len(one) else 0, *one.shape[1:]), dtype=one.dtype, device=device)
                    for one in parts
                ]
            for whole, part in zip(kept, parts, strict=True):
                if len(part):
                    whole[row[0] : row[-1] + 1] = part.to(device, non_blocking=True)
            if progress is not None:
                progress(row[-1] + 1, count)
        self._kept = ViewPairs(kept[0], kept[1], kept[2], [])


def _check_room(parts: tuple[Tensor, ...], count: int, size: int, device: torch.device) -> None:
    """Refuse what a GPU has no room for."""
    if device.type != "cuda":
        return
    needed = sum(one.numel() * one.element_size() for one in parts) / size * count / _GIB
    free = torch.cuda.mem_get_info(device)[0] / _GIB
    if needed > free - _LEFT_GIB:
        raise ConfigError(
            f"the pictures of {count} pairs need {needed:.3g} GiB, and the GPU has {free:.3g} free",
            where="keep_pictures",
            remedy="set keep_pictures: false, and workers: to as many as there are cores",
        )
