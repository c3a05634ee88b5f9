"""A training whose head begins in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from smdt.errors import ConfigError, SmdtError
from smdt.retrieval.canonical import ColumnMoments
from smdt.retrieval.compact import Compact
from smdt.training.head_start import first_pairs
from smdt.training.loop import Loop
from smdt.training.processes import start_fabric
from smdt.training.retrieval import RetrievalTrainer, RetrievalTraining, train_retrieval


def _settings(out: Path, root: Path | None, **changes: Any) -> RetrievalTraining:
    given: dict[str, Any] = {
        "family": "compact",
        "model": {"backbone": "test_efficientnet", "tile_px": 64},
        "dataset": "folder",
        "root": root,
        "steps": 2,
        "batch": 4,
        "height_px": 32,
        "width_px": 128,
        "strip_channels": 8,
        "log_every": 1,
        "workers": 0,
        "accelerator": "cpu",
        "photometric": 0.0,
        "head_pairs": 10,
        "freeze": ("*",),
    }
    return RetrievalTraining(out, **{**given, **changes})


def test_the_head_is_that_of_all_pairs_whatever_way_they_look(pairs_folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    settings = _settings(tmp_path, pairs_folder, turn_deg=360.0, narrow_share=1.0, occlusion=1.0)
    trained = train_retrieval(settings, progress=lambda done, total: told.append((done, total)))
    assert isinstance(trained, Compact)
    assert told == [(10, 10)]
    pairs = RetrievalTrainer(replace(settings, out=tmp_path / "other")).epochs.pairs  # type: ignore[union-attr]
    moments = ColumnMoments(trained.fold.weight[0].numel())
    with torch.inference_mode():
        for number in range(10):
            seen, shown = pairs.queries[number][0], pairs.references[int(pairs.split.positive[number])][0]
            moments.add(trained.features(seen[None]), trained.features(shown[None]))
    wanted = moments.head(8)
    made, whole = (one.T @ one for one in (trained.fold.weight.detach().flatten(1), wanted.weight))
    assert float((made - whole).norm() / whole.norm()) < 0.02  # pictures come as bytes there
    assert float(trained.mix.weight.abs().max()) == 0.0


def test_a_training_that_goes_on_keeps_its_head(
    pairs_folder: Path, tmp_path: Path, assert_resumes: Callable[[RetrievalTraining, int], None]
) -> None:
    settings = _settings(tmp_path / "whole", pairs_folder, steps=4, save_every=2, freeze=(), front_versions=1)
    assert_resumes(settings, 3)


def test_processes_share_the_pairs(pairs_folder: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path, pairs_folder, head_pairs=7)
    trainer = RetrievalTrainer(settings)
    loop = Loop(trainer, settings, start_fabric("cpu", 1, 1, "32-true"))
    loop.processes = 2
    seen: list[list[str]] = []
    for loop.rank in range(2):
        batches = first_pairs(settings, trainer.epochs.pairs, loop)  # type: ignore[union-attr]
        seen.append([name for batch in batches for name in batch.ids])
    assert [len(one) for one in seen] == [4, 3]
    assert len({*seen[0], *seen[1]}) == 7


def test_drawn_pairs_give_a_head_too(tmp_path: Path) -> None:
    drawn = {"town_seeds": (7,), "town_side_m": 300.0, "tile_side_m": 60.0}
    settings = _settings(tmp_path, None, dataset="worlds", head_pairs=6, steps=1, **drawn)
    trained = train_retrieval(settings)
    assert isinstance(trained, Compact)
    assert float(trained.fold.bias.abs().max()) == 0.0  # type: ignore[union-attr]
    assert float(trained.ground_mean.abs().max()) > 0.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"family": "siamese"}, "closed form"),
        ({"model": {"backbone": "test_resnet", "tile_px": 64}}, "closed form"),
        ({"mapping": "none", "turn_deg": 0.0, "narrow_share": 0.0}, "closed form"),
        ({"head_pairs": -1}, "head_pairs"),
        ({"start": "compact"}, "not with both"),
    ],
)
def test_heads_that_cannot_be_found_are_refused(
    change: dict[str, Any], named: str, pairs_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SmdtError, match=named) as refused:
        RetrievalTrainer(_settings(tmp_path, pairs_folder, **change))
    assert isinstance(refused.value, ConfigError)
