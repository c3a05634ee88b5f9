"""What a training leaves to read: figures as CSV and for TensorBoard, and the record beside the model."""

from __future__ import annotations

import csv
import io
import platform
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from smdt.errors import TrainingError
from smdt.files import write_text_whole

FOLDER = "logs"


class FigureLog:
    """Figures by step, as ``logs/figures.csv`` and as TensorBoard's event files beside it.

    Args:
        out: the training's folder.
        first_step: the first step that will be logged; lines of later steps, of a training that stopped after its
            last checkpoint, are dropped.

    Raises:
        TrainingError: if TensorBoard is not installed.
    """

    def __init__(self, out: Path, first_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "training needs a package that is not installed",
                where="tensorboard",
                remedy="pip install 'smdt[train]'",
            ) from error
        self.path = out / FOLDER / "figures.csv"
        self._rows: list[dict[str, str]] = []
        if first_step > 1 and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) < first_step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._board = SummaryWriter(str(out / FOLDER), purge_step=first_step)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add the figures of a step."""
        self._rows.append({"step": str(step), **{name: f"{value:.6g}" for name, value in figures.items()}})
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text_whole(self.path, text.getvalue())
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is pending."""
        self._board.close()


def made_with(device: torch.device, processes: int) -> dict[str, Any]:
    """The command, commit, versions and device of this process, for a model's record."""
    import numpy as np

    from smdt import __version__

    return {
        "command": _command(),
        "commit": _commit(),
        "device": _device_name(device) + (f", {processes} processes" if processes > 1 else ""),
        "smdt": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("timm", "lightning-fabric") if find_spec(name.replace("-", "_"))},
    }


def _command() -> str:
    """The command line; of absolute paths the last part alone, for the rest says where somebody keeps things."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv]
    return " ".join([Path(words[0]).name, *words[1:]])


def _commit() -> str | None:
    """The commit of the checkout that this package runs from, with a plus sign if files differ from it."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return None
    try:
        run = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        found = subprocess.run(run, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads"
