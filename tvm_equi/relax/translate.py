"""A captured program -> a Relax module.

In: what `export.capture` gives. Out: an IRModule whose function `main` takes parameters, then the
inputs, and gives a tuple of the outputs, with a variable for each named size; and the values of the
parameters. Operators of this package stay calls of `relax.tvm_equi.run` and so on. Refused:
operators of torch that no converter knows; names the operator and the line that called it.

TVM's own importer is not used for whole programs: it makes products of matrices in float32
whatever their dtype, drops assertions, wraps or ignores indices out of range, and derives sizes
anew where torch has stated them. `converters.CONVERT_MAP` makes it import our operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import tvm
from torch.fx import Node
from tvm import relax, tirx
from tvm.sym import Analyzer

from tvm_equi.errors import UnsupportedError
from tvm_equi.export.capture import Captured
from tvm_equi.relax.constants import ANONYMOUS, find_constants
from tvm_equi.relax.converters import CONVERTERS
from tvm_equi.relax.indices import compact, copy
from tvm_equi.relax.sizes import Sizes
from tvm_equi.relax.steps import Steps

MAIN = "main"


@dataclass(frozen=True, slots=True)
class Translated:
    """A program in Relax.

    Args:
        module: with function `main` of parameters, then inputs.
        parameters: values by name, in order.
    """

    module: Any
    parameters: Mapping[str, torch.Tensor]


def translate(
    captured: Captured,
    *,
    folds: bool = True,
    parameters: Mapping[str, torch.Tensor] | None = None,
) -> Translated:
    """A program in Relax.

    Args:
        captured: the program.
        folds: whether what follows from parameters alone is computed now, and is a parameter in
            their place; else `main` takes every parameter as it is.
        parameters: with `folds` off, those that `main` takes, in order, read or not; by default
            those that are read.

    Raises:
        UnsupportedError: an operator, or a function of sizes, that has no converter.
    """
    program = captured.program.run_decompositions()
    graph = program.graph
    placeholders = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    inputs = [placeholders[str(name)] for name in program.graph_signature.user_inputs]
    sizes = Sizes(_symbols(inputs, captured))
    constants = find_constants(program, folds=folds)
    steps = Steps(sizes)
    taken: dict[str, torch.Tensor] = {}
    by_name: dict[str, Any] = {}
    for node, (name, value) in constants.values.items():
        if value.is_floating_point() and not name.startswith(ANONYMOUS):
            taken[name] = value.contiguous()
            by_name[name] = _variable(name, value.shape, value.dtype, sizes)
            steps.values[node] = by_name[name]
        else:  # no parameter, or an index, which may not be exchanged
            steps.constants[node] = value
            steps.values[node] = relax.const(value.cpu().numpy(), _dtype(value.dtype))
    for name, value in (parameters or {}).items():
        taken.setdefault(name, value.detach().contiguous())
        by_name.setdefault(name, _variable(name, value.shape, value.dtype, sizes))
    order = list(taken if parameters is None else parameters)
    variables = [by_name[name] for name in order]
    for node, given in zip(inputs, captured.inputs, strict=True):
        value = node.meta["val"]
        variable = _variable(given.name, value.shape, value.dtype, sizes)
        variables.append(variable)
        steps.values[node] = variable
    with steps.builder.function(MAIN, variables):
        with steps.builder.dataflow():
            for node in inputs:
                steps.values[node] = _compacted(steps, steps.values[node])
            for node in graph.nodes:
                if node.op == "call_function" and node not in constants.steps:
                    _convert(steps, node)
            (output,) = graph.find_nodes(op="output")
            found = [_own(steps, steps.values[node]) for node in output.args[0]]
            if steps.required and found:
                found[0] = _copied(steps, found[0], steps.required)
            result = steps.builder.emit_output(relax.Tuple(found))
        steps.builder.emit_func_output(result)
    return Translated(steps.builder.finalize(), {name: taken[name] for name in order})


def _symbols(inputs: list[Node], captured: Captured) -> dict[Any, str]:
    """The name of each of torch's symbols."""
    found: dict[Any, str] = {}
    for node, given in zip(inputs, captured.inputs, strict=True):
        for size, number in zip(given.shape, node.meta["val"].shape, strict=True):
            if isinstance(size, str):
                found[number.node.expr] = size
    return found


def _dtype(dtype: torch.dtype) -> str:
    """TVM's name of a dtype."""
    return str(dtype).removeprefix("torch.")


def _variable(name: str, shape: Any, dtype: torch.dtype, sizes: Sizes) -> Any:
    """A parameter of the function."""
    return relax.Var(name, relax.TensorType(sizes.shape(list(shape)), _dtype(dtype)))


def _fixed_sizes(value: Any) -> list[int | None]:
    """The sizes of a tensor; None for those that may change."""
    sizes = value.ty.shape.values
    return [int(size.value) if isinstance(size, tirx.IntImm) else None for size in sizes]


def _compacted(steps: Steps, value: Any) -> Any:
    """An input, copied where it may have strides of another kind than TVM takes."""
    sizes = _fixed_sizes(value)
    if None not in sizes[1:]:
        return value
    target = steps.builder.add_func(compact(str(value.ty.dtype), sizes), "compact")
    return steps.emit(relax.call_tir(target, [value], value.ty))


def _own(steps: Steps, value: Any) -> Any:
    """An output, copied where its memory would be that of an input or a parameter."""
    source: Any = value
    while isinstance(source, relax.Var):
        bound = steps.builder.lookup_binding(source)
        if isinstance(bound, relax.Call):
            if bound.op != tvm.ir.Op.get("relax.reshape"):
                return value
            bound = bound.args[0]
        if bound is None:  # a variable of the function
            return _copied(steps, value)
        source = bound
    return value


def _copied(steps: Steps, value: Any, required: Sequence[tuple[Any, str]] = ()) -> Any:
    """A copy, made once all conditions hold that the model asserts of values."""
    texts = [text for _, text in required]
    function = copy(str(value.ty.dtype), _fixed_sizes(value), texts)
    target = steps.builder.add_func(function, "copy")
    given = [value, *(condition for condition, _ in required)]
    return steps.emit(relax.call_tir(target, given, value.ty))


def _convert(steps: Steps, node: Node) -> None:
    """Adds a step.

    Raises:
        UnsupportedError: no converter knows it, or this one does not know these arguments.
    """
    value = node.meta.get("val")
    if isinstance(value, (torch.SymInt, int)) and not isinstance(value, bool):
        steps.values[node] = steps.sizes.size(value)
        return
    name = str(node.target)
    if name.startswith("aten._assert_async"):
        text = str(node.args[1]) if len(node.args) > 1 else "expected a condition to hold"
        (condition,) = node.all_input_nodes
        steps.required.append((steps.cast(steps.values[condition], "bool"), text))
        return
    if not node.users and not isinstance(value, (torch.Tensor, list, tuple)):
        return  # conditions on sizes, which the capture has decided
    converter = CONVERTERS.get(name)
    if converter is None:
        raise UnsupportedError(
            f"relax: expected an operator with a converter, got {name}{_at(node)}"
        )
    steps.node = node
    args = torch.fx.node.map_arg(node.args, lambda source: steps.values[source])
    kwargs = torch.fx.node.map_arg(node.kwargs, lambda source: steps.values[source])
    try:
        found = converter(steps, *args, **kwargs)
    except UnsupportedError as error:
        raise UnsupportedError(f"relax: {name}: {error}{_at(node)}") from error
    if isinstance(value, torch.Tensor):
        found = _shaped(steps, found, steps.shape)
    steps.values[node] = found


def _shaped(steps: Steps, value: Any, shape: list[Any]) -> Any:
    """A value whose shape is known to be torch's, for the steps that broadcast it."""
    own = value.ty.shape
    analyzer = Analyzer()
    is_known = (
        isinstance(own, relax.ShapeExpr)
        and len(own.values) == len(shape)
        and all(
            analyzer.can_prove_equal(size, other)
            for size, other in zip(own.values, shape, strict=True)
        )
    )
    if is_known:
        return value
    kind = relax.TensorType(shape, str(value.ty.dtype))
    return steps.builder.match_cast(value, kind)


def _at(node: Node) -> str:
    """Where in the model a step was called."""
    trace = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in str(trace).splitlines() if line.strip()]
    files = [number for number, line in enumerate(lines) if line.startswith("File ")]
    return f", called at {' '.join(lines[files[-1] :])}" if files else f" of node {node.name}"
