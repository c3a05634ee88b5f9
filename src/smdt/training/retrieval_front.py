"""Train from early features that are computed once: for each picture a few changed versions, kept.

Most of a compact model's time goes into the early stages of its trunk. Where these do not learn, their output for a
version of a picture (its light, its mirror image) is the same in every step. The world's turns and narrow fields of
view need no versions: features are a circle as pictures are, so turning by whole columns of features is an index, and a
version is turned by the pixels in between. Where the whole trunk stays as it is and the head alone learns, what is
kept is the trunk's output.

Features of a whole panorama have seen past the edges at which a narrow photo ends. With ``front_narrow`` each version
is computed a second time from the panorama narrowed as a picture, and steps with a narrow view take these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from smdt.alignment.labels import merge_labels
from smdt.errors import ConfigError, SmdtError, TrainingError
from smdt.retrieval.compact import Compact
from smdt.retrieval.embedding import filled_beyond
from smdt.retrieval.encoder import VIEWS, Encoder, View
from smdt.training.augmentation import (
    drop_channels,
    ground_columns,
    kept_columns,
    mix_styles,
    seen_mask,
    take_columns,
)
from smdt.training.epochs import Descriptors, Epochs
from smdt.training.front_folder import FrontFolder, pictures_digest, weights_digest
from smdt.training.loop import Loop
from smdt.training.pairs import DatasetPairs, ViewPairs, load_rows
from smdt.training.processes import gather_objects
from smdt.training.retrieval_settings import RetrievalTraining
from smdt.training.retrieval_views import Turns, ViewMaker, Views, narrow_width_deg

Progress = Callable[[int, int], None]
"""Called with pairs done and in all."""

_CHUNK = 32
_DECIDE = (
    *(
        "dataset",
        "split",
        "align",
        "mapping",
        "model",
        "height_px",
        "width_px",
        "seed",
        "precision",
        "front_versions",
    ),
    *(
        "front_narrow",
        "front_photos",
        "turn_deg",
        "turn_both",
        "mirror",
        "narrowest_deg",
        "narrow_widths",
        "photometric",
        "occlusion",
    ),
    *("keep_share", "remove_share"),
)
"""Settings on which kept features depend."""
_GIB = 2.0**30


class FrontRows(NamedTuple):
    """A batch by its queries.

    Attributes:
        indices: of the queries.
        ids: their names.
    """

    indices: list[int]
    ids: list[str]


class _NarrowPhotos(NamedTuple):
    """Early features of panoramas that were narrowed as pictures, each in some way of its own.

    Attributes:
        features: (V·P, N, C, H, W) of P photos of each of V versions of N panoramas, float16, those of a version in a
            row; what the photo sees is in the middle.
        turned_px: (V·P, N) by how many pixels the photo's middle lies clockwise of north.
        kept: (V·P, N) columns of the strip that it sees.
    """

    features: Tensor
    turned_px: Tensor
    kept: Tensor


class FrontCache:
    """Early features of changed versions of every pair of a data set, and batches of these.

    Versions are float16, on the CPU, where every process keeps all of them, or in a folder. Those of the two views are
    combined freely; with ``mirror`` every second version is of the mirrored world, and a batch is of one kind. A
    camera's turn is that of :class:`ViewMaker` up to a column of features.

    Args:
        settings: how pairs are changed; with ``trunk_share`` 0 the head alone learns.
        model: whose front it is; its weights there must not change any more.
        pairs: the data set's, with its labels where the views ask for them.
        views: makes the versions.

    Attributes:
        model: the model.
        gib: memory, or room in the folder, that the features take, GiB.

    Raises:
        ConfigError: if the model cannot be split, or its features need more memory than ``front_cache_gib``.
    """

    def __init__(
        self, settings: RetrievalTraining, model: Encoder, pairs: DatasetPairs, views: ViewMaker
    ) -> None:
        if not isinstance(model, Compact) or not model.front_stages:
            raise ConfigError(
                f"a model of family {settings.family} with this backbone has no early part to compute once",
                where="front_versions",
                remedy="choose a compact model with an EfficientNet, or set front_versions: 0",
            )
        self.settings, self.model, self.pairs, self.views = settings, model, pairs, views
        self.head_alone = settings.trunk_share == 0
        config, kept = model.config, (settings.front_versions, len(pairs.split.queries))
        with torch.inference_mode():
            shapes = [
                self._early(torch.zeros(1, config.image_channels(view), *config.image_shape(view))).shape[1:]
                for view in VIEWS
            ]
        self.stride = config.width_px // shapes[0][-1]
        self.shapes = tuple((*kept, *shape) for shape in shapes)
        self.stored = {"ground": self.shapes[0], "aerial": self.shapes[1]}
        if settings.front_narrow:
            self.stored["narrow"] = (kept[0] * settings.front_photos, *self.shapes[0][1:])
        self.gib = 2 * float(sum(np.prod(shape) for shape in self.stored.values())) / _GIB
        if settings.front_folder is None and self.gib > settings.front_cache_gib:
            fitting = int(settings.front_versions * settings.front_cache_gib / self.gib)
            raise ConfigError(
                f"{settings.front_versions} versions of {kept[1]} pairs need {self.gib:.3g} GiB of memory, "
                f"more than the {settings.front_cache_gib:g} allowed",
                where="front_cache_gib",
                remedy="allow more if there is, or keep them in a front_folder"
                + (f", or {fitting} versions" if fitting else ""),
            )
        self._features: tuple[Tensor, Tensor] | None = None  # panoramas, aerial images
        self._turned_px: tuple[Tensor, Tensor]
        self._narrow: _NarrowPhotos | None = None
        self._black: Tensor

    def batches(
        self,
        loop: Loop,
        first_step: int,
        epochs: Epochs,
        descriptors: Descriptors,
        progress: Progress | None = None,
    ) -> Iterator[FrontRows]:
        """This process's batches, from that of a step on; the features are computed before the first.

        Args:
            loop: where to compute.
            first_step: from 1.
            epochs: which queries share a batch.
            descriptors: for mining, see :meth:`Epochs.batches`.
            progress: told, in the first process, how the computing goes.
        """
        self.fill(loop, progress if loop.rank == 0 else None)
        queries = self.pairs.split.queries
        for rows in epochs.tables(loop, first_step, descriptors):
            for row in rows:
                yield FrontRows(row, [queries[index].id for index in row])

    @torch.no_grad()
    def fill(self, loop: Loop, progress: Progress | None = None) -> None:
        """Compute the features of all versions, or take those that ``front_folder`` has.

        What is random depends on the seed alone. Into a folder the first process computes, for all.

        Raises:
            TrainingError: if that folder has no room, or those of another training.
            DatasetError: if a picture cannot be read.
        """
        if self.settings.front_folder is None:
            large = {name: torch.empty(shape, dtype=torch.float16) for name, shape in self.stored.items()}
            self._take(large, self._compute(loop, large, progress))
            return
        folder = FrontFolder(self.settings.front_folder, self._about(), self.stored)
        failed: SmdtError | None = None
        try:
            if folder.found() is None and loop.rank == 0:
                folder.finish(self._compute(loop, folder.make(), progress))
        except SmdtError as error:
            failed = error
        for one in gather_objects(failed):
            if one is not None:
                raise one
        kept = folder.found()
        if kept is None:
            raise TrainingError(
                "has not the features that the first process computed",
                where=folder.folder,
                remedy="give a front_folder that all machines share, or leave it out",
            )
        self._take(*kept)

    def _about(self) -> dict[str, Any]:
        """What the features depend on."""
        trunk = (self.model.trunk,) if self.head_alone else self.model.front_modules()
        queries, references = self.pairs.split.queries, self.pairs.split.references
        pictures = [one.path for one in queries] + [one.path for one in references]
        labelled = self.views.ground_augmentation is not None
        pictures += [one.labels_path for one in queries if labelled and one.labels_path is not None]
        known = self.settings.lasting()
        return {  # mirror images are compared afterwards, so "mirrored" is no matter here
            **{name: known[name] for name in _DECIDE},
            "model": {name: value for name, value in known["model"].items() if name != "mirrored"},
            "segmenter": str(self.settings.align.get("segmenter")),
            "cgan_fingerprint": self.model.config.cgan_fingerprint,
            "trunk": weights_digest(trunk),
            "pictures": pictures_digest(pictures),
        }

    def _take(self, large: dict[str, Tensor], small: dict[str, Tensor]) -> None:
        """Use what was computed."""
        self._black = small["black"]
        self._features = (large["ground"], large["aerial"])
        self._turned_px = (small["ground_turned_px"], small["aerial_turned_px"])
        if "narrow" in large:
            self._narrow = _NarrowPhotos(large["narrow"], small["narrow_turned_px"], small["narrow_kept"])

    def _compute(self, loop: Loop, large: dict[str, Tensor], progress: Progress | None) -> dict[str, Tensor]:
        """Fill the large arrays; returns the small ones: turns, widths, and a black picture's features."""
        versions, count = self.shapes[0][:2]
        photos = len(large["narrow"]) // versions if "narrow" in large else 0
        small = {f"{name}_turned_px": torch.zeros(len(one), count).long() for name, one in large.items()}
        if photos:
            small["narrow_kept"] = torch.zeros_like(small["narrow_turned_px"])
        chunks: list[list[int]] = [part.tolist() for part in torch.split(torch.arange(count), _CHUNK)]
        for chunk, pairs in zip(chunks, load_rows(self.pairs, chunks, self.settings.workers), strict=True):
            for version in range(versions):
                images, turned = self._version(pairs, version, chunk[0], loop.device)
                for name, image, px in zip(("ground", "aerial"), images, turned, strict=True):
                    large[name][version, chunk] = self._front(loop, image)
                    small[f"{name}_turned_px"][version, chunk] = px
                rng = np.random.default_rng([self.settings.seed, version, chunk[0], 7])
                for row in range(version * photos, (version + 1) * photos):
                    photo, px, kept = self._narrowed(images[0], rng)
                    large["narrow"][row, chunk] = self._front(loop, photo)
                    small["narrow_turned_px"][row, chunk] = turned[0] + px
                    small["narrow_kept"][row, chunk] = kept
            if progress is not None:
                progress(chunk[-1] + 1, count)
        black = self._front(loop, torch.zeros(1, 3, *self.model.config.image_shape("ground")).to(loop.device))
        return {**small, "black": black[0, :, :, :1].float()}

    def _front(self, loop: Loop, images: Tensor) -> Tensor:
        with loop.autocast():
            return self._early(images).to("cpu", torch.float16)

    def _early(self, images: Tensor) -> Tensor:
        return self.model.features(images) if self.head_alone else self.model.front(images)

    def _version(
        self, pairs: ViewPairs, version: int, first: int, device: torch.device
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """A version of some pairs, panoramas and aerial images, and by how many pixels each is turned, (B,)."""
        settings, size = self.settings, len(pairs.ground)
        words = np.random.SeedSequence([settings.seed, version, first, 5]).generate_state(2)
        generator = torch.Generator(device).manual_seed(int(words[0]))
        drawn = (torch.rand(2, size, generator=generator, device=device) * self.stride).long()
        turns_camera = settings.turn_deg > 0
        ground_px = drawn[0] * turns_camera
        aerial_px = drawn[1] * (turns_camera and settings.turn_both)
        mirrored = torch.full((size,), settings.mirror and version % 2 == 1, device=device)
        labels = None
        if len(pairs.labels) and self.views.ground_augmentation is not None:
            labels = merge_labels(pairs.labels, self.pairs.label_set)
        turns = Turns(mirrored, aerial_px, ground_px - aerial_px)
        images = self.views.changed(pairs, labels, turns, generator, int(words[1]))
        return images, (ground_px.cpu(), aerial_px.cpu())

    def _narrowed(self, panoramas: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, int]:
        """Some panoramas as narrow photos of one width, by how many pixels each is turned for it, and columns seen."""
        settings, width, columns = self.settings, panoramas.shape[-1], self.model.columns
        drawn = narrow_width_deg(float(rng.random()), settings.narrowest_deg, settings.narrow_widths)
        kept = kept_columns(columns, drawn)
        reach = settings.turn_deg / 360.0 * width
        px = torch.from_numpy(((rng.random(len(panoramas)) - 0.5) * reach).round().astype(np.int64))
        index = ground_columns(width, px, torch.zeros(len(px), dtype=torch.bool)).to(panoramas.device)
        seen = seen_mask(columns, kept, 1, panoramas.device)[0].repeat_interleave(width // columns)
        photos = take_columns(panoramas, index) * seen
        return filled_beyond(self.model.config, photos, seen), px, kept

    def make(self, batch: FrontRows, step: int, rank: int, device: torch.device) -> Views:
        """Features of a step's pairs as :meth:`ViewMaker.make` makes pictures: turned, narrowed, and changed.

        Args:
            batch: which pairs.
            step: from 1.
            rank: the process's number.
            device: where the rest is computed.
        """
        assert self._features is not None  # batches come when they are there
        settings, width = self.settings, self.model.config.width_px
        word = np.random.SeedSequence([settings.seed, rank, step, 1]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(word))
        size, rows = len(batch.indices), torch.tensor(batch.indices)
        turns = self.views.turns(size, step, generator)
        looks_px = (turns.world_px + turns.camera_px, turns.world_px)
        offered = self._versions(step)
        mask = self.views.seen(self.model.columns, size, step, device)
        if mask is not None and self._narrow is not None:
            ground, ground_px, mask = self._photos(self._narrow, rows, offered, generator, device)
        else:
            ground, ground_px = self._turned(0, rows, looks_px[0], offered, generator, device)
            if mask is not None:
                seen = mask[0].repeat_interleave(ground.shape[-1] // self.model.columns)  # alike in all rows
                black = torch.where(seen, ground, self._black.to(device))
                ground = filled_beyond(self.model.config, black, seen)
        aerial, aerial_px = self._turned(1, rows, looks_px[1], offered, generator, device)
        heading = torch.remainder((ground_px - aerial_px) * 360.0 / width, 360.0).to(device)
        return Views(ground, aerial, heading, mask)

    def _turned(
        self,
        view: int,
        rows: Tensor,
        look_px: Tensor,
        offered: Tensor,
        generator: torch.Generator,
        device: torch.device,
    ) -> tuple[Tensor, Tensor]:
        """Changed features of a view, turned as nearly as columns allow, and by how many pixels that is, (B,)."""
        assert self._features is not None  # see make
        stored = self._features[view]
        version = offered[torch.randint(len(offered), (len(rows),), generator=generator)]
        have_px = self._turned_px[view][version, rows]
        columns = torch.round((look_px - have_px) / self.stride).long()
        index = ground_columns(stored.shape[-1], columns, torch.zeros(len(rows), dtype=torch.bool))
        chosen = take_columns(stored[version, rows], index)
        return self._changed(chosen.to(device).float(), generator), columns * self.stride + have_px

    def _photos(
        self,
        narrow: _NarrowPhotos,
        rows: Tensor,
        offered: Tensor,
        generator: torch.Generator,
        device: torch.device,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Changed features of narrow photos, by how many pixels they are turned, (B,), and what they see, (B, W')."""
        each = self.settings.front_photos
        photos = (offered[:, None] * each + torch.arange(each)).flatten()
        photo = photos[torch.randint(len(photos), (len(rows),), generator=generator)]
        kept = narrow.kept[photo, rows].tolist()
        mask = torch.cat([seen_mask(self.model.columns, one, 1, device) for one in kept])
        features = narrow.features[photo, rows].to(device).float()
        return self._changed(features, generator), narrow.turned_px[photo, rows], mask

    def back(self, features: Tensor, view: View, model: Encoder | None = None) -> Tensor:
        """Strips (B, C, W') of a view's features.

        Args:
            features: of this front.
            view: whose they are.
            model: another compact model with the same front; the one that learns unless given.
        """
        chosen = self.model if model is None else model
        assert isinstance(chosen, Compact)  # no other has a front
        return chosen.head(features, view) if self.head_alone else chosen.back(features, view)

    def _versions(self, step: int) -> Tensor:
        """The versions that a step may use: of the world or of the mirrored world, alike in all processes."""
        every = torch.arange(self.settings.front_versions)
        if not self.settings.mirror:
            return every
        return every[int(np.random.default_rng([self.settings.seed, step, 6]).integers(2)) :: 2]

    def _changed(self, features: Tensor, generator: torch.Generator) -> Tensor:
        if self.settings.feature_style > 0:
            features = mix_styles(features, self.settings.feature_style, generator)
        if self.settings.feature_drop > 0:
            features = drop_channels(features, self.settings.feature_drop, generator)
        return features
