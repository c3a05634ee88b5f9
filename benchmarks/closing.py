"""The lines that every benchmark closes with: on what it was measured, and its result as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch


def add_closing_options(parser: argparse.ArgumentParser) -> None:
    """``--threads``, ``--seed`` and ``--json``, which all of them take."""
    parser.add_argument(
        "--threads", type=int, help="PyTorch's threads; one is steadiest on a machine that is busy"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here")


def circumstances() -> dict[str, object]:
    """Device, threads, versions and commit of a measurement."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return {
        "device": f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": asked.stdout.strip() or None,
    }


def write_result(path: Path | None, result: Mapping[str, object]) -> None:
    """Write a result as JSON, if a file was named."""
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n")
