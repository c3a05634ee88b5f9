"""The guard, both ways, each in a fresh interpreter: operators cannot be undeclared once they stand."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

import pytest


@functools.cache
def run(program: str) -> dict[str, Any]:
    """What a program prints as JSON on its last line, in an interpreter of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


WITH_GUARD = """
import json
from smdt import torchvision_guard
first, second = torchvision_guard.install(), torchvision_guard.install()
import timm, torch, torchvision
from torchvision.transforms import v2
small = v2.Resize((2, 2), antialias=True)(torch.ones(3, 8, 8))
model = timm.create_model("efficientnet_lite0", pretrained=False, num_classes=0)
print(json.dumps({
    "declared": [first, second],
    "loads": torchvision_guard.extension_loads(),
    "resized": small.flatten().tolist(),
    "features": model.num_features,
}))
"""

WITHOUT_GUARD = """
import json
import torch
from smdt import torchvision_guard
declared = torchvision_guard.install(loads=True)
try:
    torch._C._get_schema("torchvision::nms", "")
    stands = True
except RuntimeError:
    stands = False
try:
    import torchvision
    error = None
except RuntimeError as problem:
    error = str(problem)
print(json.dumps({
    "declared": declared, "stands": stands, "error": error, "loads": torchvision_guard.extension_loads()
}))
"""


def test_with_the_guard_torchvision_and_timm_import_and_work() -> None:
    found = run(WITH_GUARD)
    assert found["resized"] == pytest.approx([1.0] * 12)
    assert found["features"] == 1280
    # Declared where the extension does not load, and there only; a second call changes nothing.
    assert found["declared"] == [not found["loads"]] * 2


def test_where_the_extension_loads_nothing_is_declared() -> None:
    found = run(WITHOUT_GUARD)
    assert found["declared"] is False
    assert found["stands"] is False


def test_without_the_guard_this_build_does_not_import() -> None:
    found = run(WITHOUT_GUARD)
    if found["loads"]:
        assert found["error"] is None
        pytest.skip("torchvision's extension loads beside this torch")
    assert "torchvision::nms does not exist" in found["error"]
