"""Features that are computed once, kept in a folder: a resumed training, or the next one like it, finds them there.

They are files mapped into memory, so that more of them can be used than memory holds, and room for all is taken before
the first is computed. What they were made of is written beside them, last: a folder without it is one whose making was
broken off, and is filled anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from smdt.errors import SmdtError, TrainingError
from smdt.files import write_text_whole, write_whole

_ABOUT, _SMALL = "features.json", "features.safetensors"
_BYTES = 2


class FrontFolder:
    """A folder of large float16 arrays and some small ones.

    Args:
        folder: made where it is missing.
        about: what the features depend on, by name; values that JSON can hold.
        shapes: of the large arrays, by name.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.folder, self.shapes = folder, dict(shapes)
        self.about = json.loads(
            json.dumps({**about, "shapes": {name: list(s) for name, s in shapes.items()}})
        )

    def found(self) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """The large arrays and the small ones, if they were all made; None where they were not.

        Raises:
            TrainingError: if those of something else lie there, or they cannot be read.
        """
        if not (self.folder / _ABOUT).exists():
            return None
        try:
            about = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
            other = sorted(
                name for name in about.keys() | self.about if about.get(name) != self.about.get(name)
            )
        except (OSError, ValueError, AttributeError) as error:
            raise self._unreadable(error) from error
        if other:
            raise TrainingError(
                f"holds features of another training (its {', '.join(other)} differ)",
                where=self.folder,
                remedy="give another front_folder, or remove this one if nothing needs it any more",
            )
        for name, shape in self.shapes.items():
            file = self.folder / f"{name}.f16"
            if not file.is_file() or file.stat().st_size != _size(shape):
                raise self._unreadable(f"{file.name} is not what was written")
        try:
            return {name: self._mapped(name) for name in self.shapes}, load_file(self.folder / _SMALL)
        except Exception as error:  # what safetensors raises is an Exception of its own
            raise self._unreadable(error) from error

    def make(self) -> dict[str, Tensor]:
        """The large arrays, to be filled.

        Raises:
            TrainingError: if there is no room for them.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, shape in self.shapes.items():
                with (self.folder / f"{name}.f16").open("wb") as file:
                    _take_room(file.fileno(), _size(shape))
        except OSError as error:
            for name in self.shapes:
                (self.folder / f"{name}.f16").unlink(missing_ok=True)
            needed = sum(_size(shape) for shape in self.shapes.values()) / 2**30
            raise TrainingError(
                f"has no room for {needed:.3g} GiB of features ({error.strerror or error})",
                where=self.folder,
                remedy="give a front_folder on a disk with more room, or leave it out to keep them in memory",
            ) from error
        return {name: self._mapped(name) for name in self.shapes}

    def finish(self, small: Mapping[str, Tensor]) -> None:
        """Write the small arrays and what all were made of, when the large ones are filled."""
        kept = {name: tensor.contiguous() for name, tensor in small.items()}
        write_whole(self.folder / _SMALL, lambda file: save_file(kept, file))
        write_text_whole(self.folder / _ABOUT, json.dumps(self.about, indent=2) + "\n")

    def _mapped(self, name: str) -> Tensor:
        shape = self.shapes[name]
        numbers = _size(shape) // _BYTES
        file = str(self.folder / f"{name}.f16")
        return torch.from_file(file, shared=True, size=numbers, dtype=torch.float16).view(shape)

    def _unreadable(self, why: object) -> SmdtError:
        return TrainingError(
            f"holds features that cannot be read ({why})",
            where=self.folder,
            remedy="remove it, and they are computed again",
        )


def pictures_digest(paths: Iterable[Path]) -> str:
    """Sixteen hexadecimal digits of the names, sizes and times of some files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            known = path.stat()
        except OSError:  # said with its name when it is to be read
            continue
        digest.update(f"{path.name} {known.st_size} {known.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def weights_digest(modules: Iterable[nn.Module]) -> str:
    """Sixteen hexadecimal digits of some modules' weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _size(shape: tuple[int, ...]) -> int:
    size = _BYTES
    for one in shape:
        size *= one
    return size


def _take_room(file: int, size: int) -> None:
    """Take room on the disk, since a mapped file that runs out of it later ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
