"""Products of harmonics of one direction, against the products themselves."""

import math

import pytest

from tests.passes import checked
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.gaunt import Gaunt, gaunt_factor
from tvm_equi.graph.instructions import fully_connected
from tvm_equi.graph.operations import SphericalHarmonics
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.totals import total_cost

gaunt = Gaunt()


def product(
    normalizations: tuple[str, str] = ("component", "component"),
    vector: str = "1o",
    normalize: bool = True,
    has_weight: bool = True,
) -> TensorProductGraph:
    build = GraphBuilder(dtype="float64")
    v = build.input("v", vector, rows="edge")
    for name, kind in zip("ab", normalizations, strict=True):
        degrees = range(4) if name == "a" else (1, 2, 3)
        build.spherical_harmonics(name, v, degrees, normalize=normalize, normalization=kind)
    out, paths = fully_connected(
        build.value("a").irreps, build.value("b").irreps, "0e+1o+1e+2e+2o+3o"
    )
    mode = "uvw" if has_weight else "uuu"
    raw = [(*path[:3], mode, has_weight, 1.0) for path in paths]
    return build.graph(build.tensor_product("t", "a", "b", out, raw))


@pytest.mark.parametrize("vector", ["1o", "1e"])
@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("kinds", [("component", "norm"), ("integral", "integral")])
def test_same_function(kinds: tuple[str, str], vector: str, has_weight: bool) -> None:
    graph = product(kinds, vector, has_weight=has_weight)
    after = checked(gaunt, graph)
    names = {node.name for node in after.nodes}
    assert not {"a", "b"} & names
    pruned = checked(Prune(), after)
    assert total_cost(pruned) < total_cost(graph)


def test_odd_sums_vanish() -> None:
    after = gaunt(product())
    operation = after.node("t").operation
    for ins, old in zip(
        operation.instructions, product().node("t").operation.instructions, strict=True
    ):
        degrees = [irrep.degree for irrep in product().node("t").operation.irreps_of(old)]
        assert (ins.coefficient == 0) == (sum(degrees) % 2 == 1)


def test_lengths_stay() -> None:
    graph = product(normalize=False)
    assert gaunt(graph) == graph


def test_other_vectors_stay() -> None:
    build = GraphBuilder()
    a = build.spherical_harmonics("a", build.input("v", "1o", rows="edge"), [1])
    b = build.spherical_harmonics("b", build.input("w", "1o", rows="edge"), [1])
    graph = build.graph(build.tensor_product("t", a, b, "0e", [(0, 0, 0, "uuu", False, 1.0)]))
    assert gaunt(graph) == graph


def test_addition_theorem() -> None:
    """Y1 . Y1 is a constant: 3 components of length 1 each, over the root of 3."""
    kind = SphericalHarmonics((1,))
    assert gaunt_factor((1, 1, 0), kind, kind) == pytest.approx(3 / math.sqrt(3))
