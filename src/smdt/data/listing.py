"""Finding and reading the files that list a data set's pairs, and telling what is not there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from smdt.errors import DatasetError


def find_listing(root: Path, candidates: Sequence[str], contents: str) -> Path:
    """The first of some files or folders that exists below a data set's root.

    Args:
        root: what the user gave.
        candidates: paths relative to the root, the preferred one first.
        contents: what the root holds, for the message.

    Raises:
        DatasetError: if the root or all candidates are missing; where they lie a folder higher or lower, it says so.
    """
    if not root.is_dir():
        what = "this is a file, not a folder" if root.exists() else "there is no such folder"
        raise DatasetError(what, where=root, remedy=f"give --root the folder that holds {contents}")
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    remedy = f"give --root the folder that holds {contents}"
    for folder in (*sorted(child for child in root.iterdir() if child.is_dir()), root.resolve().parent):
        if any((folder / candidate).exists() for candidate in candidates):
            level = "low" if folder == root.resolve().parent else "high"
            remedy = f"--root is one folder too {level}: give {folder}"
            break
    raise DatasetError("this is missing", where=root / candidates[0], remedy=remedy)


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, stripped, with their numbers counted from 1.

    Raises:
        DatasetError: if the file cannot be read, or is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(
            "this is missing", where=path, remedy="copy it there from the published data set"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"this list cannot be read ({error})",
            where=path,
            remedy="copy it anew from the published data set",
        ) from None
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in lines if line]


def malformed_line(path: Path, number: int, expected: str) -> DatasetError:
    """The error for a line that is not of the published form; ``path:number`` says where."""
    return DatasetError(
        f"this line is not of the form '{expected}'",
        where=f"{path}:{number}",
        remedy="mend it, or copy the file anew from the published data set",
    )


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Those of many files that do not exist, in order; each folder is listed once."""
    listed: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                with os.scandir(folder) as entries:
                    listed[folder] = {entry.name for entry in entries}
            except OSError:
                listed[folder] = set()
        if name not in listed[folder]:
            missing.append(path)
    return missing
