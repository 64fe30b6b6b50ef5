"""A whole model, forces included, as an `ExportedProgram` of torch.

In: a model, example inputs, and names for the sizes that may change. Out: the program, whose
operators are torch's and `tvm_equi::run`, `convolve` and `sort_edges`; gradients that the model
takes are part of it, and parameters and buffers are lifted out of it. Refused: examples whose sizes
say too little, and models whose sizes or branches depend on values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from tvm_equi.deploy.manifest import Value
from tvm_equi.errors import ArgumentError, ArgumentTypeError, UnsupportedError, unknown_choice
from tvm_equi.export.trace import fixed_text, trace
from tvm_equi.graph.types import IndexType
from tvm_equi.nn.graph_module import DTYPES, GraphModule

Sizes = tuple[int | str, ...]
"""Of each axis: a number, or the name of a size that may change, such as "edges"."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A model as one function of tensors.

    Args:
        program: takes the inputs in order, and gives the outputs as a tuple.
        inputs: in order.
        outputs: in order.
    """

    program: ExportedProgram
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def capture(
    model: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    sizes: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
) -> Captured:
    """A model as a program.

    Args:
        model: is called with the inputs by name, and gives a tensor, a tuple of them or a dict by
            name; where it takes gradients, with `torch.autograd.grad`, they are in the program.
            Its parameters are not differentiated. Where it asks whether a named size is 0 or 1,
            the answer is no: torch takes such sizes to be 2 or more as it captures.
        inputs: examples, in the program's order, at least 2 along every named size, and as many
            along no other.
        sizes: of every input, the sizes of its axes, where a name stands for any number; one name
            is one number in all inputs.
        outputs: names of the outputs: which of the dict, or what those of the tuple are called.

    Returns:
        The program, and what it takes and gives.

    Raises:
        ArgumentError: names or examples do not fit together.
        ArgumentTypeError: an example that is no tensor.
        UnsupportedError: the model's steps depend on values or on named sizes, or it changes its
            inputs or its state.
    """
    return _capture(model, model, inputs, sizes, outputs)


def capture_graph(
    module: GraphModule, gradients: Mapping[str, tuple[str, str]] | None = None
) -> Captured:
    """A graph as a program: example inputs follow from the types of its inputs.

    Args:
        module: that runs the graph.
        gradients: for the name of each further output, the output whose sum is differentiated, and
            the input with respect to which; {"d_vectors": ("energy", "vectors")}, say.

    Raises:
        ArgumentError: a gradient of no output, to no input of numbers, or named as an output, or
            what is no pair of names.
        UnsupportedError: see `capture`.
    """
    graph, gradients = module.graph, dict(gradients or {})
    for name, pair in gradients.items():
        if len(pair) != 2:
            raise ArgumentError(
                f"capture: gradients: {name}: expected (output, input), got {pair!r}"
            )
        output, source = pair
        if name in graph.outputs:
            raise ArgumentError(f"capture: gradients: {name}: expected a new name, got an output's")
        if output not in graph.outputs:
            raise ArgumentError(unknown_choice("capture", "gradients", graph.outputs, output))
        values = [n for n in graph.inputs if not isinstance(graph.types[n], IndexType)]
        if source not in values:
            raise ArgumentError(unknown_choice("capture", "gradients", values, source))
    inputs, sizes = example_inputs(module)
    function = _with_gradients(module, gradients)
    return _capture(module, function, inputs, sizes, [*graph.outputs, *gradients])


def example_inputs(module: GraphModule) -> tuple[dict[str, torch.Tensor], dict[str, Sizes]]:
    """Inputs of a graph that say which sizes may change, and the sizes of each.

    Args:
        module: that runs the graph.
    """
    counts = {"node": 5, "edge": 13, "graph": 3}
    generator = torch.Generator().manual_seed(0)
    inputs: dict[str, torch.Tensor] = {}
    sizes: dict[str, Sizes] = {}
    for name in module.graph.inputs:
        kind = module.graph.types[name]
        leading: Sizes = () if kind.rows == "shared" else (f"{kind.rows}s",)
        shape = [counts[kind.rows]] if leading else []
        if isinstance(kind, IndexType):
            high = counts[kind.into]
            inputs[name] = torch.randint(0, high, shape, generator=generator)
            sizes[name] = leading
        else:
            dtype = DTYPES[kind.dtype]
            inputs[name] = torch.randn([*shape, kind.dim], generator=generator, dtype=dtype)
            sizes[name] = (*leading, kind.dim)
    return inputs, sizes


def _with_gradients(
    module: GraphModule, gradients: Mapping[str, tuple[str, str]]
) -> Callable[..., dict[str, torch.Tensor]]:
    """A function that gives the outputs of a graph and gradients of them."""
    names = module.graph.outputs

    def function(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        for name in {source for _, source in gradients.values()}:
            inputs[name] = inputs[name].detach().requires_grad_()
        found = module(**inputs)
        values = dict(found) if len(names) > 1 else {names[0]: found}
        for name, (output, source) in gradients.items():
            total = values[output].sum()
            if not total.requires_grad:  # it depends on no input that any gradient is to
                values[name] = torch.zeros_like(inputs[source])
                continue
            (values[name],) = torch.autograd.grad(
                total, inputs[source], retain_graph=True, materialize_grads=True
            )
        return values

    return function


def _capture(
    model: torch.nn.Module,
    function: Callable[..., Any],
    inputs: Mapping[str, torch.Tensor],
    sizes: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
) -> Captured:
    """A function that calls a model, as a program that holds the model's state."""
    numbers = _numbers(inputs, sizes)
    if isinstance(outputs, str) or len(set(outputs)) != len(outputs):
        raise ArgumentError(f"capture: outputs: expected different names, got {outputs!r}")
    module = trace(model, function, inputs, sizes, tuple(outputs))
    dims = {name: Dim(name, min=0) for name in numbers}
    dynamic = tuple(
        {axis: dims[size] for axis, size in enumerate(sizes[name]) if isinstance(size, str)}
        for name in inputs
    )
    args = tuple(value.detach() for value in inputs.values())
    try:
        program = torch.export.export(module, args, dynamic_shapes=dynamic)
    except torch._dynamo.exc.UserError as error:
        raise UnsupportedError(fixed_text(str(error))) from error
    given, found = _values(program, {name: tuple(sizes[name]) for name in inputs}, outputs)
    return Captured(program, given, found)


def _numbers(
    inputs: Mapping[str, torch.Tensor], sizes: Mapping[str, Sequence[int | str]]
) -> dict[str, int]:
    """The number that stands for each name in the examples.

    Raises:
        ArgumentError: names or examples do not fit together.
        ArgumentTypeError: an example that is no tensor.
    """
    for name in sizes:
        if name not in inputs:
            raise ArgumentError(unknown_choice("capture", "sizes", inputs, name))
    numbers: dict[str, int] = {}
    for name, value in inputs.items():
        if not name.isidentifier() or iskeyword(name):
            raise ArgumentError(f"capture: inputs: expected names of Python, got {name!r}")
        if not isinstance(value, torch.Tensor):
            raise ArgumentTypeError(
                f"capture: {name}: expected a tensor, got {type(value).__name__}"
            )
        shape = list(value.shape)
        if name not in sizes or len(sizes[name]) != len(shape):
            got = list(sizes[name]) if name in sizes else "none"
            raise ArgumentError(
                f"capture: sizes: {name}: expected one for each axis of {shape}, got {got}"
            )
        for size, number in zip(sizes[name], shape, strict=True):
            wanted = numbers.setdefault(size, number) if isinstance(size, str) else size
            if number != wanted:
                raise ArgumentError(
                    f"capture: {name}: expected shape {list(sizes[name])} with {size} = {wanted}, "
                    f"got {shape}"
                )
            if isinstance(size, str) and number < 2:
                raise ArgumentError(
                    f"capture: {name}: expected an example with {size} of 2 or more, got {number}: "
                    "torch takes 0 and 1 for sizes that never change"
                )
    by_number: dict[int, str] = {}
    for name, number in numbers.items():
        other = by_number.setdefault(number, name)
        if other != name:
            raise ArgumentError(
                f"capture: inputs: expected an example with other numbers of {other} and {name}, "
                f"got {number} of both"
            )
    return numbers


def _values(
    program: ExportedProgram, sizes: Mapping[str, Sizes], outputs: Sequence[str]
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """What a program takes and gives.

    Raises:
        UnsupportedError: a size of an output is no named one.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    symbols: dict[Any, str] = {}
    given = []
    for (name, shape), node_name in zip(
        sizes.items(), program.graph_signature.user_inputs, strict=True
    ):
        value = nodes[str(node_name)].meta["val"]
        for size, number in zip(shape, value.shape, strict=True):
            if isinstance(size, str):
                symbols[number.node.expr] = size
        given.append(Value(name, _dtype(value), shape))
    found = []
    for name, node_name in zip(outputs, program.graph_signature.user_outputs, strict=True):
        value = nodes[str(node_name)].meta["val"]
        lengths: list[int | str] = []
        for number in value.shape:
            known: Any = number
            if isinstance(number, torch.SymInt):
                known = symbols.get(number.node.expr)
            if known is None:
                raise UnsupportedError(
                    f"capture: {name}: expected an output of sizes {sorted(symbols.values())} or "
                    f"numbers, got {number}"
                )
            lengths.append(known)
        found.append(Value(name, _dtype(value), tuple(lengths)))
    return tuple(given), tuple(found)


def _dtype(value: torch.Tensor) -> str:
    """The name of a dtype."""
    return str(value.dtype).removeprefix("torch.")
