"""What is captured, and that nothing changes for anybody else."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import e3nn.util.jit
import pytest
import torch
from e3nn import nn, o3
from torch import fx

import tvm_equi
from tests.dynamo.models import float64, largest_difference, watched
from tvm_equi.dynamo import backend, reports
from tvm_equi.dynamo.capture import install, is_ours, take_reasons

TOLERANCE = 1e-10


class Weighted(torch.nn.Module):
    """A product that is given its weights by instruction, by name."""

    def __init__(self) -> None:
        super().__init__()
        instructions = [(0, 0, 0, "uvu", True), (0, 0, 1, "uvu", True)]
        self.tp = o3.TensorProduct(
            "2x1o", "1x1o", "2x0e + 2x1e", instructions, internal_weights=False
        )
        self.weights = torch.nn.ParameterList(torch.randn(2, 1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product."""
        return self.tp(x[:, :6], y=x[:, 2:5], weight=[self.weights[0], self.weights[1]])


class Broadcast(torch.nn.Module):
    """A product of many rows and one."""

    def __init__(self) -> None:
        super().__init__()
        self.tp = o3.FullTensorProduct("1x0e + 1x1o", "1x0e + 1x1o")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product."""
        return self.tp(x[..., :4], x[:1, 2:6])


class FromOutside(torch.nn.Module):
    """A layer with weights of every row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = o3.Linear("2x1o", "3x1o", internal_weights=False, shared_weights=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output."""
        return self.layer(x, weight=x.sin())


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "biases": lambda: o3.Linear("3x0e + 1x1o", "2x0e + 1x1o", biases=True),
    "square": lambda: o3.TensorSquare("3x0e + 1x1o"),
    "norm": lambda: o3.Norm("3x0e + 1x1o"),
    "norm activation": lambda: nn.NormActivation("3x0e + 1x1o", torch.sigmoid),
    "activation": lambda: nn.Activation("3x0e + 1x1o", [torch.tanh, None]),
    "gate": lambda: nn.Gate("2x0e", [torch.tanh], "1x0e", [torch.sigmoid], "1x1o"),
    "extract": lambda: nn.Extract("3x0e + 1x1o", ["1x1o + 3x0e", ""], [(1, 0), ()]),
    "harmonics": lambda: o3.SphericalHarmonics([2, 0, 1, 2], True, "norm"),
    "weights by instruction": Weighted,
    "weights of rows": FromOutside,
    "broadcast": Broadcast,
}


@contextmanager
def generated_code(mode: str) -> Iterator[None]:
    """How e3nn runs what it generates: "eager" or "script"."""
    before = e3nn.get_optimization_defaults()
    is_new = "jit_mode" in before
    option = {"jit_mode": mode} if is_new else {"jit_script_fx": mode == "script"}
    e3nn.set_optimization_defaults(**option)
    yield
    e3nn.set_optimization_defaults(**{name: before[name] for name in option})


@pytest.fixture(autouse=True)
def eager_code() -> Iterator[None]:
    """What is left to dynamo can be traced."""
    with generated_code("eager"):
        yield
    take_reasons()  # of what was not compiled to the end


@pytest.mark.parametrize("mode", ["eager", "script"])
@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str, mode: str) -> None:
    with generated_code(mode), float64():
        module = MODULES[name]()
    compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=True)
    columns = 3 if name == "harmonics" else 6
    x = torch.randn(4, columns, dtype=torch.float64, requires_grad=True)
    values = [sum_of_squares(function(x)) for function in (compiled, module)]
    inputs = [x, *module.parameters()]
    ours, theirs = ([v, *torch.autograd.grad(v, inputs, create_graph=True)] for v in values)
    assert largest_difference(ours, theirs) < TOLERANCE
    assert reports()[-1].captured or name == "activation"


class OwnConvolution(torch.nn.Module):
    """Our convolution, on a ring."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = tvm_equi.TensorProductConv(
            "3x0e", "1x1o", "3x1o", [(0, 0, 0, "uvu", True)], shared_weights=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sums over edges."""
        senders = torch.arange(x.shape[0])
        edges = torch.stack([senders, senders.flip(0)])
        return self.conv(x[:, :3], x[:, 3:], x[:, :3].sin(), edges)


class OwnSquare(torch.nn.Module):
    """Our square, of some columns."""

    def __init__(self) -> None:
        super().__init__()
        self.square = tvm_equi.nn.TensorSquare("3x0e + 1x1o", "2x0e")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The square."""
        return self.square(x)


OWN: dict[str, Callable[[], torch.nn.Module]] = {
    "linear": lambda: tvm_equi.Linear("3x0e + 1x1o", "2x0e + 1x1o", biases=True),
    "harmonics": lambda: tvm_equi.SphericalHarmonics([2, 0, 1], True, "norm"),
    "square": OwnSquare,
    "convolution": OwnConvolution,
}


@pytest.mark.parametrize("name", OWN)
def test_own_modules(name: str) -> None:
    module = OWN[name]().double()
    compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=True)
    x = torch.randn(4, 3 if name == "harmonics" else 6, dtype=torch.float64, requires_grad=True)
    values = [function(x).square().sum() for function in (compiled, module)]
    inputs = [x, *module.parameters()]
    ours, theirs = ([v, *torch.autograd.grad(v, inputs, create_graph=True)] for v in values)
    assert largest_difference(ours, theirs) < TOLERANCE


def sum_of_squares(values: Any) -> torch.Tensor:
    """Of a tensor or several."""
    parts = values if isinstance(values, tuple) else (values,)
    return sum((part.square().sum() for part in parts), torch.zeros(()))


def test_eager_calls_are_untouched() -> None:
    layer = o3.Linear("2x0e", "2x0e")
    x = torch.randn(3, 2)
    before = len(reports())
    assert torch.equal(layer(x), layer.forward(x))
    assert layer(x).grad_fn.name() == layer.forward(x).grad_fn.name()
    assert len(reports()) == before


def test_other_backends_are_untouched() -> None:
    graphs = []

    def other(module: fx.GraphModule, inputs: Any) -> Any:
        graphs.append(module)
        return module.forward

    layer = o3.Linear("2x0e + 1x1o", "2x0e + 1x1o")
    both = torch.compile(lambda x: layer(o3.spherical_harmonics([0, 0, 1], x, True)), backend=other)
    x = torch.randn(3, 3)
    wanted = layer(o3.spherical_harmonics([0, 0, 1], x, True))
    torch.testing.assert_close(both(x), wanted)
    torch._dynamo.reset()
    first = len(graphs)
    assert all("tvm_equi" not in str(node.target) for g in graphs for node in g.graph.nodes)
    ours = torch.compile(layer, backend=backend, fullgraph=True)
    rest = torch.compile(layer, backend=other, fullgraph=True)
    given = torch.randn(3, 5)
    for function in (ours, rest, ours, rest):
        torch.testing.assert_close(function(given), layer(given))
    assert len(graphs) == first + 1  # no graph of one backend is used by the other


def test_torchscript_is_untouched() -> None:
    layer = o3.Linear("2x0e + 1x1o", "2x0e + 1x1o")
    x = torch.randn(3, 5)
    torch.testing.assert_close(e3nn.util.jit.script(layer)(x), layer(x))


def test_replaced_weights_are_used() -> None:
    layer, graphs = o3.Linear("2x0e + 1x1o", "2x0e + 1x1o"), list[fx.GraphModule]()
    compiled = torch.compile(layer, backend=watched(graphs), fullgraph=True)
    x = torch.randn(3, 5)
    compiled(x)
    state = {name: torch.randn_like(value) for name, value in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)
    torch.testing.assert_close(compiled(x), layer(x))
    layer.weight = torch.nn.Parameter(torch.randn_like(layer.weight))
    torch.testing.assert_close(compiled(x), layer(x))
    assert len(graphs) == 1


def test_subclass_with_a_forward_of_its_own() -> None:
    class Twice(o3.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    layer, x = Twice("2x0e", "2x0e"), torch.randn(3, 2)
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    assert reports()[-1].captured == ()
    assert reports()[-1].reasons == ("Twice defines a forward of its own",)


def test_hooks_run() -> None:
    model = torch.nn.Sequential(o3.Linear("2x0e", "2x0e"))
    model[0].register_forward_hook(lambda module, given, out: 3 * out)
    compiled, x = torch.compile(model, backend=backend, fullgraph=True), torch.randn(3, 2)
    torch.testing.assert_close(compiled(x), model(x))
    assert reports()[-1].captured == ()


def test_other_dtypes_are_left() -> None:
    layer, x = o3.Linear("2x0e", "2x0e").bfloat16(), torch.randn(3, 2).bfloat16()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    (reason,) = reports()[-1].reasons
    assert reason == "Linear gets operands that are not all float32 or all float64 on one device"


def test_what_dynamo_fails_on_breaks_the_graph() -> None:
    model = torch.nn.Sequential(
        o3.Linear("2x0e + 1x1o", "1x0e + 1x1o"), nn.S2Activation("1x0e + 1x1o", torch.tanh, 10)
    )
    compiled, x = torch.compile(model, backend=backend), torch.randn(3, 5)
    torch.testing.assert_close(compiled(x), model(x))
    assert reports()[-1].captured == (("Linear", 1),)
    reason = "S2Activation breaks the graph: dynamo fails on its loops over irreps, with any "
    assert reports()[-1].reasons == (f"{reason}backend",)


def test_is_ours() -> None:
    @functools.wraps(backend)
    def wrapped(*args: Any) -> Any:
        return backend(*args)

    assert is_ours(backend)
    assert is_ours(wrapped)
    assert is_ours(functools.partial(wrapped, options={}))
    assert not is_ours(lambda module, inputs: module)


def test_installing_twice_does_nothing() -> None:
    before = o3.Linear.__call__
    install()
    assert o3.Linear.__call__ is before
