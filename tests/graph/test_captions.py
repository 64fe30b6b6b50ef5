"""The texts of a picture tell what there is."""

from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import GraphBuilder, Pipeline
from tvm_equi.graph.captions import box_lines, leg_label, what_it_does
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.prune import Prune


def test_what_was_fused() -> None:
    graph = interaction_graph(Settings(8, 2, 2, 1))
    fused = Pipeline((Prune(), Fuse(radial=True, harmonics=True)))(graph)
    node = fused.node("layers.0.total")
    assert what_it_does(node) == (
        "Convolution = gather + harmonics + radial layer + product (2 paths) + sum"
    )
    lines = box_lines(fused, node)
    assert lines[2] == "over senders, receivers"
    cost = fused.cost(node.name)
    assert f"{cost.multiply_adds:,} multiply-adds per edge" in lines
    assert f"{cost.node_bytes:,} bytes per node" in lines
    assert what_it_does(fused.node("positions")) == "input"


def test_labels() -> None:
    build = GraphBuilder()
    build.input("same", "4x0e+4x1o+4x2e+4x2e", rows="node")
    build.input("single", "0e+1o+2e", rows="edge")
    build.input("mixed", "3x0e+3x0e+1x1o", rows="node")
    many = "+".join(f"{n}x{n % 3}e+{n}x{n % 3}o" for n in range(1, 9))
    build.input("many", many, rows="node")
    graph = build.graph(build.sum("s", "same"))
    assert leg_label(graph, "same") == "4x0e+4x1o+8x2e [node]"
    assert leg_label(graph, "single") == "0e+1o+2e [edge]"
    assert leg_label(graph, "mixed") == "6x0e+1x1o [node]"
    assert max(map(len, leg_label(graph, "many").split("\n"))) <= 36 + len(" [node]")
    build.input("paths", "4x0e+4x1o+4x0e", rows="node")
    assert leg_label(build.graph("same"), "paths") == "4x(2*0e+1o) [node]"
