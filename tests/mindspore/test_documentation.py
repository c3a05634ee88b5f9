"""docs/mindspore.md says what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from smdt.mindspore.table import OPERATIONS, coverage_table

PAGE = Path(__file__).parents[2] / "docs" / "mindspore.md"


def test_the_page_s_table_is_the_code_s() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert coverage_table() in text, "print(smdt.mindspore.table.coverage_table()) and put it into the page"
    assert f"{len(OPERATIONS)} overloads" in text


def test_the_page_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    Path("example.py").write_text("\n".join(blocks), encoding="utf-8")
    names = runpy.run_path("example.py", run_name="example")
    assert names["apart"]["left"] < 1e-5
    assert (tmp_path / "mine" / "network.py").is_file()
    assert names["after"] < names["before"]
