"""Pairs to train on, and a training that is stopped half way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.retrieval.models import fingerprint, load_model
from smdt.training.retrieval import train_retrieval
from smdt.training.retrieval_settings import RetrievalTraining


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pairs in the folder layout: smooth random tiles, and the panoramas that polar mapping makes of them."""
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    (root / "ground").mkdir()
    (root / "aerial").mkdir()
    grid = aerial_grid("polar", 64, 64, 128)
    for number in range(10):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
        tile = coarse.resize((64, 64), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(tile).copy()).permute(2, 0, 1)[None]
        mapped = map_aerial(pixels, grid)[0].round().clamp(0, 255).byte()
        tile.save(root / "aerial" / f"p{number}.png")
        Image.fromarray(mapped.permute(1, 2, 0).numpy()).save(root / "ground" / f"p{number}.png")
    return root


@pytest.fixture
def assert_resumes(tmp_path: Path) -> Callable[[RetrievalTraining, int], None]:
    """A check that a training which was stopped in a step, and went on, gives the weights of one that was not."""

    def check(settings: RetrievalTraining, stop_at: int) -> None:
        def stop(step: int, _: dict[str, float]) -> None:
            if step == stop_at:
                raise InterruptedError

        train_retrieval(settings)
        stopped = replace(settings, out=tmp_path / "stopped")
        with pytest.raises(InterruptedError):
            train_retrieval(stopped, stop)
        train_retrieval(replace(stopped, resume=True))
        models = [load_model(str(folder)) for folder in (settings.out, stopped.out)]
        assert fingerprint(models[0]) == fingerprint(models[1])

    return check
