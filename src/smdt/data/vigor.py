"""VIGOR in its published layout: ``CITY/panorama``, ``CITY/satellite``, lists in ``splits__corrected`` or ``splits``.

Each line of a label file names a panorama, its positive aerial image and three semi-positive ones, each followed by
two pixel offsets (rows, columns)::

    ID,41.877949,-87.689396,.jpg satellite_41.8779717_-87.6894350.png 23.0 -29.0 satellite_… 20.0 300.0 …

An offset is the aerial image's position less the panorama's: the panorama stands at row 320 + rows and column
320 - columns of the 640×640 image at zoom 20, so +23 is south and -29 is east of the centre. Source: VIGOR's
``evaluate_from_npy.py`` and SliceMatch's ``VIGOR_dataset.py``.

The older labels (``splits``) count pixels that are not the images' own: 320 of them are 0.000328° of latitude or
0.000433° of longitude in every city (VIGOR's ``dataloader.py``). SliceMatch's corrected ones are true image pixels.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smdt.data.listing import find_listing, malformed_line, numbered_lines
from smdt.data.pairs import FULL_SPHERE_ELEVATION_DEG, Metres, PairSplit, Query, Reference, checked
from smdt.errors import DatasetError
from smdt.geometry.geodesy import ground_sampling_distance_m
from smdt.geometry.panorama import PanoramaFrame

FRAME = PanoramaFrame(1024, 2048, 90.0, -90.0)
"""A published panorama: 2048×1024 pixels, the full sphere."""
ZOOM = 20
HALF_SIDE_PX = 320
OLDER_LABELS_HALF_SIDE_DEG = (0.0003280724526376747, 0.00043301140280175833)
"""Latitude and longitude that 320 pixels stand for in the older labels."""

_SAME_AREA = ("Chicago", "NewYork", "SanFrancisco", "Seattle")
_SPLITS = {
    "same-test": (_SAME_AREA, "same_area_balanced_test"),
    "same-train": (_SAME_AREA, "same_area_balanced_train"),
    "cross-test": (("Chicago", "SanFrancisco"), "pano_label_balanced"),
    "cross-train": (("NewYork", "Seattle"), "pano_label_balanced"),
}
_LABEL_FORM = "ID,LATITUDE,LONGITUDE,.jpg, then four times satellite_LATITUDE_LONGITUDE.png ROWS COLUMNS"
_METRES_PER_DEG = math.radians(1.0) * 6371004.0  # the sphere that VIGOR's own code measures on


def open_vigor(root: Path, split: str, *, skip_missing: bool = False) -> PairSplit:
    """Read a split of VIGOR; the gallery is every aerial image of the split's cities.

    Args:
        root: the folder that holds ``splits__corrected`` or ``splits`` and the cities.
        split: ``same-test``, ``same-train``, ``cross-test`` or ``cross-train``: same or cross area.
        skip_missing: leave what has no picture out instead of an error.

    Raises:
        DatasetError: if a list or picture is missing, a line is malformed, a label names an aerial image that is
            not in the city's list, or a name is listed twice.
    """
    cities, stem = _SPLITS[split]
    lists = find_listing(
        root, ["splits__corrected", "splits"], "splits__corrected/ (or splits/) and the four cities"
    )
    queries: list[Query] = []
    references: list[Reference] = []
    labels: list[list[int]] = []
    offsets: list[Metres] = []
    for city in cities:
        gallery = _read_gallery(root, lists, city)
        index_of = {reference.path.name: len(references) + k for k, reference in enumerate(gallery)}
        references += gallery
        listing = lists / city / f"{stem}__corrected.txt"
        if not listing.exists() and (lists / city / f"{stem}.txt").exists():
            listing = lists / city / f"{stem}.txt"
        corrected = "__corrected" in listing.name or lists.name == "splits__corrected"
        for number, line in numbered_lines(listing):
            query, images, offset_px = _parse_label(line, root / city / "panorama", city, listing, number)
            unknown = [image for image in images if image not in index_of]
            if unknown:
                raise DatasetError(
                    f"{unknown[0]} is not in {lists / city / 'satellite_list.txt'}",
                    where=f"{listing}:{number}",
                    remedy="take both lists from the same copy of the data set",
                )
            queries.append(query)
            labels.append([index_of[image] for image in images])
            latitude = references[labels[-1][0]].latitude
            assert latitude is not None  # _read_gallery sets it
            offsets.append(offset_m(offset_px, latitude, corrected=corrected))
    table = np.array(labels, dtype=np.int64).reshape(-1, 4)
    return checked(
        PairSplit(
            dataset="vigor",
            split=split,
            listing=lists,
            queries=tuple(queries),
            references=tuple(references),
            positive=table[:, 0],
            semi_positives=table[:, 1:],
            query_offset_m=np.array(offsets, dtype=np.float64).reshape(-1, 2),
            ground_frame=FRAME,
            elevation_deg=FULL_SPHERE_ELEVATION_DEG,
        ),
        skip_missing=skip_missing,
    )


def offset_m(offset_px: npt.ArrayLike, latitude_deg: float, *, corrected: bool = True) -> Metres:
    """Metres east and north from an aerial image's centre to the panorama, (…, 2), from VIGOR's pixel offsets.

    Args:
        offset_px: (…, 2) offsets as the label files have them: rows, columns.
        latitude_deg: latitude of the aerial image.
        corrected: whether they are from the corrected labels, in pixels of the 640×640 image.
    """
    offset = np.asarray(offset_px, dtype=np.float64)
    if corrected:
        per_row = per_column = ground_sampling_distance_m(latitude_deg, ZOOM)
    else:
        latitude, longitude = (half / HALF_SIDE_PX * _METRES_PER_DEG for half in OLDER_LABELS_HALF_SIDE_DEG)
        per_row, per_column = latitude, longitude * math.cos(math.radians(latitude_deg))
    return np.stack([-offset[..., 1] * per_column, -offset[..., 0] * per_row], axis=-1)


def _read_gallery(root: Path, lists: Path, city: str) -> list[Reference]:
    listing = lists / city / "satellite_list.txt"
    gallery = []
    for number, name in numbered_lines(listing):
        try:
            prefix, latitude, longitude = name.removesuffix(".png").split("_")
            position = (float(latitude), float(longitude))
        except ValueError:
            raise malformed_line(listing, number, "satellite_LATITUDE_LONGITUDE.png") from None
        if prefix != "satellite":
            raise malformed_line(listing, number, "satellite_LATITUDE_LONGITUDE.png")
        # rounded, so that a city needs few mapping grids
        half_side_m = round(HALF_SIDE_PX * ground_sampling_distance_m(position[0], ZOOM), 1)
        path = root / city / "satellite" / name
        gallery.append(Reference(f"{city}/{path.stem}", path, None, half_side_m, *position))
    return gallery


def _parse_label(
    line: str, folder: Path, city: str, listing: Path, number: int
) -> tuple[Query, list[str], tuple[float, float]]:
    """The query of a line, the names of its positive and semi-positives, and the positive's pixel offset."""
    fields = line.split()
    if len(fields) != 13:
        raise malformed_line(listing, number, _LABEL_FORM)
    try:
        name, latitude, longitude, _ = fields[0].rsplit(",", 3)
        query = Query(
            f"{city}/{name}", folder / fields[0], latitude=float(latitude), longitude=float(longitude)
        )
        offsets_px = [(float(fields[k + 1]), float(fields[k + 2])) for k in (1, 4, 7, 10)]
    except ValueError:
        raise malformed_line(listing, number, _LABEL_FORM) from None
    return query, [fields[k] for k in (1, 4, 7, 10)], offsets_px[0]
