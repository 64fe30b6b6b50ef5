"""The edges of a graph in the two orders in which convolutions take them.

In: an edge index. Out: for senders and for receivers, edges sorted by node, pointers to each node's
edges, and tasks of about as many edges each. Built once for a list of neighbours, and used by every
layer and every derivative. Refused: indices out of range, so that no kernel reads or writes out of
bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from tvm_equi.algebra.convolution import NODE_ROWS, NodeRows
from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from tvm_equi.runtime.device_order import DeviceOrder, device_order, num_nodes_of, order_sizes
from tvm_equi.runtime.devices import DEVICE_TYPES, checks_indices, is_on_gpu
from tvm_equi.runtime.registration import register

EDGES_PER_TASK = 512
MAX_TASKS = 32
"""Edges are split into tasks of at least so many edges, and at most so many tasks: a function of
the number of edges alone, so that a result does not depend on the number of threads. More tasks
would balance more threads, and need as many partial sums of each shared gradient."""


EDGES_PER_NODE = 4
"""What storing a node's sums costs, in edges, for the balance of tasks: 36 kB against 9 kB read."""


class Order(NamedTuple):
    """Edges sorted by a node, all int64.

    Args:
        edges: [edges], their numbers; equal nodes in the order of the edges.
        nodes: [edges], the node that each is sorted by.
        others: [edges], the node at the other end of each.
        pointers: [nodes + 1], where each node's edges start.
        tasks: [2, tasks + 1], the first edge of each task, and the first node that starts in it.
    """

    edges: torch.Tensor
    nodes: torch.Tensor
    others: torch.Tensor
    pointers: torch.Tensor
    tasks: torch.Tensor


class Topology:
    """The edges of a graph, checked, and sorted when they are first needed.

    Args:
        edge_index: int64 or int32 [2, edges], senders then receivers, in any order.
        num_nodes: the number of nodes, or (senders, receivers) where these are different sets; by
            default one more than the largest index, for which a GPU is waited for.
        check_indices: whether indices are checked against the numbers of nodes; by default on the
            CPU only, since a GPU would be waited for. Edges of a GPU whose receiver, or sender in a
            gradient, is out of range count for nothing, gradients to their own values hold
            anything, and a sender out of range reads another node: no access is out of bounds.

    Raises:
        ArgumentTypeError: an edge index that is no tensor of integers, or numbers of nodes that are
            none.
        ArgumentError: a wrong shape or device, or a negative number of nodes.
        IndexRangeError: an index is negative, or not below the number of nodes.

    Example:
        >>> Topology(torch.tensor([[0, 1, 2], [1, 1, 0]]))
        Topology(3 edges, 3 senders, 3 receivers)
    """

    def __init__(
        self,
        edge_index: torch.Tensor,
        num_nodes: int | tuple[int, int] | None = None,
        check_indices: bool | None = None,
    ) -> None:
        _check_edge_index(edge_index)
        # A copy: orders are made later, and must all be of the same edges.
        self.edge_index = edge_index.to(torch.int64, copy=True)
        self.num_edges = edge_index.shape[1]
        if num_nodes is None:
            num_nodes = int(edge_index.max()) + 1 if self.num_edges else 0
        self.num_senders, self.num_receivers = _node_counts(num_nodes)
        self.device = edge_index.device
        is_checked = checks_indices(edge_index) if check_indices is None else check_indices
        if is_checked and not torch.compiler.is_compiling() and type(edge_index) is torch.Tensor:
            _check_range(self.edge_index, self.num_senders, self.num_receivers)
        self._orders: dict[NodeRows, Order | DeviceOrder] = {}

    @classmethod
    def from_tensors(cls, tensors: Sequence[torch.Tensor]) -> Topology:
        """The topology whose `tensors()` these are."""
        size = len(tensors) // len(NODE_ROWS)
        orders = {
            rows: _as_order(tensors[number * size : (number + 1) * size])
            for number, rows in enumerate(NODE_ROWS)
        }
        topology = cls.__new__(cls)
        topology.num_edges, topology.device = tensors[0].shape[0], tensors[0].device
        topology.num_senders, topology.num_receivers = (
            order.pointers.shape[0] - 1 if isinstance(order, Order) else num_nodes_of(order)
            for order in orders.values()
        )
        topology._orders = orders
        return topology

    def count(self, rows: NodeRows) -> int:
        """The number of senders or receivers."""
        return self.num_senders if rows == "sender" else self.num_receivers

    def order(self, rows: NodeRows) -> Order | DeviceOrder:
        """The edges sorted by sender or by receiver, in the form that the device's kernels take."""
        if rows not in self._orders:
            side = NODE_ROWS.index(rows)
            found = torch.ops.tvm_equi.sort_edges(
                self.edge_index, side, self.num_senders, self.num_receivers
            )
            self._orders[rows] = _as_order(found)
        return self._orders[rows]

    def tensors(self) -> list[torch.Tensor]:
        """Everything that kernels need, as the torch operator takes it."""
        return [tensor for rows in NODE_ROWS for tensor in self.order(rows)]

    def __repr__(self) -> str:
        """The numbers of edges and nodes."""
        return (
            f"Topology({self.num_edges} edges, {self.num_senders} senders, "
            f"{self.num_receivers} receivers)"
        )


def _as_order(tensors: Sequence[torch.Tensor]) -> Order | DeviceOrder:
    """The order of a device's form, of which each has arrays of its own number."""
    return Order(*tensors) if len(tensors) == len(Order._fields) else DeviceOrder(*tensors)


def _check_edge_index(edge_index: Any) -> None:
    """Refuses anything but [2, edges] integers.

    Raises:
        ArgumentTypeError: no tensor of integers.
        ArgumentError: a wrong shape or device.
    """
    if not isinstance(edge_index, torch.Tensor):
        raise ArgumentTypeError(
            f"Topology: edge_index: expected a tensor, got {type(edge_index).__name__}"
        )
    if edge_index.dtype not in (torch.int64, torch.int32):
        raise ArgumentTypeError(
            f"Topology: edge_index: expected int64 or int32, got {edge_index.dtype}"
        )
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ArgumentError(
            f"Topology: edge_index: expected shape [2, edges], got {list(edge_index.shape)}"
        )
    if edge_index.device.type not in DEVICE_TYPES:
        raise ArgumentError(
            f"Topology: edge_index: expected a tensor on {' or '.join(DEVICE_TYPES)}, "
            f"got one on {edge_index.device}"
        )


def _node_counts(num_nodes: Any) -> tuple[int, int]:
    """(senders, receivers).

    Raises:
        ArgumentTypeError: neither a number nor two.
        ArgumentError: a negative number.
    """
    counts = num_nodes if isinstance(num_nodes, tuple) else (num_nodes, num_nodes)
    is_count = [isinstance(n, (int, torch.SymInt)) and not isinstance(n, bool) for n in counts]
    if len(counts) != 2 or not all(is_count):
        raise ArgumentTypeError(
            f"Topology: num_nodes: expected a number, or (senders, receivers), got {num_nodes!r}"
        )
    if any(count < 0 for count in counts):  # not `min`, which would compare sizes in captures
        raise ArgumentError(f"Topology: num_nodes: expected 0 or more, got {num_nodes}")
    return counts


def _check_range(edge_index: torch.Tensor, num_senders: int, num_receivers: int) -> None:
    """Refuses indices out of range.

    Raises:
        IndexRangeError: with the range.
    """
    if not edge_index.numel():
        return
    rows = (("senders (row 0)", num_senders), ("receivers (row 1)", num_receivers))
    for index, (what, count) in zip(edge_index, rows, strict=True):
        low, high = (int(bound) for bound in torch.aminmax(index))
        if low < 0 or high >= count:
            raise IndexRangeError(
                f"Topology: edge_index: expected {what} from 0 to {count - 1}, got {low} to {high}"
            )


def num_tasks(num_edges: int) -> int:
    """Tasks that the edges are split into: an even number, to suit two threads and more."""
    return torch.sym_min(MAX_TASKS, 2 * (1 + num_edges // EDGES_PER_TASK))  # type: ignore[no-any-return]


def _sort_edges(
    edge_index: torch.Tensor, side: int, num_senders: int, num_receivers: int
) -> list[torch.Tensor]:
    """The order by senders (side 0) or receivers (side 1).

    In compiled code this is where indices are checked.
    """
    if is_on_gpu(edge_index):
        num_ends = (num_senders, num_receivers)
        return list(device_order(edge_index, side, num_ends[side], num_ends[1 - side]))
    _check_range(edge_index, num_senders, num_receivers)
    num_nodes = (num_senders, num_receivers)[side]
    keys = edge_index[side]
    num_edges = keys.shape[0]
    nodes, edges = torch.sort(keys, stable=True)
    others = edge_index[1 - side][edges]
    counts = torch.bincount(keys, minlength=num_nodes)
    pointers = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return [edges, nodes, others, pointers, _tasks(pointers, nodes, num_tasks(num_edges))]


def _tasks(pointers: torch.Tensor, nodes: torch.Tensor, count: int) -> torch.Tensor:
    """Tasks of about as much work each.

    A task starts where a node does, unless the node has more edges than a task should have: such a
    node is shared out.
    """
    num_edges, num_nodes = nodes.shape[0], pointers.shape[0] - 1
    cost = torch.arange(num_edges, dtype=torch.int64) + EDGES_PER_NODE * nodes
    even = torch.arange(count + 1, dtype=torch.int64) * (num_edges + EDGES_PER_NODE * num_nodes)
    bounds = torch.searchsorted(cost, even // count)
    bounds[-1] = num_edges
    if num_edges:
        owner = nodes[bounds[:-1].clamp(max=num_edges - 1)]
        first, last = pointers[owner], pointers[owner + 1]
        nearest = torch.where(bounds[:-1] - first <= last - bounds[:-1], first, last)
        is_small = last - first <= num_edges // count
        bounds[:-1] = torch.where(is_small, nearest.clamp(max=num_edges), bounds[:-1])
    starts = torch.searchsorted(pointers[:num_nodes].contiguous(), bounds)
    starts[0], starts[-1] = 0, num_nodes
    return torch.stack([bounds, starts])


def _sort_edges_fake(
    edge_index: torch.Tensor, side: int, num_senders: int, num_receivers: int
) -> list[torch.Tensor]:
    num_nodes = (num_senders, num_receivers)[side]
    num_edges = edge_index.shape[1]
    if is_on_gpu(edge_index):
        return [edge_index.new_empty(size) for size in order_sizes(num_edges, num_nodes)]
    sizes = ((num_edges,), (num_edges,), (num_edges,), (num_nodes + 1,))
    found = [edge_index.new_empty(size) for size in sizes]
    return [*found, edge_index.new_empty((2, num_tasks(num_edges) + 1))]


register(
    "sort_edges(Tensor edge_index, int side, SymInt num_senders, SymInt num_receivers) -> Tensor[]",
    _sort_edges,
    _sort_edges_fake,
)
