"""Tables and progress bars on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from smdt.app.geojson import heading_error_deg, metres_off
from smdt.locate import Located, Truth

Advance = Callable[[int, int], None]


def console() -> Console:
    """Standard output; wide enough for a table when it is not a terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=120)


@contextmanager
def progress_bar(what: str) -> Iterator[Advance]:
    """A bar on standard error, with time left; call what it gives with (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Print names and values."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in facts.items():
        table.add_row(name, value)
    console().print(table)


def print_located(results: Sequence[Located], truths: Sequence[Truth | None]) -> None:
    """One line for each photo: best place, heading, score, confidence, and how far off where that is known."""
    known = any(truths)
    table = Table(title="Where the photos were taken", title_justify="left")
    for name in ("photo", "latitude", "longitude", "heading °", "score", "confidence"):
        table.add_column(name, justify="left" if name == "photo" else "right")
    if known:
        table.add_column("metres off", justify="right")
        table.add_column("heading off °", justify="right")
    for result, truth in zip(results, truths, strict=True):
        best = result.candidates[0]
        row = [
            result.photo.name,
            f"{best.latitude_deg:.6f}",
            f"{best.longitude_deg:.6f}",
            f"{best.heading_deg:.0f}",
            f"{best.score:.3f}",
            f"{result.confidence:.2f}",
        ]
        if truth is not None:
            error = heading_error_deg(best, truth)
            row += [f"{metres_off(best, truth):.1f}", "–" if error is None else f"{error:.1f}"]
        table.add_row(*row)
    console().print(table)
