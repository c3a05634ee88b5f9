"""Find a compact model's head in closed form among the first pairs of a training, before its first step."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

import numpy as np
import torch

from smdt.errors import ConfigError
from smdt.retrieval.canonical import ColumnMoments, set_head
from smdt.retrieval.compact import Compact
from smdt.retrieval.encoder import Encoder
from smdt.training.loop import Loop
from smdt.training.pairs import DatasetPairs, ViewPairs, load_rows
from smdt.training.processes import gather_objects
from smdt.training.retrieval_front import Progress
from smdt.training.retrieval_settings import RetrievalTraining
from smdt.training.retrieval_views import ViewMaker

_CHUNK = 32


def check_head_start(model: Encoder, settings: RetrievalTraining) -> None:
    """Refuse models whose head cannot be found so.

    Raises:
        ConfigError: if the model is not compact, its backbone has no early part, or its columns are no azimuths.
    """
    if not isinstance(model, Compact) or not model.front_stages or model.aerial_fold is not None:
        raise ConfigError(
            f"the head of this model, of family {settings.family}, cannot be found in closed form",
            where="head_pairs",
            remedy="choose a compact model with an EfficientNet and mapped tiles, or set head_pairs: 0",
        )


def first_pairs(settings: RetrievalTraining, pairs: DatasetPairs, loop: Loop) -> Iterator[ViewPairs]:
    """This process's share of ``head_pairs`` pairs of a data set, drawn at random once."""
    count = len(pairs.split.queries)
    order = np.random.default_rng([settings.seed, 8]).permutation(count)[: settings.head_pairs]
    own = torch.from_numpy(order[loop.rank :: loop.processes])
    return load_rows(pairs, [part.tolist() for part in torch.split(own, _CHUNK)], settings.workers)


@torch.no_grad()
def find_head(
    loop: Loop,
    model: Compact,
    settings: RetrievalTraining,
    batches: Iterator[ViewPairs],
    count: int,
    progress: Progress | None = None,
) -> None:
    """Give a model the head that its features suggest.

    Args:
        loop: where to compute; every process looks at pairs of its own, and all get one head.
        model: its trunk stays as it is.
        settings: how pairs are changed; nothing is turned, narrowed or hidden here.
        batches: this process's share of the pairs, or more.
        count: pairs to look at, in all processes.
        progress: told of pairs done and in all, of this process.
    """
    straight = replace(
        settings, turn_deg=0.0, turn_both=False, narrow_share=0.0, front_narrow=False, occlusion=0.0
    )
    views = ViewMaker(straight, model.config, model.columns, None, model.ground_views)
    share, done = -(-count // loop.processes), 0
    moments = ColumnMoments(model.fold.weight[0].numel())
    model.eval()
    for number, pairs in enumerate(batches):
        word = int(np.random.SeedSequence([settings.seed, loop.rank, number, 7]).generate_state(1)[0])
        generator = torch.Generator(loop.device).manual_seed(word)
        turns = views.turns(len(pairs.ground), 1, generator)
        ground, aerial = views.changed(pairs, None, turns, generator, 0)
        with loop.autocast():
            seen, mapped = model.features(ground), model.features(aerial)
        for one in mapped.chunk(mapped.shape[1] // seen.shape[1], dim=1):  # of mapped tiles, and of Ig′
            moments.add(seen, one)
        done += len(pairs.ground)
        if progress is not None:
            progress(min(done, share), share)
        if done >= share:
            break
    if isinstance(batches, Generator):  # ends its loader's processes
        batches.close()
    set_head(model, ColumnMoments.merged(gather_objects(moments)).head(model.config.strip_channels))
