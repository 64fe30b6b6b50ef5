"""Products of a value with itself: antisymmetric paths vanish, equal ones merge.

    t = TensorProduct(x, x):               t = TensorProduct(x, x):
        1o x 1o -> 1e  (uuu)                   (zero: the cross product of a vector with itself)
        0e x 1o -> 1o                          0e x 1o -> 1o, coefficients added, up to the sign
        1o x 0e -> 1o                          (-1)^(l1+l2+l3) of exchanged legs

Shared weights of merged paths are added too, transposed where the legs are exchanged; weights per
row are left alone. A path that vanishes keeps its place with coefficient 0, until `prune` takes it
and its weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    ComposedWeights,
    Instruction,
    TensorProduct,
    WeightPart,
    WeightTerm,
)
from tvm_equi.graph.regions import couples
from tvm_equi.graph.rewriting import View, replaced

_MERGED_MODES = {"uuu": "u", "uvw": "uvw"}
"""Modes whose paths stay of one mode when the legs are exchanged, and their weights."""


def vanishes(product: TensorProduct, ins: Instruction) -> bool:
    """Whether a path of a value with itself is zero by antisymmetry.

    Args:
        product: of a value with itself.
        ins: its path.
    """
    left, _, out = product.irreps_of(ins)
    is_same_channel = ins.mode in ("uuu", "uuw") or left.mul == 1
    return ins.i_in1 == ins.i_in2 and out.degree % 2 == 1 and is_same_channel


def exchange_sign(product: TensorProduct, ins: Instruction) -> int:
    """The sign of a 3j symbol when its first two legs are exchanged.

    Args:
        product: that has the path.
        ins: the path.
    """
    return -1 if sum(irrep.degree for irrep in product.irreps_of(ins)) % 2 else 1


@dataclass(slots=True)
class _Group:
    """Paths that are one, each with its sign and whether its legs are exchanged."""

    first: int
    members: list[tuple[int, int, bool]]


def _groups(product: TensorProduct) -> list[_Group]:
    """The paths, each with those that equal it."""
    found: list[_Group] = []
    by_key: dict[tuple[object, ...], _Group] = {}
    for number, ins in enumerate(product.instructions):
        is_mergeable = (
            ins.mode in _MERGED_MODES
            and couples(product, ins)
            and not (ins.has_weight and product.weights != "shared")
        )
        straight = (ins.i_in1, ins.i_in2, ins.i_out, ins.mode, ins.has_weight)
        exchanged = (ins.i_in2, ins.i_in1, ins.i_out, ins.mode, ins.has_weight)
        if is_mergeable and straight in by_key:
            by_key[straight].members.append((number, 1, False))
        elif is_mergeable and exchanged in by_key:
            sign = exchange_sign(product, ins)
            by_key[exchanged].members.append((number, sign, True))
        else:
            group = _Group(number, [(number, 1, False)])
            found.append(group)
            if is_mergeable:
                by_key[straight] = group
    return found


def _rewritten(graph: TensorProductGraph, view: View, node: Node) -> TensorProductGraph:
    """The graph with a smaller product in place of one of a value with itself."""
    product = node.operation
    if not isinstance(product, TensorProduct):
        return graph
    silenced = replace(
        product,
        instructions=tuple(
            replace(ins, coefficient=0.0) if vanishes(product, ins) else ins
            for ins in product.instructions
        ),
    )
    groups = _groups(silenced)
    if len(groups) == len(silenced.instructions):
        if silenced == product:
            return graph
        return replaced(graph, {node.name: [replace(node, operation=silenced)]})
    sizes = silenced.weight_sizes()
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    instructions, blocks = [], []
    for group in groups:
        ins = silenced.instructions[group.first]
        if not ins.has_weight:
            total = sum(silenced.instructions[n].coefficient * s for n, s, _ in group.members)
            instructions.append(replace(ins, coefficient=total))
            continue
        u, v, w = (irrep.mul for irrep in silenced.irreps_of(ins))
        is_merged = len(group.members) > 1
        terms = []
        for number, sign, is_exchanged in group.members:
            shape, subscripts = (sizes[number],), "a->a"
            if is_merged and ins.mode == "uvw":
                shape = (v, u, w) if is_exchanged else (u, v, w)  # type: ignore[assignment]
                subscripts = "vuw->uvw" if is_exchanged else "uvw->uvw"
            factor = sign * silenced.instructions[number].coefficient if is_merged else 1.0
            part = WeightPart.whole(0, starts[number], shape)
            terms.append(WeightTerm(float(factor), subscripts, (part,)))
        blocks.append(tuple(terms))
        instructions.append(replace(ins, coefficient=1.0) if is_merged else ins)
    merged = replace(silenced, instructions=tuple(instructions))
    if not blocks:
        return replaced(graph, {node.name: [replace(node, operation=merged)]})
    weights = view.fresh(f"{node.name}.merged")
    new = [
        Node(weights, ComposedWeights(tuple(blocks), 1), (node.inputs[2],)),
        Node(node.name, merged, (*node.inputs[:2], weights)),
    ]
    return replaced(graph, {node.name: new})


@dataclass(frozen=True, slots=True)
class Symmetrize:
    """The pass."""

    name: str = "symmetrize"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph with products of values with themselves on symmetric paths alone.

        Args:
            graph: to rewrite.
        """
        for node in graph.nodes:
            if isinstance(node.operation, TensorProduct) and node.inputs[0] == node.inputs[1]:
                graph = _rewritten(graph, View.of(graph.nodes, graph.outputs), node)
        return graph
