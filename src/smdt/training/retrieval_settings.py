"""Settings of a retrieval training: the model, its pairs, its loss, and how pairs are changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from smdt.config import load_settings
from smdt.errors import ConfigError
from smdt.training.align_settings import AlignSettings
from smdt.training.settings import LoopSettings

LOSSES = ("contrast", "triplet", "info_nce")
MINING = ("random", "place", "similarity")
SOURCES = ("worlds", "cvusa", "cvact", "vigor", "folder")
WIDTHS = ("even", "inverse")
TRAIN_SPLITS: Mapping[str, str] = {"cvusa": "train", "cvact": "train", "vigor": "same-train", "folder": "all"}


@dataclass(frozen=True)
class RetrievalTraining(LoopSettings):
    """Settings of a retrieval training; those of the loop are inherited.

    Attributes:
        name: the model's name.
        family: what kind of network, see ``smdt.retrieval.models.FAMILIES``.
        model: the network's own settings by name, such as ``variant``; they win over the next four.
        align: what stages 1 to 3 give, by name: ``mapping``, ``aerial_input``, ``cgan``, ``keep_share`` and more, see
            :class:`smdt.training.align_settings.AlignSettings`; they win over ``mapping``, ``keep_share`` and
            ``remove_share`` here.
        mapping: of aerial images, ``polar``, ``perspective``, ``mixed`` or ``none``.
        strip_channels: channels of the strip, for families that have such a setting.
        height_px: rows of both views.
        width_px: columns of both views.
        start: a model (name or folder) whose weights to start from, of the same shape. Unless given, siamese
            and compact models of EfficientNet-Lite0 start from ImageNet's, others from random ones.
        pretrained: start the trunks of models on a timm backbone from ImageNet's weights; those of other backbones than
            EfficientNet-Lite0 are fetched by timm.
        freeze: names of parameters that stay as they are: beginnings of them, or patterns such as ``*.conv_dw.*``;
            unless given, edges and textures of the siamese and compact models.
        batch: pairs a step, over all processes.
        parts: parts a process embeds its pairs in, one after the other, when they do not fit at once; the contrast is
            over the whole batch all the same.
        loss: ``contrast`` over places and turns; ``triplet``, the published soft margin; or ``info_nce``. The last two
            compare whole descriptors, so strips of several columns have to look north for them.
        memory: how many references of earlier steps are held, a few thousand, of which the hardest for each query are
            negatives of ``contrast``, too, see :mod:`smdt.retrieval.memory`; checkpoints hold them. 0: none.
        margin_scale: γ of the triplet loss.
        smoothing: share of InfoNCE's target that is spread over all.
        learning_rate: peak rate.
        trunk_share: the rate of parts that start from weights of another task, as a share of that; 0 freezes them, and
            with ``front_versions`` their output is kept, so that a step takes milliseconds.
        weight_decay: of AdamW.
        warm_up: steps until the peak; a twentieth of all unless given. The rate then falls by a cosine.
        head_steps: first steps in which those parts stay as they are, and the rest learns alone.
        head_pairs: pairs among which the head's beginning is found in closed form, see
            :mod:`smdt.retrieval.canonical`; for compact models. 0: it begins at random.
        learned_share: the weights that are published lie so far on the way from the training's start, 0, to what it
            learned, 1, see :mod:`smdt.training.blending`; the checkpoints hold what it learned.
        learned_parts: shares of their own for some weights, by beginnings of their names or patterns as in ``freeze``,
            the first that fits: ``{trunk: 0.8, blocks.ground: 0.8}`` beside ``learned_share: 0``.
        average_from: what was learned is the mean of the weights after each step from this share of the steps on;
            1: the last step's. The rate should be well above 0 where it begins.
        front_versions: changed versions of each picture whose early features are computed once and kept; the early
            stages are frozen, and a step is several times as fast. For compact models and data sets. 0: none are kept.
        front_narrow: keep those of narrow photos, too, narrowed as pictures, which takes half as much again. Without it
            they are cut out of the whole panorama's features, which have seen past the photo's edges.
        front_photos: how many narrow photos of each version are then kept, each of a heading and width of its own.
        front_cache_gib: how much memory these may take, GiB.
        front_folder: keep them in this folder instead, and read them there as they are needed: a resumed training, or
            another one of the same pairs, early stages and changes, begins at once.
        keep_pictures: read and map a data set's pictures once, and keep them in memory, on the GPU where one trains; a
            pair of 128×512 pixels takes 0.4 MB.
        feature_style: how much each picture's channel statistics are moved towards another's, 0 to 1; of such features.
        feature_drop: share of the channels of such features that are dropped.
        dataset: ``worlds``, or a data set: ``cvusa``, ``cvact``, ``vigor``, ``folder``.
        root: the data set's folder.
        split: of the data set; the one for training unless given.
        skip_missing: leave pairs out whose picture is missing.
        mining: which pairs of a data set share a batch: at ``random``, near in ``place``, or of ``similarity``.
        group: near pairs in a row, in a batch.
        neighbours: how far down the list of a pair's neighbours a group reaches.
        mine_every: epochs between two looks at what is similar.
        town_seeds: towns to learn from.
        town_side_m: side of each town.
        places: folders of other places to learn from, as ``smdt world`` writes them.
        style: of the towns, see ``smdt.world.town.STYLES``.
        relief: how hilly they are, 0 to 1; by style and seed unless given.
        variety: how much the days and cameras of the two views differ, 0 to 1.
        tile_side_m: side of the aerial tiles.
        tile_factors: a batch's tiles are larger by one of these, for imagery of several scales.
        max_offset_m: cameras stand off the tile's centre by up to this, east and north each.
        turn_deg: panoramas look away from north by up to half of this; 360: any way.
        turn_both: turn the world under both views.
        mirror: mirror the world of every second pair, east for west.
        narrow_share: share of batches whose queries see only a part of the circle.
        narrowest_deg: the smallest part.
        narrow_widths: how parts are drawn between that and the whole circle: ``even``, or ``inverse``, evenly by one
            over their width: of parts from 70° on, 45 % are then narrower than 110°, and not 14.
        curriculum_steps: steps over which turns and narrow views come in, from none; 0: at once.
        photometric: how much light, colour, sharpness and noise are changed, 0 to 1.
        occlusion: share of the panoramas with a box in the way.
        keep_share: share of the panoramas that show one class alone, all else white; needs labels.
        remove_share: share of the panoramas with one class painted black; needs labels.
        workers: processes that draw or load beside the training; 0 does it in between.
    """

    may_differ: ClassVar[frozenset[str]] = LoopSettings.may_differ | {
        "front_cache_gib",
        "front_folder",
        "keep_pictures",
    }

    name: str = "town"
    family: str = "siamese"
    model: Mapping[str, Any] = field(default_factory=dict)
    align: Mapping[str, Any] = field(default_factory=dict)
    mapping: str = "polar"
    strip_channels: int = 64
    height_px: int = 128
    width_px: int = 512
    start: str | None = None
    pretrained: bool = False
    freeze: tuple[str, ...] | None = None
    batch: int = 32
    parts: int = 1
    loss: str = "contrast"
    memory: int = 0
    margin_scale: float = 10.0
    smoothing: float = 0.0
    learning_rate: float = 2e-3
    trunk_share: float = 0.2
    weight_decay: float = 0.02
    warm_up: int | None = None
    head_steps: int = 0
    head_pairs: int = 0
    learned_share: float = 1.0
    learned_parts: Mapping[str, float] = field(default_factory=dict)
    average_from: float = 1.0
    front_versions: int = 0
    front_narrow: bool = False
    front_photos: int = 1
    front_cache_gib: float = 8.0
    front_folder: Path | None = None
    keep_pictures: bool = False
    feature_style: float = 0.0
    feature_drop: float = 0.0
    dataset: str = "worlds"
    root: Path | None = None
    split: str | None = None
    skip_missing: bool = False
    mining: str = "random"
    group: int = 4
    neighbours: int = 64
    mine_every: int = 1
    town_seeds: tuple[int, ...] = tuple(range(100, 124))
    town_side_m: float = 600.0
    places: tuple[Path, ...] = ()
    style: str = "mixed"
    relief: float | None = None
    variety: float = 1.0
    tile_side_m: float = 100.0
    tile_factors: tuple[float, ...] = (1.0,)
    max_offset_m: float = 8.0
    turn_deg: float = 360.0
    turn_both: bool = False
    mirror: bool = False
    narrow_share: float = 0.25
    narrowest_deg: float = 90.0
    narrow_widths: str = "even"
    curriculum_steps: int = 0
    photometric: float = 1.0
    occlusion: float = 0.0
    keep_share: float = 0.0
    remove_share: float = 0.0
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        super().__post_init__()
        if self.batch < 2:
            raise ConfigError(
                f"a batch of {self.batch} has nothing to contrast", where="--batch", remedy="give 2 or more"
            )
        shares = self.parts * self.devices * self.nodes
        if self.parts < 1 or self.batch % shares:
            raise ConfigError(
                f"a batch of {self.batch} cannot be shared evenly among {self.devices * self.nodes} processes in "
                f"{self.parts} parts each",
                where="--batch",
                remedy=f"choose a multiple of {max(shares, 1)}",
            )
        for name, known in (
            ("loss", LOSSES),
            ("mining", MINING),
            ("dataset", SOURCES),
            ("narrow_widths", WIDTHS),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"'{getattr(self, name)}' is unknown",
                    where=name,
                    remedy=f"choose from {', '.join(known)}",
                )
        self.aligned()
        self._check_source()
        self._check_ranges()
        self._check_front()

    def aligned(self) -> AlignSettings:
        """What the stages before give, whole: ``align`` over the settings of its own.

        Raises:
            ConfigError: if a key of ``align`` is unknown or its value impossible.
        """
        try:
            given = load_settings(AlignSettings, overrides=self.align)
        except ConfigError as error:
            raise ConfigError(error.what, where=f"align, {error.where}", remedy=error.remedy) from error
        return replace(
            given,
            mapping=self.mapping if given.mapping is None else given.mapping,
            keep_share=self.keep_share if given.keep_share is None else given.keep_share,
            remove_share=self.remove_share if given.remove_share is None else given.remove_share,
        )

    @property
    def blended(self) -> bool:
        """Whether weights between start and end, or a mean of them, are published, and not the end."""
        return min((self.learned_share, self.average_from, *self.learned_parts.values())) < 1.0

    @property
    def mean_after(self) -> int | None:
        """After which step the mean of the weights begins; None for the last step's weights."""
        return None if self.average_from == 1.0 else min(int(self.average_from * self.steps), self.steps - 1)

    def lasting(self) -> dict[str, Any]:
        """As of every training; of ``align`` without places on a disk, which may have moved."""
        aligned = {
            key: value for key, value in self.align.items() if key not in ("cgan", "cache", "segmenter")
        }
        return {**super().lasting(), "align": aligned}

    def _check_source(self) -> None:
        from smdt.world.dataset import check_training_seeds

        if self.dataset == "worlds":
            check_training_seeds(self.town_seeds)
        if self.dataset != "worlds" and self.root is None:
            raise ConfigError(
                f"{self.dataset} needs the data set's folder", where="--root", remedy="give its folder"
            )
        if self.dataset == "worlds" and self.mining != "random":
            raise ConfigError(
                "batches of simulated places are neighbours already",
                where="mining",
                remedy="leave it out, or give a data set",
            )

    def _check_front(self) -> None:
        """Refuse what cannot be done with features that are computed once."""
        wrong, remedy = "", ""
        if self.front_versions < 0 or self.front_cache_gib <= 0 or self.head_steps < 0:
            wrong, remedy = "a count is too small", "give 0 or more versions and head_steps, and some memory"
        elif not self.front_versions and self.feature_style + self.feature_drop > 0:
            wrong, remedy = (
                "feature_style and feature_drop change features that are kept",
                "keep some versions",
            )
        elif self.front_versions and self.dataset == "worlds":
            wrong, remedy = "pairs drawn anew for each step have no features to keep", "give a data set"
        elif self.front_versions == 1 and self.mirror:
            wrong, remedy = "one version is either mirrored or not", "keep 2 or more, or set mirror: false"
        elif self.front_versions and self.turn_both and self.aligned().mapping == "none":
            wrong, remedy = "features of a square tile cannot be turned", "set turn_both: false"
        elif self.front_narrow and (not self.front_versions or self.narrow_share == 0.0):
            wrong, remedy = (
                "front_narrow keeps features of narrow photos",
                "keep some versions and give a narrow_share, or leave it out",
            )
        elif self.front_photos < 1 or (self.front_photos > 1 and not self.front_narrow):
            wrong, remedy = (
                "front_photos counts narrow photos that are kept",
                "give 1 or more, and front_narrow",
            )
        elif self.front_folder is not None and not self.front_versions:
            wrong, remedy = "front_folder keeps early features", "keep some versions, or leave it out"
        elif self.front_narrow and self.curriculum_steps:
            wrong, remedy = (
                "features of narrow photos are kept from the first step on, and know no curriculum",
                "set curriculum_steps: 0, or leave front_narrow out",
            )
        elif self.front_versions and self.picture_every:
            wrong, remedy = "kept features show no pictures", "set picture_every: 0"
        if wrong:
            raise ConfigError(wrong, where="front_versions", remedy=remedy)
        if self.keep_pictures and (self.front_versions or self.dataset == "worlds"):
            raise ConfigError(
                "pictures are kept of a data set's pairs, where their features are not",
                where="keep_pictures",
                remedy="give a data set, and set front_versions: 0",
            )

    def _check_ranges(self) -> None:
        shares = (
            "trunk_share",
            "learned_share",
            "average_from",
            "smoothing",
            "narrow_share",
            "variety",
            "photometric",
            "occlusion",
            "keep_share",
            "feature_style",
        )
        given = {name: getattr(self, name) for name in shares}
        given.update((f"learned_parts, {name}", share) for name, share in self.learned_parts.items())
        for name, share in given.items():
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"{share:g} is no share", where=name, remedy="give a number from 0 to 1")
        if self.relief is not None and not 0.0 <= self.relief <= 1.0:
            raise ConfigError(
                f"a relief of {self.relief:g} cannot be",
                where="relief",
                remedy="give a number from 0, flat, to 1",
            )
        if not 0.0 <= self.feature_drop < 1.0:
            raise ConfigError("some channels must stay", where="feature_drop", remedy="give 0 to below 1")
        if not 0.0 <= self.turn_deg <= 360.0 or not 0.0 < self.narrowest_deg <= 360.0:
            raise ConfigError(
                "a circle has 360°", where="turn_deg/narrowest_deg", remedy="give angles within 0 and 360"
            )
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.margin_scale <= 0:
            raise ConfigError(
                f"a rate of {self.learning_rate:g} with decay {self.weight_decay:g} does not train",
                where="--learning-rate",
                remedy="give a rate above 0, and a decay of 0 or more",
            )
        if (
            min(self.group, self.neighbours, self.mine_every) < 1
            or self.curriculum_steps < 0
            or self.workers < 0
        ):
            raise ConfigError(
                "a count is too small",
                where="group/neighbours/mine_every/curriculum_steps/workers",
                remedy="give 1 or more to the first three, 0 or more to the others",
            )
        if self.memory < 0 or (self.memory and self.loss != "contrast"):
            raise ConfigError(
                f"a memory of {self.memory} references cannot be used with loss {self.loss}",
                where="memory",
                remedy="give 0 or more, and loss: contrast",
            )
        if self.blended and self.loss != "contrast":
            raise ConfigError(
                f"weights between start and end are measured by their contrast, not by loss {self.loss}",
                where="learned_share/learned_parts/average_from",
                remedy="leave them out, or use loss: contrast",
            )
        if self.head_pairs < 0 or (self.head_pairs and self.start is not None):
            raise ConfigError(
                "a head begins with what is found among some pairs, or with a model's, not with both",
                where="head_pairs",
                remedy="give 0 or more, and leave start out where it is more than 0",
            )
        if self.warm_up is not None and self.warm_up < 0:
            raise ConfigError(
                f"a warm-up of {self.warm_up} steps cannot be", where="warm_up", remedy="give 0 or more"
            )
