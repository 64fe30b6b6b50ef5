"""The layout of a picture: nothing overlaps, lines go down, texts tell what there is."""

import itertools

import pytest

from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder, Pipeline
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.picture import box_lines, leg_label, picture, what_it_does
from tvm_equi.graph.prune import Prune


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("is_fused", [False, True])
def test_boxes_do_not_overlap_and_legs_go_down(layers: int, is_fused: bool) -> None:
    graph = interaction_graph(Settings(8, layers, 2, 2))
    graph = DEFAULT_PIPELINE(graph) if is_fused else graph
    shown = picture(graph)
    for a, b in itertools.combinations(shown.boxes, 2):
        is_beside = abs(a.x - b.x) >= (a.width + b.width) / 2
        is_above = abs(a.y - b.y) >= (a.height + b.height) / 2
        assert is_beside or is_above, (a.name, b.name)
    for box in shown.boxes:
        assert box.width / 2 <= box.x <= shown.width - box.width / 2
        assert box.height / 2 <= box.y <= shown.height - box.height / 2
    for leg in shown.legs:
        ys = [y for _, y in leg.points]
        assert ys == sorted(ys)
    read = {
        (source, node.name)
        for node in graph.nodes
        for source in node.inputs
        if source not in graph.parameters and source not in ("senders", "receivers")
    }
    assert {(leg.source, leg.target) for leg in shown.legs} == read


def test_legs_go_round_boxes() -> None:
    graph = DEFAULT_PIPELINE(interaction_graph(Settings(8, 3, 2, 2)))
    shown = picture(graph)
    for leg in shown.legs:
        for (x0, y0), (x1, y1) in itertools.pairwise(leg.points[1:-1]):
            if x0 != x1:
                continue
            for box in shown.boxes:
                is_level = y0 < box.y < y1
                assert not (is_level and abs(box.x - x0) < box.width / 2), (leg, box.name)


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
