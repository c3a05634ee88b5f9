"""A plain folder of pairs: ``ground/ID.*`` and ``aerial/ID.*``, with ``pairs.csv`` where names or places say more.

Without ``pairs.csv`` pictures of the same stem are a pair; aerial images without a panorama are further references.
With it, the columns ``ground,aerial`` name the pairs, and ``latitude,longitude,heading_deg`` may follow, blank where
not known. A bare name is looked for in ``ground/`` or ``aerial/``, one with a folder from the root. A position is that
of the camera, on which its aerial image is centred. Polar-mapped pictures may lie in ``polarmap/ID.png``.
"""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from smdt.data.images import source_frame
from smdt.data.listing import find_listing, malformed_line, numbered_lines
from smdt.data.pairs import FULL_SPHERE_ELEVATION_DEG, PairSplit, Query, Reference, checked
from smdt.data.transforms import load_image
from smdt.errors import DatasetError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
COLUMNS = ("ground", "aerial", "latitude", "longitude", "heading_deg")


def open_folder(root: Path, split: str = "all", *, skip_missing: bool = False) -> PairSplit:
    """Read a plain folder of pairs.

    Panoramas are used to ±45°, or as far as the first one reaches if that is less.

    Args:
        root: the folder that holds ``ground`` and ``aerial``.
        split: its name; there is one.
        skip_missing: leave incomplete pairs out instead of an error.

    Raises:
        DatasetError: if a folder or picture is missing, a panorama has no aerial image, a stem stands for two
            pictures, or a line of ``pairs.csv`` is malformed.
    """
    find_listing(root, ["ground"], "ground/ and aerial/")
    find_listing(root, ["aerial"], "ground/ and aerial/")
    listing = root / "pairs.csv"
    if listing.exists():
        queries, references, positive = _from_csv(root, listing)
    else:
        listing = root
        queries, references, positive = _from_stems(root, skip_missing)
    result = checked(
        PairSplit(
            dataset="folder",
            split=split,
            listing=listing,
            queries=tuple(queries),
            references=tuple(references),
            positive=np.array(positive, dtype=np.int64),
            ground_frame=None,
            elevation_deg=FULL_SPHERE_ELEVATION_DEG,
        ),
        skip_missing=skip_missing,
    )
    height, width = load_image(result.queries[0].path).shape[-2:]
    reach_deg = source_frame(height, width, None, result.queries[0].path).top_deg
    return replace(result, elevation_deg=min(FULL_SPHERE_ELEVATION_DEG, reach_deg))


def _from_stems(root: Path, skip_missing: bool) -> tuple[list[Query], list[Reference], list[int]]:
    ground, aerial = _by_stem(root / "ground"), _by_stem(root / "aerial")
    alone = [path for stem, path in ground.items() if stem not in aerial]
    if alone and not skip_missing:
        others = f", and so have {len(alone) - 1} more of {len(ground)}" if len(alone) > 1 else ""
        raise DatasetError(
            f"this panorama has no aerial image of the same name{others}",
            where=alone[0],
            remedy=f"add {root / 'aerial' / alone[0].stem}.*, or name the pairs in pairs.csv",
        )
    aerial |= {
        path.stem: root / "aerial" / f"{path.stem}.jpg" for path in alone
    }  # missing, so left out later
    place = {stem: index for index, stem in enumerate(aerial)}
    return (
        [Query(stem, path) for stem, path in ground.items()],
        [Reference(stem, path, _polar(root, path)) for stem, path in aerial.items()],
        [place[stem] for stem in ground],
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their stem, in order of name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise DatasetError(
                    f"this picture and {found[path.stem].name} have the same stem",
                    where=path,
                    remedy="rename one of them",
                )
            found[path.stem] = path
    return found


def _from_csv(root: Path, listing: Path) -> tuple[list[Query], list[Reference], list[int]]:
    lines = numbered_lines(listing)
    header = [column.strip() for column in next(csv.reader([lines[0][1]]))] if lines else []
    if tuple(header[:2]) != COLUMNS[:2] or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise malformed_line(
            listing, lines[0][0] if lines else 1, "ground,aerial[,latitude,longitude,heading_deg]"
        )
    queries: list[Query] = []
    references: dict[str, Reference] = {}
    place: dict[str, int] = {}
    positive = []
    for number, line in lines[1:]:
        fields = [field.strip() for field in next(csv.reader([line]))]
        fields += [""] * (len(header) - len(fields))
        row = dict(zip(header, fields, strict=False))
        try:
            numbers = {name: float(row[name]) if row.get(name) else None for name in COLUMNS[2:]}
        except ValueError:
            numbers = {"latitude": math.nan}
        if len(fields) > len(header) or not row["ground"] or not row["aerial"] or not _plausible(numbers):
            raise malformed_line(listing, number, ",".join(header))
        latitude, longitude = numbers["latitude"], numbers["longitude"]
        queries.append(
            Query(
                row["ground"],
                _named(root, "ground", row["ground"]),
                latitude=latitude,
                longitude=longitude,
                heading_deg=numbers["heading_deg"] or 0.0,
            )
        )
        path = _named(root, "aerial", row["aerial"])
        reference = Reference(row["aerial"], path, _polar(root, path), latitude=latitude, longitude=longitude)
        known = references.setdefault(row["aerial"], reference)
        if known != reference:  # panoramas at several places share it, so its centre is at none of them
            references[row["aerial"]] = replace(reference, latitude=None, longitude=None)
        positive.append(place.setdefault(row["aerial"], len(place)))
    return queries, list(references.values()), positive


def _plausible(numbers: dict[str, float | None]) -> bool:
    """Whether latitude and longitude stand together, and all numbers are possible ones."""
    latitude, longitude, heading_deg = (numbers.get(name) for name in COLUMNS[2:])
    if (latitude is None) != (longitude is None):
        return False
    return (
        abs(latitude or 0.0) <= 90.0 and abs(longitude or 0.0) <= 360.0 and math.isfinite(heading_deg or 0.0)
    )


def _named(root: Path, folder: str, name: str) -> Path:
    return root / name if "/" in name else root / folder / name


def _polar(root: Path, aerial: Path) -> Path:
    return root / "polarmap" / f"{aerial.stem}.png"
