"""One topology for all layers of a model.

In: senders and receivers of the edges, as each layer gets them. Out: the topology of the last edges
as long as they are the same, so that edges are sorted once a list of neighbours. While a model is
traced, layers share it if they slice the same tensor.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

from tvm_equi.runtime.devices import is_on_gpu
from tvm_equi.runtime.topology import Topology

Count: TypeAlias = "int | torch.SymInt"


@dataclass(frozen=True, slots=True)
class _Last:
    """The topology of edges that were given, and how to know them again.

    Args:
        topology: of these edges.
        versions: numbers of changes in place that senders and receivers had had; None where torch
            does not count them.
        storages: what these tensors lay on. Holding them keeps their addresses from being reused.
        places: where on it.
    """

    topology: Topology
    versions: tuple[int, ...] | None
    storages: tuple[torch.UntypedStorage, ...]
    places: tuple[Any, ...]


class SharedTopology:
    """Makes topologies, and gives the last one again for the same edges.

    Values are compared on the CPU. On a GPU, which would have to be waited for, edges are the same
    if they are the same memory, unchanged since.
    """

    def __init__(self) -> None:
        self._last: _Last | None = None
        self._traced: tuple[weakref.ref[torch.Tensor], tuple[Any, ...], Topology] | None = None

    def of(self, senders: torch.Tensor, receivers: torch.Tensor, num_nodes: Count) -> Topology:
        """The topology of edges.

        Args:
            senders: integers [edges].
            receivers: integers [edges].
            num_nodes: of both ends.

        Raises:
            ArgumentError: a wrong shape or device.
            IndexRangeError: an index is negative, or not below the number of nodes.
        """
        if torch.compiler.is_compiling() or not (_is_plain(senders) and _is_plain(receivers)):
            return self._of_traced(senders, receivers, num_nodes)
        last = self._last
        if last is not None and _are_same(last, senders, receivers, num_nodes):
            return last.topology
        topology = _topology(senders, receivers, num_nodes)
        both = (senders, receivers)
        self._last = _Last(
            topology,
            _versions(both),
            tuple(tensor.untyped_storage() for tensor in both),
            _places(both),
        )
        return topology

    def _of_traced(
        self, senders: torch.Tensor, receivers: torch.Tensor, num_nodes: Count
    ) -> Topology:
        """The topology in a graph that is being traced, where values are not known."""
        base = senders._base
        if torch.compiler.is_compiling() or base is None or receivers._base is not base:
            return _topology(senders, receivers, num_nodes)
        places = _places((senders, receivers))
        if self._traced is not None:
            known, known_places, topology = self._traced
            if (
                known() is base
                and all(_is_equal(a, b) for a, b in zip(places, known_places, strict=True))
                and _is_equal(num_nodes, topology.num_senders)
            ):
                return topology
        topology = _topology(senders, receivers, num_nodes)
        self._traced = (weakref.ref(base), places, topology)
        return topology

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedTopology:
        """A new one: what is remembered belongs to a call."""
        copy = memo[id(self)] = SharedTopology()
        return copy

    def __reduce__(self) -> tuple[type[SharedTopology], tuple[()]]:
        """The same for what is stored."""
        return SharedTopology, ()


def _topology(senders: torch.Tensor, receivers: torch.Tensor, num_nodes: Any) -> Topology:
    return Topology(torch.stack([senders, receivers]), (num_nodes, num_nodes))


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds values, and nothing watches the dispatcher."""
    return type(tensor) is torch.Tensor and torch._C._len_torch_dispatch_stack() == 0


def _are_same(
    last: _Last, senders: torch.Tensor, receivers: torch.Tensor, num_nodes: Count
) -> bool:
    """Whether edges are those of a topology."""
    topology, both = last.topology, (senders, receivers)
    if topology.device != senders.device or topology.num_senders != num_nodes:
        return False
    if not is_on_gpu(senders):
        rows = zip(topology.edge_index, both, strict=True)
        return all(
            known.shape == tensor.shape and known.equal(tensor.long()) for known, tensor in rows
        )
    return (
        last.versions is not None
        and last.versions == _versions(both)
        and last.places == _places(both)
        and all(
            known.data_ptr() == tensor.untyped_storage().data_ptr()
            for known, tensor in zip(last.storages, both, strict=True)
        )
    )


def _versions(tensors: tuple[torch.Tensor, ...]) -> tuple[int, ...] | None:
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple(tensor._version for tensor in tensors)


def _places(tensors: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
    """Where tensors lie on their storages."""
    return tuple(
        number
        for tensor in tensors
        for number in (tensor.storage_offset(), tensor.stride(0), tensor.shape[0])
    )


def _is_equal(first: Any, second: Any) -> bool:
    """Whether two sizes are equal for all inputs of a graph."""
    return first is second or statically_known_true(first == second)
