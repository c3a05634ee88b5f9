"""Every network, mapping and loss of the method equals torch: results, gradients, and steps of SGD and Adam."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from smdt.export.mindspore import to_network
from smdt.export.parity import Parity, measure

from .conftest import ROWS
from .networks import PUBLISHED, SUBJECTS

OUTPUTS, GRADIENTS, STEPS = 1e-4, 1e-3, 1e-4
_ATTEMPTS = 10
COMPILED = (
    "siamese",
    "ViT-B_16, small",
    "generator, classes, wrapped",
    "segmenter",
    "mapping mixed",
    "contrast over places and turns",
)


def _measured(
    module: nn.Module, network: Any, example: Any, entry: str, *, training: bool, steps: bool
) -> Parity:
    """Parity at the example, or at the first of some nudged ones at which gradients agree.

    A value within rounding of an activation's kink (0 or 6 of ReLU6) is on one side of it in one framework and on the
    other in the other; both gradients are right, and differ by a hundredth. Which values are depends on the processor.
    Other inputs have other values there, while a gradient that is wrong is so at all of them.
    """
    for attempt in range(_ATTEMPTS):
        nudged = _nudged(example, attempt) if attempt else example
        found = measure(module, network, nudged, entry, training=training, steps=steps)
        if found.outputs >= OUTPUTS or (found.gradients < GRADIENTS and max(found.sgd, found.adam) < STEPS):
            break
    return found


def _nudged(example: Any, seed: int) -> Any:
    """The example with its floating-point tensors moved by a hundredth."""
    rng = torch.Generator().manual_seed(seed)

    def moved(value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value + 1e-2 * torch.randn(value.shape, generator=rng) if floating else value

    return pytree.tree_map(moved, example)


def test_the_published_transformers_are_five() -> None:
    assert len(PUBLISHED) == 5


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_network_equals_torch(name: str) -> None:
    subject = SUBJECTS[name]
    module = subject.make()
    network = to_network(module, subject.example(3), open_batch=subject.open_batch)
    for batch in (3, 1):
        if batch == 1 and not subject.open_batch:
            network = to_network(module, subject.example(1), open_batch=False)
        for training in subject.modes:
            for entry, arguments in subject.example(batch).items():
                steps = training == subject.modes[0]
                found = _measured(module, network, arguments, entry, training=training, steps=steps)
                ROWS.append((f"{name} {entry}".strip(), batch, training, steps, found))
                assert found.outputs < OUTPUTS
                assert found.gradients < GRADIENTS, found.worst
                assert max(found.sgd, found.adam) < STEPS
                assert found.states < OUTPUTS


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.usefixtures("graph_mode")
def test_a_compiled_network_equals_torch(name: str) -> None:
    assert ms.get_context("mode") == ms.GRAPH_MODE
    subject = SUBJECTS[name]
    module = subject.make()
    calls = dict(list(subject.example(2).items())[:1])
    network = to_network(module, calls, open_batch=False)
    for entry, arguments in calls.items():
        found = _measured(module, network, arguments, entry, training=subject.modes[0], steps=False)
        assert found.outputs < OUTPUTS
        assert found.gradients < GRADIENTS, found.worst
        assert found.states < OUTPUTS
