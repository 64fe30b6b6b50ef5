"""Fusing keeps the function and its symmetry, does nothing twice, and leaves what is needed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st

from tvm_equi.graph import GraphBuilder, TensorProductGraph, from_json, interpret, to_json
from tvm_equi.graph.fuse import Fuse, Region, regions
from tvm_equi.graph.instructions import channelwise, fully_connected
from tvm_equi.graph.operations import Convolution, Linear
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.types import IndexType, ValueType

VARIANTS = [Fuse(), Fuse(radial=True), Fuse(harmonics=True), Fuse(radial=True, harmonics=True)]


@pytest.fixture(autouse=True, scope="module")
def _float64() -> object:
    """e3nn's rotation matrices are only as exact as the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def arrays_of(graph: TensorProductGraph, seed: int) -> dict[str, np.ndarray]:
    """Random arrays for the inputs and parameters of a graph."""
    rng = np.random.default_rng(seed)
    counts = {"node": (4,), "edge": (7,), "graph": (3,), "shared": ()}
    arrays = {}
    for name in (*graph.inputs, *graph.parameters):
        kind = graph.types[name]
        if isinstance(kind, IndexType):
            arrays[name] = rng.integers(0, counts[kind.into][0], counts[kind.rows])
        else:
            arrays[name] = rng.normal(size=(*counts[kind.rows], kind.dim))
    return arrays


def checked(fuse: Fuse, graph: TensorProductGraph, seed: int = 0) -> TensorProductGraph:
    """The fused graph, after a comparison of both."""
    fused = fuse(graph)
    assert fuse(fused) == fused
    assert from_json(to_json(fused)) == fused
    assert (fused.inputs, set(fused.parameters)) == (graph.inputs, set(graph.parameters))
    arrays = arrays_of(graph, seed)
    before, after = interpret(graph, arrays), interpret(fused, arrays)
    for name in graph.outputs:
        np.testing.assert_allclose(after[name], before[name], atol=1e-9, rtol=1e-9)
    return fused


def start(
    *, receivers: str = "node", layout: str = "mul_ir", degrees: tuple[int, ...] = (0, 1, 2)
) -> GraphBuilder:
    """Nodes x, gathered as "sent", and harmonics y of edges."""
    build = GraphBuilder(layout=layout)
    build.input("x", "2x0e+2x1o", rows="node")
    build.input("v", "1o", rows="edge")
    build.input("basis", "3x0e", rows="edge")
    if receivers == "graph":
        build.input("size", "0e", rows="graph")
    build.index("senders", rows="edge", into="node")
    build.index("receivers", rows="edge", into=receivers)
    build.spherical_harmonics("y", "v", degrees)
    build.gather("sent", "x", "senders")
    return build


def product(build: GraphBuilder, name: str = "tp", weights: str = "mlp") -> str:
    """A channelwise product, or a fully connected one with shared weights."""
    if weights == "shared":
        return build.tensor_product(
            name, "sent", "y", *fully_connected("2x0e+2x1o", build.value("y").irreps, "3x0e+2x1o")
        )
    out, paths = channelwise("2x0e+2x1o", build.value("y").irreps, "0e+1o")
    w = build.mlp(f"{name}.fc", "basis", [3, 5, 4, 2 * len(paths)])
    return build.tensor_product(name, "sent", "y", out, paths, weights=w)


def kinds(graph: TensorProductGraph) -> list[str]:
    return [node.kind for node in graph.nodes if node.kind not in ("Input", "Parameter")]


def test_the_pattern() -> None:
    build = start(receivers="graph")
    build.scatter_sum("z", product(build), "receivers", factor=0.25)
    fused = checked(Fuse(), build.graph("z"))
    assert kinds(fused) == ["SphericalHarmonics", "ScalarMLP", "Convolution"]
    node = fused.node("z")
    assert node.inputs == ("x", "y", "tp.fc", "senders", "receivers")
    assert isinstance(node.operation, Convolution)
    assert node.operation.factor == 0.25
    assert fused.types["z"] == build.types["z"]
    assert regions(fused) == (Region("z", None),)


@pytest.mark.parametrize("weights", ["mlp", "shared"])
@pytest.mark.parametrize("fuse", VARIANTS)
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_inner_parts(fuse: Fuse, layout: str, weights: str) -> None:
    build = start(layout=layout)
    build.scatter_sum("z", product(build, weights=weights), "receivers", factor=0.5)
    graph = build.graph(build.linear("out", "z", "2x1o"))
    for pruned in (graph, Prune()(graph)):
        fused = checked(fuse, pruned)
        operation = fused.node("z").operation
        assert isinstance(operation, Convolution)
        assert (operation.radial is not None) == (fuse.radial and weights == "mlp")
        assert (operation.harmonics is not None) == fuse.harmonics
        assert ("SphericalHarmonics" in kinds(fused)) != fuse.harmonics
        assert regions(fused) == (Region("z", "out"),)
        assert Fuse(radial=True, harmonics=True)(fused) == VARIANTS[3](pruned)
    assert Prune()(fuse(Prune()(graph))) == fuse(Prune()(graph))


@pytest.mark.parametrize("fuse", VARIANTS)
def test_pruned_after_as_before(fuse: Fuse) -> None:
    build = start()
    build.scatter_sum("z", product(build), "receivers")
    graph = build.graph(build.linear("out", "z", "2x1o"))
    after = Prune()(fuse(graph))
    assert after == fuse(Prune()(graph))
    checked(Fuse(), graph)
    arrays = arrays_of(graph, 1)
    found, expected = interpret(after, arrays)["out"], interpret(graph, arrays)["out"]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_perceptron_without_hidden_layers() -> None:
    build = start()
    out, paths = channelwise("2x0e+2x1o", "0e+1o+2e", "0e")
    w = build.mlp("fc", "basis", [3, 2 * len(paths)])
    build.tensor_product("tp", "sent", "y", out, paths, weights=w)
    fused = checked(Fuse(radial=True), build.graph(build.scatter_sum("z", "tp", "receivers")))
    assert fused.node("z").inputs[2:4] == ("basis", "fc.layer0.weight")


def test_linear_layers_move_behind_the_sum() -> None:
    build = start()
    first = build.linear("first", product(build), "3x0e+1x1o")
    second = build.linear("second", first, "2x1o+1x0e")
    build.scatter_sum("z", second, "receivers", factor=0.5)
    fused = checked(Fuse(), build.graph("z"))
    assert kinds(fused)[-3:] == ["Convolution", "Linear", "Linear"]
    assert [node.name for node in fused.nodes][-3:] == ["tp.sum", "first.sum", "z"]
    assert regions(fused) == (Region("tp.sum", "first.sum"),)
    assert fused.types["tp.sum"].rows == "node"


def test_several_convolutions_share_harmonics() -> None:
    build = start()
    for name in ("a", "b"):
        build.scatter_sum(f"{name}.sum", product(build, name), "receivers")
    graph = build.graph("a.sum", "b.sum")
    fused = checked(Fuse(harmonics=True), graph)
    assert [region.convolution for region in regions(fused)] == ["a.sum", "b.sum"]
    assert "y" not in fused.types
    assert "sent" not in fused.types


def test_what_others_read_stays() -> None:
    build = start()
    build.scatter_sum("z", product(build), "receivers")
    build.norm("lengths", "sent")
    graph = build.graph("z", "lengths", "y")
    fused = checked(Fuse(radial=True, harmonics=True), graph)
    assert {"sent", "y"} <= set(fused.types)
    assert kinds(fused).count("Convolution") == 1


def unfused_output() -> TensorProductGraph:
    build = start()
    build.scatter_sum("z", product(build), "receivers")
    return build.graph("z", "tp")


def unfused_reader() -> TensorProductGraph:
    build = start()
    build.scatter_sum("z", product(build), "receivers")
    return build.graph("z", build.norm("n", "tp"))


def unfused_two_sums() -> TensorProductGraph:
    build = start()
    build.scatter_sum("z", product(build), "receivers")
    return build.graph("z", build.scatter_sum("back", "tp", "senders"))


def unfused_no_gather() -> TensorProductGraph:
    build = start()
    x = build.linear("edge_x", "sent", "2x0e+2x1o")
    build.tensor_product("tp", x, "y", *fully_connected("2x0e+2x1o", "0e+1o+2e", "2x0e"))
    return build.graph(build.scatter_sum("z", "tp", "receivers"))


def unfused_gathered_second() -> TensorProductGraph:
    build = start()
    build.tensor_product("tp", "y", "sent", *fully_connected("0e+1o+2e", "2x0e+2x1o", "2x0e"))
    return build.graph(build.scatter_sum("z", "tp", "receivers"))


def unfused_bias() -> TensorProductGraph:
    build = start()
    linear = build.linear("l", product(build), "2x0e", biases=True)
    return build.graph(build.scatter_sum("z", linear, "receivers"))


def unfused_layer_output() -> TensorProductGraph:
    build = start()
    linear = build.linear("l", product(build), "2x0e")
    return build.graph(build.scatter_sum("z", linear, "receivers"), "l")


def unfused_zero() -> TensorProductGraph:
    build = start()
    build.tensor_product("tp", "sent", "y", "2x2e", [(0, 0, 0, "uvu", False, 1.0)])
    return build.graph(build.scatter_sum("z", "tp", "receivers"))


@pytest.mark.parametrize(
    "make",
    [
        unfused_output,
        unfused_reader,
        unfused_two_sums,
        unfused_no_gather,
        unfused_gathered_second,
        unfused_bias,
        unfused_layer_output,
        unfused_zero,
    ],
)
@pytest.mark.parametrize("fuse", VARIANTS)
def test_left_alone(make: Callable[[], TensorProductGraph], fuse: Fuse) -> None:
    graph = make()
    assert fuse(graph) == graph
    assert regions(graph) == ()


def test_perceptron_that_others_read_is_not_split() -> None:
    build = start()
    build.scatter_sum("z", product(build), "receivers")
    fused = checked(Fuse(radial=True), build.graph("z", "tp.fc"))
    operation = fused.node("z").operation
    assert isinstance(operation, Convolution)
    assert operation.radial is None


def test_perceptron_of_shared_values_is_not_split() -> None:
    build = start()
    w = build.mlp("fc", build.input("s", "3x0e", rows="shared"), [3, 4])
    paths = [(0, 0, 0, "uvu", True, 1.0), (1, 0, 1, "uvu", True, 1.0)]
    build.tensor_product("tp", "sent", "y", "2x0e+2x1o", paths, weights=w)
    graph = build.graph(build.scatter_sum("z", "tp", "receivers"))
    assert checked(Fuse(radial=True), graph) == Fuse()(graph)


def test_unread_nodes_are_left_to_prune() -> None:
    build = start()
    build.norm("unread", "x")
    build.scatter_sum("z", product(build), "receivers")
    assert "unread" in checked(Fuse(), build.graph("z")).types


def test_convolution_read_twice_has_no_layer() -> None:
    build = start()
    build.scatter_sum("z", product(build), "receivers")
    fused = Fuse()(build.graph(build.linear("l", "z", "2x0e"), build.linear("m", "z", "2x0e")))
    assert regions(fused) == (Region("z", None),)
    assert isinstance(fused.node("l").operation, Linear)


@st.composite
def graphs(draw: st.DrawFn) -> TensorProductGraph:
    """Layers of products over edges, some with linear layers before or after the sum."""
    degrees = tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=3)))
    build = start(layout=draw(st.sampled_from(["mul_ir", "ir_mul"])), degrees=degrees)
    made = ["x"]
    for number in range(draw(st.integers(1, 2))):
        weights = draw(st.sampled_from(["mlp", "shared"]))
        last = product(build, f"tp{number}", weights)
        if draw(st.booleans()):
            biases = draw(st.booleans())
            last = build.linear(f"before{number}", last, "2x0e+1x1o", biases=biases)
        last = build.scatter_sum(f"sum{number}", last, "receivers", factor=draw(st.just(0.5)))
        if draw(st.booleans()):
            last = build.linear(f"after{number}", last, "2x1o+2x0e")
        made.append(last)
    extra = draw(st.lists(st.sampled_from(["sent", "y", "tp0"]), max_size=1))
    return build.graph(*made[1:], *extra)


@given(graphs(), st.sampled_from(VARIANTS), st.integers(0, 100))
def test_keeps_the_function(graph: TensorProductGraph, fuse: Fuse, seed: int) -> None:
    checked(fuse, graph, seed)
    checked(fuse, Prune()(graph), seed)


@given(graphs(), st.sampled_from(VARIANTS), st.integers(0, 100), st.booleans())
def test_keeps_the_symmetry(
    graph: TensorProductGraph, fuse: Fuse, seed: int, inverted: bool
) -> None:
    fused = fuse(Prune()(graph))
    arrays = arrays_of(graph, seed)
    rotation = o3.rand_matrix(dtype=torch.float64) * (-1 if inverted else 1)
    turned = dict(arrays)
    for name in graph.inputs:
        kind = graph.types[name]
        if isinstance(kind, ValueType):
            turned[name] = arrays[name] @ transform(kind, rotation).T
    before, after = interpret(fused, arrays), interpret(fused, turned)
    for name in fused.outputs:
        expected = before[name] @ transform(fused.types[name], rotation).T
        np.testing.assert_allclose(after[name], expected, atol=1e-8, rtol=1e-6)


def transform(kind: ValueType, rotation: torch.Tensor) -> np.ndarray:
    """The matrix by which a value turns, in its layout."""
    blocks = []
    for mul, ir in o3.Irreps(kind.irreps):
        matrix = ir.D_from_matrix(rotation)
        pair = (torch.eye(mul), matrix) if kind.layout == "mul_ir" else (matrix, torch.eye(mul))
        blocks.append(torch.kron(*pair))
    return torch.block_diag(*blocks).numpy()
