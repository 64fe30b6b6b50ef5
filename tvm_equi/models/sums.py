"""Sums over receivers in the graph of a forward, and how many rows they have.

In: a node of a `torch.fx` graph with a value for each edge. Out: the node that alone reads it and
adds its rows up by an index: `index_add`, `scatter_add`, `scatter_reduce`, or a scatter function of
a known package. Refused: sums along another axis than the first, of parts of the columns, and other
reductions.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import fx

from tvm_equi.models.scan import is_scatter

Size: TypeAlias = fx.Node | int | None
"""A number of rows, known before or at the time of the call."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A node that adds rows up by an index.

    Args:
        node: its result.
        index: the receivers.
        base: that the rows are added to; None for new zeros inside.
        num_rows: of the result, where there is no base.
        in_place: whether the base is changed.
    """

    node: fx.Node
    index: fx.Node
    base: fx.Node | None
    num_rows: Size
    in_place: bool


@dataclass(frozen=True, slots=True)
class Zeros:
    """How many rows a matrix of zeros has.

    Args:
        source: a number, a shape, or a tensor of as many rows.
        kind: which of these.
    """

    source: fx.Node | int
    kind: Literal["number", "shape", "tensor"]


def summed(value: fx.Node) -> Sum | None:
    """The sum that alone reads a value; None where something else does.

    Args:
        value: of each edge.
    """
    reading = readers(value)
    if len(reading) != 1:
        return None
    for find in (_index_add, _scatter_add, _scatter_function):
        if (total := find(reading[0], value)) is not None:
            return total
    return None


def readers(value: fx.Node) -> list[fx.Node]:
    """The nodes that read a value's numbers, and not its shape only.

    Args:
        value: of any kind.
    """
    return [node for node in value.users if not _is_reading_shape(node, value)]


def _is_reading_shape(node: fx.Node, value: fx.Node) -> bool:
    """Whether a node reads shape, dtype or device of a value, and no numbers."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("shape", "dtype", "device")
    if calls(node, "expand_as"):
        return node.args[0] is not value
    return calls(node, "size", "new_zeros", "zeros_like")


def zeros(base: fx.Node) -> Zeros | None:
    """The number of rows of a node that makes a matrix of zeros; None for another node.

    Args:
        base: the node.
    """
    if calls(base, "zeros_like"):
        like = base.args[0]
        return Zeros(like, "tensor") if isinstance(like, fx.Node) else None
    if not calls(base, "new_zeros", "zeros"):
        return None
    given = base.args[1:] if base.op == "call_method" else base.args
    sizes = _flat(given or [base.kwargs.get("size", ())])
    first = sizes[0] if sizes else None
    if len(sizes) == 1 and isinstance(first, fx.Node):
        return Zeros(first, "shape")
    if len(sizes) == 2 and isinstance(first, (fx.Node, int)):
        return Zeros(first, "number")
    return None


def calls(node: Any, *names: str) -> bool:
    """Whether a node calls a method of a tensor, or torch's function, of one of some names.

    Args:
        node: or anything else.
        *names: of methods and functions.
    """
    if not isinstance(node, fx.Node):
        return False
    if node.op == "call_method":
        return node.target in names
    return node.op == "call_function" and node.target in [
        getattr(torch, name) for name in names if hasattr(torch, name)
    ]


def arguments(node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of a call by name.

    Args:
        node: that calls.
        names: of its positional arguments.
    """
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _index_add(node: fx.Node, value: fx.Node) -> Sum | None:
    if not calls(node, "index_add", "index_add_"):
        return None
    given = arguments(node, ("self", "dim", "index", "source"))
    if given.get("source") is not value or given.get("alpha", 1) != 1:
        return None
    return _onto(node, given.get("self", given.get("input")), given.get("dim"), given.get("index"))


def _scatter_add(node: fx.Node, value: fx.Node) -> Sum | None:
    if not calls(node, "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"):
        return None
    given = arguments(node, ("self", "dim", "index", "src", "reduce"))
    is_sum = given.get("reduce", "sum") == "sum" and given.get("include_self", True) is True
    index = _column(given.get("index"), value)
    if given.get("src") is not value or not is_sum or index is None:
        return None
    return _onto(node, given.get("self", given.get("input")), given.get("dim"), index)


def _scatter_function(node: fx.Node, value: fx.Node) -> Sum | None:
    if node.op != "call_function" or not is_scatter(node.target):
        return None
    given = arguments(node, ("src", "index", "dim", "out", "dim_size", "reduce"))
    is_sum = given.get("reduce", "sum") in ("sum", "add")
    if given.get("src") is not value or given.get("out") is not None or not is_sum:
        return None
    index, size = given.get("index"), given.get("dim_size")
    default = 0 if str(getattr(node.target, "__module__", "")).startswith("torch_geo") else -1
    if given.get("dim", default) not in (0, -2) or not isinstance(index, fx.Node):
        return None
    return Sum(node, _column(index, value) or index, None, size, False)


def _onto(node: fx.Node, base: Any, dim: Any, index: Any) -> Sum | None:
    """A sum onto a base, along its first axis."""
    if not isinstance(base, fx.Node) or not isinstance(index, fx.Node) or dim not in (0, -2):
        return None
    return Sum(node, index, base, None, str(node.target).endswith("_"))


def _column(index: Any, value: fx.Node) -> fx.Node | None:
    """The index of rows behind one that was expanded to the shape of a value."""
    if not calls(index, "expand_as", "expand", "broadcast_to"):
        return None
    column, *shape = index.args
    is_whole = shape == [value] if calls(index, "expand_as") else _is_shape(shape, value)
    if not is_whole or not isinstance(column, fx.Node):
        return None
    is_item = column.op == "call_function" and column.target is operator.getitem
    is_column = (
        (is_item and column.args[1] == (slice(None), None))
        or (calls(column, "reshape", "view") and _flat(column.args[1:]) == [-1, 1])
        or (calls(column, "unsqueeze") and column.args[1] in (1, -1))
    )
    found = column.args[0] if is_column else None
    return found if isinstance(found, fx.Node) else None


def _flat(sizes: Any) -> list[Any]:
    """Sizes that were given one by one, or as one list."""
    given = list(sizes)
    return list(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


def _is_shape(sizes: Any, value: fx.Node) -> bool:
    """Whether sizes are a value's shape."""
    given = _flat(sizes)
    if len(given) == 1:
        return _reads(given[0], value, None)
    return len(given) == 2 and (
        (given[0] == -1 or _reads(given[0], value, 0)) and _reads(given[1], value, 1)
    )


def _reads(node: Any, value: fx.Node, axis: int | None) -> bool:
    """Whether a node is a value's shape, or its size along an axis."""
    if not isinstance(node, fx.Node):
        return False
    if axis is not None:
        if calls(node, "size"):
            return node.args[0] is value and node.args[1] in (axis, axis - 2)
        is_item = node.op == "call_function" and node.target is operator.getitem
        return is_item and node.args[1] in (axis, axis - 2) and _reads(node.args[0], value, None)
    if calls(node, "size"):
        return node.args == (value,)
    is_attribute = node.op == "call_function" and node.target is getattr
    return is_attribute and node.args == (value, "shape")
