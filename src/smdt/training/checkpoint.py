"""Checkpoints: one file a step, whole or not there, from which a training goes on as if it had never stopped.

A file is written under a temporary name, flushed to the disk, and renamed; only then are older ones removed. What is
damaged all the same (a disk that lost power) is passed over for the one before. Files hold tensors and plain values
alone and are read without unpickling code.
"""

from __future__ import annotations

import os
import pickle
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smdt.errors import SmdtError, TrainingError
from smdt.files import write_whole

FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d+)\.pt")
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


def checkpoint_path(out: Path, step: int) -> Path:
    """Where the checkpoint of a step belongs."""
    return out / FOLDER / f"step-{step:08d}.pt"


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints of a training, newest first; whether they can be read is not looked at."""
    found = [path for path in (out / FOLDER).glob("step-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def write_checkpoint(out: Path, step: int, content: dict[str, Any], keep: int) -> Path:
    """Write the checkpoint of a step, then remove all but the newest.

    Args:
        out: the training's folder.
        step: optimiser steps done.
        content: tensors, numbers, strings, and dictionaries, lists and tuples of them.
        keep: how many checkpoints stay, this one counted.

    Returns:
        The file.

    Raises:
        TrainingError: if it cannot be written, as on a full disk; the ones before stay.
    """
    path = checkpoint_path(out, step)
    before = checkpoints(out)
    try:
        write_whole(path, lambda partial: _write(partial, content))
        _flush_folder(path.parent)
    except SmdtError as error:
        left = f"the one of step {_step(before[0])} is kept" if before else "there is none before it"
        raise TrainingError(
            f"the checkpoint {error.what}; {left}",
            where=path,
            remedy="make room on the disk, then go on with --resume",
        ) from error
    for old in checkpoints(out)[max(keep, 1) :]:
        old.unlink(missing_ok=True)
    return path


def _write(path: Path, content: dict[str, Any]) -> None:
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # what torch makes of a disk that is full in the middle of a tensor
            raise OSError(str(error).splitlines()[0]) from error
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename outlast a loss of power; some systems know no such thing."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def newest_readable(out: Path) -> tuple[Path, dict[str, Any], list[Path]]:
    """The newest checkpoint that can be read.

    Returns:
        Its path, its content on the CPU, and the newer ones that were passed over because they are damaged.

    Raises:
        TrainingError: if there is no checkpoint, or none can be read.
    """
    require_any(out)
    damaged: list[Path] = []
    for path in checkpoints(out):
        try:
            return path, read_checkpoint(path), damaged
        except TrainingError:
            damaged.append(path)
    raise TrainingError(
        "none of the checkpoints here can be read", where=out / FOLDER, remedy="start anew, in another --out"
    )


def require_any(out: Path) -> None:
    """Refuse a folder without checkpoints.

    Raises:
        TrainingError: naming it.
    """
    if not checkpoints(out):
        raise TrainingError(
            "there is no checkpoint to go on from", where=out / FOLDER, remedy="start without --resume"
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one checkpoint, on the CPU.

    Raises:
        TrainingError: if it is damaged or not a checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise TrainingError("is damaged, or no checkpoint", where=path, remedy="remove it") from error
    if not isinstance(content, dict) or "step" not in content:
        raise TrainingError("is no checkpoint of a training", where=path, remedy="remove it")
    return content


def remove_partials(out: Path) -> None:
    """Remove what a writer that was killed has left behind."""
    for path in (out / FOLDER).glob(".*.step-*.pt"):
        path.unlink(missing_ok=True)


def random_state(generator: torch.Generator, device: torch.device) -> dict[str, Any]:
    """The state of every source of randomness of this process: torch, NumPy, Python, the device, and a generator."""
    drawn: Any = np.random.get_state(legacy=True)  # noqa: NPY002 - libraries draw from it
    words = torch.from_numpy(drawn[1].astype(np.int64))
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": (str(drawn[0]), words, int(drawn[2]), int(drawn[3]), float(drawn[4])),
        "python": random.getstate(),
        "generator": generator.get_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], generator: torch.Generator, device: torch.device) -> None:
    """Put back what :func:`random_state` has taken."""
    torch.set_rng_state(state["torch"])
    kind, words, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    generator.set_state(state["generator"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def plain(value: Any) -> Any:
    """A value as numbers, strings, lists and dictionaries, to be stored and compared; of a path its last part."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value if type(value) in (int, float, str, bool, type(None)) else str(value)
