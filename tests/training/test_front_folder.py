"""Early features kept in a folder: the same training, begun at once where they lie there already."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from smdt.errors import ConfigError, TrainingError
from smdt.retrieval.models import fingerprint, load_model
from smdt.training.retrieval import RetrievalTraining, train_retrieval

_SETTINGS: dict[str, Any] = {
    "family": "compact",
    "model": {"backbone": "test_efficientnet", "tile_px": 64},
    "dataset": "folder",
    "steps": 4,
    "batch": 4,
    "height_px": 32,
    "width_px": 128,
    "strip_channels": 8,
    "workers": 0,
    "accelerator": "cpu",
    "freeze": ["trunk.conv_stem"],
    "front_versions": 2,
    "front_narrow": True,
    "narrow_share": 0.5,
    "mirror": True,
}


@pytest.fixture
def settings(pairs_folder: Path, tmp_path: Path) -> RetrievalTraining:
    kept = tmp_path / "kept" / "features"
    return RetrievalTraining(tmp_path / "first", **{**_SETTINGS, "root": pairs_folder, "front_folder": kept})


def _trained(settings: RetrievalTraining) -> tuple[str, list[int]]:
    """The model's fingerprint, and of how many pairs its features were computed."""
    told: list[int] = []
    train_retrieval(settings, progress=lambda done, _: told.append(done))
    return fingerprint(load_model(str(settings.out))), told


def test_a_training_is_the_same_from_memory_from_a_folder_and_from_one_that_was_there(
    settings: RetrievalTraining, tmp_path: Path
) -> None:
    memory, read = _trained(replace(settings, out=tmp_path / "memory", front_folder=None))
    first, filled = _trained(settings)
    again, found = _trained(replace(settings, out=tmp_path / "again", front_cache_gib=1e-9))
    assert memory == first == again
    assert (read, filled, found) == ([10], [10], [])
    # what does not change the features may be another
    _trained(replace(settings, out=tmp_path / "longer", steps=5, learning_rate=1e-3, batch=2))


def test_a_mirrored_model_learns_the_same_of_the_same_features(
    settings: RetrievalTraining, tmp_path: Path
) -> None:
    _trained(settings)
    mirrored = replace(settings, out=tmp_path / "mirrored", model={**settings.model, "mirrored": True})
    assert _trained(mirrored)[1] == []
    plain, twice = load_model(str(settings.out)), load_model(str(mirrored.out))
    assert twice.config == replace(plain.config, mirrored=True)
    state = twice.state_dict()
    assert all(torch.equal(state[name], one) for name, one in plain.state_dict().items())


def test_a_stopped_training_goes_on_from_them(settings: RetrievalTraining, tmp_path: Path) -> None:
    whole, _ = _trained(settings)

    def stop(step: int, _: dict[str, float]) -> None:
        if step == 3:
            raise InterruptedError

    stopped = replace(settings, out=tmp_path / "stopped", save_every=2)
    with pytest.raises(InterruptedError):
        train_retrieval(stopped, stop)
    assert settings.front_folder is not None
    moved = settings.front_folder.rename(tmp_path / "moved")
    assert _trained(replace(stopped, resume=True, front_folder=moved)) == (whole, [])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "its seed, trunk differ"),
        ({"narrow_widths": "inverse", "narrowest_deg": 70.0}, "its narrow_widths, narrowest_deg differ"),
        ({"front_narrow": False}, "front_narrow, shapes"),
        ({"model": {"backbone": "test_efficientnet", "tile_px": 64, "beyond": "mirror"}}, "its model differ"),
    ],
)
def test_features_of_another_training_are_refused_and_kept(
    settings: RetrievalTraining, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    _trained(settings)
    assert settings.front_folder is not None
    before = {one.name: one.stat().st_mtime_ns for one in settings.front_folder.iterdir()}
    with pytest.raises(TrainingError, match=f"{named}.*give another front_folder"):
        _trained(replace(settings, out=tmp_path / "other", **changes))
    assert {one.name: one.stat().st_mtime_ns for one in settings.front_folder.iterdir()} == before


def test_features_of_pictures_that_were_changed_since_are_refused(
    settings: RetrievalTraining, pairs_folder: Path, tmp_path: Path
) -> None:
    _trained(settings)
    one = pairs_folder / "ground" / "p3.png"
    known = one.stat()
    os.utime(one, ns=(known.st_atime_ns, known.st_mtime_ns + 10**9))
    try:
        with pytest.raises(TrainingError, match="its pictures differ"):
            _trained(replace(settings, out=tmp_path / "other"))
    finally:
        os.utime(one, ns=(known.st_atime_ns, known.st_mtime_ns))


def test_a_folder_whose_making_was_broken_off_is_filled_anew(
    settings: RetrievalTraining, tmp_path: Path
) -> None:
    first, _ = _trained(settings)
    assert settings.front_folder is not None
    (settings.front_folder / "features.json").unlink()
    (settings.front_folder / "narrow.f16").write_bytes(b"half")
    assert _trained(replace(settings, out=tmp_path / "again")) == (first, [10])


@pytest.mark.parametrize("damaged", ["ground.f16", "features.safetensors", "features.json"])
def test_damaged_features_are_said(settings: RetrievalTraining, tmp_path: Path, damaged: str) -> None:
    _trained(settings)
    assert settings.front_folder is not None
    (settings.front_folder / damaged).write_bytes(b"[1")
    with pytest.raises(TrainingError, match=r"features: holds features that cannot be read .*remove it"):
        _trained(replace(settings, out=tmp_path / "other"))


def test_no_room_is_said_before_the_first_is_computed(
    settings: RetrievalTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(TrainingError, match=r"features: has no room for .* GiB .*more room"):
        _trained(settings)
    assert settings.front_folder is not None
    assert list(settings.front_folder.iterdir()) == []


def test_a_folder_without_versions_is_refused(settings: RetrievalTraining) -> None:
    with pytest.raises(ConfigError, match="front_folder keeps early features"):
        replace(settings, front_versions=0, front_narrow=False)


def test_two_processes_share_one_folder(settings: RetrievalTraining, tmp_path: Path) -> None:
    config = tmp_path / "training.json"
    given = {
        **_SETTINGS,
        "root": str(settings.root),
        "front_folder": str(settings.front_folder),
        "devices": 2,
    }
    config.write_text(json.dumps(given))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "smdt.app.cli", "train", "retrieval", "--config", str(config)]
    command += ["--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _trained(settings)[1] == []
