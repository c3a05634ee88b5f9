"""Writing files so that they are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from smdt.errors import SmdtError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place under a temporary name, then rename it into place.

    Args:
        path: the file to make or replace; its folder is made where it is missing.
        write: writes the content to the path it is given, which ends like ``path``.

    Raises:
        SmdtError: if the file cannot be written. What stood there before still does.
    """
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as error:
        raise SmdtError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            remedy="name a file in a folder you may write to, with room on its disk",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_text_whole(path: Path, text: str) -> None:
    """Write a text file (UTF-8, line feeds) with :func:`write_whole`."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8", newline="\n"))
