"""These tests need MindSpore beside torch, as `make test-mindspore` builds it; elsewhere they are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROWS: list[tuple[str, int, bool, bool, Any]] = []
"""What was measured: name, batch, training or not, whether steps were taken, and the figures."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    absent = importlib.util.find_spec("mindspore") is None
    return True if absent and collection_path.name.startswith("test_") else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of parity."""
    if not ROWS:
        return
    terminalreporter.section("MindSpore against torch, largest relative differences")
    width = max(len(name) for name, *_ in ROWS)
    terminalreporter.write_line(
        f"{'network':{width}}  batch  mode   outputs  gradients  SGD step  Adam step  running figures"
    )
    for name, batch, training, steps, found in ROWS:
        sgd, adam = (f"{value:.1e}" if steps else "" for value in (found.sgd, found.adam))
        mode = "train" if training else "eval"
        terminalreporter.write_line(
            f"{name:{width}}  {batch:5}  {mode:5}  {found.outputs:.1e}  {found.gradients:.1e}    {sgd:8}  {adam:9}  "
            f"{found.states:.1e}"
        )


@pytest.fixture(scope="session", autouse=True)
def one_operation_at_a_time() -> None:
    """One small operation after the other: to hand each to MindSpore's pipeline of threads costs five times as much."""
    import mindspore

    mindspore.runtime.launch_blocking()


@pytest.fixture(autouse=True)
def the_same_numbers_each_time() -> None:
    """A test draws the same weights and inputs in every run: tolerances are judged, not luck."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def graph_mode() -> Iterator[None]:
    import mindspore

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    yield
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
