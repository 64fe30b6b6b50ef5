"""The layout of a picture: nothing overlaps, lines go down, texts tell what there is."""

import itertools

import pytest

from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import DEFAULT_PIPELINE
from tvm_equi.graph.picture import picture


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
