"""The page of a TownBench result: its figures, what is taken for what, and pictures of the worst misses."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smdt.app.condition_table import Cell, ConditionTable, centres_text, condition_table, interval_text
from smdt.app.evaluation_page import recall_curve, render_figures, summary_of, widest_unknown
from smdt.app.report import compass_scale, metres_text
from smdt.errors import SmdtError
from smdt.files import write_text_whole
from smdt.townbench import NEAR_MISS_M, PANORAMA_PX, TILE_PX, TownBenchResult, TownCondition
from smdt.world.pair_plan import PairPlan
from smdt.world.pairs import pair_files, read_pair_facts
from smdt.world.places import KINDS


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
    looked_into = widest_unknown(result.conditions)
    facts = result.facts
    page = render_figures(
        "benchmark.html.j2",
        title=f"{facts['benchmark']}: model '{facts['model']}'",
        subtitle=f"{facts['queries']:,} street views among {facts['references']:,} aerial tiles of simulated places "
        "that no training has seen. Never to be set beside results on real images without saying so.",
        simulated=True,
        summary=summary_of(looked_into),
        looked_into=looked_into.name,
        facts={
            "Model": f"{facts['model']} ({facts['model_fingerprint']})",
            "Cameras": f"{facts['apart_m']:g} m apart or more, up to {facts['offset_up_to_m']:g} m off a tile's centre",
            "Tiles": f"{facts['tile_side_m']:g} m wide, seen from {centres_text(facts['centres'])}",
            "Seed": str(facts["seed"]),
            "Places": "; ".join(f"{place['name']} ({place['pairs']})" for place in facts["places"]),
            "Map data": "; ".join(
                dict.fromkeys(p["attribution"] for p in facts["places"] if "attribution" in p)
            )
            or "none",
        },
        table=condition_table(result.conditions),
        curve=recall_curve(result.conditions, facts["references"]),
        by_kind=_by_kind(looked_into),
        confusion=_confusion(looked_into),
        near_misses=f"{looked_into.near_miss_percent:.0f} % of these tiles lie within {NEAR_MISS_M:g} m of the query.",
        misses=_misses(looked_into, folder, read_pair_facts(folder, plan)),
    )
    write_text_whole(path, page)


def _by_kind(condition: TownCondition) -> ConditionTable:
    """Recall by kind of place."""
    rows = tuple(
        (
            Cell(kind),
            Cell(f"{row['queries']:g}"),
            Cell(f"{row['R@1']:.2f}", interval_text(condition.by_kind_intervals[kind])),
        )
        for kind, row in condition.by_kind.items()
    )
    return ConditionTable(("kind of place", "queries", "R@1"), rows)


def _confusion(condition: TownCondition) -> dict[str, Any]:
    """How many of each kind were taken for each kind, and how much of its row each makes, for a shade."""
    found = [kind for kind in KINDS if any(kind in row for row in condition.confused.values())]
    rows = [
        {
            "kind": kind,
            "cells": [
                (row.get(other, 0), round(row.get(other, 0) / sum(row.values()), 2)) for other in found
            ],
        }
        for kind, row in condition.confused.items()
    ]
    return {"header": found, "rows": rows}


def _misses(
    condition: TownCondition, folder: Path, facts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Cards of the worst misses."""
    shown = []
    for miss in condition.worst:
        own, found = facts[miss.query], facts[miss.found]
        pictures = pair_files(folder, int(own["id"]), labels=False)
        others = pair_files(folder, int(found["id"]), labels=False)
        tiles = [
            {
                "picture": _picture(others["aerial"], TILE_PX),
                "caption": "Came first",
                "id": found["id"],
                "note": found["kind"],
            },
            {
                "picture": _picture(pictures["aerial"], TILE_PX),
                "caption": "The truth",
                "id": own["id"],
                "note": own["kind"],
            },
        ]
        shown.append(
            {
                "id": own["id"],
                "panorama": _picture(pictures["ground"], *PANORAMA_PX),
                "scale": compass_scale(0.0, 360.0),
                "tiles": [tile | {"true_deg": None, "found_deg": None} for tile in tiles],
                "readings": {
                    "place": own["place"],
                    "before the truth": f"{miss.rank:,} references",
                    "off": metres_text(miss.metres),
                },
            }
        )
    return shown


def _picture(path: Path, width: int, height: int | None = None) -> dict[str, Any]:
    """A JPEG file as the cards take pictures; square unless a height is given."""
    return {"uri": _jpeg_uri(path), "width": width, "height": width if height is None else height}


def _jpeg_uri(path: Path) -> str:
    """A JPEG file as a data URI."""
    try:
        return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    except OSError as error:
        raise SmdtError(
            f"cannot be read ({error.strerror})", where=path, remedy="write the pairs again"
        ) from error
