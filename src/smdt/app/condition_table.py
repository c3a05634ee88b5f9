"""The figures of conditions as rows of a table, each with its interval: on the terminal and on pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from smdt.evaluate import Condition
from smdt.retrieval.intervals import Interval, Intervals


@dataclass(frozen=True)
class Cell:
    """A figure as it is written, and its interval, blank where there is none."""

    figure: str
    interval: str = ""


@dataclass(frozen=True)
class ConditionTable:
    """Rows of cells under names; what no condition has is left out."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


_ABSENT = Cell("–")
_METRES = {"median m off": "median_m", "mean m off": "mean_m", "≤ 25 m %": "within_25_m"}
_HEADINGS = {
    "heading median °": "median_deg",
    "heading mean °": "mean_deg",
    "heading ≤ 5° %": "within_5_deg",
}


def condition_table(conditions: Sequence[Condition]) -> ConditionTable:
    """All figures of conditions, one a row."""
    rows = [_row(condition) for condition in conditions]
    names = [name for name in rows[0] if any(row[name] != _ABSENT for row in rows)]
    return ConditionTable(tuple(names), tuple(tuple(row[name] for name in names) for row in rows))


def _row(condition: Condition) -> dict[str, Cell]:
    cells = {
        "view": Cell(f"{condition.field_of_view_deg:g}°"),
        "heading": Cell("known" if condition.heading_known else "unknown"),
    }
    cells |= {
        name: Cell(f"{value:.2f}", interval_text(condition.recall_intervals[name]))
        for name, value in condition.recalls.items()
    }
    for name, key in _METRES.items():
        cells[name] = _cell(condition.metres, condition.metres_intervals, key)
    for name, key in _HEADINGS.items():
        cells[name] = _cell(condition.heading, condition.heading_intervals, key)
    return cells


def _cell(figures: Mapping[str, float], intervals: Intervals, key: str) -> Cell:
    if key not in figures:
        return _ABSENT
    return Cell(_number(figures[key]), interval_text(intervals[key]))


def interval_text(interval: Interval) -> str:
    """An interval as tables write it: ``81.0–87.1``."""
    return f"{_number(interval.low)}–{_number(interval.high)}"


def _number(value: float) -> str:
    """One decimal below a hundred, none from there on."""
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def print_condition_table(conditions: Sequence[Condition], title: str) -> None:
    """Print the table: figures, with their intervals under them."""
    from rich.table import Table

    from smdt.app.tables import console

    table, out = condition_table(conditions), console()
    shown = Table(
        title=title,
        title_justify="left",
        box=None,
        caption="below each figure: its 95 % interval over queries (bootstrap)",
        caption_justify="left",
        padding=(0, 2 if out.width > 128 else 1, 0, 0),
    )
    for name in table.header:
        shown.add_column(name, justify="right", min_width=max(map(len, name.split())))
    for row in table.rows:
        shown.add_row(*(f"{cell.figure}\n[dim]{cell.interval}[/dim]" for cell in row))
    out.print(shown)


def condition_record(condition: Condition) -> dict[str, Any]:
    """A condition for programs: all figures and intervals, ranks, and what was found for each query."""
    record = asdict(condition)
    for name, programs_name in (
        ("recalls", "recall_percent"),
        ("recall_intervals", "recall_percent_intervals"),
    ):
        record[programs_name] = record.pop(name)
    for name in ("ranks", "best", "found_heading_deg", "score"):
        record[name] = [round(value, 4) for value in record.pop(name).tolist()]
    record["metres_off"] = [
        round(value, 2) if math.isfinite(value) else None for value in record["metres_off"].tolist()
    ]
    return record


def centres_text(centres: int) -> str:
    """From how many points tiles are seen, in words."""
    return "their middle" if centres == 1 else f"{centres} points each, a soft maximum of which counts"
