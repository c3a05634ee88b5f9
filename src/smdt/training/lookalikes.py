"""Mine look-alikes: pairs that a narrow photo of unknown heading is mistaken for, by the model as it stands.

What such a photo is mistaken for lies hardly ever next to it: somewhere else a row of houses looks the same. Near
neighbours in metres teach little of that. So every pair's narrow photo is tried on the aerial images of many others, at
every turn, and those that fit best share its batches.

Source: hard negatives by the model's own similarity, refreshed as it learns, as in Sample4Geo (ICCV 2023); here at any
heading, and of features that are kept (:mod:`smdt.training.retrieval_front`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from smdt.retrieval.mining import Indices, nearest_at_any_turn
from smdt.retrieval.strip_ranking import seen_columns
from smdt.retrieval.strip_scores import ready_references
from smdt.training.loop import Loop
from smdt.training.processes import gather_objects
from smdt.training.retrieval_front import FrontCache

_CHUNK = 128


@torch.no_grad()
def lookalikes(
    loop: Loop, front: FrontCache, epoch: int, progress: Callable[[int, int], None] | None = None
) -> Indices:
    """The look-alikes of every pair, (Q, neighbours), the best first; -1 where there are not as many.

    Of each narrow photo the middle is compared, as wide as the narrowest that training asks. Every process embeds a
    share of the pairs, and finds the same.

    Args:
        loop: where to compute.
        front: with kept features of narrow photos; its model embeds them.
        epoch: which of the kept photos are tried, and who is compared with whom, changes with it.
        progress: called with pairs done and in all, once while they are embedded and again while they are compared.
    """
    settings, model = front.settings, front.model
    count = len(front.pairs.split.queries)
    own = torch.arange(loop.rank, count, loop.processes)
    found: list[tuple[Tensor, Tensor]] = []
    for rows in torch.split(own, _CHUNK):
        ground, aerial = front.looks(rows, epoch)
        with loop.autocast():
            strips = (
                front.back(ground.to(loop.device), "ground"),
                front.back(aerial.to(loop.device), "aerial"),
            )
        found.append((strips[0].to("cpu", torch.float16), strips[1].to("cpu", torch.float16)))
        if progress is not None:
            progress(int(rows[-1]) + 1, count)
    parts = gather_objects(tuple(torch.cat(column) for column in zip(*found, strict=True)))
    queries, references = (
        torch.empty(count, *parts[0][view].shape[1:], dtype=torch.float16) for view in range(2)
    )
    for rank, (ground, aerial) in enumerate(parts):
        queries[rank :: loop.processes], references[rank :: loop.processes] = ground, aerial
    if model.config.remove_mean:
        queries -= model.ground_mean.to("cpu", torch.float16)[:, None]
    return nearest_at_any_turn(
        queries,
        ready_references(references, remove_mean=model.config.remove_mean),
        seen_columns(model.columns, settings.narrowest_deg),
        settings.neighbours,
        np.random.default_rng([settings.seed, epoch, 8]),
        among=settings.mine_among,
        progress=progress,
    )
