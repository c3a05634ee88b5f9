"""The whole method trained stage by stage: segmenter, dual conditional GAN, ground views, retrieval, and its figures.

Every stage has a folder of its own. What is finished is written down with what it was made with and is not done again;
a stage that was stopped goes on from its newest checkpoint. So one command, given again, goes on with what is there.

    pairs/       simulated pairs in CVUSA's layout, where no data set is named
    segmenter/   stage 1
    dual-cgan/   stages 2 and 3: it maps the tile and makes Ig′ of it; its labels are the segmenter's
    cache/       ground views of all aerial images, and labels of all panoramas
    retrieval/   stage 4, with ``align``: the model that `smdt index build`, `smdt locate` and `smdt evaluate` take
    evaluation.json   figures on pairs that no stage has learned from
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from smdt.alignment.cgan_cache import GroundViewCache, fill_cache
from smdt.alignment.cgan_models import load_cgan
from smdt.data import open_split
from smdt.data.pairs import PairSplit
from smdt.errors import TrainingError
from smdt.evaluate import EvaluateConfig, Evaluation, evaluate
from smdt.files import write_text_whole
from smdt.retrieval.models import RECORD_FILE, load_model, save_model
from smdt.training import checkpoint
from smdt.training.dual_cgan import DualCganTraining, train_dual_cgan
from smdt.training.retrieval import train_retrieval
from smdt.training.retrieval_settings import RetrievalTraining
from smdt.training.segmenter import SegmenterTraining, train_segmenter
from smdt.training.stage_settings import StagesConfig, WorldSet
from smdt.world.dataset import check_training_seeds
from smdt.world.pair_plan import PairSetConfig
from smdt.world.pairs import write_pairs
from smdt.world.places import TownPlace, check_training_places

DONE_FILE, EVALUATION_FILE = "stages.json", "evaluation.json"


class Watcher(Protocol):
    """Told how the stages go."""

    def stage(self, name: str, state: str) -> None:
        """A stage begins, goes on, or is there already."""

    def training(
        self, name: str, steps: int
    ) -> AbstractContextManager[Callable[[int, dict[str, float]], None]]:
        """The report of a training."""

    def work(self, name: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """The progress of anything else: done, and in all."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of it.

    Attributes:
        model: the retrieval model's folder.
        evaluation: its figures; None where they were there already and nothing was evaluated.
        record: what stands in ``evaluation.json``.
    """

    model: Path
    evaluation: Evaluation | None
    record: dict[str, Any]


def train_stages(config: StagesConfig, watcher: Watcher) -> Trained:
    """Train what is not trained yet, and evaluate.

    Raises:
        SmdtError: if a stage cannot be trained; those before it stand.
        TrainingError: if a finished stage was made with other settings.
    """
    stages = _Stages(config, watcher)
    if config.dataset == "worlds":
        stages.once("pairs", config.world_set(), stages.pairs)
    if not config.segmenter_model:
        settings = config.segmenter_training()
        stages.once("segmenter", settings, lambda: stages.train("segmenter", settings, train_segmenter))
    if config.retrieval_training().aligned().aerial_input != "mapped":
        if not config.cgan_model:
            gan = config.cgan_training()
            stages.once("dual-cgan", gan, lambda: stages.train("dual-cgan", gan, train_dual_cgan))
        stages.once("ground views", {}, stages.ground_views)
    retrieval = config.retrieval_training()
    stages.once("retrieval", retrieval, lambda: stages.train("retrieval", retrieval, stages.retrieval))
    found: list[Evaluation] = []
    stages.once("evaluation", {}, lambda: found.append(stages.evaluation()))
    record = json.loads((config.out / EVALUATION_FILE).read_text(encoding="utf-8"))
    return Trained(config.out / "retrieval", found[0] if found else None, record)


class _Stages:
    """The stages of one folder, and what is written down of them."""

    def __init__(self, config: StagesConfig, watcher: Watcher) -> None:
        self.config, self.watcher, self.path = config, watcher, config.out / DONE_FILE
        self.done: dict[str, Any] = {}
        if self.path.is_file():
            try:
                self.done = json.loads(self.path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise TrainingError("cannot be read", where=self.path, remedy="remove it") from error

    def once(self, name: str, settings: Any, work: Callable[[], object]) -> None:
        """Do a stage unless it is done, and write down that it is."""
        made_with = _described(settings)
        if name in self.done:
            before = self.done[name]["settings"]
            differing = [key for key in made_with if key in before and before[key] != made_with[key]]
            if differing:
                key = differing[0]
                raise TrainingError(
                    f"stage {name} was made with {key} {before[key]}, not {made_with[key]}",
                    where=self.config.out,
                    remedy="keep its settings, or choose another --out",
                )
            self.watcher.stage(name, "is there")
            return
        going_on = isinstance(settings, SegmenterTraining | DualCganTraining | RetrievalTraining)
        self.watcher.stage(name, "goes on" if going_on and settings.resume else "begins")
        started = time.monotonic()
        work()
        self.done[name] = {"settings": made_with, "seconds": round(time.monotonic() - started, 1)}
        write_text_whole(self.path, json.dumps(self.done, indent=2) + "\n")

    def train(self, name: str, settings: Any, training: Callable[..., object]) -> None:
        with self.watcher.training(name, settings.steps) as report:
            training(settings, report)

    def retrieval(self, settings: RetrievalTraining, report: Callable[[int, dict[str, float]], None]) -> None:
        with self.watcher.work("early features") as progress:
            train_retrieval(settings, report, progress=progress)

    def pairs(self) -> None:
        """Render the simulated pairs."""
        worlds = self.config.world_set()
        check_training_seeds(worlds.town_seeds)
        drawn = PairSetConfig(
            count=worlds.count,
            seed=self.config.seed,
            aerial_px=worlds.aerial_px,
            tile_side_m=worlds.tile_side_m,
            height_px=worlds.height_px,
            width_px=round(5.5 * worlds.height_px),
            max_offset_m=worlds.max_offset_m,
            apart_m=worlds.apart_m,
            val_share=worlds.val_share,
            labels=False,
        )
        towns = [
            TownPlace(seed, worlds.town_side_m, style=worlds.style, relief=worlds.relief)
            for seed in worlds.town_seeds
        ]
        with self.watcher.work("rendering pairs") as progress:

            def told(what: str, done: int, total: int) -> None:
                if what == "rendering pairs":
                    progress(done, total)

            write_pairs(
                self.config.pairs_root,
                towns,
                drawn,
                workers=worlds.workers,
                check=lambda place: check_training_places([place]),
                progress=told,
            )

    def ground_views(self) -> None:
        """Make Ig′ of all aerial images."""
        from smdt.training.processes import start_fabric

        device = start_fabric(self.config.accelerator, 1, 1, "32-true").device
        views = GroundViewCache(load_cgan(self.config.cgan_name, device), self.config.out / "cache")
        for split in dict.fromkeys(self.config.splits):
            with self.watcher.work(f"ground views, {split}") as progress:
                fill_cache(views, self._open(split).references, progress)

    def evaluation(self) -> Evaluation:
        """Judge the model, and put the figures beside it and into its card."""
        folder = self.config.out / "retrieval"
        model = load_model(folder)
        if model.ground_views is not None:
            model.ground_views.keep_in(self.config.out / "cache")
        split = self._open(self.config.splits[1])
        with self.watcher.work("evaluating") as progress:

            def told(_: str, done: int, total: int) -> None:
                progress(done, total)

            known_only = EvaluateConfig(unknown_heading=model.finds_heading)
            result = evaluate(model, split, known_only, told)
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        on = f"{len(split.queries)} pairs of {'simulated towns' if split.simulated else split.dataset} {split.split}"
        scores = {f"{on}, {one.name}": one.recalls for one in result.conditions}
        save_model(model, folder, {**record, "scores": scores})
        intervals = {
            one.name: {name: asdict(interval) for name, interval in one.recall_intervals.items()}
            for one in result.conditions
        }
        written = {**result.facts, "queries": result.queries, "recalls": scores, "intervals": intervals}
        write_text_whole(self.config.out / EVALUATION_FILE, json.dumps(written, indent=2) + "\n")
        return result

    def _open(self, split: str) -> PairSplit:
        return open_split(self.config.reader, self.config.pairs_root, split)


def _described(settings: Any) -> dict[str, Any]:
    """What a stage was made with: settings that decide what comes of it."""
    if hasattr(settings, "lasting"):
        described = settings.lasting()
    elif isinstance(settings, WorldSet):
        described = {
            one.name: getattr(settings, one.name) for one in fields(settings) if one.name != "workers"
        }
    else:
        described = dict(settings)
    plain: dict[str, Any] = checkpoint.plain(described)
    return plain
