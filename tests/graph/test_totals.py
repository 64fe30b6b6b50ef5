"""Totals, by hand."""

from tests.graphs import convolution
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder
from tvm_equi.graph.totals import Sizes, Total, node_total, total_cost

SIZES = Sizes(nodes=10, edges=100, graphs=2)


def test_rows_are_counted_where_the_work_is() -> None:
    build = GraphBuilder()
    x = build.input("x", "4x0e", rows="node")
    i = build.index("i", rows="edge", into="node")
    build.scatter_sum("s", build.gather("g", x, i), i)
    build.linear("z", "s", "2x0e")
    graph = build.graph("z")
    assert node_total(graph, graph.node("g"), SIZES) == Total(0, 100 * (16 + 8 + 16))
    assert node_total(graph, graph.node("s"), SIZES) == Total(400, 100 * (16 + 8) + 10 * 16)
    assert node_total(graph, graph.node("z"), SIZES).multiply_adds == 80
    assert total_cost(graph, SIZES).multiply_adds == 480


def test_a_convolution_counts_edges_and_nodes() -> None:
    graph = convolution()
    fused = DEFAULT_PIPELINE(graph)
    node = next(node for node in fused.nodes if node.kind == "Convolution")
    cost = fused.cost(node.name)
    total = node_total(fused, node, SIZES)
    assert total.multiply_adds == 100 * cost.multiply_adds + 10 * cost.node_multiply_adds
    assert total_cost(fused, SIZES) < total_cost(graph, SIZES)


def test_shared_values_count_once() -> None:
    assert [SIZES.of(rows) for rows in ("node", "edge", "graph", "shared")] == [10, 100, 2, 1]
