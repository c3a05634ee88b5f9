"""Score a model on a data set by the field's protocol: recalls, and the heading's error where it is to be
found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from smdt.data.images import PairImages, ViewSettings
from smdt.data.pairs import PairSplit
from smdt.errors import ConfigError
from smdt.geometry.angles import wrap_360
from smdt.geometry.panorama import crop_field_of_view
from smdt.retrieval.embedding import centre_queries, embed_ground, embed_mapped
from smdt.retrieval.matching import (
    aligned_scores,
    best_turn,
    circular_scores,
    normalise_queries,
    normalise_references,
)
from smdt.retrieval.metrics import heading_errors, nearby_references, ranks_from_blocks, recall_at
from smdt.retrieval.siamese import Siamese


class _Chunks(TypedDict):
    query_chunk: int
    reference_chunk: int


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


def evaluate(
    model: Siamese,
    split: PairSplit,
    config: EvaluateConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Embed a split with a model and rank every query's true reference.

    Args:
        model: what embeds.
        split: queries, references and which belong together.
        config: heading, field of view and mapping.
        progress: called with what is embedded, how many are done and how many there are.

    Raises:
        DatasetError: if an image is missing or damaged.
    """
    config = config or EvaluateConfig()
    settings = model.config
    rng = np.random.default_rng(config.seed)
    count = len(split.queries)
    turns = rng.integers(0, settings.width_px, count) if config.unknown_heading else np.zeros(count, np.int64)
    mask = _seen_columns(model, config)
    views = ViewSettings(
        height_px=settings.height_px,
        width_px=settings.width_px,
        mapping=config.mapping or settings.mapping,
        use_polarmap=config.use_polarmap,
    )
    references = _embed_all(
        PairImages(split, "reference", views),
        lambda images, _: embed_mapped(model, images),
        config,
        "aerial images",
        progress,
    )
    queries = _embed_all(
        PairImages(split, "query", views),
        lambda images, numbers: embed_ground(
            model, _narrow(_turn(images, turns[numbers.numpy()]), config.field_of_view_deg)
        ),
        config,
        "panoramas",
        progress,
    )
    if settings.remove_mean:
        references = references - references.mean(0)
    # With unknown headings a query set has one mean for all azimuths; with known ones, each azimuth has its own.
    mean = queries.mean((0, 2) if config.unknown_heading else 0)
    queries = centre_queries(model, queries, mean[:, None] if config.unknown_heading else mean)
    seen = mask.expand(count, -1)
    queries = normalise_queries(queries, seen)
    references = normalise_references(references)

    def score_block(rows: slice, columns: slice) -> Tensor:
        if config.unknown_heading:
            return circular_scores(queries[rows], references[columns], seen[rows]).amax(dim=2)
        return aligned_scores(queries[rows], references[columns], seen[rows])

    chunks = _chunks(references)
    positive = torch.as_tensor(split.positive, dtype=torch.int64)
    ignore = None if split.semi_positives is None else torch.as_tensor(split.semi_positives)
    if split.hit_radius_m is not None and split.query_xy_m is not None and split.reference_xy_m is not None:
        wanted = nearby_references(split.query_xy_m, split.reference_xy_m, split.hit_radius_m)
        found = ranks_from_blocks(score_block, count, len(references), wanted, **chunks)
    else:
        found = ranks_from_blocks(score_block, count, len(references), positive, ignore=ignore, **chunks)
    heading = {}
    if config.unknown_heading:
        heading = _heading_error(queries, references, seen, positive, found, turns / settings.width_px * 360)
    return Evaluation(
        recalls=recall_at(found, len(references)),
        heading=heading,
        queries=count,
        references=len(references),
        ranks=found,
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


def _chunks(references: Tensor) -> _Chunks:
    """Chunk sizes that keep a block of correlations, Q·R·W and its spectra, below about 200 MB."""
    _, channels, columns = references.shape
    return {
        "query_chunk": 32,
        "reference_chunk": max(1, 2_000_000 // (channels * columns // 16 + 64 * columns)),
    }


def _seen_columns(model: Siamese, config: EvaluateConfig) -> Tensor:
    """Mask (1, W) of the strip columns a query of the configured field of view sees."""
    columns = torch.arange(model.columns)
    kept = max(1, round(model.columns * config.field_of_view_deg / 360.0))
    start = model.columns // 2 - kept // 2
    return ((columns >= start) & (columns < start + kept))[None]


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


def _embed_all(
    images: Dataset[tuple[Tensor, int]],
    embed: Callable[[Tensor, Tensor], Tensor],
    config: EvaluateConfig,
    what: str,
    progress: Callable[[str, int, int], None] | None,
) -> Tensor:
    loader = DataLoader(images, batch_size=config.batch, num_workers=config.workers)
    total = len(images)  # type: ignore[arg-type]
    strips = []
    done = 0
    for pixels, numbers in loader:
        strips.append(embed(pixels, numbers))
        done += len(pixels)
        if progress:
            progress(what, done, total)
    return torch.cat(strips)


def _heading_error(
    queries: Tensor,
    references: Tensor,
    seen: Tensor,
    positive: Tensor,
    found: Tensor,
    true_deg: np.ndarray,
) -> dict[str, float]:
    """Heading error against the true reference, over the queries whose best match it is."""
    hits = torch.nonzero((found == 0) & (positive >= 0))[:, 0].tolist()
    if not hits:
        return {}
    headings = []
    for query in hits:
        own = references[int(positive[query])][None]
        _, heading = best_turn(circular_scores(queries[query][None], own, seen[query][None]))
        headings.append(float(heading[0, 0]))
    return heading_errors(np.array(headings), wrap_360(true_deg[hits]))
