"""A memory of references: the hardest of those of earlier steps, at any turn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smdt.retrieval.losses import contrast_loss
from smdt.retrieval.matching import circular_scores, normalise_queries
from smdt.retrieval.memory import HARDEST, NONE, ReferenceMemory

_CPU = torch.device("cpu")


def _strips(count: int, seed: int, columns: int = 8) -> Tensor:
    return torch.randn(count, 5, columns, generator=torch.Generator().manual_seed(seed))


def _filled(size: int, steps: int, columns: int = 8, dtype: torch.dtype = torch.float32) -> ReferenceMemory:
    """A memory after steps of ten references, numbered through."""
    memory = ReferenceMemory(size, dtype)
    for step in range(steps):
        memory.add(_strips(10, step, columns), torch.arange(10) + 10 * step)
    return memory


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("columns", [1, 7, 8])
def test_the_hardest_are_those_of_the_best_cosine_at_any_turn(columns: int, narrow: bool) -> None:
    memory = _filled(40, 4, columns)
    queries, shown = _strips(6, 99, columns), torch.tensor([[3, -1], [35, 7], *[[-1, -1]] * 4])
    mask = None
    if narrow:
        mask = torch.arange(columns) < torch.tensor([1, 3, 5, 3, 8, 2])[:, None]
    found = memory.hardest(queries, shown, mask)
    assert found is not None
    references = torch.cat([_strips(10, step, columns) for step in range(4)]).half().float()
    seen = torch.ones(6, columns).bool() if mask is None else mask
    scores = circular_scores(normalise_queries(queries, seen), references, seen).amax(2)
    scores[0, 3] = scores[1, 35] = scores[1, 7] = -torch.inf
    assert torch.allclose(found, scores.topk(HARDEST, dim=1).values, atol=1e-5)
    rounded = _filled(40, 4, columns, torch.bfloat16).hardest(queries, shown, mask)
    assert rounded is not None
    assert torch.allclose(found, rounded, atol=0.05)


def test_it_holds_whole_steps_and_forgets_the_oldest() -> None:
    memory = ReferenceMemory(25)
    assert memory.hardest(_strips(2, 0), torch.full((2, 1), -1)) is None
    for step, held in enumerate((10, 20, 30, 30, 30)):
        memory.add(_strips(10, step), torch.arange(10) + 10 * step)
        assert len(memory) == held
    oldest, newest = _strips(10, 0)[:1], _strips(10, 4)[:1]
    found = memory.hardest(torch.cat([oldest, newest]), torch.full((2, 1), -1))
    assert found is not None
    assert float(found[0, 0]) < 0.95
    assert float(found[1, 0]) == pytest.approx(1.0, abs=1e-3)


def test_a_reference_without_a_number_is_nobodys_place() -> None:
    memory = ReferenceMemory(10)
    memory.add(_strips(10, 0), torch.full((10,), -1))
    found = memory.hardest(_strips(2, 1), torch.full((2, 1), -1))
    assert found is not None
    assert bool((found > NONE).all())


def test_a_place_that_fills_the_memory_leaves_no_negatives() -> None:
    memory = ReferenceMemory(2)
    memory.add(_strips(2, 0), torch.tensor([4, 4]))
    queries = _strips(2, 1).requires_grad_()
    found = memory.hardest(queries, torch.tensor([[4], [5]]))
    assert found is not None
    assert bool((found[0] == NONE).all())
    references, heading = _strips(2, 2), torch.zeros(2)
    alone = contrast_loss(queries[:1], references[:1], heading[:1], 10.0)
    scale = torch.tensor(10.0, requires_grad=True)
    beside = contrast_loss(queries[:1], references[:1], heading[:1], scale, negatives=found[:1])
    assert float(beside.detach()) == pytest.approx(float(alone.detach()))
    beside.backward()  # type: ignore[no-untyped-call]
    for one in (queries, scale):
        assert one.grad is not None
        assert bool(one.grad.isfinite().all())


def test_queries_learn_from_it_and_what_is_held_stays_as_it_was() -> None:
    memory = ReferenceMemory(10)
    references = _strips(10, 0).requires_grad_()
    memory.add(references, torch.arange(10))
    queries = _strips(4, 1).requires_grad_()
    found = memory.hardest(queries, torch.full((4, 1), -1))
    assert found is not None
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert references.grad is None
    assert queries.grad is not None
    with torch.no_grad():  # a step along the gradient makes them more alike
        more = memory.hardest(queries + 0.1 * queries.grad, torch.full((4, 1), -1))
    assert more is not None
    assert bool((more.sum(1) > found.sum(1)).all())


def test_negatives_stand_beside_the_references_of_the_batch_alone() -> None:
    queries, references, heading = _strips(3, 0), _strips(3, 1), torch.tensor([0.0, 45.0, 90.0])
    negatives = torch.tensor([[0.5, 0.1], [0.9, 0.2], [NONE, 0.3]])
    scores = circular_scores(normalise_queries(queries), references) * 10.0
    total = 0.0
    for number, column in enumerate((0, 1, 2)):
        own = scores[number, number, column]
        there = torch.cat([scores[number].flatten(), negatives[number] * 10.0]).logsumexp(0)
        total += float(there - own) + float(scores[:, number].flatten().logsumexp(0) - own)
    found = contrast_loss(queries, references, heading, 10.0, negatives=negatives)
    assert float(found) == pytest.approx(total / 6, rel=1e-5)


def test_a_memory_that_is_taken_back_is_the_same() -> None:
    memory, again = _filled(30, 4), ReferenceMemory(30)
    again.load_state(memory.state(), _CPU)
    queries, shown = _strips(5, 9), torch.arange(5)[:, None] + 20
    found = [one.hardest(queries, shown) for one in (memory, again)]
    assert found[0] is not None
    assert found[1] is not None
    assert torch.equal(found[0], found[1])
    again.add(_strips(10, 7), torch.arange(10))
    assert len(again) == len(memory) == 30
