"""Score a model on a data set by the field's protocol: recalls, metres and heading errors, each with an interval.

References are embedded once, queries once for each field of view and for each of known and unknown headings: with a
known heading panoramas stay as they are, north in the centre; with an unknown one each is turned by a random number of
whole columns first, the same ones at every field of view.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smdt.data.images import PairImages, ViewSettings
from smdt.data.pairs import PairSplit, Query, Reference
from smdt.errors import ConfigError
from smdt.geometry.angles import angular_error, wrap_360
from smdt.geometry.geodesy import distance_m
from smdt.retrieval.aerial_views import ground_view_of
from smdt.retrieval.centres import centres_m, points_a_side
from smdt.retrieval.embedding import embed_mapped
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.intervals import Intervals, error_intervals, recall_intervals, share_interval
from smdt.retrieval.metrics import (
    DISTANCE_LIMITS_M,
    HEADING_LIMITS_DEG,
    error_summary,
    nearby_references,
    recall_at,
)
from smdt.retrieval.models import fingerprint
from smdt.retrieval.ranking import PairsOf
from smdt.retrieval.set_embedding import Loading, Progress, embed_all, embed_queries
from smdt.retrieval.strip_ranking import StripRanking, rank_strips
from smdt.retrieval.strip_scores import ready_references

Floats = npt.NDArray[np.float64]

FIELDS_OF_VIEW_DEG = (360.0, 180.0, 90.0, 70.0)
"""The views that the field reports, widest first."""
HIT_RATE = "hit rate"
"""The name of VIGOR's hit rate among the recalls; see :func:`covering`."""


@dataclass(frozen=True)
class EvaluateConfig:
    """How a model is judged.

    Attributes:
        fields_of_view_deg: what part of the circle queries show, centred on their heading.
        known_heading: judge with north in the centre of every panorama.
        unknown_heading: judge with every panorama turned at random, and let matching find the heading.
        mapping: of the aerial images; the model's own unless given.
        use_polarmap: read the data set's ready-made polar images.
        shortlist: with unknown headings and whole panoramas, score at every turn only so many references, those of the
            nearest rotation-free keys; 0 scores all, as the protocols want it.
        off_centre_m: how far off a tile's centre cameras may stand, east and north each: where that is further than in
            a model's training, a tile is embedded round several points; see :mod:`smdt.retrieval.centres`.
        batch: images embedded at once.
        workers: loader processes.
        seed: of the random headings, and of the intervals' resamples.
    """

    fields_of_view_deg: tuple[float, ...] = (360.0,)
    known_heading: bool = True
    unknown_heading: bool = False
    mapping: str | None = None
    use_polarmap: bool = False
    shortlist: int = 0
    off_centre_m: float = 0.0
    batch: int = 16
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be evaluated."""
        centres_m(1, self.off_centre_m)
        if self.off_centre_m and self.use_polarmap:
            raise ConfigError(
                "ready-made polar images are of a tile's centre alone",
                where="--off-centre-m",
                remedy="leave it out, or --use-polarmap",
            )
        for wide_deg in self.fields_of_view_deg:
            if not 0 < wide_deg <= 360:
                raise ConfigError(
                    f"{wide_deg}° is no field of view", where="--fov-deg", remedy="give 1 to 360"
                )
        if not self.fields_of_view_deg or len(set(self.fields_of_view_deg)) < len(self.fields_of_view_deg):
            raise ConfigError(
                "no field of view is given, or one twice", where="--fov-deg", remedy="give each of them once"
            )
        if not (self.known_heading or self.unknown_heading):
            raise ConfigError("headings are neither known nor unknown", where="--unknown-heading")
        if min(self.workers, self.shortlist, self.seed) < 0 or self.batch < 1:
            raise ConfigError(
                "workers, shortlist and seed cannot be negative, nor a batch empty",
                where="--batch/--workers/--shortlist/--seed",
            )

    @staticmethod
    def full(**options: Any) -> EvaluateConfig:
        """All views of the field, with known and with unknown headings; options are the other attributes."""
        views: dict[str, Any] = {"fields_of_view_deg": FIELDS_OF_VIEW_DEG, "unknown_heading": True}
        return EvaluateConfig(**views | options)


@dataclass(frozen=True, eq=False, kw_only=True)
class Condition:
    """The figures at one field of view, with the heading known or not.

    Attributes:
        field_of_view_deg: what queries see.
        heading_known: whether north is in the centre of what they see, or matching has to find the heading.
        recalls: R@1, R@5, R@10, R@1% in percent; where there are semi-positives the hit rate too.
        recall_intervals: their 95 % intervals.
        metres: from the truth to the reference that came first: median, mean, shares within some metres in percent;
            empty where no place is known.
        metres_intervals: their 95 % intervals.
        heading: errors over the queries found at rank 1: median, mean, shares within some degrees in percent; empty
            where the heading is known, where nothing was found, and for descriptors that find no heading.
        heading_intervals: their 95 % intervals.
        ranks: (Q,) references nearer than the true one.
        best: (Q,) the reference that came first; -1 for a query that has no true one.
        score: (Q,) of the reference that came first.
        found_heading_deg: (Q,) against the query's own reference; empty where none is found.
        metres_off: (Q,) from the truth to the reference that came first, NaN where not known; empty where none is.
    """

    field_of_view_deg: float
    heading_known: bool
    recalls: dict[str, float]
    recall_intervals: Intervals
    metres: dict[str, float]
    metres_intervals: Intervals
    heading: dict[str, float]
    heading_intervals: Intervals
    ranks: Tensor
    best: Tensor
    score: Tensor
    found_heading_deg: Tensor
    metres_off: Floats

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"{self.field_of_view_deg:g}°, heading {'known' if self.heading_known else 'unknown'}"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out.

    Attributes:
        conditions: the figures, each field of view with known headings, then unknown.
        queries: number of queries.
        references: number of references.
        heading_deg: (Q,) where queries look where the heading is unknown.
        facts: what was evaluated, for the record.
    """

    conditions: tuple[Condition, ...]
    queries: int
    references: int
    heading_deg: Floats
    facts: dict[str, str | float | bool | int | None] = field(default_factory=dict)


def evaluate(
    model: Encoder,
    split: PairSplit,
    config: EvaluateConfig | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Embed a split with a model and rank every query's true reference.

    Args:
        model: what embeds.
        split: queries, references and which belong together.
        config: headings, fields of view and mapping.
        progress: called with what is embedded or ranked, how many are done and how many there are.

    Raises:
        DatasetError: if an image is missing or damaged.
    """
    config = config or EvaluateConfig()
    views = view_settings(model, config)
    loading = Loading(config.batch, config.workers, progress)
    side = points_a_side(model.config, config.off_centre_m)
    seen = []
    for centre in centres_m(side, config.off_centre_m):
        tiles = PairImages(split, "reference", replace(views, centre_m=centre), ground_view_of(model))
        seen.append(embed_all(tiles, lambda images, _: embed_mapped(model, images), "aerial images", loading))
    references = ready_references(
        seen[0] if side == 1 else torch.stack(seen, dim=1).flatten(0, 1), remove_mean=model.config.remove_mean
    )
    del seen
    count = len(split.queries)
    turns = np.random.default_rng(config.seed).integers(0, views.width_px, count)
    heading_deg = turns / views.width_px * 360.0
    panoramas = PairImages(split, "query", views)
    places = _Places(split)
    conditions, shortlisted = [], False
    for wide_deg in config.fields_of_view_deg:
        for known in (True, False):
            if not (config.known_heading if known else config.unknown_heading):
                continue
            looks = np.zeros_like(turns) if known else turns
            ranking = rank_strips(
                embed_queries(model, panoramas, looks, wide_deg, loading),
                references,
                true_references(split),
                remove_mean=model.config.remove_mean,
                field_of_view_deg=wide_deg,
                heading_deg=torch.zeros(count) if known else None,
                own=torch.as_tensor(split.positive, dtype=torch.int64),
                ignore=None if split.semi_positives is None else torch.as_tensor(split.semi_positives),
                shortlist=config.shortlist,
                centres=side**2,
                progress=progress,
            )
            shortlisted |= ranking.shortlisted
            off_m = places.metres_off(ranking.best.numpy())
            found = condition_figures(
                ranking, len(references) // side**2, off_m, heading_deg, split.positive, config.seed
            )
            if split.semi_positives is not None:
                covers = covering(ranking.best.numpy(), split.positive, split.semi_positives)
                found["recalls"][HIT_RATE] = 100.0 * float(covers.mean())
                found["recall_intervals"][HIT_RATE] = share_interval(
                    int(covers.sum()), count, seed=config.seed
                )
            conditions.append(Condition(field_of_view_deg=wide_deg, heading_known=known, **found))
    facts = _facts(model, split, config)
    facts |= {"shortlist": config.shortlist if shortlisted else 0}
    facts |= {"off_centre_m": config.off_centre_m, "centres": side**2}
    return Evaluation(tuple(conditions), count, len(references) // side**2, heading_deg, facts)


def view_settings(model: Encoder, config: EvaluateConfig) -> ViewSettings:
    """How the pictures of a data set become what a model takes."""
    settings = model.config
    return ViewSettings(
        height_px=settings.height_px,
        width_px=settings.width_px,
        mapping=config.mapping or settings.mapping,
        aerial_side_px=settings.tile_px,
        use_polarmap=config.use_polarmap,
        aerial_input=settings.aerial_input,
    )


def _facts(
    model: Encoder, split: PairSplit, config: EvaluateConfig
) -> dict[str, str | float | bool | int | None]:
    """What was evaluated."""
    return {
        "dataset": split.dataset,
        "split": split.split,
        "simulated": split.simulated,
        "model": model.config.name,
        "model_fingerprint": fingerprint(model),
        "mapping": "polarmap folder" if config.use_polarmap else (config.mapping or model.config.mapping),
        "aerial_input": model.config.aerial_input,
        "hit_radius_m": split.hit_radius_m,
        "semi_positives": split.semi_positives is not None,
        "left_out": split.left_out,
        "seed": config.seed,
    }


def condition_figures(
    ranking: StripRanking,
    reference_count: int,
    metres_off: Floats,
    true_heading_deg: Floats,
    own: npt.NDArray[np.int64],
    seed: int,
) -> dict[str, Any]:
    """The figures of a ranking, as attributes of a :class:`Condition`.

    Args:
        ranking: what came out.
        reference_count: size of the gallery.
        metres_off: (Q,) from the truth to what came first, NaN where not known; empty where none is.
        true_heading_deg: (Q,) where the queries look.
        own: (Q,) each query's own reference; -1 for none, and then its heading counts for nothing.
        seed: of the intervals' resamples.
    """
    heading: Floats = np.empty(0)
    if ranking.heading_deg.numel():
        hits = (ranking.ranks.numpy() == 0) & (own >= 0)
        heading = angular_error(ranking.heading_deg.numpy()[hits], wrap_360(true_heading_deg[hits]))
    known_m = metres_off[np.isfinite(metres_off)]
    found: dict[str, Any] = {
        "recalls": recall_at(ranking.ranks, reference_count),
        "recall_intervals": recall_intervals(ranking.ranks, reference_count, seed=seed),
        "ranks": ranking.ranks,
        "best": ranking.best,
        "score": ranking.score,
        "found_heading_deg": ranking.heading_deg,
        "metres_off": metres_off,
    }
    for name, errors, unit, limits in (
        ("metres", known_m, "m", DISTANCE_LIMITS_M),
        ("heading", heading, "deg", HEADING_LIMITS_DEG),
    ):
        found[name] = error_summary(errors, unit, limits) if errors.size else {}
        found[f"{name}_intervals"] = error_intervals(errors, unit, limits, seed=seed) if errors.size else {}
    return found


def covering(
    best: npt.NDArray[np.int64], positive: npt.NDArray[np.int64], semi_positives: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether what came first shows the query's place, as its true reference or as a semi-positive of it.

    Its share is VIGOR's hit rate (Zhu, Yang and Chen, VIGOR: Cross-View Image Geo-localization beyond One-to-one
    Retrieval, CVPR 2021), which recalls do not tell: there semi-positives count neither way.

    Args:
        best: (Q,) the reference that came first.
        positive: (Q,) each query's own reference.
        semi_positives: (Q, M), padded with -1.
    """
    shows = np.column_stack([positive, semi_positives])
    covers: npt.NDArray[np.bool_] = ((shows == best[:, None]) & (shows >= 0)).any(axis=1)
    return covers


def true_references(split: PairSplit) -> Tensor | PairsOf:
    """The references that count as found: each query's own, or all within the split's radius of it."""
    if split.hit_radius_m is not None and split.query_xy_m is not None and split.reference_xy_m is not None:
        return nearby_references(split.query_xy_m, split.reference_xy_m, split.hit_radius_m)
    return torch.as_tensor(split.positive, dtype=torch.int64)


class _Places:
    """Where queries and references lie, as far as a data set tells: metres in one plane, or degrees."""

    def __init__(self, split: PairSplit) -> None:
        self.xy_m = None
        if split.query_xy_m is not None and split.reference_xy_m is not None:
            self.xy_m = split.query_xy_m, split.reference_xy_m
        self.query_deg, self.reference_deg = _positions(split.queries), _positions(split.references)

    def metres_off(self, best: npt.NDArray[np.int64]) -> Floats:
        """Metres (Q,) from each query to the reference that came first, NaN where not known; empty where none is."""
        there = best >= 0
        off = np.full(len(best), np.nan)
        if self.xy_m is not None:
            off[there] = np.hypot(*(self.xy_m[0][there] - self.xy_m[1][best[there]]).T)
        else:
            there &= np.isfinite(self.query_deg).all(axis=1) & np.isfinite(self.reference_deg[best]).all(
                axis=1
            )
            off[there] = distance_m(*self.query_deg[there].T, *self.reference_deg[best[there]].T)
        return off if np.isfinite(off).any() else np.empty(0)


def _positions(entries: tuple[Query, ...] | tuple[Reference, ...]) -> Floats:
    """Latitude and longitude (N, 2) in degrees, NaN where not known."""
    missing = float("nan")
    return np.array(
        [
            (missing, missing)
            if one.latitude is None or one.longitude is None
            else (one.latitude, one.longitude)
            for one in entries
        ]
    )
