"""Convolutions put into the graph of a forward, in the place of gather, product and sum.

In: a graph and a match. Out: the graph with one call in place of the match, and nothing left of
the values of edges. Refused, with the reason in words: matches whose product is read by something
else too.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable

from torch import fx

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.edges import convolve_edges
from tvm_equi.models.pattern import Match
from tvm_equi.models.sums import Size, zeros

_MADE = "tvm_equi_sum"
"""Marks a sum that was made here, which nothing else but its readers know."""


def rewrite(graph: fx.Graph, match: Match) -> None:
    """Puts one call in the place of a match.

    Args:
        graph: is changed.
        match: in it.

    Raises:
        UnsupportedError: something else reads the product, or what it reads may change before the
            sum; the graph is not to be used then.
    """
    total = match.total
    _check_order(graph, match)
    with graph.inserting_before(total.node):
        num_rows, added = _rows(graph, match)
        product = graph.get_attr(str(match.product.target))
        value = graph.call_function(
            convolve_edges,
            (
                product,
                match.x,
                match.senders,
                match.edge_attr,
                match.weight,
                total.index,
                num_rows,
            ),
        )
        previous: fx.Node = match.product
        for step in match.steps:
            copied = graph.node_copy(step)
            copied.replace_input_with(previous, value)
            previous, value = step, copied
        if added is not None:
            value = graph.call_function(operator.add, (added, value))
    value.meta[_MADE] = True
    _replace(graph, match, value)
    _erase(graph, match)


def _check_order(graph: fx.Graph, match: Match) -> None:
    """Refuses changes in place between product and sum: the convolution runs where the sum does.

    Raises:
        UnsupportedError: there is one.
    """
    nodes = list(graph.nodes)
    between = nodes[nodes.index(match.product) : nodes.index(match.total.node)]
    for node in between:
        target = str(node.target)
        if node.op == "call_method" and target.endswith("_") and not target.endswith("__"):
            raise UnsupportedError(f"{target} changes a tensor between a product and its sum")


def _rows(graph: fx.Graph, match: Match) -> tuple[Size, fx.Node | None]:
    """The number of receivers, and what the sum is added to."""
    base = match.total.base
    if base is None:
        return match.total.num_rows, None
    fresh = zeros(base)
    if fresh is not None and fresh.kind == "number":
        return fresh.source, None
    source: fx.Node | int = base if fresh is None else fresh.source
    shape = source
    if fresh is None or fresh.kind == "tensor":
        shape = graph.call_function(getattr, (source, "shape"))
    return graph.call_function(operator.getitem, (shape, 0)), base if fresh is None else None


def _replace(graph: fx.Graph, match: Match, value: fx.Node) -> None:
    """Lets the readers of the sum read the new value; of a base that was changed, later ones too.

    Raises:
        UnsupportedError: an argument of the forward, or a view, is changed in place.
    """
    total = match.total
    total.node.replace_all_uses_with(value)
    if not total.in_place or total.base is None:
        return
    is_own = zeros(total.base) is not None or _MADE in total.base.meta
    order = {node: number for number, node in enumerate(graph.nodes)}
    earlier = [n for n in total.base.users if order[n] < order[total.node] and not _is_size(n)]
    if not is_own or [n for n in earlier if n is not value and value not in n.users]:
        raise UnsupportedError("its forward changes a tensor in place that others read")
    for reader in list(total.base.users):
        if order[reader] > order[total.node]:
            reader.replace_input_with(total.base, value)


def _is_size(node: fx.Node) -> bool:
    """Whether a node reads a tensor's shape only."""
    return node.target in (getattr, "size")


def _erase(graph: fx.Graph, match: Match) -> None:
    """Removes what nothing reads any more of the match.

    Raises:
        UnsupportedError: the product is still read.
    """
    doomed = {match.product, *match.steps, match.total.node, *match.product.all_input_nodes}
    doomed |= set(_behind([match.total.node]))
    for value in (match.product, *match.steps):
        doomed |= set(_shape_readers(value))
    kept = {match.x, match.senders, match.edge_attr, match.weight, match.total.index}
    for node in reversed(list(graph.nodes)):
        if node in doomed - kept and not node.users and node.op != "placeholder":
            graph.erase_node(node)
    if match.product in list(graph.nodes):
        others = sorted(
            str(user.target) for value in (match.product, *match.steps) for user in value.users
        )
        raise UnsupportedError(f"the product of each edge is also read by {', '.join(others)}")


def _behind(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    """What some nodes read, and what those read, two steps back: expanded indices and zeros."""
    first = [source for node in nodes for source in node.all_input_nodes]
    second = [source for node in first for source in node.all_input_nodes]
    return first + second


def _shape_readers(value: fx.Node) -> list[fx.Node]:
    """The nodes that read a value's shape and dtype, and sizes out of these."""
    first = list(value.users)
    return first + [user for node in first for user in node.users]
