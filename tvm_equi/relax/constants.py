"""Which values of a captured program depend on no input, computed once.

In: a program. Out: the values that its other steps read and that follow from parameters and
constants alone, by node; a scaled or transposed matrix of weights is then not made anew in every
call. What is larger than what it is made of stays a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

MAX_GROWTH = 4
"""A value of more than so many times the numbers that it is made of is not stored."""

FREE_ELEMENTS = 1 << 12
"""Values of up to so many numbers are stored in any case."""

ANONYMOUS = "constant/"
"""Start of the names of values that follow from no parameter."""

_LIFTED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)

_TRACED = "_tensor_constant"
"""Start of the names that tracing gives to tensors that a model makes as it runs."""


def state_of(program: ExportedProgram) -> dict[str, tuple[str, torch.Tensor]]:
    """Name and value of each parameter, buffer and constant, by the name of its placeholder.

    Args:
        program: captured.
    """
    found: dict[str, tuple[str, torch.Tensor]] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in _LIFTED and spec.target is not None:
            values = program.state_dict if spec.target in program.state_dict else program.constants
            is_named = spec.kind in _LIFTED[:2] and not spec.target.startswith(_TRACED)
            name = spec.target if is_named else f"{ANONYMOUS}{spec.target}"
            found[spec.arg.name] = (name, values[spec.target].detach())
    return found


class Constants(NamedTuple):
    """What depends on no input.

    Args:
        steps: all that need not be run.
        values: names and values of those that other steps, or the output, read.
    """

    steps: frozenset[Node]
    values: dict[Node, tuple[str, torch.Tensor]]


def find_constants(program: ExportedProgram, *, folds: bool) -> Constants:
    """What depends on no input.

    Args:
        program: captured, without changes in place.
        folds: whether steps on parameters count; else only steps on nothing, and parameters, all of
            which are then read.
    """
    state = state_of(program)
    known: dict[Node, Any] = {}
    names: dict[Node, str] = {}
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name in state:
            names[node], known[node] = state[node.name]
    parameters = {node for node, name in names.items() if not name.startswith(ANONYMOUS)}
    barred = set() if folds else parameters
    for node in program.graph.nodes:
        is_step = node.op == "call_function"
        if is_step and _is_constant(node, known) and not barred.intersection(node.all_input_nodes):
            value = _evaluate(node, known)
            if value is not None:
                known[node] = value
                names[node] = _name(node, names)
    read = {
        node: (names[node], value)
        for node, value in known.items()
        if isinstance(value, torch.Tensor)
        and (node in barred or any(user not in known for user in node.users))
    }
    return Constants(frozenset(known), read)


def _is_constant(node: Node, known: dict[Node, Any]) -> bool:
    """Whether a step depends on constants alone, and gives the same each time."""
    target: Any = node.target
    is_random = torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())
    is_sized = any(isinstance(size, torch.SymInt) for size in _sizes(node))
    return (
        not is_random and not is_sized and all(source in known for source in node.all_input_nodes)
    )


def _sizes(node: Node) -> list[Any]:
    """Sizes of all that a step gives."""
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else [value]
    sizes: list[Any] = []
    for each in values:
        sizes += list(each.shape) if isinstance(each, torch.Tensor) else [each]
    return sizes


def _evaluate(node: Node, known: dict[Node, Any]) -> Any:
    """What a step gives; None where that is much larger than what it is made of."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor) and value.numel() > FREE_ELEMENTS:
        given: list[Any] = []
        for source in node.all_input_nodes:
            made = known[source]
            given += made if isinstance(made, (list, tuple)) else [made]
        total = sum(each.numel() for each in given if isinstance(each, torch.Tensor))
        if value.numel() > MAX_GROWTH * total:
            return None
    args = torch.fx.node.map_arg(node.args, lambda source: known[source])
    kwargs = torch.fx.node.map_arg(node.kwargs, lambda source: known[source])
    function: Callable[..., Any] = node.target  # type: ignore[assignment]
    with torch.no_grad():
        found = function(*args, **kwargs)
    return found.contiguous() if isinstance(found, torch.Tensor) else found


def _name(node: Node, names: dict[Node, str]) -> str:
    """A name from those of the parameters that a value is made of, and the step's own."""
    sources = [names[source] for source in node.all_input_nodes if source in names]
    base = sources[0].split("/")[0] + "/" if sources else ANONYMOUS
    return f"{base}{node.name}"
