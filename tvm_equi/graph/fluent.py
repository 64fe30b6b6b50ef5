"""Write a diagram as calls on its legs: a thin layer over `GraphBuilder`.

In: legs that come from outside; all others grow from them (`tvm_equi.graph.legs`). Out: a graph.
Names come by themselves, and an error comes from the line that is wrong. Refused: values of
another graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tvm_equi.algebra.contraction import Layout
from tvm_equi.errors import GraphError
from tvm_equi.graph.builder import GraphBuilder
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.legs import Index, Value
from tvm_equi.graph.types import DType, Rows


class Graph:
    """A diagram that grows: it makes the legs that come from outside, all others grow from them.

    Args:
        dtype: of inputs and parameters.
        layout: of values with channels and components.

    Example:
        >>> graph = Graph()
        >>> x = graph.input("x", "4x0e+4x1o", rows="node")
        >>> y = graph.input("y", "0e+1o", rows="node")
        >>> z = x.tensor_product(y, "4x0e+4x1o", paths="channelwise").linear("2x1o")
        >>> z
        linear: 2x1o [node]
        >>> graph.build(z).parameters
        ('tensor_product.weight', 'linear.weight')
    """

    def __init__(self, *, dtype: DType = "float32", layout: Layout = "mul_ir") -> None:
        self.builder = GraphBuilder(dtype=dtype, layout=layout)
        self._prefix = ""

    def input(self, name: str, irreps: object, *, rows: Rows) -> Value:
        """A value that the caller gives, [rows, dim] or, if shared, [dim]."""
        return Value(self, self.builder.input(name, irreps, rows=rows))

    def index(self, name: str, *, rows: Rows, into: Rows) -> Index:
        """An index that the caller gives: for each of `rows`, the number of one of `into`."""
        return Index(self, self.builder.index(name, rows=rows, into=into))

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names of operations made inside start with `name` and a dot."""
        before = self._prefix
        self._prefix = f"{before}{name}."
        try:
            yield
        finally:
            self._prefix = before

    def build(self, *outputs: Value) -> TensorProductGraph:
        """The graph so far.

        Args:
            outputs: values that a call returns.
        """
        return self.builder.graph(*(self.name_of("build", "outputs", value) for value in outputs))

    def new_name(self, name: str | None, kind: str) -> str:
        """The full name of the next operation: the given one, or its kind and a number.

        Args:
            name: as given; a name that is taken is refused where the operation is added.
            kind: of the operation.
        """
        wanted = f"{self._prefix}{name or kind}"
        found, number = wanted, 1
        while name is None and found in self.builder.types:
            number += 1
            found = f"{wanted}_{number}"
        return found

    def name_of(self, method: str, argument: str, value: object) -> str:
        """The name of a leg of this graph.

        Raises:
            GraphError: it is none, or one of another graph.
        """
        if not isinstance(value, Value | Index):
            raise GraphError(f"{method}: {argument}: expected a value of a Graph, got {value!r}")
        if value.graph is not self:
            raise GraphError(
                f"{method}: {argument}: expected a value of the same Graph, got {value.name!r} of "
                "another"
            )
        return value.name
