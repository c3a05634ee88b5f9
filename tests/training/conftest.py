"""Pairs to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smdt.geometry.mapping import aerial_grid, map_aerial


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
