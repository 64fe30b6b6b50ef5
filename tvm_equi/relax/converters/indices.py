"""Operators that read or add by index. Every index is checked first, once for each range.

In: tensors and int64 or int32 indices. Out: steps that take a checked copy of the index. Indices
that are constants are checked here, count from the end where they are negative, and are compiled
in. Refused: masks, and, when a program runs, negative numbers: they do not count from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch.fx import Node
from tvm import relax, te, tirx
from tvm.sym import Analyzer

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.converters.layout import broadcast, reshaped
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.indices import accumulator, check_range, sum_rows
from tvm_equi.relax.sizes import constant
from tvm_equi.relax.steps import Expr, Steps


def _product(sizes: Sequence[Expr]) -> Expr:
    return reduce(lambda left, right: left * right, sizes, constant(1))


def _name(node: Any) -> str:
    """The name of the input that an index comes from, or else that of the step."""
    source = node
    while isinstance(source, Node) and source.op != "placeholder" and source.all_input_nodes:
        source = source.all_input_nodes[0]
    return str(source if isinstance(source, Node) and source.op == "placeholder" else node)


def checked(steps: Steps, index: Expr, node: Any, size: Expr) -> Expr:
    """An index as int64, none of whose numbers is below zero or not below a size.

    Args:
        steps: so far.
        index: to check.
        node: that gives it.
        size: of the axis that it reads.

    Raises:
        UnsupportedError: a mask.
    """
    dtype = str(index.ty.dtype)
    if dtype not in ("int64", "int32"):
        raise UnsupportedError(f"expected an index of int64, got {dtype}; masks have no fixed size")
    known = steps.constants.get(node)
    if known is not None:
        known = _from_start(known, size)
        index = relax.const(known.numpy(), "int64")
        if isinstance(size, tirx.IntImm):
            return index
    key = (node, str(size))
    if key not in steps.checked:
        shape = list(index.ty.shape.values)
        flat = index if len(shape) == 1 else reshaped(steps, index, [_product(shape)])
        function = check_range(_name(node), dtype)
        target = steps.builder.add_func(function, "check_range")
        kind = relax.TensorType([_product(shape)], "int64")
        found = steps.emit(relax.call_tir(target, [flat, size], kind))
        steps.checked[key] = found if len(shape) == 1 else reshaped(steps, found, shape)
    return steps.checked[key]


def _from_start(index: torch.Tensor, size: Expr) -> torch.Tensor:
    """A constant index, whose negative numbers count from the end, in range if that is fixed.

    Raises:
        UnsupportedError: it is not, or counts from an end that may change.
    """
    numbers = index.cpu().to(torch.int64)
    is_fixed = isinstance(size, tirx.IntImm)
    if is_fixed:
        numbers = torch.where(numbers < 0, numbers + int(size.value), numbers)
    bad = (numbers < 0) | (numbers >= int(size.value)) if is_fixed else numbers < 0
    if bad.any():
        raise UnsupportedError(
            f"expected a constant index of {int(size.value) if is_fixed else size} places, got "
            f"{int(index[bad].flatten()[0])}"
        )
    return numbers


@converts("aten.index_select.default")
def index_select(steps: Steps, x: Expr, dim: int, index: Expr) -> Expr:
    """Places of an axis by index."""
    axis = dim % x.ty.ndim
    index = checked(steps, index, steps.node.args[2], x.ty.shape.values[axis])
    return _read(steps, x, [index], axis)


@converts("aten.embedding.default")
def embedding(steps: Steps, weight: Expr, index: Expr, *_: Any) -> Expr:
    """Rows by index."""
    index = checked(steps, index, steps.node.args[1], weight.ty.shape.values[0])
    return _read(steps, weight, [index], 0)


@converts("aten.gather.default")
def gather(steps: Steps, x: Expr, dim: int, index: Expr, **_: Any) -> Expr:
    """For each place, a number of the same place but along one axis."""
    axis = dim % x.ty.ndim
    index = checked(steps, index, steps.node.args[2], x.ty.shape.values[axis])

    def read(source: Any, places: Any) -> Any:
        def at(*point: Any) -> Any:
            return source(*point[:axis], places(*point), *point[axis + 1 :])

        return te.compute(places.shape, at, name="gather")

    return steps.emit_te(read, x, index, name="gather")


@converts("aten.index.Tensor")
def index_tensor(steps: Steps, x: Expr, indices: Sequence[Expr | None]) -> Expr:
    """Places by one index, or by several of axes side by side, which broadcast.

    Raises:
        UnsupportedError: indices of axes that are apart.
    """
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise UnsupportedError("expected indices of axes side by side")
    nodes = steps.node.args[1]
    found = [checked(steps, indices[axis], nodes[axis], x.ty.shape.values[axis]) for axis in axes]
    return _read(steps, x, found, axes[0])


def _read(steps: Steps, x: Expr, indices: Sequence[Expr], first: int) -> Expr:
    """Places of some axes, from the first on, by indices that broadcast, and are checked."""
    shape, num, rank = steps.shape, len(indices), x.ty.ndim
    num_places = len(shape) - (rank - num)

    def read(source: Any, *places: Any) -> Any:
        def at(*point: Any) -> Any:
            middle = point[first : first + num_places]
            chosen = [place(*_broadcast(place, middle)) for place in places]
            return source(*point[:first], *chosen, *point[first + num_places :])

        return te.compute(shape, at, name="take")

    return steps.emit_te(read, x, *indices, name="take")


def _broadcast(tensor: Any, point: Sequence[Any]) -> list[Any]:
    """Where a tensor that broadcasts is read."""
    own = point[len(point) - len(tensor.shape) :]
    return [
        0 if isinstance(size, tirx.IntImm) and size.value == 1 else place
        for size, place in zip(tensor.shape, own, strict=True)
    ]


def _sum_rows(steps: Steps, x: Expr, index: Expr, values: Expr) -> Expr:
    """X with rows of values added to its rows, by an index that is checked.

    Raises:
        UnsupportedError: rows whose size may change.
    """
    shape = list(x.ty.shape.values)
    columns = Analyzer().simplify(_product(shape[1:]))
    if not isinstance(columns, tirx.IntImm):
        raise UnsupportedError(f"expected rows of a fixed size, got {columns}")
    rows = reshaped(steps, values, [index.ty.shape.values[0], columns])
    target = steps.builder.add_func(sum_rows(steps.dtype, int(columns.value)), "sum_rows")
    dtypes = (steps.dtype, accumulator(steps.dtype))
    kinds = [relax.TensorType([shape[0], columns], dtype) for dtype in dtypes]
    found = steps.emit(relax.call_tir(target, [index, rows], kinds))
    sums = reshaped(steps, steps.emit(relax.TupleGetItem(found, 0)), shape)
    return sums if _is_zero(steps.node.args[0]) else steps.emit(relax.op.add(x, sums))


def _is_zero(node: Any) -> bool:
    """Whether a step gives zeros."""
    name, args = str(node.target), node.args
    is_full = name in ("aten.full.default", "aten.full_like.default", "aten.new_full.default")
    return (is_full and args[1] == 0) or ".zeros" in name or ".new_zeros" in name


@converts("aten.index_add.default")
def index_add(
    steps: Steps, x: Expr, dim: int, index: Expr, source: Expr, *, alpha: Any = 1
) -> Expr:
    """Rows added by index.

    Raises:
        UnsupportedError: another axis than the first.
    """
    if dim % x.ty.ndim:
        raise UnsupportedError(f"expected axis 0, got {dim}")
    if alpha != 1:
        source = steps.emit(relax.op.multiply(source, relax.const(alpha, steps.dtype)))
    index = checked(steps, index, steps.node.args[2], x.ty.shape.values[0])
    return _sum_rows(steps, x, index, source)


@converts("aten.index_put.default")
def index_put(
    steps: Steps, x: Expr, indices: Sequence[Expr | None], source: Expr, accumulate: bool = False
) -> Expr:
    """Numbers added by indices of the first axes; or put or added by a constant one of any axis.

    Raises:
        UnsupportedError: other indices of other axes, or by which numbers are replaced.
    """
    shape = list(x.ty.shape.values)
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    known = steps.constants.get(steps.node.args[1][axes[0]]) if len(axes) == 1 else None
    if known is not None and known.dim() == 1 and isinstance(shape[axes[0]], tirx.IntImm):
        return _put(steps, x, axes[0], _from_start(known, shape[axes[0]]), source, accumulate)
    if not accumulate or None in indices:
        raise UnsupportedError(
            "expected indices of the first axes and accumulate=True, or one constant index of an "
            "axis that does not change"
        )
    num, nodes = len(indices), steps.node.args[1]
    found = [
        checked(steps, index, node, size)
        for index, node, size in zip(indices, nodes, shape, strict=False)
    ]
    places = list(reduce(torch.broadcast_shapes, [node.meta["val"].shape for node in nodes]))
    lead = steps.sizes.shape(places)
    flat = broadcast(steps, found[0], lead)
    for index, size in zip(found[1:], shape[1:], strict=False):
        scaled = relax.op.multiply(flat, steps.operand(size, "int64"))
        flat = steps.emit(relax.op.add(steps.emit(scaled), broadcast(steps, index, lead)))
    values = broadcast(steps, source, [*lead, *shape[num:]])
    count = _product(lead)
    rows = reshaped(steps, x, [_product(shape[:num]), *shape[num:]])
    sums = _sum_rows(
        steps,
        rows,
        reshaped(steps, flat, [count]),
        reshaped(steps, values, [count, *shape[num:]]),
    )
    return reshaped(steps, sums, shape)


def _put(
    steps: Steps, x: Expr, axis: int, index: torch.Tensor, source: Expr, accumulate: bool
) -> Expr:
    """X with numbers put, or added, at constant places of an axis: each place reads its own."""
    shape = list(x.ty.shape.values)
    tables: list[list[int]] = []  # of each place, the number that it reads; -1 for none
    for number, place in enumerate(index.tolist()):
        free = (table for table in tables if table[place] < 0 or not accumulate)
        table = next(free, None)
        if table is None:
            table = [-1] * int(shape[axis].value)
            tables.append(table)
        table[place] = number
    given = broadcast(steps, source, [*shape[:axis], constant(len(index)), *shape[axis + 1 :]])
    zero = tirx.const(0, steps.dtype)

    def put(target: Any, values: Any, *numbers: Any) -> Any:
        def at(*point: Any) -> Any:
            found = target(*point)
            for table in numbers:
                own = table[point[axis]]
                value = values(*point[:axis], tirx.max(own, 0), *point[axis + 1 :])
                other = zero if accumulate else found
                chosen = tirx.if_then_else(own >= 0, value, other)
                found = found + chosen if accumulate else chosen
            return found

        return te.compute(shape, at, name="put")

    rows = [relax.const(torch.tensor(table).numpy(), "int64") for table in tables]
    return steps.emit_te(put, x, given, *rows, name="put") if rows else x


@converts("aten.scatter_add.default")
def scatter_add(steps: Steps, x: Expr, dim: int, index: Expr, source: Expr) -> Expr:
    """Numbers added by index, where the index is the same along all other axes.

    Raises:
        UnsupportedError: another axis than the first, or an index that differs along rows.
    """
    rows = _expanded(steps.node.args[2])
    if dim % x.ty.ndim or rows is None:
        raise UnsupportedError("expected axis 0, and an index that is one number for each row")
    given, places = (list(steps.argument(number).shape) for number in (3, 2))
    if str(given) != str(places) or str(places[1:]) != str(list(steps.result.shape[1:])):
        raise UnsupportedError(f"expected an index for each number of whole rows, got {places}")
    if rows not in steps.values:
        raise UnsupportedError("expected an index that depends on inputs, got a constant")
    given = steps.values[rows]
    flat = given if given.ty.ndim == 1 else reshaped(steps, given, [given.ty.shape.values[0]])
    index = checked(steps, flat, rows, x.ty.shape.values[0])
    return _sum_rows(steps, x, index, source)


def _expanded(node: Any) -> Any:
    """The step that gives one number for each row, of which a step makes whole rows; or None."""
    value = node.meta["val"]
    while isinstance(node, Node):
        shape = node.meta["val"].shape
        if len(shape) != value.dim():
            return None  # the rows of the index are then of another axis
        if all(isinstance(size, int) and size == 1 for size in shape[1:]):
            return node if node.meta["val"].shape[0] == value.shape[0] else None
        is_known = str(node.target) in ("aten.expand.default", "aten.clone.default")
        if not is_known or not isinstance(node.args[0], Node):
            return None
        node = node.args[0]
    return None
