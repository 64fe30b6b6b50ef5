"""Liveness of irreps: what is said to be zero is zero, what is said to be unread is unread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.passes import random_arrays
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.liveness import liveness, support
from tvm_equi.graph.prune import Prune

prune = Prune()


def with_zeros() -> TensorProductGraph:
    """A layer whose vectors are zero, as after an embedding, and a second one that reads them."""
    build = GraphBuilder(dtype="float64")
    species = build.input("species", "3x0e", rows="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="node"), range(3))
    x = build.linear("embed", species, "2x0e+2x1o")
    out, paths = channelwise("2x0e+2x1o", "0e+1o+2e", "0e+1o+1e+2e")
    product = build.tensor_product("tp", x, y, out, paths)
    both = build.combine("both", (1, build.linear("mix", product, "2x0e+2x1o")), (1, x))
    return build.graph(build.linear("z", both, "1x0e+1x1o"))


def test_what_a_first_layer_cannot_make() -> None:
    graph = with_zeros()
    alive = liveness(graph)
    assert alive.support["embed"] == {0}
    assert alive.demand["embed"] == {0, 1}  # as a term of a sum it keeps its place for vectors
    made = [graph.types["tp"].segments[k] for k in sorted(alive.support["tp"])]
    assert {str(irrep) for irrep in made} == {"2x0e", "2x1o", "2x2e"}
    pruned = prune(graph)
    assert len(pruned.node("tp").operation.instructions) == 2
    assert pruned.node("tp").operation.irreps_in1 == "2x0e+2x1o"
    arrays = random_arrays(graph, 1)
    before, after = interpret(graph, arrays), interpret(pruned, arrays)
    np.testing.assert_allclose(after["z"], before["z"], atol=1e-12)
    assert prune(pruned) == pruned


def test_a_zero_term_of_a_sum_goes() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x0e", rows="node")
    vectors = build.linear("vectors", build.input("v", "2x1o", rows="node"), "2x1o")
    zero = build.linear("zero", x, "2x1o")
    graph = build.graph(build.norm("n", build.combine("sum", (1, zero), (2, vectors))))
    pruned = prune(graph)
    assert pruned.node("sum").inputs == ("vectors",)
    assert "zero" not in pruned.types


def test_functions_of_zero() -> None:
    build = GraphBuilder()
    zero = build.linear("zero", build.input("x", "2x1o", rows="node"), "2x0e+3x0e")
    build.activation("a", zero, ["silu", "sigmoid"])
    build.mlp("m", zero, [5, 3])
    build.norm("n", zero)
    biased = build.linear("biased", "x", "2x0e", biases=True)
    graph = build.graph("a", "m", "n", biased)
    found = support(graph)
    assert (found["zero"], found["a"], found["n"]) == (set(), {1}, set())
    assert (found["m"], found["biased"]) == (set(), {0})


@given(st.integers(0, 1 << 30))
def test_support_is_sound_on_a_model(seed: int) -> None:
    """Segments outside the support are zero, whatever the parameters."""
    graph = interaction_graph(Settings(2, 2, 2, 1, 3, 4), "float64")
    found = support(graph)
    names = [n.name for n in graph.nodes if n.name not in (*graph.inputs, *graph.parameters)]
    shown = TensorProductGraph(graph.nodes, tuple(names))
    values = interpret(shown, random_arrays(graph, seed))
    for name in names:
        start = 0
        for number, irrep in enumerate(graph.types[name].segments):
            block = values[name][..., start : start + irrep.dim]
            start += irrep.dim
            if number not in found[name]:
                assert not np.any(block), name


def test_the_first_skip_connection_makes_scalars_alone() -> None:
    graph = interaction_graph(Settings(4, 2, 2, 2))
    assert support(graph)["layers.0.skip"] == {0, 1}


def test_unknown_operations_read_and_make_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opaque:
        def infer(self, inputs: list) -> object:
            return inputs[0]

    build = GraphBuilder()
    x = build.linear("x", build.input("s", "2x0e", rows="node"), "2x0e+2x1o")
    name = build.add("opaque", Opaque(), x)
    graph = build.graph(build.linear("z", name, "1x0e"))
    alive = liveness(graph)
    assert alive.support["opaque"] == {0, 1}
    assert alive.demand["x"] == {0, 1}
    assert Prune()(graph).types["x"] == graph.types["x"]
