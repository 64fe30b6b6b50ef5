"""The edges of a graph in the two orders in which convolutions take them, in JAX.

In: an edge index, traced or not. Out: a pytree with the arrays of `runtime.topology`: edges sorted
by sender and by receiver, and tasks. Where values are known, indices out of range are refused.
Where they are not, or where the caller says so, an edge with an index out of range is no edge: it
adds nothing, and gradients to its values are zero. So graphs can be padded to one shape, and no
access is ever out of bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tvm_equi.algebra.convolution import NODE_ROWS, NodeRows
from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from tvm_equi.jax.calls import ORDER_FIELDS

EDGES_PER_TASK = 512
MAX_TASKS = 32
EDGES_PER_NODE = 4
"""As for torch (`runtime.topology`), so that sums have the same order there and here."""


class Topology:
    """The edges of a graph, sorted; a pytree, to be made once for a list of neighbours.

    Args:
        edge_index: integers [2, edges], senders then receivers, in any order.
        num_nodes: the number of nodes, or (senders, receivers) where these are different sets; by
            default one more than the largest index, which must be known then.
        check_indices: whether indices out of range are refused: by default where they are known.
            Where they are not checked, edges with an index out of range are left out.

    Raises:
        ArgumentTypeError: an edge index that is no array of integers, or numbers of nodes that are
            none.
        ArgumentError: a wrong shape, a negative number of nodes, or none where it is needed.
        IndexRangeError: an index is negative, or not below the number of nodes.

    Example:
        >>> Topology(jnp.array([[0, 1, 2], [1, 1, 0]]))
        Topology(3 edges, 3 senders, 3 receivers)
    """

    def __init__(
        self,
        edge_index: Any,
        num_nodes: int | tuple[int, int] | None = None,
        check_indices: bool | None = None,
    ) -> None:
        is_known = not isinstance(edge_index, jax.core.Tracer)
        _check_edge_index(edge_index)
        if num_nodes is None:
            num_nodes = _guess(edge_index, is_known)
        counts = _node_counts(num_nodes)
        is_checked = is_known if check_indices is None else check_indices
        if is_checked:
            if not is_known:
                raise ArgumentError(
                    "Topology: check_indices: expected known indices to check, got traced ones; "
                    "make the topology outside jit, or leave check_indices out"
                )
            _check_range(edge_index, counts)
        if is_known:  # sorted now, also where a function that is traced makes it
            with jax.ensure_compile_time_eval():
                arrays, is_edge = _sorted(jnp.asarray(edge_index), counts)
        else:
            arrays, is_edge = _sorted(edge_index, counts)
        self._arrays: tuple[Any, ...] = arrays if is_checked else (*arrays, is_edge)

    def arrays(self) -> tuple[Any, ...]:
        """What kernels need: the order by sender, that by receiver, and which edges are ones."""
        return self._arrays

    def order(self, rows: NodeRows) -> tuple[Any, ...]:
        """Edges, nodes, others, pointers and tasks of an order; see `runtime.topology.Order`.

        Args:
            rows: by which edges are sorted.
        """
        first = NODE_ROWS.index(rows) * ORDER_FIELDS
        return self._arrays[first : first + ORDER_FIELDS]

    @property
    def num_edges(self) -> int:
        """Edges, those left out included."""
        return int(self._arrays[0].shape[0])

    @property
    def num_senders(self) -> int:
        """Nodes that edges start from."""
        return int(self.order("sender")[3].shape[0]) - 1

    @property
    def num_receivers(self) -> int:
        """Nodes that edges end at."""
        return int(self.order("receiver")[3].shape[0]) - 1

    def __repr__(self) -> str:
        """The numbers of edges and nodes."""
        return (
            f"Topology({self.num_edges} edges, {self.num_senders} senders, "
            f"{self.num_receivers} receivers)"
        )


def _flatten(topology: Topology) -> tuple[tuple[Any, ...], None]:
    return topology.arrays(), None


def _unflatten(_: None, arrays: Sequence[Any]) -> Topology:
    topology = Topology.__new__(Topology)
    topology._arrays = tuple(arrays)
    return topology


jax.tree_util.register_pytree_node(Topology, _flatten, _unflatten)


def _check_edge_index(edge_index: Any) -> None:
    """Refuses anything but [2, edges] integers.

    Raises:
        ArgumentTypeError: no array of integers.
        ArgumentError: a wrong shape.
    """
    if not hasattr(edge_index, "shape") or not hasattr(edge_index, "dtype"):
        raise ArgumentTypeError(
            f"Topology: edge_index: expected an array, got {type(edge_index).__name__}"
        )
    if str(edge_index.dtype) not in ("int32", "int64"):
        raise ArgumentTypeError(
            f"Topology: edge_index: expected int64 or int32, got {edge_index.dtype}"
        )
    if len(edge_index.shape) != 2 or edge_index.shape[0] != 2:
        raise ArgumentError(
            f"Topology: edge_index: expected shape [2, edges], got {list(edge_index.shape)}"
        )


def _guess(edge_index: Any, is_known: bool) -> int:
    """One more than the largest index.

    Raises:
        ArgumentError: indices are traced.
    """
    if not is_known:
        raise ArgumentError(
            "Topology: num_nodes: expected a number where indices are traced, got None"
        )
    return int(np.max(edge_index)) + 1 if edge_index.shape[1] else 0


def _node_counts(num_nodes: Any) -> tuple[int, int]:
    """(senders, receivers).

    Raises:
        ArgumentTypeError: neither a number nor two.
        ArgumentError: a negative number.
    """
    counts = num_nodes if isinstance(num_nodes, tuple) else (num_nodes, num_nodes)
    is_count = [isinstance(n, int | np.integer) and not isinstance(n, bool) for n in counts]
    if len(counts) != 2 or not all(is_count):
        raise ArgumentTypeError(
            f"Topology: num_nodes: expected a number, or (senders, receivers), got {num_nodes!r}"
        )
    if min(counts) < 0:
        raise ArgumentError(f"Topology: num_nodes: expected 0 or more, got {num_nodes}")
    return int(counts[0]), int(counts[1])


def _check_range(edge_index: Any, counts: tuple[int, int]) -> None:
    """Refuses indices out of range.

    Raises:
        IndexRangeError: with the range.
    """
    if not edge_index.shape[1]:
        return
    rows = zip(("senders (row 0)", "receivers (row 1)"), counts, strict=True)
    for index, (what, count) in zip(np.asarray(edge_index), rows, strict=True):
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= count:
            raise IndexRangeError(
                f"Topology: edge_index: expected {what} from 0 to {count - 1}, got {low} to {high}"
            )


def num_tasks(num_edges: int) -> int:
    """Tasks that the edges are split into.

    Args:
        num_edges: their number.
    """
    return min(MAX_TASKS, 2 * (1 + num_edges // EDGES_PER_TASK))


def _sorted_edges(edge_index: Any, counts: tuple[int, int]) -> tuple[tuple[Any, ...], Any]:
    """The arrays of both orders, and which edges are ones."""
    limits = jnp.asarray(counts, edge_index.dtype)[:, None]
    is_edge = ((edge_index >= 0) & (edge_index < limits)).all(0)
    arrays: list[Any] = []
    for side in range(2):
        arrays += _order(edge_index[side], edge_index[1 - side], is_edge, counts[side])
    return tuple(arrays), is_edge


_sorted: Any = jax.jit(_sorted_edges, static_argnums=1)


def _order(keys: Any, ends: Any, is_edge: Any, num_nodes: int) -> list[Any]:
    """The edges sorted by a node; those that are none come last, and no pointer reaches them."""
    dtype = jax.dtypes.canonicalize_dtype(jnp.int64)
    keys = jnp.where(is_edge, keys, num_nodes).astype(dtype)
    edges = jnp.argsort(keys, stable=True).astype(dtype)
    nodes, others = keys[edges], ends[edges].astype(dtype)
    pointers = jnp.searchsorted(nodes, jnp.arange(num_nodes + 1, dtype=dtype)).astype(dtype)
    return [edges, nodes, others, pointers, _tasks(pointers, nodes, num_tasks(keys.shape[0]))]


def _tasks(pointers: Any, nodes: Any, count: int) -> Any:
    """Tasks of about as much work each; see `runtime.topology`."""
    num_edges, num_nodes = nodes.shape[0], pointers.shape[0] - 1
    dtype = nodes.dtype
    if not num_edges or not num_nodes:
        bounds = jnp.zeros(count + 1, dtype)
        return jnp.stack([bounds, bounds.at[-1].set(num_nodes)])
    cost = jnp.arange(num_edges, dtype=dtype) + EDGES_PER_NODE * nodes
    total = num_edges + EDGES_PER_NODE * num_nodes
    even = np.arange(count + 1, dtype=np.int64) * total // count
    bounds = jnp.searchsorted(cost, jnp.asarray(even, dtype)).astype(dtype)
    bounds = bounds.at[-1].set(num_edges)
    owner = nodes[jnp.minimum(bounds[:-1], num_edges - 1)]
    first = pointers[jnp.minimum(owner, num_nodes)]
    last = jnp.where(owner < num_nodes, pointers[jnp.minimum(owner + 1, num_nodes)], num_edges)
    nearest = jnp.where(bounds[:-1] - first <= last - bounds[:-1], first, last)
    starts_node = jnp.where(last - first <= num_edges // count, nearest, bounds[:-1])
    bounds = jnp.minimum(bounds.at[:-1].set(starts_node), pointers[-1])
    starts = jnp.searchsorted(pointers[:num_nodes], bounds).astype(dtype)
    starts = starts.at[0].set(0).at[-1].set(num_nodes)
    return jnp.stack([bounds, starts])
