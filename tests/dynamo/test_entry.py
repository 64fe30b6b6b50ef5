"""torch.compile with the backend: numbers, derivatives, batch sizes, options, entry point."""

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from e3nn import o3
from torch import fx

from tests.dynamo.models import (
    SIZES,
    batch,
    convolutions,
    demo_model,
    everything,
    float64,
    largest_difference,
    stock_model,
    watched,
)
from tvm_equi.dynamo import backend, reports
from tvm_equi.dynamo.entry import parse_options
from tvm_equi.errors import ArgumentError, ArgumentTypeError

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-10


@pytest.mark.parametrize("make", [demo_model, stock_model])
def test_same_numbers_in_every_batch_with_one_compilation(
    make: Callable[[], torch.nn.Module],
) -> None:
    model, graphs = make(), list[fx.GraphModule]()
    compiled = torch.compile(model, backend=watched(graphs), fullgraph=True, dynamic=True)
    for seed, (nodes, edges) in enumerate(SIZES):
        inputs = batch(nodes, edges, seed)
        ours, theirs = (everything(f, model, inputs) for f in (compiled, model))
        assert largest_difference(ours, theirs) < TOLERANCE
    assert len(graphs) == 1
    assert len(convolutions(graphs[0])) == 2
    assert not torch._dynamo.utils.counters["graph_break"]


def test_no_edges() -> None:
    model = demo_model()
    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    for inputs in (batch(4, 0), batch(6, 9), batch(4, 0, 1)):
        ours, theirs = (everything(f, model, inputs) for f in (compiled, model))
        assert largest_difference(ours, theirs) < TOLERANCE


def test_default_shapes_are_compiled_again_once() -> None:
    model, graphs = demo_model(), list[fx.GraphModule]()
    compiled = torch.compile(model, backend=watched(graphs), fullgraph=True)
    for nodes, edges in SIZES:
        inputs = batch(nodes, edges)
        torch.testing.assert_close(compiled(**inputs), model(**inputs), rtol=0, atol=TOLERANCE)
    assert len(graphs) == 2


def test_equivariance() -> None:
    model = demo_model()
    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    inputs, turn = batch(6, 20), -o3.rand_matrix(dtype=torch.float64)
    turned = inputs | {name: inputs[name] @ turn.T for name in ("positions", "shifts")}
    forces = []
    for given in (inputs, turned):
        energy = compiled(**given).sum()
        forces.append(torch.autograd.grad(energy, inputs["positions"])[0])
    torch.testing.assert_close(compiled(**inputs), compiled(**turned), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(forces[0], forces[1], rtol=0, atol=TOLERANCE)


class Tail(torch.nn.Module):
    """A layer and a sum of squares."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = o3.Linear("2x0e + 1x1o", "2x0e + 1x1o")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return self.layer(x).square().sum()


def test_float32() -> None:
    model, x = Tail(), torch.randn(6, 5)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)
    assert reports()[-1].captured == (("Linear", 1),)


def test_rest_by_inductor() -> None:
    with float64():
        model = Tail()
    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    trained = torch.compile(model, backend=backend, dynamic=True, options={"rest": "inductor"})
    inputs = [x, *model.parameters()]
    gradients = torch.autograd.grad(trained(x), inputs)
    wanted = torch.autograd.grad(model(x), inputs)
    assert largest_difference(list(gradients), list(wanted)) < TOLERANCE
    assert reports()[-1].rest == "inductor"
    with torch.no_grad():
        plain = torch.compile(model, backend=backend, dynamic=True)
        torch.testing.assert_close(plain(x), model(x), rtol=0, atol=TOLERANCE)
    assert reports()[-1].rest == "inductor"


def test_rest_is_eager_where_gradients_may_be_wanted() -> None:
    assert parse_options(None, None) == "eager"
    with torch.no_grad():
        assert parse_options({}, "default") == "inductor"
        assert parse_options({"rest": "eager"}, None) == "eager"


def test_refuses_options() -> None:
    where = re.escape("torch.compile(backend='tvm_equi')")
    with pytest.raises(ArgumentError, match=rf"{where}: options: expected one of 'rest', got 're"):
        parse_options({"resst": "eager"}, None)
    with pytest.raises(ArgumentError, match=r"options\['rest'\]: expected one of 'eager', 'indu"):
        parse_options({"rest": "triton"}, None)
    with pytest.raises(ArgumentError, match=r"mode: expected None or 'default', got 'max-autotu"):
        parse_options(None, "max-autotune")
    with pytest.raises(ArgumentTypeError, match=r"options: expected a dict, got list"):
        parse_options(["rest"], None)


def test_refusal_reaches_the_user() -> None:
    compiled = torch.compile(Tail(), backend=backend, options={"mode": 1})
    with pytest.raises(Exception, match=r"options: expected one of 'rest', got 'mode'"):
        compiled(torch.randn(2, 5))


def test_entry_point() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("[project.entry-points.torch_dynamo_backends]\n")[2]
    name, _, value = section.partition("\n")[0].partition(" = ")
    assert name == "tvm_equi"
    found = EntryPoint(name, value.strip('"'), "torch_dynamo_backends").load()
    assert found is backend
