"""A product followed by its inverse: a bubble in the diagram, which is a number.

    t = TensorProduct(x, y): all of l1 x l2, times a_l        z = g * x, where y are harmonics
    z = TensorProduct(t, y): back to l1, times b_l       ->   of degree l2 of a direction

        --x--<C>--t--<C>--z--           the sum over l of (2l + 1) C C is a delta for i and one for
              |y      |y                j, so that z = (a b) |y|^2 x, where a_l b_l ~ 2l + 1

The legs y are closed to a circle by |y|^2, which for harmonics is a constant. All degrees of l1 x
l2 have to be there, with factors in this proportion and without weights: with any other factors
the diagram is not a number. In: a graph. Out: the same with a sum of one term in place of the
pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Add, Instruction, SphericalHarmonics, TensorProduct
from tvm_equi.graph.regions import couples
from tvm_equi.graph.rewriting import View, replaced
from tvm_equi.graph.types import parse_irreps


def bubble_factor(first: TensorProduct, second: TensorProduct, norms: tuple[float, ...]) -> float:
    """The number that two products multiply x by; 0 if they do not collapse.

    Args:
        first: x times y, without weights.
        second: the result times y, back to x.
        norms: |y|^2 of each segment of y.
    """
    if first.irreps_in1 != second.irreps_out or first.irreps_in2 != second.irreps_in2:
        return 0.0
    total = [0.0] * len(parse_irreps(first.irreps_in1))
    for i, j in {(ins.i_in1, ins.i_in2) for ins in first.instructions}:
        factor = _pair_factor(first, second, (i, j))
        if factor is None:
            return 0.0
        total[i] += factor * norms[j]
    is_closed = all(_is_own(first, ins) for ins in second.instructions)
    if not is_closed or not total or not all(isclose(t, total[0], rel_tol=1e-12) for t in total):
        return 0.0
    return total[0]


def _is_own(first: TensorProduct, ins: Instruction) -> bool:
    """Whether a way back has its way there: the same segments of x, y and the middle."""
    return any(
        (one.i_in1, one.i_in2, one.i_out) == (ins.i_out, ins.i_in2, ins.i_in1)
        for one in first.instructions
    )


def _pair_factor(
    first: TensorProduct, second: TensorProduct, pair: tuple[int, int]
) -> float | None:
    """G for one pair of segments, or None: its degrees are not all there, or in proportion."""
    there = [ins for ins in first.instructions if (ins.i_in1, ins.i_in2) == pair]
    back = {ins.i_in1: ins for ins in second.instructions if (ins.i_out, ins.i_in2) == pair}
    left, right, _ = first.irreps_of(there[0])
    wanted = set(range(abs(left.degree - right.degree), left.degree + right.degree + 1))
    ratios = {}
    for ins in there:
        other = back.get(ins.i_out)
        if other is None or not (_is_plain(first, ins) and _is_plain(second, other)):
            return None
        # C of (l, l2, l1) is that of (l1, l2, l) up to the sign of exchanging the outer legs.
        degrees = [irrep.degree for irrep in first.irreps_of(ins)]
        sign = -1 if sum(degrees) % 2 else 1
        ratio = sign * ins.coefficient * other.coefficient / (2 * degrees[2] + 1)
        if degrees[2] in ratios:
            return None
        ratios[degrees[2]] = ratio
    values = list(ratios.values())
    in_proportion = all(isclose(value, values[0], rel_tol=1e-12) for value in values)
    has_all = set(ratios) == wanted and len(back) == len(there)
    return values[0] if has_all and in_proportion else None


def _is_plain(product: TensorProduct, ins: Instruction) -> bool:
    """Whether a path is x's channels times one channel of y, alone in its segment of the output."""
    right = product.irreps_of(ins).right
    return ins.mode == "uvu" and not ins.has_weight and right.mul == 1 and couples(product, ins)


def _norms(harmonics: SphericalHarmonics) -> tuple[float, ...]:
    """|Y_l|^2 of each degree: at the pole one component is not zero."""
    return tuple(harmonics.pole_value(degree) ** 2 for degree in harmonics.degrees)


@dataclass(frozen=True, slots=True)
class Bubble:
    """The pass."""

    name: str = "bubble"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph without products that undo each other.

        Args:
            graph: to rewrite.
        """
        for node in graph.nodes:
            second = node.operation
            if not isinstance(second, TensorProduct):
                continue
            view = View.of(graph.nodes, graph.outputs)
            source, leg = (view.nodes[name] for name in node.inputs[:2])
            first, harmonics = source.operation, leg.operation
            if (
                not isinstance(first, TensorProduct)
                or not isinstance(harmonics, SphericalHarmonics)
                or not harmonics.normalize
                or source.inputs[1] != leg.name
            ):
                continue
            targets = [ins.i_out for ins in first.instructions]
            if len(set(targets)) != len(targets):
                continue
            factor = bubble_factor(first, second, _norms(harmonics))
            if factor:
                new = [Node(node.name, Add((factor,)), (source.inputs[0],))]
                graph = replaced(graph, {node.name: new})
        return graph
