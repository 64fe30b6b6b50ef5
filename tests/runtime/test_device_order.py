"""Orders for GPUs against a loop in Python: sorted edges, segments, parts, and bad indices."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_equi.runtime.device_order import (
    MAX_SHARED,
    MIN_SEGMENT,
    DeviceOrder,
    device_order,
    num_nodes_of,
    order_sizes,
    segment_length,
)

Edges = list[tuple[int, int]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Edges, int, int]:
    """Edges (node, other), with hubs and with indices that are out of range."""
    num_nodes, num_others = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    bad = st.sampled_from([-(10**9), -1, 10**9])
    nodes = st.one_of(st.integers(0, num_nodes - 1), st.integers(num_nodes, num_nodes + 1), bad)
    others = st.one_of(st.integers(0, num_others - 1), bad)
    edges = draw(st.lists(st.tuples(nodes, others), max_size=60))
    for hub, count in draw(st.lists(st.tuples(nodes, st.integers(1, 150)), max_size=3)):
        edges += [(hub, number % num_others) for number in range(count)]
    return draw(st.permutations(edges)), num_nodes, num_others


def order_of(edges: Edges, num_nodes: int, num_others: int, side: int = 1) -> DeviceOrder:
    """The order, with nodes as receivers (side 1) or senders."""
    index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    return device_order(index if side == 0 else index.flip(0), side, num_nodes, num_others)


def check(edges: Edges, num_nodes: int, num_others: int, order: DeviceOrder) -> None:
    """Everything that kernels rely on."""
    sizes = order_sizes(len(edges), num_nodes)
    assert [tensor.dtype for tensor in order] == [torch.int64] * 7
    assert tuple(tensor.shape for tensor in order) == tuple((size,) for size in sizes)
    assert num_nodes_of(order) == num_nodes
    numbers, others, owners, starts, segment_parts, part_nodes, part_ends = (
        tensor.tolist() for tensor in order
    )
    # Edges by node, equal nodes in the order of the edges.
    assert numbers == sorted(range(len(edges)), key=lambda n: edges[n][0])
    assert others == [min(max(edges[n][1], 0), num_others - 1) for n in numbers]
    # Segments: each of one node and not too long, in order; every node has one.
    length = segment_length(len(edges))
    assert all(0 <= low <= high <= len(edges) for low, high in pairwise(starts))
    used = [node for node in owners if node >= 0]
    assert owners == used + [-1] * (len(owners) - len(used))
    assert sorted(set(used)) == list(range(num_nodes))
    assert used == sorted(used)
    taken: list[int] = []
    of_node: dict[int, list[int]] = {}
    for segment, (low, high) in enumerate(pairwise(starts)):
        node = owners[segment]
        assert high - low <= (length if node >= 0 else 0)
        assert all(edges[n][0] == node for n in numbers[low:high])
        taken += numbers[low:high]
        if node >= 0:
            of_node.setdefault(node, []).append(segment)
    assert taken == [n for n in numbers if 0 <= edges[n][0] < num_nodes]
    # Parts: for nodes with several segments alone, side by side, in the order of the segments.
    parts: list[tuple[int, int]] = []
    for node, segments in of_node.items():
        count = sum(edge[0] == node for edge in edges)
        assert len(segments) == max(1, -(-count // length))
        if len(segments) == 1:
            assert segment_parts[segments[0]] == -1
            continue
        first, end = len(parts), len(parts) + len(segments)
        assert [segment_parts[segment] for segment in segments] == list(range(first, end))
        parts += [(node, end if part == first else 0) for part in range(first, end)]
    rest = len(part_nodes) - len(parts)
    assert list(zip(part_nodes, part_ends, strict=True)) == parts + [(-1, 0)] * rest
    assert all(p == -1 for p, n in zip(segment_parts, owners, strict=True) if n < 0)


@settings(max_examples=150)
@given(graphs(), st.integers(0, 1))
def test_any_graph(graph: tuple[Edges, int, int], side: int) -> None:
    edges, num_nodes, num_others = graph
    check(edges, num_nodes, num_others, order_of(edges, num_nodes, num_others, side))


@pytest.mark.parametrize("hub", [31, 32, 33, 64, 65, 1000])
def test_hubs(hub: int) -> None:
    edges = [(2, 0)] * hub + [(0, 1), (4, 1)]
    check(edges, 6, 2, order_of(edges, 6, 2))
    # All nodes are hubs: the most segments and parts that there are.
    edges = [(node, 0) for node in range(6) for _ in range(hub)]
    check(edges, 6, 1, order_of(edges, 6, 1))


def test_long_segments() -> None:
    num_edges = MIN_SEGMENT * MAX_SHARED + 1
    assert segment_length(num_edges - 1) == MIN_SEGMENT
    assert segment_length(num_edges) == 2 * MIN_SEGMENT
    edges = [(number % 3 if number % 5 else 3, 0) for number in range(num_edges)]
    check(edges, 5, 1, order_of(edges, 5, 1))


@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_sizes_are_bounded(num_edges: int, num_nodes: int) -> None:
    length = segment_length(num_edges)
    assert length >= MIN_SEGMENT
    assert length & (length - 1) == 0
    assert num_edges <= length * MAX_SHARED
    assert length == MIN_SEGMENT or num_edges > length // 2 * MAX_SHARED
    sizes = order_sizes(num_edges, num_nodes)
    assert sizes[5] == sizes[6] <= 2 * MAX_SHARED
    assert sizes[2] == sizes[4] == sizes[3] - 1 <= num_nodes + MAX_SHARED


@pytest.mark.parametrize("num_edges", [1, 40, 700])
def test_sizes_depend_on_numbers_alone(num_edges: int) -> None:
    """So that nothing waits for the device, and a call may be captured in a graph."""
    generator = torch.Generator().manual_seed(0)
    for low, high in ((0, 1), (0, 9), (-3, 20), (9, 30), (-9, -1)):
        index = torch.randint(low, high, (2, num_edges), generator=generator)
        found = device_order(index, 1, 9, 7)
        assert tuple(len(tensor) for tensor in found) == order_sizes(num_edges, 9)
        check([(n, o) for o, n in index.T.tolist()], 9, 7, found)


@pytest.mark.parametrize("num_nodes", [1, 5])
def test_no_edges(num_nodes: int) -> None:
    """Every node has a segment still, so that zeros are written."""
    order = order_of([], num_nodes, 3)
    check([], num_nodes, 3, order)
    assert order.segment_nodes.tolist() == list(range(num_nodes))
    assert order.segment_starts.tolist() == [0] * (num_nodes + 1)


@pytest.mark.parametrize("num_edges", [0, 3, 100])
def test_no_nodes(num_edges: int) -> None:
    edges = [(number, 0) for number in range(num_edges)]
    order = order_of(edges, 0, 4)
    assert tuple(len(tensor) for tensor in order) == order_sizes(num_edges, 0)
    assert not order.segment_starts.any()
    assert (order.segment_nodes == -1).all()
    assert (order.part_ends <= 0).all()


@pytest.mark.parametrize("num_edges", [3, 100])
def test_no_nodes_at_the_other_end(num_edges: int) -> None:
    """No edge is taken, since there is nothing to be read; nodes are written still."""
    order = order_of([(number % 4, 0) for number in range(num_edges)], 4, 0)
    assert not order.segment_starts.any()
    assert sorted(node for node in order.segment_nodes.tolist() if node >= 0) == [0, 1, 2, 3]
    assert (order.segment_parts == -1).all()


def test_edges_are_not_changed() -> None:
    index = torch.tensor([[3, -1, 99], [0, 2, 1]])
    before = index.clone()
    device_order(index, 0, 4, 3)
    assert torch.equal(index, before)
