"""The sizes of the comparison at equal budget, and each row's training: what has to be the same, what is its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from smdt.config import load_settings
from smdt.errors import ConfigError
from smdt.training.retrieval_settings import RetrievalTraining

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
OWN = frozenset(
    {
        "out",
        "name",
        "family",
        "model",
        "mapping",
        "strip_channels",
        "height_px",
        "width_px",
        "start",
        "freeze",
    }
    | {
        "pretrained",
        "parts",
        "loss",
        "margin_scale",
        "smoothing",
        "learning_rate",
        "trunk_share",
        "weight_decay",
    }
    | {"turn_deg", "head_steps", "workers", "precision", "accelerator", "resume", "keep_pictures"}
)
"""Settings that may be a row's own; all others have to be the same in all rows."""
RANDOM = "compact-random"


@dataclass(frozen=True)
class Size:
    """A size of the comparison.

    Attributes:
        configs: each row's file.
        pairs: options of `smdt world pairs`.
        steps: of every row.
        batch: pairs a step.
    """

    configs: Mapping[str, str]
    pairs: Mapping[str, Any]
    steps: int
    batch: int


_PAIRS = {"tile_side_m": 160.0, "max_offset_m": 4.0, "apart_m": 10.0, "labels": False, "seed": 0}
_FULL_CONFIGS = {
    "transformer": "transformer-worlds-gpu.yaml",
    "compact": "compact-gpu.yaml",
    RANDOM: "compact-gpu.yaml",
    "safa": "safa-worlds-gpu.yaml",
    "sample4geo": "sample4geo-worlds-gpu.yaml",
}
SIZES = {
    "small": Size(
        {
            "transformer": "transformer-small.yaml",
            "compact": "compact-small.yaml",
            RANDOM: "compact-small.yaml",
            "safa": "safa-small.yaml",
            "sample4geo": "sample4geo-small.yaml",
        },
        _PAIRS
        | {"town_seeds": "500-509", "count": 1300, "val_share": 0.3, "town_side_m": 600.0}
        | {"aerial_px": 160, "height_px": 64},
        steps=120,
        batch=24,
    ),
    "short": Size(
        _FULL_CONFIGS,
        _PAIRS
        | {"town_seeds": "500-515", "count": 1600, "val_share": 0.25, "town_side_m": 700.0, "apart_m": 6.0}
        | {"aerial_px": 256, "height_px": 128},
        steps=120,
        batch=64,
    ),
    "full": Size(
        _FULL_CONFIGS,
        _PAIRS
        | {"town_seeds": "500-739", "count": 44416, "val_share": 0.2, "town_side_m": 700.0}
        | {"aerial_px": 400, "height_px": 144},
        steps=20000,
        batch=64,
    ),
}


def row_settings(
    size: Size, root: Path, out: Path, given: Mapping[str, Any], transformer_start: str | None
) -> dict[str, RetrievalTraining]:
    """Each row's training; the budget and the pairs are those of all.

    Raises:
        ConfigError: if rows differ in what is no row's own.
    """
    rows: dict[str, RetrievalTraining] = {}
    budget = {"dataset": "cvusa", "root": root, "steps": size.steps, "batch": size.batch}
    for name, file in size.configs.items():
        chosen = {**budget, **given, "out": out / name}
        rows[name] = load_settings(RetrievalTraining, CONFIGS / file, chosen)
    if transformer_start is not None:
        start = None if transformer_start == "random" else transformer_start
        rows["transformer"] = replace(rows["transformer"], start=start)
    rows[RANDOM] = replace(rows[RANDOM], name=RANDOM, freeze=(), head_steps=0)
    first = rows["transformer"]
    for name, settings in rows.items():
        for one in fields(settings):
            if one.name not in OWN and getattr(settings, one.name) != getattr(first, one.name):
                raise ConfigError(
                    f"{name} has {getattr(settings, one.name)} where transformer has {getattr(first, one.name)}",
                    where=f"{size.configs[name]}, {one.name}",
                    remedy="an equal budget needs it equal",
                )
    return rows
