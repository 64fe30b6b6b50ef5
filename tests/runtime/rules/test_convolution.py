"""Convolutions of a graph against the interpreter and against e3nn, derivatives included."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tvm_equi.graph import GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.fuse import Fuse, regions
from tvm_equi.graph.instructions import channelwise, fully_connected
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Convolution, RadialLayer
from tvm_equi.graph.prune import Prune
from tvm_equi.nn.graph_compare import compare, random_inputs
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.torch_library import TORCH
from tvm_equi.runtime.rules.convolution import chosen, last_matrix

BOTH = Fuse(radial=True, harmonics=True)


def layer(
    irreps: str = "2x0e+2x1o",
    pattern: str = "channelwise",
    *,
    weights: str = "mlp",
    layout: str = "mul_ir",
    normalize: bool = True,
    paths: list[tuple[int, int, int, str, bool, float]] | None = None,
    out: str = "3x0e+2x1o",
) -> TensorProductGraph:
    """One layer of messages from nodes to nodes."""
    build = GraphBuilder(dtype="float64", layout=layout)
    x, v = build.input("x", irreps, rows="node"), build.input("v", "1o", rows="edge")
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    y = build.spherical_harmonics("y", v, range(3), normalize=normalize)
    if paths is None:
        make = channelwise if pattern == "channelwise" else fully_connected
        out, found = make(irreps, "0e+1o+2e", out)
        paths = list(found)
    build.gather("g", x, i)
    w = None
    if weights != "shared" and any(path[4] for path in paths):
        probe = GraphBuilder(dtype="float64", layout=layout)
        args = probe.input("x", irreps, rows="edge"), probe.input("y", "0e+1o+2e", rows="edge")
        probe.tensor_product("tp", *args, out, paths)
        size = probe.value("tp.weight").dim
        basis = build.input("b", "3x0e", rows="edge")
        w = build.mlp("fc", basis, [3, 5, size])
    build.tensor_product("tp", "g", y, out, paths, weights=w)
    return build.graph(build.scatter_sum("z", "tp", j, factor=0.5))


def assert_right(graph: TensorProductGraph) -> None:
    assert len(regions(graph)) == 1
    module = GraphModule(graph)
    inputs = random_inputs(module, 6, seed=1)
    with torch.no_grad():
        found = module(**inputs).numpy()
    arrays = {name: value.numpy() for name, value in inputs.items()}
    arrays |= {name: value.detach().numpy() for name, value in module.named_parameters()}
    np.testing.assert_allclose(found, interpret(graph, arrays)[graph.outputs[0]], atol=1e-11)
    report = compare(module, rows=6)
    assert max(report.forward, report.backward, report.double_backward) < 1e-11


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("fuse", [Fuse(), Fuse(radial=True), Fuse(harmonics=True), BOTH])
def test_channelwise(fuse: Fuse, layout: str) -> None:
    assert_right(fuse(layer(layout=layout)))


@pytest.mark.parametrize("weights", ["mlp", "shared"])
@pytest.mark.parametrize("fuse", [Fuse(), BOTH])
def test_fully_connected(fuse: Fuse, weights: str) -> None:
    assert_right(fuse(layer(pattern="fully_connected", weights=weights)))


MODES = {
    "uvu": ("2x1o", (0, 1, 0)),
    "uvv": ("1x1o", (0, 1, 0)),
    "uvuv": ("2x1o", (0, 1, 0)),
    "uvw": ("3x1o", (0, 1, 0)),
    "uuu": ("1x1o", (1, 2, 0)),
    "uuw": ("3x1o", (1, 2, 0)),
}


@pytest.mark.parametrize("weights", ["mlp", "shared"])
@pytest.mark.parametrize("mode", MODES)
def test_modes(mode: str, weights: str) -> None:
    out, (i, j, k) = MODES[mode]
    paths = [(i, j, k, mode, True, 1.0), (0, 1, k, "uvw", True, 0.5)]
    assert_right(Fuse()(layer("2x0e+1x1o", paths=paths, out=out, weights=weights)))


def test_harmonics_that_are_not_normalised() -> None:
    assert_right(BOTH(layer(normalize=False)))


def test_paths_that_are_zero_by_symmetry() -> None:
    paths = [
        (0, 0, 1, "uvu", True, 1.0),  # 0 x 0 has no 1
        (1, 0, 1, "uvu", True, 1.0),
        (1, 1, 0, "uvu", True, 0.5),
        (0, 0, 0, "uvu", True, 0.0),
    ]
    for fuse in (Fuse(), BOTH):
        assert_right(fuse(layer(paths=paths, out="2x0e+2x1o")))
        assert_right(Prune()(fuse(layer(paths=paths, out="2x0e+2x1o"))))


def test_only_paths_without_weights_are_left() -> None:
    paths = [(0, 0, 1, "uvu", True, 1.0), (1, 0, 1, "uvu", False, 1.0)]
    for fuse in (Fuse(), BOTH):
        assert_right(fuse(layer(paths=paths, out="2x0e+2x1o")))
        assert_right(Prune()(fuse(layer(paths=paths, out="2x0e+2x1o"))))


def test_no_live_path_gives_zeros_on_receivers() -> None:
    graph = Fuse()(layer(paths=[(1, 0, 0, "uvu", False, 1.0)], out="2x1o"))
    node = graph.node("z")
    assert isinstance(node.operation, Convolution)
    zero = Node("z", replace(node.operation, factor=0.0), node.inputs)
    module = GraphModule(TensorProductGraph((*graph.nodes[:-1], zero), graph.outputs))
    found = module(**random_inputs(module, 4, seed=0))
    assert torch.equal(found, torch.zeros(4, 6, dtype=torch.float64))


def test_senders_and_receivers_of_different_kinds() -> None:
    build = GraphBuilder(dtype="float64")
    x, y = build.input("x", "2x0e", rows="node"), build.input("y", "1o", rows="edge")
    own = build.input("own", "2x1o", rows="graph")
    i = build.index("i", rows="edge", into="node")
    j = build.index("j", rows="edge", into="graph")
    build.tensor_product("t", build.gather("g", x, i), y, "2x1o", [(0, 0, 0, "uvu", True, 1.0)])
    build.combine("z", (1, build.scatter_sum("s", "t", j)), (1, own))
    graph = Fuse()(build.graph("z"))
    module = GraphModule(graph)
    rows = torch.randn(3, 2, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    more = torch.randn(6, 6, dtype=torch.float64)
    given = dict(zip(("x", "y", "own"), (*rows, more), strict=True))
    given |= {"i": torch.tensor([0, 1, 2, 2]), "j": torch.tensor([5, 5, 0, 1])}
    arrays = {name: value.numpy() for name, value in given.items()}
    arrays["t.weight"] = module.get_parameter("t.weight").detach().numpy()
    expected = interpret(graph, arrays)["z"]
    np.testing.assert_allclose(module(**given).detach().numpy(), expected, atol=1e-12)


def test_last_matrix() -> None:
    last = torch.arange(8.0)
    whole = last_matrix(RadialLayer(4, 2), last, TORCH)
    assert whole.tolist() == [[0, 0.5], [1, 1.5], [2, 2.5], [3, 3.5]]
    part = last_matrix(RadialLayer(4, 2, ((1, 2),)), last, TORCH)
    assert part.flatten().tolist() == [0.5, 1.5, 2.5, 3.5]


def test_chosen_columns() -> None:
    values = torch.arange(5)
    assert chosen(values, ((0, 5),), TORCH) is values
    assert chosen(values, ((0, 1), (3, 5)), TORCH).tolist() == [0, 3, 4]
    assert chosen(values, ((1, 3),), TORCH).tolist() == [1, 2]
    assert chosen(values, (), TORCH).shape == (0,)
