"""From a torch module to a MindSpore network: traced, translated by one table, written as source, and compared.

``convert`` reads the module in training and in evaluation mode, so that dropout and normalisation follow
``set_train``. Nothing of the network is written a second time: what is converted is what torch runs.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from smdt import __version__
from smdt.errors import ExportError
from smdt.export import graph, modes
from smdt.export.mindspore_source import Method, Parameter, attribute_names, write_source
from smdt.export.statements import Body, Weight
from smdt.files import write_text_whole, write_whole
from smdt.mindspore import require

if TYPE_CHECKING:
    from smdt.mindspore.network import Network

Example = tuple[Any, ...]
"""Arguments of one call of a module: tensors, and values such as strings, which become part of the code."""


@dataclass(frozen=True)
class Conversion:
    """A module translated.

    Attributes:
        name: of the class.
        source: the generated Python module.
        weights: what torch calls the state dict, as arrays.
        constants: buffers that are not persistent, and tensors written into the code.
        entries: names of the ways to call it; one empty name where there is one way.
    """

    name: str
    source: str
    weights: dict[str, np.ndarray[Any, Any]]
    constants: dict[str, np.ndarray[Any, Any]]
    entries: tuple[str, ...]

    def write(self, folder: Path | str, *, ckpt: bool = False) -> None:
        """Write the folder that ``smdt.mindspore.load`` takes; each file appears whole or not at all.

        Args:
            folder: made where it is missing.
            ckpt: write MindSpore's own ``model.ckpt`` beside the safetensors.
        """
        from smdt.mindspore import load, network

        folder = Path(folder)
        write_text_whole(folder / network.SOURCE_FILE, self.source)
        weights, constants = save(self.weights), save(self.constants)
        write_whole(folder / network.WEIGHTS_FILE, lambda path: path.write_bytes(weights))
        write_whole(folder / network.CONSTANTS_FILE, lambda path: path.write_bytes(constants))
        record = {
            "class": self.name,
            "entries": list(self.entries),
            "smdt": __version__,
            "torch": torch.__version__,
        }
        write_text_whole(folder / network.RECORD_FILE, json.dumps(record, indent=2) + "\n")
        if ckpt:
            import mindspore

            cell = load(folder)
            write_whole(folder / "model.ckpt", lambda path: mindspore.save_checkpoint(cell, str(path)))


def convert(
    module: nn.Module | Callable[..., Any],
    example: Example | Mapping[str, Example],
    *,
    name: str | None = None,
    open_batch: bool = True,
) -> Conversion:
    """Translate a torch module, or a function of tensors such as a loss.

    Args:
        module: left as it was. Its modes are not part of the result: the network follows ``set_train``.
        example: arguments of one call; or of several calls by name, where the module does different things (for
            two views, say): the network is then called with that name last. The first dimension of tensors with
            more than one sample stays open; all other sizes are fixed.
        name: of the class; the module's own without it.
        open_batch: without, the batch is as fixed as all else, and reading the module is some times quicker.

    Raises:
        ExportError: if torch cannot trace it, or an operation is missing from the table: named, with its place.
        ModelError: if MindSpore is not installed here.
    """
    require()
    from smdt.mindspore.network import Network
    from smdt.mindspore.table import OPERATIONS

    if not isinstance(module, nn.Module):
        module = _as_module(module)
    calls = example if isinstance(example, Mapping) else {"": example}
    methods, lifted = [], dict[str, Tensor]()
    for entry, arguments in calls.items():
        bodies = []
        for training in (True, False):
            body = graph.trace(module, arguments, OPERATIONS, training=training, open_batch=open_batch)
            _keep_constants(body, lifted)
            bodies.append(modes.mark_updates(body))
        merged = modes.merge(*bodies)
        methods.append(Method(entry, merged, None) if merged is not None else Method(entry, *bodies))
    tensors = _tensors(module) | lifted
    persistent = {key for key in module.state_dict() if key in tensors}
    constants = [key for key in tensors if key not in persistent]
    used = set().union(
        *(body.weights for m in methods for body in (m.training, m.evaluation) if body is not None)
    )
    constants = [key for key in constants if key in used]
    kept = [key for key in tensors if key in persistent or key in constants]
    attributes = attribute_names(kept, set(dir(Network)) | {f"run_{entry}" for entry in calls} | {"run"})
    trained = {key for key, _ in module.named_parameters()}
    parameters = [
        Parameter(key, attributes[key], tuple(tensors[key].shape), tensors[key].dtype, key in trained)
        for key in kept
    ]
    title = _class_name(name or type(module).__name__)
    return Conversion(
        title,
        write_source(title, parameters, constants, methods),
        {key: _array(tensors[key]) for key in kept if key in persistent},
        {key: _array(tensors[key]) for key in constants},
        tuple(calls),
    )


def to_network(
    module: nn.Module | Callable[..., Any],
    example: Example | Mapping[str, Example],
    *,
    name: str | None = None,
    open_batch: bool = True,
) -> Network:
    """The MindSpore cell of a torch module at once, with its weights, in evaluation mode.

    Args:
        module: as :func:`convert` takes it.
        example: as :func:`convert` takes it.
        name: of the class.
    """
    from smdt.mindspore import load

    folder = Path(tempfile.mkdtemp(prefix="smdt-mindspore-"))
    try:
        convert(module, example, name=name, open_batch=open_batch).write(folder)
        return load(folder)
    finally:
        _forget_later(folder)


def write_mindir(network: Network, example: Example | Mapping[str, Example], folder: Path) -> list[Path]:
    """Write a MindIR for each call, for MindSpore's runtimes without Python; all sizes, the batch too, are fixed.

    Args:
        network: as loaded; it is put into evaluation mode.
        example: calls, as :func:`convert` takes them.
        folder: for ``network.mindir``, or ``ENTRY.mindir`` for each name.

    Raises:
        ExportError: if MindSpore cannot write one, with what it says.
    """
    import mindspore

    from smdt.mindspore.network import OneCall

    written = []
    for entry, arguments in (example if isinstance(example, Mapping) else {"": example}).items():
        tensors = [mindspore.Tensor(value.numpy()) for value in arguments if isinstance(value, Tensor)]
        path = folder / f"{entry or 'network'}.mindir"
        call = OneCall(network, entry).set_train(False)
        try:
            write_whole(
                path,
                lambda partial, call=call, tensors=tensors: mindspore.export(  # type: ignore[misc]
                    call, *tensors, file_name=str(partial), file_format="MINDIR"
                ),
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise ExportError(
                f"MindSpore cannot write it ({str(error).strip().splitlines()[0]})",
                where=path,
                remedy="leave out --mindir",
            ) from error
        path.chmod(0o644)  # MindSpore leaves it unreadable to others
        written.append(path)
    return written


def _as_module(function: Callable[..., Any]) -> nn.Module:
    title = getattr(function, "__name__", "function")
    module: nn.Module = type(title, (nn.Module,), {"forward": staticmethod(function)})()
    return module


def _class_name(text: str) -> str:
    words = [word for word in re.split(r"[^0-9A-Za-z]+", text) if word]
    joined = "".join(word[:1].upper() + word[1:] for word in words) or "Network"
    return f"Net{joined}" if joined[0].isdigit() or joined == "Network" else joined


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.dtype == torch.bfloat16:
        raise ExportError("a weight in bfloat16 cannot be written", remedy="convert the module with .float()")
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _keep_constants(body: Body, lifted: dict[str, Tensor]) -> None:
    """Give constants of several graphs names that do not meet; equal ones share one."""
    renamed = {}
    for name, tensor in body.constants.items():
        for place in range(len(lifted) + 1):
            wanted = name if place == 0 else f"{name}_{place}"
            held = lifted.get(wanted)
            if held is None or (held.dtype == tensor.dtype and torch.equal(held, tensor)):
                lifted[wanted] = tensor
                renamed[name] = wanted
                break
    body.constants = {renamed[name]: tensor for name, tensor in body.constants.items()}
    body.weights = {renamed.get(name, name) for name in body.weights}
    for statement in body.statements:
        statement.arguments = _rename(statement.arguments, renamed)
        statement.keywords = _rename(statement.keywords, renamed)
    body.output = _rename(body.output, renamed)


def _rename(value: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, Weight):
        return Weight(renamed.get(value.name, value.name))
    if isinstance(value, dict):
        return {key: _rename(one, renamed) for key, one in value.items()}
    if isinstance(value, list):
        return [_rename(one, renamed) for one in value]
    if isinstance(value, tuple):
        return tuple(_rename(one, renamed) for one in value)
    return value


def _forget_later(folder: Path) -> None:
    """Graph mode reads a network's source when it first runs, so the file stays until the program ends."""
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
