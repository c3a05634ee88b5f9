"""The page of an evaluation: its figures, recall over K as a curve, and pictures of hits and misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

import smdt
from smdt.app.condition_table import centres_text, condition_table, interval_text
from smdt.app.report import compass_scale, data_uri, metres_text
from smdt.data.images import PairImages, ViewSettings
from smdt.data.pairs import PairSplit
from smdt.evaluate import Condition, Evaluation
from smdt.files import write_text_whole
from smdt.geometry.angles import angular_error
from smdt.retrieval.set_embedding import narrow_panoramas, turn_panoramas

HITS_SHOWN, MISSES_SHOWN, TURNED_SHOWN = 6, 8, 6
WRONG_HEADING_DEG = 5.0
"""A hit whose heading is off by more than this is shown as one whose heading went wrong."""

_PANORAMA_PX, _TILE_PX, _QUALITY = 720, 224, 74
_UNSEEN = 0.22
_CURVE_POINTS = 120
_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Frame:
    """The drawing area of the curve, in units of its view box."""

    left: float = 46.0
    right: float = 640.0
    top: float = 12.0
    bottom: float = 268.0


def write_evaluation_page(path: Path, result: Evaluation, split: PairSplit, views: ViewSettings) -> None:
    """Write an evaluation as one HTML file that opens without a network.

    Args:
        path: the file.
        result: what came out.
        split: what was evaluated, for the pictures.
        views: how the model was shown the pictures; tells the panoramas' elevations.

    Raises:
        DatasetError: if a picture cannot be read any more.
        SmdtError: if the file cannot be written.
    """
    looked_into = widest_unknown(result.conditions)
    pictures = _Pictures(result, split, views, looked_into)
    facts = result.facts
    page = render_figures(
        "evaluation.html.j2",
        title=f"{str(facts['dataset']).upper()} {facts['split']}: model '{facts['model']}'",
        subtitle=_subtitle(result),
        simulated=facts["simulated"],
        summary=summary_of(looked_into),
        facts=_facts(result),
        table=condition_table(result.conditions),
        curve=recall_curve(result.conditions, result.references),
        looked_into=looked_into.name,
        sections=_sections(looked_into, result, pictures),
    )
    write_text_whole(path, page)


def render_figures(template: str, **values: Any) -> str:
    """A page of figures from its template in ``app/web``: one HTML file with its style inside."""
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup(_resource("report.css") + _resource("figures.css"))
    return environment.get_template(template).render(version=smdt.__version__, style=style, **values)


Chosen = TypeVar("Chosen", bound=Condition)


def widest_unknown(conditions: Sequence[Chosen]) -> Chosen:
    """The widest view, with the heading unknown if that was judged: the condition that is looked into."""
    return max(conditions, key=lambda one: (one.field_of_view_deg, not one.heading_known))


def recall_curve(conditions: Sequence[Condition], references: int) -> dict[str, Any]:
    """Recall over K as the polylines of an SVG, with ticks; K runs from 1 to the gallery's size on a log scale.

    Returns:
        ``frame``, ``lines`` (name, ``class`` by view, ``dashed`` where the heading is unknown, ``points``), ``ks`` and
        ``shares`` (ticks: ``at``, ``label``), and ``percent_at``, where K is 1 % of the gallery.
    """
    frame, last = _Frame(), max(references, 2)

    def across(k: float) -> float:
        return frame.left + (frame.right - frame.left) * math.log(k) / math.log(last)

    def up(share: float) -> float:
        return frame.bottom - (frame.bottom - frame.top) * share

    ks = np.unique(np.geomspace(1, last, _CURVE_POINTS).round().astype(np.int64))
    views = sorted({one.field_of_view_deg for one in conditions}, reverse=True)
    lines = []
    for one in conditions:
        ordered = np.sort(one.ranks.numpy())
        shares = np.searchsorted(ordered, ks, side="left") / len(ordered)  # found at K: ranks below K
        lines.append(
            {
                "name": one.name,
                "class": f"view-{views.index(one.field_of_view_deg) % 4}",
                "dashed": not one.heading_known,
                "points": " ".join(
                    f"{across(k):.1f},{up(s):.1f}" for k, s in zip(ks.tolist(), shares.tolist(), strict=True)
                ),
            }
        )
    ticks = [step * 10**power for power in range(8) for step in (1, 2, 5) if step * 10**power <= last]
    if len(ticks) > 10:
        ticks = [tick for tick in ticks if str(tick)[0] == "1"]
    return {
        "frame": frame,
        "lines": lines,
        "ks": [{"at": round(across(k), 1), "label": f"{k:,}"} for k in ticks],
        "shares": [{"at": round(up(s / 100), 1), "label": f"{s} %"} for s in (0, 25, 50, 75, 100)],
        "percent_at": round(across(max(1, references // 100)), 1),
    }


def _subtitle(result: Evaluation) -> str:
    text = f"{result.queries:,} street panoramas among {result.references:,} aerial images"
    if result.facts["simulated"]:
        text += " of simulated places. Never to be set beside results on real images without saying so"
    return text + "."


def summary_of(condition: Condition) -> list[dict[str, str]]:
    """The figures at the top of the page."""
    shown = [
        {
            "name": "R@1",
            "value": f"{condition.recalls['R@1']:.1f} %",
            "interval": interval_text(condition.recall_intervals["R@1"]),
        }
    ]
    if condition.metres:
        interval = condition.metres_intervals["median_m"]
        shown.append(
            {
                "name": "median off",
                "value": metres_text(condition.metres["median_m"]),
                "interval": f"{metres_text(interval.low)} – {metres_text(interval.high)}",
            }
        )
    if condition.heading:
        shown.append(
            {
                "name": "heading ≤ 5°",
                "value": f"{condition.heading['within_5_deg']:.1f} %",
                "interval": interval_text(condition.heading_intervals["within_5_deg"]),
            }
        )
    return shown


def _facts(result: Evaluation) -> dict[str, str]:
    facts = result.facts
    radius_m = facts["hit_radius_m"]
    hit = f"any reference within {radius_m} m" if radius_m else "the query's own reference"
    if facts["semi_positives"]:
        hit += "; semi-positives count neither way"
    return {
        "Model": f"{facts['model']} ({facts['model_fingerprint']})",
        "Mapping": str(facts["mapping"]),
        "A hit is": hit,
        "Scored": f"the {facts['shortlist']} nearest by rotation-free key"
        if facts["shortlist"]
        else "all references",
        "Tiles are seen from": centres_text(int(facts["centres"] or 1)),
        "Left out": f"{facts['left_out']} pairs without a picture" if facts["left_out"] else "nothing",
        "Seed": str(facts["seed"]),
    }


def _sections(condition: Condition, result: Evaluation, pictures: _Pictures) -> list[dict[str, Any]]:
    """The groups of pictures: which queries, and what they show."""
    ranks, own = condition.ranks.numpy(), pictures.own
    hits, missed = (
        np.flatnonzero((ranks == 0) & (own >= 0)),
        np.flatnonzero((ranks > 0) & (condition.best.numpy() >= 0)),
    )
    surest = hits[np.argsort(-condition.score.numpy()[hits], kind="stable")][:HITS_SHOWN]
    worst = missed[np.argsort(-ranks[missed], kind="stable")][:MISSES_SHOWN]
    finds_heading = bool(condition.found_heading_deg.numel())
    sections = [
        {
            "title": "The surest hits",
            "note": "Found first, with the highest scores.",
            "none": "None: no query was found first.",
            "key": finds_heading,
            "cards": [pictures.card(query, both=False) for query in surest],
        },
        {
            "title": "The worst misses",
            "note": "The most references came before the true one.",
            "none": "None: every query was found first.",
            "key": False,
            "cards": [pictures.card(query, both=True) for query in worst],
        },
    ]
    if finds_heading:
        off = angular_error(condition.found_heading_deg.numpy()[hits], result.heading_deg[hits])
        order = np.argsort(-off, kind="stable")
        turned = hits[order][off[order] > WRONG_HEADING_DEG]
        sections.append(
            {
                "title": "Right place, wrong heading",
                "note": f"{len(turned)} of {len(hits)} hits have a heading more than {WRONG_HEADING_DEG:g}° off; the "
                "worst are shown.",
                "key": False,
                "none": f"None: every heading found is within {WRONG_HEADING_DEG:g}°.",
                "cards": [pictures.card(query, both=False) for query in turned[:TURNED_SHOWN]],
            }
        )
    return sections


class _Pictures:
    """Makes cards of queries: what the model saw, what came first, and the truth."""

    def __init__(
        self, result: Evaluation, split: PairSplit, views: ViewSettings, condition: Condition
    ) -> None:
        reach_deg = views.elevation_deg or split.elevation_deg
        shown = replace(
            views,
            width_px=_PANORAMA_PX,
            height_px=max(1, round(_PANORAMA_PX * 2.0 * reach_deg / 360.0)),
            mapping="none",
            aerial_side_px=_TILE_PX,
            use_polarmap=False,
            aerial_input="mapped",
        )
        self.panoramas, self.tiles = PairImages(split, "query", shown), PairImages(split, "reference", shown)
        self.result, self.split, self.condition = result, split, condition
        self.own: _Numbers = np.asarray(split.positive)

    def card(self, query: int, *, both: bool) -> dict[str, Any]:
        """What the page shows of a query; with ``both`` the truth stands beside what came first."""
        condition, query = self.condition, int(query)
        true_deg = 0.0 if condition.heading_known else float(self.result.heading_deg[query])
        found_deg = None
        if condition.found_heading_deg.numel():
            found_deg = float(condition.found_heading_deg[query])
        best, own = int(condition.best[query]), int(self.own[query])
        metres = condition.metres_off[query] if condition.metres_off.size else math.nan
        readings = {"query": self.split.queries[query].id, "score": f"{float(condition.score[query]):.2f}"}
        if both:
            readings["before the truth"] = f"{int(condition.ranks[query]):,} references"
        if math.isfinite(metres):
            readings["off"] = metres_text(float(metres))
        if found_deg is not None:
            readings["heading off"] = f"{float(angular_error(found_deg, true_deg)):.0f}°"
        tiles = [self._tile(best, *((true_deg, found_deg) if best == own else (None, None)))]
        tiles[0]["caption"] = "Came first" if both else "Found"
        if both and own >= 0:
            tiles.append(self._tile(own, None if condition.heading_known else true_deg, found_deg))
            tiles[1]["caption"] = "The truth"
        return {
            "id": self.split.queries[query].id,
            "readings": readings,
            "panorama": data_uri(self._panorama(query, true_deg), _PANORAMA_PX, _QUALITY),
            "scale": compass_scale(true_deg, 360.0),
            "tiles": tiles,
        }

    def _panorama(self, query: int, heading_deg: float) -> Tensor:
        """The panorama with its heading in the centre; what the query does not show is dark."""
        image = self.panoramas[query][0][None]
        columns = np.array([round(heading_deg / 360.0 * image.shape[-1])])
        turned = turn_panoramas(image, columns)
        seen = narrow_panoramas(turned, self.condition.field_of_view_deg)
        return _bytes(torch.maximum(seen, turned * _UNSEEN)[0])

    def _tile(self, reference: int, true_deg: float | None, found_deg: float | None) -> dict[str, Any]:
        known = self.condition.heading_known
        return {
            "picture": data_uri(_bytes(self.tiles[reference][0]), _TILE_PX, _QUALITY),
            "id": self.split.references[reference].id,
            "note": "",
            "true_deg": None if known else true_deg,
            "found_deg": None if known else found_deg,
        }


def _bytes(image: Tensor) -> Tensor:
    """(3, H, W) in [0, 1] as uint8."""
    return (image * 255.0).round().clamp(0, 255).byte()


def _resource(name: str) -> str:
    """A text file of the package's ``app/web`` folder."""
    return files("smdt").joinpath("app", "web", name).read_text(encoding="utf-8")
