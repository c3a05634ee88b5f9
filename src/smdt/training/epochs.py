"""Epochs over a data set's pairs: each one's table of batches, mined as the settings say, and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smdt.retrieval.mining import (
    Indices,
    mined_batches,
    nearest_by_place,
    nearest_by_similarity,
    place_coordinates,
)
from smdt.training.loop import Loop
from smdt.training.pairs import DatasetPairs, ViewPairs, load_rows
from smdt.training.processes import gather_objects
from smdt.training.retrieval_settings import RetrievalTraining

Descriptors = Callable[[Loop, Tensor, Tensor], tuple[Tensor, Tensor]]


class Epochs:
    """Endless batches of a data set, one table of batches an epoch.

    Mining by similarity looks at descriptors of the model as it stands when an epoch begins; the first epoch is at
    random. The table is part of the training's state, so that a resumed epoch is the one that was begun.

    Args:
        settings: batch size and mining.
        pairs: the data set's.
        shown: (Q, m) references that show each query's place.

    Raises:
        ConfigError: if the data set has no coordinates to mine by place.
    """

    def __init__(self, settings: RetrievalTraining, pairs: DatasetPairs, shown: Indices) -> None:
        self.settings, self.pairs, self.shown = settings, pairs, shown
        self.epoch, self.begun_after = -1, 0
        self.table = torch.zeros(0, settings.batch, dtype=torch.int64)
        self.neighbours: Indices | None = None
        if settings.mining == "place":
            self.neighbours = nearest_by_place(place_coordinates(pairs.split), settings.neighbours)
        else:
            self._table(0)  # said before the training starts: too few different places for a batch

    def state(self) -> dict[str, Any]:
        """The epoch, after which step it began, and its table; with what was found similar."""
        found = None if self.neighbours is None else torch.from_numpy(self.neighbours)
        return {
            "epoch": self.epoch,
            "begun_after": self.begun_after,
            "table": self.table,
            "neighbours": found,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self.epoch, self.begun_after, self.table = state["epoch"], state["begun_after"], state["table"]
        self.neighbours = None if state["neighbours"] is None else state["neighbours"].numpy()

    def batches(self, loop: Loop, first_step: int, descriptors: Descriptors) -> Iterator[ViewPairs]:
        """This process's batches, from that of a step on.

        Args:
            loop: for the process's number, and for ``descriptors``.
            first_step: from 1.
            descriptors: embeds panoramas and aerial images (uint8), for mining.
        """
        for rows in self.tables(loop, first_step, descriptors):
            yield from load_rows(self.pairs, rows, self.settings.workers)

    def tables(self, loop: Loop, first_step: int, descriptors: Descriptors) -> Iterator[list[list[int]]]:
        """This process's rows of each epoch's table, as indices of queries: those of a step and after it.

        A table is to be used up before the next is asked for. See :meth:`batches`.
        """
        done = first_step - 1
        share = self.settings.batch // loop.processes
        mine = slice(loop.rank * share, (loop.rank + 1) * share)
        while True:
            if done - self.begun_after >= len(self.table):
                self._begin(loop, done, descriptors)
            rows: list[list[int]] = self.table[done - self.begun_after :, mine].tolist()
            done += len(rows)
            yield rows

    def _begin(self, loop: Loop, done: int, descriptors: Descriptors) -> None:
        settings = self.settings
        self.epoch, self.begun_after = self.epoch + 1, done
        if settings.mining == "similarity" and self.epoch > 0 and (self.epoch - 1) % settings.mine_every == 0:
            self.neighbours = self._similar(loop, descriptors)
        self.table = self._table(self.epoch)

    def _table(self, epoch: int) -> Tensor:
        settings = self.settings
        rng = np.random.default_rng([settings.seed, epoch, 3])
        return torch.from_numpy(
            mined_batches(self.shown, settings.batch, rng, self.neighbours, settings.group)
        )

    def _similar(self, loop: Loop, descriptors: Descriptors) -> Indices:
        """Neighbours by the model as it stands; every process embeds a share of the pairs."""
        split, size = self.pairs.split, max(1, self.settings.batch // loop.processes)
        own = torch.arange(loop.rank, len(split.queries), loop.processes)
        found = []
        rows = [part.tolist() for part in torch.split(own, size)]
        for batch in load_rows(self.pairs, rows, self.settings.workers):
            found.append(descriptors(loop, batch.ground, batch.aerial))
        mine = tuple(torch.cat(column).half() for column in zip(*found, strict=True))
        parts = gather_objects(mine)
        both = [torch.empty(len(split.queries), part.shape[1]) for part in parts[0]]
        for number, part in enumerate(parts):
            for whole, some in zip(both, part, strict=True):
                whole[number :: loop.processes] = some.float()
        queries, aerial = (one.numpy() for one in both)
        references = np.zeros((len(split.references), aerial.shape[1]), np.float32)
        references[split.positive] = aerial
        return nearest_by_similarity(queries, references, split.positive, self.settings.neighbours)
