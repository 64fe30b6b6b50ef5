"""The convolution of MACE's interaction blocks, in the form of mace-torch's `conv_fusion`.

In: e3nn's tensor product of a block. Out: a module that takes features of nodes, the edges'
harmonics and weights, and the edge index, and gives the sums over each node's edges. The order of
the edges is found once for an edge index, and used by all layers and all models.
"""

from __future__ import annotations

from typing import Any

import torch

from tvm_equi.models.mace.radial import RadialWeights
from tvm_equi.models.mace.state import take_state
from tvm_equi.models.shared_topology import shared_topology
from tvm_equi.nn.convolution import TensorProductConv


class Convolution(torch.nn.Module):
    """e3nn's tensor product over edges and its sum at receivers, in one kernel.

    Args:
        product: an `e3nn.o3.TensorProduct` without weights of its own; its state is kept.
    """

    def __init__(self, product: Any) -> None:
        super().__init__()
        take_state(self, product)
        self.irreps_in1, self.irreps_in2 = product.irreps_in1, product.irreps_in2
        self.irreps_out, self.weight_numel = product.irreps_out, product.weight_numel
        self.instructions = product.instructions
        # In a tuple, so that its buffers are not part of the state.
        self._convolution = (TensorProductConv.from_e3nn(product),)

    def __repr__(self) -> str:
        """Irreps, and the number of weights of an edge."""
        return (
            f"{type(self).__name__}({self.irreps_in1} x {self.irreps_in2} -> "
            f"{self.irreps_out.simplify()} | {self.weight_numel} weights)"
        )

    def forward(
        self,
        node_feats: torch.Tensor,
        edge_attrs: torch.Tensor,
        tp_weights: torch.Tensor | RadialWeights,
        edge_index: torch.Tensor,
    ) -> torch.Tensor:
        """The sums over each node's edges.

        Args:
            node_feats: [nodes, irreps_in1.dim].
            edge_attrs: [edges, irreps_in2.dim].
            tp_weights: [edges, weight_numel], or what they are the product of.
            edge_index: int64 [2, edges], senders then receivers.

        Returns:
            [nodes, irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong dtype.
            IndexRangeError: an index is negative, or not below the number of nodes.
        """
        senders, receivers = edge_index
        topology = shared_topology(senders, receivers, node_feats.shape[0])
        (convolution,) = self._convolution
        given: dict[str, Any] = {"weight": tp_weights}
        if isinstance(tp_weights, RadialWeights):
            given = {"radial": tp_weights.hidden, "last": tp_weights.last}
        found: torch.Tensor = convolution(node_feats, edge_attrs, edge_index=topology, **given)
        return found
