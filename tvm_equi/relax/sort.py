"""TensorIR of `sort_edges`: a stable counting sort by node, pointers and tasks.

In: which side edges are sorted by. Out: a PrimFunc that gives what `runtime.topology` gives on the
CPU. Refused, when it runs: an index out of range; nothing is read or written by it.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.relax.indices import body, finished, function, match, refuse
from tvm_equi.runtime.topology import EDGES_PER_NODE, Order

SEARCH_STEPS = 63
"""Halvings that find a place among any number of edges."""

ENDS = ("senders (row 0)", "receivers (row 1)")


def sort_function(side: int) -> Any:
    """A function of (edge_index, num_senders, num_receivers, then the order's five tensors).

    Args:
        side: 0 to sort by senders, 1 by receivers.
    """
    with function(f"sort_edges_{side}") as builder:
        handles = {"edge_index": T.arg("edge_index", T.handle())}
        counts = (T.arg("num_senders", T.int64()), T.arg("num_receivers", T.int64()))
        for name in Order._fields:
            handles[name] = T.arg(name, T.handle())
        num_edges, num_pointers, num_bounds = (
            tirx.Var(name, "int64") for name in ("num_edges", "num_pointers", "num_bounds")
        )
        shapes: dict[str, tuple[Any, ...]] = {
            "edge_index": (2, num_edges),
            "edges": (num_edges,),
            "nodes": (num_edges,),
            "others": (num_edges,),
            "pointers": (num_pointers,),
            "tasks": (2, num_bounds),
        }
        buffers = {name: match(handles[name], shape, "int64") for name, shape in shapes.items()}
        with body():
            _check(buffers["edge_index"], num_edges, counts)
            _sort(buffers, side, num_edges, num_pointers - 1)
            _split(buffers, num_edges, num_pointers - 1, num_bounds - 1)
    return finished(builder)


def _check(edge_index: Any, num_edges: Any, counts: tuple[Any, Any]) -> None:
    """Refuses indices out of range."""
    for row, (end, count) in enumerate(zip(ENDS, counts, strict=True)):
        with T.serial(0, num_edges) as edge:
            index = edge_index[row, edge]
            with T.If(tirx.any(index < 0, index >= count)), T.Then():
                refuse(f"edge_index: {end}", count, index)


def _sort(buffers: dict[str, Any], side: int, num_edges: Any, num_nodes: Any) -> None:
    """Counts, adds up, and puts each edge where its node's edges are; pointers move by one."""
    keys, pointers = buffers["edge_index"], buffers["pointers"]
    zero = tirx.const(0, "int64")
    with T.serial(0, num_nodes + 1) as node:
        T.buffer_store(pointers, zero, [node])
    with T.serial(0, num_edges) as edge:
        node = keys[side, edge]
        T.buffer_store(pointers, pointers[node + 1] + 1, [node + 1])
    with T.serial(0, num_nodes) as node:
        T.buffer_store(pointers, pointers[node] + pointers[node + 1], [node + 1])
    # pointers[node] counts up as the node's edges are placed, and so ends where the next one's was.
    with T.serial(0, num_edges) as edge:
        node = keys[side, edge]
        place = pointers[node]
        T.buffer_store(buffers["edges"], edge, [place])
        T.buffer_store(buffers["nodes"], node, [place])
        T.buffer_store(buffers["others"], keys[1 - side, edge], [place])
        T.buffer_store(pointers, place + 1, [node])
    with T.serial(0, num_nodes) as reverse:
        node = num_nodes - reverse
        T.buffer_store(pointers, pointers[node - 1], [node])
    T.buffer_store(pointers, zero, [0])


def _split(buffers: dict[str, Any], num_edges: Any, num_nodes: Any, count: Any) -> None:
    """Tasks of about as much work each; see `runtime.topology`."""
    nodes, pointers, tasks = buffers["nodes"], buffers["pointers"], buffers["tasks"]
    total = num_edges + EDGES_PER_NODE * num_nodes

    def cost(edge: Any) -> Any:
        return edge + EDGES_PER_NODE * nodes[edge]

    with T.serial(0, count) as task:
        bound = _search(cost, num_edges, tirx.floordiv(task * total, count))
        T.buffer_store(tasks, bound, [0, task])
        with T.If(num_edges > 0), T.Then():
            edge = tasks[0, task]
            owner = nodes[tirx.min(edge, num_edges - 1)]
            first, last = pointers[owner], pointers[owner + 1]
            nearest = tirx.if_then_else(edge - first <= last - edge, first, last)
            is_small = last - first <= tirx.floordiv(num_edges, count)
            T.buffer_store(tasks, tirx.if_then_else(is_small, nearest, edge), [0, task])
    T.buffer_store(tasks, num_edges, [0, count])
    with T.serial(0, count + 1) as task:
        start = _search(lambda node: pointers[node], num_nodes, tasks[0, task])
        T.buffer_store(tasks, start, [1, task])
    T.buffer_store(tasks, tirx.const(0, "int64"), [1, 0])
    T.buffer_store(tasks, num_nodes, [1, count])


def _search(value: Any, count: Any, wanted: Any) -> Any:
    """The first place of `count` whose value is not below what is wanted; `count` for none."""
    low = T.alloc_buffer((1,), "int64", scope="local")
    high = T.alloc_buffer((1,), "int64", scope="local")
    T.buffer_store(low, tirx.const(0, "int64"), [0])
    T.buffer_store(high, count, [0])
    with T.serial(0, SEARCH_STEPS), T.If(low[0] < high[0]), T.Then():
        middle = tirx.floordiv(low[0] + high[0], 2)
        with T.If(value(middle) < wanted):
            with T.Then():
                T.buffer_store(low, middle + 1, [0])
            with T.Else():
                T.buffer_store(high, middle, [0])
    return low[0]
