"""What `prune` takes from a graph, and why.

In: a graph before it is pruned. Out: every path that goes and every operation, each with the first
reason that holds: parity, the triangle rule, no channels or coefficient 0, an input that is always
zero, or a value that no output depends on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.liveness import (
    Liveness,
    Segments,
    convolved,
    liveness,
    num_segments,
    reads_path,
)
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Convolution, Linear, TensorProduct
from tvm_equi.graph.operations.products import is_allowed
from tvm_equi.graph.regions import couples
from tvm_equi.graph.types import parse_irreps


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that `prune` takes away.

    Args:
        node: name of the operation.
        what: the path or operation, in words.
        reason: why it goes.
    """

    node: str
    what: str
    reason: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.node}: {self.what}: {self.reason}"


def removals(graph: TensorProductGraph) -> tuple[Removal, ...]:
    """Every path that `prune` removes and every operation that it drops, with the reason.

    Args:
        graph: to look at, before pruning.
    """
    found: list[Removal] = []
    alive = liveness(graph)
    for node in graph.nodes:
        if node.inputs and node.name not in graph.outputs and not alive.demand[node.name]:
            has_segments = num_segments(graph, node.name) > 0
            found += [Removal(node.name, node.kind, "no output depends on it")] * has_segments
            continue
        match node.operation:
            case TensorProduct() as product:
                sides = (alive.support[node.inputs[0]], alive.support[node.inputs[1]])
                found += _product_removals(node, product, alive, sides)
            case Convolution(product=product) as convolution:
                sides = convolved(convolution, [alive.support[name] for name in node.inputs])
                found += _product_removals(node, product, alive, sides)
            case Linear() as linear:
                found += _linear_removals(node, linear, alive)
            case _:
                pass
    return tuple(found)


def _product_removals(
    node: Node, product: TensorProduct, alive: Liveness, sides: tuple[Segments, Segments]
) -> list[Removal]:
    """The dead paths of a product, each with the first reason that holds."""
    found = []
    for ins in product.instructions:
        left, right, out = product.irreps_of(ins)
        if not is_allowed(left, right, out):
            is_parity = left.parity * right.parity != out.parity
            reason = "forbidden by parity" if is_parity else "forbidden by the triangle rule"
        elif not couples(product, ins):
            reason = "no channels" if ins.coefficient else "coefficient 0"
        elif ins.i_in1 not in sides[0] or ins.i_in2 not in sides[1]:
            dead = left if ins.i_in1 not in sides[0] else right
            reason = f"{dead} is always zero"
        elif ins.i_out not in alive.demand[node.name]:
            reason = f"no output depends on {out}"
        else:
            continue
        found.append(Removal(node.name, f"path {left} x {right} -> {out}", reason))
    return found


def _linear_removals(node: Node, linear: Linear, alive: Liveness) -> list[Removal]:
    """The dead paths of a linear layer."""
    left, out = parse_irreps(linear.irreps_in), parse_irreps(linear.irreps_out)
    given = alive.support[node.inputs[0]]
    found = []
    for path in linear.paths:
        if not reads_path(linear, path, given):
            is_zero = path.i_in not in given
            reason = f"{left[path.i_in]} is always zero" if is_zero else "no weights"
        elif path.i_out not in alive.demand[node.name]:
            reason = f"no output depends on {out[path.i_out]}"
        else:
            continue
        what = f"path {left[path.i_in]} -> {out[path.i_out]}"
        found.append(Removal(node.name, what, reason))
    return found


def format_removals(found: Sequence[Removal]) -> str:
    """A line per removal, or one that says there is none.

    Args:
        found: by `removals`.
    """
    return "\n".join(map(str, found)) or "nothing to remove"
