"""A graph as a torch module: each operation in torch, each product through a compiled kernel.

In: a planned graph and values of its parameters. Out: a module whose state dict has the parameters
by the names of their nodes. Refused: inputs that are missing, unknown, or of a wrong type, shape or
device; names the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import torch

from tvm_equi.errors import ArgumentError, ArgumentTypeError, unknown_choice
from tvm_equi.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Input
from tvm_equi.graph.types import IndexType, Type
from tvm_equi.nn.torch_library import TORCH
from tvm_equi.runtime.devices import DEVICE_TYPES, checks_indices
from tvm_equi.runtime.rules.call import Call, Rule, Topologies, bind
from tvm_equi.runtime.rules.operations import node_rule

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def torch_rule(graph: TensorProductGraph, node: Node) -> Rule:
    """The function that runs a node in torch, with compiled kernels.

    Args:
        graph: that holds it.
        node: to run.

    Raises:
        UnsupportedError: an operation without a rule.
    """
    return node_rule(graph, node, TORCH)


class GraphModule(torch.nn.Module):
    """Runs a graph.

    Args:
        graph: without paths that are zero by symmetry, so pruned.
        parameters: values by name; normal random numbers (weights) and zeros (names that end in
            "bias") for those that are not given.
        check_indices: whether each call checks that indices are in range; by default on the CPU
            only, since a GPU would be waited for.
        rules: gives the function that runs a node.

    Raises:
        ArgumentError: an unknown parameter, or one of a wrong size.
    """

    def __init__(
        self,
        graph: TensorProductGraph,
        parameters: Mapping[str, torch.Tensor] | None = None,
        *,
        check_indices: bool | None = None,
        rules: Callable[[TensorProductGraph, Node], Rule] = torch_rule,
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
        self._inputs = {name: _Spec.of(graph.types[name]) for name in graph.inputs}
        self._parameter_names = graph.parameters
        self._output_names = graph.outputs
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
        values = bind(tuple(self._inputs), args, kwargs, "a tensor")
        num_rows = self._check(values)
        for name in self._parameter_names:
            values[name] = reduce(getattr, name.split("."), self)  # also where swapped for tensors
        topologies: Topologies = {}
        for name, inputs, rule in self._rules:
            arguments = [values[source] for source in inputs]
            values[name] = rule(Call(arguments, num_rows, self.check_indices, topologies))
        found = {name: values[name] for name in self._output_names}
        return found if len(found) > 1 else next(iter(found.values()))

    def _check(self, values: Mapping[str, Any]) -> dict[str, int]:
        """The number of each kind of rows.

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong type or dtype.
        """
        num_rows: dict[str, int] = {}
        device = getattr(next(iter(values.values()), None), "device", None)
        for name, value in values.items():
            spec = self._inputs[name]
            _check_tensor(name, value, spec, device)
            if spec.rows == "shared":
                continue
            if spec.rows not in num_rows:
                num_rows[spec.rows] = value.shape[0]
            elif value.shape[0] != num_rows[spec.rows]:
                raise ArgumentError(
                    f"graph: {name}: expected {num_rows[spec.rows]} rows like the other values on "
                    f"{spec.rows}s, got {value.shape[0]}"
                )
        if self.check_indices is not False and not torch.compiler.is_compiling():
            self._check_indices(values, num_rows)
        return num_rows

    def _check_indices(self, values: Mapping[str, Any], num_rows: Mapping[str, int]) -> None:
        """Refuses indices out of range.

        Raises:
            ArgumentError: with the range.
        """
        for name, value in values.items():
            into = self._inputs[name].into
            if into and value.numel() and type(value) is torch.Tensor:
                if self.check_indices is None and not checks_indices(value):
                    continue
                low, high = (int(bound) for bound in torch.aminmax(value))
                size = num_rows.get(into, 0)
                if low < 0 or high >= size:
                    raise ArgumentError(
                        f"graph: {name}: expected indices from 0 to {size - 1} ({into}s), "
                        f"got {low} to {high}"
                    )

    def extra_repr(self) -> str:
        """The table of the graph."""
        return repr(self.graph)


class _Spec(NamedTuple):
    """What an input must be, in plain data that torch.compile can see through.

    Args:
        rows: what the leading axis counts.
        into: which rows an index names, "" for a value.
        shape: what is expected, in words.
        columns: of a value; empty for an index.
        dtype: of the tensor.
    """

    rows: str
    into: str
    shape: str
    columns: tuple[int, ...]
    dtype: torch.dtype

    @staticmethod
    def of(kind: Type) -> _Spec:
        """The spec of a type."""
        leading = [] if kind.rows == "shared" else [f"{kind.rows}s"]
        if isinstance(kind, IndexType):
            return _Spec(kind.rows, kind.into, f"[{', '.join(leading)}]", (), torch.int64)
        shape = f"[{', '.join([*leading, str(kind.dim)])}]"
        return _Spec(kind.rows, "", shape, (kind.dim,), DTYPES[kind.dtype])


def _check_tensor(name: str, value: Any, spec: _Spec, device: Any) -> None:
    """Refuses anything but a tensor of a type, on the device of the first input.

    Raises:
        ArgumentError: a wrong shape or device.
        ArgumentTypeError: a wrong type or dtype.
    """
    if not isinstance(value, torch.Tensor):
        raise ArgumentTypeError(f"graph: {name}: expected a tensor, got {type(value).__name__}")
    if value.device != device or value.device.type not in DEVICE_TYPES:
        wanted = device if value.device != device else "the CPU or a CUDA device"
        raise ArgumentError(
            f"graph: {name}: expected a tensor on {wanted}, got one on {value.device}; "
            "move the module and its inputs to one device"
        )
    if value.dtype != spec.dtype:
        raise ArgumentTypeError(
            f"graph: {name}: expected {spec.dtype}, got {value.dtype}; "
            f"cast it with .to({spec.dtype})"
        )
    num_leading = 0 if spec.rows == "shared" else 1
    if tuple(value.shape[num_leading:]) != spec.columns or value.dim() < num_leading:
        raise ArgumentError(f"graph: {name}: expected shape {spec.shape}, got {list(value.shape)}")


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
