"""Models as exported programs: values and gradients, sizes that may change, clear refusals."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.graphs import convolution
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.errors import ArgumentError, ArgumentTypeError, TvmEquiError, UnsupportedError
from tvm_equi.export.capture import Captured, Value, capture, capture_graph, example_inputs
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder
from tvm_equi.nn.graph_module import GraphModule

SMALL = Settings(
    num_channels=2, num_layers=2, max_degree=1, feature_degree=1, num_basis=3, num_hidden=4
)


@pytest.fixture(scope="module")
def module() -> GraphModule:
    torch.manual_seed(0)
    return GraphModule(DEFAULT_PIPELINE(interaction_graph(SMALL, "float64")))


@pytest.fixture(scope="module")
def captured(module: GraphModule) -> Captured:
    return capture_graph(module, {"gradient": ("energy", "positions")})


def structure(num_nodes: int, num_edges: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    senders, receivers = torch.randint(0, num_nodes, (2, num_edges), generator=generator)
    kinds = torch.randint(0, len(SMALL.species), (num_nodes,), generator=generator)
    return {
        "positions": torch.rand(num_nodes, 3, generator=generator, dtype=torch.float64) * 2,
        "species": torch.nn.functional.one_hot(kinds, len(SMALL.species)).double(),
        "senders": senders,
        "receivers": receivers,
        "shifts": torch.rand(num_edges, 3, generator=generator, dtype=torch.float64) + 0.3,
    }


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(4, 11), (1, 3), (7, 1), (3, 0)])
def test_values_and_gradients_of_other_sizes(
    module: GraphModule, captured: Captured, num_nodes: int, num_edges: int
) -> None:
    inputs = structure(num_nodes, num_edges)
    energy, gradient = captured.program.module()(*inputs.values())
    positions = inputs["positions"].clone().requires_grad_()
    expected = module(**(inputs | {"positions": positions}))
    torch.testing.assert_close(energy, expected.detach())
    wanted = torch.autograd.grad(expected.sum(), positions, materialize_grads=True)
    torch.testing.assert_close(gradient, *wanted)


def test_what_a_program_takes_and_gives(module: GraphModule, captured: Captured) -> None:
    assert captured.inputs == (
        Value("positions", "float64", ("nodes", 3)),
        Value("species", "float64", ("nodes", len(SMALL.species))),
        Value("senders", "int64", ("edges",)),
        Value("receivers", "int64", ("edges",)),
        Value("shifts", "float64", ("edges", 3)),
    )
    assert captured.outputs == (
        Value("energy", "float64", (1,)),
        Value("gradient", "float64", ("nodes", 3)),
    )
    assert set(captured.program.state_dict) == set(module.graph.parameters)
    called = {str(node.target) for node in captured.program.graph.nodes}
    ours = {name for name in called if name.startswith("tvm_equi")}
    assert ours == {f"tvm_equi.{name}.default" for name in ("run", "convolve", "sort_edges")}
    assert all(name.startswith(("aten.", "tvm_equi.", "<")) for name in called if "." in name)


def test_module_is_left_as_it_was(module: GraphModule, captured: Captured) -> None:
    assert all(type(value) is torch.nn.Parameter for value in module.parameters())
    inputs, sizes = example_inputs(module)
    assert module(**inputs).requires_grad
    assert sizes["shifts"] == ("edges", 3)


class Scaled(torch.nn.Module):
    """Gives a tuple, has a buffer, and takes its own gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(3.0))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.detach().requires_grad_()
        value = (x**2).sum() * self.scale
        return value, torch.autograd.grad(value, x)[0]


def test_a_model_that_takes_its_own_gradient() -> None:
    found = capture(Scaled(), {"x": torch.rand(4, 3)}, {"x": ("rows", 3)}, ["value", "slope"])
    x = torch.rand(6, 3)
    value, slope = found.program.module()(x)
    torch.testing.assert_close(slope, 6 * x)
    torch.testing.assert_close(value, 3 * (x**2).sum())
    assert found.outputs == (Value("value", "float32", ()), Value("slope", "float32", ("rows", 3)))


class Two(torch.nn.Module):
    """Adds values of two inputs, in some way."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.function(self, x, y)


def counted(module: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    module.count += 1
    return x


X, Y = torch.rand(4, 3), torch.rand(5, 3)
SIZES: dict[str, Any] = {"x": ("rows", 3), "y": ("others", 3)}


@pytest.mark.parametrize(
    ("function", "inputs", "sizes", "outputs", "error", "message"),
    [
        (None, {"x": X, "y": Y}, {"x": ("rows", 3)}, ["a"], ArgumentError, r"sizes: y: expected"),
        (None, {"x": X}, SIZES, ["a"], ArgumentError, r"sizes: expected one of 'x', got 'y'"),
        (None, {"x": X, "y": 1}, SIZES, ["a"], ArgumentTypeError, "y: expected a tensor, got int"),
        (None, {"x": X, "y": X}, SIZES, ["a"], ArgumentError, "other numbers of rows and others"),
        (None, {"x": X, "y": Y[:1]}, SIZES, ["a"], ArgumentError, "others of 2 or more, got 1"),
        (None, {"x": X, "y": Y}, {"x": ("n", 3), "y": ("n", 3)}, ["a"], ArgumentError, "n = 4"),
        (None, {"x": X, "y": Y}, {"x": ("n", 2), "y": ("m", 3)}, ["a"], ArgumentError, r"\['n', 2"),
        (None, {"x-1": X}, {"x-1": ("n", 3)}, ["a"], ArgumentError, "names of Python, got 'x-1'"),
        (lambda m, x, y: x, {"x": X, "y": Y}, SIZES, ["a", "b"], ArgumentError, "each of 1"),
        (lambda m, x, y: {"c": x}, {"x": X, "y": Y}, SIZES, ["a"], ArgumentError, "'c', got 'a'"),
        (
            lambda m, x, y: x[: int(y.sum())],
            {"x": X, "y": Y},
            SIZES,
            ["a"],
            UnsupportedError,
            "expected steps that depend on sizes alone, got one that reads values",
        ),
        (
            lambda m, x, y: x.view(2, 2, 3),
            {"x": X, "y": Y},
            SIZES,
            ["a"],
            UnsupportedError,
            "any of the named sizes, got rows = 4 of x",
        ),
        (
            lambda m, x, y: x @ y[:4].T if x.shape[0] == y.shape[0] - 1 else x,
            {"x": X, "y": Y},
            SIZES,
            ["a"],
            UnsupportedError,
            "any of the named sizes, got",
        ),
        (
            lambda m, x, y: x if x.shape[0] < 9 else x + 1,
            {"x": X, "y": Y},
            SIZES,
            ["a"],
            UnsupportedError,
            "any of the named sizes, got the condition s[0-9]+ < 9",
        ),
        (
            lambda m, x, y: torch.cat([x, y]),
            {"x": X, "y": Y},
            SIZES,
            ["a"],
            UnsupportedError,
            r"a: expected an output of sizes \['others', 'rows'\]",
        ),
        (counted, {"x": X, "y": Y}, SIZES, ["a"], UnsupportedError, "got a change of count"),
        *(
            (function, {"x": X, "y": Y}, SIZES, ["a"], UnsupportedError, "got a change of x")
            for function in (
                lambda m, x, y: x.mul_(2),
                lambda m, x, y: x[0].add_(1) + y[0],
            )
        ),
        *(
            (
                lambda m, x, y, found=found: found,
                {"x": X, "y": Y},
                SIZES,
                ["a"],
                ArgumentError,
                text,
            )
            for found, text in (
                (None, "expected one that gives a tensor, a tuple of them or a dict, got NoneType"),
                ((None,), "outputs: expected a tensor of a, got NoneType"),
            )
        ),
        *(
            (lambda m, x, y: (x, y), {"x": X, "y": Y}, SIZES, outputs, ArgumentError, text)
            for outputs, text in (
                (["a", "a"], r"outputs: expected different names, got \['a', 'a'\]"),
                ("ab", "outputs: expected different names, got 'ab'"),
            )
        ),
        (
            lambda m, **inputs: inputs["lambda"],
            {"lambda": X},
            {"lambda": ("rows", 3)},
            ["a"],
            ArgumentError,
            "expected names of Python, got 'lambda'",
        ),
    ],
)
def test_refused(
    function: Any,
    inputs: dict[str, Any],
    sizes: dict[str, Any],
    outputs: list[str],
    error: type[TvmEquiError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        capture(Two(function), inputs, sizes, outputs)


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ({"energy": ("energy", "positions")}, "energy: expected a new name, got an output's"),
        ({"g": ("enrgy", "positions")}, "got 'enrgy'; did you mean 'energy'"),
        ({"g": ("energy", "senders")}, "expected one of 'positions', 'shifts', 'species'"),
        ({"g": ("energy",)}, r"g: expected \(output, input\), got \('energy',\)"),
    ],
)
def test_gradients_refused(
    module: GraphModule, gradients: dict[str, tuple[str, str]], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        capture_graph(module, gradients)


def test_several_outputs() -> None:
    graph = DEFAULT_PIPELINE(convolution())
    module = GraphModule(graph)
    found = capture_graph(module)
    inputs, _ = example_inputs(module)
    (value,) = found.program.module()(*inputs.values())
    torch.testing.assert_close(value, module(**inputs).detach())


def test_a_gradient_to_what_an_output_does_not_depend_on_is_zero() -> None:
    build = GraphBuilder(dtype="float64")
    for name in ("a", "b"):
        build.activation(f"f({name})", build.input(name, "2x0e", rows="node"), ["silu"])
    module = GraphModule(build.graph("f(a)", "f(b)"))
    captured = capture_graph(module, {"none": ("f(a)", "b")})
    *_, gradient = captured.program.module()(*example_inputs(module)[0].values())
    assert gradient.shape == (5, 2)
    assert not gradient.any()


class _Indexed(torch.nn.Module):
    def forward(self, add: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return (add + 1)[index].sum(1)


def test_inputs_may_be_called_as_operators_are() -> None:
    inputs = {"add": torch.randn(5, 3), "index": torch.randint(0, 5, (7,))}
    sizes = {"add": ("nodes", 3), "index": ("edges",)}
    captured = capture(_Indexed(), inputs, sizes, ["sum"])
    assert [value.name for value in captured.inputs] == ["add", "index"]
    given = torch.randn(4, 3), torch.randint(0, 4, (6,))
    (found,) = captured.program.module()(*given)
    torch.testing.assert_close(found, _Indexed()(*given))
