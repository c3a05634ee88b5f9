"""Settings of the whole method, stage by stage; what runs them is :mod:`smdt.stages`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from smdt.config import load_settings
from smdt.errors import ConfigError
from smdt.training import checkpoint
from smdt.training.dual_cgan import DualCganTraining
from smdt.training.retrieval_settings import RetrievalTraining
from smdt.training.segmenter import SegmenterTraining

SPLITS: Mapping[str, tuple[str, str]] = {
    "worlds": ("train", "val"),
    "cvusa": ("train", "val"),
    "cvact": ("train", "val"),
    "folder": ("all", "all"),
}
"""Splits to learn from and to judge on. A folder has one; figures on it are of pairs that were learned from."""

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class WorldSet:
    """The simulated pairs that stages 3 and 4 learn from, and are judged on.

    Attributes:
        town_seeds: towns; the last ones' pairs are for judging.
        town_side_m: side of each.
        style: of the towns.
        relief: how hilly they are, 0 to 1; by style and seed unless given.
        count: pairs in all.
        val_share: share of the towns to judge on.
        tile_side_m: side of the aerial images.
        aerial_px: the same in pixels.
        height_px: rows of the panoramas; 5.5 times as many columns.
        max_offset_m: cameras stand off the tile's centre by up to this.
        apart_m: least distance of two cameras.
        workers: processes that render.
    """

    town_seeds: tuple[int, ...] = tuple(range(460, 476))
    town_side_m: float = 520.0
    style: str = "mixed"
    relief: float | None = None
    count: int = 1600
    val_share: float = 0.2
    tile_side_m: float = 160.0
    aerial_px: int = 256
    height_px: int = 128
    max_offset_m: float = 4.0
    apart_m: float = 10.0
    workers: int = 0


@dataclass(frozen=True)
class StagesConfig:
    """Settings of all stages.

    Attributes:
        out: folder of everything.
        dataset: ``worlds``, ``cvusa``, ``cvact`` or ``folder``.
        root: the data set's folder.
        train_split: to learn from; the data set's usual one unless given.
        val_split: to judge on; the data set's usual one unless given.
        segmenter_model: a trained segmenter instead of stage 1, by name or folder.
        cgan_model: a trained dual conditional GAN instead of stage 3, by name or folder.
        worlds: of the simulated pairs, see :class:`WorldSet`.
        segmenter: of stage 1, see :class:`smdt.training.segmenter.SegmenterTraining`.
        cgan: of stage 3, see :class:`smdt.training.dual_cgan.DualCganTraining`.
        retrieval: of stage 4, see :class:`smdt.training.retrieval_settings.RetrievalTraining`; its ``align`` says what
            it sees of the others, whose places are filled in.
        seed: of everything random, unless a stage has its own.
        precision: as seed.
        accelerator: as seed.
    """

    out: Path
    dataset: str = "worlds"
    root: Path | None = None
    train_split: str | None = None
    val_split: str | None = None
    segmenter_model: str = ""
    cgan_model: str = ""
    worlds: Mapping[str, Any] = field(default_factory=dict)
    segmenter: Mapping[str, Any] = field(default_factory=dict)
    cgan: Mapping[str, Any] = field(default_factory=dict)
    retrieval: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is."""
        if self.dataset not in SPLITS:
            raise ConfigError(
                f"'{self.dataset}' is unknown", where="--dataset", remedy=f"choose from {', '.join(SPLITS)}"
            )
        if self.dataset != "worlds" and self.root is None:
            raise ConfigError("the data set's folder is missing", where="--root", remedy="name it")
        self.world_set()
        self.segmenter_training()
        self.cgan_training()
        self.retrieval_training()

    @property
    def pairs_root(self) -> Path:
        """Where pairs are read."""
        return self.out / "pairs" if self.dataset == "worlds" or self.root is None else self.root

    @property
    def reader(self) -> str:
        """The layout of the pairs; simulated ones are laid out as CVUSA."""
        return "cvusa" if self.dataset == "worlds" else self.dataset

    @property
    def splits(self) -> tuple[str, str]:
        """To learn from, and to judge on."""
        train, val = SPLITS[self.dataset]
        return self.train_split or train, self.val_split or val

    @property
    def segmenter_name(self) -> str:
        """What labels panoramas."""
        return self.segmenter_model or str(self.out / "segmenter")

    @property
    def cgan_name(self) -> str:
        """What makes ground views."""
        return self.cgan_model or str(self.out / "dual-cgan")

    def world_set(self) -> WorldSet:
        """The simulated pairs."""
        return self._section(WorldSet, "worlds", self.worlds)

    def segmenter_training(self) -> SegmenterTraining:
        """Stage 1."""
        return self._section(SegmenterTraining, "segmenter", self._shared(self.segmenter, "segmenter"))

    def cgan_training(self) -> DualCganTraining:
        """Stages 2 and 3."""
        given = self._shared(self.cgan, "dual-cgan") | {
            "dataset": self.reader,
            "root": str(self.pairs_root),
            "split": self.splits[0],
            "segmenter": self.segmenter_name,
            "cache": self.out / "cache",
        }
        return self._section(DualCganTraining, "cgan", given)

    def retrieval_training(self) -> RetrievalTraining:
        """Stage 4."""
        align: dict[str, Any] = {"mapping": "mixed", "aerial_input": "both"}
        align |= dict(self.retrieval.get("align", {}))
        align |= {"cache": str(self.out / "cache"), "segmenter": self.segmenter_name}
        if align["aerial_input"] != "mapped":
            align["cgan"] = self.cgan_name
        given = self._shared(self.retrieval, "retrieval") | {
            "dataset": self.reader,
            "root": self.pairs_root,
            "split": self.splits[0],
            "align": align,
        }
        return self._section(RetrievalTraining, "retrieval", {"name": "smdt"} | given)

    def _shared(self, given: Mapping[str, Any], folder: str) -> dict[str, Any]:
        shared = {"seed": self.seed, "precision": self.precision, "accelerator": self.accelerator}
        settings = {**shared, **given, "out": self.out / folder}
        if settings.get("devices", 1) != 1 or settings.get("nodes", 1) != 1:
            raise ConfigError(
                "stages are trained one after the other in one process",
                where=f"{folder}, devices",
                remedy="train this stage by its own command on several, and name its folder here",
            )
        settings["resume"] = bool(checkpoint.checkpoints(self.out / folder))
        return settings

    @staticmethod
    def _section(kind: type[Settings], name: str, given: Mapping[str, Any]) -> Settings:
        try:
            return load_settings(kind, overrides=given)
        except ConfigError as error:
            raise ConfigError(error.what, where=f"{name}, {error.where}", remedy=error.remedy) from error


QUICK: Mapping[str, Any] = {
    "worlds": {
        "town_seeds": (460, 461, 462, 463, 464, 465),
        "town_side_m": 340.0,
        "count": 240,
        "val_share": 0.33,
        "tile_side_m": 120.0,
        "aerial_px": 192,
        "height_px": 64,
        "apart_m": 6.0,
    },
    "segmenter": {
        "steps": 120,
        "batch": 4,
        "height_px": 64,
        "width_px": 256,
        "town_seeds": (200, 201, 202, 203, 204, 205),
        "town_side_m": 280.0,
        "workers": 0,
        "log_every": 20,
        "save_every": 40,
    },
    "cgan": {
        "height_px": 64,
        "width_px": 256,
        "generator_filters": 16,
        "discriminator_filters": 8,
        "encoder_blocks": 1,
        "decoder_blocks": 1,
        "dropout": 0.0,
        "labels": "classes",
        "label_weight": 20.0,
        "aerial_to_image": True,
        "wrap": True,
        "turn": True,
        "mirror": True,
        "steps": 160,
        "batch": 4,
        "learning_rate": 1e-3,
        "adversarial_from": 0.75,
        "log_every": 20,
        "save_every": 40,
        "picture_every": 160,
    },
    "retrieval": {
        "family": "compact",
        "height_px": 64,
        "width_px": 256,
        "steps": 200,
        "batch": 32,
        "mining": "place",
        "group": 32,
        "neighbours": 31,
        "trunk_share": 0.0,
        "front_versions": 2,
        "turn_both": True,
        "mirror": True,
        "narrow_share": 0.0,
        "workers": 0,
        "log_every": 50,
        "save_every": 100,
        "align": {"mapping": "mixed", "aerial_input": "both", "keep_share": 0.1, "remove_share": 0.1},
    },
}
"""Small towns and short trainings, of everything: minutes on two cores. What comes out is good at nothing much."""
