"""Score a model on a data set by the field's protocol: recalls, and the heading's error where it is to be
found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from smdt.data.images import PairImages, ViewSettings
from smdt.data.pairs import PairSplit
from smdt.errors import ConfigError, SmdtError
from smdt.geometry.angles import wrap_360
from smdt.geometry.panorama import crop_field_of_view
from smdt.retrieval.embedding import embed_ground, embed_mapped
from smdt.retrieval.metrics import heading_errors, nearby_references, ranks_from_blocks, recall_at
from smdt.retrieval.ranking import PairsOf
from smdt.retrieval.siamese import Siamese
from smdt.retrieval.strip_scores import (
    QUERY_CHUNK,
    REFERENCE_CHUNK,
    AlignedScores,
    BestReference,
    QueryStrips,
    TurnedScores,
    held_type,
    ready_references,
)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class EvaluateConfig:
    """How a model is judged.

    Attributes:
        unknown_heading: turn every panorama by a random whole column first, and let matching find the heading.
        field_of_view_deg: what part of the circle queries show, centred on their heading.
        mapping: of the aerial images; the model's own unless given.
        use_polarmap: read the data set's ready-made polar images.
        batch: images embedded at once.
        workers: loader processes.
        seed: of the random headings.
    """

    unknown_heading: bool = False
    field_of_view_deg: float = 360.0
    mapping: str | None = None
    use_polarmap: bool = False
    batch: int = 16
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be evaluated."""
        if not 0 < self.field_of_view_deg <= 360:
            raise ConfigError(
                f"{self.field_of_view_deg}° is no field of view", where="--fov-deg", remedy="give 1 to 360"
            )
        if self.workers < 0 or self.batch < 1:
            raise ConfigError("batch and workers cannot be negative", where="--batch/--workers")


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        recalls: R@1, R@5, R@10, R@1% in percent.
        heading: heading error over the queries found at rank 1; empty where the heading is known.
        queries: number of queries.
        references: number of references.
        ranks: (Q,) references nearer than the true one.
        facts: what was evaluated, for the record.
    """

    recalls: dict[str, float]
    heading: dict[str, float]
    queries: int
    references: int
    ranks: Tensor
    facts: dict[str, str | float | bool | int | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StripRanking:
    """Where each query's true reference came.

    Attributes:
        ranks: (Q,) references nearer than the true one.
        best: (Q,) the nearest reference; -1 for a query that has no true one.
        heading_deg: (Q,) heading found against the query's own reference, or the best where none is given; empty where
            headings are known.
    """

    ranks: Tensor
    best: Tensor
    heading_deg: Tensor


def evaluate(
    model: Siamese,
    split: PairSplit,
    config: EvaluateConfig | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Embed a split with a model and rank every query's true reference.

    Args:
        model: what embeds.
        split: queries, references and which belong together.
        config: heading, field of view and mapping.
        progress: called with what is embedded or ranked, how many are done and how many there are.

    Raises:
        DatasetError: if an image is missing or damaged.
    """
    config = config or EvaluateConfig()
    settings = model.config
    rng = np.random.default_rng(config.seed)
    count = len(split.queries)
    turns = rng.integers(0, settings.width_px, count) if config.unknown_heading else np.zeros(count, np.int64)
    views = ViewSettings(
        height_px=settings.height_px,
        width_px=settings.width_px,
        mapping=config.mapping or settings.mapping,
        use_polarmap=config.use_polarmap,
    )
    references = embed_all(
        PairImages(split, "reference", views),
        lambda images, _: embed_mapped(model, images),
        "aerial images",
        config.batch,
        config.workers,
        progress,
    )
    queries = embed_queries(
        model,
        PairImages(split, "query", views),
        turns,
        config.field_of_view_deg,
        config.batch,
        config.workers,
        progress,
    )
    found = rank_strips(
        model,
        queries,
        ready_references(references, remove_mean=settings.remove_mean),
        true_references(split),
        field_of_view_deg=config.field_of_view_deg,
        heading_deg=None if config.unknown_heading else torch.zeros(count),
        own=torch.as_tensor(split.positive, dtype=torch.int64),
        ignore=None if split.semi_positives is None else torch.as_tensor(split.semi_positives),
        progress=progress,
    )
    heading = {}
    if config.unknown_heading:
        hits = ((found.ranks == 0) & (torch.as_tensor(split.positive) >= 0)).numpy()
        if hits.any():
            true_deg = wrap_360(turns[hits] / settings.width_px * 360)
            heading = heading_errors(found.heading_deg.numpy()[hits], true_deg)
    return Evaluation(
        recalls=recall_at(found.ranks, len(references)),
        heading=heading,
        queries=count,
        references=len(references),
        ranks=found.ranks,
        facts={
            "dataset": split.dataset,
            "split": split.split,
            "model": settings.name,
            "mapping": "polarmap folder" if config.use_polarmap else (config.mapping or settings.mapping),
            "heading": "unknown" if config.unknown_heading else "known",
            "field_of_view_deg": config.field_of_view_deg,
            "seed": config.seed,
        },
    )


def true_references(split: PairSplit) -> Tensor | PairsOf:
    """The references that count as found: each query's own, or all within the split's radius of it."""
    if split.hit_radius_m is not None and split.query_xy_m is not None and split.reference_xy_m is not None:
        return nearby_references(split.query_xy_m, split.reference_xy_m, split.hit_radius_m)
    return torch.as_tensor(split.positive, dtype=torch.int64)


def rank_strips(
    model: Siamese,
    queries: Tensor,
    references: Tensor,
    positive: Tensor | PairsOf,
    *,
    field_of_view_deg: float = 360.0,
    heading_deg: Tensor | None = None,
    own: Tensor | None = None,
    ignore: Tensor | None = None,
    progress: Progress | None = None,
) -> StripRanking:
    """Rank references for queries by the model's matching, in bounded memory.

    Args:
        model: what embedded them; says whether the queries' mean is to be removed.
        queries: (Q, C, W) strips as embedded.
        references: (R, C, W) of :func:`smdt.retrieval.strip_scores.ready_references`.
        positive: the true references, as for :func:`smdt.retrieval.ranking.ranks_from_blocks`.
        field_of_view_deg: what queries see, centred.
        heading_deg: (Q,) known headings of the queries' centres; None: matching finds them.
        own: (Q,) reference against which the found heading is given; the best one unless given, or where -1.
        ignore: (Q, M) references never counted as nearer, padded with -1.
        progress: called with "ranking", queries begun and queries in all.
    """
    seen = seen_columns(queries.shape[-1], field_of_view_deg)
    ready = QueryStrips(queries, seen, heading_deg)
    if model.config.remove_mean:
        # With unknown headings a query set has one mean for all azimuths; with known ones, each azimuth has its own.
        ready = QueryStrips(queries, seen, heading_deg, ready.mean_of_set())
    scores = TurnedScores(ready, references) if heading_deg is None else AlignedScores(ready, references)
    watched = BestReference(
        scores, len(queries), (lambda done, total: progress("ranking", done, total)) if progress else None
    )
    ranks = ranks_from_blocks(
        watched,
        len(queries),
        len(references),
        positive,
        ignore=ignore,
        query_chunk=QUERY_CHUNK,
        reference_chunk=REFERENCE_CHUNK,
    )
    headings = torch.empty(0)
    if isinstance(scores, TurnedScores):
        against = watched.reference if own is None else torch.where(own >= 0, own, watched.reference)
        headings = scores.headings(against.clamp_min(0))
    return StripRanking(ranks, watched.reference, headings)


def seen_columns(columns: int, field_of_view_deg: float) -> Tensor:
    """Mask (W,) of the strip columns that a query of a field of view sees, around its centre."""
    kept = max(1, round(columns * field_of_view_deg / 360.0))
    number, start = torch.arange(columns), columns // 2 - kept // 2
    return (number >= start) & (number < start + kept)


def embed_queries(
    model: Siamese,
    panoramas: Dataset[tuple[Tensor, int]],
    turns: npt.NDArray[np.int64],
    field_of_view_deg: float,
    batch: int = 16,
    workers: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Strips (Q, C, W) of panoramas turned clockwise by whole columns (Q,) and narrowed to a field of view."""
    return embed_all(
        panoramas,
        lambda images, numbers: embed_ground(
            model, _narrow(_turn(images, turns[numbers.numpy()]), field_of_view_deg)
        ),
        "panoramas",
        batch,
        workers,
        progress,
    )


def _turn(images: Tensor, columns: np.ndarray) -> Tensor:
    """Turn each panorama (B, 3, H, W) clockwise by whole columns; its heading is then 360°·columns/W."""
    return torch.stack([torch.roll(i, -int(c), dims=-1) for i, c in zip(images, columns, strict=True)])


def _narrow(images: Tensor, field_of_view_deg: float) -> Tensor:
    """Black out what a photo of that field of view does not show."""
    if field_of_view_deg >= 360:
        return images
    crop = crop_field_of_view(images, field_of_view_deg)
    start = images.shape[-1] // 2 - crop.shape[-1] // 2
    narrow = torch.zeros_like(images)
    narrow[..., start : start + crop.shape[-1]] = crop
    return narrow


def embed_all(
    images: Dataset[tuple[Tensor, int]],
    embed: Callable[[Tensor, Tensor], Tensor],
    what: str,
    batch: int = 16,
    workers: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Embed a whole set: strips (N, C, W), in half precision where they would take more than 1 GiB in single.

    Args:
        images: gives (image, number).
        embed: strips (B, C, W) of images (B, 3, H, W) and their numbers (B,).
        what: the images' name for ``progress``.
        batch: images embedded at once.
        workers: loader processes.
        progress: called with ``what``, images done and images in all.

    Raises:
        SmdtError: if an image cannot be read; the same from a loader process as from this one.
    """
    loader = DataLoader(_Handed(images), batch_size=batch, num_workers=workers, collate_fn=_batch_or_error)
    total, done = len(images), 0  # type: ignore[arg-type]
    strips = torch.empty(0)
    for loaded in loader:
        if isinstance(loaded, SmdtError):
            raise loaded
        made = embed(*loaded)
        if not done:
            strips = torch.empty(total, *made.shape[1:], dtype=held_type(total * made[0].numel()))
        strips[done : done + len(made)] = made
        done += len(made)
        if progress:
            progress(what, done, total)
    return strips


class _Handed(Dataset[tuple[Tensor, int] | SmdtError]):
    """A data set that hands a user's mistake over instead of raising it, which a loader process would bury."""

    def __init__(self, images: Dataset[tuple[Tensor, int]]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int] | SmdtError:
        try:
            return self.images[index]
        except SmdtError as error:
            return error


def _batch_or_error(items: list[tuple[Tensor, int] | SmdtError]) -> tuple[Tensor, Tensor] | SmdtError:
    pictures, numbers = [], []
    for item in items:
        if isinstance(item, SmdtError):
            return item
        pictures.append(item[0])
        numbers.append(item[1])
    return torch.stack(pictures), torch.tensor(numbers)
