"""Pipelines print, observe, and run passes in order."""

from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder, Pipeline, TensorProductGraph
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.pipeline import Pass
from tvm_equi.graph.prune import Prune


def test_observer_sees_each_pass() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x1o", rows="node")
    build.norm("unread", x)
    graph = build.graph(build.norm("n", x))
    seen: list[tuple[str, int, int]] = []

    def observe(step: Pass, before: TensorProductGraph, after: TensorProductGraph) -> None:
        seen.append((step.name, len(before.nodes), len(after.nodes)))

    pipeline = Pipeline((Prune(), Prune()))
    assert str(pipeline) == "prune, prune"
    assert pipeline(graph, observer=observe) == DEFAULT_PIPELINE(graph)
    assert seen == [("prune", 3, 2), ("prune", 2, 2)]
    assert Pipeline((Prune(), Fuse())) == DEFAULT_PIPELINE
    assert str(DEFAULT_PIPELINE) == "prune, fuse"
