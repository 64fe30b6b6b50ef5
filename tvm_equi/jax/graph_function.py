"""A graph as a pure function of JAX arrays: parameters in a dict, inputs by name.

In: a graph. Out: a function that jit, grad, jvp and vmap take, and that any library of layers can
hold: parameters are a dict of arrays by the names of their nodes. Refused: inputs or parameters
that are missing, unknown, or of a wrong type or shape; names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tvm_equi.errors import (
    ArgumentError,
    ArgumentTypeError,
    IndexRangeError,
    unknown_choice,
)
from tvm_equi.graph import DEFAULT_PIPELINE, TensorProductGraph
from tvm_equi.graph.operations import Input
from tvm_equi.graph.types import IndexType, Type, ValueType
from tvm_equi.jax.library import JAX
from tvm_equi.jax.topology import Topology
from tvm_equi.runtime.rules.call import Call, Rule, Topologies, bind
from tvm_equi.runtime.rules.operations import node_rule

Arrays = Mapping[str, Any]


class GraphFunction:
    """Runs a graph; `from_graph` makes it.

    Args:
        graph: planned.
        check_indices: whether indices out of range are refused, by default where they are known;
            where they are not checked, an edge with one adds nothing to any node.
    """

    def __init__(self, graph: TensorProductGraph, check_indices: bool | None = None) -> None:
        self.graph = graph
        self.check_indices = check_indices

    @cached_property
    def _rules(self) -> list[tuple[str, tuple[str, ...], Rule]]:
        """(name, inputs, function) of each node that is computed."""
        return [
            (node.name, node.inputs, node_rule(self.graph, node, JAX))
            for node in self.graph.nodes
            if node.name not in self.graph.parameters and not isinstance(node.operation, Input)
        ]

    def __call__(
        self,
        parameters: Arrays,
        *args: Any,
        topologies: Mapping[tuple[str, str], Topology] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The outputs of the graph.

        Args:
            parameters: arrays by name, each flat.
            *args: inputs in the graph's order.
            topologies: by the names of the indices of senders and receivers, edges that are sorted
                already; others are sorted now.
            **kwargs: inputs by name.

        Returns:
            The output, or a dict by name where there are several.

        Raises:
            ArgumentError: an array is missing, unknown, given twice, or of a wrong shape.
            ArgumentTypeError: an array of a wrong type or dtype.
            IndexRangeError: an index out of range, where they are checked.
        """
        given = bind(self.graph.inputs, args, kwargs, "an array")
        inputs = {name: _as_array(value, self.graph.types[name]) for name, value in given.items()}
        num_rows = self._check_inputs(inputs)
        self._check_parameters(parameters)
        values = inputs | {name: jnp.asarray(parameters[name]) for name in self.graph.parameters}
        known: Topologies = dict(topologies or {})
        for name, sources, rule in self._rules:
            call = Call([values[source] for source in sources], num_rows, self.check_indices, known)
            values[name] = rule(call)
        found = {name: values[name] for name in self.graph.outputs}
        return found if len(found) > 1 else next(iter(found.values()))

    def init(self, key: Any) -> dict[str, Any]:
        """Parameters: normal random numbers (weights) and zeros (names that end in "bias").

        Args:
            key: of JAX's random numbers.
        """
        names = self.graph.parameters
        found: dict[str, Any] = {}
        for name, part in zip(names, jax.random.split(key, max(1, len(names))), strict=False):
            kind = self.graph.types[name]
            if isinstance(kind, ValueType):
                drawn = jax.random.normal(part, (kind.dim,), kind.dtype)
                found[name] = jnp.zeros_like(drawn) if name.endswith("bias") else drawn
        return found

    def _check_inputs(self, values: Arrays) -> dict[str, int]:
        """The number of each kind of rows."""
        num_rows: dict[str, int] = {}
        for name, value in values.items():
            kind = self.graph.types[name]
            _check_array(name, value, kind)
            if kind.rows == "shared":
                continue
            count = num_rows.setdefault(kind.rows, value.shape[0])
            if value.shape[0] != count:
                raise ArgumentError(
                    f"graph: {name}: expected {count} rows like the other values on "
                    f"{kind.rows}s, got {value.shape[0]}"
                )
        for name, value in values.items():
            kind = self.graph.types[name]
            if isinstance(kind, IndexType) and self.check_indices is not False:
                _check_range(name, value, kind, num_rows.get(kind.into, 0))
        return num_rows

    def _check_parameters(self, parameters: Arrays) -> None:
        """Refuses parameters that are missing, unknown, or of a wrong type.

        Raises:
            ArgumentError: missing or unknown.
        """
        for name in parameters:
            if name not in self.graph.parameters:
                choices = self.graph.parameters
                raise ArgumentError(unknown_choice("graph", "parameters", choices, name))
        for name in self.graph.parameters:
            if name not in parameters:
                raise ArgumentError(f"graph: parameters: {name}: expected an array, got none")
            _check_array(f"parameters: {name}", parameters[name], self.graph.types[name])

    def __repr__(self) -> str:
        """The table of the graph."""
        return repr(self.graph)


def from_graph(
    graph: TensorProductGraph,
    *,
    check_indices: bool | None = None,
    pipeline: Callable[[TensorProductGraph], TensorProductGraph] = DEFAULT_PIPELINE,
) -> GraphFunction:
    """A function (parameters, inputs) -> outputs that computes a graph.

    Args:
        graph: to run.
        check_indices: whether indices out of range are refused, by default where they are known (so
            not under jit); where they are not checked, an edge with one adds nothing to any node.
        pipeline: the passes that plan it: by default prune and fuse.
    """
    return GraphFunction(pipeline(graph), check_indices)


def _as_array(value: Any, kind: Type) -> Any:
    """NumPy's arrays as JAX's; where JAX has no int64, indices become int32."""
    is_numpy = isinstance(value, np.ndarray | np.generic)
    return jnp.asarray(value) if is_numpy and isinstance(kind, IndexType) else value


def _check_array(name: str, value: Any, kind: Type) -> None:
    """Refuses anything but an array of a type.

    Raises:
        ArgumentError: a wrong shape.
        ArgumentTypeError: a wrong type or dtype.
    """
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ArgumentTypeError(f"graph: {name}: expected an array, got {type(value).__name__}")
    dtypes: tuple[str, ...] = ("int32", "int64")
    columns: tuple[int, ...] = ()
    if isinstance(kind, ValueType):
        dtypes, columns = (kind.dtype,), (kind.dim,)
    if str(value.dtype) not in dtypes:
        wanted = " or ".join(dtypes)
        hint = "; set jax_enable_x64" if wanted == "float64" else f"; cast it to {dtypes[0]}"
        raise ArgumentTypeError(f"graph: {name}: expected {wanted}, got {value.dtype}{hint}")
    leading = [] if kind.rows == "shared" else [f"{kind.rows}s"]
    shape = tuple(value.shape)
    if len(shape) != len(leading) + len(columns) or shape[len(leading) :] != columns:
        wanted = ", ".join([*leading, *map(str, columns)])
        raise ArgumentError(f"graph: {name}: expected shape [{wanted}], got {list(shape)}")


def _check_range(name: str, value: Any, kind: IndexType, size: int) -> None:
    """Refuses indices out of range, where they are known.

    Raises:
        IndexRangeError: with the range.
    """
    if isinstance(value, jax.core.Tracer) or not value.shape[0]:
        return
    known = np.asarray(value)
    low, high = int(known.min()), int(known.max())
    if low < 0 or high >= size:
        raise IndexRangeError(
            f"graph: {name}: expected indices from 0 to {size - 1} ({kind.into}s), "
            f"got {low} to {high}"
        )
