"""Topologies: sorted orders, balanced tasks, and refused indices."""

import pytest
import torch

from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from tvm_equi.runtime.topology import (
    EDGES_PER_NODE,
    EDGES_PER_TASK,
    MAX_TASKS,
    Topology,
    num_tasks,
)

EDGES = torch.tensor([[3, 0, 0, 2, 3, 3], [1, 1, 4, 0, 1, 4]])


def test_orders() -> None:
    topology = Topology(EDGES, (5, 6))
    assert repr(topology) == "Topology(6 edges, 5 senders, 6 receivers)"
    by_receiver = topology.order("receiver")
    assert by_receiver.edges.tolist() == [3, 0, 1, 4, 2, 5]  # equal nodes keep their order
    assert by_receiver.nodes.tolist() == [0, 1, 1, 1, 4, 4]
    assert by_receiver.others.tolist() == [2, 3, 0, 3, 0, 3]
    assert by_receiver.pointers.tolist() == [0, 1, 4, 4, 4, 6, 6]
    assert topology.order("sender").pointers.tolist() == [0, 2, 2, 3, 6, 6]
    assert topology.order("sender") is topology.order("sender")
    again = Topology.from_tensors(topology.tensors())
    assert (again.num_edges, again.count("sender"), again.count("receiver")) == (6, 5, 6)


def test_number_of_nodes() -> None:
    assert Topology(EDGES).num_senders == Topology(EDGES).num_receivers == 5
    assert Topology(EDGES.int(), 9).count("receiver") == 9
    assert Topology(torch.empty(2, 0, dtype=torch.int64)).num_senders == 0


@pytest.mark.parametrize("num_edges", [0, 1, 511, 512, 5000, 10**6])
def test_number_of_tasks(num_edges: int) -> None:
    count = num_tasks(num_edges)
    assert 2 <= count <= MAX_TASKS
    assert count % 2 == 0
    assert count == MAX_TASKS or num_edges // count <= EDGES_PER_TASK


@pytest.mark.parametrize("hub", [0, 3000])
def test_tasks_cover_all_edges_and_nodes(hub: int) -> None:
    generator = torch.Generator().manual_seed(0)
    receivers = torch.randint(0, 300, (10_000,), generator=generator)
    receivers[:hub] = 77
    order = Topology(torch.stack([receivers, receivers]), 310).order("receiver")
    bounds, starts = order.tasks
    assert bounds[0] == starts[0] == 0
    assert (bounds[-1], starts[-1]) == (10_000, 310)
    assert (bounds.diff() >= 0).all()
    assert (starts.diff() >= 0).all()
    work = bounds.diff() + EDGES_PER_NODE * starts.diff()
    even = (10_000 + EDGES_PER_NODE * 310) / (len(bounds) - 1)
    assert work.max() <= 1.5 * even  # a node with many edges is shared out
    for bound, start in zip(bounds.tolist(), starts.tolist(), strict=True):
        # The first node that starts in a task is the first whose edges start at its bound or later.
        assert start == 310 or order.pointers[start] >= bound
        assert start == 0 or order.pointers[start - 1] < bound or start == 310
    inside = [b for b in bounds.tolist() if b not in set(order.pointers.tolist())]
    assert bool(inside) == bool(hub)


def test_indices_out_of_range_are_refused() -> None:
    with pytest.raises(
        IndexRangeError, match=r"expected senders \(row 0\) from 0 to 2, got 0 to 3"
    ):
        Topology(EDGES, (3, 6))
    with pytest.raises(IndexError, match=r"expected receivers \(row 1\) from 0 to 3, got 0 to 4"):
        Topology(EDGES, (4, 4))
    with pytest.raises(IndexRangeError, match="got -1 to 4"):
        Topology(torch.tensor([[0, 0], [-1, 4]]), 5)


def test_compiled_code_checks_indices() -> None:
    with pytest.raises(IndexRangeError, match=r"receivers \(row 1\) from 0 to 3, got 0 to 4"):
        torch.ops.tvm_equi.sort_edges(EDGES, 0, 4, 4)


def test_edges_that_change_later_do_not_matter() -> None:
    edges = EDGES.clone()
    topology = Topology(edges)
    edges.fill_(99)
    assert topology.order("sender").nodes.tolist() == [0, 0, 2, 3, 3, 3]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="edge_index: expected a tensor, got list"):
        Topology([[0], [1]])  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match=r"expected int64 or int32, got torch\.float32"):
        Topology(EDGES.float())
    with pytest.raises(ArgumentError, match=r"expected shape \[2, edges\], got \[3, 1\]"):
        Topology(torch.zeros(3, 1, dtype=torch.int64))
    with pytest.raises(ArgumentError, match=r"expected shape \[2, edges\], got \[4\]"):
        Topology(torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ArgumentError, match="num_nodes: expected 0 or more, got -1"):
        Topology(EDGES, -1)
    for wrong in (2.5, True, (1, 2, 3), "5"):
        with pytest.raises(ArgumentTypeError, match="num_nodes: expected a number, or"):
            Topology(EDGES, wrong)  # type: ignore[arg-type]
