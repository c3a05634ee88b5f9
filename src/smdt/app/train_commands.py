"""What the training commands do, behind their options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smdt.app.commands import parse_seeds
from smdt.app.tables import Advance, console, progress_bar

_SPEED = "/s"


@contextmanager
def training_report(what: str, steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A report for :func:`smdt.training.loop.run`: a bar with speed and time left, and a line where figures are logged.

    Nothing is shown before the first step is told, so that of several processes only the first one shows anything.

    Args:
        what: is trained.
        steps: in all.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(compact=True),
    )
    errors = Console(stderr=True, highlight=False)
    if not errors.is_terminal:
        errors = Console(stderr=True, highlight=False, width=200)
    progress = Progress(*columns, console=errors, transient=True)
    task = progress.add_task(what, total=steps, speed="", visible=True)
    began: list[int] = []

    def report(step: int, figures: dict[str, float]) -> None:
        if not began:
            began.append(step)
            progress.reset(task, total=steps, completed=step - 1)
            progress.start()
        progress.update(task, completed=step)
        if figures:
            speed = [f"{value:.1f} {name}" for name, value in figures.items() if name.endswith(_SPEED)]
            progress.update(task, speed=" ".join(speed))
            line = "  ".join(f"{name} {_shown(value)}" for name, value in figures.items())
            errors.print(f"step {step}/{steps}  {line}")

    try:
        yield report
    finally:
        if began:
            progress.stop()


@contextmanager
def passing_bar(what: str) -> Iterator[Advance]:
    """A bar that comes with the first call and goes with the last one; without a terminal a line at every tenth.

    Args:
        what: is done before the training itself.
    """
    errors = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    progress = Progress(*columns, console=errors, transient=True)
    task = progress.add_task(what, total=None)
    tenths = [0]

    def advance(done: int, total: int) -> None:
        if errors.is_terminal:
            progress.start()
            progress.update(task, completed=done, total=total)
            if done == total:
                progress.stop()
        elif done * 10 // total != tenths[0]:
            tenths[0] = done * 10 // total
            errors.print(f"{what}: {done}/{total}")

    try:
        yield advance
    finally:
        progress.stop()


def _shown(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2e}"


def train_retrieval_model(config: Path | None, options: dict[str, Any]) -> None:
    """Train a retrieval model, with a bar and a line of figures now and then."""
    from smdt.config import load_settings
    from smdt.training.retrieval_settings import RetrievalTraining

    if options["town_seeds"] is not None:
        options["town_seeds"] = parse_seeds(options["town_seeds"])
    settings = load_settings(RetrievalTraining, config, options)

    from smdt.training.processes import process_rank
    from smdt.training.retrieval import train_retrieval

    with (
        passing_bar("reading pairs") as advance,
        training_report(f"training {settings.name}", settings.steps) as report,
    ):
        train_retrieval(settings, report, progress=advance)
    if process_rank() == 0:
        console().print(f"model: {settings.out}")


def make_ground_mean(out: Path, panoramas: int, town_seeds: str, seed: int) -> None:
    """Compute and write the ImageNet model's ground mean."""
    from smdt.retrieval.models import imagenet_model
    from smdt.training.ground_mean import ground_mean, write_ground_mean

    with progress_bar("embedding") as advance:
        model = imagenet_model(with_mean=False).eval()
        mean = ground_mean(model, parse_seeds(town_seeds), panoramas, seed, advance)
    write_ground_mean(mean, out)
    console().print(f"{out}: mean of {panoramas} simulated panoramas")
