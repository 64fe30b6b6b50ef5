"""Put the factors of products in one order: first what is gathered, or has the channels.

    t = TensorProduct(y, g), g = Gather(x)        t = TensorProduct(g, y)
        1o x 2e -> 1o  uvv                    ->      2e x 1o -> 1o  uvu, times (-1)^(l1+l2+l3)

A 3j symbol whose legs are exchanged is the same block up to a sign, so that equal products get
equal kernels, and a convolution is found whichever factor its author put first. Weights over pairs
of channels are transposed, which is free where one factor has one channel, and once per call where
they are shared; otherwise the product is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    ComposedWeights,
    Gather,
    TensorProduct,
    WeightPart,
    WeightTerm,
)
from tvm_equi.graph.rewriting import View, replaced
from tvm_equi.graph.symmetrize import exchange_sign
from tvm_equi.graph.types import parse_irreps

_MODES = {"uvw": "uvw", "uvu": "uvv", "uvv": "uvu", "uuu": "uuu", "uuw": "uuw", "uvuv": "uvuv"}
"""The mode of a path with its legs exchanged."""


def is_swapped(view: View, node: Node) -> bool:
    """Whether the factors of a product stand in the other order.

    Args:
        view: of the graph.
        node: to look at.
    """
    product = node.operation
    if not isinstance(product, TensorProduct):
        return False
    x, y = (isinstance(view.nodes[name].operation, Gather) for name in node.inputs[:2])
    if x != y:
        return y
    left = max((irrep.mul for irrep in parse_irreps(product.irreps_in1)), default=1)
    right = max((irrep.mul for irrep in parse_irreps(product.irreps_in2)), default=1)
    return left == 1 < right


def exchanged(
    product: TensorProduct,
) -> tuple[TensorProduct, ComposedWeights | None] | None:
    """The product of y and x, and its weights, if they are not the same; None if it has no form.

    Args:
        product: of x and y.
    """
    instructions, blocks = [], []
    is_same = True
    start = 0
    for ins, size in zip(product.instructions, product.weight_sizes(), strict=True):
        u, v, w = (irrep.mul for irrep in product.irreps_of(ins))
        if ins.mode not in _MODES or (ins.mode == "uvuv" and min(u, v) > 1):
            return None
        if ins.has_weight:
            shape: tuple[int, ...] = (size,)
            subscripts = "a->a"
            if ins.mode in ("uvw", "uvu", "uvv") and min(u, v) > 1:
                is_same = False
                shape = (u, v, w) if ins.mode == "uvw" else (u, v)
                subscripts = "uvw->vuw" if ins.mode == "uvw" else "uv->vu"
            part = WeightPart.whole(0, start, shape)
            blocks.append((WeightTerm(1.0, subscripts, (part,)),))
        start += size
        instructions.append(
            replace(
                ins,
                i_in1=ins.i_in2,
                i_in2=ins.i_in1,
                mode=_MODES[ins.mode],
                coefficient=ins.coefficient * exchange_sign(product, ins),
            )
        )
    if not is_same and product.weights != "shared":
        return None
    other = replace(
        product,
        irreps_in1=product.irreps_in2,
        irreps_in2=product.irreps_in1,
        instructions=tuple(instructions),
    )
    return other, None if is_same else ComposedWeights(tuple(blocks), 1)


@dataclass(frozen=True, slots=True)
class Swap:
    """The pass."""

    name: str = "swap"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph with the factors of its products in one order.

        Args:
            graph: to rewrite.
        """
        for node in graph.nodes:
            view = View.of(graph.nodes, graph.outputs)
            product = node.operation
            if not isinstance(product, TensorProduct) or not is_swapped(view, node):
                continue
            found = exchanged(product)
            if found is None:
                continue
            other, weights = found
            inputs = (node.inputs[1], node.inputs[0], *node.inputs[2:])
            new = []
            if weights is not None:
                name = view.fresh(f"{node.name}.transposed")
                new.append(Node(name, weights, (node.inputs[2],)))
                inputs = (*inputs[:2], name)
            graph = replaced(graph, {node.name: [*new, Node(node.name, other, inputs)]})
        return graph
