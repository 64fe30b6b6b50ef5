"""Operations that bring values in, add them, and take them apart.

In: types. Out: types, by one rule per operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations.checks import (
    expect_count,
    expect_irreps,
    expect_layout,
    expect_rows,
    expect_same_dtype,
    expect_value,
)
from tvm_equi.graph.types import DType, IndexType, Irrep, Type, ValueType, format_irreps
from tvm_equi.graph.types import IrrepsText as Irreps


@dataclass(frozen=True, slots=True)
class Input:
    """A value or an index that the caller gives.

    Args:
        type: of the value.
    """

    type: ValueType | IndexType

    def infer(self, inputs: Sequence[Type]) -> Type:
        """The declared type."""
        expect_count(inputs, ())
        return self.type


@dataclass(frozen=True, slots=True)
class Parameter:
    """Numbers that belong to the model, shared by all rows.

    Args:
        size: how many.
        dtype: of the numbers.

    Raises:
        GraphError: a negative size.
    """

    size: int
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        """Refuses a negative size."""
        if self.size < 0:
            raise GraphError(f"size: expected 0 or more, got {self.size}")

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """That many invariants, shared."""
        expect_count(inputs, ())
        return ValueType(Irreps(f"{self.size}x0e"), "shared", dtype=self.dtype)


@dataclass(frozen=True, slots=True)
class Add:
    """A weighted sum of values of one type.

    Args:
        factors: one per input.
    """

    factors: tuple[float, ...]

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The common type.

        Raises:
            GraphError: the types differ.
        """
        names = [f"inputs[{number}]" for number in range(max(1, len(self.factors)))]
        expect_count(inputs, names)
        values = [expect_value(name, value) for name, value in zip(names, inputs, strict=True)]
        for name, value in zip(names, values, strict=True):
            expect_irreps(name, value, values[0].irreps)
            expect_rows(name, value, values[0].rows)
            expect_layout(name, value, values[0].layout)
        expect_same_dtype(names, values)
        return values[0]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some channels of a value.

    Args:
        parts: (segment, first channel, end channel) of each irrep of the output.
    """

    parts: tuple[tuple[int, int, int], ...]

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The chosen channels, in the order of the parts.

        Raises:
            GraphError: a part that the value does not have.
        """
        expect_count(inputs, ("x",))
        value = expect_value("x", inputs[0])
        chosen = []
        for number, (segment, start, end) in enumerate(self.parts):
            if not 0 <= segment < len(value.segments):
                raise GraphError(
                    f"parts[{number}]: expected a segment below {len(value.segments)}, "
                    f"got {segment}"
                )
            irrep = value.segments[segment]
            if not 0 <= start <= end <= irrep.mul:
                raise GraphError(
                    f"parts[{number}]: expected 0 <= start <= end <= {irrep.mul}, "
                    f"got {start}, {end}"
                )
            chosen.append(Irrep(end - start, irrep.degree, irrep.parity))
        return replace(value, irreps=format_irreps(tuple(chosen)))


@dataclass(frozen=True, slots=True)
class Concat:
    """Values side by side.

    Args:
        num: of values.
    """

    num: int

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The irreps of all, in order."""
        names = [f"inputs[{number}]" for number in range(max(1, self.num))]
        expect_count(inputs, names)
        values = [expect_value(name, value) for name, value in zip(names, inputs, strict=True)]
        for name, value in zip(names, values, strict=True):
            expect_rows(name, value, values[0].rows)
            expect_layout(name, value, values[0].layout)
        expect_same_dtype(names, values)
        segments = tuple(irrep for value in values for irrep in value.segments)
        return replace(values[0], irreps=format_irreps(segments))
