"""The base of generated networks: parameters under their torch names, loaded from and saved to safetensors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from smdt.errors import ModelError
from smdt.files import write_whole

RECORD_FILE, SOURCE_FILE = "network.json", "network.py"
WEIGHTS_FILE, CONSTANTS_FILE = "model.safetensors", "constants.safetensors"


class Network(nn.Cell):  # type: ignore[misc]  # MindSpore has no types
    """A cell whose parameters have the names they had in PyTorch.

    ``set_train(True)`` and ``set_train(False)`` switch dropout and normalisation, as ``train()`` and ``eval()`` do.
    """

    constants: tuple[str, ...] = ()
    """Names that are in no ``state_dict``: buffers that are not persistent, and tensors written into the code."""

    def weight(self, name: str, shape: tuple[int, ...], dtype: Any, *, trains: bool = True) -> Any:
        """A parameter of zeros, to be loaded; ``trains=False`` for buffers."""
        return ms.Parameter(ops.zeros(shape, dtype), name=name, requires_grad=trains)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """All parameters and buffers by torch name, without the constants: what torch calls the state dict."""
        return {
            parameter.name: np.array(parameter.asnumpy(), order="C")
            for parameter in self.get_parameters()
            if parameter.name not in self.constants
        }

    def load_arrays(self, arrays: dict[str, np.ndarray[Any, Any]], where: Path | str = "arrays") -> None:
        """Take values by torch name.

        Raises:
            ModelError: if a name is unknown or a shape differs.
        """
        own = {parameter.name: parameter for parameter in self.get_parameters()}
        for name, array in arrays.items():
            if name not in own:
                raise ModelError(
                    f"holds '{name}', which this network has not", where=where, remedy="export it again"
                )
            if tuple(own[name].shape) != array.shape:
                raise ModelError(
                    f"'{name}' has shape {array.shape}, the network {tuple(own[name].shape)}",
                    where=where,
                    remedy="export it again",
                )
            own[name].set_data(ms.Tensor(array).astype(own[name].dtype))

    def save_weights(self, path: Path | str) -> None:
        """Write parameters and buffers as safetensors that the torch module's ``load_state_dict`` takes as they are."""
        arrays = self.arrays()
        write_whole(Path(path), lambda partial: partial.write_bytes(save(arrays)))


class OneCall(nn.Cell):  # type: ignore[misc]  # MindSpore has no types
    """A network with the name of its call filled in, for exporters that take tensors only.

    Args:
        network: with one or several ways to call it.
        entry: which; empty where there is one.
    """

    def __init__(self, network: Network, entry: str) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.entry = network, entry

    def construct(self, *inputs: Any) -> Any:
        """The network's result."""
        if self.entry:
            return self.network(*inputs, self.entry)
        return self.network(*inputs)


def load_folder(folder: Path) -> Network:
    """A network written by ``smdt export mindspore``, in evaluation mode.

    Raises:
        ModelError: if files are missing, damaged, or do not fit each other.
    """
    for name in (RECORD_FILE, SOURCE_FILE, WEIGHTS_FILE, CONSTANTS_FILE):
        if not (folder / name).is_file():
            raise ModelError(
                "is missing",
                where=folder / name,
                remedy="give a folder that `smdt export mindspore` has written",
            )
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS_FILE)
        constants = load_file(folder / CONSTANTS_FILE)
        network: Network = getattr(load_source(folder / SOURCE_FILE), record["class"])()
    except (OSError, ValueError, KeyError, AttributeError, SyntaxError, SafetensorError) as error:
        raise ModelError(
            f"does not hold a network ({str(error).splitlines()[0]})", where=folder, remedy="export it again"
        ) from error
    missing = sorted(set(network.parameters_dict()) - set(weights) - set(constants))
    if missing:
        raise ModelError(
            f"weights lack '{missing[0]}'", where=folder / WEIGHTS_FILE, remedy="export it again"
        )
    network.load_arrays(weights, folder / WEIGHTS_FILE)
    network.load_arrays(constants, folder / CONSTANTS_FILE)
    network.set_train(False)
    return network


def load_source(path: Path) -> Any:
    """A generated module, imported from its file under a name of its content: graph mode looks modules up by name."""
    name = f"smdt_network_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # pragma: no cover - a .py file always has one
        raise ModelError("cannot be imported", where=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
