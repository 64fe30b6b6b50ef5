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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node
from tvm import relax, tirx
from tvm.sym import Analyzer

from tvm_equi.errors import UnsupportedError
from tvm_equi.export.capture import Captured
from tvm_equi.relax.constants import ANONYMOUS, find_constants
from tvm_equi.relax.converters import CONVERTERS
from tvm_equi.relax.indices import compact
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


def translate(captured: Captured, *, folds: bool = True) -> Translated:
    """A program in Relax.

    Args:
        captured: the program.
        folds: whether what follows from parameters alone is computed now, and is a parameter in
            their place; else `main` takes every parameter as it is.

    Raises:
        UnsupportedError: an operator, or a function of sizes, that has no converter.
    """
    program = captured.program.run_decompositions()
    graph = program.graph
    placeholders = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    inputs = [placeholders[str(name)] for name in program.graph_signature.user_inputs]
    sizes = Sizes(_symbols(inputs, captured))
    constants = find_constants(program, folds=folds)
    steps = Steps(sizes, {node: value for node, (_, value) in constants.values.items()})
    parameters: dict[str, torch.Tensor] = {}
    variables = []
    for node, (name, value) in constants.values.items():
        if value.is_floating_point() and not name.startswith(ANONYMOUS):
            parameters[name] = value
            variable = _variable(name, value.shape, value.dtype, sizes)
            variables.append(variable)
            steps.values[node] = variable
        else:  # no parameter, or an index that has been checked and may not be exchanged
            steps.values[node] = relax.const(value.cpu().numpy(), _dtype(value.dtype))
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
            found = [steps.values[node] for node in output.args[0]]
            result = steps.builder.emit_output(relax.Tuple(found))
        steps.builder.emit_func_output(result)
    return Translated(steps.builder.finalize(), parameters)


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


def _compacted(steps: Steps, value: Any) -> Any:
    """An input, copied where it may have strides of another kind than TVM takes."""
    shape = list(value.ty.shape.values)
    if all(isinstance(size, tirx.IntImm) for size in shape[1:]):
        return value
    sizes = [int(size.value) if isinstance(size, tirx.IntImm) else None for size in shape]
    dtype = str(value.ty.dtype)
    target = steps.builder.add_func(compact(dtype, sizes), "compact")
    return steps.emit(relax.call_tir(target, [value], value.ty))


def _convert(steps: Steps, node: Node) -> None:
    """Adds a step.

    Raises:
        UnsupportedError: no converter knows it, or this one does not know these arguments.
    """
    value = node.meta.get("val")
    if isinstance(value, (torch.SymInt, int)) and not isinstance(value, bool):
        steps.values[node] = steps.sizes.size(value)
        return
    if not node.users and not isinstance(value, (torch.Tensor, list, tuple)):
        return  # conditions on sizes, which the capture has decided
    name = str(node.target)
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
