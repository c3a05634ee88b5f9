"""What `smdt train smdt` does, behind its options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from smdt.app.condition_table import print_condition_table
from smdt.app.tables import console
from smdt.app.train_commands import passing_bar, training_report
from smdt.config import load_settings
from smdt.errors import ConfigError
from smdt.stages import EVALUATION_FILE, train_stages
from smdt.training.stage_settings import QUICK, StagesConfig


class _Shown:
    """Bars and lines on standard error."""

    def stage(self, name: str, state: str) -> None:
        print(f"{name}: {state}", file=sys.stderr, flush=True)  # noqa: T201

    def training(
        self, name: str, steps: int
    ) -> AbstractContextManager[Callable[[int, dict[str, float]], None]]:
        return training_report(f"training {name}", steps)

    @contextmanager
    def work(self, name: str) -> Iterator[Callable[[int, int], None]]:
        with passing_bar(name) as advance:
            yield advance


def train_all_stages(config: Path | None, quick: bool, options: dict[str, Any]) -> None:
    """Train every stage that is not finished, and print the last table."""
    if quick == (config is not None):
        raise ConfigError(
            "either a config or the quick settings are needed",
            where="--config/--quick",
            remedy="give one of them, such as --config configs/smdt.yaml",
        )
    settings = load_settings(StagesConfig, config, (dict(QUICK) if quick else {}) | _given(options))
    trained = train_stages(settings, _Shown())
    record = trained.record
    if trained.evaluation is not None:
        simulated = ", simulated places" if record["simulated"] else ""
        title = (
            f"{record['dataset']} {record['split']}{simulated}: {record['queries']} queries, "
            f"model '{record['model']}'"
        )
        print_condition_table(trained.evaluation.conditions, title)
    else:
        for name, recalls in record["recalls"].items():
            figures = ", ".join(f"{key} {value:.1f}" for key, value in recalls.items())
            console().print(f"{name}: {figures}")
    console().print(f"model: {trained.model}; figures: {settings.out / EVALUATION_FILE}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
