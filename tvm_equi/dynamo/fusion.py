"""Makes convolutions of tensor products between a gather and a sum.

In: a graph that dynamo made. Out: the same graph, in which edges of one kind are sorted once, and
products over them and their sums are one convolution each, so that no value is stored for every
edge and path. Left as it is, with a reason: a product whose operand is not gathered, whose values
have another reader, or whose sum starts from anything but zeros.

    rows = x[senders]                          edges = edges_of(senders, receivers, n, n)
    messages = product(rows, y, w)       ->    total = convolution(edges, x, y, w)
    total = zeros.index_add(0, receivers, messages)
"""

from __future__ import annotations

import operator
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from tvm_equi.dynamo.convolution import Convolution, edges_of
from tvm_equi.dynamo.patterns import (
    INDEX_DTYPES,
    Gather,
    Product,
    Sum,
    extent,
    gather_of,
    identity,
    is_in_place,
    is_zeros,
    name_of,
    product_of,
    sum_of,
    value_of,
)
from tvm_equi.runtime.devices import is_on_gpu
from tvm_equi.runtime.plans import resolve

READS = ("eq", "getitem", "index_select", "ne", "not_", "size")
"""Functions and methods that do nothing but give a value."""


@dataclass(slots=True)
class Fusion:
    """What fusing did to a graph.

    Args:
        fused: a line for each convolution.
        left: why products between a gather and a sum, or before a sum, are left.
        num_sorted: kinds of edges.
    """

    fused: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    num_sorted: int = 0


def fuse(module: fx.GraphModule) -> Fusion:
    """Fuses what can be fused, in place.

    Args:
        module: a graph that dynamo made.
    """
    result = Fusion()
    _remove_unread(module.graph)  # sizes that were only compared
    sorted_edges: dict[Hashable, fx.Node] = {}
    for node in list(module.graph.nodes):
        found = sum_of(node)
        if found is None:
            continue
        product = product_of(found.values)
        if product is None:
            if _is_product_behind(found.values):
                result.left.append(
                    "a tensor product is changed before it is summed over edges; "
                    "change its weights or the sum instead"
                )
            continue
        gather = gather_of(product.x)
        reason = _why_left(module.graph, node, found, product, gather)
        if reason or gather is None:
            result.left.append(reason)
            continue
        weights = _weights(module.graph, node, product)
        _replace(module, node, found, product, gather, weights, sorted_edges)
        result.fused.append(_describe(product, weights))
    result.num_sorted = len(sorted_edges)
    _remove_unread(module.graph)
    module.graph.lint()
    module.recompile()
    return result


def _why_left(
    graph: fx.Graph, node: fx.Node, found: Sum, product: Product, gather: Gather | None
) -> str:
    """Why a product before a sum is left; "" where it can be fused."""
    if gather is None:
        return "a tensor product summed over edges does not take x[senders] as its first operand"
    if not is_zeros(found.base) or not _is_fresh(graph, node, found.base):
        return "a sum of tensor products over edges starts from values that are not fresh zeros"
    known = {node, found.base, *found.views, *product.nodes}
    known |= set(_sizes(product, known))
    readers = {user for inner in product.nodes for user in inner.users} - known
    if not all(_counts_rows(reader) for reader in readers):
        return "a tensor product over edges is read by more than its sum"
    senders, receivers = value_of(gather.index), value_of(found.index)
    if senders is None or receivers is None or senders.dtype != receivers.dtype:
        return "senders and receivers have different dtypes"
    if _is_changed_between(graph, product.x, node):
        return "values are changed in place between a gather and the sum of its products"
    return ""


def _is_changed_between(graph: fx.Graph, first: fx.Node, last: fx.Node) -> bool:
    """Whether anything is changed in place between two nodes, so that reads can not be moved."""
    order = list(graph.nodes)
    return any(map(is_in_place, order[order.index(first) : order.index(last)]))


def _is_fresh(graph: fx.Graph, node: fx.Node, base: fx.Node) -> bool:
    """Whether a sum is the first to read what it adds to, and the last where it is a new tensor."""
    others = set(base.users) - {node}
    return not others or (is_in_place(node) and others == _later(graph, node, base))


def _later(graph: fx.Graph, node: fx.Node, base: fx.Node) -> set[fx.Node]:
    """The readers of a value after a node."""
    order = {other: number for number, other in enumerate(graph.nodes)}
    return {user for user in base.users if order[user] > order[node]}


def _counts_rows(node: fx.Node) -> bool:
    """Whether a node is `value.size(0)`."""
    return node.op == "call_method" and node.target == "size" and node.args[1:] == (0,)


def _sizes(product: Product, known: set[fx.Node]) -> list[fx.Node]:
    """The nodes that ask for all sizes of a product, for its sum alone."""
    return [
        user
        for inner in product.nodes
        for user in inner.users
        if name_of(user) == "size" and set(user.users) <= known
    ]


def _is_product_behind(node: fx.Node) -> bool:
    """Whether values to be summed are a product times or plus something."""
    if name_of(node) not in ("mul", "truediv", "div", "add", "sub", "to", "float", "double"):
        return False
    return any(product_of(argument) is not None for argument in node.all_input_nodes)


def _replace(
    module: fx.GraphModule,
    node: fx.Node,
    found: Sum,
    product: Product,
    gather: Gather,
    weights: _Weights,
    sorted_edges: dict[Hashable, fx.Node],
) -> None:
    """Puts a convolution in the place of a sum, and removes what nobody reads any more."""
    graph = module.graph
    with graph.inserting_before(node):
        edges = _edges(graph, node, gather, found, sorted_edges)
        name = f"tvm_equi_convolution_{sum(1 for _ in module.named_children())}"
        module.add_submodule(name, Convolution(product.plan, weights.num_hidden))
        new = graph.call_module(name, (edges, gather.rows, product.y, *weights.nodes))
    new.meta = dict(node.meta)
    sizes = _sizes(product, {node, found.base, *found.views})
    chain = [*found.views, found.base, *sizes, *product.nodes, *weights.replaced, product.x]
    if is_in_place(node):
        for user in _later(graph, node, found.base):
            user.replace_input_with(found.base, new)
    node.replace_all_uses_with(new)
    graph.erase_node(node)
    for inner in product.nodes:
        for reader in set(filter(_counts_rows, inner.users)) - set(sizes):
            reader.replace_input_with(inner, product.y)  # which has as many rows
    _erase_unread(graph, chain)


@dataclass(frozen=True, slots=True)
class _Weights:
    """What a convolution takes as weights, and the nodes that it takes the place of."""

    nodes: tuple[fx.Node, ...]
    num_hidden: int
    replaced: tuple[fx.Node, ...]


def _weights(graph: fx.Graph, node: fx.Node, product: Product) -> _Weights:
    """Weights as they are, or what multiplies to them where that is all that they are for."""
    w = product.w
    if w is None:
        return _Weights((), 0, ())
    plain = _Weights((w,), 0, ())
    is_product = w.target in (operator.matmul, torch.matmul, torch.mm) or (
        w.op == "call_method" and w.target in ("matmul", "mm")
    )
    if not is_product or len(w.args) != 2 or w.kwargs or set(w.users) != {product.nodes[-1]}:
        return plain
    if resolve(product.plan).operand("w").rows != "row" or _is_changed_between(graph, w, node):
        return plain
    radial, last = (value_of(argument) for argument in w.args)
    if radial is None or last is None or (radial.dim(), last.dim()) != (2, 2):
        return plain
    num_hidden = extent(last.shape[0])
    if is_on_gpu(last) or not isinstance(num_hidden, int) or num_hidden < 1:
        return plain
    return _Weights(tuple(w.all_input_nodes), num_hidden, (w,))


def _edges(
    graph: fx.Graph,
    node: fx.Node,
    gather: Gather,
    found: Sum,
    sorted_edges: dict[Hashable, fx.Node],
) -> fx.Node:
    """The node that sorts the edges, made where there is none yet."""
    rows, base = value_of(gather.rows), value_of(found.base)
    counts = tuple(str(extent(value.shape[0])) for value in (rows, base) if value is not None)
    changes = _changes_of_indices(graph, node)
    key = (identity(gather.index), identity(found.index), counts, changes)
    if key not in sorted_edges:
        num_senders = graph.call_method("size", (gather.rows, 0))
        sorted_edges[key] = graph.call_function(
            edges_of, (gather.index, found.index, num_senders, _num_rows(graph, found))
        )
    return sorted_edges[key]


def _changes_of_indices(graph: fx.Graph, last: fx.Node) -> int:
    """The number of times that integers are changed in place before a node."""
    order = list(graph.nodes)
    changed = [n.args[0] for n in order[: order.index(last)] if is_in_place(n) and n.args]
    values = [value_of(node) for node in changed]
    return sum(value is not None and value.dtype in INDEX_DTYPES for value in values)


def _num_rows(graph: fx.Graph, found: Sum) -> Any:
    """The number of receivers, from the arguments of the zeros where they say it."""
    arguments = list(found.base.args[found.base.op == "call_method" :])
    shape = arguments[0] if arguments else found.base.kwargs.get("size")
    size = shape[0] if isinstance(shape, (list, tuple)) and shape else shape
    kind = size.meta.get("example_value") if isinstance(size, fx.Node) else size
    if name_of(found.base) != "zeros_like" and isinstance(kind, (int, torch.SymInt)):
        return size
    return graph.call_method("size", (found.base, 0))


def _remove_unread(graph: fx.Graph) -> None:
    """Removes reads that nobody wants; other nodes may do something besides their value."""

    def is_kept(node: fx.Node) -> bool:
        return name_of(node) not in READS

    graph.eliminate_dead_code(is_impure_node=is_kept)


def _erase_unread(graph: fx.Graph, nodes: list[fx.Node]) -> None:
    """Removes nodes that nobody reads, as long as there are some."""
    pending = [node for node in dict.fromkeys(nodes) if node.op != "placeholder"]
    while True:
        unread = [node for node in pending if not node.users]
        if not unread:
            return
        for node in unread:
            graph.erase_node(node)
            pending.remove(node)


def _describe(product: Product, weights: _Weights) -> str:
    """A convolution in words."""
    kernel = resolve(product.plan)
    paths = sum(len(form.paths) for form in kernel.contractions)
    text = f"{paths} paths, {kernel.operand('x').dim} -> {kernel.operand('z').dim} columns"
    return f"{text}, weights from {weights.num_hidden} features" if weights.num_hidden else text
