"""Sums and other reductions over axes.

In: tensors. Out: steps of the shapes that torch has inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

from tvm import relax, te, tirx

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.indices import ACCUMULATOR
from tvm_equi.relax.steps import Expr, Steps

LONG = 1 << 10
"""Sums of more numbers than this are made in `ACCUMULATOR`."""


def _axes(x: Expr, dims: Any) -> list[int]:
    """Axes by number; all of them for none."""
    rank = x.ty.ndim
    if dims is None or (not isinstance(dims, int) and not list(dims)):
        return list(range(rank))
    given: Sequence[int] = [dims] if isinstance(dims, int) else dims
    return sorted(dim % rank for dim in given)


@converts("aten.sum.dim_IntList", "aten.sum.default")
def total(steps: Steps, x: Expr, dims: Any = None, keepdim: bool = False, **_: Any) -> Expr:
    """A sum over axes."""
    value = steps.cast(x, steps.dtype)
    axes = _axes(x, dims)
    return _summed(steps, value, axes, keepdim) if axes else value


def _summed(steps: Steps, x: Expr, axes: Sequence[int], keepdim: bool) -> Expr:
    """A sum, over axes that are long or of any length in `ACCUMULATOR`."""
    sizes = [x.ty.shape.values[axis] for axis in axes]
    is_known = all(isinstance(size, tirx.IntImm) for size in sizes)
    is_long = not is_known or prod(int(size.value) for size in sizes) > LONG
    if not is_long or steps.dtype not in ("float32", "float16"):
        return steps.emit(relax.op.sum(x, list(axes), keepdim))
    exact = steps.emit(relax.op.sum(steps.cast(x, ACCUMULATOR), list(axes), keepdim))
    return steps.cast(exact, steps.dtype)


@converts("aten.mean.dim", "aten.mean.default")
def mean(steps: Steps, x: Expr, dims: Any = None, keepdim: bool = False, **_: Any) -> Expr:
    """A mean over axes."""
    axes = _axes(x, dims)
    sizes = [x.ty.shape.values[axis] for axis in axes]
    if not axes:
        return steps.cast(x, steps.dtype)
    count = steps.operand(reduce(lambda left, right: left * right, sizes), steps.dtype)
    found = _summed(steps, steps.cast(x, steps.dtype), axes, keepdim)
    return steps.emit(relax.op.divide(found, count))


@converts("aten.amax.default")
def amax(steps: Steps, x: Expr, dims: Any = (), keepdim: bool = False) -> Expr:
    """The largest along axes."""
    return _extreme(steps, x, _axes(x, dims), keepdim, is_max=True)


@converts("aten.amin.default")
def amin(steps: Steps, x: Expr, dims: Any = (), keepdim: bool = False) -> Expr:
    """The smallest along axes."""
    return _extreme(steps, x, _axes(x, dims), keepdim, is_max=False)


def _extreme(steps: Steps, x: Expr, axes: Sequence[int], keepdim: bool, *, is_max: bool) -> Expr:
    """The largest or smallest, or one that is no number: TVM leaves these, and infinities, out."""
    function = relax.op.max if is_max else relax.op.min
    if "float" not in steps.dtype:
        return steps.emit(function(x, list(axes), keepdim))
    worst = tirx.const(float("-inf") if is_max else float("inf"), steps.dtype)

    def choose(left: Any, right: Any) -> Any:
        is_left = left > right if is_max else left < right
        return tirx.Select(tirx.any(is_left, tirx.isnan(left)), left, right)

    reducer = te.comm_reducer(choose, lambda _: worst, name="extreme")

    def compute(source: Any) -> Any:
        along = {axis: te.reduce_axis((0, source.shape[axis])) for axis in axes}
        kept = [axis for axis in range(len(source.shape)) if axis not in along or keepdim]

        def at(*place: Any) -> Any:
            point = dict(zip(kept, place, strict=True)) | along
            return reducer(source(*(point[axis] for axis in sorted(point))), list(along.values()))

        return te.compute(steps.shape, at, name="extreme")

    return steps.emit_te(compute, x, name="extreme")


@converts("aten.any.default", "aten.any.dim", "aten.any.dims")
def is_any(steps: Steps, x: Expr, dims: Any = None, keepdim: bool = False) -> Expr:
    """Whether any number along axes is not zero."""
    truths = steps.cast(steps.cast(x, "bool"), "int64")
    total = steps.emit(relax.op.sum(truths, _axes(x, dims), keepdim))
    return steps.emit(relax.op.greater(total, relax.const(0, "int64")))


@converts("aten.all.default", "aten.all.dim", "aten.all.dims")
def are_all(steps: Steps, x: Expr, dims: Any = None, keepdim: bool = False) -> Expr:
    """Whether no number along axes is zero."""
    zeros = steps.emit(relax.op.logical_not(steps.cast(x, "bool")))
    return steps.emit(relax.op.logical_not(is_any(steps, zeros, dims, keepdim)))


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
    axes = _axes(x, dims)
    return steps.emit(relax.op.sqrt(_summed(steps, square, axes, keepdim) if axes else square))
