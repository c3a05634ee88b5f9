"""Every line of the table against torch, on random shapes, options and types: results, their types, and gradients."""

from __future__ import annotations

import inspect
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from smdt.export.graph import DROPPED
from smdt.mindspore.table import COMPLEX, OPERATIONS

from . import creation_cases, layer_cases, shape_cases, spectrum_cases
from .operation_cases import CASES, Fixed

ms.set_context(mode=ms.PYNATIVE_MODE)
MANY = tuple(
    f"aten.{name}" for name in ("conv", "max_pool", "avg_pool", "adaptive", "pad", "upsample", "_upsample")
)
RANDOM = {"aten.dropout.default", "aten.feature_dropout.default", "aten.bernoulli.p", "aten.bernoulli.float"}
UNSET = {"aten.empty.memory_format", "aten.empty_like.default", "aten.new_empty.default"}
KINDS = {
    torch.float32: ms.float32,
    torch.float64: ms.float64,
    torch.int64: ms.int64,
    torch.int32: ms.int32,
    torch.bool: ms.bool_,
}


def test_every_entry_of_the_table_has_a_case() -> None:
    assert creation_cases and layer_cases and shape_cases and spectrum_cases  # noqa: PT018 - imported for what they register
    assert set(OPERATIONS) - set(CASES) == RANDOM | UNSET
    assert set(CASES) <= set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_function_takes_the_schema_s_arguments_with_their_defaults(name: str) -> None:
    """torch.export leaves an argument out where it has the schema's default."""
    _, operation, kind = name.removeprefix(COMPLEX).split(".")
    packet = getattr(torch.ops.aten, operation)
    overload = getattr(
        packet if kind in packet.overloads() else getattr(torch.ops.aten, f"{operation}_"), kind
    )
    taken = inspect.signature(OPERATIONS[name]).parameters
    wanted = [argument for argument in overload._schema.arguments if argument.name not in DROPPED]
    positional = [argument for argument in wanted if not argument.kwarg_only]
    assert len(taken) >= len(positional)
    pairs = list(zip(positional, taken.values(), strict=False))
    pairs += [(argument, taken[argument.name]) for argument in wanted if argument.kwarg_only]
    for argument, parameter in pairs:
        if argument.has_default_value():
            assert alike(parameter.default, argument.default_value), (argument.name, parameter.default)


def alike(ours: Any, theirs: Any) -> bool:
    """Defaults that mean the same; an absent type, size or dimension is None or empty."""
    empty = (None, (), [])
    if isinstance(theirs, list) and theirs and all(one == theirs[0] for one in theirs):
        theirs = theirs[0]
    return ours == theirs or (ours in empty and theirs in empty)


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_operation_equals_torch(name: str) -> None:
    case = CASES[name]

    @settings(
        max_examples=10 if name.startswith(MANY) else 4,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a failure names its arguments; smaller ones are not looked for
        report_multiple_bugs=False,
    )
    @given(data=st.data())
    def against_torch(data: Any) -> None:
        arguments, keywords = case.arguments(data.draw)
        compare(name, arguments, keywords, gradient=case.gradient, tolerance=case.tolerance)

    against_torch()


def compare(
    name: str, arguments: list[Any], keywords: dict[str, Any], *, gradient: bool, tolerance: float
) -> None:
    overload: Any = torch.ops
    for part in name.removeprefix(COMPLEX).split("."):
        overload = getattr(overload, part)
    theirs_in = convert(arguments, lambda array: torch.from_numpy(np.array(array)))
    named = [a.name for a in overload._schema.arguments]
    kept = [value for key, value in zip(named, arguments, strict=False) if key not in DROPPED]
    ours_in = convert(kept, lambda array: ms.Tensor(as_pairs(np.array(array))))
    fixed = [
        isinstance(value, Fixed)
        for value in flatten(kept)
        if isinstance(value, Fixed | np.ndarray | np.generic)
    ]
    ours_keywords = {
        key: KINDS.get(value, value) if key == "dtype" else value for key, value in keywords.items()
    }
    ours_in = [KINDS[value] if isinstance(value, torch.dtype) else value for value in ours_in]
    tracked = [
        t
        for t in flatten(theirs_in)
        if isinstance(t, torch.Tensor) and (t.is_floating_point() or t.is_complex())
    ]
    tensors_in = [t for t in flatten(theirs_in) if isinstance(t, torch.Tensor)]
    tracked = [t for t in tracked if not fixed[next(i for i, one in enumerate(tensors_in) if one is t)]]
    if gradient:
        for tensor in tracked:
            tensor.requires_grad_()
    theirs = [real(result) for result in flatten(overload(*theirs_in, **keywords))]
    ours = flatten(OPERATIONS[name](*ours_in, **ours_keywords))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, torch.Tensor):
            assert one.dtype == KINDS[other.dtype], (one.dtype, other.dtype)
        close(one, other, tolerance)
    if gradient and any(isinstance(t, torch.Tensor) and t.requires_grad for t in theirs):
        compare_gradients(name, ours_in, ours_keywords, theirs, tracked, fixed, tolerance)


def compare_gradients(
    name: str,
    ours_in: list[Any],
    keywords: dict[str, Any],
    theirs: list[Any],
    tracked: list[Any],
    fixed: list[bool],
    tolerance: float,
) -> None:
    rng = np.random.default_rng(7)
    weights = [
        rng.standard_normal(tuple(t.shape)).astype(np.float32) if t.is_floating_point() else None
        for t in theirs
    ]
    pulled = sum(
        (t * torch.from_numpy(w)).sum() for t, w in zip(theirs, weights, strict=True) if w is not None
    )
    assert isinstance(pulled, torch.Tensor)
    pulled.backward()
    tensors = [t for t in flatten(ours_in) if isinstance(t, ms.Tensor)]
    floating = [i for i, t in enumerate(tensors) if t.dtype in (ms.float32, ms.float64) and not fixed[i]]
    held = [None if w is None else ms.Tensor(w) for w in weights]

    def pull(*inputs: Any) -> Any:
        waiting = iter(inputs)
        outputs = flatten(OPERATIONS[name](*rebuild(ours_in, waiting), **keywords))
        return sum((o * w).sum() for o, w in zip(outputs, held, strict=True) if w is not None)

    found = ms.grad(pull, grad_position=tuple(floating))(*tensors)
    found = found if isinstance(found, tuple) else (found,)
    for one, tensor in zip(found, tracked, strict=True):
        wanted = real(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
        close(one, wanted, tolerance * 5)


def close(one: Any, other: Any, tolerance: float) -> None:
    ours = one.asnumpy() if isinstance(one, ms.Tensor) else np.asarray(one)
    theirs = other.detach().numpy() if isinstance(other, torch.Tensor) else np.asarray(other)
    assert ours.shape == theirs.shape
    scale = max(float(np.abs(theirs[np.isfinite(theirs)].astype(np.float64)).max(initial=0.0)), 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


def real(value: Any) -> Any:
    """A complex tensor as the pairs that stand for it."""
    return (
        torch.view_as_real(value.resolve_conj())
        if isinstance(value, torch.Tensor) and value.is_complex()
        else value
    )


def as_pairs(values: Any) -> Any:
    return np.stack([values.real, values.imag], -1) if np.iscomplexobj(values) else values


def convert(value: Any, make: Any) -> Any:
    if isinstance(value, Fixed):
        return make(value.values)
    if isinstance(value, np.ndarray | np.generic):
        return make(value)
    if isinstance(value, list | tuple):
        return type(value)(convert(one, make) for one in value)
    return value


def flatten(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in flatten(one)]
    return [value]


def rebuild(value: Any, waiting: Any) -> Any:
    if isinstance(value, ms.Tensor):
        return next(waiting)
    if isinstance(value, list | tuple):
        return type(value)(rebuild(one, waiting) for one in value)
    return value
