"""Train the dual conditional GAN on the shared loop: discriminators and generators in turn, in every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from smdt.alignment.adversarial import discriminator_loss, generator_loss
from smdt.alignment.cgan_models import save_cgan
from smdt.alignment.dual_cgan import DualCgan, DualCganConfig, Synthesis, class_map, label_picture
from smdt.alignment.label_cache import PanoramaLabels
from smdt.alignment.labels import colourise
from smdt.errors import ConfigError
from smdt.files import write_whole
from smdt.training.cgan_pairs import (
    CganBatch,
    DatasetPairs,
    NumberedPairs,
    WorldPairs,
    batches_from,
    joined,
)
from smdt.training.loop import Loop, LoopSettings, Report, Trainable, run
from smdt.world.dataset import PairConfig, check_training_seeds

_SHEET_ROWS = 6


@dataclass(frozen=True)
class DualCganTraining(DualCganConfig, LoopSettings):
    """Settings of a training of the dual conditional GAN; the network's and the loop's are inherited.

    Attributes:
        batch: pairs a step, over all processes; 1 is published.
        learning_rate: of both optimisers. Published: 2e-4.
        beta1: of Adam. Published: 0.5.
        decay_from: share of the steps after which the rates fall evenly to 0. Published: 15 of 30 epochs.
        image_weight: of the mean absolute error of Ig′. Published: 100.
        label_weight: of the mean absolute error of Sg′ as colours (published: 100), or of its cross entropy as classes.
        adversarial_weight: of the generators' GAN loss; 0 trains without discriminators.
        adversarial_from: share of the steps after which the discriminators come in; published: 0, from the first.
        aligned: the two discriminators' features are multiplied, as published.
        turn: turn both views of a pair alike at random.
        mirror: mirror both views of every second pair.
        dataset: ``worlds`` for simulated towns, ``cvusa``, or with a segmenter ``cvact``, ``vigor`` or ``folder``.
        root: the data set's folder.
        split: of the data set.
        segmenter: labels a data set's panoramas (stage 1), by name or folder; empty: its own labels are taken.
        cache: a folder that keeps these labels.
        town_seeds: towns to learn from.
        town_side_m: side of each town.
        tile_px: pixels of the towns' aerial tiles.
        pool: pairs drawn of the towns and kept in memory; 0: new ones at every step.
        max_offset_m: cameras stand off the tile's centre by up to this, east and north each.
        style: of the towns.
        variety: how much the days and cameras of the two views differ, 0 to 1.
        ground_variety: the same for the ground views alone; None: as ``variety``. What the aerial image cannot tell
            (light and season of the ground image, its camera) the model can only average over.
        same_moment: both views are of one day.
        supersample: rays to a pixel of the panoramas, each way.
        workers: processes that draw pairs beside the training.
    """

    may_differ: ClassVar[frozenset[str]] = LoopSettings.may_differ | {"root", "segmenter", "cache"}

    max_grad_norm: float = 0.0
    batch: int = 1
    learning_rate: float = 2e-4
    beta1: float = 0.5
    decay_from: float = 0.5
    image_weight: float = 100.0
    label_weight: float = 100.0
    adversarial_weight: float = 1.0
    adversarial_from: float = 0.0
    aligned: bool = True
    turn: bool = False
    mirror: bool = False
    dataset: str = "worlds"
    root: str | None = None
    split: str = "train"
    segmenter: str = ""
    cache: Path | None = None
    town_seeds: tuple[int, ...] = tuple(range(400, 424))
    town_side_m: float = 450.0
    tile_px: int = 256
    pool: int = 0
    max_offset_m: float = 2.0
    style: str = "mixed"
    variety: float = 1.0
    ground_variety: float | None = None
    same_moment: bool = False
    supersample: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        DualCganConfig.__post_init__(self)
        LoopSettings.__post_init__(self)
        if self.batch < 1 or self.batch % (self.devices * self.nodes):
            raise ConfigError(
                f"a batch of {self.batch} cannot be shared by {self.devices * self.nodes} processes",
                where="--batch",
                remedy="give a multiple of the processes",
            )
        if self.dataset not in ("worlds", "cvusa", *(("cvact", "vigor", "folder") if self.segmenter else ())):
            raise ConfigError(
                f"'{self.dataset}' has no ground labels to learn from",
                where="--dataset",
                remedy="use worlds or cvusa, or name a segmenter that makes labels",
            )
        if self.dataset == "worlds" and self.segmenter:
            raise ConfigError(
                "the labels of simulated places are exact", where="segmenter", remedy="leave it out"
            )
        if self.dataset != "worlds" and self.root is None:
            raise ConfigError("the data set's folder is missing", where="--root", remedy="name it")
        for name in ("decay_from", "adversarial_from"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}", where=name, remedy="give 0 to 1")
        if self.pool < 0 or self.workers < 0:
            raise ConfigError("pool and workers are 0 or more", where="pool", remedy="give such numbers")
        if self.dataset == "worlds":
            check_training_seeds(self.town_seeds)

    def config(self) -> DualCganConfig:
        """The network's part."""
        return DualCganConfig(**{entry.name: getattr(self, entry.name) for entry in fields(DualCganConfig)})

    def draw(self) -> PairConfig:
        """How pairs are drawn of towns: all panoramas look north, as the mapped tile does."""
        return PairConfig(
            tile_side_m=self.tile_side_m,
            tile_px=self.tile_px,
            height_px=self.height_px,
            width_px=self.width_px,
            max_offset_m=self.max_offset_m,
            random_heading=False,
            camera_height_m=(self.camera_height_m - 0.3, self.camera_height_m + 0.3),
            max_tilt_deg=0.5,
            same_moment=self.same_moment,
            style=self.style,
            variety=self.variety,
            supersample=self.supersample,
        )

    def pairs(self) -> NumberedPairs:
        """Where pairs come from.

        Raises:
            DatasetError: if the data set is incomplete, or its panoramas have no labels.
        """
        if self.dataset != "worlds":
            labeller = PanoramaLabels(self.segmenter, self.cache) if self.segmenter else None
            return DatasetPairs(self.config(), self.dataset, str(self.root), self.split, labeller)
        return WorldPairs(
            self.config(),
            self.town_seeds,
            self.draw(),
            count=self.pool or None,
            town_side_m=self.town_side_m,
            ground_variety=self.ground_variety,
            seed=self.seed,
        )


class DualCganTrainer(Trainable):
    """The four networks, two optimisers, and what a step does with them.

    Args:
        settings: of the training.
        pairs: where pairs come from; what the settings say unless given.
    """

    samples_name = "pairs"

    def __init__(self, settings: DualCganTraining, pairs: NumberedPairs | None = None) -> None:
        self.settings, self.pairs = settings, pairs or settings.pairs()
        self.samples_per_step = settings.batch
        self.model = DualCgan(
            settings.config(), generator=torch.Generator().manual_seed(settings.seed)
        ).train()
        model = self.model
        self.networks: dict[str, nn.Module] = {"g1": model.g1, "g2": model.g2, "d1": model.d1, "d2": model.d2}
        self.optimisers = {
            "generators": self._adam(model.g1, model.g2),
            "discriminators": self._adam(model.d1, model.d2),
        }
        steps, start = settings.steps, settings.decay_from * settings.steps

        def share(step: int) -> float:
            return 1.0 if step <= start else max(0.0, (steps - step) / max(1.0, steps - start))

        # A schedule steps with its optimiser, and the discriminators' does not before they come in.
        late = int(settings.adversarial_from * settings.steps)
        self.schedules = {
            "generators": LambdaLR(self.optimisers["generators"], share),
            "discriminators": LambdaLR(self.optimisers["discriminators"], lambda done: share(late + done)),
        }

    def _adam(self, *networks: nn.Module) -> torch.optim.Optimizer:
        parameters = [one for network in networks for one in network.parameters()]
        return torch.optim.Adam(
            parameters, lr=self.settings.learning_rate, betas=(self.settings.beta1, 0.999)
        )

    def describe(self) -> dict[str, Any]:
        """Which segmenter made the labels: a training goes on with the same."""
        labeller = getattr(self.pairs, "labeller", None)
        return {} if labeller is None else {"segmenter_fingerprint": labeller.fingerprint}

    def batches(self, loop: Loop, first_step: int) -> Iterator[CganBatch]:
        """Batches of this process; see :mod:`smdt.training.cgan_pairs`."""
        return batches_from(self.pairs, first_step, self.settings.workers, **self._options(loop))

    def _options(self, loop: Loop) -> dict[str, Any]:
        return {
            "size": self.settings.batch // loop.processes,
            "seed": self.settings.seed,
            "rank": loop.rank,
            "processes": loop.processes,
            "turn": self.settings.turn,
            "mirror": self.settings.mirror,
        }

    def batch_ids(self, batch: CganBatch) -> Sequence[str]:
        """The pairs' names."""
        return batch.names

    def step(self, loop: Loop, batch: CganBatch) -> dict[str, Tensor | float]:
        """One step of the discriminators, then one of the generators against them."""
        settings = self.settings
        aerial = batch.aerial.to(loop.device) * 2.0 - 1.0
        image = batch.image.to(loop.device) * 2.0 - 1.0
        truth = batch.labels.to(loop.device)
        labels = label_picture(truth, settings.labels)
        with loop.autocast():
            made = self.model.passes(aerial)
        figures: dict[str, Tensor | float] = {}
        judged = settings.adversarial_weight > 0 and (
            loop.step_number > settings.adversarial_from * settings.steps
        )
        if judged:
            figures["discriminators"] = self._judge(loop, aerial, labels, image, made)
        self._freeze_discriminators(True)
        off = [self._off(truth, labels, image, one) for one in made]
        label_loss = torch.stack([one for one, _ in off]).mean()
        image_loss = torch.stack([one for _, one in off]).mean()
        loss = settings.label_weight * label_loss + settings.image_weight * image_loss
        if judged:
            fooled = self._fooled(loop, aerial, labels, image, made)
            figures["adversarial"] = fooled.detach()
            loss = loss + settings.adversarial_weight * fooled
        loop.backward(loss)
        loop.apply("generators")
        self._freeze_discriminators(False)
        return {**figures, "labels": label_loss.detach(), "image": image_loss.detach()}

    def _judge(
        self, loop: Loop, aerial: Tensor, labels: Tensor, image: Tensor, made: Sequence[Synthesis]
    ) -> Tensor:
        """One step of the discriminators."""
        losses = []
        with loop.autocast():
            # D2 judges the real and the made image given the same labels: those that G1 made (figure 3).
            for one in made:
                given = one.labels.detach()
                real = self._judged(aerial, labels, given, image)
                fake = self._judged(aerial, given, given, one.image.detach())
                losses.append(discriminator_loss(real, fake, self.settings.aligned))
        loss = torch.stack(losses).mean()
        loop.backward(loss)
        loop.apply("discriminators")
        return loss.detach()

    def _fooled(
        self, loop: Loop, aerial: Tensor, labels: Tensor, image: Tensor, made: Sequence[Synthesis]
    ) -> Tensor:
        """The generators' loss against the discriminators, which are frozen."""
        losses = []
        with loop.autocast():
            for one in made:
                real = self._judged(aerial, labels, one.labels.detach(), image)
                fake = self._judged(aerial, one.labels, one.labels, one.image)
                losses.append(generator_loss(real, fake, self.settings.aligned))
        return torch.stack(losses).mean()

    def _judged(self, aerial: Tensor, labels: Tensor, given: Tensor, image: Tensor) -> Any:
        return self.model.d1(aerial, labels), self.model.d2(given, image)

    def _off(self, truth: Tensor, labels: Tensor, image: Tensor, made: Synthesis) -> tuple[Tensor, Tensor]:
        """How far labels and image are off."""
        if self.settings.labels == "classes":
            wrong = F.nll_loss(made.labels.float().clamp_min(1e-7).log(), truth.long())
        else:
            wrong = F.l1_loss(made.labels.float(), labels)
        return wrong, F.l1_loss(made.image.float(), image)

    def _freeze_discriminators(self, frozen: bool) -> None:
        for network in (self.model.d1, self.model.d2):
            network.requires_grad_(not frozen)

    @torch.no_grad()
    def pictures(self, loop: Loop, folder: Path) -> None:
        """Write a sheet: each row's Ia, Sg′, Sg, Ig′ and Ig, the same pairs every time."""
        batch = joined(self.pairs.samples(_SHEET_ROWS))
        self.model.eval()
        with loop.autocast():
            made = self.model(batch.aerial.to(loop.device))
        self.model.train()
        sheet = sample_sheet(batch, made, self.settings.labels)
        write_whole(folder / "sheet.png", sheet.save)

    def publish(self, folder: Path, record: dict[str, Any]) -> None:
        """Write the generators with their record."""
        about = "simulated towns only" if self.settings.dataset == "worlds" else self.settings.dataset
        save_cgan(self.model, folder, {**record, "trained_on": about})


def sample_sheet(batch: CganBatch, made: Synthesis, labels: str) -> Image.Image:
    """Rows of Ia, Sg′, Sg, Ig′, Ig, one for each pair, Ig′ in [0, 1]."""
    shown = [
        _bytes(batch.aerial),
        colourise(class_map(made.labels.float().cpu(), labels)),
        colourise(batch.labels),
        _bytes(made.image.float().cpu()),
        _bytes(batch.image),
    ]
    gap = torch.full((*shown[0].shape[:3], 4), 255, dtype=torch.uint8)
    row = torch.cat([part for one in shown for part in (one, gap)][:-1], dim=3)
    line = torch.full((3, 4, row.shape[3]), 255, dtype=torch.uint8)
    whole = torch.cat([part for one in row for part in (one, line)][:-1], dim=1)
    return Image.fromarray(whole.permute(1, 2, 0).contiguous().numpy())


def _bytes(image: Tensor) -> Tensor:
    return (image * 255.0).round().clamp(0, 255).byte()


def train_dual_cgan(settings: DualCganTraining, report: Report | None = None) -> DualCgan:
    """Train, and write the model with its record, checkpoints, logs and sheets to ``settings.out``.

    Raises:
        TrainingError: if a loss is not a number (naming the batch), or the training cannot start or go on.
    """
    trainer = DualCganTrainer(settings)
    run(trainer, settings, report)
    return trainer.model.eval()
