"""Putting nodes in place of others."""

from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Add
from tvm_equi.graph.rewriting import View, replaced


def test_what_nothing_reads_goes_and_inputs_and_what_was_unread_stay() -> None:
    build = GraphBuilder()
    x, extra = build.input("x", "2x0e", rows="node"), build.input("extra", "2x0e", rows="node")
    build.linear("unread", x, "1x0e")
    build.combine("both", (1, build.linear("l", extra, "2x0e")), (1, x))
    graph = build.graph("both")
    view = View.of(graph.nodes, graph.outputs)
    assert view.fresh("l") == "l.1"
    assert (view.is_read_once("l"), view.is_read_once("x")) == (True, False)
    after = replaced(graph, {"both": [Node("both", Add((2.0,)), (x,))]})
    names = [node.name for node in after.nodes]
    assert names == ["x", "extra", "unread.weight", "unread", "both"]
