"""A graph as a torch module: each operation in torch, each product through a compiled kernel.

In: a planned graph and values of its parameters. Out: a module whose state dict has the parameters
by the names of their nodes. Refused: inputs that are missing, unknown, or of a wrong type, shape or
device; names the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch

from tvm_equi.errors import ArgumentError, ArgumentTypeError, unknown_choice
from tvm_equi.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Input
from tvm_equi.graph.types import IndexType, Type
from tvm_equi.nn.graph_rules import Call, Rule, prepare

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class GraphModule(torch.nn.Module):
    """Runs a graph.

    Args:
        graph: without paths that are zero by symmetry, so pruned.
        parameters: values by name; normal random numbers (weights) and zeros (names that end in
            "bias") for those that are not given.
        check_indices: whether each call checks that indices are in range.
        rules: gives the function that runs a node.

    Raises:
        ArgumentError: an unknown parameter, or one of a wrong size.
    """

    def __init__(
        self,
        graph: TensorProductGraph,
        parameters: Mapping[str, torch.Tensor] | None = None,
        *,
        check_indices: bool = True,
        rules: Callable[[TensorProductGraph, Node], Rule] = prepare,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.check_indices = check_indices
        given = dict(parameters or {})
        for name in given:
            if name not in graph.parameters:
                raise ArgumentError(unknown_choice("graph", "parameters", graph.parameters, name))
        for name in graph.parameters:
            _register(self, name, _initial(graph, name, given.get(name)))
        self._rules: list[tuple[str, tuple[str, ...], Rule]] = [
            (node.name, node.inputs, rules(graph, node))
            for node in graph.nodes
            if node.name not in graph.parameters and not isinstance(node.operation, Input)
        ]

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> Any:
        """The outputs of the graph.

        Args:
            *args: inputs in the graph's order.
            **kwargs: inputs by name.

        Returns:
            The output, or a dict by name where there are several.

        Raises:
            ArgumentError: inputs are missing, unknown or given twice, or of a wrong shape or
                device.
            ArgumentTypeError: an input of a wrong type or dtype.
        """
        values = self._bind(args, kwargs)
        num_rows = self._check(values)
        for name in self.graph.parameters:
            values[name] = reduce(getattr, name.split("."), self)  # also where swapped for tensors
        for name, inputs, rule in self._rules:
            values[name] = rule(Call([values[source] for source in inputs], num_rows))
        found = {name: values[name] for name in self.graph.outputs}
        return found if len(found) > 1 else next(iter(found.values()))

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Inputs by name.

        Raises:
            ArgumentError: one is missing, unknown or given twice.
        """
        names = self.graph.inputs
        if len(args) > len(names):
            raise ArgumentError(
                f"graph: inputs: expected {len(names)} ({', '.join(names)}), got {len(args)}"
            )
        values = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names:
                raise ArgumentError(unknown_choice("graph", "inputs", names, name))
            if name in values:
                raise ArgumentError(f"graph: {name}: expected it once, got it twice")
            values[name] = value
        for name in names:
            if name not in values:
                raise ArgumentError(f"graph: {name}: expected a tensor, got none")
        return values

    def _check(self, values: Mapping[str, Any]) -> dict[str, int]:
        """The number of each kind of rows.

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong type or dtype.
        """
        num_rows: dict[str, int] = {}
        for name, value in values.items():
            kind = self.graph.types[name]
            _check_tensor(name, value, kind)
            if kind.rows != "shared":
                first = num_rows.setdefault(kind.rows, value.shape[0])
                if value.shape[0] != first:
                    raise ArgumentError(
                        f"graph: {name}: expected {first} rows like the other values on "
                        f"{kind.rows}s, got {value.shape[0]}"
                    )
        if self.check_indices and not torch.compiler.is_compiling():
            self._check_indices(values, num_rows)
        return num_rows

    def _check_indices(self, values: Mapping[str, Any], num_rows: Mapping[str, int]) -> None:
        """Refuses indices out of range.

        Raises:
            ArgumentError: with the range.
        """
        for name, value in values.items():
            kind = self.graph.types[name]
            if isinstance(kind, IndexType) and value.numel() and type(value) is torch.Tensor:
                low, high = (int(bound) for bound in torch.aminmax(value))
                size = num_rows.get(kind.into, 0)
                if low < 0 or high >= size:
                    raise ArgumentError(
                        f"graph: {name}: expected indices from 0 to {size - 1} ({kind.into}s), "
                        f"got {low} to {high}"
                    )

    def extra_repr(self) -> str:
        """The table of the graph."""
        return repr(self.graph)


def _check_tensor(name: str, value: Any, kind: Type) -> None:
    """Refuses anything but a tensor of a type.

    Raises:
        ArgumentError: a wrong shape or device.
        ArgumentTypeError: a wrong type or dtype.
    """
    if not isinstance(value, torch.Tensor):
        raise ArgumentTypeError(f"graph: {name}: expected a tensor, got {type(value).__name__}")
    if value.device.type != "cpu":
        raise ArgumentError(
            f"graph: {name}: expected a CPU tensor, got one on {value.device}; call .cpu()"
        )
    dtype = torch.int64 if isinstance(kind, IndexType) else DTYPES[kind.dtype]
    if value.dtype != dtype:
        raise ArgumentTypeError(
            f"graph: {name}: expected {dtype}, got {value.dtype}; cast it with .to({dtype})"
        )
    columns = [] if isinstance(kind, IndexType) else [kind.dim]
    rows = [] if kind.rows == "shared" else [f"{kind.rows}s"]
    if value.dim() != len(rows) + len(columns) or list(value.shape[len(rows) :]) != columns:
        wanted = ", ".join(map(str, [*rows, *columns]))
        raise ArgumentError(f"graph: {name}: expected shape [{wanted}], got {list(value.shape)}")


def _initial(
    graph: TensorProductGraph, name: str, given: torch.Tensor | None
) -> torch.nn.Parameter:
    """A parameter, given or drawn.

    Raises:
        ArgumentError: a wrong size.
    """
    kind = graph.types[name]
    if isinstance(kind, IndexType):
        raise ArgumentError(f"graph: {name}: expected a value, got an index")
    dtype = DTYPES[kind.dtype]
    if given is None:
        make = torch.zeros if name.endswith("bias") else torch.randn
        return torch.nn.Parameter(make(kind.dim, dtype=dtype))
    if given.numel() != kind.dim:
        raise ArgumentError(
            f"graph: parameters: {name}: expected {kind.dim} numbers, got shape {list(given.shape)}"
        )
    return torch.nn.Parameter(
        given.detach().reshape(-1).to(dtype).clone(), requires_grad=given.requires_grad
    )


def _register(root: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
    """Registers a parameter under a dotted name, with a module for each part."""
    *path, last = name.split(".")
    module = root
    for part in path:
        if part not in module._modules:
            module.add_module(part, torch.nn.Module())
        module = module.get_submodule(part)
    module.register_parameter(last, parameter)
