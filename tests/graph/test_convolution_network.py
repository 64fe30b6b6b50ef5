"""The network of a convolution, and the orders found for it, against published counts."""

import pytest

from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.errors import UnsupportedError
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder
from tvm_equi.graph.convolution_network import (
    best_orders,
    convolution_network,
    is_density_first,
)
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import channelwise, fully_connected
from tvm_equi.graph.network import contraction_order, opt_einsum_order
from tvm_equi.graph.operations import Convolution

HARMONICS = "0e+1o+2e+3o"
EDGES, HIDDEN, CHANNELS = 50, 64, 128


def convolution(irreps: str, pattern: object = channelwise, out: str = HARMONICS) -> Convolution:
    build = GraphBuilder()
    build.input("x", irreps, rows="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(4))
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    out, paths = pattern(irreps, HARMONICS, out)
    count = 0
    for path in paths:
        muls = [build.value("x").segments[path[0]].mul]
        muls += [int(out.split("+")[path[2]].split("x")[0])] if path[3] == "uvw" else []
        count += muls[0] * (muls[1] if len(muls) > 1 else 1)
    w = build.input("w", f"{count}x0e", rows="edge")
    product = build.tensor_product("t", build.gather("s", "x", i), y, out, paths, weights=w)
    return Fuse()(build.graph(build.scatter_sum("z", product, j))).node("z").operation


@pytest.mark.parametrize(
    ("degree", "dense", "sparse", "paths", "nonzeros"),
    [(1, 995, 757, 10, 86), (2, 2412, 1348, 17, 215)],
)
def test_published_counts(degree: int, dense: int, sparse: int, paths: int, nonzeros: int) -> None:
    """MACE's convolution with its radial layer: multiply-adds per edge and channel."""
    irreps = "+".join(f"{CHANNELS}x{d}{'eo'[d % 2]}" for d in range(degree + 1))
    network = convolution_network(convolution(irreps), num_edges=EDGES, num_hidden=HIDDEN)
    assert dict(network.extents)["p"] == paths
    assert len(network.pattern[2]) == nonzeros
    per_channel = EDGES * CHANNELS
    best = contraction_order(network)
    assert round(best.multiply_adds / per_channel) == sparse
    by_dense = contraction_order(network, sparse=False)
    assert round(by_dense.multiply_adds / per_channel) == dense
    theirs = opt_einsum_order(network, optimize="optimal", sparse=False)
    assert theirs.multiply_adds >= by_dense.multiply_adds
    assert opt_einsum_order(network, optimize="optimal").multiply_adds >= best.multiply_adds
    # A = C Y first, once for all channels; the radial layer on its own.
    assert best.is_contracted("C", "Y")
    assert best.is_contracted("H", "W")
    table = next(step for step in best.steps if {*step.left, *step.right} == {"C", "Y"})
    assert table.multiply_adds == EDGES * nonzeros
    pairs = {(p, i, k) for p, i, _, k in network.pattern[2]}
    assert table.result_bytes == 4 * EDGES * len(pairs)
    assert not by_dense.is_contracted("C", "X") or not by_dense.is_contracted("C", "Y")


def test_species_make_the_density_first() -> None:
    network = convolution_network(
        convolution("128x0e"), num_edges=EDGES, num_hidden=HIDDEN, num_species=2
    )
    best = contraction_order(network)
    assert best.is_contracted("C", "H", "S", "Y")  # C is 1 here; W comes after the sum over edges
    without = convolution_network(convolution("128x0e"), num_edges=EDGES, num_hidden=HIDDEN)
    assert best.multiply_adds < contraction_order(without).multiply_adds
    many = convolution_network(
        convolution("128x0e"), num_edges=EDGES, num_hidden=HIDDEN, num_species=200
    )
    assert not contraction_order(many).is_contracted("C", "H", "S", "Y")


@pytest.mark.parametrize(
    ("num_edges", "num_species", "wanted"), [(50, 2, True), (50, 200, False), (1, 2, False)]
)
def test_whether_species_come_first(num_edges: int, num_species: int, wanted: bool) -> None:
    found = is_density_first(
        convolution("128x0e"), num_edges=num_edges, num_hidden=HIDDEN, num_species=num_species
    )
    assert found == wanted


def test_matrix_per_edge_is_never_made() -> None:
    """uvw: the layer that makes weights is contracted with x, not into weights u x w per edge."""
    product = convolution("32x0e+32x1o", fully_connected, "32x0e+32x1o")
    best = contraction_order(convolution_network(product, num_edges=EDGES, num_hidden=HIDDEN))
    assert not best.is_contracted("H", "W")


def test_orders_of_a_model() -> None:
    graph = DEFAULT_PIPELINE(interaction_graph(Settings(8, 2, 2, 2, 3, 16)))
    found = best_orders(graph)
    assert list(found) == ["layers.0.total", "layers.1.total"]
    assert found["layers.1.total"].is_contracted("C", "Y")
    uneven = GraphBuilder()
    x = uneven.input("x", "2x0e+3x1o", rows="node")
    y = uneven.input("y", "0e", rows="edge")
    i = uneven.index("i", rows="edge", into="node")
    out, paths = channelwise("2x0e+3x1o", "0e", "0e+1o")
    plain = [(*path[:4], False, 1.0) for path in paths]
    product = uneven.tensor_product("t", uneven.gather("g", x, i), y, out, plain)
    assert best_orders(Fuse()(uneven.graph(uneven.scatter_sum("z", product, i)))) == {}


def test_shared_and_given_weights() -> None:
    plain = convolution_network(convolution("4x0e"), num_edges=3)
    assert [tensor.indices for tensor in plain.tensors] == ["pijk", "epu", "euij"[:2] + "i", "ej"]
    assert plain.output == "puk"


def test_refuses_several_multiplicities() -> None:
    with pytest.raises(
        UnsupportedError, match="expected paths of one mode and of one multiplicity"
    ):
        convolution_network(convolution("4x0e+3x1o"), num_edges=3)
