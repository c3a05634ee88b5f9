"""Train the small segmenter on simulated panoramas: labels are exact, and no picture of a street is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from smdt.alignment.segmentation import imagenet_network, named_network, save_network
from smdt.alignment.segmenter_network import (
    NATIVE_CLASSES,
    NATIVE_MERGING,
    NATIVE_OF_SURFACE,
    STRIDE,
    SegmentationNetwork,
    SegmenterConfig,
)
from smdt.errors import ConfigError
from smdt.training.loop import Loop, LoopSettings, Report, Trainable, run
from smdt.training.segmenter_augmentation import augment
from smdt.world.dataset import check_training_seeds
from smdt.world.moment import Moment
from smdt.world.render import RenderConfig, Renderer, street_positions
from smdt.world.town import STYLES, TownConfig, build_town

_FROZEN = ("conv_stem", "bn1", "blocks.0", "blocks.1")
_WEIGHTS = {"vehicle": 1.5, "fence": 1.5, "bare": 1.5, "building": 1.2}
_THIN = ("pole", "person")


@dataclass(frozen=True)
class SegmenterTraining(LoopSettings):
    """Settings of a training of the segmenter on towns.

    Attributes:
        name: the model's name.
        batch: panoramas a step, over all processes.
        learning_rate: peak rate of the decoder.
        encoder_share: the encoder's rate as a share of that, 0 for none; its first blocks are frozen.
        decoder_share: the rate of a decoder that starts from trained weights (``start``), as a share; 0 for none.
        weight_decay: of AdamW.
        channels: of the decoder.
        detail_channels: of the branch at full size; 0: there is none. Beside ``start`` it is a new one.
        height_px: rows of the panoramas.
        width_px: columns.
        town_seeds: towns to learn from; their styles follow in turn.
        town_side_m: side of each town.
        town_pixel_m: metres per pixel of its layers.
        variety: how much days and cameras differ, 0 to 1.
        camera_height_m: lowest and highest camera.
        max_tilt_deg: the camera rolls and pitches by up to about this.
        plain_share: share of each batch that is not augmented.
        thin_weight: how much a pixel of a pole, wire or person weighs in the loss; one of sky weighs 1.
        start: a segmenter's folder whose weights to start from, or ``town``, which ships; ImageNet's encoder unless
            given.
        workers: processes that render beside the training; 0 renders in between.
    """

    name: str = "town"
    batch: int = 8
    learning_rate: float = 3e-3
    encoder_share: float = 0.1
    decoder_share: float = 1.0
    weight_decay: float = 0.02
    channels: int = 48
    detail_channels: int | None = None
    height_px: int = 128
    width_px: int = 512
    town_seeds: tuple[int, ...] = tuple(range(200, 227))
    town_side_m: float = 400.0
    town_pixel_m: float = 0.3
    variety: float = 1.0
    camera_height_m: tuple[float, float] = (1.6, 3.2)
    max_tilt_deg: float = 3.0
    plain_share: float = 0.15
    thin_weight: float = 3.0
    start: Path | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        super().__post_init__()
        check_training_seeds(self.town_seeds)
        if not self.town_seeds:
            raise ConfigError("no town is given", where="--town-seeds", remedy="name one seed at least")
        if self.batch < 2:
            raise ConfigError(
                f"a batch of {self.batch} is too small", where="--batch", remedy="give 2 or more"
            )
        if self.batch % (self.devices * self.nodes):
            raise ConfigError(
                f"a batch of {self.batch} cannot be shared by {self.devices * self.nodes} processes",
                where="--batch",
                remedy="give a multiple of the number of processes",
            )
        shares = (self.encoder_share, self.decoder_share)
        if (
            min(shares) < 0
            or (self.detail_channels or 0) < 0
            or (max(shares) == 0 and not self.detail_channels)
        ):
            raise ConfigError(
                f"shares of {shares[0]:g} and {shares[1]:g}, and no detail, learn nothing",
                where="encoder_share/decoder_share/detail_channels",
                remedy="give 0 or more, and more than 0 to one of them",
            )
        if self.height_px % STRIDE or self.width_px % STRIDE:
            raise ConfigError(
                f"panoramas of {self.height_px}×{self.width_px} pixels do not fit the network",
                where="height_px",
                remedy=f"use whole multiples of {STRIDE}",
            )


class LabelledPanoramas(NamedTuple):
    """Panoramas with labels.

    Attributes:
        images: (B, 3, H, W) float32, RGB in [0, 1].
        labels: (B, H, W) int64 of the network's native classes.
        names: of the towns they are from.
    """

    images: Tensor
    labels: Tensor
    names: list[str]


class Panoramas:
    """Simulated panoramas with labels, drawn from towns of all styles.

    Args:
        seeds: of the towns; one of each style in turn.
        side_m: side of each town.
        pixel_m: metres per pixel of its layers.
        height_px: rows.
        width_px: columns.
        variety: how much days and cameras differ, 0 to 1.
        camera_height_m: lowest and highest camera.
        max_tilt_deg: the camera rolls and pitches by up to about this.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        side_m: float,
        pixel_m: float,
        height_px: int,
        width_px: int,
        variety: float = 1.0,
        camera_height_m: tuple[float, float] = (1.6, 3.2),
        max_tilt_deg: float = 3.0,
    ) -> None:
        self._seeds, self._side_m, self._pixel_m = tuple(seeds), side_m, pixel_m
        self._size, self._variety = (height_px, width_px), variety
        self._camera_height_m, self._max_tilt_deg = camera_height_m, max_tilt_deg
        self._renderer = lru_cache(maxsize=None)(self._build)

    def _build(self, number: int) -> Renderer:
        styles = [style for style in STYLES if style != "mixed"]
        config = TownConfig(
            seed=self._seeds[number],
            side_m=self._side_m,
            pixel_m=self._pixel_m,
            style=styles[number % len(styles)],
        )
        return Renderer(build_town(config), RenderConfig(*self._size))

    def draw(self, size: int, rng: np.random.Generator) -> LabelledPanoramas:
        """As many panoramas, each of a town, place, day and camera at random."""
        images, labels, names = [], [], []
        to_native = torch.tensor(NATIVE_OF_SURFACE)
        for number in rng.integers(len(self._seeds), size=size):
            renderer = self._renderer(int(number))
            east, north = street_positions(renderer.place, 1, rng)[0]
            tilt = rng.normal(0, self._max_tilt_deg / 2, 2).clip(-self._max_tilt_deg, self._max_tilt_deg)
            view = renderer.panorama(
                float(east),
                float(north),
                float(rng.uniform(0, 360)),
                float(rng.uniform(*self._camera_height_m)),
                Moment.draw(rng, self._variety),
                roll_deg=float(tilt[0]),
                pitch_deg=float(tilt[1]),
            )
            images.append(view.image)
            labels.append(to_native[view.surface.long()])
            names.append(renderer.place.name)
        return LabelledPanoramas(torch.stack(images).float() / 255.0, torch.stack(labels), names)


class _Batches(IterableDataset[LabelledPanoramas]):
    """The batches of one process from a step on; each depends on seed, rank and step alone."""

    def __init__(self, settings: SegmenterTraining, rank: int, first_step: int) -> None:
        self._settings, self._rank, self._first = settings, rank, first_step

    def __iter__(self) -> Iterator[LabelledPanoramas]:
        settings, worker = self._settings, get_worker_info()
        if worker is not None:
            torch.set_num_threads(1)
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        source = Panoramas(
            settings.town_seeds,
            settings.town_side_m,
            settings.town_pixel_m,
            settings.height_px,
            settings.width_px,
            settings.variety,
            settings.camera_height_m,
            settings.max_tilt_deg,
        )
        size = settings.batch // (settings.devices * settings.nodes)
        plain = round(settings.plain_share * size)
        step = self._first + number
        while True:
            rng = np.random.default_rng([settings.seed, self._rank, step])
            drawn = source.draw(size, rng)
            images, labels = augment(drawn.images[plain:], drawn.labels[plain:], rng)
            yield LabelledPanoramas(
                torch.cat([drawn.images[:plain], images]),
                torch.cat([drawn.labels[:plain], labels]),
                drawn.names,
            )
            step += workers


class SegmenterTrainable(Trainable):
    """The segmenter on the shared loop.

    Args:
        settings: what to train.
    """

    samples_name = "panoramas"

    def __init__(self, settings: SegmenterTraining) -> None:
        self.settings = settings
        torch.manual_seed(settings.seed)
        config = SegmenterConfig(
            name=settings.name,
            channels=settings.channels,
            detail_channels=settings.detail_channels or 0,
            height_px=settings.height_px,
            width_px=settings.width_px,
        )
        self.network = (
            named_network(str(settings.start), settings.detail_channels)
            if settings.start
            else imagenet_network(config)
        )
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rate = settings.learning_rate
        rates = {
            "encoder": rate * settings.encoder_share,
            "decoder": rate * settings.decoder_share,
            "detail": rate,
        }
        groups: dict[str, list[nn.Parameter]] = {part: [] for part in rates}
        for name, parameter in self.network.named_parameters():
            part = name.split(".")[0] if name.startswith(("encoder.", "detail.")) else "decoder"
            still = rates[part] == 0 or name.removeprefix("encoder.").startswith(_FROZEN)
            parameter.requires_grad_(not still)
            if not still:
                groups[part].append(parameter)
        self._set_modes()
        optimiser = torch.optim.AdamW(
            [{"params": groups[part], "lr": rates[part]} for part in rates if groups[part]],
            weight_decay=settings.weight_decay,
        )
        warm_up, steps = max(1, settings.steps // 20), settings.steps
        self.networks = {"segmenter": self.network}
        self.optimisers = {"segmenter": optimiser}
        self.schedules = {
            "segmenter": torch.optim.lr_scheduler.LambdaLR(
                optimiser,
                lambda step: min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps)),
            )
        }
        self.samples_per_step = settings.batch
        weights = _WEIGHTS | dict.fromkeys(_THIN, settings.thin_weight)
        self.class_weight = torch.tensor([weights.get(name, 1.0) for name in NATIVE_CLASSES])

    def _set_modes(self) -> None:
        """Training mode for what learns; the encoder's batch statistics stay ImageNet's, a still decoder's its own."""
        self.network.train()
        for name, module in self.network.named_modules():
            still = name.startswith("encoder.") or (
                self.settings.decoder_share == 0 and not name.startswith("detail.")
            )
            if still and isinstance(module, nn.BatchNorm2d):
                module.eval()

    def batches(self, loop: Loop, first_step: int) -> Iterator[LabelledPanoramas]:
        """Augmented panoramas with labels."""
        data = _Batches(self.settings, loop.rank, first_step)
        yield from DataLoader(data, batch_size=None, num_workers=self.settings.workers)

    def step(self, loop: Loop, batch: LabelledPanoramas) -> dict[str, Tensor | float]:
        """Cross entropy over native classes; rare ones weigh more."""
        images, labels = batch.images.to(loop.device), batch.labels.to(loop.device)
        with loop.autocast():
            scores = self.network(images)
        scores = scores.float()
        loss = F.cross_entropy(scores, labels, self.class_weight.to(loop.device), label_smoothing=0.02)
        loop.backward(loss)
        loop.apply("segmenter")
        merging = torch.tensor(NATIVE_MERGING, device=loop.device)
        right = merging[scores.detach().argmax(1)] == merging[labels]
        return {"loss": loss.detach(), "pixel accuracy": right.float().mean()}

    def batch_ids(self, batch: LabelledPanoramas) -> Sequence[str]:
        """The towns of a batch."""
        return batch.names

    def describe(self) -> dict[str, Any]:
        """Settings that must be the same when a training is resumed."""
        shared = {entry.name for entry in fields(LoopSettings)} - {"steps"}
        left_out = shared | {"workers", "start"}
        return {name: value for name, value in asdict(self.settings).items() if name not in left_out}

    def pictures(self, loop: Loop, folder: Path) -> None:
        """A sheet of augmented panoramas, their labels, and what the network says."""
        from smdt.training.segmenter_sheet import write_sheet

        batch = next(iter(_Batches(self.settings, loop.rank, loop.step_number)))
        self.network.eval()
        with torch.inference_mode():
            found = self.network(batch.images.to(loop.device)).argmax(1).cpu()
        self._set_modes()
        write_sheet(folder / "segmenter.png", batch.images, batch.labels, found)

    def publish(self, folder: Path, record: dict[str, Any]) -> None:
        """Write the network with its record."""
        save_network(self.network, folder, {**record, "trained_on": "simulated towns only"})


def train_segmenter(settings: SegmenterTraining, report: Report | None = None) -> SegmentationNetwork:
    """Train, and write the network with its record to ``settings.out``.

    Args:
        settings: what to train.
        report: told about every step.

    Raises:
        TrainingError: if the training cannot start or go on.
    """
    trainable = SegmenterTrainable(settings)
    run(trainable, settings, report)
    return trainable.network.eval()
