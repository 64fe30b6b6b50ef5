"""What rewrites share: nodes by name, who reads a value, new names, and putting nodes in place.

In: a graph. Out: a graph in which some nodes are replaced by others, without those that nothing
reads any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Input


@dataclass(frozen=True, slots=True)
class View:
    """Nodes by name, and how often each value is read; an output counts as read.

    Args:
        nodes: by name.
        uses: how often each value is read.
    """

    nodes: dict[str, Node]
    uses: Counter[str]

    @staticmethod
    def of(nodes: Sequence[Node], outputs: Sequence[str]) -> View:
        """The view of a graph's parts."""
        uses = Counter(source for node in nodes for source in node.inputs)
        uses.update(outputs)
        return View({node.name: node for node in nodes}, uses)

    def is_read_once(self, name: str) -> bool:
        """Whether one operation alone needs a value, and no output."""
        return self.uses[name] == 1

    def fresh(self, name: str) -> str:
        """A name that no node has."""
        number, found = 0, name
        while found in self.nodes:
            number += 1
            found = f"{name}.{number}"
        return found


def without_unread(graph: TensorProductGraph, before: View) -> TensorProductGraph:
    """The graph without what was read before and is not any more; inputs stay.

    Args:
        graph: to clean.
        before: the view of what it was.
    """
    uses = View.of(graph.nodes, graph.outputs).uses
    kept = []
    for node in reversed(graph.nodes):
        was_unread = node.name in before.nodes and not before.uses[node.name]
        if uses[node.name] or was_unread or isinstance(node.operation, Input):
            kept.append(node)
        else:
            uses.subtract(node.inputs)
    return TensorProductGraph(tuple(reversed(kept)), graph.outputs)


def replaced(
    graph: TensorProductGraph, changes: Mapping[str, Sequence[Node]]
) -> TensorProductGraph:
    """The graph with nodes in place of others.

    Args:
        graph: to change.
        changes: by the name of a node, the nodes that take its place; the last one has its name.
    """
    nodes = tuple(new for node in graph.nodes for new in changes.get(node.name, (node,)))
    before = View.of(graph.nodes, graph.outputs)
    return without_unread(TensorProductGraph(nodes, graph.outputs), before)
