"""Pipelines print, observe, and run passes in order."""

import numpy as np
import pytest

from tests.docs.diagrams import LAYERS
from tests.docs.test_fusion_diagrams import diagram
from tests.passes import assert_equivariant, checked, random_arrays
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import (
    DEFAULT_PIPELINE,
    PLANNING_PIPELINE,
    GraphBuilder,
    Pipeline,
    TensorProductGraph,
)
from tvm_equi.graph.captions import leg_label
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import fully_connected
from tvm_equi.graph.picture import picture
from tvm_equi.graph.pipeline import Pass
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.slim import Slim
from tvm_equi.graph.totals import total_cost


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


def test_planning_keeps_the_function_of_a_model_and_counts_less() -> None:
    graph = interaction_graph(Settings(16, 2, 2, 2, 3, 16), "float64")
    after = checked(PLANNING_PIPELINE, graph)
    assert total_cost(after) < total_cost(DEFAULT_PIPELINE(graph))
    kinds = [node.kind for node in after.nodes]
    assert kinds.count("Convolution") == 2
    assert "ComposedWeights" in kinds


def test_planning_keeps_single_operations() -> None:
    build = GraphBuilder(dtype="float64")
    x, y = build.input("x", "4x0e+4x1o", rows="node"), build.input("y", "0e+1o", rows="node")
    build.tensor_product("t", x, y, *fully_connected("4x0e+4x1o", "0e+1o", "4x0e+4x1o"))
    graph = build.graph("t")
    assert PLANNING_PIPELINE(graph) == DEFAULT_PIPELINE(graph) == graph


def test_an_operation_that_no_pass_knows_is_left_alone() -> None:
    """Passes take it for one that makes and reads everything."""

    class Opaque:
        def infer(self, inputs: list) -> object:
            return inputs[0]

    build = GraphBuilder(dtype="float64")
    x = build.linear("x", build.input("s", "3x0e", rows="node"), "4x0e+4x1o")
    name = build.add("opaque", Opaque(), x)
    build.linear("z", build.linear("y", name, "4x0e+4x1o"), "2x0e")
    graph = build.graph("z")
    planned = PLANNING_PIPELINE(graph)
    assert planned.node("opaque").inputs == ("x",)
    assert planned.types["opaque"] == graph.types["opaque"]
    values = {key: np.ones(graph.types[key].dim) for key in graph.parameters}
    smaller, _, report = Slim(0.5)(graph, values)
    assert smaller.types["opaque"] == graph.types["opaque"]
    assert report.after <= report.before
    assert leg_label(graph, "opaque") in {box.label for box in picture(graph).boxes}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_published_models(name: str) -> None:
    """TFN, NequIP, Cormorant, Allegro, ACE and MACE, planned and slimmed."""
    graph = diagram(name)
    planned = checked(PLANNING_PIPELINE, graph)
    assert total_cost(planned) <= total_cost(DEFAULT_PIPELINE(graph))
    arrays = random_arrays(graph, 0)
    smaller, values, report = Slim(0.3)(planned, arrays)
    assert report.after <= report.before
    assert_equivariant(smaller, {**arrays, **values})
