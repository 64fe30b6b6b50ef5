"""The one call that takes the place of gather, tensor product and sum in a fused forward.

In: a tensor product of the model, and the tensors that its forward gathers, multiplies and sums.
Out: the sum over each receiver's edges, by one kernel where the tensors are what a trace took them
for (rows picked by one index per edge), else by the three steps.
"""

from __future__ import annotations

import torch

from tvm_equi.nn.convolution import TensorProductConv
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.runtime.topology_cache import topology_for

INDEX_DTYPES = (torch.int64, torch.int32)


def attach_convolution(product: TensorProduct) -> None:
    """Gives a tensor product what `convolve_edges` needs: its convolution, without weights.

    Args:
        product: of a model; its state stays as it is.
    """
    convolution = TensorProductConv.from_e3nn(product, product.layout)
    if convolution.internal_weights:  # they stay the product's, and are passed
        convolution.internal_weights = False
        del convolution.weight
        convolution.register_buffer("weight", torch.Tensor())
    # In a tuple, torch does not take it for a child.
    product.edge_convolution = (convolution,)  # type: ignore[assignment]


def convolve_edges(
    product: TensorProduct,
    x: torch.Tensor,
    senders: torch.Tensor,
    edge_attr: torch.Tensor,
    weight: torch.Tensor | None,
    receivers: torch.Tensor,
    num_nodes: int | None,
) -> torch.Tensor:
    """The sum over each receiver's edges of product(x[senders], edge_attr, weight).

    Args:
        product: of the model, with its convolution attached.
        x: [nodes, irreps_in1.dim].
        senders: int64 [edges].
        edge_attr: [edges, irreps_in2.dim].
        weight: as the product takes it.
        receivers: int64 [edges].
        num_nodes: the number of receivers; None for one more than the largest.
    """
    if num_nodes is None:
        num_nodes = int(receivers.max()) + 1 if receivers.numel() else 0
    if not _is_graph(product, x, senders, edge_attr, weight, receivers):
        messages: torch.Tensor = product(x[senders], edge_attr, weight)
        zeros = messages.new_zeros((num_nodes, messages.shape[-1]))
        if receivers.dim() == 2:
            return zeros.scatter_add(0, receivers, messages)
        return zeros.index_add(0, receivers, messages)
    topology = topology_for(senders, receivers, x.shape[0], num_nodes)
    used = product.weight if weight is None and product.internal_weights else weight
    convolution: TensorProductConv = product.edge_convolution[0]  # type: ignore[index, assignment]
    total: torch.Tensor = convolution(x, edge_attr, used, topology)
    return total


def _is_graph(
    product: TensorProduct,
    x: torch.Tensor,
    senders: torch.Tensor,
    edge_attr: torch.Tensor,
    weight: torch.Tensor | None,
    receivers: torch.Tensor,
) -> bool:
    """Whether the arguments are rows of nodes and edges, with one sender and receiver per edge."""
    indices: tuple[object, ...] = (senders, receivers)  # whatever the forward was called with
    if not all(isinstance(i, torch.Tensor) and i.dtype in INDEX_DTYPES for i in indices):
        return False
    if not (x.dim() == edge_attr.dim() == 2 and senders.dim() == receivers.dim() == 1):
        return False
    num_edges = senders.shape[0]
    if not num_edges == receivers.shape[0] == edge_attr.shape[0]:
        return False
    if product.weight_numel == 0 or product.internal_weights:
        return weight is None
    return isinstance(weight, torch.Tensor) and (
        product.shared_weights or weight.shape[:-1] == (num_edges,)
    )
