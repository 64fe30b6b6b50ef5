"""A model and the gradients that it takes, as a module of torch's operators alone.

In: a function that calls a model, example inputs and names of sizes. Out: a module with the model's
parameters and buffers under their names, which computes the same by torch's operators and ours,
for any of the named sizes. Refused: steps that depend on values, branches on named sizes, changes
of the model's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    GuardOnDataDependentSymNode,
    ShapeEnv,
    StatelessSymbolicContext,
)

from tvm_equi.errors import ArgumentError, UnsupportedError, unknown_choice


def trace(
    model: torch.nn.Module,
    function: Callable[..., Any],
    inputs: Mapping[str, torch.Tensor],
    sizes: Mapping[str, Sequence[int | str]],
    outputs: tuple[str, ...],
) -> torch.fx.GraphModule:
    """A module of torch's operators, gradients among them, with the state as its own.

    Args:
        model: that has the state.
        function: calls it with the inputs by name, and gives a tensor, a tuple or a dict.
        inputs: examples, which differ in every two named sizes.
        sizes: of the axes of each; names stand for any number.
        outputs: names of the outputs.

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
        versions = [value._version for value in (*state_values, *values)]
        with torch.enable_grad(), _swapped(model, state, state_values):
            found = [value.detach() for value in _chosen(function(**given), outputs)]
            now = _state(model)
        for name, value in zip(state, state_values, strict=True):
            if now.get(name) is not value:
                raise UnsupportedError(_changed_text(name))
        watched = zip((*state, *inputs), (*state_values, *values), versions, strict=True)
        for name, value, version in watched:
            if value._version != version:
                raise UnsupportedError(_changed_text(name))
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
                raise UnsupportedError(fixed_text(f"{size} = {number} of {name}"))
    guards = mode.shape_env.guards if mode.shape_env is not None else []
    if guards:
        raise UnsupportedError(fixed_text(f"the condition {guards[0].expr}"))


def fixed_text(why: str) -> str:
    """What is wrong where the model fixes a size."""
    return (
        "capture: model: expected steps that hold for any of the named sizes, got "
        f"{why.strip().splitlines()[0]}; write a number for that size if it never changes"
    )


@contextmanager
def _swapped(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], values: Sequence[torch.Tensor]
) -> Iterator[None]:
    """Has a model use other parameters and buffers for a while, shared ones wherever they are.

    (torch's `functional_call` leaves a module that has two names with the other values for good.)
    """
    stand_ins = dict(zip(map(id, state.values()), values, strict=True))
    places: list[tuple[Any, str, torch.Tensor]] = [
        (table, name, value)
        for module in model.modules()
        for table in (module._parameters, module._buffers)
        for name, value in table.items()
        if value is not None
    ]
    try:
        for table, name, value in places:
            table[name] = stand_ins[id(value)]
        yield
    finally:
        for table, name, value in places:
            table[name] = value


def _chosen(found: Any, outputs: tuple[str, ...]) -> list[torch.Tensor]:
    """The outputs in order.

    Raises:
        ArgumentError: others than the model gives, or what is no tensor.
    """
    if isinstance(found, torch.Tensor):
        found = (found,)
    if not isinstance(found, (Mapping, tuple, list)):
        raise ArgumentError(
            "capture: model: expected one that gives a tensor, a tuple of them or a dict, got "
            f"{type(found).__name__}"
        )
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
    for name, value in zip(outputs, found, strict=True):
        if not isinstance(value, torch.Tensor):
            raise ArgumentError(
                f"capture: outputs: expected a tensor of {name}, got {type(value).__name__}"
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
    taken = {node.name: node for node in traced.graph.nodes}
    for name, node in zip(inputs, given, strict=True):
        if name in taken and taken[name] is not node:
            taken[name]._rename(f"{name}_of_model")
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


def _changed_text(name: str) -> str:
    """What is wrong where the model changes a tensor in place."""
    return (
        f"capture: model: expected one that changes no input and none of its own values, got a "
        f"change of {name}; put it in eval mode, or let it work on a copy"
    )
