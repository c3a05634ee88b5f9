"""Look-alikes: what a narrow photo is mistaken for, sought by the model as it stands, at every turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smdt.errors import ConfigError
from smdt.retrieval.matching import between_columns, circular_scores, normalise_queries
from smdt.retrieval.mining import Indices
from smdt.training.epochs import Epochs
from smdt.training.lookalikes import lookalikes
from smdt.training.loop import Loop
from smdt.training.processes import start_fabric
from smdt.training.retrieval import RetrievalTrainer, RetrievalTraining, train_retrieval
from smdt.training.retrieval_front import FrontCache

_SETTINGS: dict[str, Any] = {
    "family": "compact",
    "model": {"backbone": "test_efficientnet", "tile_px": 64, "remove_mean": True},
    "dataset": "folder",
    "steps": 7,
    "batch": 4,
    "height_px": 32,
    "width_px": 128,
    "strip_channels": 8,
    "log_every": 1,
    "workers": 0,
    "accelerator": "cpu",
    "freeze": (),
    "front_versions": 2,
    "front_narrow": True,
    "front_photos": 2,
    "narrow_share": 0.5,
    "narrowest_deg": 90.0,
    "mining": "lookalikes",
    "group": 2,
    "neighbours": 3,
}


@pytest.fixture
def settings(pairs_folder: Path, tmp_path: Path) -> RetrievalTraining:
    return RetrievalTraining(tmp_path / "run", root=pairs_folder, **_SETTINGS)


def _begun(settings: RetrievalTraining) -> tuple[Loop, FrontCache, Epochs]:
    trainer = RetrievalTrainer(settings)
    assert trainer.front is not None
    assert trainer.epochs is not None
    loop = Loop(trainer, settings, start_fabric("cpu", 1, 1, "32-true"))
    trainer.front.fill(loop)
    return loop, trainer.front, trainer.epochs


def test_they_are_the_references_that_the_middle_of_a_narrow_photo_fits_best(
    settings: RetrievalTraining,
) -> None:
    loop, front, _ = _begun(settings)
    front.model.ground_mean.copy_(torch.linspace(-1, 1, 8))
    told: list[tuple[int, int]] = []
    for epoch in (0, 1):
        found = lookalikes(loop, front, epoch, lambda *one: told.append(one))
        assert front._narrow is not None
        assert front._features is not None
        with torch.no_grad():
            queries = front.back(front._narrow.features[epoch].float(), "ground")
            references = front.back(front._features[1][0].float(), "aerial")
        queries, references = queries - front.model.ground_mean[:, None], references - references.mean(0)
        seen = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0]).bool().expand(10, -1)  # 90° of eight columns
        scores = between_columns(circular_scores(normalise_queries(queries, seen), references, seen))
        expected = scores.amax(2).fill_diagonal_(-1.0).topk(3, dim=1)
        best = scores.amax(2).gather(1, torch.from_numpy(found))
        assert torch.allclose(best, expected.values, atol=2e-3)
        assert bool((torch.from_numpy(found) == expected.indices).float().mean() > 0.9)  # strips are rounded
    assert told == [(10, 10)] * 4


def test_a_training_begins_with_them_and_looks_anew(
    settings: RetrievalTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noted(loop: Loop, front: FrontCache, epoch: int, *rest: Any) -> Indices:
        asked.append(epoch)
        return lookalikes(loop, front, epoch, *rest)

    monkeypatch.setattr("smdt.training.retrieval.lookalikes", noted)
    train_retrieval(
        replace(settings, mine_every=2)
    )  # two batches an epoch, so that the seventh step is of the fourth
    assert asked == [0, 2]


def test_a_batch_is_of_groups_that_look_alike_but_for_a_share(settings: RetrievalTraining) -> None:
    loop, _, epochs = _begun(settings)
    pairs = np.arange(10)
    alike, near = (pairs ^ 1)[:, None], ((pairs + 5) % 10)[:, None]

    def of(neighbours: Indices) -> float:
        """The share of pairs that share a batch with their neighbour."""
        table = next(epochs.tables(loop, 1, lambda *_: alike))
        return float(
            np.mean([any({a, b} <= set(row) for row in table) for a, b in enumerate(neighbours[:, 0])])
        )

    assert of(alike) >= 0.8
    epochs.epoch, epochs.begun_after, epochs.table = -1, 0, epochs.table[:0]
    epochs.settings, epochs._near = replace(settings, place_share=1.0), near
    assert of(near) >= 0.8


def test_a_stopped_training_goes_on_with_those_it_found(
    settings: RetrievalTraining, assert_resumes: Callable[[RetrievalTraining, int], None]
) -> None:
    assert_resumes(replace(settings, save_every=3, mine_every=2, mine_among=5), 4)


def test_two_processes_find_what_one_does(settings: RetrievalTraining, tmp_path: Path) -> None:
    train_retrieval(replace(settings, mine_every=9))  # sought once, by the weights of the start
    config = tmp_path / "training.json"
    config.write_text(json.dumps({**_SETTINGS, "root": str(settings.root), "devices": 2, "mine_every": 9}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "smdt.app.cli", "train", "retrieval", "--config", str(config)]
    command += ["--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = [
        torch.load(folder / "checkpoints" / "step-00000007.pt", weights_only=True)["state"]
        for folder in (tmp_path / "two", settings.out)
    ]
    assert torch.equal(held[0]["neighbours"], held[1]["neighbours"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"front_narrow": False, "front_photos": 1}, "by narrow photos that are kept"),
        ({"mining": "similarity", "place_share": 0.5}, "groups of look-alikes"),
        ({"place_share": 1.5}, "1.5 is no share"),
        ({"mine_among": 0}, "a count is too small"),
        ({"place_share": 0.5}, "no coordinates to find neighbours by"),
    ],
)
def test_what_cannot_be_mined_is_refused(
    change: dict[str, Any], named: str, settings: RetrievalTraining
) -> None:
    with pytest.raises(ConfigError, match=named):
        RetrievalTrainer(replace(settings, **change))
