"""Products with a constant scalar are layers, selections or nothing.

    c = SphericalHarmonics(v), degree 0
    t = TensorProduct(x, c, w)  uvw        ->   t = Linear(x, w)
    t = TensorProduct(x, c)     uvu        ->   t = Slice(x), times a number
    Add(1 * x), Slice(all of x)            ->   x

A leg of degree 0 makes the 3j symbol a delta over the root of 2l + 1; if the scalar is a constant
besides, as harmonics of degree 0 are, no product is left. Sums of one term and selections of
everything are passed through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Add,
    Linear,
    LinearPath,
    Slice,
    SphericalHarmonics,
    TensorProduct,
)
from tvm_equi.graph.regions import couples
from tvm_equi.graph.rewriting import View, replaced, without_unread
from tvm_equi.graph.types import ValueType, parse_irreps


def constant_scalar(view: View, name: str) -> float | None:
    """The number that a value is for every input, if it is one scalar of that kind.

    Args:
        view: of the graph.
        name: of the value.
    """
    operation = view.nodes[name].operation
    if isinstance(operation, SphericalHarmonics) and operation.degrees == (0,):
        return operation.pole_value(0)
    return None


def _factors(product: TensorProduct, constant: float) -> tuple[float, ...]:
    """What each path multiplies its channels by."""
    return tuple(
        ins.coefficient * constant / sqrt(2 * product.irreps_of(ins).left.degree + 1)
        for ins in product.instructions
    )


def _layer(node: Node, product: TensorProduct, constant: float) -> list[Node] | None:
    """A product of mode uvw with a constant, as a linear layer."""
    if product.weights == "none" or any(ins.mode != "uvw" for ins in product.instructions):
        return None
    factors = _factors(product, constant)
    paths = tuple(
        LinearPath(ins.i_in1, ins.i_out, factor)
        for ins, factor in zip(product.instructions, factors, strict=True)
    )
    layer = Linear(
        product.irreps_in1,
        product.irreps_out,
        paths,
        weights="row" if product.weights == "row" else "shared",
        layout=product.layout,
    )
    return [Node(node.name, layer, (node.inputs[0], node.inputs[2]))]


def _selection(
    view: View, node: Node, product: TensorProduct, constant: float
) -> list[Node] | None:
    """A product without weights with a constant, as a selection times a number."""
    num = len(parse_irreps(product.irreps_out))
    targets = [ins.i_out for ins in product.instructions]
    factors = _factors(product, constant)
    is_plain = all(
        ins.mode in ("uvu", "uvuv") and not ins.has_weight for ins in product.instructions
    )
    if not is_plain or sorted(targets) != list(range(num)) or not num:
        return None
    if max(factors) - min(factors) > 1e-14 * max(map(abs, factors)):
        return None
    left = parse_irreps(product.irreps_in1)
    by_target = sorted(product.instructions, key=lambda ins: ins.i_out)
    parts = tuple((ins.i_in1, 0, left[ins.i_in1].mul) for ins in by_target)
    factor = factors[0]
    if abs(factor - 1) < 1e-14:
        return [Node(node.name, Slice(parts), node.inputs[:1])]
    name = view.fresh(f"{node.name}.selected")
    return [
        Node(name, Slice(parts), node.inputs[:1]),
        Node(node.name, Add((factor,)), (name,)),
    ]


def _without_identities(graph: TensorProductGraph) -> TensorProductGraph:
    """The graph whose readers of a copy read the value itself."""
    same: dict[str, str] = {}
    for node in graph.nodes:
        match node.operation:
            case Add(factors=(1.0,)):
                is_copy = True
            case Slice(parts=parts):
                kind = graph.types[node.inputs[0]]
                segments = kind.segments if isinstance(kind, ValueType) else ()
                everything = tuple((k, 0, irrep.mul) for k, irrep in enumerate(segments))
                is_copy = parts == everything
            case _:
                is_copy = False
        if is_copy:
            same[node.name] = same.get(node.inputs[0], node.inputs[0])
    if not same:
        return graph
    nodes = tuple(
        replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        for node in graph.nodes
    )
    before = View.of(graph.nodes, graph.outputs)
    return without_unread(TensorProductGraph(nodes, graph.outputs), before)


@dataclass(frozen=True, slots=True)
class ScalarLeg:
    """The pass."""

    name: str = "scalar_leg"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph without products with constant scalars, and without copies.

        Args:
            graph: to rewrite.
        """
        for node in graph.nodes:
            product = node.operation
            if not isinstance(product, TensorProduct) or product.irreps_in2 != "1x0e":
                continue
            view = View.of(graph.nodes, graph.outputs)
            constant = constant_scalar(view, node.inputs[1])
            if constant is None or not all(couples(product, i) for i in product.instructions):
                continue
            new = _layer(node, product, constant) or _selection(view, node, product, constant)
            if new is not None:
                graph = replaced(graph, {node.name: new})
        return _without_identities(graph)
