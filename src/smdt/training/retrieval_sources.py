"""Where the pairs of a retrieval training come from, as its settings say: places, or a data set on the disk."""

from __future__ import annotations

import numpy as np

from smdt.alignment.label_cache import PanoramaLabels
from smdt.data import open_split
from smdt.data.images import ViewSettings
from smdt.data.pairs import PairSplit
from smdt.retrieval.aerial_views import ground_view_of
from smdt.retrieval.encoder import Encoder
from smdt.training.pairs import DatasetPairs, WorldPairs
from smdt.training.retrieval_settings import TRAIN_SPLITS, RetrievalTraining
from smdt.world.dataset import PairConfig
from smdt.world.places import PlaceSource, StoredPlace, TownPlace


def training_split(settings: RetrievalTraining) -> PairSplit:
    """The split of the data set to train on."""
    assert settings.root is not None  # the settings have looked
    chosen = settings.split or TRAIN_SPLITS[settings.dataset]
    return open_split(settings.dataset, settings.root, chosen, skip_missing=settings.skip_missing)


def dataset_pairs(
    split: PairSplit, model: Encoder, settings: RetrievalTraining, with_labels: bool
) -> DatasetPairs:
    """Its pairs as a model reads them, with what the panoramas show where that is asked for."""
    aligned = settings.aligned()
    labeller = None
    if with_labels and aligned.segmenter:
        labeller = PanoramaLabels(aligned.segmenter, aligned.cache)
    return DatasetPairs(
        split,
        _view_settings(model),
        with_labels=with_labels,
        ground_view=ground_view_of(model),
        labeller=labeller,
    )


def world_pairs(settings: RetrievalTraining, model: Encoder, processes: int, rank: int) -> WorldPairs:
    """Pairs of simulated places, of one process among several."""
    pairs = PairConfig(
        tile_side_m=settings.tile_side_m,
        tile_px=model.config.tile_px,
        height_px=settings.height_px,
        width_px=settings.width_px,
        max_offset_m=settings.max_offset_m,
        style=settings.style,
        variety=settings.variety,
    )
    return WorldPairs(
        _places(settings),
        pairs,
        batch=settings.batch // processes,
        tile_factors=settings.tile_factors,
        seed=settings.seed,
        rank=rank,
    )


def tile_side_m(settings: RetrievalTraining, split: PairSplit | None) -> float:
    """Side of the tiles the model will see; 0 where a data set's differ by more than a tenth."""
    if split is None:
        return settings.tile_side_m
    sides = [2.0 * one.half_side_m for one in split.references]
    middle = float(np.median(sides))
    return round(middle, 1) if max(sides) - min(sides) <= 0.1 * middle else 0.0


def _places(settings: RetrievalTraining) -> list[PlaceSource]:
    towns: list[PlaceSource] = [
        TownPlace(seed, settings.town_side_m, style=settings.style, relief=settings.relief)
        for seed in settings.town_seeds
    ]
    return [*towns, *(StoredPlace(folder) for folder in settings.places)]


def _view_settings(model: Encoder) -> ViewSettings:
    config = model.config
    return ViewSettings(
        config.height_px,
        config.width_px,
        config.mapping,
        aerial_side_px=config.tile_px,
        aerial_input=config.aerial_input,
    )
