"""Where each query's true reference comes among the references, by strips, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from smdt.retrieval.matching import mean_turn
from smdt.retrieval.ranking import PairsOf, ranks_from_blocks, slices
from smdt.retrieval.rotation_key import RotationKeys, ShortlistedScores
from smdt.retrieval.strip_scores import (
    QUERY_CHUNK,
    REFERENCE_CHUNK,
    AlignedScores,
    BestReference,
    PooledCentres,
    QueryStrips,
    TurnedScores,
)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
HEADING_SHARPNESS = 80.0
"""By how much a better score counts for more where a heading is found; about twice the inverse temperature of
``compact``, by measurement (``docs/compact.md``)."""
CENTRE_SHARPNESS = 60.0
"""By how much a better score counts for more among the strips of a reference, by measurement there."""


@dataclass(frozen=True, eq=False)
class StripRanking:
    """Where each query's true reference came.

    Attributes:
        ranks: (Q,) references nearer than the true one.
        best: (Q,) the nearest reference; -1 for a query that has no true one.
        score: (Q,) of the nearest reference, at most 1; -inf for a query that has no true one.
        heading_deg: (Q,) heading found against the query's own reference, or the best where none is given; empty where
            headings are known, and where strips have one column, which fits alike at every turn.
        shortlisted: whether a rotation-free key chose what was scored at every turn.
    """

    ranks: Tensor
    best: Tensor
    score: Tensor
    heading_deg: Tensor
    shortlisted: bool = False


def rank_strips(
    queries: Tensor,
    references: Tensor,
    positive: Tensor | PairsOf,
    *,
    remove_mean: bool,
    field_of_view_deg: float = 360.0,
    heading_deg: Tensor | None = None,
    own: Tensor | None = None,
    ignore: Tensor | None = None,
    shortlist: int = 0,
    centres: int = 1,
    progress: Progress | None = None,
) -> StripRanking:
    """Rank references for queries, in bounded memory.

    With known headings the ranks are those of brute force in float64. With unknown ones, scores are compared as they
    come out in float32.

    Args:
        queries: (Q, C, W) strips as embedded; with one column (W = 1) they are global descriptors.
        references: (R, C, W) of :func:`smdt.retrieval.strip_scores.ready_references`; or (R·centres, C, W), the strips
            of one reference one after another.
        positive: the true references, as for :func:`smdt.retrieval.ranking.ranks_from_blocks`.
        remove_mean: whether the queries' mean is to be removed.
        field_of_view_deg: what queries see, centred.
        heading_deg: (Q,) known headings of the queries' centres; None: matching finds them. A single column cannot be
            turned: there the pictures must have been turned before embedding.
        own: (Q,) reference against which the found heading is given; the best one unless given, or where -1.
        ignore: (Q, M) references never counted as nearer, padded with -1.
        shortlist: score at every turn only so many references, those of the nearest rotation-free keys; 0 scores all.
            It needs queries that see the whole circle: others are scored against all references.
        centres: strips that each reference has, of which a soft maximum counts. With more than one, known headings
            too are compared as scores come out in float32.
        progress: called with "ranking", queries begun and queries in all.
    """
    columns = queries.shape[-1]
    seen = seen_columns(columns, field_of_view_deg)
    if columns == 1:  # there is one turn, and it shifts nothing
        heading_deg = torch.zeros(len(queries))
    ready = QueryStrips(queries, seen, heading_deg)
    if remove_mean:
        # With unknown headings a query set has one mean for all azimuths; with known ones, each azimuth has its own.
        ready = QueryStrips(queries, seen, heading_deg, ready.mean_of_set())
    scores: AlignedScores | TurnedScores | ShortlistedScores
    near_ties = None
    if heading_deg is not None:
        scores = AlignedScores(ready, references)
        near_ties = scores.near_ties()
    elif 0 < shortlist * centres < len(references) and bool(seen.all()):
        scores = ShortlistedScores(
            ready, references, shortlist * centres, RotationKeys(references, centred=True)
        )
    else:
        scores = TurnedScores(ready, references)
    watched = BestReference(
        scores if centres == 1 else PooledCentres(scores, centres, CENTRE_SHARPNESS),
        len(queries),
        (lambda done, total: progress("ranking", done, total)) if progress else None,
    )
    ranks = ranks_from_blocks(
        watched,
        len(queries),
        len(references) // centres,
        positive,
        ignore=ignore,
        near_ties=near_ties if centres == 1 else None,
        query_chunk=QUERY_CHUNK,
        reference_chunk=max(1, REFERENCE_CHUNK // centres),
    )
    headings = torch.empty(0)
    if not isinstance(scores, AlignedScores):
        against = watched.reference if own is None else torch.where(own >= 0, own, watched.reference)
        headings = _headings(scores, against.clamp_min(0), centres)
    shortlisted = isinstance(scores, ShortlistedScores)
    return StripRanking(ranks, watched.reference, watched.score, headings, shortlisted)


def _headings(scores: TurnedScores | ShortlistedScores, chosen: Tensor, centres: int) -> Tensor:
    """Headings (Q,) on which the strips of a reference chosen for each query, (Q,), agree."""
    turns = torch.stack([scores.at_turns(chosen * centres + number) for number in range(centres)])
    parts = slices(len(chosen), QUERY_CHUNK)
    return torch.cat([mean_turn(turns[:, part], HEADING_SHARPNESS) for part in parts])


def seen_columns(columns: int, field_of_view_deg: float) -> Tensor:
    """Mask (W,) of the strip columns that a query of a field of view sees, around its centre; at least one."""
    kept = max(1, round(columns * field_of_view_deg / 360.0))
    number, start = torch.arange(columns), columns // 2 - kept // 2
    return (number >= start) & (number < start + kept)
