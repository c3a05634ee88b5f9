"""One body of code for training and evaluation, where the two graphs differ in nothing but the mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from smdt.export.statements import Body, ByMode, Ref, Statement, references


def merge(training: Body, evaluation: Body) -> Body | None:
    """Both modes as one body, with :class:`ByMode` where a number or truth differs.

    Statements that serve running figures alone may stand in the training graph and not in the other.

    Returns:
        None where the two do different things, so that each needs its own code.
    """
    ours, theirs = mark_updates(training), mark_updates(evaluation)
    main = [statement for statement in ours.statements if not statement.only_updates]
    other = [statement for statement in theirs.statements if not statement.only_updates]
    if (
        len(main) != len(other)
        or ours.inputs != theirs.inputs
        or any(s.only_updates for s in theirs.statements)
    ):
        return None
    partner = {a.number: b.number for a, b in zip(main, other, strict=True)}
    constants = _partners(training, evaluation)
    merged: dict[int, Statement] = {}
    for a, b in zip(main, other, strict=True):
        if a.head != b.head or set(a.keywords) != set(b.keywords):
            return None
        arguments = _merge_values(a.arguments, b.arguments, partner, constants)
        keywords = _merge_values(a.keywords, b.keywords, partner, constants)
        if arguments is _DIFFERENT or keywords is _DIFFERENT:
            return None
        merged[a.number] = replace(a, arguments=arguments, keywords=keywords)
    output = _merge_values(ours.output, theirs.output, partner, constants)
    if output is _DIFFERENT:
        return None
    statements = [
        merged.get(s.number, s) if s.number >= 0 and not s.only_updates else s for s in ours.statements
    ]
    return Body(ours.inputs, statements, output, training.weights | evaluation.weights, training.constants)


def mark_updates(body: Body) -> Body:
    """The body with ``only_updates`` set on what nothing but assignments to buffers needs; the unused is dropped."""
    by_number = {statement.number: statement for statement in body.statements if statement.number >= 0}

    def reached(start: list[Ref]) -> set[int]:
        found: set[int] = set()
        waiting = [reference.number for reference in start]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                statement = by_number[number]
                waiting += [r.number for r in references((statement.arguments, statement.keywords))]
        return found

    assigns = [statement for statement in body.statements if statement.head == "assign"]
    states = [s for s in body.statements if s.number >= 0 and _writes_state(s)]
    main = reached([*references(body.output), *(Ref(s.number) for s in states)])
    side = reached([r for statement in assigns for r in references(statement.arguments)])
    kept = [
        replace(statement, only_updates=statement.number not in main)
        for statement in body.statements
        if statement.number in main or statement.number in side or statement.head == "assign"
    ]
    return replace(body, statements=kept)


class _Different:
    """The mark of values that no mode explains."""


_DIFFERENT: Any = _Different()


def _writes_state(statement: Statement) -> bool:
    """Whether it moves running figures by itself."""
    return getattr(statement.head, "__name__", "") in ("batch_norm", "instance_norm")


def _partners(training: Body, evaluation: Body) -> dict[str, str]:
    """Constants of the training graph that the evaluation graph holds under the same or another name."""
    return {
        name: other
        for name, tensor in training.constants.items()
        for other, twin in evaluation.constants.items()
        if tensor.dtype == twin.dtype and tensor.shape == twin.shape and bool((tensor == twin).all())
    }


def _merge_values(  # noqa: PLR0911 - one return a kind
    a: Any, b: Any, partner: dict[int, int], constants: dict[str, str]
) -> Any:
    if isinstance(a, Ref) and isinstance(b, Ref):
        return a if partner.get(a.number) == b.number else _DIFFERENT
    if isinstance(a, dict) and isinstance(b, dict):
        if list(a) != list(b):
            return _DIFFERENT
        values = {key: _merge_values(a[key], b[key], partner, constants) for key in a}
        return _DIFFERENT if any(value is _DIFFERENT for value in values.values()) else values
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        merged = [_merge_values(one, other, partner, constants) for one, other in zip(a, b, strict=True)]
        if any(value is _DIFFERENT for value in merged):
            return _DIFFERENT
        return merged if isinstance(a, list) else tuple(merged)
    if isinstance(a, bool | float) and type(a) is type(b) and a != b:
        return ByMode(a, b)
    name = getattr(a, "name", None)
    if name in constants and getattr(b, "name", None) == constants[name]:
        return a
    return a if type(a) is type(b) and a == b else _DIFFERENT
