"""Operations between rows: the only ones that are not local.

In: types. Out: types, by one rule per operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations.checks import (
    expect_count,
    expect_index,
    expect_rows,
    expect_value,
)
from tvm_equi.graph.types import Type, ValueType


@dataclass(frozen=True, slots=True)
class Gather:
    """The row that an index names, for each row of the index: out[e] = x[index[e]]."""

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The value on the index's rows."""
        expect_count(inputs, ("x", "index"))
        value, index = expect_value("x", inputs[0]), expect_index("index", inputs[1])
        expect_rows("x", value, index.into)
        return replace(value, rows=index.rows)


@dataclass(frozen=True, slots=True)
class ScatterSum:
    """The sum of the rows whose index names a row: out[n] = factor * sum of x[e] with index[e] = n.

    Args:
        factor: of the sum, e.g. 1 / sqrt(average number of neighbours).
    """

    factor: float = 1.0

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The value on the rows that the index names."""
        expect_count(inputs, ("x", "index"))
        value, index = expect_value("x", inputs[0]), expect_index("index", inputs[1])
        expect_rows("x", value, index.rows)
        return replace(value, rows=index.into)


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum over all rows.

    Args:
        factor: of the sum.
    """

    factor: float = 1.0

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """One value for all rows.

        Raises:
            GraphError: the value has no rows.
        """
        expect_count(inputs, ("x",))
        value = expect_value("x", inputs[0])
        if value.rows == "shared":
            raise GraphError("x: expected a value with rows, got a shared one")
        return replace(value, rows="shared")
