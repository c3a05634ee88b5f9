"""Every network, mapping and loss of the method equals torch: results, gradients, and steps of SGD and Adam."""

from __future__ import annotations

import mindspore as ms
import pytest

from smdt.export.mindspore import to_network
from smdt.export.parity import measure

from .conftest import ROWS
from .networks import PUBLISHED, SUBJECTS

OUTPUTS, GRADIENTS, STEPS = 1e-4, 1e-3, 1e-4
COMPILED = (
    "siamese",
    "ViT-B_16, small",
    "generator, classes, wrapped",
    "segmenter",
    "mapping mixed",
    "contrast over places and turns",
)


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
                found = measure(module, network, arguments, entry, training=training, steps=steps)
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
        found = measure(module, network, arguments, entry, training=subject.modes[0], steps=False)
        assert found.outputs < OUTPUTS
        assert found.gradients < GRADIENTS, found.worst
        assert found.states < OUTPUTS
