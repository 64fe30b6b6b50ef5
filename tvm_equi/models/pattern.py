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
from typing import Any, TypeAlias

import torch
from torch import fx

from tvm_equi.models.state import has_hooks
from tvm_equi.models.sums import Sum, arguments, calls, readers, summed
from tvm_equi.nn.convolution import TensorProductConv
from tvm_equi.nn.linear import Linear
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.nn.tensor_square import TensorSquare

Modules: TypeAlias = Mapping[str, torch.nn.Module]
"""A module's descendants by their path."""


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


def _is_product(node: fx.Node, modules: Modules) -> bool:
    if node.op != "call_module":
        return False
    return takes_edges(modules.get(str(node.target)))


def _match(product: fx.Node, modules: Modules) -> Match | None:
    """The convolution around a product."""
    given = arguments(product, ("x", "y", "weight"))
    first, edge_attr, weight = given.get("x"), given.get("y"), given.get("weight")
    gathered = _gathered(first)
    is_weight = weight is None or isinstance(weight, fx.Node)
    if gathered is None or not isinstance(edge_attr, fx.Node) or not is_weight:
        return None
    steps: list[fx.Node] = []
    value = product
    while (total := summed(value)) is None:
        reading = readers(value)
        if len(reading) != 1 or not _is_linear(reading[0], value, modules):
            return None
        value = reading[0]
        steps.append(value)
    return Match(product, *gathered, edge_attr, weight, tuple(steps), total)


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
    elif calls(node, "index_select"):
        given = arguments(node, ("input", "dim", "index"))
        if given.get("dim") in (0, -2):
            x, index = given.get("input"), given.get("index")
    return (x, index) if isinstance(x, fx.Node) and isinstance(index, fx.Node) else None


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
    if not is_product and not calls(node, "mul", "div"):
        return False
    if node.kwargs or len(node.args) != 2:
        return False
    left, right = node.args
    is_left = left is value and isinstance(right, (int, float))
    is_right = right is value and isinstance(left, (int, float)) and node.target is operator.mul
    return is_left or is_right
