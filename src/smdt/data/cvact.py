"""CVACT in its published layout: ``ACT_data.mat``, ``ANU_data_small`` (train, val) and ``ANU_data_test`` (test).

``ACT_data.mat`` holds all names (``panoIds``), their UTM positions (``utm``, N×2), and the splits as indices into
them counted from 1. Aerial images are 1200×1200 pixels at zoom 20; panoramas are 1664×832, the full sphere, of which
±45° (rows 208..623) are used. On the test split a hit is any reference within 25 m of the query.

Polar-mapped pictures are looked for in ``polarmap/ID_satView_polish.png`` beside ``satview_polish``: there the polar
transform script of SAFA's descendants writes them, and there L2LTR's ``dataloader_act.py`` reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smdt.data.listing import find_listing
from smdt.data.pairs import FULL_SPHERE_ELEVATION_DEG, Indices, Metres, PairSplit, Query, Reference, checked
from smdt.errors import DatasetError
from smdt.geometry.geodesy import ground_sampling_distance_m
from smdt.geometry.panorama import PanoramaFrame

FRAME = PanoramaFrame(832, 1664, 90.0, -90.0)
"""A published panorama: 1664×832 pixels, the full sphere."""
CANBERRA_LATITUDE_DEG = -35.28
HALF_SIDE_M = 600 * ground_sampling_distance_m(CANBERRA_LATITUDE_DEG, 20)
"""Half the side of an aerial image: 1200 pixels at zoom 20 in Canberra, 146 m."""
HIT_RADIUS_M = 25.0
"""On the test split any reference this close to the query counts as found."""

_SPLITS = {
    "train": ("ANU_data_small", "trainSet", "trainInd"),
    "val": ("ANU_data_small", "valSet", "valInd"),
    "test": ("ANU_data_test", "valSetAll", "valInd"),
}


def open_cvact(root: Path, split: str, *, skip_missing: bool = False) -> PairSplit:
    """Read a split of CVACT.

    Args:
        root: the folder that holds ``ACT_data.mat``, ``ANU_data_small`` and ``ANU_data_test``. The ``.mat`` file
            may also lie in ``ANU_data_small``, where some projects keep it.
        split: ``val`` (8,884), ``test`` (92,802) or ``train`` (35,532).
        skip_missing: leave incomplete pairs out instead of an error.

    Raises:
        DatasetError: if the ``.mat`` file is missing, damaged or lacks a field, an index is out of range, a name is
            listed twice, or a picture is missing.
    """
    folder, struct, field = _SPLITS[split]
    listing = find_listing(
        root,
        ["ACT_data.mat", "ANU_data_small/ACT_data.mat"],
        "ACT_data.mat, ANU_data_small/ and ANU_data_test/",
    )
    base = find_listing(root, [folder], "ACT_data.mat, ANU_data_small/ and ANU_data_test/")
    names, positions_m, indices = _read_mat(listing, struct, field)
    ids = [names[index] for index in indices]
    xy_m = positions_m[indices]
    if split == "test" and not np.isfinite(xy_m).all():
        raise DatasetError(
            f"utm has no position for {names[indices[np.argmin(np.isfinite(xy_m).all(axis=1))]]}",
            where=listing,
            remedy="copy the file anew from the published data set",
        )
    known = bool(np.isfinite(xy_m).all())
    streetview, satellite, polar = (base / name for name in ("streetview", "satview_polish", "polarmap"))
    return checked(
        PairSplit(
            dataset="cvact",
            split=split,
            listing=listing,
            queries=tuple(Query(one, streetview / f"{one}_grdView.jpg") for one in ids),
            references=tuple(
                Reference(
                    one,
                    satellite / f"{one}_satView_polish.jpg",
                    polar / f"{one}_satView_polish.png",
                    HALF_SIDE_M,
                )
                for one in ids
            ),
            positive=np.arange(len(ids)),
            ground_frame=FRAME,
            elevation_deg=FULL_SPHERE_ELEVATION_DEG,
            query_xy_m=xy_m if known else None,
            reference_xy_m=xy_m if known else None,
            hit_radius_m=HIT_RADIUS_M if split == "test" else None,
        ),
        skip_missing=skip_missing,
    )


def _read_mat(listing: Path, struct: str, field: str) -> tuple[list[str], Metres, Indices]:
    """Names (N), UTM metres (N, 2), and a split's indices counted from 0."""
    from scipy.io import loadmat

    remedy = "copy the file anew from the published data set"
    try:
        content: dict[str, Any] = loadmat(
            listing, simplify_cells=True, variable_names=["panoIds", "utm", struct]
        )
    except Exception as error:  # a damaged file fails in whatever part of the parser meets the damage
        raise DatasetError(
            f"this .mat file cannot be read ({type(error).__name__}: {error})", where=listing, remedy=remedy
        ) from None
    for name in ("panoIds", "utm", struct):
        if name not in content:
            raise DatasetError(f"the file lacks {name}", where=listing, remedy=remedy)
    if not isinstance(content[struct], dict) or field not in content[struct]:
        raise DatasetError(f"the file lacks {struct}.{field}", where=listing, remedy=remedy)
    names = [str(name).strip() for name in np.atleast_1d(content["panoIds"])]
    positions_m = np.asarray(content["utm"], dtype=np.float64).reshape(-1, 2)
    if len(positions_m) != len(names):
        raise DatasetError(
            f"utm has {len(positions_m)} positions for {len(names)} panoIds", where=listing, remedy=remedy
        )
    numbers: npt.NDArray[np.float64] = np.atleast_1d(np.asarray(content[struct][field], dtype=np.float64))
    wrong = (numbers < 1) | (numbers > len(names)) | (numbers != np.floor(numbers))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DatasetError(
            f"{struct}.{field}({first + 1}) is {numbers[first]:g}, not an index from 1 to {len(names)} "
            f"({int(wrong.sum())} wrong in all)",
            where=listing,
            remedy=remedy,
        )
    return names, positions_m, numbers.astype(np.int64) - 1
