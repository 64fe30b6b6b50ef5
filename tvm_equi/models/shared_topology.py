"""One topology for all layers of a model, where the model is traced too.

In: senders and receivers of the edges, as each layer gets them. Out: their topology. Outside of a
trace the cache of topologies knows them again; inside, where memory and values do not exist, edges
are known to be the same if layers slice them out of the same tensor.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

from tvm_equi.runtime.topology import Topology
from tvm_equi.runtime.topology_cache import topology_for


class _Traced(NamedTuple):
    """The topology that was traced last.

    Args:
        base: the tensor that senders and receivers are views of.
        places: where in it.
        topology: of these edges.
    """

    base: weakref.ref[torch.Tensor]
    places: tuple[Any, ...]
    topology: Topology


_LAST: list[_Traced] = []


def shared_topology(senders: torch.Tensor, receivers: torch.Tensor, num_nodes: int) -> Topology:
    """The topology of edges between nodes of one kind.

    Args:
        senders: integers [edges].
        receivers: integers [edges].
        num_nodes: of both ends.

    Raises:
        ArgumentError: a wrong shape or device.
        IndexRangeError: an index is negative, or not below the number of nodes.
    """
    base = senders._base if _is_traced(senders) else None
    if base is None or receivers._base is not base:
        return topology_for(senders, receivers, num_nodes, num_nodes)
    places = (num_nodes, *_place(senders), *_place(receivers))
    for last in _LAST:
        pairs = zip(places, last.places, strict=True)
        if last.base() is base and all(_is_equal(*pair) for pair in pairs):
            return last.topology
    topology = topology_for(senders, receivers, num_nodes, num_nodes)
    # Nothing of a trace is kept when its tensors are gone.
    _LAST[:] = [_Traced(weakref.ref(base, lambda _: _LAST.clear()), places, topology)]
    return topology


def _is_traced(tensor: torch.Tensor) -> bool:
    """Whether `make_fx` or an export runs; torch.compile sees through this module by itself."""
    return not torch.compiler.is_dynamo_compiling() and torch._C._len_torch_dispatch_stack() > 0


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Where a vector lies in its base."""
    return tensor.storage_offset(), tensor.stride(0), tensor.shape[0]


def _is_equal(first: Any, second: Any) -> bool:
    """Whether two sizes are equal for all inputs of a graph."""
    return first is second or statically_known_true(first == second)
