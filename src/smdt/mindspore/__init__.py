"""Networks converted to MindSpore, used without PyTorch: ``smdt.mindspore.load(folder)``.

Nothing in this package imports torch, and importing it imports no MindSpore: :func:`load` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smdt.errors import ModelError

if TYPE_CHECKING:
    from smdt.mindspore.network import Network

REMEDY = "install it in an environment of its own: pip install mindspore==2.8.0 numpy==1.26.4"


def load(folder: Path | str) -> Network:
    """A network that ``smdt export mindspore`` has written, as a MindSpore cell in evaluation mode.

    Args:
        folder: what ``--out`` named.

    Returns:
        A ``mindspore.nn.Cell`` called like the torch module it was made from. Its parameters have their torch names.

    Raises:
        ModelError: if MindSpore is not installed, or the folder is not what the command writes.
    """
    require()
    from smdt.mindspore.network import load_folder

    return load_folder(Path(folder))


def require() -> None:
    """See that MindSpore can be imported.

    Raises:
        ModelError: if it cannot, with what to install.
    """
    try:
        import mindspore  # noqa: F401
    except ImportError as error:
        raise ModelError("is not installed here", where="mindspore", remedy=REMEDY) from error
