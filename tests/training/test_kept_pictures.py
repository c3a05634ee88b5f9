"""Pictures that are kept in memory train the same network as those read anew for each batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from smdt.errors import ConfigError, DatasetError
from smdt.retrieval.models import fingerprint, load_model
from smdt.training import kept_pictures
from smdt.training.kept_pictures import KeptPictures
from smdt.training.retrieval import RetrievalTrainer, RetrievalTraining, train_retrieval

Settings = Callable[..., RetrievalTraining]


@pytest.fixture
def settings(tmp_path: Path, pairs_folder: Path) -> Settings:
    root = tmp_path / "pairs"
    shutil.copytree(pairs_folder, root)

    def make(name: str, **changes: Any) -> RetrievalTraining:
        given: dict[str, Any] = {
            "family": "compact",
            "model": {"backbone": "test_efficientnet", "tile_px": 64},
            "dataset": "folder",
            "root": root,
            "steps": 5,
            "batch": 4,
            "height_px": 32,
            "width_px": 128,
            "strip_channels": 8,
            "mirror": True,
            "turn_both": True,
            "workers": 0,
            "accelerator": "cpu",
        }
        return RetrievalTraining(tmp_path / name, **{**given, **changes})

    return make


@pytest.mark.parametrize("mining", ["random", "similarity"])
def test_they_train_the_same_network(settings: Settings, mining: str) -> None:
    told: list[tuple[int, int]] = []
    train_retrieval(settings("read", mining=mining))
    train_retrieval(
        settings("kept", mining=mining, keep_pictures=True), progress=lambda *one: told.append(one)
    )
    read, kept = (load_model(str(settings(name).out)) for name in ("read", "kept"))
    assert fingerprint(read) == fingerprint(kept)
    assert told[-1][0] == told[-1][1] > 0


def test_a_training_goes_on_with_them_as_it_was(
    settings: Settings, assert_resumes: Callable[[RetrievalTraining, int], None]
) -> None:
    assert_resumes(settings("whole", keep_pictures=True, save_every=2), 4)


def test_a_training_may_go_on_without_them(settings: Settings) -> None:
    assert settings("one").lasting() == settings("one", keep_pictures=True).lasting()


def test_a_gpu_that_has_no_room_for_them_is_said_before(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**32, 2**33))
    parts = (torch.zeros(2, 3, 128, 512, dtype=torch.uint8),)
    kept_pictures._check_room(parts, 10**9, 2, torch.device("cpu"))
    with pytest.raises(ConfigError, match="keep_pictures"):
        kept_pictures._check_room(parts, 10**9, 2, torch.device("cuda"))


def test_a_picture_that_cannot_be_read_is_named(settings: Settings) -> None:
    trainer = RetrievalTrainer(settings("kept", keep_pictures=True))
    assert isinstance(trainer.kept, KeptPictures)
    broken = trainer.kept.pairs.split.queries[1].path
    broken.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=broken.name):
        trainer.kept.read(torch.device("cpu"))


@pytest.mark.parametrize("wrong", [{"dataset": "worlds"}, {"front_versions": 2}])
def test_there_is_nothing_to_keep(settings: Settings, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="keep_pictures"):
        settings("wrong", keep_pictures=True, **wrong)
