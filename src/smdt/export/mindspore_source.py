"""Readable Python source of a MindSpore network: one line a statement, shapes in comments, parts under their names."""

from __future__ import annotations

import itertools
import keyword
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from smdt.errors import ExportError
from smdt.export.statements import INFIX, Body, ByMode, Input, Ref, Statement, Weight, references

_LETTERS = ("x", "y", "z", "u", "v", "w")
_GROUPS = (
    *("activations", "creation", "elementwise", "layers", "losses", "pooling"),
    *("products", "reductions", "resampling", "shapes", "spectra"),
)
_KINDS = {
    torch.float16: "ms.float16",
    torch.bfloat16: "ms.bfloat16",
    torch.float32: "ms.float32",
    torch.float64: "ms.float64",
    torch.int8: "ms.int8",
    torch.int16: "ms.int16",
    torch.int32: "ms.int32",
    torch.int64: "ms.int64",
    torch.uint8: "ms.uint8",
    torch.bool: "ms.bool_",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer of the network.

    Attributes:
        name: its torch name.
        attribute: its name in the generated class.
        shape: lengths.
        dtype: torch's.
        trains: whether it is a parameter with a gradient.
    """

    name: str
    attribute: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    trains: bool


@dataclass(frozen=True)
class Method:
    """One way to call the network: its bodies in training and in evaluation, or one for both.

    Attributes:
        entry: the name it is asked for by; empty where there is one way only.
        training: what it does in training, and in evaluation where ``evaluation`` is None.
        evaluation: what it does in evaluation, if that is other code.
    """

    entry: str
    training: Body
    evaluation: Body | None


def write_source(name: str, parameters: list[Parameter], constants: list[str], methods: list[Method]) -> str:
    """The generated module.

    Args:
        name: of the class.
        parameters: of all methods.
        constants: those of ``parameters`` that are in no state dict.
        methods: at least one.
    """
    attributes = {parameter.name: parameter.attribute for parameter in parameters}
    parts = [_construct(methods)]
    for method in methods:
        bodies = [("", method.training)]
        if method.evaluation is not None:
            bodies = [("_training", method.training), ("_evaluation", method.evaluation)]
        parts += [_method(f"{method_name(method)}{suffix}", body, attributes) for suffix, body in bodies]
    text = "\n".join(itertools.chain(_class_head(name, parameters, constants), *parts)) + "\n"
    groups = [group for group in _GROUPS if f"{group}." in text]
    head = [
        f'"""{name} for MindSpore, written by `smdt export mindspore` from the PyTorch module."""',
        "",
        "import mindspore as ms",
        *(["from mindspore import ops"] if "ops.assign" in text else []),
        "",
        f"from smdt.mindspore import {', '.join(groups)}" if groups else "",
        "from smdt.mindspore.network import Network",
        "",
        "",
        "",
    ]
    return "\n".join(head) + text.rstrip() + "\n"


def method_name(method: Method) -> str:
    """The method's name in the class."""
    return f"run_{method.entry}" if method.entry else "run"


def attribute_names(names: list[str], taken: set[str]) -> dict[str, str]:
    """An attribute for each torch name: dots become underscores; where two would meet, one gets a number."""
    given: dict[str, str] = {}
    used = set(taken)
    for name in names:
        plain = name.replace(".", "_")
        if not plain.isidentifier() or keyword.iskeyword(plain):
            plain = f"p_{''.join(sign if sign.isalnum() else '_' for sign in plain)}"
        attribute = plain
        for number in itertools.count(2):
            if attribute not in used:
                break
            attribute = f"{plain}_{number}"
        used.add(attribute)
        given[name] = attribute
    return given


def _class_head(name: str, parameters: list[Parameter], constants: list[str]) -> Iterator[str]:
    yield f"class {name}(Network):"
    yield f'    """{len(parameters)} parameters and buffers, under their names in PyTorch."""'
    yield ""
    if constants:
        yield "    constants = ("
        yield from (f"        {name!r}," for name in constants)
        yield "    )"
        yield ""
    yield "    def __init__(self):"
    yield "        super().__init__()"
    for parameter in parameters:
        trains = "" if parameter.trains else ", trains=False"
        kind = _KINDS.get(parameter.dtype)
        if kind is None:
            raise ExportError(f"'{parameter.name}' has type {parameter.dtype}, which MindSpore has not")
        yield f"        self.{parameter.attribute} = self.weight({parameter.name!r}, {parameter.shape}, {kind}{trains})"
    yield ""


def _construct(methods: list[Method]) -> Iterator[str]:
    """``construct``: the one method, or one chosen by the name given last, as the torch module does."""
    inputs = methods[0].training.inputs
    named = any(method.entry for method in methods)
    if any(method.training.inputs != inputs for method in methods):
        inputs = ["*inputs"]
    arguments = (
        [*inputs, "entry"] if named and inputs != ["*inputs"] else ["entry", *inputs] if named else inputs
    )
    yield f"    def construct(self, {', '.join(arguments)}):"
    for method in methods:
        indent = "        "
        if named:
            yield f"{indent}if entry == {method.entry!r}:"
            indent += "    "
        call = f"({', '.join(inputs)})"
        if method.evaluation is None:
            yield f"{indent}return self.{method_name(method)}{call}"
        else:
            yield f"{indent}if self.training:"
            yield f"{indent}    return self.{method_name(method)}_training{call}"
            yield f"{indent}return self.{method_name(method)}_evaluation{call}"
    if named:
        known = ", ".join(method.entry for method in methods)
        yield f'        raise ValueError("this network is called by one of: {known}")'
    yield ""


def _method(name: str, body: Body, attributes: Mapping[str, str]) -> Iterator[str]:
    yield f"    def {name}({', '.join(['self', *body.inputs])}):"
    names = _name_results(body)
    part, in_update = ("", ""), False
    for statement in body.statements:
        if statement.where != part:
            part = statement.where
            yield f"        # {part[0]} ({part[1]})" if part[0] else f"        # {part[1] or 'here'}"
            in_update = False
        if statement.only_updates and not in_update:
            yield "        if self.training:"
        in_update = statement.only_updates
        indent = "            " if statement.only_updates else "        "
        yield f"{indent}{_line(statement, names, attributes)}"
    yield f"        return {_render(body.output, names, attributes)}"
    yield ""


def _line(statement: Statement, names: Mapping[int, str], attributes: Mapping[str, str]) -> str:
    def text(value: Any) -> str:
        return _render(value, names, attributes)

    if statement.head == "assign":
        return f"ops.assign({text(statement.arguments[0])}, {text(statement.arguments[1])})"
    if statement.head == "getitem":
        right = f"{text(statement.arguments[0])}[{text(statement.arguments[1])}]"
    elif statement.head in INFIX.values():
        right = f"{text(statement.arguments[0])} {statement.head} {text(statement.arguments[1])}"
    else:
        function: Any = statement.head
        arguments = [text(value) for value in statement.arguments]
        arguments += [f"{key}={text(value)}" for key, value in statement.keywords.items()]
        right = f"{function.__module__.rpartition('.')[2]}.{function.__name__}({', '.join(arguments)})"
    comment = f"  # {statement.shape}" if statement.shape else ""
    return f"{names[statement.number]} = {right}{comment}"


def _name_results(body: Body) -> dict[int, str]:
    """A variable for each result; a name is free again after its last use, so that memory is, too."""
    last: dict[int, int] = {}
    for place, statement in enumerate(body.statements):
        for reference in references((statement.arguments, statement.keywords)):
            last[reference.number] = place
    for reference in references(body.output):
        last[reference.number] = len(body.statements)
    names: dict[int, str] = {}
    free: list[str] = []
    fresh = (
        name
        for number in itertools.count()
        for letter in _LETTERS
        if (name := f"{letter}{number or ''}") not in body.inputs
    )
    ranks: dict[str, int] = {}
    for place, statement in enumerate(body.statements):
        used = {r.number for r in references((statement.arguments, statement.keywords))}
        free += [names[number] for number in used if last[number] == place]
        if statement.number < 0:
            continue
        free.sort(key=ranks.__getitem__)
        name = free.pop(0) if free else next(fresh)
        ranks.setdefault(name, len(ranks))
        names[statement.number] = name
        if statement.number not in last:
            free.append(name)
    return names


def _render(value: Any, names: Mapping[int, str], attributes: Mapping[str, str]) -> str:  # noqa: PLR0911 - one a kind
    if isinstance(value, Ref):
        return names[value.number]
    if isinstance(value, Weight):
        return f"self.{attributes[value.name]}"
    if isinstance(value, Input):
        return value.name
    if isinstance(value, ByMode):
        if (value.training, value.evaluation) == (True, False):
            return "self.training"
        return f"({value.training!r} if self.training else {value.evaluation!r})"
    if isinstance(value, dict):
        pairs = (f"{key!r}: {_render(one, names, attributes)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        inner = ", ".join(_render(one, names, attributes) for one in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, torch.dtype):
        return _KINDS[value]
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    raise ExportError(f"an argument {value!r} of type {type(value).__name__} cannot be written as source")
