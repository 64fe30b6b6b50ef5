"""A whole model, forces included, as an `ExportedProgram` of torch.

In: a model, example inputs, and names for the sizes that may change. Out: the program, whose
operators are torch's and `tvm_equi::run`, `convolve` and `sort_edges`; gradients that the model
takes are part of it, and parameters and buffers are lifted out of it. Refused: examples whose sizes
say too little, and models whose sizes or branches depend on values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    GuardOnDataDependentSymNode,
    ShapeEnv,
    StatelessSymbolicContext,
)

from tvm_equi.errors import ArgumentError, ArgumentTypeError, UnsupportedError, unknown_choice
from tvm_equi.graph.types import IndexType
from tvm_equi.nn.graph_module import DTYPES, GraphModule

Sizes = tuple[int | str, ...]
"""Of each axis: a number, or the name of a size that may change, such as "edges"."""


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a program.

    Args:
        name: of the value.
        dtype: "float32", "int64" and so on.
        shape: numbers and names of sizes.
    """

    name: str
    dtype: str
    shape: Sizes


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
            Its parameters are not differentiated.
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
        ArgumentError: a gradient of no output, to no input of numbers, or named as an output.
        UnsupportedError: see `capture`.
    """
    graph, gradients = module.graph, dict(gradients or {})
    for name, (output, source) in gradients.items():
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
            (values[name],) = torch.autograd.grad(
                values[output].sum(), inputs[source], retain_graph=True, materialize_grads=True
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
    module = _trace(model, function, inputs, sizes, tuple(outputs))
    dims = {name: Dim(name, min=0) for name in numbers}
    dynamic = tuple(
        {axis: dims[size] for axis, size in enumerate(sizes[name]) if isinstance(size, str)}
        for name in inputs
    )
    args = tuple(value.detach() for value in inputs.values())
    try:
        program = torch.export.export(module, args, dynamic_shapes=dynamic)
    except torch._dynamo.exc.UserError as error:
        raise UnsupportedError(_fixed(str(error))) from error
    _check_pure(program)
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
        if not name.isidentifier():
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


def _trace(
    model: torch.nn.Module,
    function: Callable[..., Any],
    inputs: Mapping[str, torch.Tensor],
    sizes: Mapping[str, Sequence[int | str]],
    outputs: tuple[str, ...],
) -> torch.fx.GraphModule:
    """A module of torch's operators, gradients among them, with the state as its parameters.

    Raises:
        ArgumentError: outputs that the model does not give.
        UnsupportedError: steps depend on values or on named sizes.
    """
    state = _state(model)
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    fake_state = [_fake(fake_mode, value, [0] * value.dim()) for value in state.values()]
    fake_inputs = [_fake(fake_mode, value, sizes[name]) for name, value in inputs.items()]

    def call(state_values: list[torch.Tensor], values: list[torch.Tensor]) -> list[torch.Tensor]:
        given = dict(zip(inputs, values, strict=True))
        by_name = dict(zip(state, state_values, strict=True))
        versions = [value._version for value in state_values]
        with torch.enable_grad(), _swapped(model, by_name):
            found = [value.detach() for value in _chosen(function(**given), outputs)]
            now = _state(model)
        for (name, value), version in zip(by_name.items(), versions, strict=True):
            if now.get(name) is not value or value._version != version:
                raise UnsupportedError(_changed(name))
        return found

    try:
        traced = make_fx(call, tracing_mode="symbolic")(fake_state, fake_inputs)
    except (
        GuardOnDataDependentSymNode,
        torch._subclasses.fake_tensor.DataDependentOutputException,
        torch._subclasses.fake_tensor.DynamicOutputShapeException,
    ) as error:
        raise UnsupportedError(
            "capture: model: expected steps that depend on sizes alone, got one that reads values "
            f"({str(error).splitlines()[0]}); give it as an input what it reads, such as the "
            "number of nodes by a tensor that has a row for each"
        ) from error
    _check_free(fake_mode, dict(zip(inputs, fake_inputs, strict=True)), sizes)
    return _lifted(traced, state, tuple(inputs))


def _state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, each once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _fake(mode: FakeTensorMode, value: torch.Tensor, sizes: Sequence[int | str]) -> FakeTensor:
    """A stand-in for a tensor: equal named sizes get one symbol, since examples differ in them."""
    kinds = [DimDynamic.DUCK if isinstance(size, str) else DimDynamic.STATIC for size in sizes]
    context: Any = StatelessSymbolicContext(dynamic_sizes=kinds)
    return mode.from_tensor(value.detach(), symbolic_context=context)


def _check_free(
    mode: FakeTensorMode,
    inputs: Mapping[str, torch.Tensor],
    sizes: Mapping[str, Sequence[int | str]],
) -> None:
    """Refuses a trace that holds for some of the named sizes only.

    Raises:
        UnsupportedError: with the size, or the condition.
    """
    for name, value in inputs.items():
        for size, number in zip(sizes[name], value.shape, strict=True):
            if not isinstance(size, str):
                continue
            symbolic: Any = number
            if not isinstance(symbolic, torch.SymInt) or not symbolic.node.expr.is_Symbol:
                raise UnsupportedError(_fixed(f"{size} = {number} of {name}"))
    guards = mode.shape_env.guards if mode.shape_env is not None else []
    if guards:
        raise UnsupportedError(_fixed(f"the condition {guards[0].expr}"))


def _fixed(why: str) -> str:
    """What is wrong where the model fixes a size."""
    return (
        "capture: model: expected steps that hold for any of the named sizes, got "
        f"{why.strip().splitlines()[0]}; write a number for that size if it never changes"
    )


@contextmanager
def _swapped(model: torch.nn.Module, values: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Has a model use other parameters and buffers for a while."""
    with torch.nn.utils.stateless._reparametrize_module(model, dict(values), tie_weights=True):
        yield


def _chosen(found: Any, outputs: tuple[str, ...]) -> list[torch.Tensor]:
    """The outputs in order.

    Raises:
        ArgumentError: others than the model gives.
    """
    if isinstance(found, torch.Tensor):
        found = (found,)
    if isinstance(found, Mapping):
        for name in outputs:
            if not isinstance(found.get(name), torch.Tensor):
                names = [key for key, value in found.items() if isinstance(value, torch.Tensor)]
                raise ArgumentError(unknown_choice("capture", "outputs", names, name))
        return [found[name] for name in outputs]
    if len(found) != len(outputs):
        raise ArgumentError(
            f"capture: outputs: expected a name for each of {len(found)}, got {list(outputs)}"
        )
    return list(found)


def _lifted(
    traced: torch.fx.GraphModule, state: Mapping[str, torch.Tensor], inputs: tuple[str, ...]
) -> torch.fx.GraphModule:
    """The traced module with the state as its own, and inputs by their names."""
    placeholders = traced.graph.find_nodes(op="placeholder")
    lifted, given = placeholders[: len(state)], placeholders[len(state) :]
    for (name, value), node in zip(state.items(), lifted, strict=True):
        if node.users:
            _register(traced, name, value)
            with traced.graph.inserting_before(node):
                read = traced.graph.get_attr(name)
            read.meta = dict(node.meta)
            node.replace_all_uses_with(read)
        traced.graph.erase_node(node)
    for name, node in zip(inputs, given, strict=True):
        node.target, node.name = name, name
    (output,) = traced.graph.find_nodes(op="output")
    output.args = (tuple(output.args[0]),)
    traced.graph.set_codegen(torch.fx.graph.CodeGen())
    traced.graph.lint()
    traced.recompile()
    return traced


def _register(root: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """Registers a parameter or buffer under a dotted name, with a module for each part."""
    *path, last = name.split(".")
    module = root
    for part in path:
        if part not in module._modules:
            module.add_module(part, torch.nn.Module())
        module = module.get_submodule(part)
    if isinstance(value, torch.nn.Parameter):
        value = torch.nn.Parameter(value.detach(), requires_grad=False)
        module.register_parameter(last, value)
    else:
        module.register_buffer(last, value.detach())


def _check_pure(program: ExportedProgram) -> None:
    """Refuses programs that change what they are given.

    Raises:
        UnsupportedError: naming what is changed.
    """
    signature = program.graph_signature
    if signature.user_inputs_to_mutate:
        raise UnsupportedError(_changed(next(iter(signature.user_inputs_to_mutate.values()))))


def _changed(name: str) -> str:
    """What is wrong where the model changes a tensor in place."""
    return (
        f"capture: model: expected one that changes no input and none of its own values, got a "
        f"change of {name}; put it in eval mode, or let it work on a copy"
    )


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
            size: Any = (
                symbols.get(number.node.expr) if isinstance(number, torch.SymInt) else number
            )
            if size is None:
                raise UnsupportedError(
                    f"capture: {name}: expected an output of sizes {sorted(symbols.values())} or "
                    f"numbers, got {number}"
                )
            lengths.append(size)
        found.append(Value(name, _dtype(value), tuple(lengths)))
    return tuple(given), tuple(found)


def _dtype(value: torch.Tensor) -> str:
    """The name of a dtype."""
    return str(value.dtype).removeprefix("torch.")
