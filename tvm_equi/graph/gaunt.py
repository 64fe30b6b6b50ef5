"""Products of spherical harmonics of the same vectors are spherical harmonics.

    a, b = SphericalHarmonics(v)               c = SphericalHarmonics(v): one degree per path
    t = TensorProduct(a, b)              ->    t = TensorProduct(c, 1), a number for each path

Y_l1(r) x Y_l2(r) -> l3 is a covariant function of one direction, so it is a number times Y_l3(r):
the Gaunt coefficient, read off at the pole. Where l1 + l2 + l3 is odd it is zero (such a path keeps
its place with coefficient 0, until `prune`). Only for directions: harmonics of vectors that are not
normalized are polynomials of several degrees in the length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import SphericalHarmonics, TensorProduct
from tvm_equi.graph.regions import couples
from tvm_equi.graph.rewriting import View, replaced
from tvm_equi.graph.types import Irrep, IrrepsText, ValueType, format_irreps


def gaunt_factor(
    degrees: tuple[int, int, int], left: SphericalHarmonics, right: SphericalHarmonics
) -> float:
    """The number g in C Y_l1(r) Y_l2(r) = g Y_l3(r), with Y_l3 normalised as the first.

    Args:
        degrees: l1, l2, l3.
        left: how Y_l1 and Y_l3 are normalised.
        right: how Y_l2 is.
    """
    l1, l2, l3 = degrees
    at_pole = float(wigner_3j(l1, l2, l3)[l1, l2, l3])
    return at_pole * left.pole_value(l1) * right.pole_value(l2) / left.pole_value(l3)


def _rewritten(graph: TensorProductGraph, view: View, node: Node) -> TensorProductGraph:
    """The graph with harmonics in place of a product of some."""
    product = node.operation
    sources = [view.nodes[name] for name in node.inputs[:2]]
    left, right = (source.operation for source in sources)
    if (
        not isinstance(product, TensorProduct)
        or not isinstance(left, SphericalHarmonics)
        or not isinstance(right, SphericalHarmonics)
        or sources[0].inputs != sources[1].inputs
        or not (left.normalize and right.normalize)
        or right.degrees == (0,)
        or not product.instructions
    ):
        return graph
    vectors = graph.types[sources[0].inputs[0]]
    parity = vectors.segments[0].parity if isinstance(vectors, ValueType) else 1
    degrees, instructions = [], []
    unit = SphericalHarmonics((0,), normalization=left.normalization)
    for number, ins in enumerate(product.instructions):
        l1, l2, l3 = (irrep.degree for irrep in product.irreps_of(ins))
        factor = gaunt_factor((l1, l2, l3), left, right) if couples(product, ins) else 0.0
        scale = factor * sqrt(2 * l3 + 1) / unit.pole_value(0)
        degrees.append(l3)
        instructions.append(
            replace(ins, i_in1=number, i_in2=0, coefficient=ins.coefficient * scale)
        )
    harmonics = replace(left, degrees=tuple(degrees))
    irreps = format_irreps(tuple(Irrep(1, degree, parity**degree) for degree in degrees))
    scaled = replace(
        product, irreps_in1=irreps, irreps_in2=IrrepsText("1x0e"), instructions=tuple(instructions)
    )
    names = [view.fresh(f"{node.name}.{part}") for part in ("harmonics", "unit")]
    new = [
        Node(names[0], harmonics, sources[0].inputs),
        Node(names[1], unit, sources[0].inputs),
        Node(node.name, scaled, (*names, *node.inputs[2:])),
    ]
    return replaced(graph, {node.name: new})


@dataclass(frozen=True, slots=True)
class Gaunt:
    """The pass."""

    name: str = "gaunt"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph without products of harmonics of the same directions.

        Args:
            graph: to rewrite.
        """
        for node in graph.nodes:
            if isinstance(node.operation, TensorProduct):
                graph = _rewritten(graph, View.of(graph.nodes, graph.outputs), node)
        return graph
