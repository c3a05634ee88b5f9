"""TownBench: how well a model finds street views among aerial tiles, on simulated places that no training may see.

Nine towns, one of each style, with seeds that are held out (``HELD_OUT_SEEDS``), and one real place drawn from
OpenStreetMap where its extract is at hand. 8,884 pairs, as many as CVUSA's evaluation has, stand as close as 10 m to
each other around the middle of each place, so that the nearest neighbours of a reference are near misses. The two
views of a pair are of different days. The camera is off its tile's centre by up to 4 m east and north each.

Pairs are written as a data set in CVUSA's layout and read back by the readers that all data sets go through, so
several models are judged on the same bytes, and ranking is the one of ``smdt evaluate``. Results are of simulated
places, and never to be set beside those of CVUSA without saying so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smdt.data import open_split
from smdt.data.images import PairImages, ViewSettings
from smdt.data.pairs import PairSplit
from smdt.errors import ConfigError
from smdt.evaluate import FIELDS_OF_VIEW_DEG, Condition, condition_figures
from smdt.geometry.geodesy import distance_m
from smdt.retrieval.centres import centres_m, points_a_side
from smdt.retrieval.embedding import embed_aerial, tile_side_m
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.intervals import Intervals, share_interval
from smdt.retrieval.models import fingerprint
from smdt.retrieval.set_embedding import Loading, Progress, embed_all, embed_queries
from smdt.retrieval.strip_ranking import StripRanking, rank_strips
from smdt.retrieval.strip_scores import ready_references
from smdt.world.layers import Place
from smdt.world.pair_plan import PairPlan, PairSetConfig
from smdt.world.pairs import read_pair_facts, write_pairs
from smdt.world.places import KINDS, OsmPlace, PlaceSource, StoredPlace, TownPlace, held_out_by

VERSION = 3
"""Results of different versions are not to be compared: their places or pictures differ."""
PAIRS, QUICK_PAIRS = 8884, 1000
STYLES_BY_SEED = {
    2023: "suburb",
    2024: "rural",
    2025: "organic",
    2026: "grid",
    2027: "forest",
    2028: "farmland",
    2029: "highrise",
    2030: "radial",
    2031: "coast",
}
"""The towns judged on: every style once, each with a seed that is held out from training."""
TOWN_SIDE_M, QUICK_TOWN_SIDE_M = 1400.0, 800.0
FIRST_LONGITUDE_DEG, LONGITUDE_STEP_DEG = -30.5, -0.5
"""The towns lie about 40 km apart in the open Atlantic, so that a distance between two of them says they are two."""
APART_M, MAX_OFFSET_M, NEAR_MISS_M = 10.0, 4.0, 50.0
WORST_SHOWN = 12
TILE_PX, PANORAMA_PX = 544, (704, 128)
"""Side of the aerial tiles; width and height of the panoramas."""


@dataclass(frozen=True)
class TownBenchConfig:
    """What is judged on, and how; ``pairs``, ``town_side_m`` or another seed make it a trial, and results say so.

    Attributes:
        quick: smaller towns of the same seeds and styles, with 1,000 pairs.
        pairs: another number of pairs.
        seed: of positions, days, cameras and headings.
        osm: an extract (.osm.pbf) or a stored place in an area that is held out; it then gives its share of the pairs.
        fields_of_view_deg: what queries see.
        town_side_m: another side of the towns.
        batch: images embedded at once.
        workers: processes that render and load.
        centres: points along a side of the grid round which a reference is embedded; None: as the model wants, see
            :func:`smdt.retrieval.centres.points_a_side`.
    """

    quick: bool = False
    pairs: int | None = None
    seed: int = 0
    osm: Path | None = None
    fields_of_view_deg: tuple[float, ...] = FIELDS_OF_VIEW_DEG
    town_side_m: float | None = None
    batch: int = 16
    workers: int = 0
    centres: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        centres_m(1 if self.centres is None else self.centres, MAX_OFFSET_M)
        if (self.pairs is not None and self.pairs < 2) or self.batch < 1 or self.workers < 0 or self.seed < 0:
            raise ConfigError(
                f"{self.pairs} pairs in batches of {self.batch} with {self.workers} workers and seed {self.seed} "
                "cannot be judged",
                where="--pairs/--batch/--workers/--seed",
                remedy="give 2 pairs or more, a batch of 1 or more, and no negative number",
            )

    def loading(self, progress: Progress | None) -> Loading:
        """How pictures are loaded."""
        return Loading(self.batch, self.workers, progress)

    @property
    def name(self) -> str:
        """TownBench where all is as it should be; else with what is not."""
        if self.pairs is not None or self.town_side_m is not None or self.seed:
            return f"TownBench {VERSION} trial"
        return f"TownBench {VERSION}" + (" quick" if self.quick else "")

    def places(self) -> list[PlaceSource]:
        """Where the pairs are taken."""
        side_m = self.town_side_m or (QUICK_TOWN_SIDE_M if self.quick else TOWN_SIDE_M)
        towns: list[PlaceSource] = [
            TownPlace(
                seed, side_m, style=style, longitude_deg=FIRST_LONGITUDE_DEG + number * LONGITUDE_STEP_DEG
            )
            for number, (seed, style) in enumerate(STYLES_BY_SEED.items())
        ]
        if self.osm is None:
            return towns
        return [*towns, StoredPlace(self.osm) if self.osm.is_dir() else OsmPlace(self.osm)]

    def pair_set(self) -> PairSetConfig:
        """How the pairs are drawn."""
        return PairSetConfig(
            count=self.pairs or (QUICK_PAIRS if self.quick else PAIRS),
            seed=self.seed,
            aerial_px=TILE_PX,
            height_px=PANORAMA_PX[1],
            width_px=PANORAMA_PX[0],
            max_offset_m=MAX_OFFSET_M,
            apart_m=APART_M,
            val_share=1.0,
            dense=True,
            labels=False,
        )


@dataclass(frozen=True)
class Miss:
    """A query that was not found.

    Attributes:
        query: its number.
        found: number of the reference that came first instead.
        rank: references nearer than the true one.
        metres: from the query to the centre of the found tile.
    """

    query: int
    found: int
    rank: int
    metres: float


@dataclass(frozen=True, eq=False, kw_only=True)
class TownCondition(Condition):
    """The figures at one field of view, with the heading known or not, and what was taken for what.

    ``metres`` holds ``other_place_percent`` besides: the share of queries for which what came first lies in another
    town.

    Attributes:
        by_kind: for each kind of place: ``queries`` and R@1 in percent.
        by_kind_intervals: the 95 % intervals of R@1.
        confused: of queries not found: their kind, to the kind of what came first instead, to how many.
        near_miss_percent: of queries not found, those where what came first lies within 50 m.
        worst: the queries missed by most, worst first.
    """

    by_kind: dict[str, dict[str, float]]
    by_kind_intervals: Intervals
    confused: dict[str, dict[str, int]]
    near_miss_percent: float
    worst: tuple[Miss, ...]


@dataclass(frozen=True)
class TownBenchResult:
    """All that came out.

    Attributes:
        facts: what was judged, on what, for the record.
        conditions: the figures, in the order they were made.
        seconds: what each step took.
    """

    facts: dict[str, Any]
    conditions: tuple[TownCondition, ...]
    seconds: dict[str, float]


def require_held_out(place: Place) -> None:
    """Refuse places that training may have seen.

    Raises:
        ConfigError: naming the place.
    """
    if held_out_by(place) is None:
        raise ConfigError(
            "this place is not held out from training, so finding photos in it shows nothing",
            where=place.name,
            remedy="judge on held-out towns and areas only; see smdt.world.places.HELD_OUT_AREAS",
        )


def write_townbench(folder: Path, config: TownBenchConfig, progress: Progress | None = None) -> PairPlan:
    """Render the pairs into a folder, or what is missing of them there.

    Raises:
        ConfigError: if a place is not held out, or has too little room.
        DatasetError: if the folder holds other pairs.
    """
    places, pairs = config.places(), config.pair_set()
    return write_pairs(
        folder, places, pairs, workers=config.workers, check=require_held_out, progress=progress
    )


def run_townbench(
    model: Encoder, folder: Path, config: TownBenchConfig | None = None, progress: Progress | None = None
) -> TownBenchResult:
    """Judge a model: render the pairs unless they are there, embed every picture once a field of view, rank.

    Args:
        model: what embeds.
        folder: holds the pairs, in CVUSA's layout; made and filled where it is not.
        config: what is judged on.
        progress: called with what is done, how much of it is done, and how much there is.
    """
    config = config or TownBenchConfig()
    clock = _Clock()
    plan = write_townbench(folder, config, progress)
    truth = _Truth.read(folder, plan)
    clock.stop("render")
    split = open_split("cvusa", folder, "val")
    side = config.centres or points_a_side(model.config, MAX_OFFSET_M)
    references = ready_references(
        _embed_tiles(model, split, config, centres_m(side, MAX_OFFSET_M), progress),
        remove_mean=model.config.remove_mean,
    )
    clock.stop("embed references")
    count, width_px = len(split.queries), model.config.width_px
    turns = np.random.default_rng([config.seed, 8884]).integers(0, width_px, count)
    truth = replace(truth, heading_deg=turns / width_px * 360.0)
    panoramas = PairImages(split, "query", ViewSettings(model.config.height_px, width_px, mapping="none"))
    conditions = []
    for wide_deg in config.fields_of_view_deg:
        queries = embed_queries(model, panoramas, turns, wide_deg, config.loading(progress))
        turned_back = queries
        if not model.finds_heading:  # its descriptors cannot be turned by a known heading any more
            turned_back = embed_queries(
                model, panoramas, turns, wide_deg, config.loading(progress), north_up=True
            )
        clock.stop("embed queries")
        for known in (True, False):
            ranking = rank_strips(
                turned_back if known else queries,
                references,
                torch.arange(count),
                remove_mean=model.config.remove_mean,
                field_of_view_deg=wide_deg,
                heading_deg=torch.from_numpy(truth.heading_deg).float() if known else None,
                centres=side**2,
                progress=progress,
            )
            conditions.append(_judge(wide_deg, known, ranking, truth, config.seed))
            clock.stop("rank")
    counts = {"queries": count, "references": len(references) // side**2, "centres": side**2}
    return TownBenchResult(_facts(model, plan, config) | counts, tuple(conditions), clock.seconds)


def _facts(model: Encoder, plan: PairPlan, config: TownBenchConfig) -> dict[str, Any]:
    """What was judged, on what."""
    return {
        "benchmark": config.name,
        "simulated": True,
        "model": model.config.name,
        "model_fingerprint": fingerprint(model),
        "seed": config.seed,
        "apart_m": APART_M,
        "offset_up_to_m": MAX_OFFSET_M,
        "tile_side_m": min(tile_side_m(model), config.pair_set().tile_side_m),
        "device": f"CPU, {torch.get_num_threads()} threads",
        "osm_place": config.osm is not None,
        "places": [
            {"name": part.name, "fingerprint": part.fingerprint, "pairs": len(part.positions_m)}
            | ({"attribution": part.attribution} if part.attribution else {})
            for part in plan.places
        ],
    }


def _embed_tiles(
    model: Encoder,
    split: PairSplit,
    config: TownBenchConfig,
    centres: list[tuple[float, float]],
    progress: Progress | None,
) -> Tensor:
    """Strips (R·centres, C, W) of the references: the middle of each aerial image, of the side the model wants."""
    whole_m, tile_px = config.pair_set().tile_side_m, model.config.tile_px
    wanted_m = min(tile_side_m(model), whole_m)
    rim = round(tile_px * (whole_m / wanted_m - 1.0) / 2.0)  # whole pixels around the middle
    whole_px = tile_px + 2 * rim
    side_m = whole_m * tile_px / whole_px
    tiles = PairImages(split, "reference", ViewSettings(mapping="none", aerial_side_px=whole_px))

    def embed(images: Tensor, _: Tensor) -> Tensor:
        middle = images[..., rim : rim + tile_px, rim : rim + tile_px]
        pixels = middle.contiguous() * 255.0
        return torch.stack([embed_aerial(model, pixels, side_m, centre) for centre in centres], dim=1)

    return embed_all(tiles, embed, "aerial images", config.loading(progress)).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class _Truth:
    """Where cameras and tiles are: latitude and longitude (N,) of both; place, kind and heading (N,) of each pair."""

    camera_deg: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
    tile_deg: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
    place: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    heading_deg: npt.NDArray[np.float64]

    @staticmethod
    def read(folder: Path, plan: PairPlan) -> _Truth:
        facts = read_pair_facts(folder, plan)

        def column(name: str) -> npt.NDArray[np.float64]:
            return np.array([one[name] for one in facts], np.float64)

        keys = [part.key for part in plan.places]
        return _Truth(
            (column("latitude_deg"), column("longitude_deg")),
            (column("aerial_latitude_deg"), column("aerial_longitude_deg")),
            np.array([keys.index(one["place"]) for one in facts]),
            np.array([KINDS.index(one["kind"]) for one in facts]),
            np.zeros(len(facts)),
        )


def _judge(wide_deg: float, known: bool, ranking: StripRanking, truth: _Truth, seed: int) -> TownCondition:
    """The figures of one ranking."""
    ranks, best = ranking.ranks.numpy(), ranking.best.numpy()
    latitude, longitude = (column[best] for column in truth.tile_deg)
    off = distance_m(*truth.camera_deg, latitude, longitude)
    figures = condition_figures(ranking, len(ranks), off, truth.heading_deg, np.arange(len(ranks)), seed)
    figures["metres"]["other_place_percent"] = 100.0 * float(np.mean(truth.place != truth.place[best]))
    missed = np.flatnonzero(ranks > 0)
    worst = missed[np.argsort(-ranks[missed], kind="stable")][:WORST_SHOWN]
    kinds = {name: ranks[truth.kind == i] for i, name in enumerate(KINDS) if (truth.kind == i).any()}
    return TownCondition(
        **figures,
        field_of_view_deg=wide_deg,
        heading_known=known,
        by_kind={
            name: {"queries": len(of_kind), "R@1": 100.0 * float(np.mean(of_kind == 0))}
            for name, of_kind in kinds.items()
        },
        by_kind_intervals={
            name: share_interval(int((of_kind == 0).sum()), len(of_kind), seed=seed)
            for name, of_kind in kinds.items()
        },
        confused=confusion(truth.kind[missed], truth.kind[best[missed]]),
        near_miss_percent=100.0 * float(np.mean(off[missed] <= NEAR_MISS_M)) if len(missed) else 0.0,
        worst=tuple(Miss(int(q), int(best[q]), int(ranks[q]), float(off[q])) for q in worst),
    )


def confusion(kind: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """How many of each kind of place were taken for each kind: ``{kind: {found kind: count}}``, without zeros."""
    table = np.zeros((len(KINDS), len(KINDS)), np.int64)
    np.add.at(table, (kind, found), 1)
    return {
        name: {KINDS[j]: int(table[i, j]) for j in np.flatnonzero(table[i])}
        for i, name in enumerate(KINDS)
        if table[i].any()
    }


class _Clock:
    """Adds up what steps take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def stop(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._since, 2)
        self._since = now
