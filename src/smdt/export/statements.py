"""What a network does, line by line: between torch's graph and the source that is written."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

INFIX: dict[Any, str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.floordiv: "//",
    operator.truediv: "/",
    operator.mod: "%",
    operator.pow: "**",
}
"""Python's own operators, which torch.export uses on lengths."""


@dataclass(frozen=True)
class Ref:
    """The result of a statement, by its number."""

    number: int


@dataclass(frozen=True)
class Weight:
    """A parameter, a buffer or a constant, by its torch name."""

    name: str


@dataclass(frozen=True)
class Input:
    """An argument of the module."""

    name: str


@dataclass(frozen=True)
class ByMode:
    """A number or truth that depends on the mode.

    Attributes:
        training: in training.
        evaluation: in evaluation.
    """

    training: float
    evaluation: float


@dataclass
class Statement:
    """One line of the network.

    Attributes:
        head: what is called: a function of the table, an infix sign, ``getitem``, or ``assign``.
        arguments: references and plain values, in the order of the aten schema.
        keywords: the same by name.
        number: which :class:`Ref` names its result.
        shape: of the result, as text.
        where: path and class of the module it comes from.
        only_updates: whether its result serves running figures alone.
    """

    head: Callable[..., Any] | str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    number: int
    shape: str = ""
    where: tuple[str, str] = ("", "")
    only_updates: bool = False


@dataclass
class Body:
    """What one call of the network does.

    Attributes:
        inputs: names of the tensor arguments, in order.
        statements: in order.
        output: the result, as nested tuples, lists and dicts of references.
        weights: names of the parameters, buffers and constants that are read.
        constants: tensors written into the code, by the name they were given.
    """

    inputs: list[str]
    statements: list[Statement]
    output: Any
    weights: set[str]
    constants: dict[str, Tensor] = field(default_factory=dict)


def references(value: Any) -> Iterator[Ref]:
    """All references in nested arguments."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from references(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from references(one)
