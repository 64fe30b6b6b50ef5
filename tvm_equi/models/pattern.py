"""Gather, tensor product and sum over receivers in the graph of a forward.

In: a `torch.fx` graph, and which of its nodes are tensor products and linear layers. Out: where
rows of nodes are gathered, multiplied and summed, with what lies between the product and the sum.
Refused: sums that start from something else than a tensor, and along another axis than the first.

    x[senders] -> product -> constant factors, linear layers -> index_add, scatter_add, scatter
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import fx

from tvm_equi.models.scan import is_scatter
from tvm_equi.nn.convolution import TensorProductConv
from tvm_equi.nn.linear import Linear
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.nn.tensor_square import TensorSquare

Size: TypeAlias = fx.Node | int | None
"""A number of rows, known before or at the time of the call."""

Modules: TypeAlias = Mapping[str, torch.nn.Module]
"""A module's descendants by their path."""


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
class Match:
    """What one convolution takes the place of.

    Args:
        product: the call of the tensor product.
        x: features of nodes.
        senders: the index that gathers them.
        edge_attr: the product's second input.
        weight: its weights; None where it has its own, or none.
        steps: constant factors and linear layers between product and sum, in order.
        total: the sum.
    """

    product: fx.Node
    x: fx.Node
    senders: fx.Node
    edge_attr: fx.Node
    weight: fx.Node | None
    steps: tuple[fx.Node, ...]
    total: Sum


def matches(graph: fx.Graph, modules: Modules) -> list[Match]:
    """Every convolution of a graph.

    Args:
        graph: of a forward.
        modules: that its nodes call.
    """
    found = [_match(node, modules) for node in graph.nodes if _is_product(node, modules)]
    return [match for match in found if match is not None]


def takes_edges(module: torch.nn.Module | None) -> bool:
    """Whether a module is a tensor product of two inputs that a convolution can take the place of.

    Args:
        module: any.
    """
    if not isinstance(module, TensorProduct) or isinstance(
        module, (TensorSquare, TensorProductConv)
    ):
        return False
    return not has_hooks(module)


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether hooks want to see what a module takes or gives.

    Args:
        module: any.
    """
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(bool(getattr(module, kind, None)) for kind in kinds)


def _is_product(node: fx.Node, modules: Modules) -> bool:
    if node.op != "call_module":
        return False
    return takes_edges(modules.get(str(node.target)))


def _match(product: fx.Node, modules: Modules) -> Match | None:
    """The convolution around a product."""
    given = _arguments(product, ("x", "y", "weight"))
    first, edge_attr, weight = given.get("x"), given.get("y"), given.get("weight")
    gathered = _gathered(first)
    is_weight = weight is None or isinstance(weight, fx.Node)
    if gathered is None or not isinstance(edge_attr, fx.Node) or not is_weight:
        return None
    steps: list[fx.Node] = []
    value = product
    while (total := _summed(value)) is None:
        readers = _readers(value)
        if len(readers) != 1 or not _is_linear(readers[0], value, modules):
            return None
        value = readers[0]
        steps.append(value)
    return Match(product, *gathered, edge_attr, weight, tuple(steps), total)


def _arguments(node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of a call by name."""
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _call(node: Any, *names: str) -> bool:
    """Whether a node calls a method of a tensor, or torch's function, of one of some names."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "call_method":
        return node.target in names
    return node.op == "call_function" and node.target in [
        getattr(torch, name) for name in names if hasattr(torch, name)
    ]


def _gathered(node: Any) -> tuple[fx.Node, fx.Node] | None:
    """(rows, index) of a gather."""
    if not isinstance(node, fx.Node):
        return None
    x: Any = None
    index: Any = None
    if node.op == "call_function" and node.target is operator.getitem:
        x, index = node.args
        if isinstance(index, tuple) and len(index) == 2 and index[1] == slice(None):
            index = index[0]
    elif _call(node, "index_select"):
        given = _arguments(node, ("input", "dim", "index"))
        if given.get("dim") in (0, -2):
            x, index = given.get("input"), given.get("index")
    return (x, index) if isinstance(x, fx.Node) and isinstance(index, fx.Node) else None


def _is_reading_shape(node: fx.Node, value: fx.Node) -> bool:
    """Whether a node reads shape, dtype or device of a value, and no numbers."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("shape", "dtype", "device")
    if _call(node, "expand_as"):
        return node.args[0] is not value
    return _call(node, "size", "new_zeros", "zeros_like")


def _readers(value: fx.Node) -> list[fx.Node]:
    """The nodes that read a value's numbers."""
    return [node for node in value.users if not _is_reading_shape(node, value)]


def _is_linear(node: fx.Node, value: fx.Node, modules: Modules) -> bool:
    """Whether a node is a linear function of each row of a value, the same for all rows."""
    if node.op == "call_module":
        layer = modules.get(str(node.target))
        return (
            isinstance(layer, Linear)
            and not has_hooks(layer)
            and layer.internal_weights
            and not layer.bias_numel
            and not layer.feature_dims
            and node.args == (value,)
            and not node.kwargs
        )
    is_product = node.op == "call_function" and node.target in (operator.mul, operator.truediv)
    if not is_product and not _call(node, "mul", "div"):
        return False
    if node.kwargs or len(node.args) != 2:
        return False
    left, right = node.args
    is_left = left is value and isinstance(right, (int, float))
    is_right = right is value and isinstance(left, (int, float)) and node.target is operator.mul
    return is_left or is_right


def _summed(value: fx.Node) -> Sum | None:
    """The sum that alone reads a value."""
    readers = _readers(value)
    if len(readers) != 1:
        return None
    for find in (_index_add, _scatter_add, _scatter_function):
        if (total := find(readers[0], value)) is not None:
            return total
    return None


def _index_add(node: fx.Node, value: fx.Node) -> Sum | None:
    if not _call(node, "index_add", "index_add_"):
        return None
    given = _arguments(node, ("self", "dim", "index", "source"))
    if given.get("source") is not value or given.get("alpha", 1) != 1:
        return None
    return _onto(node, given.get("self", given.get("input")), given.get("dim"), given.get("index"))


def _scatter_add(node: fx.Node, value: fx.Node) -> Sum | None:
    if not _call(node, "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"):
        return None
    given = _arguments(node, ("self", "dim", "index", "src", "reduce"))
    is_sum = given.get("reduce", "sum") == "sum" and given.get("include_self", True) is True
    index = _column(given.get("index"), value)
    if given.get("src") is not value or not is_sum or index is None:
        return None
    return _onto(node, given.get("self", given.get("input")), given.get("dim"), index)


def _scatter_function(node: fx.Node, value: fx.Node) -> Sum | None:
    if node.op != "call_function" or not is_scatter(node.target):
        return None
    given = _arguments(node, ("src", "index", "dim", "out", "dim_size", "reduce"))
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
    if not _call(index, "expand_as", "expand", "broadcast_to"):
        return None
    column, *shape = index.args
    is_whole = shape == [value] if _call(index, "expand_as") else _is_shape(shape, value)
    if not is_whole or not isinstance(column, fx.Node):
        return None
    is_item = column.op == "call_function" and column.target is operator.getitem
    is_column = (
        (is_item and column.args[1] == (slice(None), None))
        or (_call(column, "reshape", "view") and _flat(column.args[1:]) == [-1, 1])
        or (_call(column, "unsqueeze") and column.args[1] in (1, -1))
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
        if _call(node, "size"):
            return node.args[0] is value and node.args[1] in (axis, axis - 2)
        is_item = node.op == "call_function" and node.target is operator.getitem
        return is_item and node.args[1] in (axis, axis - 2) and _reads(node.args[0], value, None)
    if _call(node, "size"):
        return node.args == (value,)
    is_attribute = node.op == "call_function" and node.target is getattr
    return is_attribute and node.args == (value, "shape")


@dataclass(frozen=True, slots=True)
class Zeros:
    """How many rows a matrix of zeros has.

    Args:
        source: a number, a shape, or a tensor of as many rows.
        kind: which of these.
    """

    source: fx.Node | int
    kind: Literal["number", "shape", "tensor"]


def zeros(base: fx.Node) -> Zeros | None:
    """The number of rows of a node that makes a matrix of zeros; None for another node.

    Args:
        base: the node.
    """
    if _call(base, "zeros_like"):
        like = base.args[0]
        return Zeros(like, "tensor") if isinstance(like, fx.Node) else None
    if not _call(base, "new_zeros", "zeros"):
        return None
    given = base.args[1:] if base.op == "call_method" else base.args
    sizes = _flat(given or [base.kwargs.get("size", ())])
    first = sizes[0] if sizes else None
    if len(sizes) == 1 and isinstance(first, fx.Node):
        return Zeros(first, "shape")
    if len(sizes) == 2 and isinstance(first, (fx.Node, int)):
        return Zeros(first, "number")
    return None
