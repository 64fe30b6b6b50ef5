"""Why paths and operations go."""

from tests.graph.test_liveness import with_zeros
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.removals import Removal, format_removals, removals


def test_reasons() -> None:
    graph = with_zeros()
    found = [str(item) for item in removals(graph)]
    assert "tp: path 2x1o x 1x1o -> 2x0e: 2x1o is always zero" in found
    build = GraphBuilder()
    x = build.input("x", "2x0e+2x1o", rows="node")
    paths = [
        (0, 0, 0, "uuu", False, 1.0),
        (1, 0, 1, "uuu", False, 1.0),
        (1, 1, 2, "uuu", False, 1.0),
        (1, 0, 0, "uuu", False, 1.0),
        (0, 0, 0, "uuu", False, 0.0),
    ]
    product = build.tensor_product("t", x, x, "2x0e+2x1o+2x1o", paths)
    build.linear("unread", x, "2x0e")
    graph = build.graph(build.linear("z", product, "1x0e"))
    assert format_removals(removals(graph)).splitlines() == [
        "t: path 2x1o x 2x0e -> 2x1o: no output depends on 2x1o",
        "t: path 2x1o x 2x1o -> 2x1o: forbidden by parity",
        "t: path 2x1o x 2x0e -> 2x0e: forbidden by parity",
        "t: path 2x0e x 2x0e -> 2x0e: coefficient 0",
        "unread: Linear: no output depends on it",
    ]
    assert format_removals(removals(DEFAULT_PIPELINE(graph))) == "nothing to remove"


def test_a_term_of_a_sum_that_is_zero() -> None:
    build = GraphBuilder()
    zero = build.linear("zero", build.input("x", "2x0e", rows="node"), "2x1o")
    vectors = build.linear("vectors", build.input("v", "2x1o", rows="node"), "2x1o")
    graph = build.graph(build.norm("n", build.combine("sum", (1, zero), (2, vectors))))
    assert removals(graph) == (Removal("zero", "Linear", "no output depends on it"),)


def test_nothing_goes_twice() -> None:
    pruned = Prune()(interaction_graph(Settings(4, 2, 2, 2)))
    assert Prune()(pruned) == pruned
    assert removals(pruned) == ()
