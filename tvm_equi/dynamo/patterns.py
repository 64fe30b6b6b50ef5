"""What is recognised in a graph that dynamo made: gathers, sums over rows, zeros, products.

In: nodes of an fx graph on the level of torch's functions and methods, each with the value that
dynamo kept for it. Out: facts about them. A node that is none of these is None, and a pass leaves
it as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.dynamo.operations import call_operation, operation
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.nn.tensor_square import TensorSquare
from tvm_equi.runtime.plans import resolve

INDEX_DTYPES = (torch.int64, torch.int32)

SUMS = {
    "index_add": ("dim", "index", "source"),
    "scatter_add": ("dim", "index", "src"),
    "scatter_reduce": ("dim", "index", "src", "reduce"),
}
"""Functions and methods that add rows to others, also with "_" at the end, and their arguments."""

VIEWS = ("expand", "expand_as", "unsqueeze", "repeat", "reshape", "view")
"""How an index of rows becomes one of elements."""

ZEROS = ("zeros", "new_zeros", "zeros_like")


@dataclass(frozen=True, slots=True)
class Gather:
    """Rows of a value, one for each index: `rows[index]`."""

    rows: fx.Node
    index: fx.Node


@dataclass(frozen=True, slots=True)
class Sum:
    """Rows added to others: `base[index[e]] += values[e]`.

    Args:
        base: what is added to.
        index: one number for each row.
        values: the rows.
        views: nodes that make the index one of elements, the last first.
    """

    base: fx.Node
    index: fx.Node
    values: fx.Node
    views: tuple[fx.Node, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A tensor product of rows, by one kernel.

    Args:
        plan: of the kernel.
        x: its first operand.
        y: its second operand.
        w: weights; None where there are none.
        nodes: what computes it, the last first.
    """

    plan: str
    x: fx.Node
    y: fx.Node
    w: fx.Node | None
    nodes: tuple[fx.Node, ...]


def value_of(node: Any) -> torch.Tensor | None:
    """The tensor without data that dynamo computed for a node; None where it is no tensor.

    Args:
        node: a node, or anything else.
    """
    if not isinstance(node, fx.Node):
        return None
    found = node.meta.get("example_value", node.meta.get("val"))
    return found if isinstance(found, torch.Tensor) else None


def extent(size: Any) -> Any:
    """A size that compares equal to others that are known to be the same.

    Args:
        size: a number, or one that dynamo keeps symbolic.
    """
    return size.node.expr if isinstance(size, torch.SymInt) else size


def name_of(node: fx.Node) -> str:
    """The name of the function or method that a node calls.

    Args:
        node: of any kind; "" for one that calls neither.
    """
    if node.op == "call_method":
        return str(node.target)
    if node.op != "call_function":
        return ""
    return str(getattr(node.target, "__name__", "")).split(".")[0]


def gather_of(node: Any) -> Gather | None:
    """The gather that a node is.

    Args:
        node: `x[index]` or `x.index_select(0, index)`, of a matrix.
    """
    if not isinstance(node, fx.Node):
        return None
    name, arguments = name_of(node), list(node.args)
    if name == "index_select":
        found = _by_name(node, ("dim", "index"))
        if found is None or found["dim"] not in (0, -2):
            return None
        rows, index = arguments[0], found["index"]
    elif node.target is operator.getitem:
        rows, index = arguments
        if isinstance(index, tuple) and len(index) == 1:
            (index,) = index
    else:
        return None
    value = value_of(rows)
    if value is None or value.dim() != 2 or not _is_index(index):
        return None
    return Gather(rows, index)  # type: ignore[arg-type]


def sum_of(node: fx.Node) -> Sum | None:
    """The sum over rows that a node is.

    Args:
        node: `index_add`, `scatter_add` or `scatter_reduce` with "sum", in place or not, on
            matrices.
    """
    name = name_of(node).removesuffix("_")
    if name not in SUMS or not node.args:
        return None
    found = _by_name(node, SUMS[name])
    if found is None or found["dim"] not in (0, -2) or found.get("reduce", "sum") != "sum":
        return None
    base, values, index = node.args[0], found[SUMS[name][2]], found["index"]
    views: tuple[fx.Node, ...] = ()
    if name != "index_add":
        index, views = _rows_of(index, values)
    kinds = [_kind(base), _kind(values)]
    if not _is_index(index) or None in kinds or kinds[0] != kinds[1]:
        return None
    return Sum(base, index, values, views)  # type: ignore[arg-type]


def is_in_place(node: fx.Node) -> bool:
    """Whether a node changes a value that exists.

    Args:
        node: to look at.
    """
    name = name_of(node)
    return name == "setitem" or name.endswith("_") or "out" in node.kwargs


def is_zeros(node: fx.Node) -> bool:
    """Whether a node makes a tensor of zeros.

    Args:
        node: to look at.
    """
    return name_of(node) in ZEROS


def product_of(node: Any) -> Product | None:
    """The tensor product of rows that a node is.

    Args:
        node: a captured product, or the output of a kernel that is one.
    """
    if not isinstance(node, fx.Node):
        return None
    if node.target is call_operation:
        return _captured_product(node)
    if node.target is not operator.getitem or node.args[1] != 0:
        return None
    call = node.args[0]
    if not isinstance(call, fx.Node) or not is_run(call):
        return None
    inputs, plan = call.args
    operands = list(inputs) if isinstance(inputs, (list, tuple)) else []
    if " " in str(plan) or not all(isinstance(operand, fx.Node) for operand in operands):
        return None
    kernel = resolve(str(plan))
    names = kernel.inputs
    if names not in (("x", "y"), ("x", "y", "w")) or kernel.outputs != ("z",):
        return None
    if is_convolution(kernel):
        return None
    x, y, *rest = operands
    return Product(str(plan), x, y, rest[0] if rest else None, (node, call))


def is_run(node: fx.Node) -> bool:
    """Whether a node calls the operator that runs kernels on rows.

    Args:
        node: to look at.
    """
    return node.op == "call_function" and node.target in (
        torch.ops.tvm_equi.run,
        torch.ops.tvm_equi.run.default,
    )


def identity(node: Any) -> Hashable:
    """Equal for nodes that take the same part of the same input.

    Args:
        node: a node, or an argument of one.
    """
    if not isinstance(node, fx.Node):
        return ("value", repr(node))
    if node.target is operator.getitem and value_of(node.args[0]) is not None:
        return ("part", identity(node.args[0]), repr(node.args[1]))
    return ("node", node.name)


def _captured_product(node: fx.Node) -> Product | None:
    """The product of a captured module, where one kernel computes it from rows as they are."""
    module = operation(node.args[0])  # type: ignore[arg-type]
    if not isinstance(module, TensorProduct) or isinstance(module, TensorSquare):
        return None
    if module._plan is None:
        return None
    x, y, *rest = node.args[1:]
    w = rest[0] if rest and module.weight_numel else None
    values = [value_of(x), value_of(y)]
    if module.weight_numel and not module.shared_weights:
        values.append(value_of(w))
    if any(value is None or value.dim() != 2 for value in values):
        return None
    if len({extent(value.shape[0]) for value in values if value is not None}) != 1:
        return None
    if w is not None and module.shared_weights and getattr(value_of(w), "ndim", 0) != 1:
        return None
    return Product(module._plan, x, y, w, (node,))  # type: ignore[arg-type]


def _by_name(node: fx.Node, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The arguments after the first by name; None where some are missing or there are others."""
    given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    if len(node.args) - 1 > len(names) or set(given) != set(names):
        return None
    return given


def _is_index(node: Any) -> bool:
    """Whether a node is a list of integers."""
    value = value_of(node)
    return value is not None and value.dim() == 1 and value.dtype in INDEX_DTYPES


def _kind(node: Any) -> Any:
    """The columns and dtype of a matrix; None where a node is none."""
    value = value_of(node)
    return (extent(value.shape[1]), value.dtype) if value is not None and value.dim() == 2 else None


def _rows_of(index: Any, values: Any) -> tuple[Any, tuple[fx.Node, ...]]:
    """The index of rows that one of elements repeats in each column, and the nodes between.

    (None, ()) where it is not so, or not for as many rows as there are values.
    """
    views, wanted = [], value_of(values)
    while isinstance(index, fx.Node) and name_of(index) in (*VIEWS, "getitem"):
        value = value_of(index)
        if value is None or value.dim() != 2 or wanted is None:
            break
        inner = value_of(index.args[0])
        if inner is None or extent(inner.shape[0]) != extent(wanted.shape[0]):
            return None, ()
        if extent(value.shape[0]) != extent(wanted.shape[0]):
            return None, ()
        is_column = inner.dim() == 2 and extent(inner.shape[1]) == 1
        is_made_column = inner.dim() == 1 and extent(value.shape[1]) == 1
        if not is_column and not is_made_column:
            return None, ()
        views.append(index)
        index = index.args[0]
    return (index, tuple(views)) if views else (None, ())
