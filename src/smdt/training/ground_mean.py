"""The mean ground strip of an untrained model, for photos that come alone.

Untrained features share a large common part in each view; what tells places apart is the rest. A query set
has a mean of its own to remove; a single photo has not, so the model carries one, taken from panoramas of
simulated towns at random headings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from smdt.files import write_whole
from smdt.retrieval.embedding import embed_ground
from smdt.retrieval.encoder import Encoder
from smdt.world.dataset import PairConfig, PairSource, check_training_seeds

_BATCH = 16


def ground_mean(
    model: Encoder,
    seeds: tuple[int, ...],
    panoramas: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Mean over panoramas and azimuths of a model's ground strips, (C,) float32.

    Args:
        model: an untrained model.
        seeds: towns to render.
        panoramas: how many, rounded up to whole batches.
        seed: of positions, headings and weather.
        progress: called with panoramas done and in all.
    """
    check_training_seeds(seeds)
    config = PairConfig(height_px=model.config.height_px, width_px=model.config.width_px)
    source, rng = PairSource(seeds, config=config), np.random.default_rng(seed)
    total, done = torch.zeros(model.channels, dtype=torch.float64), 0
    while done < panoramas:
        strips = embed_ground(model, source.batch(_BATCH, rng).ground)
        total += strips.double().mean(2).sum(0).view(-1, model.channels).mean(0)
        done += _BATCH
        if progress:
            progress(done, max(done, panoramas))
    return (total / done).float()


def write_ground_mean(mean: torch.Tensor, path: Path) -> None:
    """Write a ground mean as safetensors."""
    write_whole(path, lambda partial: partial.write_bytes(save({"ground_mean": mean.contiguous()})))
