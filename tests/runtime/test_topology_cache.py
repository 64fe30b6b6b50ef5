"""The cache of topologies: one for all views of an edge index; changes in place are seen."""

import gc

import numpy as np
import pytest
import torch

from tvm_equi.errors import IndexRangeError
from tvm_equi.runtime import topology_cache
from tvm_equi.runtime.topology_cache import MAX_TOPOLOGIES, topology_for


def edges(num: int = 12, nodes: int = 5) -> torch.Tensor:
    return torch.randint(0, nodes, (2, num))


def test_views_of_one_edge_index_share_a_topology() -> None:
    edge_index = edges()
    first = topology_for(edge_index[0], edge_index[1], 5, 5)
    again = topology_for(edge_index[0], edge_index[1], 5, 5)
    assert first is again
    assert torch.equal(first.edge_index, edge_index)
    assert topology_for(edge_index[1], edge_index[0], 5, 5) is not first
    assert topology_for(edge_index[0], edge_index[1], 5, 6) is not first


def test_a_change_in_place_is_seen() -> None:
    edge_index = edges()
    first = topology_for(edge_index[0], edge_index[1], 5, 5)
    edge_index[0, 3] = (edge_index[0, 3] + 1) % 5
    second = topology_for(edge_index[0], edge_index[1], 5, 5)
    assert second is not first
    assert torch.equal(second.edge_index, edge_index)


def test_a_change_by_numpy_is_seen() -> None:
    array = np.zeros((2, 7), dtype=np.int64)
    edge_index = torch.from_numpy(array)
    topology_for(edge_index[0], edge_index[1], 5, 5)
    array[1, 2] = 4
    second = topology_for(edge_index[0], edge_index[1], 5, 5)
    assert torch.equal(second.edge_index, edge_index)
    assert topology_for(edge_index[0], edge_index[1], 5, 5) is second


def test_inference_mode_and_int32() -> None:
    with torch.inference_mode():
        edge_index = edges().int()
        first = topology_for(edge_index[0], edge_index[1], 5, 5)
        assert topology_for(edge_index[0], edge_index[1], 5, 5) is first
        edge_index[0, 0] = (edge_index[0, 0] + 1) % 5
        second = topology_for(edge_index[0], edge_index[1], 5, 5)
    assert torch.equal(second.edge_index, edge_index.long())


def test_nothing_is_kept_of_what_is_gone() -> None:
    topology_cache._ENTRIES.clear()  # of other tests, whose edges may live on
    for _ in range(3 * MAX_TOPOLOGIES):
        edge_index = edges()
        topology_for(edge_index[0], edge_index[1], 5, 5)
    del edge_index
    gc.collect()
    other = edges()
    topology_for(other[0], other[1], 5, 5)
    assert len(topology_cache._ENTRIES) == 1


def test_indices_are_checked() -> None:
    edge_index = torch.tensor([[0, 1], [1, 7]])
    with pytest.raises(IndexRangeError, match="receivers"):
        topology_for(edge_index[0], edge_index[1], 5, 5)
