"""Let torchvision import where its binary extension cannot load.

The published torchvision wheel is built against CUDA libraries. Beside a CPU build of PyTorch its extension does
not load, and importing torchvision then fails with ``operator torchvision::nms does not exist``, because it
registers fake kernels for two operators that only the extension declares. Declaring their schemas first lets the
pure-Python part (models, transforms v2), which timm needs, import and run. Where the extension does load, nothing
is declared. ``torchvision.io`` and the two operators themselves stay unavailable without the extension.

Import this module before timm or torchvision: ``from smdt import torchvision_guard``; ``torchvision_guard.install()``.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: object | None = (
    None  # the torch.library.Library must outlive the import, or its schemas go with it
)


def extension_loads() -> bool:
    """Whether torchvision's binary extension can be loaded here (False also where torchvision is absent)."""
    import torch  # noqa: F401 - the extension links against libraries that importing torch loads

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for extension in sorted(Path(spec.origin).parent.glob("_C*.so")) + sorted(
        Path(spec.origin).parent.glob("_C*.pyd")
    ):
        try:
            ctypes.CDLL(str(extension))
        except OSError:
            continue
        return True
    return False


def install(*, loads: bool | None = None) -> bool:
    """Declare the missing operator schemas if the extension does not load; do nothing otherwise.

    Args:
        loads: what to take for the answer of :func:`extension_loads` (for tests).

    Returns:
        True if schemas stand declared by this module after the call.
    """
    global _declared  # noqa: PLW0603
    import torch

    if _declared is None and not (extension_loads() if loads is None else loads):
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _declared = library
    return _declared is not None
