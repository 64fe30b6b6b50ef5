"""Leave out paths and channels that add little: on request, since it changes the function.

    t = TensorProduct(x, y, w): 64x0e+64x1o        t = TensorProduct(x, y, w): 56x0e+40x1o
    z = Linear(t)                             ->   z = Linear(t)

Only whole paths and whole channels of whole irreps go, chosen by norms that rotations keep, so the
smaller model is exactly as equivariant. Without the single smallest entry of C(1,2,1), a tensor
product is 26 percent off: entries and components are never touched. In: a graph, values of its
parameters, a threshold. Out: a smaller graph, smaller parameters under their old names, and a
report. A path is left out if it adds less than `threshold` times what the largest path of its
operation adds; a channel, if that is so for it in every operation that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tvm_equi.errors import ArgumentError
from tvm_equi.graph.channels import Channels, channel_classes, product_inputs
from tvm_equi.graph.compact import Array, Values, compact
from tvm_equi.graph.cut import cut_channels
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.magnitude import Magnitudes, magnitudes, path_weights
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Convolution, Linear, TensorProduct
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.totals import Sizes, Total, total_cost
from tvm_equi.graph.types import ValueType, parse_irreps


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was left out.

    Args:
        node: the operation.
        what: a path or channels, in words.
        score: the largest relative size of what went.
    """

    node: str
    what: str
    score: float


@dataclass(frozen=True, slots=True)
class SlimReport:
    """What `slim` left out, and what that saves.

    Args:
        removed: paths, then channels.
        before: work of a call before.
        after: and now.
        num_before: numbers in all parameters before.
        num_after: and now.
    """

    removed: tuple[Removed, ...]
    before: Total
    after: Total
    num_before: int
    num_after: int

    def __str__(self) -> str:
        """A table."""
        rows = [("operation", "left out", "relative size")]
        rows += [(item.node, item.what, f"{item.score:.2g}") for item in self.removed]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        saved = [
            ("multiply-adds", self.before.multiply_adds, self.after.multiply_adds),
            ("bytes", self.before.num_bytes, self.after.num_bytes),
            ("parameters", self.num_before, self.num_after),
        ]
        for name, old, new in saved:
            share = 100 * (1 - new / old) if old else 0.0
            lines.append(f"{name}: {old:,} -> {new:,} ({share:.1f} % less)")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Slim:
    """How much to leave out.

    Args:
        threshold: relative size below which a path or channel goes, from 0 to 1.
        channels: whether channels go, too.
        multiple: channels are kept in multiples of this, where there are enough.
        sizes: rows that the saved work is counted for.

    Raises:
        ArgumentError: a threshold or multiple out of range.
    """

    threshold: float
    channels: bool = True
    multiple: int = 1
    sizes: Sizes = Sizes()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        if not 0 <= self.threshold < 1:
            raise ArgumentError(
                f"prune: threshold: expected 0 or more and below 1, got {self.threshold}"
            )
        if self.multiple < 1:
            raise ArgumentError(f"prune: multiple: expected 1 or more, got {self.multiple}")

    def __call__(
        self,
        graph: TensorProductGraph,
        parameters: Mapping[str, Array],
        data: Mapping[str, Any] | None = None,
    ) -> tuple[TensorProductGraph, Values, SlimReport]:
        """The smaller graph, its parameters, and what went.

        Args:
            graph: to make smaller.
            parameters: values by name.
            data: inputs by name, to measure sizes on; by default unit variance is assumed.

        Raises:
            ArgumentError: a parameter has no value.
        """
        for name in graph.parameters:
            if name not in parameters:
                raise ArgumentError(f"prune: parameters: expected a value of {name!r}, got none")
        flat = {name: np.asarray(value).reshape(-1) for name, value in parameters.items()}
        graph, values = compact(Prune()(graph), flat)
        start = graph, sum(map(len, values.values()))
        found = magnitudes(graph, values, data)
        graph, removed = _without_paths(graph, found, self.threshold)
        graph, values = compact(Prune()(graph), values)
        if self.channels:
            found = magnitudes(graph, values, data)
            kept, gone = _kept_channels(graph, found, self)
            graph, values = cut_channels(graph, values, kept)
            removed += gone
        report = SlimReport(
            tuple(removed),
            total_cost(start[0], self.sizes),
            total_cost(graph, self.sizes),
            start[1],
            sum(map(len, values.values())),
        )
        return graph, values, report


def _without_paths(
    graph: TensorProductGraph, found: Magnitudes, threshold: float
) -> tuple[TensorProductGraph, list[Removed]]:
    """The graph with coefficient 0 on paths that add little; `prune` removes those."""
    nodes, removed = [], []
    for node in graph.nodes:
        scores = [float(score.max(initial=0.0)) for score in _path_scores(found, node)]
        largest = max(scores, default=0.0)
        dead = {n for n, score in enumerate(scores) if score < threshold * largest or not score}
        if dead and largest:
            removed += [
                Removed(node.name, f"path {_path_text(node, n)}", scores[n] / largest)
                for n in sorted(dead)
            ]
            node = replace(node, operation=_silenced(node.operation, dead))
        nodes.append(node)
    return TensorProductGraph(tuple(nodes), graph.outputs), removed


def _path_scores(found: Magnitudes, node: Node) -> list[Array]:
    """What each path of an operation adds to the channels of its value."""
    if isinstance(node.operation, Linear):
        return found.linear_scores(node)
    return found.product_scores(node)


def _silenced(operation: Any, dead: set[int]) -> Any:
    """An operation with some paths of coefficient 0."""
    match operation:
        case Convolution(product=product):
            return replace(operation, product=_silenced(product, dead))
        case TensorProduct(instructions=instructions):
            changed = [
                replace(ins, coefficient=0.0) if n in dead else ins
                for n, ins in enumerate(instructions)
            ]
            return replace(operation, instructions=tuple(changed))
        case _:
            paths = [
                path._replace(coefficient=0.0) if n in dead else path
                for n, path in enumerate(operation.paths)
            ]
            return replace(operation, paths=tuple(paths))


def _path_text(node: Node, number: int) -> str:
    """A path in words."""
    operation = node.operation
    if isinstance(operation, Convolution):
        operation = operation.product
    if isinstance(operation, TensorProduct):
        left, right, out = operation.irreps_of(operation.instructions[number])
        return f"{left} x {right} -> {out}"
    if isinstance(operation, Linear):
        path = operation.paths[number]
        sides = parse_irreps(operation.irreps_in), parse_irreps(operation.irreps_out)
        return f"{sides[0][path.i_in]} -> {sides[1][path.i_out]}"
    return ""


Kept = dict[tuple[str, int], tuple[int, ...]]
"""The channels of each segment, by (value, segment), that stay."""


def _kept_channels(
    graph: TensorProductGraph, found: Magnitudes, options: Slim
) -> tuple[Kept, list[Removed]]:
    """The channels that stay, and what goes from the values that linear layers make."""
    classes = channel_classes(graph)
    sizes = _class_sizes(graph, found, classes)
    groups: dict[frozenset[tuple[str, int]], list[int]] = {}
    members: dict[int, set[tuple[str, int]]] = {}
    for place in classes.starts:
        for root in classes.roots(*place):
            members.setdefault(root, set()).add(place)
    for root, places in members.items():
        groups.setdefault(frozenset(places), []).append(root)
    dead: set[int] = set()
    for roots in groups.values():
        loose = [root for root in roots if not classes.is_locked(root) and root in sizes]
        ranked = sorted(loose, key=lambda root: (-sizes[root], root))
        num = sum(sizes[root] >= options.threshold and sizes[root] > 0 for root in ranked)
        num = max(1, -(-num // options.multiple) * options.multiple)
        dead.update(ranked[num:])
    kept: Kept = {}
    removed = []
    for name, segment in classes.starts:
        roots_of = classes.roots(name, segment)
        kept[name, segment] = tuple(u for u, root in enumerate(roots_of) if root not in dead)
        lost = [sizes[root] for root in roots_of if root in dead]
        kind = graph.types[name]
        if lost and isinstance(graph.node(name).operation, Linear) and isinstance(kind, ValueType):
            what = f"{len(lost)} of the channels of {kind.segments[segment]}"
            removed.append(Removed(name, what, max(lost)))
    return kept, removed


def _class_sizes(
    graph: TensorProductGraph, found: Magnitudes, classes: Channels
) -> dict[int, float]:
    """The largest share that each class has in an operation that mixes channels."""
    sizes: dict[int, float] = {}
    for node in graph.nodes:
        for (value, segment), shares in _shares(found, node):
            for root, share in zip(classes.roots(value, segment), shares, strict=True):
                sizes[root] = max(sizes.get(root, 0.0), float(share))
    return sizes


def _shares(found: Magnitudes, node: Node) -> list[tuple[tuple[str, int], Array]]:
    """What each channel that an operation mixes adds, relative to the largest."""
    added: dict[tuple[str, int], Array] = {}

    def add(place: tuple[str, int], squares: Array) -> None:
        added[place] = added.get(place, np.zeros(len(squares))) + squares

    operation = node.operation
    if isinstance(operation, Linear):
        for path, squares in zip(operation.paths, found.linear_squares(node), strict=True):
            add((node.inputs[0], path.i_in), squares.sum(axis=1))
    elif isinstance(operation, TensorProduct | Convolution):
        _add_mixed(found, node, add)
    largest = max((float(squares.max(initial=0.0)) for squares in added.values()), default=0.0)
    if not largest:
        return [(place, np.zeros(len(squares))) for place, squares in added.items()]
    return [(place, np.sqrt(squares / largest)) for place, squares in added.items()]


def _add_mixed(
    found: Magnitudes, node: Node, add: Callable[[tuple[str, int], Array], None]
) -> None:
    """What the channels of x and y add through paths uvw, which mix all of them."""
    product = node.operation.product if isinstance(node.operation, Convolution) else node.operation
    if not isinstance(product, TensorProduct):
        return
    x, y, _ = product_inputs(node)
    weights: Sequence[Array | None] = path_weights(found, node, product)
    for ins, weight in zip(product.instructions, weights, strict=True):
        if ins.mode != "uvw" or weight is None:
            continue
        left = found.sizes[x][ins.i_in1]
        right = np.ones(weight.shape[1]) if y is None else found.sizes[y][ins.i_in2]
        squares = (ins.coefficient * weight * left[:, None, None] * right[:, None]) ** 2
        add((x, ins.i_in1), squares.sum(axis=(1, 2)))
        if y is not None:
            add((y, ins.i_in2), squares.sum(axis=(0, 2)))
