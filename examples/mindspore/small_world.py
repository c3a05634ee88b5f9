"""A small simulated data set in CVUSA's layout, for the examples."""

from __future__ import annotations

from pathlib import Path

from smdt.world.pair_plan import PairSetConfig
from smdt.world.pairs import write_pairs
from smdt.world.places import TownPlace


def write_small_world(folder: Path, pairs: int = 40, val_share: float = 0.5) -> Path:
    """Write pairs of one simulated town: aerial images of 256 pixels and panoramas of 64×352.

    Args:
        folder: made where it is missing.
        pairs: to train and to evaluate on.
        val_share: how many of them to evaluate on.
    """
    config = PairSetConfig(
        pairs, aerial_px=256, height_px=64, width_px=352, apart_m=15.0, val_share=val_share, labels=False
    )
    write_pairs(folder, [TownPlace(100, 500.0, pixel_m=0.5)], config)
    return folder
