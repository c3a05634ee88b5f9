"""CVUSA in its published layout: ``splits/*-19zl.csv``, ``bingmap/19``, ``streetview/panos``, ``polarmap/19``.

The splits name 35,532 pairs to train on and 8,884 to evaluate on. Aerial images are 750×750 pixels at zoom 19;
panoramas are 1232×224, cut from equal-angle ones, so they reach ±32.73°. Neither the splits nor the file names tell
where a pair lies, so every aerial image is taken to be as wide as in the middle of the United States.

Simulated sets in this layout (`smdt world pairs`) carry ``plan.json``, which tells how wide aerial images are, and
``metadata.csv``, which tells positions.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from smdt.data.listing import find_listing, malformed_line, missing_files, numbered_lines
from smdt.data.pairs import PairSplit, Query, Reference, checked
from smdt.errors import DatasetError
from smdt.geometry.panorama import CVUSA_ELEVATION_DEG, PanoramaFrame

FRAME = PanoramaFrame(224, 1232)
"""A published panorama: 1232×224 pixels, ±32.73°."""
PLAN_FILE, METADATA_FILE = "plan.json", "metadata.csv"
_POSITIONS = ("latitude_deg", "longitude_deg", "aerial_latitude_deg", "aerial_longitude_deg")
_RESOLUTION = "ground_sampling_distance_m"


def open_cvusa(root: Path, split: str, *, skip_missing: bool = False) -> PairSplit:
    """Read a split of CVUSA.

    Args:
        root: the folder that holds ``splits``, ``bingmap`` and ``streetview``.
        split: ``val`` or ``train``.
        skip_missing: leave incomplete pairs out instead of an error.

    Raises:
        DatasetError: if the list or a picture is missing, a line is malformed, or an id is listed twice.
    """
    listing = find_listing(root, [f"splits/{split}-19zl.csv"], "splits/, bingmap/ and streetview/")
    queries, references = [], []
    for number, line in numbered_lines(listing):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3 or not all(fields) or not fields[0].startswith("bingmap/"):
            raise malformed_line(
                listing, number, "bingmap/19/ID.jpg,streetview/panos/ID.jpg,streetview/annotations/ID.png"
            )
        aerial, panorama, labels = (PurePosixPath(field) for field in fields)
        polar = PurePosixPath("polarmap", *aerial.parts[1:]).with_suffix(".png")
        queries.append(Query(panorama.stem, root / panorama, root / labels))
        references.append(Reference(aerial.stem, root / aerial, root / polar))
    simulated = (root / PLAN_FILE).is_file() and (root / METADATA_FILE).is_file()
    if simulated:
        queries, references = _simulated(root, queries, references)
    unlabelled = set(missing_files(query.labels_path for query in queries if query.labels_path is not None))
    return checked(
        PairSplit(
            dataset="cvusa",
            split=split,
            listing=listing,
            queries=tuple(
                replace(query, labels_path=None) if query.labels_path in unlabelled else query
                for query in queries
            ),
            references=tuple(references),
            positive=np.arange(len(queries)),
            ground_frame=FRAME,
            elevation_deg=CVUSA_ELEVATION_DEG,
            simulated=simulated,
        ),
        skip_missing=skip_missing,
    )


def _simulated(
    root: Path, queries: list[Query], references: list[Reference]
) -> tuple[list[Query], list[Reference]]:
    """Queries and references of a simulated set with what its plan and table say of them."""
    where = root / PLAN_FILE
    try:
        plan = json.loads(where.read_text(encoding="utf-8"))["settings"]
        half_side_m = [float(plan["tile_side_m"]) / 2.0] * len(queries)
        where = root / METADATA_FILE
        with where.open(encoding="utf-8", newline="") as lines:
            rows = {row["id"]: row for row in csv.DictReader(lines)}
        found = [[float(rows[query.id][name]) for name in _POSITIONS] for query in queries]
        if "tile_factors" in plan:
            half_px = float(plan["aerial_px"]) / 2.0
            half_side_m = [round(half_px * float(rows[query.id][_RESOLUTION]), 3) for query in queries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"this file does not fit the set ({type(error).__name__}: {error})",
            where=where,
            remedy="write the set again: it goes on where it was",
        ) from None
    return (
        [
            replace(query, latitude=place[0], longitude=place[1])
            for query, place in zip(queries, found, strict=True)
        ],
        [
            replace(one, latitude=place[2], longitude=place[3], half_side_m=half_m)
            for one, place, half_m in zip(references, found, half_side_m, strict=True)
        ],
    )
