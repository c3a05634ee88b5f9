"""The page of a TownBench result: its figures, what is taken for what, and pictures of the worst misses."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import smdt
from smdt.app.report import metres_text
from smdt.errors import SmdtError
from smdt.files import write_text_whole
from smdt.townbench import NEAR_MISS_M, Condition, TownBenchResult
from smdt.world.pair_plan import PairPlan
from smdt.world.pairs import pair_files, read_pair_facts
from smdt.world.places import KINDS

HEADER = ("field of view", "heading", "R@1", "R@5", "R@10", "R@1%", "median off", "≤ 25 m %", "heading off °")


def figures_of(condition: Condition) -> tuple[str, ...]:
    """A condition as the row of a table whose columns are ``HEADER``; the heading's error is a median."""
    off = f"{condition.heading['median_deg']:.1f}" if condition.heading else "–"
    return (
        f"{condition.field_of_view_deg:g}°",
        "known" if condition.heading_known else "unknown",
        *(f"{value:.2f}" for value in condition.recalls.values()),
        metres_text(condition.metres["median_m"]),
        f"{condition.metres['within_25_m']:.1f}",
        off,
    )


def hardest_full_view(conditions: Sequence[Condition]) -> Condition:
    """The widest view with the heading unknown: the condition that is looked into."""
    return max(conditions, key=lambda one: (one.field_of_view_deg, not one.heading_known))


def write_benchmark_page(path: Path, result: TownBenchResult, folder: Path, plan: PairPlan) -> None:
    """Write a result as one HTML file that opens without a network.

    Args:
        path: the file.
        result: what came out.
        folder: of the pairs, for the pictures.
        plan: of the pairs.

    Raises:
        SmdtError: if the file cannot be written, or a pair's picture not read.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    looked_into = hardest_full_view(result.conditions)
    facts = result.facts
    page = environment.from_string(_resource("benchmark.html.j2")).render(
        title=f"{facts['benchmark']}: model '{facts['model']}'",
        subtitle=f"{facts['queries']} street views among {facts['references']} aerial tiles of simulated places that "
        "no training has seen. Never to be set beside results on real images without saying so.",
        facts={
            "Model": f"{facts['model']} ({facts['model_fingerprint']})",
            "Cameras": f"{facts['apart_m']:g} m apart or more, up to {facts['offset_up_to_m']:g} m off a tile's centre",
            "Tiles": f"{facts['tile_side_m']:g} m wide",
            "Seed": str(facts["seed"]),
            "Places": "; ".join(f"{place['name']} ({place['pairs']})" for place in facts["places"]),
            "Map data": "; ".join(
                dict.fromkeys(p["attribution"] for p in facts["places"] if "attribution" in p)
            )
            or "none",
        },
        header=HEADER,
        rows=[figures_of(condition) for condition in result.conditions],
        tables=_tables(looked_into),
        misses_note=f"At {_name(looked_into)}, worst first. A panorama's middle looks north, as does a tile's top.",
        misses=_misses(looked_into, folder, read_pair_facts(folder, plan)),
        version=smdt.__version__,
        style=Markup(_resource("report.css")),
    )
    write_text_whole(path, page)


def _name(condition: Condition) -> str:
    return f"{condition.field_of_view_deg:g}°, heading {'known' if condition.heading_known else 'unknown'}"


def _tables(condition: Condition) -> list[dict[str, Any]]:
    """Recall by kind of place, and what was taken for what."""
    by_kind = [(kind, f"{row['queries']:g}", f"{row['R@1']:.2f}") for kind, row in condition.by_kind.items()]
    found = [kind for kind in KINDS if any(kind in row for row in condition.confused.values())]
    confused = [
        (kind, *(str(row.get(other, 0)) for other in found)) for kind, row in condition.confused.items()
    ]
    return [
        {
            "title": "By kind of place",
            "note": f"At {_name(condition)}.",
            "header": ("kind of place", "queries", "R@1"),
            "rows": by_kind,
        },
        {
            "title": "Taken for what",
            "note": f"Queries that were not found, by their kind of place (rows) and that of the tile that came first "
            f"(columns). {condition.near_miss_percent:.0f} % of these tiles lie within {NEAR_MISS_M:g} m.",
            "header": ("not found", *found),
            "rows": confused,
        },
    ]


def _misses(condition: Condition, folder: Path, facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    shown = []
    for miss in condition.worst:
        own, found = facts[miss.query], facts[miss.found]
        pictures = pair_files(folder, int(own["id"]), labels=False)
        shown.append(
            {
                "id": own["id"],
                "place": own["place"],
                "kind": own["kind"],
                "rank": miss.rank,
                "metres": metres_text(miss.metres),
                "found_id": found["id"],
                "found_kind": found["kind"],
                "query": _jpeg_uri(pictures["ground"]),
                "own": _jpeg_uri(pictures["aerial"]),
                "found": _jpeg_uri(pair_files(folder, int(found["id"]), labels=False)["aerial"]),
            }
        )
    return shown


def _jpeg_uri(path: Path) -> str:
    """A JPEG file as a data URI."""
    try:
        return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    except OSError as error:
        raise SmdtError(
            f"cannot be read ({error.strerror})", where=path, remedy="write the pairs again"
        ) from error


def _resource(name: str) -> str:
    return files("smdt").joinpath("app", "web", name).read_text(encoding="utf-8")
