"""The edges of a graph in the order in which a GPU takes them.

In: an edge index. Out: edges sorted by node, and *segments*: runs of edges of one node, of limited
length, so that a node with many edges is shared out. Sizes depend on the numbers of edges and nodes
alone, so that nothing waits for the device; segments and parts that are not needed stay empty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

MIN_SEGMENT = 32
"""Edges of a segment, at least: less would not pay for reading and writing the node."""

MAX_SHARED = 512
"""What bounds the number of parts of nodes, whose sums need memory: a segment has at least this
share of all edges."""


class DeviceOrder(NamedTuple):
    """Edges sorted by a node, all int64.

    Args:
        edges: [edges], their numbers; equal nodes in the order of the edges.
        others: [edges], the node at the other end of each.
        segment_nodes: [segments], the node of each; -1 for none.
        segment_starts: [segments + 1], where the edges of each start.
        segment_parts: [segments], which part of a node that has several; -1 if it has one.
        part_nodes: [parts], the node of each; -1 for none.
        part_ends: [parts], for the first part of a node one past its last part, else 0.
    """

    edges: torch.Tensor
    others: torch.Tensor
    segment_nodes: torch.Tensor
    segment_starts: torch.Tensor
    segment_parts: torch.Tensor
    part_nodes: torch.Tensor
    part_ends: torch.Tensor


def segment_length(num_edges: int) -> int:
    """The most edges of a segment: a power of two that depends on the number of edges alone.

    Args:
        num_edges: of the graph.
    """
    length = MIN_SEGMENT
    while length * MAX_SHARED < num_edges:
        length *= 2
    return length


def order_sizes(num_edges: int, num_nodes: int) -> tuple[int, ...]:
    """The size of each array of an order.

    Args:
        num_edges: of the graph.
        num_nodes: of the end that edges are sorted by.
    """
    spare = num_edges // segment_length(num_edges)
    segments, parts = num_nodes + spare, max(1, 2 * spare)
    return (num_edges, num_edges, segments, segments + 1, segments, parts, parts)


def num_nodes_of(order: DeviceOrder) -> int:
    """The number of nodes that edges are sorted by.

    Args:
        order: of the edges.
    """
    num_edges = order.edges.shape[0]
    return order.segment_nodes.shape[0] - num_edges // segment_length(num_edges)


def device_order(
    edge_index: torch.Tensor, side: int, num_nodes: int, num_others: int
) -> DeviceOrder:
    """The order of the edges by one of their ends.

    Edges whose node is out of range are left out, and nodes out of range at the other end are
    brought into it, so that no kernel reads or writes out of bounds; where there are none at the
    other end, all edges are left out.

    Args:
        edge_index: int64 [2, edges].
        side: 0 for senders, 1 for receivers.
        num_nodes: of the end that edges are sorted by.
        num_others: of the other end.
    """
    device, num_edges = edge_index.device, edge_index.shape[1]
    length, sizes = segment_length(num_edges), order_sizes(num_edges, num_nodes)
    if num_nodes == 0:
        none = [torch.full((size,), -1, device=device) for size in sizes]
        return DeviceOrder(*none)._replace(segment_starts=torch.zeros_like(none[3]))
    _, _, num_segments, _, _, num_parts, _ = sizes
    nodes, edges = torch.sort(edge_index[side], stable=True)
    others = edge_index[1 - side][edges].clamp(0, max(0, num_others - 1))
    pointers = torch.searchsorted(nodes, torch.arange(num_nodes + 1, device=device))
    if num_others == 0:
        pointers = torch.zeros_like(pointers)  # no edge has another end
    counts = pointers[1:] - pointers[:-1]
    parts = torch.div(counts + (length - 1), length, rounding_mode="floor").clamp(min=1)
    of_segment, owner, within = _owners(parts, num_segments)
    safe = owner.clamp(max=num_nodes - 1)
    starts = torch.where(of_segment, pointers[safe] + within * length, pointers[-1])
    shared = torch.where(parts > 1, parts, 0)
    before = shared.cumsum(0) - shared
    is_shared = of_segment & (shared[safe] > 0)
    of_part, part_owner, part_within = _owners(shared, num_parts)
    safe_part = part_owner.clamp(max=num_nodes - 1)
    is_first = of_part & (part_within == 0)
    return DeviceOrder(
        edges,
        others,
        torch.where(of_segment, owner, -1),
        torch.cat([starts, pointers[-1:]]),
        torch.where(is_shared, before[safe] + within, -1),
        torch.where(of_part, part_owner, -1),
        torch.where(is_first, before[safe_part] + shared[safe_part], 0),
    )


def _owners(counts: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For `size` numbers handed out by counts: whether each is, to whom, and which of theirs.

    Args:
        counts: int64 [owners], how many each gets; at least one owner.
        size: at least the sum of the counts.
    """
    ends = counts.cumsum(0)
    number = torch.arange(size, device=counts.device)
    owner = torch.searchsorted(ends, number, right=True)
    safe = owner.clamp(max=counts.shape[0] - 1)
    return number < counts.sum(), owner, number - (ends[safe] - counts[safe])
