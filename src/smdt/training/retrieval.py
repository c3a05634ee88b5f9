"""Train a retrieval model of any family, on simulated places or on a data set, by the shared loop.

Every step embeds a batch of pairs and contrasts it as a whole, over all processes. Models whose strip has several
columns learn place and heading by one loss (:func:`smdt.retrieval.losses.contrast_loss`); global descriptors learn by
the published triplet loss, or by InfoNCE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.alignment.labels import merge_labels
from smdt.alignment.masks import KeepRemove, KeepRemoveSettings
from smdt.errors import ConfigError, ModelError
from smdt.imagenet_weights import imagenet_lite0_state
from smdt.retrieval.aerial_views import attach_ground_views
from smdt.retrieval.compact import Compact
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.imagenet import start_from_imagenet
from smdt.retrieval.losses import (
    Temperature,
    centred,
    contrast_loss,
    soft_margin_triplet,
    symmetric_info_nce,
)
from smdt.retrieval.matching import circular_scores, normalise_queries
from smdt.retrieval.memory import ReferenceMemory
from smdt.retrieval.mining import shown_places
from smdt.retrieval.models import create_model, family_classes, load_model, save_model
from smdt.retrieval.siamese import Siamese
from smdt.training.accumulation import backward_in_parts
from smdt.training.align_settings import AlignSettings
from smdt.training.augmentation import GroundAugmentation
from smdt.training.blending import Blending, check_parts
from smdt.training.epochs import Epochs
from smdt.training.head_start import check_head_start, find_head, first_pairs
from smdt.training.kept_pictures import KeptPictures
from smdt.training.loop import Loop, Report, Trainable, run
from smdt.training.pairs import ViewPairs, load_steps
from smdt.training.rates import learning_trunk, parameter_groups, warm_cosine
from smdt.training.retrieval_front import FrontCache, FrontRows, Progress
from smdt.training.retrieval_settings import RetrievalTraining
from smdt.training.retrieval_sources import dataset_pairs, tile_side_m, training_split, world_pairs
from smdt.training.retrieval_views import ViewMaker, Views, write_pictures


def build_model(settings: RetrievalTraining, tile_side_m: float) -> Encoder:
    """The model that a training begins with.

    Args:
        settings: family, sizes and start.
        tile_side_m: side of the aerial tiles it will see; 0 for none in particular.

    Raises:
        ModelError: if the family is unknown, or the start is of another shape.
        ConfigError: if a setting of the model is unknown or impossible.
    """
    config_class, _ = family_classes(settings.family)
    known = {one.name for one in fields(config_class)}
    own = {name: getattr(settings, name) for name in ("strip_channels",) if name in known}
    aligned = settings.aligned()
    views = {"mapping": aligned.mapping, "height_px": settings.height_px, "width_px": settings.width_px}
    views |= {"aerial_input": aligned.aerial_input, "cgan": aligned.cgan}
    centring = {"remove_mean": True} if settings.family in ("siamese", "compact") else {}
    torch.manual_seed(settings.seed)
    given = {**views, **own, **centring, "tile_side_m": tile_side_m, **dict(settings.model)}
    model = create_model(settings.family, {**given, "name": settings.name})
    if model.ground_view_weight is not None:
        nn.init.constant_(model.ground_view_weight, aligned.ground_view_start)
    if settings.start is not None:
        try:
            state = load_model(settings.start).state_dict()
            if model.ground_view_weight is not None:  # a start that read the mapped tile alone has none
                state.setdefault("ground_view_weight", model.ground_view_weight.detach())
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(
                f"its weights do not fit the model to train ({str(error).splitlines()[-1].strip()})",
                where=settings.start,
                remedy="start from a model of the same family and sizes",
            ) from error
    elif settings.pretrained:
        start_from_imagenet(model)
    elif isinstance(model, Siamese | Compact) and model.config.backbone == "tf_efficientnet_lite0":
        model.trunk.load_state_dict(imagenet_lite0_state(), strict=False)
    attach_ground_views(model, cache=aligned.cache)
    return model


class RetrievalTrainer(Trainable):
    """A retrieval model on the loop.

    Args:
        settings: what to train.
        ground_augmentation: a change to panoramas alone, told their classes
            (:class:`smdt.alignment.labels.SemanticClass`) where the source has them.
        progress: told how the reading of pictures, or the computing of early features, goes where they are kept.

    Raises:
        SmdtError: if the data set, model or settings do not fit together.
    """

    def __init__(
        self,
        settings: RetrievalTraining,
        ground_augmentation: GroundAugmentation | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.progress = settings, progress
        ground_augmentation = ground_augmentation or keep_remove(settings.aligned())
        self.split = None if settings.dataset == "worlds" else training_split(settings)
        self.model = build_model(settings, tile_side_m(settings, self.split))
        _check_loss(settings, self.model)
        if settings.head_pairs:
            check_head_start(self.model, settings)
        check_parts(self.model, settings.learned_parts)
        self.temperature = Temperature()
        self.views = ViewMaker(
            settings, self.model.config, self.model.columns, ground_augmentation, self.model.ground_views
        )
        self.networks = {"model": self.model, "temperature": self.temperature}
        groups = parameter_groups(self.model, settings)
        self._trunk = learning_trunk(self.model)
        if settings.loss != "triplet":
            groups.append({"params": list(self.temperature.parameters()), "lr": settings.learning_rate})
        optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        warm_up = max(1, settings.steps // 20) if settings.warm_up is None else settings.warm_up
        self.optimisers = {"model": optimiser}
        share = warm_cosine(warm_up, settings.steps)
        self.schedules = {"model": torch.optim.lr_scheduler.LambdaLR(optimiser, share)}
        self.samples_per_step = settings.batch
        self._label_set, self.epochs = settings.dataset, None
        self.front: FrontCache | None = None
        self.kept: KeptPictures | None = None
        shares = (settings.learned_share, settings.learned_parts, settings.mean_after)
        self.blending = Blending(*shares) if settings.blended else None
        halved = torch.bfloat16 if settings.precision.startswith("bf16") else torch.float32
        self.memory = ReferenceMemory(settings.memory, halved) if settings.memory else None
        if self.split is not None:
            pairs = dataset_pairs(self.split, self.model, settings, ground_augmentation is not None)
            self._label_set = pairs.label_set
            self.epochs = Epochs(settings, pairs, shown_places(self.split))
            self._number = {one.id: number for number, one in enumerate(self.split.queries)}
            if settings.front_versions:
                self.front = FrontCache(settings, self.model, pairs, self.views)
            if settings.keep_pictures:
                self.kept = KeptPictures(pairs, settings.workers)
        self._last: Views | None = None
        self.train_mode()

    def train_mode(self) -> None:
        """Dropout on; batch statistics stay those of the start: the two views' own would differ."""
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batches(self, loop: Loop, first_step: int) -> Iterator[ViewPairs | FrontRows]:
        """This process's pairs, from those of a step on; before the first of all, the head is found."""
        if first_step == 1 and self.settings.head_pairs:
            self._find_head(loop)
        if first_step == 1 and self.blending is not None:
            self.blending.begin(self.model)
        if self.epochs is not None and self.front is not None:
            return self.front.batches(loop, first_step, self.epochs, self._descriptors, self.progress)
        if self.epochs is not None and self.kept is not None:
            return self.kept.batches(loop, first_step, self.epochs, self._descriptors, self.progress)
        if self.epochs is not None:
            return self.epochs.batches(loop, first_step, self._descriptors)
        return self._drawn(loop, first_step)

    def _drawn(self, loop: Loop, first_step: int) -> Iterator[ViewPairs]:
        """This process's pairs of places, from those of a step on."""
        world = world_pairs(self.settings, self.model, loop.processes, loop.rank)
        return load_steps(world, first_step, self.settings.workers)

    def _find_head(self, loop: Loop) -> None:
        """Let the head begin with what the pairs' features suggest."""
        assert isinstance(self.model, Compact)  # checked when the training was set up
        count = self.settings.head_pairs
        if self.epochs is None:
            pairs = self._drawn(loop, 1)
        else:
            count = min(count, len(self.epochs.pairs.split.queries))
            pairs = first_pairs(self.settings, self.epochs.pairs, loop)
        find_head(loop, self.model, self.settings, pairs, count, self.progress if loop.rank == 0 else None)
        self.train_mode()

    def batch_ids(self, batch: ViewPairs | FrontRows) -> Sequence[str]:
        """The pairs' names."""
        return batch.ids

    def describe(self) -> dict[str, Any]:
        """Which GAN makes the ground views: a training goes on with the same."""
        print_now = self.model.config.cgan_fingerprint
        return {"cgan_fingerprint": print_now} if print_now else {}

    def state(self) -> dict[str, Any]:
        """The epoch's table of batches, the references in memory, and the weights that are blended in."""
        state = {} if self.epochs is None else self.epochs.state()
        if self.memory is not None:
            state |= self.memory.state()
        return state if self.blending is None else {**state, **self.blending.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take them back."""
        if self.memory is not None:
            self.memory.load_state(state, self.model.ground_mean.device)
        if self.blending is not None:
            self.blending.load_state(state, self.model)
        if self.epochs is not None:
            self.epochs.load_state(state)

    def step(self, loop: Loop, batch: ViewPairs | FrontRows) -> dict[str, Tensor | float]:
        """Embed, contrast, learn."""
        settings = self.settings
        for parameter in self._trunk:
            parameter.requires_grad_(loop.step_number > settings.head_steps)
        views = self._views(loop, batch)
        size = len(views.ground) // settings.parts
        figures: dict[str, Tensor | float] = {}

        def embed(part: int) -> tuple[Tensor, ...]:
            rows = slice(part * size, (part + 1) * size)
            with loop.autocast():
                return self._embedded(self.model, views.ground[rows], views.aerial[rows])

        def loss_of(embeddings: tuple[Tensor, ...]) -> Tensor:
            loss, recall = self._loss(loop, views, batch, *embeddings)
            figures.update({"loss": loss.detach(), "R@1": recall})
            return loss

        backward_in_parts(settings.parts, embed, loss_of, loop.backward, loop.device)
        loop.apply("model")
        if self.blending is not None:
            self.blending.note(loop.step_number, self.model, views)
        return figures

    def _embedded(self, model: Encoder, ground: Tensor, aerial: Tensor) -> tuple[Tensor, Tensor]:
        """Strips of both views, of pictures or of features that are kept."""
        if self.front is None:
            return model(ground, "ground").float(), model(aerial, "aerial").float()
        return self.front.back(ground, "ground", model).float(), self.front.back(
            aerial, "aerial", model
        ).float()

    def _views(self, loop: Loop, batch: ViewPairs | FrontRows) -> Views:
        """What the networks see of a batch: pictures, or features that are kept."""
        if isinstance(batch, FrontRows):
            assert self.front is not None  # it made the batch
            return self.front.make(batch, loop.step_number, loop.rank, loop.device)
        labels = None
        if len(batch.labels) and self.views.ground_augmentation is not None:
            labels = merge_labels(batch.labels.long(), self._label_set)
        self._last = self.views.make(batch, labels, loop.step_number, loop.rank, loop.device)
        return self._last

    def _shown(self, batch: ViewPairs | FrontRows) -> Tensor:
        """The references that show each pair's place, its own first, (B, m); -1 for none, as of worlds."""
        if self.epochs is None:
            return torch.full((len(batch.ids), 1), -1)
        return torch.from_numpy(self.epochs.shown[[self._number[one] for one in batch.ids]])

    def _loss(
        self, loop: Loop, views: Views, batch: ViewPairs | FrontRows, queries: Tensor, references: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss over all processes' pairs, and the share of queries whose best reference is their own."""
        settings, gather = self.settings, loop.gather_with_gradient
        queries, references = gather(queries), gather(references)
        heading = gather(views.heading_deg)
        mask = None if views.mask is None else gather(views.mask)
        if self.model.config.remove_mean:
            queries, mean = centred(queries, mask)
            references, _ = centred(references)
            kept = 0.0 if loop.step_number == 1 else min(0.98, 1 - 1 / loop.step_number)
            self.model.ground_mean.mul_(kept).add_(mean, alpha=1 - kept)
        if settings.loss == "contrast":
            negatives = None
            if self.memory is not None:
                shown = gather(self._shown(batch).to(queries.device))
                negatives = self.memory.hardest(queries, shown, mask)
                self.memory.add(references, shown[:, 0])
            loss = contrast_loss(queries, references, heading, self.temperature(), mask, negatives)
        else:
            flat = [F.normalize(strips.flatten(1), dim=1) for strips in (queries, references)]
            if settings.loss == "triplet":
                loss = soft_margin_triplet(flat[0], flat[1], settings.margin_scale)
            else:
                loss = symmetric_info_nce(flat[0], flat[1], self.temperature(), smoothing=settings.smoothing)
        with torch.no_grad():
            scores = circular_scores(normalise_queries(queries, mask), references, mask).amax(dim=2)
            recall = (scores.argmax(dim=1) == torch.arange(len(scores), device=scores.device)).float().mean()
        return loss, recall

    @torch.no_grad()
    def _descriptors(self, loop: Loop, ground: Tensor, aerial: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors (B, D) of unit norm, on the CPU, of pairs (uint8) that look north: what mining compares."""
        self.model.eval()
        with loop.autocast():
            queries = self.model(ground.to(loop.device).float() / 255.0, "ground").float()
            references = self.model(aerial.to(loop.device).float() / 255.0, "aerial").float()
        self.train_mode()
        if self.model.config.remove_mean:
            queries = queries - self.model.ground_mean[:, None]
            references = references - references.mean((0, 2), keepdim=True)
        flat = [F.normalize(strips.flatten(1), dim=1).cpu() for strips in (queries, references)]
        return flat[0], flat[1]

    def pictures(self, loop: Loop, folder: Path) -> None:
        """Write the last batch's first pairs as the networks saw them, panorama over aerial image."""
        if self._last is not None:
            write_pictures(self._last, folder)

    def publish(self, folder: Path, record: dict[str, Any]) -> None:
        """Write the model with its record."""
        model, scale = self.model, float(self.temperature().detach())
        if self.blending is not None:
            model, fitting = self.blending.blend(
                self.model, lambda network, views: self._embedded(network, views.ground, views.aerial)
            )
            if fitting is None and (folder / "model.safetensors").is_file():
                return  # a training that was done already: what lies there was measured on its last batches
            scale = scale if fitting is None else fitting
        if self.settings.loss != "triplet":
            model.config = replace(model.config, scale=scale)
        about = "simulated towns only"
        if self.split is not None:
            kind = "simulated pairs, laid out as " if self.split.simulated else ""
            about = f"{kind}{self.split.dataset} {self.split.split}, {len(self.split.queries)} pairs"
        elif self.settings.places:
            about = "simulated towns and stored places" if self.settings.town_seeds else "stored places"
        save_model(model, folder, {**record, "trained_on": about, "started_from": self.settings.start})


def keep_remove(aligned: AlignSettings) -> KeepRemove | None:
    """What turns panoramas into keep and remove pictures; None where there shall be none."""
    if (aligned.keep_share or 0.0) + (aligned.remove_share or 0.0) == 0.0:
        return None
    given = {
        name: getattr(aligned, name)
        for name in ("keep_share", "remove_share", "keep_classes", "remove_classes")
    }
    settings = KeepRemoveSettings(**{name: value for name, value in given.items() if value is not None})
    return KeepRemove(settings, label_set="smdt")


def _check_loss(settings: RetrievalTraining, model: Encoder) -> None:
    """Refuse to compare whole strips that look different ways."""
    if (
        settings.loss != "contrast"
        and model.columns > 1
        and (settings.turn_deg > 0 or settings.narrow_share > 0)
    ):
        raise ConfigError(
            f"loss {settings.loss} compares whole descriptors, but strips of this model would be turned or cut",
            where="loss",
            remedy="use contrast, or set turn_deg: 0 and narrow_share: 0",
        )


def train_retrieval(
    settings: RetrievalTraining,
    report: Report | None = None,
    ground_augmentation: GroundAugmentation | None = None,
    progress: Progress | None = None,
) -> Encoder:
    """Train, and write the model with its record to ``settings.out``.

    Args:
        settings: what to train.
        report: called after every step; with figures (loss, R@1 in the batch, pairs/s) every ``log_every``.
        ground_augmentation: a change to panoramas alone; see :class:`RetrievalTrainer`.
        progress: called with pairs done and in all while the head's beginning is found, or pictures or early features
            are read to be kept.

    Returns:
        The trained model.

    Raises:
        TrainingError: if it cannot start or go on, or the loss is no longer a number.
    """
    trainer = RetrievalTrainer(settings, ground_augmentation, progress)
    run(trainer, settings, report)
    return trainer.model.eval()
