"""How equal a MindSpore network is to the torch module it was made from: results, gradients, optimiser steps.

All figures are relative: the largest difference over the largest absolute value of torch's tensor. A tensor that is
zero but for rounding (the gradient of a bias before a normalisation, say) has nothing to be relative to; so where a
tensor's largest value is below ``NEGLIGIBLE`` of the network's largest of that kind, this share stands for it. And
elements with such a gradient are left out after an optimiser's step: Adam divides a gradient by its own size, so
that a rounding error would become a whole step.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from smdt.mindspore.network import Network

NEGLIGIBLE = 1e-3

Array = np.ndarray[Any, Any]
Example = tuple[Any, ...]


@dataclass(frozen=True)
class Parity:
    """The largest relative differences from torch.

    Attributes:
        outputs: of the results.
        gradients: of every parameter's and every input's gradient.
        sgd: of the weights after one step of SGD with momentum.
        adam: of the weights after one step of Adam.
        states: of the running figures after the call.
        worst: name of the parameter with the largest difference of gradients.
    """

    outputs: float
    gradients: float
    sgd: float
    adam: float
    states: float
    worst: str


def measure(
    module: nn.Module,
    network: Network,
    example: Example,
    entry: str = "",
    *,
    training: bool = True,
    steps: bool = True,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Parity:
    """Call both once, pull the same random direction back through them, and take a step with SGD and with Adam.

    Args:
        module: a copy is worked on. Dropout must be 0 in training, for the two have different generators.
        network: its conversion; weights and running figures are put back afterwards.
        example: arguments of one call.
        entry: name of the call, if the network has several.
        training: in which mode.
        steps: also take the optimisers' steps; their figures are 0 without.
        learning_rate: of both optimisers.
        seed: of the direction.
    """
    module = copy.deepcopy(module)
    module.train(training)
    network.set_train(training)
    before = network.arrays()
    theirs = _torch_pull(module, example, seed)
    ours = _mindspore_pull(network, example, entry, theirs.directions)
    states = {name: tensor.numpy().copy() for name, tensor in module.named_buffers() if name in before}
    after = network.arrays()
    gradients, worst = _largest(ours.gradients, theirs.gradients)
    network.load_arrays(before)
    sgd, adam = (
        _step(module, network, theirs, ours, before, learning_rate, adam=adam) if steps else 0.0
        for adam in (False, True)
    )
    network.set_train(False)
    return Parity(
        max(difference(a, b) for a, b in zip(ours.outputs, theirs.outputs, strict=True)),
        gradients,
        sgd,
        adam,
        _largest(after, states)[0],
        worst,
    )


def compare(
    module: nn.Module, network: Network, example: Example | Mapping[str, Example]
) -> dict[str, float]:
    """How far the network's results are from the module's, both in evaluation mode.

    Args:
        module: what the network was made of; its modes are put back.
        network: its conversion.
        example: arguments of one call, or of several by name.

    Returns:
        By name of the call, the largest relative difference over all tensors of the result.
    """
    import mindspore

    modes = {name: part.training for name, part in module.named_modules()}
    module.eval()
    network.set_train(False)
    found = {}
    for entry, arguments in (example if isinstance(example, Mapping) else {"": example}).items():
        with torch.no_grad():
            theirs = [tensor.numpy() for tensor in pytree.tree_leaves(module(*arguments))]
        tensors = [mindspore.Tensor(value.numpy()) for value in _tensors(arguments)]
        ours = _leaves(network(*tensors, entry) if entry else network(*tensors))
        found[entry] = max(difference(one.asnumpy(), other) for one, other in zip(ours, theirs, strict=True))
    for name, part in module.named_modules():
        part.training = modes[name]
    return found


def difference(ours: Array, theirs: Array) -> float:
    """The largest difference over the largest absolute value of ``theirs``; infinite if shapes differ or on NaN."""
    if ours.shape != theirs.shape:
        return float("inf")
    if not theirs.size:
        return 0.0
    largest = float(np.abs(theirs.astype(np.float64)).max())
    apart = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
    if np.isnan(apart):
        return float("inf")
    return apart / largest if largest else apart


@dataclass(frozen=True)
class _Pull:
    outputs: list[Array]
    directions: list[Array]
    gradients: dict[str, Array]


def _torch_pull(module: nn.Module, example: Example, seed: int) -> _Pull:
    def followed(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.clone().requires_grad_() if floating else value

    arguments = pytree.tree_map(followed, example)
    outputs = [value for value in pytree.tree_leaves(module(*arguments)) if isinstance(value, Tensor)]
    rng = np.random.default_rng(seed)
    directions = [rng.standard_normal(tuple(output.shape)).astype(np.float32) for output in outputs]
    pulled = sum(
        (output * torch.from_numpy(direction)).sum()
        for output, direction in zip(outputs, directions, strict=True)
        if output.is_floating_point()
    )
    assert isinstance(pulled, Tensor)
    module.zero_grad(set_to_none=False)
    pulled.backward()  # type: ignore[no-untyped-call]
    gradients = {
        name: np.zeros(tuple(parameter.shape), np.float32)
        if parameter.grad is None
        else parameter.grad.numpy()
        for name, parameter in module.named_parameters()
    }
    for place, value in enumerate(_tensors(arguments)):
        if value.grad is not None:
            gradients[f"input {place}"] = value.grad.numpy()
    return _Pull([output.detach().numpy() for output in outputs], directions, gradients)


def _mindspore_pull(network: Network, example: Example, entry: str, directions: list[Array]) -> _Pull:
    import mindspore as ms

    tensors = [ms.Tensor(value.numpy()) for value in _tensors(example)]
    weights = [ms.Tensor(direction) for direction in directions]

    def pull(*inputs: Any) -> Any:  # in Python that graph mode can read
        outputs = _leaves(network(*inputs, entry) if entry else network(*inputs))
        pulled = 0.0
        for number in range(len(weights)):
            if outputs[number].dtype in (ms.float16, ms.float32, ms.float64):
                pulled = pulled + (outputs[number] * weights[number]).sum()
        return pulled, outputs

    floating = [number for number, value in enumerate(tensors) if value.dtype == ms.float32]
    parameters = network.trainable_params()
    backward = ms.value_and_grad(pull, tuple(floating) or None, parameters or None, has_aux=True)
    results, found = backward(*tensors)
    of_inputs, of_parameters = found if floating and parameters else (found, ()) if floating else ((), found)
    gradients = {
        parameter.name: gradient.asnumpy()
        for parameter, gradient in zip(parameters, of_parameters, strict=True)
    }
    of_inputs = of_inputs if isinstance(of_inputs, tuple) else (of_inputs,)
    for number, gradient in zip(floating, of_inputs, strict=True):
        gradients[f"input {number}"] = gradient.asnumpy()
    return _Pull([output.asnumpy() for output in results[1]], directions, gradients)


def _largest(ours: dict[str, Array], theirs: dict[str, Array]) -> tuple[float, str]:
    """The largest relative difference of any tensor, and its name."""
    largest = max((float(np.abs(array).max(initial=0)) for array in theirs.values()), default=0.0)
    found = {"": 0.0}
    for name, array in theirs.items():
        scale = max(float(np.abs(array).max(initial=0)), NEGLIGIBLE * largest) or 1.0
        mine = ours.get(name, np.zeros_like(array))
        if np.array_equal(mine, array, equal_nan=True):
            continue
        found[name] = (
            float(np.abs(mine - array).max(initial=0)) / scale if mine.shape == array.shape else np.inf
        )
        found[name] = float("inf") if np.isnan(found[name]) else found[name]
    worst = max(found, key=found.__getitem__)
    return found[worst], worst


def _step(
    module: nn.Module,
    network: Network,
    theirs: _Pull,
    ours: _Pull,
    before: dict[str, Array],
    learning_rate: float,
    *,
    adam: bool,
) -> float:
    """The largest relative difference of any parameter after one step; both start from the same weights."""
    import mindspore as ms
    from mindspore.experimental import optim

    from smdt.mindspore.optimisers import Adam

    moved = {name for name, gradient in theirs.gradients.items() if np.any(gradient)}
    parameters = {name: one for name, one in module.named_parameters() if name in moved}
    if not parameters:
        return 0.0
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(before[name]))
    own = [parameter for parameter in network.trainable_params() if parameter.name in moved]
    torch_optimiser: torch.optim.Optimizer
    if adam:
        torch_optimiser = torch.optim.Adam(parameters.values(), lr=learning_rate)
        optimiser = Adam(own, learning_rate)
    else:
        torch_optimiser = torch.optim.SGD(parameters.values(), lr=learning_rate, momentum=0.9)
        optimiser = optim.SGD(own, lr=learning_rate, momentum=0.9)
    torch_optimiser.step()
    with _uncompiled():
        optimiser(tuple(ms.Tensor(ours.gradients[parameter.name]) for parameter in own))
    after = network.arrays()
    network.load_arrays(before)
    least = NEGLIGIBLE * max(float(np.abs(theirs.gradients[name]).max(initial=0)) for name in parameters)
    apart = 0.0
    for name, parameter in parameters.items():
        wanted = parameter.detach().numpy()
        counts = np.abs(theirs.gradients[name]) >= least
        differences = np.abs(after[name] - wanted)[counts]
        apart = max(apart, float(differences.max(initial=0)) / (float(np.abs(wanted).max(initial=0)) or 1.0))
    return apart


@contextmanager
def _uncompiled() -> Iterator[None]:
    """For one step an optimiser is not worth compiling, which takes seconds."""
    import mindspore as ms

    mode, wish = ms.get_context("mode"), os.environ.get("MS_JIT")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    os.environ["MS_JIT"] = "0"
    try:
        yield
    finally:
        ms.set_context(mode=mode)
        os.environ.pop("MS_JIT")
        if wish is not None:
            os.environ["MS_JIT"] = wish


def _tensors(example: Any) -> list[Tensor]:
    """The tensors among nested arguments, in order."""
    return [value for value in pytree.tree_leaves(example) if isinstance(value, Tensor)]


def _leaves(outputs: Any) -> Any:
    """Tensors of nested results, in order; in Python that graph mode can read."""
    if isinstance(outputs, dict):
        return _leaves(tuple(outputs.values()))
    if not isinstance(outputs, (list, tuple)):
        return (outputs,)
    leaves = ()
    for output in outputs:
        leaves = leaves + _leaves(output)
    return leaves
