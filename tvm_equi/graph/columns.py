"""Which columns of a value operations touch.

In: operations and types. Out: column numbers, for whoever runs a graph.
"""

from __future__ import annotations

from collections.abc import Iterable

from tvm_equi.graph.operations import Linear, Slice
from tvm_equi.graph.regions import Ranges
from tvm_equi.graph.types import Type, ValueType, parse_irreps


def bias_columns(operation: Linear) -> list[int]:
    """The column of the output that each bias is added to.

    Args:
        operation: with biases.
    """
    columns: list[int] = []
    offsets: list[int] = []
    start = 0
    for irrep in parse_irreps(operation.irreps_out):
        offsets.append(start)
        start += irrep.dim
    for segment, size in zip(operation.biases, operation.bias_sizes(), strict=True):
        columns += range(offsets[segment], offsets[segment] + size)
    return columns


def slice_columns(operation: Slice, kind: Type) -> list[int]:
    """The columns that a slice takes, in order.

    Args:
        operation: the slice.
        kind: of what it slices.
    """
    if not isinstance(kind, ValueType):
        return []
    offsets, start = [], 0
    for irrep in kind.segments:
        offsets.append(start)
        start += irrep.dim
    columns: list[int] = []
    for segment, first, end in operation.parts:
        mul = kind.segments[segment].mul
        dim = 2 * kind.segments[segment].degree + 1
        base = offsets[segment]
        if kind.layout == "mul_ir":
            columns += range(base + first * dim, base + end * dim)
        else:
            for component in range(dim):
                row = base + component * mul
                columns += range(row + first, row + end)
    return columns


def as_ranges(columns: Iterable[int]) -> Ranges:
    """Columns as (start, end) of those that follow one another.

    Args:
        columns: numbers, in any order, which is kept.

    Example:
        >>> as_ranges([3, 4, 5, 0, 7])
        ((3, 6), (0, 1), (7, 8))
    """
    ranges: list[tuple[int, int]] = []
    for column in columns:
        if ranges and ranges[-1][1] == column:
            ranges[-1] = (ranges[-1][0], column + 1)
        else:
            ranges.append((column, column + 1))
    return tuple(ranges)
