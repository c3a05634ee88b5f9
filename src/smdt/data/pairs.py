"""Pairs of ground panoramas and aerial images: one shape for all data sets.

A :class:`PairSplit` lists one split of one data set, whatever its layout: queries (ground panoramas), references
(aerial images), and which belongs to which. The readers beside this file make it; :mod:`smdt.data.images` loads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smdt.data.listing import missing_files
from smdt.errors import DatasetError
from smdt.geometry.mapping import DEFAULT_HALF_SIDE_M
from smdt.geometry.panorama import PanoramaFrame

Indices = npt.NDArray[np.int64]
Metres = npt.NDArray[np.float64]

FULL_SPHERE_ELEVATION_DEG = 45.0
"""Full-sphere panoramas are used up to this far above and below the horizon: rows 208..623 of CVACT's 832."""


@dataclass(frozen=True, slots=True)
class Query:
    """A ground panorama whose place is sought.

    Attributes:
        id: its name in the data set.
        path: the picture, 360° wide.
        labels_path: class labels of the same size, where the data set has them.
        latitude: WGS84 degrees, where known.
        longitude: WGS84 degrees, where known.
        heading_deg: azimuth its centre column looks along; 0 (north) in all published sets.
    """

    id: str
    path: Path
    labels_path: Path | None = None
    latitude: float | None = None
    longitude: float | None = None
    heading_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Reference:
    """An aerial image of the gallery: square, north up.

    Attributes:
        id: its name in the data set.
        path: the picture.
        polar_path: where its polar-mapped picture belongs, in data sets whose layout has such a folder.
        half_side_m: half its side in metres on the ground; perspective and mixed mapping need it.
        latitude: WGS84 degrees of its centre, where known.
        longitude: WGS84 degrees of its centre, where known.
    """

    id: str
    path: Path
    polar_path: Path | None = None
    half_side_m: float = DEFAULT_HALF_SIDE_M
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, eq=False)
class PairSplit:
    """One split of one data set, for training or evaluation.

    Attributes:
        dataset: ``cvusa``, ``cvact``, ``vigor`` or ``folder``.
        split: name of the split.
        listing: the file or folder that lists the pairs, for messages.
        queries: Q ground panoramas.
        references: N aerial images: the whole gallery, distractors included.
        positive: (Q,) int64, index of each query's true reference.
        ground_frame: size and elevations of the panoramas as published; None: each picture is equal-angle with
            the horizon in its middle row, so its shape tells its elevations (360°·H/W in all).
        elevation_deg: panoramas are used up to this far above and below the horizon.
        semi_positives: (Q, k) int64, -1 for none: references that also show the place, off their centre. They
            count neither as found nor as nearer.
        query_offset_m: (Q, 2) metres east and north from the centre of the true reference to the query.
        query_xy_m: (Q, 2) metres in one plane for all (UTM).
        reference_xy_m: (N, 2) metres in the same plane.
        hit_radius_m: any reference within this distance counts as found (CVACT_test); None: the true one alone.
        left_out: pairs left out because an image is missing.
        simulated: whether the places are simulated, so that figures on them stand beside none on real ones.
    """

    dataset: str
    split: str
    listing: Path
    queries: tuple[Query, ...]
    references: tuple[Reference, ...]
    positive: Indices
    ground_frame: PanoramaFrame | None
    elevation_deg: float
    semi_positives: Indices | None = None
    query_offset_m: Metres | None = None
    query_xy_m: Metres | None = None
    reference_xy_m: Metres | None = None
    hit_radius_m: float | None = None
    left_out: int = 0
    simulated: bool = False


def checked(split: PairSplit, *, skip_missing: bool = False) -> PairSplit:
    """A split whose ids are unique and whose images are all there: the last step of every reader.

    Args:
        split: as listed.
        skip_missing: leave queries and references without their file out, instead of an error.

    Raises:
        DatasetError: if the split is empty, an id is listed twice, or an image is missing.
    """
    ids = {"query": [query.id for query in split.queries], "reference": [one.id for one in split.references]}
    for kind, names in ids.items():
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            others = f", and so are {len(twice) - 1} more" if len(twice) > 1 else ""
            raise DatasetError(
                f"{kind} {twice[0]} is listed more than once{others}",
                where=split.listing,
                remedy="remove the repeated entry",
            )
        if not names:
            raise DatasetError(
                f"split {split.split} lists no {kind}", where=split.listing, remedy="use the published file"
            )
    entries: Sequence[Query | Reference] = (*split.queries, *split.references)
    missing = missing_files(entry.path for entry in entries)
    if not missing:
        return split
    if not skip_missing:
        others = f", and so are {len(missing) - 1} more of {len(entries)}" if len(missing) > 1 else ""
        raise DatasetError(
            f"this picture of split {split.split} is missing{others}",
            where=missing[0],
            remedy=f"complete {missing[0].parent}, or leave what is incomplete out with --skip-missing",
        )
    return _without(split, set(missing))


def _without(split: PairSplit, missing: set[Path]) -> PairSplit:
    """The split without missing files; where every reference has its one query, both go together."""
    there = np.array([one.path not in missing for one in split.references])
    query_there = np.array([query.path not in missing for query in split.queries]) & there[split.positive]
    if len(there) == len(query_there) and np.array_equal(np.sort(split.positive), np.arange(len(there))):
        there[split.positive[~query_there]] = False
    if not query_there.any():
        raise DatasetError(
            f"not one pair of split {split.split} is complete", where=split.listing, remedy="check --root"
        )
    place = np.where(there, np.cumsum(there) - 1, -1)
    semi = split.semi_positives
    if semi is not None:
        semi = np.where(semi[query_there] < 0, -1, place[semi[query_there]])

    def rows(values: Metres | None, keep: npt.NDArray[np.bool_]) -> Metres | None:
        return None if values is None else values[keep]

    return replace(
        split,
        queries=tuple(query for query, keep in zip(split.queries, query_there, strict=True) if keep),
        references=tuple(one for one, keep in zip(split.references, there, strict=True) if keep),
        positive=place[split.positive[query_there]],
        semi_positives=semi,
        query_offset_m=rows(split.query_offset_m, query_there),
        query_xy_m=rows(split.query_xy_m, query_there),
        reference_xy_m=rows(split.reference_xy_m, there),
        left_out=int((~query_there).sum()),
    )
