"""Topologies of edges that come as tensors, each made once for all layers and steps that read it.

In: the senders and receivers that a model's forward indexes with. Out: their `Topology`. Tensors
are known by their memory and its version, so that views of one edge index, made anew in each
layer, count as the same, and edges that were changed in place do not. On the CPU numbers are
compared too (2 ns an edge), since memory that numpy shares can change without a new version. The
cache holds neither the tensors nor, once they are gone, their topology.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from tvm_equi.runtime.topology import Topology

MAX_TOPOLOGIES = 8
"""That are kept; the oldest goes first. A model reads one or two sets of edges in a step."""

_View = tuple[int, int, int, tuple[int, ...], torch.dtype]
"""(version, offset, length, strides, dtype) of a tensor in its storage."""


class _Entry(NamedTuple):
    storages: tuple[StorageWeakRef, StorageWeakRef]
    views: tuple[_View, _View]
    counts: tuple[int, int]
    topology: Topology

    def is_alive(self) -> bool:
        """Whether both tensors' memory still is theirs."""
        return not any(storage.expired() for storage in self.storages)


_LOCK = threading.Lock()
_ENTRIES: list[_Entry] = []


def topology_for(
    senders: torch.Tensor, receivers: torch.Tensor, num_senders: int, num_receivers: int
) -> Topology:
    """The topology of some edges, from the cache where it is there.

    Args:
        senders: int64 or int32 [edges].
        receivers: the same for receivers.
        num_senders: how many there are.
        num_receivers: how many there are.

    Raises:
        ArgumentError: lengths differ; see `Topology`.
        IndexRangeError: an index is out of range.
    """
    counts = (num_senders, num_receivers)
    if not (_is_cached(senders) and _is_cached(receivers)):
        return Topology(torch.stack([senders, receivers]), counts)
    storages = (
        StorageWeakRef(senders.untyped_storage()),
        StorageWeakRef(receivers.untyped_storage()),
    )
    views = (_view(senders), _view(receivers))
    with _LOCK:
        _ENTRIES[:] = [entry for entry in _ENTRIES if entry.is_alive()]
        for entry in _ENTRIES:
            if (entry.storages, entry.views, entry.counts) == (storages, views, counts):
                if _is_same(entry.topology, senders, receivers):
                    return entry.topology
                _ENTRIES.remove(entry)
                break
    topology = Topology(torch.stack([senders, receivers]), counts)
    with _LOCK:
        _ENTRIES.append(_Entry(storages, views, counts, topology))
        del _ENTRIES[:-MAX_TOPOLOGIES]
    return topology


def _is_cached(tensor: torch.Tensor) -> bool:
    """Whether a change of a tensor would be seen: on a GPU, inference mode hides it."""
    if torch.compiler.is_compiling() or type(tensor) is not torch.Tensor:
        return False
    return tensor.device.type == "cpu" or not tensor.is_inference()


def _is_same(topology: Topology, senders: torch.Tensor, receivers: torch.Tensor) -> bool:
    """Whether the edges are still those; taken for granted on a GPU, which would be waited for."""
    if senders.device.type != "cpu":
        return True
    first, last = topology.edge_index
    return torch.equal(first, senders.long()) and torch.equal(last, receivers.long())


def _view(tensor: torch.Tensor) -> _View:
    """Where a tensor lies in its storage, and the version of what lies there."""
    return (
        0 if tensor.is_inference() else tensor._version,
        int(tensor.storage_offset()),
        tensor.numel(),
        tensor.stride(),
        tensor.dtype,
    )
