"""CVUSA in its published layout: ``splits/*-19zl.csv``, ``bingmap/19``, ``streetview/panos``, ``polarmap/19``.

The splits name 35,532 pairs to train on and 8,884 to evaluate on. Aerial images are 750×750 pixels at zoom 19;
panoramas are 1232×224, cut from equal-angle ones, so they reach ±32.73°. Neither the splits nor the file names tell
where a pair lies, so every aerial image is taken to be as wide as in the middle of the United States.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from smdt.data.listing import find_listing, malformed_line, missing_files, numbered_lines
from smdt.data.pairs import PairSplit, Query, Reference, checked
from smdt.geometry.panorama import CVUSA_ELEVATION_DEG, PanoramaFrame

FRAME = PanoramaFrame(224, 1232)
"""A published panorama: 1232×224 pixels, ±32.73°."""


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
    unlabelled = set(missing_files(query.labels_path for query in queries if query.labels_path is not None))
    return checked(
        PairSplit(
            dataset="cvusa",
            split=split,
            listing=listing,
            queries=tuple(
                Query(query.id, query.path) if query.labels_path in unlabelled else query for query in queries
            ),
            references=tuple(references),
            positive=np.arange(len(queries)),
            ground_frame=FRAME,
            elevation_deg=CVUSA_ELEVATION_DEG,
        ),
        skip_missing=skip_missing,
    )
