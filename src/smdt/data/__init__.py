"""Data sets of ground panoramas and aerial images: one entry, :func:`open_split`, for all layouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from smdt.errors import ConfigError

if TYPE_CHECKING:
    from smdt.data.pairs import PairSplit

SPLITS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cvusa": ("val", "train"),
        "cvact": ("val", "test", "train"),
        "vigor": ("same-test", "same-train", "cross-test", "cross-train"),
        "folder": ("all",),
    }
)
"""The data sets that can be read, and their splits; the first one is that of the usual evaluation."""


def open_split(
    dataset: str, root: str | Path, split: str | None = None, *, skip_missing: bool = False
) -> PairSplit:
    """Open one split of a data set in its published layout, and check that it is complete.

    Args:
        dataset: ``cvusa``, ``cvact``, ``vigor`` or ``folder``.
        root: the data set's folder.
        split: one of ``SPLITS[dataset]``; None: the first of them.
        skip_missing: leave pairs whose picture is missing out instead of an error; ``left_out`` counts them.

    Raises:
        ConfigError: if the data set or split is unknown.
        DatasetError: if the data set is incomplete or not in its published layout; see the readers.
    """
    if dataset not in SPLITS:
        raise ConfigError(
            f"data set '{dataset}' is unknown", where="--dataset", remedy=f"choose from {', '.join(SPLITS)}"
        )
    chosen = SPLITS[dataset][0] if split is None else split
    if chosen not in SPLITS[dataset]:
        raise ConfigError(
            f"{dataset} has no split '{chosen}'",
            where="--split",
            remedy=f"choose from {', '.join(SPLITS[dataset])}",
        )
    if dataset == "cvusa":
        from smdt.data.cvusa import open_cvusa as read
    elif dataset == "cvact":
        from smdt.data.cvact import open_cvact as read
    elif dataset == "vigor":
        from smdt.data.vigor import open_vigor as read
    else:
        from smdt.data.folder import open_folder as read
    return read(Path(root), chosen, skip_missing=skip_missing)
