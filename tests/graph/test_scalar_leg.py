"""Products with constants become layers or nothing."""

import pytest

from tests.passes import checked
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.scalar_leg import ScalarLeg

scalar_leg = ScalarLeg()


def kinds(graph: TensorProductGraph) -> list[str]:
    return [node.kind for node in graph.nodes if node.inputs]


def start(normalization: str = "integral", layout: str = "mul_ir") -> GraphBuilder:
    build = GraphBuilder(dtype="float64", layout=layout)
    build.input("x", "3x0e+2x1o", rows="node")
    v = build.input("v", "1o", rows="node")
    build.spherical_harmonics("c", v, [0], normalization=normalization)
    return build


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("weights", ["shared", "row"])
def test_full_products_are_layers(weights: str, layout: str) -> None:
    build = start(layout=layout)
    w = build.input("w", "10x0e", rows="node") if weights == "row" else None
    paths = [(0, 0, 0, "uvw", True, 1.0), (1, 0, 1, "uvw", True, 1.0)]
    after = checked(
        scalar_leg, build.graph(build.tensor_product("t", "x", "c", "2x0e+2x1o", paths, weights=w))
    )
    assert kinds(after) == ["Linear"]
    assert after.node("t").operation.weights == weights


def test_selection_times_a_number_and_nothing() -> None:
    build = start()
    one = [(1, 0, 0, "uvu", False, 1.0)]
    build.linear("z", build.tensor_product("t", "x", "c", "2x1o", one), "1x1o")
    after = checked(scalar_leg, build.graph("z"))
    assert kinds(after) == ["Slice", "Add", "Linear"]
    build = start("component")
    both = [(0, 0, 0, "uvu", False, 1.0), (1, 0, 1, "uvu", False, 1.0)]
    build.linear("z", build.tensor_product("t", "x", "c", "3x0e+2x1o", both), "1x1o")
    after = checked(scalar_leg, build.graph("z"))
    assert kinds(after) == ["Linear"]
    assert after.node("z").inputs[0] == "x"


def test_what_is_a_product_stays() -> None:
    build = start()
    channel = [(0, 0, 0, "uvu", True, 1.0)]
    graph = build.graph(build.tensor_product("t", "x", "c", "3x0e", channel))
    assert scalar_leg(graph) == graph
    a = build.input("a", "0e", rows="node")
    other = build.graph(build.tensor_product("s", "x", a, "3x0e", [(0, 0, 0, "uvu", False, 1.0)]))
    assert "TensorProduct" in kinds(scalar_leg(other))


def test_copies_are_passed_through_but_outputs_stay() -> None:
    build = start()
    copied = build.combine("copy", (1.0, build.slice("all", "x", [(0, 0, 3), (1, 0, 2)])))
    build.slice("some", copied, [(0, 0, 2)])
    graph = build.graph("some", "copy")
    after = checked(scalar_leg, graph)
    assert after.node("some").inputs == ("x",)
    assert after.node("copy").inputs == ("x",)
