"""Single rewrites that merge linear layers into what they touch, through weights made of weights.

    z = Linear(Linear(x, a), b)                 ->  z = Linear(x, a b)
    z = TensorProduct(Linear(x, a), y, w)       ->  z = TensorProduct(x, y, a w)
    z = Linear(TensorProduct(x, y, w), a)       ->  z = TensorProduct(x, y, w a)

The product of the weights is computed once per call (`ComposedWeights`), so that gradients reach
the old parameters; `freeze` computes it once for all. Only shared weights can be merged. In: a
graph and one of its nodes. Out: every graph that one merge gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from tvm_equi.graph.fuse import is_movable
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    ComposedWeights,
    Instruction,
    Linear,
    LinearPath,
    TensorProduct,
    WeightPart,
    WeightTerm,
)
from tvm_equi.graph.regions import couples
from tvm_equi.graph.rewriting import View, replaced
from tvm_equi.graph.types import parse_irreps

_INTO_PRODUCT = {
    ("uvw", "x"): "ab,bvw->avw",
    ("uvw", "y"): "ab,ubw->uaw",
    ("uvw", "z"): "uvb,ba->uva",
    ("uvu", "x"): "ab,bv->avb",
    ("uvu", "z"): "uv,ua->uva",
    ("uvv", "y"): "ab,ub->uab",
    ("uvv", "z"): "uv,va->uva",
}
"""How the weights of a path and of a layer on one of its legs make those of a path uvw."""


def merge_linear(graph: TensorProductGraph, view: View, node: Node) -> Iterator[TensorProductGraph]:
    """Linear(Linear(x)) -> Linear(x).

    Args:
        graph: to rewrite.
        view: of it.
        node: the outer layer.
    """
    outer = node.operation
    if not isinstance(outer, Linear) or outer.weights != "shared":
        return
    source = view.nodes[node.inputs[0]]
    inner = source.operation
    if not isinstance(inner, Linear) or not is_movable(inner):
        return
    left, middle, out = (
        parse_irreps(text) for text in (inner.irreps_in, inner.irreps_out, outer.irreps_out)
    )
    starts = [_starts(inner.weight_sizes()), _starts(outer.weight_sizes())]
    blocks: dict[tuple[int, int], list[WeightTerm]] = {}
    for first, a in zip(starts[0], inner.paths, strict=True):
        for second, b in zip(starts[1], outer.paths, strict=True):
            if a.i_out != b.i_in:
                continue
            u, v, w = left[a.i_in].mul, middle[a.i_out].mul, out[b.i_out].mul
            parts = (WeightPart.whole(0, first, (u, v)), WeightPart.whole(1, second, (v, w)))
            term = WeightTerm(a.coefficient * b.coefficient, "uv,vw->uw", parts)
            blocks.setdefault((a.i_in, b.i_out), []).append(term)
    if not blocks:
        return
    merged = replace(
        outer,
        irreps_in=inner.irreps_in,
        paths=tuple(LinearPath(i, k, 1.0) for i, k in blocks),
    )
    weights = view.fresh(f"{node.name}.merged")
    composed = ComposedWeights(tuple(map(tuple, blocks.values())), 2)
    new = [
        Node(weights, composed, (source.inputs[1], node.inputs[1])),
        Node(node.name, merged, (source.inputs[0], weights, *node.inputs[2:])),
    ]
    yield replaced(graph, {node.name: new})


def merge_into_product(
    graph: TensorProductGraph, view: View, node: Node
) -> Iterator[TensorProductGraph]:
    """A layer on a leg of a product with shared weights, merged into the weights.

    Args:
        graph: to rewrite.
        view: of it.
        node: the product, or a layer that reads one.
    """
    match node.operation:
        case TensorProduct(weights="shared") as product:
            for slot, leg in enumerate("xy"):
                source = view.nodes[node.inputs[slot]]
                if isinstance(source.operation, Linear) and is_movable(source.operation):
                    x, y, _ = node.inputs
                    legs = (source.inputs[0], y) if leg == "x" else (x, source.inputs[0])
                    found = _merged(product, source.operation, leg)
                    weights = (source.inputs[1], node.inputs[2])
                    yield from _put(graph, view, node, found, legs, weights)
        case Linear() as linear if is_movable(linear):
            source = view.nodes[node.inputs[0]]
            inner = source.operation
            if isinstance(inner, TensorProduct) and inner.weights == "shared":
                found = _merged(inner, linear, "z")
                legs = (source.inputs[0], source.inputs[1])
                weights = (node.inputs[1], source.inputs[2])
                yield from _put(graph, view, node, found, legs, weights)
        case _:
            return


def _merged(
    product: TensorProduct, linear: Linear, leg: str
) -> tuple[TensorProduct, ComposedWeights] | None:
    """The product with the layer inside, or None where some path does not allow it."""
    starts = [_starts(linear.weight_sizes()), _starts(product.weight_sizes())]
    left, out = parse_irreps(linear.irreps_in), parse_irreps(linear.irreps_out)
    blocks, instructions = [], []
    for second, ins in zip(starts[1], product.instructions, strict=True):
        if not couples(product, ins):
            continue
        if not ins.has_weight or (ins.mode, leg) not in _INTO_PRODUCT:
            return None
        for first, path in zip(starts[0], linear.paths, strict=True):
            if (path.i_in if leg == "z" else path.i_out) != _index(ins, leg):
                continue
            matrix = WeightPart.whole(0, first, (left[path.i_in].mul, out[path.i_out].mul))
            old = WeightPart.whole(1, second, _weight_shape(product, ins))
            subscripts = _INTO_PRODUCT[ins.mode, leg]
            if leg == "z":  # the table has the product's weights first
                first_letters, _, rest = subscripts.partition(",")
                second_letters, _, result = rest.partition("->")
                subscripts = f"{second_letters},{first_letters}->{result}"
            blocks.append((WeightTerm(path.coefficient, subscripts, (matrix, old)),))
            instructions.append(_with_leg(ins, leg, path))
    if not instructions:
        return None
    merged = replace(
        product,
        irreps_in1=linear.irreps_in if leg == "x" else product.irreps_in1,
        irreps_in2=linear.irreps_in if leg == "y" else product.irreps_in2,
        irreps_out=linear.irreps_out if leg == "z" else product.irreps_out,
        instructions=tuple(instructions),
    )
    return merged, ComposedWeights(tuple(blocks), 2)


def _index(ins: Instruction, leg: str) -> int:
    """The segment of a leg that an instruction couples."""
    return {"x": ins.i_in1, "y": ins.i_in2, "z": ins.i_out}[leg]


def _with_leg(ins: Instruction, leg: str, path: LinearPath) -> Instruction:
    """The instruction on the other side of a layer's path."""
    match leg:
        case "x":
            return replace(ins, i_in1=path.i_in, mode="uvw")
        case "y":
            return replace(ins, i_in2=path.i_in, mode="uvw")
        case _:
            return replace(ins, i_out=path.i_out, mode="uvw")


def _weight_shape(product: TensorProduct, ins: Instruction) -> tuple[int, ...]:
    """The shape of an instruction's weights."""
    u, v, w = (irrep.mul for irrep in product.irreps_of(ins))
    return (u, v, w) if ins.mode == "uvw" else (u, v)


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where each block starts."""
    return [0, *accumulate(sizes)][: len(sizes)]


def _put(
    graph: TensorProductGraph,
    view: View,
    node: Node,
    found: tuple[TensorProduct, ComposedWeights] | None,
    legs: tuple[str, str],
    weights: tuple[str, str],
) -> Iterator[TensorProductGraph]:
    """The graph with a merged product in place of a node."""
    if found is None:
        return
    product, composed = found
    name = view.fresh(f"{node.name}.merged")
    new = [Node(name, composed, weights), Node(node.name, product, (*legs, name))]
    yield replaced(graph, {node.name: new})
