"""Weights computed from other weights, once per call.

In: shared values. Out: a shared value: blocks side by side, each a sum of einsums of parts of the
inputs. Passes that merge layers use it: the product of two matrices is a matrix, and gradients
reach the parameters that it was made of. Refused: parts that an input does not have, and subscripts
that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations.checks import (
    expect_count,
    expect_rows,
    expect_same_dtype,
    expect_scalars,
    expect_value,
)
from tvm_equi.graph.types import IrrepsText as Irreps
from tvm_equi.graph.types import Type, ValueType


class WeightPart(NamedTuple):
    """Some numbers of an input: x[start:end] as rows, of which some columns, in a shape."""

    slot: int
    start: int
    end: int
    row_length: int
    first: int
    last: int
    shape: tuple[int, ...]

    @staticmethod
    def whole(slot: int, start: int, shape: tuple[int, ...]) -> WeightPart:
        """Neighbouring numbers."""
        size = prod(shape)
        return WeightPart(slot, start, start + size, size, 0, size, shape)


class WeightTerm(NamedTuple):
    """factor * einsum(subscripts, *parts)."""

    factor: float
    subscripts: str
    parts: tuple[WeightPart, ...]

    @property
    def extents(self) -> dict[str, int]:
        """The extent of every index.

        Raises:
            GraphError: the subscripts do not fit the parts.
        """
        found: dict[str, int] = {}
        letters = self.subscripts.partition("->")[0].split(",")
        if len(letters) != len(self.parts):
            raise GraphError(
                f"subscripts: expected {len(self.parts)} operands, got {self.subscripts!r}"
            )
        for names, part in zip(letters, self.parts, strict=True):
            if len(names) != len(part.shape):
                raise GraphError(
                    f"subscripts: expected {len(part.shape)} indices, got {names!r} in "
                    f"{self.subscripts!r}"
                )
            for name, extent in zip(names, part.shape, strict=True):
                if found.setdefault(name, extent) != extent:
                    raise GraphError(
                        f"subscripts: expected extent {found[name]} of {name!r}, got {extent}"
                    )
        return found

    @property
    def size(self) -> int:
        """Numbers of the result."""
        extents = self.extents
        return prod(extents[name] for name in self.subscripts.partition("->")[2])

    @property
    def multiply_adds(self) -> int:
        """Of one einsum, in one go."""
        return prod(self.extents.values())


@dataclass(frozen=True, slots=True)
class ComposedWeights:
    """Weights made of other weights.

    Args:
        blocks: the terms of each block, whose sum is flattened; blocks lie side by side.
        num_inputs: shared values that it reads.
    """

    blocks: tuple[tuple[WeightTerm, ...], ...]
    num_inputs: int

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """Shared invariants.

        Raises:
            GraphError: a part that an input does not have, or terms of several sizes.
        """
        names = [f"inputs[{number}]" for number in range(max(1, self.num_inputs))]
        expect_count(inputs, names)
        values = [expect_value(name, value) for name, value in zip(names, inputs, strict=True)]
        for name, value in zip(names, values, strict=True):
            expect_rows(name, value, "shared")
            expect_scalars(name, value)
        expect_same_dtype(names, values)
        for number, terms in enumerate(self.blocks):
            if len({term.size for term in terms}) != 1:
                raise GraphError(f"blocks[{number}]: expected terms of one size")
            for part in (part for term in terms for part in term.parts):
                _check_part(f"blocks[{number}]", part, values)
        size = sum(terms[0].size for terms in self.blocks)
        return ValueType(Irreps(f"{size}x0e"), "shared", dtype=values[0].dtype)


def _check_part(where: str, part: WeightPart, values: Sequence[ValueType]) -> None:
    """Refuses a part that is not one of an input.

    Raises:
        GraphError: with the part.
    """
    if not 0 <= part.slot < len(values):
        raise GraphError(f"{where}: expected a slot below {len(values)}, got {part.slot}")
    length = part.end - part.start
    is_range = 0 <= part.start <= part.end <= values[part.slot].dim
    rows = length // part.row_length if part.row_length else 0
    is_inside = 0 <= part.first <= part.last <= part.row_length
    fits = rows * part.row_length == length and rows * (part.last - part.first) == prod(part.shape)
    if not (is_range and is_inside and fits):
        raise GraphError(
            f"{where}: expected a part of {values[part.slot].dim} numbers, got {tuple(part)}"
        )
