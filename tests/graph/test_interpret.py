"""The oracle against e3nn, operation by operation."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from e3nn.nn import FullyConnectedNet

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder, interpret
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import channelwise, fully_connected
from tvm_equi.nn.symmetric_reference import symmetric_reference


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _float64() -> object:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("shared", [True, False])
def test_tensor_product(shared: bool) -> None:
    irreps = "3x0e+2x1o", "1x0e+2x1o", "2x0e+3x1o+1x1e"
    tp = o3.FullyConnectedTensorProduct(*irreps, shared_weights=shared, internal_weights=False)
    build = GraphBuilder()
    x, y = build.input("x", irreps[0], rows="node"), build.input("y", irreps[1], rows="node")
    w = build.input("w", f"{tp.weight_numel}x0e", rows="shared" if shared else "node")
    graph = build.graph(build.tensor_product("z", x, y, *fully_connected(*irreps), weights=w))
    given = {
        "x": randn(4, 9),
        "y": randn(4, 7),
        "w": randn(*(() if shared else (4,)), tp.weight_numel),
    }
    np.testing.assert_allclose(interpret(graph, given)["z"], tp(*given.values()), atol=1e-12)


def test_linear_with_biases() -> None:
    linear = o3.Linear("3x0e+2x1o", "2x1o+2x0e", biases=True)
    linear.bias.data = randn(2)
    build = GraphBuilder()
    x = build.input("x", "3x0e+2x1o", rows="node")
    graph = build.graph(build.linear("z", x, "2x1o+2x0e", biases=True))
    given = {"x": randn(4, 9), "z.weight": linear.weight.detach(), "z.bias": linear.bias.detach()}
    expected = linear(given["x"]).detach().numpy()
    np.testing.assert_allclose(interpret(graph, given)["z"], expected, atol=1e-12)


@pytest.mark.parametrize("rows", ["node", "shared"])
def test_symmetric_contraction(rows: str) -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    w = build.input("w", "18x0e", rows=rows)
    graph = build.graph(build.symmetric_contraction("z", x, "2x0e+2x1o", 3, weights=w))
    given = {"x": randn(4, 8), "w": randn(*((4,) if rows == "node" else ()), 18)}
    node = next(node for node in graph.nodes if node.name == "z")
    expected = symmetric_reference(node.operation)(given["x"], given["w"])
    np.testing.assert_allclose(interpret(graph, given)["z"], expected, atol=1e-12)


@pytest.mark.parametrize("normalization", ["component", "norm", "integral"])
@pytest.mark.parametrize("normalize", [True, False])
def test_spherical_harmonics(normalization: str, normalize: bool) -> None:
    build = GraphBuilder()
    v = build.input("v", "1o", rows="edge")
    options = {"normalize": normalize, "normalization": normalization}
    graph = build.graph(build.spherical_harmonics("y", v, (0, 3, 1, 6), **options))
    vectors = randn(5, 3)
    expected = o3.spherical_harmonics([0, 3, 1, 6], vectors, **options)
    np.testing.assert_allclose(interpret(graph, {"v": vectors})["y"], expected, atol=1e-11)


def test_perceptron() -> None:
    net = FullyConnectedNet([4, 8, 8, 3], torch.nn.functional.silu)
    build = GraphBuilder()
    x = build.input("x", "4x0e", rows="edge")
    graph = build.graph(build.mlp("m", x, [4, 8, 8, 3]))
    given = {f"m.{name}": value.detach().flatten() for name, value in net.state_dict().items()}
    given["x"] = randn(5, 4)
    expected = net(given["x"]).detach().numpy()
    np.testing.assert_allclose(interpret(graph, given)["m"], expected, atol=1e-12)


def test_radial_basis() -> None:
    build = GraphBuilder()
    r = build.input("r", "0e", rows="edge")
    graph = build.graph(build.radial_basis("b", r, 8, cutoff=3.0, power=6))
    lengths = torch.tensor([[0.5], [1.5], [2.9], [3.5]])
    bessel = soft_one_hot_linspace(lengths[:, 0], 0.0, 3.0, 8, "bessel", cutoff=True)
    u = lengths / 3.0
    envelope = (1 - 28 * u**6 + 48 * u**7 - 21 * u**8) * (u < 1)
    np.testing.assert_allclose(interpret(graph, {"r": lengths})["b"], bessel * envelope, atol=1e-12)


def test_cutoff() -> None:
    build = GraphBuilder()
    r = build.input("r", "0e", rows="edge")
    graph = build.graph(build.cutoff("k", r, cutoff=3.0, power=4))
    lengths = torch.tensor([[0.0], [0.5], [1.5], [2.9], [3.0], [3.5]])
    u = lengths / 3.0
    expected = (1 - 15 * u**4 + 24 * u**5 - 10 * u**6) * (u < 1)
    assert expected[0] == 1
    np.testing.assert_allclose(interpret(graph, {"r": lengths})["k"], expected, atol=1e-12)


def test_rows_and_parts() -> None:
    build = GraphBuilder(layout="ir_mul")
    x = build.input("x", "2x0e+2x1o", rows="node")
    i = build.index("i", rows="edge", into="node")
    build.gather("g", x, i)
    build.scatter_sum("s", "g", i, factor=2.0)
    build.slice("part", x, [(1, 1, 2)])
    build.norm("n", x)
    build.concat("c", "part", x)
    build.sum("t", x, factor=3.0)
    build.combine("a", (2, x), (-1, x))
    outputs = ("g", "s", "part", "n", "c", "t", "a")
    rows = randn(3, 8)
    found = interpret(build.graph(*outputs), {"x": rows, "i": torch.tensor([2, 2, 0])})
    np.testing.assert_array_equal(found["g"], rows[[2, 2, 0]])
    np.testing.assert_allclose(found["s"], 2 * rows * torch.tensor([[1.0], [0.0], [2.0]]))
    np.testing.assert_array_equal(found["part"], rows[:, 3::2])
    lengths = rows[:, 2:].reshape(3, 3, 2).norm(dim=1)
    np.testing.assert_allclose(found["n"], torch.cat([rows[:, :2].abs(), lengths], 1))
    np.testing.assert_array_equal(found["c"][:, :3], found["part"])
    np.testing.assert_allclose(found["t"], 3 * rows.sum(0))
    np.testing.assert_allclose(found["a"], rows)


def test_activation() -> None:
    build = GraphBuilder()
    x = build.input("x", "+".join(["2x0e"] * 6), rows="node")
    names = ["silu", "tanh", "sigmoid", "relu", "abs", "identity"]
    graph = build.graph(build.activation("a", x, names))
    rows = randn(3, 12)
    functions: list[Callable[[torch.Tensor], torch.Tensor]] = [
        torch.nn.functional.silu, torch.tanh, torch.sigmoid, torch.relu, torch.abs, lambda t: t,
    ]  # fmt: skip
    found = interpret(graph, {"x": rows})["a"]
    for number, function in enumerate(functions):
        part = slice(2 * number, 2 * number + 2)
        ratio = found[:, part] / np.where(function(rows[:, part]) == 0, 1, function(rows[:, part]))
        assert np.unique(ratio[found[:, part] != 0].round(9)).size == 1


@pytest.mark.parametrize("inside", [True, False])
def test_convolution(inside: bool) -> None:
    """e3nn's product of gathered rows, summed; with weights and harmonics given or made inside."""
    irreps, harmonics = "2x0e+2x1o", "0e+1o+2e"
    out, paths = channelwise(irreps, harmonics, "0e+1o")
    tp = o3.TensorProduct(irreps, harmonics, out, paths, shared_weights=False)
    build = GraphBuilder()
    x, v = build.input("x", irreps, rows="node"), build.input("v", "1o", rows="edge")
    y = build.spherical_harmonics("y", v, range(3))
    w = build.mlp("fc", build.input("b", "3x0e", rows="edge"), [3, 4, tp.weight_numel])
    j, i = (build.index(name, rows="edge", into="node") for name in "ji")
    build.tensor_product("tp", build.gather("g", x, j), y, out, paths, weights=w)
    graph = build.graph(build.scatter_sum("z", "tp", i, factor=0.5))
    graph = Fuse(radial=inside, harmonics=inside)(graph)
    assert graph.node("z").kind == "Convolution"
    net = FullyConnectedNet([3, 4, tp.weight_numel], torch.nn.functional.silu)
    given = {f"fc.{name}": value.detach().flatten() for name, value in net.state_dict().items()}
    given |= {"x": randn(4, 8), "v": randn(6, 3), "b": randn(6, 3)}
    given |= {"j": torch.tensor([0, 1, 2, 3, 0, 1]), "i": torch.tensor([1, 1, 0, 3, 3, 1])}
    spherical = o3.spherical_harmonics([0, 1, 2], given["v"], True, "component")
    messages = tp(given["x"][given["j"]], spherical, net(given["b"])).detach()
    expected = 0.5 * torch.zeros(4, tp.irreps_out.dim).index_add(0, given["i"], messages)
    np.testing.assert_allclose(interpret(graph, given)["z"], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "interpret: x: expected an array, got none"),
        ({"x": np.zeros((3, 5))}, "interpret: x: expected shape [3, 6], got [3, 5]"),
        (
            {"x": np.zeros((3, 6)), "y": np.zeros((4, 6))},
            "interpret: y: expected shape [3, 6], got [4, 6]",
        ),
    ],
)
def test_wrong_arrays(given: dict[str, np.ndarray], message: str) -> None:
    build = GraphBuilder()
    x, y = build.input("x", "2x1o", rows="node"), build.input("y", "2x1o", rows="node")
    with pytest.raises(GraphError) as error:
        interpret(build.graph(build.combine("z", (1, x), (1, y))), given)
    assert str(error.value) == message
