"""Columns that operations touch."""

from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.columns import as_ranges, bias_columns, slice_columns
from tvm_equi.graph.operations import Slice
from tvm_equi.graph.types import IndexType, ValueType, canonical_irreps


def test_biases_are_added_to_scalars() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x0e", rows="node")
    layer = build.linear("l", x, "1x1o+2x0e+1x0o+1x0e", biases=True)
    assert bias_columns(build.graph(layer).node(layer).operation) == [3, 4, 6]


def test_slices_of_both_layouts() -> None:
    operation = Slice(((1, 1, 3), (0, 0, 1)))
    irreps = canonical_irreps("2x0e+3x1o")
    assert slice_columns(operation, ValueType(irreps, "node")) == [5, 6, 7, 8, 9, 10, 0]
    other = ValueType(irreps, "node", "ir_mul")
    assert slice_columns(operation, other) == [3, 4, 6, 7, 9, 10, 0]
    assert slice_columns(operation, IndexType("edge", "node")) == []


def test_columns_in_any_order_as_ranges() -> None:
    assert as_ranges([3, 4, 5, 0, 7]) == ((3, 6), (0, 1), (7, 8))
    assert as_ranges([]) == ()
