"""Sums and other reductions over axes.

In: tensors. Out: steps of the shapes that torch has inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from tvm import relax

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.steps import Expr, Steps


def _axes(x: Expr, dims: Any) -> list[int]:
    """Axes by number; all of them for none."""
    rank = x.ty.ndim
    if dims is None or dims == []:
        return list(range(rank))
    given: Sequence[int] = [dims] if isinstance(dims, int) else dims
    return sorted(dim % rank for dim in given)


@converts("aten.sum.dim_IntList", "aten.sum.default")
def total(steps: Steps, x: Expr, dims: Any = None, keepdim: bool = False, **_: Any) -> Expr:
    """A sum over axes."""
    value = steps.cast(x, steps.dtype)
    axes = _axes(x, dims)
    return steps.emit(relax.op.sum(value, axes, keepdim)) if axes else value


@converts("aten.mean.dim", "aten.mean.default")
def mean(steps: Steps, x: Expr, dims: Any = None, keepdim: bool = False, **_: Any) -> Expr:
    """A mean over axes."""
    axes = _axes(x, dims)
    sizes = [x.ty.shape.values[axis] for axis in axes]
    if not axes:
        return steps.cast(x, steps.dtype)
    count = steps.operand(reduce(lambda left, right: left * right, sizes), steps.dtype)
    found = steps.emit(relax.op.sum(steps.cast(x, steps.dtype), axes, keepdim))
    return steps.emit(relax.op.divide(found, count))


@converts("aten.amax.default")
def amax(steps: Steps, x: Expr, dims: Any = (), keepdim: bool = False) -> Expr:
    """The largest along axes."""
    return steps.emit(relax.op.max(x, _axes(x, list(dims)), keepdim))


@converts("aten.amin.default")
def amin(steps: Steps, x: Expr, dims: Any = (), keepdim: bool = False) -> Expr:
    """The smallest along axes."""
    return steps.emit(relax.op.min(x, _axes(x, list(dims)), keepdim))


@converts("aten.linalg_vector_norm.default")
def vector_norm(
    steps: Steps, x: Expr, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any
) -> Expr:
    """The Euclidean length along axes.

    Raises:
        UnsupportedError: another norm.
    """
    if order != 2:
        raise UnsupportedError(f"expected the norm of order 2, got {order}")
    value = steps.cast(x, steps.dtype)
    square = steps.emit(relax.op.multiply(value, value))
    return steps.emit(relax.op.sqrt(steps.emit(relax.op.sum(square, _axes(x, dims), keepdim))))
