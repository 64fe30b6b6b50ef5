"""Operators that move numbers without changing them.

In: tensors. Out: steps of the shapes that torch has inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import relax, tirx
from tvm.sym import Analyzer

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.sizes import constant
from tvm_equi.relax.steps import Expr, Steps


def reshaped(steps: Steps, x: Expr, shape: Sequence[Expr]) -> Expr:
    """The numbers of a tensor in another shape."""
    if tvm_ffi.structural_equal(relax.ShapeExpr(list(shape)), x.ty.shape):
        return x
    return steps.emit(relax.op.reshape(x, list(shape)))


@converts(
    "aten.view.default",
    "aten._unsafe_view.default",
    "aten.reshape.default",
    "aten.unsqueeze.default",
    "aten.squeeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
)
def view(steps: Steps, x: Expr, *_: Any) -> Expr:
    """The same numbers in the shape of what the step gives."""
    return reshaped(steps, x, steps.shape)


@converts("aten.permute.default")
def permute(steps: Steps, x: Expr, axes: Sequence[int]) -> Expr:
    """Axes in another order."""
    return steps.emit(relax.op.permute_dims(x, [axis % len(axes) for axis in axes]))


@converts("aten.transpose.int", "aten.t.default")
def transpose(steps: Steps, x: Expr, first: int = 0, second: int = 1) -> Expr:
    """Two axes exchanged."""
    axes = list(range(x.ty.ndim))
    if len(axes) > 1:
        axes[first], axes[second] = axes[second], axes[first]
    return steps.emit(relax.op.permute_dims(x, axes))


@converts("aten.expand.default")
def expand(steps: Steps, x: Expr, *_: Any, **__: Any) -> Expr:
    """Copies along axes of one."""
    return broadcast(steps, x, steps.shape)


def broadcast(steps: Steps, x: Expr, shape: Sequence[Expr]) -> Expr:
    """Copies of a tensor along its axes of one."""
    if tvm_ffi.structural_equal(relax.ShapeExpr(list(shape)), x.ty.shape):
        return x
    return steps.emit(relax.op.broadcast_to(x, list(shape)))


@converts("aten.copy.default")
def copy(steps: Steps, _: Expr, source: Expr, *__: Any) -> Expr:
    """A tensor in the shape and dtype of another."""
    return broadcast(steps, steps.cast(source, steps.dtype), steps.shape)


@converts("aten.repeat.default")
def repeat(steps: Steps, x: Expr, counts: Sequence[Any]) -> Expr:
    """Copies side by side.

    Raises:
        UnsupportedError: a number of copies that depends on sizes.
    """
    if not all(isinstance(count, int) for count in counts):
        raise UnsupportedError(f"expected numbers of copies, got {list(counts)}")
    return steps.emit(relax.op.tile(x, list(counts)))


@converts("aten.cat.default")
def concat(steps: Steps, tensors: Sequence[Expr], dim: int = 0) -> Expr:
    """Tensors side by side."""
    given = steps.node.args[0]
    kept = [
        steps.cast(tensor, steps.dtype)
        for tensor, node in zip(tensors, given, strict=True)
        if len(node.meta["val"].shape) == len(steps.shape)  # torch lets empty [0] tensors pass
    ]
    return side_by_side(steps, kept, dim % len(steps.shape))


@converts("aten.stack.default")
def stack(steps: Steps, tensors: Sequence[Expr], dim: int = 0) -> Expr:
    """Tensors along a new axis."""
    axis = dim % len(steps.shape)
    one = [constant(1) if number == axis else size for number, size in enumerate(steps.shape)]
    parts = [reshaped(steps, steps.cast(tensor, steps.dtype), one) for tensor in tensors]
    return side_by_side(steps, parts, axis)


def part(steps: Steps, x: Expr, axis: int, start: Expr, length: Expr, step: int = 1) -> Expr:
    """Some of a tensor along one axis."""
    end = start + length if step == 1 else start + (length - 1) * step + 1
    return steps.emit(
        relax.op.strided_slice(x, [axis], [start], [end], [step], assume_inbound=True)
    )


def _start(size: Expr, start: Any) -> Expr:
    """The first of a range as torch reads it: negative numbers count from the end."""
    if start is None:
        return constant(0)
    from_end = tirx.max(size + start, constant(0))
    if isinstance(start, int):
        return constant(start) if start >= 0 else from_end
    return tirx.Select(start < 0, from_end, start)


@converts("aten.slice.Tensor")
def slice_(
    steps: Steps, x: Expr, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Expr:
    """A range along an axis."""
    given = steps.argument(0).shape
    axis = dim % len(given)
    if steps.result.shape[axis] == given[axis] and step == 1:
        return x
    return part(
        steps, x, axis, _start(steps.sizes.size(given[axis]), start), steps.shape[axis], step
    )


@converts("aten.select.int")
def select(steps: Steps, x: Expr, dim: int, index: int) -> Expr:
    """One place of an axis."""
    given = steps.argument(0).shape
    axis = dim % len(given)
    start = _start(steps.sizes.size(given[axis]), index)
    return reshaped(steps, part(steps, x, axis, start, constant(1)), steps.shape)


@converts("aten.split_with_sizes.default", "aten.split.Tensor")
def split(steps: Steps, x: Expr, _: Any, dim: int = 0) -> list[Expr]:
    """Ranges side by side along an axis."""
    axis = dim % x.ty.ndim
    parts, start = [], constant(0)
    for value in steps.result:
        length = steps.sizes.size(value.shape[axis])
        parts.append(part(steps, x, axis, start, length))
        start = start + length
    return parts


@converts("aten.unbind.int")
def unbind(steps: Steps, x: Expr, dim: int = 0) -> list[Expr]:
    """Every place of an axis."""
    axis = dim % x.ty.ndim
    return [
        reshaped(
            steps, part(steps, x, axis, constant(n), constant(1)), steps.sizes.shape(value.shape)
        )
        for n, value in enumerate(steps.result)
    ]


@converts("<built-in function getitem>")
def getitem(steps: Steps, values: Sequence[Expr], number: int) -> Expr:
    """One of several values."""
    return values[number]


def is_empty(size: Expr) -> bool:
    """Whether a size is known to be zero."""
    return isinstance(size, tirx.IntImm) and size.value == 0


def side_by_side(steps: Steps, parts: Sequence[Expr], axis: int) -> Expr:
    """Tensors along an axis, but for those that are known to be empty."""
    kept = [each for each in parts if not is_empty(each.ty.shape.values[axis])] or [parts[0]]
    return kept[0] if len(kept) == 1 else steps.emit(relax.op.concat(kept, axis))


def _between(steps: Steps, x: Expr, source: Expr, axis: int, start: Expr, length: Expr) -> Expr:
    """A tensor with a range along an axis replaced."""
    simplify = Analyzer().simplify
    rest = simplify(x.ty.shape.values[axis] - start - length)
    ranges = [(constant(0), start), (simplify(start + length), rest)]
    outer = [
        None if is_empty(length) else part(steps, x, axis, first, length)
        for first, length in ranges
    ]
    parts = [each for each in (outer[0], source, outer[1]) if each is not None]
    return side_by_side(steps, parts, axis)


@converts("aten.slice_scatter.default")
def slice_scatter(
    steps: Steps,
    x: Expr,
    source: Expr,
    dim: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> Expr:
    """A tensor with a range along an axis replaced.

    Raises:
        UnsupportedError: a range with steps.
    """
    if step != 1:
        raise UnsupportedError(f"expected a range of steps of 1, got {step}")
    axis = dim % x.ty.ndim
    length = source.ty.shape.values[axis]
    return _between(steps, x, source, axis, _start(x.ty.shape.values[axis], start), length)


@converts("aten.select_scatter.default")
def select_scatter(steps: Steps, x: Expr, source: Expr, dim: int, index: int) -> Expr:
    """A tensor with one place of an axis replaced."""
    axis = dim % x.ty.ndim
    shape = list(x.ty.shape.values)
    start = _start(shape[axis], index)
    shape[axis] = constant(1)
    return _between(steps, x, reshaped(steps, source, shape), axis, start, constant(1))


@converts("aten.constant_pad_nd.default")
def pad(steps: Steps, x: Expr, widths: Sequence[int], value: float = 0.0) -> Expr:
    """A tensor with a margin along some axes, which may be negative.

    Raises:
        UnsupportedError: a margin that depends on sizes.
    """
    if not all(isinstance(width, int) for width in widths):
        raise UnsupportedError(f"expected margins that are numbers, got {list(widths)}")
    for number in range(len(widths) // 2):
        axis = x.ty.ndim - 1 - number
        before, after = widths[2 * number], widths[2 * number + 1]
        shape = list(x.ty.shape.values)
        if min(before, after) < 0:
            cut = max(-before, 0)
            length = Analyzer().simplify(shape[axis] - cut - max(-after, 0))
            x = part(steps, x, axis, constant(cut), length)
        margins = []
        for width in (before, after):
            shape[axis] = constant(max(width, 0))
            margins.append(relax.op.full(shape, relax.const(value, steps.dtype), steps.dtype))
        x = side_by_side(steps, [steps.emit(margins[0]), x, steps.emit(margins[1])], axis)
    return x


@converts("aten.flip.default")
def flip(steps: Steps, x: Expr, dims: Sequence[int]) -> Expr:
    """Axes in reverse."""
    for dim in dims:
        x = steps.emit(relax.op.flip(x, dim % x.ty.ndim))
    return x
