"""What a kernel takes and gives, and whether arrays fit it.

In: plans and arrays, or their shapes. Out: the numbers of rows and the shapes of outputs. Refused:
a wrong number of arrays, shape or dtype; names the array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tvm_equi.algebra.contraction import Rows
from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.runtime.plans import resolve

Value = tuple[int, Rows]
"""(columns, rows) of an input or output."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a kernel takes and gives.

    Args:
        inputs: in order.
        outputs: in order.
        is_convolution: whether rows are edges of a graph.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    is_convolution: bool


@lru_cache(maxsize=4096)
def signature(plan: str) -> Signature:
    """The signature of the kernel that a plan names.

    Args:
        plan: of a kernel.
    """
    kernel = resolve(plan)

    def facts(names: tuple[str, ...]) -> tuple[Value, ...]:
        return tuple((kernel.operand(name).dim, kernel.operand(name).rows) for name in names)

    return Signature(facts(kernel.inputs), facts(kernel.outputs), is_convolution(kernel))


def shape(value: Value, counts: Mapping[Rows, int]) -> tuple[int, ...]:
    """The shape of an array.

    Args:
        value: its columns and rows.
        counts: the number of each kind of rows.
    """
    columns, rows = value
    return (columns,) if rows == "shared" else (counts[rows], columns)


def count_rows(values: Sequence[Value], arrays: Sequence[Any]) -> dict[Rows, int]:
    """The number of each kind of rows, as the first array of each kind has it.

    Args:
        values: what the arrays should be.
        arrays: maybe something else.
    """
    counts: dict[Rows, int] = {}
    for (_, rows), array in zip(values, arrays, strict=False):
        if rows != "shared" and len(getattr(array, "shape", ())) == 2:
            counts.setdefault(rows, array.shape[0])
    return counts


def check(
    where: str, values: Sequence[Value], arrays: Sequence[Any], counts: Mapping[Rows, int]
) -> None:
    """Refuses arrays that do not fit.

    Args:
        where: names the arrays in errors.
        values: what they should be.
        arrays: with a shape and a dtype.
        counts: the number of each kind of rows.

    Raises:
        ArgumentError: a wrong number of arrays or shape.
        ArgumentTypeError: no array, or a dtype other than float32 and float64, or two of them.
    """
    if len(arrays) != len(values):
        raise ArgumentError(f"{where}: expected {len(values)} arrays, got {len(arrays)}")
    for number, (value, array) in enumerate(zip(values, arrays, strict=True)):
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise ArgumentTypeError(
                f"{where}[{number}]: expected an array, got {type(array).__name__}"
            )
        dtype = str(array.dtype)
        if dtype not in ("float32", "float64"):
            raise ArgumentTypeError(
                f"{where}[{number}]: expected float32 or float64, got {dtype}; cast it"
            )
        if dtype != str(arrays[0].dtype):
            raise ArgumentTypeError(
                f"{where}[{number}]: expected {arrays[0].dtype} like {where}[0], got {dtype}"
            )
        columns, rows = value
        has_rows = rows != "shared"
        fits = len(array.shape) == 1 + has_rows and array.shape[-1] == columns
        if not fits or (has_rows and array.shape[0] != counts.get(rows)):
            if has_rows:
                wanted = f"[{counts.get(rows, 'rows')}, {columns}] ([{rows}s, columns])"
            else:
                wanted = f"[{columns}]"
            raise ArgumentError(
                f"{where}[{number}]: expected shape {wanted}, got {list(array.shape)}"
            )
