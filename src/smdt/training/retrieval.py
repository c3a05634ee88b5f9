"""Train the siamese retrieval model on simulated towns: in-batch contrast over places and headings at once.

Every query is scored against every reference of the batch at every turn (circular correlation). The softmax
runs over all of these, and the target is the true reference at the true heading, so that matching and heading
are one loss. Batches come from one town each, so the negatives share its streets, palette and light.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from smdt.errors import ConfigError, TrainingError
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.retrieval.matching import circular_scores, normalise_queries
from smdt.retrieval.models import load_model, save_model
from smdt.retrieval.siamese import Siamese, SiameseConfig, imagenet_lite0_state
from smdt.world.dataset import PairBatch, PairConfig, PairSource, check_training_seeds

_FROZEN = ("conv_stem", "bn1", "blocks.0", "blocks.1")


@dataclass(frozen=True)
class RetrievalTraining:
    """Settings of a training of the siamese model on towns.

    Attributes:
        out: folder for the model and its record.
        name: the model's name.
        steps: optimiser steps.
        batch: pairs a step.
        learning_rate: peak rate of the heads.
        trunk_share: the trunk's rate as a share of that; 0 freezes it.
        strip_channels: channels of the strip.
        height_px: rows of both views.
        width_px: columns of both views.
        town_seeds: towns to learn from.
        town_side_m: side of each town.
        tile_side_m: side of the aerial tiles.
        tile_factors: a batch's tiles are larger by one of these, for imagery of several scales.
        max_offset_m: cameras stand off the tile's centre by up to this, east and north each.
        narrow_share: share of batches whose queries see only a part of the circle.
        workers: processes that render beside the training; 0 renders in between.
        style: of the towns, see ``smdt.world.town.STYLES``.
        variety: how much the days and cameras of the two views differ, 0 to 1.
        start: a model (name or folder) whose weights to start from, of the same shape; ImageNet's unless given.
        seed: of everything random.
        log_every: steps between log lines.
        save_every: steps between saves of the model as it stands.
    """

    out: Path
    name: str = "town"
    steps: int = 1000
    batch: int = 32
    learning_rate: float = 2e-3
    trunk_share: float = 0.2
    strip_channels: int = 64
    height_px: int = 128
    width_px: int = 512
    town_seeds: tuple[int, ...] = tuple(range(100, 124))
    town_side_m: float = 600.0
    tile_side_m: float = 100.0
    tile_factors: tuple[float, ...] = (1.0,)
    max_offset_m: float = 8.0
    narrow_share: float = 0.25
    style: str = "mixed"
    variety: float = 1.0
    start: str | None = None
    workers: int = 1
    seed: int = 0
    log_every: int = 25
    save_every: int = 200

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if self.steps < 1:
            raise ConfigError(f"{self.steps} steps train nothing", where="--steps", remedy="give 1 or more")
        if self.batch < 2:
            raise ConfigError(
                f"a batch of {self.batch} has nothing to contrast", where="--batch", remedy="give 2 or more"
            )
        check_training_seeds(self.town_seeds)


def contrast_loss(
    queries: Tensor, references: Tensor, heading_deg: Tensor, scale: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Symmetric contrast over places and turns.

    Args:
        queries: (B, C, W) strips of the panoramas.
        references: (B, C, W) strips of their tiles, in the same order.
        heading_deg: (B,) true headings of the panoramas.
        scale: inverse temperature.
        mask: (B, W), True where a query sees.

    Returns:
        The mean cross entropy, queries to references and back.
    """
    size, width = len(queries), queries.shape[-1]
    scores = circular_scores(normalise_queries(queries, mask), references, mask) * scale  # (B, B, W)
    column = heading_deg / 360.0 * width
    low = column.floor()
    weight = column - low
    own = torch.arange(size, device=queries.device)
    total = scores.new_zeros(())
    for logits in (scores, scores.transpose(0, 1)):
        log_share = logits.reshape(size, -1).log_softmax(dim=1).view(size, size, width)[own, own]
        first = log_share.gather(1, (low.long() % width)[:, None])[:, 0]
        second = log_share.gather(1, ((low.long() + 1) % width)[:, None])[:, 0]
        total = total - ((1 - weight) * first + weight * second).mean()
    return total / 2


def centred(strips: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Strips (B, C, W) less their mean over the batch and the columns seen, and that mean (C,), detached.

    What all places of a view have in common tells none apart, and it is what differs most between simulated and real
    pictures; the model never learns to rely on it.
    """
    seen = torch.ones_like(strips[:, 0]) if mask is None else mask.to(strips.dtype)
    mean = torch.einsum("bcw,bw->c", strips, seen) / seen.sum()
    return strips - mean[:, None], mean.detach()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Another day, another sensor: brightness, contrast, colour, gamma, blur and noise, drawn for each image.

    Args:
        images: (B, 3, H, W) in [0, 1].
        generator: where the randomness comes from.
    """
    size = len(images)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(size, channels, 1, 1, generator=generator)

    grey = images.mean(1, keepdim=True)
    mixed = grey + (images - grey) * draw(0.3, 1.3)
    mean = mixed.mean((2, 3), keepdim=True)
    mixed = (mixed - mean) * draw(0.6, 1.4) + mean * draw(0.7, 1.3) * draw(0.88, 1.12, 3)
    mixed = mixed.clamp(1e-3, 1).pow(draw(0.7, 1.4))
    blurred = F.avg_pool2d(F.pad(mixed, (1, 1, 1, 1), mode="replicate"), 3, 1)
    mixed = torch.where(draw(0, 1) < 0.4, blurred, mixed)
    return (mixed + draw(0, 0.04) * torch.randn(mixed.shape, generator=generator)).clamp(0, 1)


def narrow_mask(size: int, columns: int, generator: torch.Generator) -> Tensor:
    """Masks (B, W) of one random field of view between 90° and 360°, centred like a photo in its panorama."""
    kept = int(torch.randint(columns // 4, columns + 1, (1,), generator=generator))
    mask = torch.zeros(size, columns, dtype=torch.bool)
    mask[:, columns // 2 - kept // 2 : columns // 2 - kept // 2 + kept] = True
    return mask


def train_retrieval(
    settings: RetrievalTraining, report: Callable[[int, dict[str, float]], None] | None = None
) -> Siamese:
    """Train, and write the model with its record to ``settings.out``.

    Args:
        settings: what to train.
        report: called every ``log_every`` steps with the step and its figures (loss, R@1 in the batch, pairs/s).

    Returns:
        The trained model.

    Raises:
        TrainingError: if the loss is no longer a number.
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    config = SiameseConfig(
        name=settings.name,
        strip_channels=settings.strip_channels,
        height_px=settings.height_px,
        width_px=settings.width_px,
        tile_side_m=settings.tile_side_m,
        remove_mean=True,
    )
    model = Siamese(config)
    if settings.start is None:
        model.trunk.load_state_dict(imagenet_lite0_state(), strict=False)
    else:
        model.load_state_dict(load_model(settings.start).state_dict())
    model.eval()  # batch statistics stay ImageNet's: the two views' own would differ
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in model.trunk.named_parameters():  # edges and textures stay as ImageNet taught them
        parameter.requires_grad_(settings.trunk_share > 0 and not name.startswith(_FROZEN))
    log_scale = nn.Parameter(torch.tensor(math.log(20.0)))
    rate = settings.learning_rate
    optimiser = torch.optim.AdamW(
        [
            {
                "params": [p for p in model.trunk.parameters() if p.requires_grad],
                "lr": rate * settings.trunk_share,
            },
            {"params": [*model.heads.parameters(), log_scale], "lr": rate},
        ],
        weight_decay=0.02,
    )
    warm_up = max(1, settings.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / settings.steps)),
    )
    pairs = PairConfig(
        tile_side_m=settings.tile_side_m,
        tile_px=config.tile_px,
        height_px=settings.height_px,
        width_px=settings.width_px,
        max_offset_m=settings.max_offset_m,
        style=settings.style,
        variety=settings.variety,
    )
    loader = DataLoader(_Batches(settings, pairs), batch_size=None, num_workers=settings.workers)
    batches = iter(loader)
    started = time.monotonic()
    window: list[tuple[float, float]] = []
    for step in range(1, settings.steps + 1):
        batch: PairBatch = next(batches)
        narrow = float(torch.rand(1, generator=generator)) < settings.narrow_share
        mask = narrow_mask(settings.batch, model.columns, generator) if narrow else None
        ground, aerial = _views(batch, config, mask, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            queries, references = model(ground, "ground"), model(aerial, "aerial")
        queries, mean = centred(queries.float(), mask)
        references, _ = centred(references.float())
        kept = 0.0 if step == 1 else min(0.98, 1 - 1 / step)
        model.ground_mean.mul_(kept).add_(mean, alpha=1 - kept)
        loss = contrast_loss(queries, references, batch.heading_deg, log_scale.exp().clamp_max(100.0), mask)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is not a number at step {step}",
                where="--learning-rate",
                remedy=f"try a smaller one than {rate}",
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        window.append((float(loss.detach()), _recall(queries, references, mask)))
        if report and (step % settings.log_every == 0 or step == settings.steps):
            speed = step * settings.batch / (time.monotonic() - started)
            mean = np.mean(window, axis=0)
            report(step, {"loss": float(mean[0]), "R@1": float(mean[1]), "pairs/s": speed})
            window.clear()
        if step % settings.save_every == 0 or step == settings.steps:
            model.config = replace(config, scale=float(log_scale.detach().exp()))
            save_model(model, settings.out, training_record(settings, step, time.monotonic() - started))
    return model.eval()


class _Batches(IterableDataset[PairBatch]):
    """Endless batches of pairs; every worker draws its own, and their order depends on the settings alone."""

    def __init__(self, settings: RetrievalTraining, pairs: PairConfig) -> None:
        self._settings, self._pairs = settings, pairs

    def __iter__(self) -> Iterator[PairBatch]:
        settings, worker = self._settings, get_worker_info()
        if worker is not None:
            torch.set_num_threads(1)
        rng = np.random.default_rng([settings.seed, 0 if worker is None else worker.id])
        source = PairSource(settings.town_seeds, settings.town_side_m, self._pairs)
        sources = [
            source.with_config(replace(self._pairs, tile_side_m=settings.tile_side_m * factor))
            for factor in settings.tile_factors
        ]
        while True:
            yield sources[int(rng.integers(len(sources)))].batch(settings.batch, rng)


def _views(
    batch: PairBatch, config: SiameseConfig, mask: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Augmented panoramas and augmented mapped tiles; what a narrow photo does not see is black."""
    grid = aerial_grid(config.mapping, config.tile_px, config.height_px, config.width_px)
    aerial = augment(map_aerial(batch.aerial, grid) / 255.0, generator)
    ground = augment(batch.ground, generator)
    if mask is not None:
        ground = ground * mask.repeat_interleave(config.width_px // mask.shape[1], dim=1)[:, None, None]
    return ground, aerial


@torch.no_grad()
def _recall(queries: Tensor, references: Tensor, mask: Tensor | None) -> float:
    """Share of the batch whose best reference, over all turns, is its own."""
    best = circular_scores(normalise_queries(queries, mask), references, mask).amax(dim=2).argmax(dim=1)
    return float((best == torch.arange(len(best))).float().mean())


def training_record(settings: RetrievalTraining, step: int, seconds: float) -> dict[str, Any]:
    """What made a model: settings, versions and time."""
    from smdt import __version__

    chosen = asdict(settings)
    chosen["out"] = str(settings.out.name)
    return {
        "settings": chosen,
        "steps_done": step,
        "trained_on": "simulated towns only",
        "smdt": __version__,
        "torch": torch.__version__,
        "device": f"CPU, {torch.get_num_threads()} threads",
        "hours": round(seconds / 3600, 3),
    }
