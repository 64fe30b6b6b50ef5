"""What stands in a graph in the place of a gather, a tensor product and a sum.

In: the plan of the tensor product; at the call its operands and the edges. Out: sums over edges.
Refused: indices out of range.
"""

from __future__ import annotations

import torch

from tvm_equi.nn.stages import radial_blocks, run_stages, stage_plans
from tvm_equi.runtime.plans import resolve
from tvm_equi.runtime.topology import Topology


class Convolution(torch.nn.Module):
    """A tensor product over edges, without weights of its own.

    Args:
        product: plan of the tensor product.
        num_hidden: radial features from which weights are computed inside; 0 for none.
    """

    def __init__(self, product: str, num_hidden: int) -> None:
        super().__init__()
        kernel = resolve(product)
        self.plans = stage_plans(product, num_hidden)
        self.num_hidden = num_hidden
        self.sizes = (
            [segment.size for segment in kernel.operand("w").segments] if num_hidden else []
        )

    def forward(
        self, edges: Topology, x: torch.Tensor, y: torch.Tensor, *weights: torch.Tensor
    ) -> torch.Tensor:
        """The sums, [receivers, columns].

        Args:
            edges: of the graph.
            x: [senders, columns].
            y: [edges, columns].
            *weights: one tensor, or radial features and the matrix that makes weights of them.
        """
        values = {"x": x, "y": y}
        if self.num_hidden:
            radial, last = weights
            values |= {"radial": radial, "last": radial_blocks(last, self.sizes)}
        elif weights:
            values["w"] = weights[0]
        return run_stages(self.plans, values, edges)


def edges_of(
    senders: torch.Tensor, receivers: torch.Tensor, num_senders: int, num_receivers: int
) -> Topology:
    """The edges of a graph, to be sorted once for all convolutions over them.

    Args:
        senders: [edges].
        receivers: [edges].
        num_senders: the number of nodes that senders are of.
        num_receivers: the number of nodes that receivers are of.

    Raises:
        IndexRangeError: an index is negative, or not below the number of nodes.
    """
    return Topology(torch.stack([senders, receivers]), (num_senders, num_receivers))
