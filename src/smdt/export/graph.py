"""A torch module as a list of statements: ``torch.export``'s graph, read through the table of operations.

The graph is taken as traced, before any decomposition, so that dropout, normalisation and attention stay one
operation each. Operations in place become operations out of place, and a tensor's later uses read the result;
where another view of the same memory is used afterwards that would be wrong, and it is an error.
"""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from smdt.errors import ExportError
from smdt.export.statements import INFIX, Body, Input, Ref, Statement, Weight

DROPPED = (  # arguments that mean nothing to MindSpore
    *("device", "layout", "pin_memory", "memory_format", "non_blocking", "copy", "generator"),
    *("cudnn_enable", "cudnn_enabled"),
)
_CHECKS = ("aten._assert", "aten.sym_constrain", "aten._check")


def trace(
    module: nn.Module,
    arguments: tuple[Any, ...],
    operations: Mapping[str, Callable[..., Any]],
    *,
    training: bool,
    open_batch: bool = True,
) -> Body:
    """Read one call of a module in one mode.

    Args:
        module: left as it was.
        arguments: example arguments; a tensor's first dimension is left open where its length is not 1.
        operations: MindSpore functions by aten overload.
        training: in which mode.
        open_batch: leave the first dimension of tensors open; without, tracing is quicker and all sizes are fixed.

    Raises:
        ExportError: if torch cannot trace the module, an operation is not in the table, or one in place cannot be
            read out of place.
    """
    modes = {name: part.training for name, part in module.named_modules()}
    try:
        module.train(training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own internals
            program = torch.export.export(
                module,
                arguments,
                dynamic_shapes=_shapes(module, arguments) if open_batch else None,
                strict=False,
            )
    except ExportError:
        raise
    except Exception as error:  # torch raises its own, the module's, and Python's errors here
        raise ExportError(
            f"torch.export cannot trace it ({str(error).strip().splitlines()[0]})",
            where=type(module).__name__,
            remedy="see that forward takes tensors and does not branch on their values",
        ) from error
    finally:
        for name, part in module.named_modules():
            part.training = modes[name]
    return _Reader(module, program, operations).body()


def _open_batch(value: Any) -> Any:
    if isinstance(value, Tensor) and value.ndim and value.shape[0] > 1:
        return {0: torch.export.Dim.AUTO}
    return None


def _shapes(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Which dimensions are open, in the order and nesting that ``torch.export`` wants: ``*more`` is one of its own."""
    shapes = pytree.tree_map(_open_batch, arguments)
    parameters = list(inspect.signature(module.forward).parameters.values())
    for place, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL and place < len(shapes):
            return (*shapes[:place], tuple(shapes[place:]))
    return tuple(shapes)


class _Reader:
    """Turns one exported program into statements."""

    def __init__(
        self,
        module: nn.Module,
        program: torch.export.ExportedProgram,
        operations: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.program, self.operations = program, operations
        self.canonical = _canonical_names(module)
        self.values: dict[fx.Node, Any] = {}
        self.statements: list[Statement] = []
        self.constants: dict[str, Tensor] = {}
        self.weights: set[str] = set()
        self.missing: dict[str, str] = {}
        self.symbols: dict[str, str] = {}
        self.order = {node: place for place, node in enumerate(program.graph.nodes)}

    def body(self) -> Body:
        inputs = self._read_inputs()
        output: Any = None
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._read(node)
            elif node.op == "get_attr":
                self.missing.setdefault(f"get_attr {node.target}", _place(node))
            elif node.op == "output":
                output = node.args[0]
        if self.missing:
            raise _missing_error(self.missing)
        return Body(inputs, self.statements, self._output(output), self.weights, self.constants)

    def _read_inputs(self) -> list[str]:
        inputs = []
        placeholders = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        for spec in self.program.graph_signature.input_specs:
            node = placeholders[spec.arg.name]
            if spec.kind == InputKind.USER_INPUT:
                if not isinstance(spec.arg, ConstantArgument):
                    inputs.append(node.name)
                    self.values[node] = Input(node.name)
            elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                self.values[node] = Weight(self.canonical[str(spec.target)])
            elif spec.kind == InputKind.CONSTANT_TENSOR:
                name = str(spec.target)
                self.constants[name] = self.program.constants[name]
                self.values[node] = Weight(name)
            else:
                self.missing.setdefault(f"an input of kind {spec.kind.name}", "forward")
        return inputs

    def _read(self, node: fx.Node) -> None:
        target = node.target
        if target in INFIX:
            self._add(node, INFIX[target], node.args, {})
        elif target is operator.getitem:
            self._add(node, "getitem", node.args, {})
        elif str(target).startswith(_CHECKS):
            pass
        elif not isinstance(target, torch._ops.OpOverload):
            self.missing.setdefault(str(target), _place(node))
        elif _writes(target):
            self._read_in_place(node, target)
        else:
            self._call(node, str(target))

    def _call(self, node: fx.Node, name: str) -> None:
        if _is_complex(node) or any(_is_complex(one) for one in node.all_input_nodes):
            name = f"complex:{name}"
        function = self.operations.get(name)
        if function is None:
            self.missing.setdefault(name, _place(node))
            return
        keywords = {key: value for key, value in node.kwargs.items() if key not in DROPPED}
        overload: Any = node.target
        names = [argument.name for argument in overload._schema.arguments if not argument.kwarg_only]
        arguments = [value for key, value in zip(names, node.args, strict=False) if key not in DROPPED]
        self._add(node, function, arguments, keywords)

    def _read_in_place(self, node: fx.Node, target: torch._ops.OpOverload) -> None:
        """Emit the operation out of place, and let the written tensor's later uses read its result."""
        written = node.args[0]
        assert isinstance(written, fx.Node)
        self._refuse_shared(node, written)
        name, _, overload = str(target).rpartition(".")
        if name == "aten.copy_":
            source = node.args[1]
            assert isinstance(source, fx.Node)
            self._add(node, self.operations["aten.expand_as.default"], (source, written), {})
        else:
            self._call(node, f"{name.removesuffix('_')}.{overload}")
        if node not in self.values:
            return
        held = self.values[written]
        if isinstance(held, Weight):
            self.statements.append(
                Statement("assign", (held, self.values[node]), {}, -1, where=_module_of(node))
            )
        else:
            self.values[written] = self.values[node]

    def _refuse_shared(self, node: fx.Node, written: fx.Node) -> None:
        """See that no other view of the memory written to is used later."""
        memory = _memory(written)
        for other in self.order:
            if other in (written, node) or self.order[other] > self.order[node] or _memory(other) != memory:
                continue
            if other.op == "placeholder" and not isinstance(self.values.get(other), Input):
                continue
            later = [user for user in other.users if self.order[user] > self.order[node]]
            if memory is not None and later and self.values.get(other) != self.values.get(written):
                raise ExportError(
                    f"{node.target} writes into memory that is used afterwards under another shape",
                    where=_place(node),
                    remedy="write it out of place in the module",
                )

    def _add(
        self,
        node: fx.Node,
        head: Callable[..., Any] | str,
        arguments: Sequence[Any],
        keywords: dict[str, Any],
    ) -> None:
        number = len(self.statements)
        self.statements.append(
            Statement(
                head,
                tuple(self._value(argument) for argument in arguments),
                {key: self._value(value) for key, value in keywords.items()},
                number,
                self._shape(node),
                _module_of(node),
            )
        )
        self.values[node] = Ref(number)

    def _value(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            held = self.values.get(value)
            if isinstance(held, Weight):
                self.weights.add(held.name)
            return held
        if isinstance(value, list | tuple):
            return tuple(self._value(one) for one in value)
        return value

    def _output(self, nodes: Any) -> Any:
        flat = [self._value(node) for node in nodes]
        specs = self.program.graph_signature.output_specs
        wanted = [value for value, spec in zip(flat, specs, strict=True) if spec.kind.name == "USER_OUTPUT"]
        spec = self.program.call_spec.out_spec
        assert spec is not None
        return pytree.tree_unflatten(wanted, spec)

    def _shape(self, node: fx.Node) -> str:
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            lengths = [self._length(length) for length in value.shape]
            text = f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"
            kind = str(value.dtype).removeprefix("torch.")
            return text if kind == "float32" else f"{text} {kind}"
        return ""

    def _length(self, length: Any) -> str:
        text = str(length)
        if isinstance(length, int):
            return text
        for symbol in sorted(map(str, length.node.expr.free_symbols)):
            name = self.symbols.setdefault(symbol, "B" if not self.symbols else f"N{len(self.symbols)}")
            text = text.replace(symbol, name)
        return text


def _canonical_names(module: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer, and the first name of the same tensor: shared ones are one."""
    first: dict[int, str] = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in named}


def _writes(overload: torch._ops.OpOverload) -> bool:
    first = overload._schema.arguments[:1]
    return bool(first and first[0].alias_info is not None and first[0].alias_info.is_write)


def _memory(node: fx.Node) -> int | None:
    value = node.meta.get("val")
    return value.untyped_storage()._cdata if isinstance(value, Tensor) else None


def _is_complex(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()


def _module_of(node: fx.Node) -> tuple[str, str]:
    stack = node.meta.get("nn_module_stack") or {}
    for path, kind in reversed(list(stack.values())):
        return str(path), str(kind).rpartition(".")[2]
    return "", ""


def _place(node: fx.Node) -> str:
    """Where in the model a node stands: module path, class, and the line of Python it comes from."""
    path, kind = _module_of(node)
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines() if line.strip()]
    files = [line for line in lines if line.startswith("File ")]
    line = ""
    if files:
        name, _, rest = files[-1].removeprefix('File "').partition('", line ')
        line = f", {'/'.join(name.split('/')[-2:])}:{rest.split(',')[0]}"
    return f"{path or 'the module itself'} ({kind or 'function'}{line})"


def _missing_error(missing: dict[str, str]) -> ExportError:
    name, place = next(iter(missing.items()))
    rest = ", ".join(list(missing)[1:])
    return ExportError(
        f"{name} has no MindSpore counterpart in the table" + (f" (nor have {rest})" if rest else ""),
        where=place,
        remedy="write it with covered operations (docs/mindspore.md), or add a line to smdt/mindspore/table.py",
    )
