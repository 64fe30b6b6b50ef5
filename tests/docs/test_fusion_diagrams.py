"""The diagrams of the page: short, run as they stand, and equal to the same layers with e3nn."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from e3nn import o3

from tests.docs.diagrams import LAYERS, Tensors
from tvm_equi.graph import DEFAULT_PIPELINE, Graph, TensorProductGraph
from tvm_equi.graph.types import ValueType
from tvm_equi.nn.graph_module import GraphModule

PAGE = (Path(__file__).parents[2] / "docs" / "fusion_diagrams.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NUM_NODES, NUM_EDGES = 5, 14


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def diagram(name: str) -> TensorProductGraph:
    """A layer of the page, over inputs of its own."""
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        if "def " in example or "CUTOFF =" in example:
            exec(example, names)
    graph = Graph(dtype="float64")
    legs = {
        "x": graph.input("x", "4x0e + 4x1o", rows="node"),
        "species": graph.input("species", "3x0e", rows="node"),
        "vectors": graph.input("vectors", "1o", rows="edge"),
        "senders": graph.index("senders", rows="edge", into="node"),
        "receivers": graph.index("receivers", rows="edge", into="node"),
    }
    legs |= {"centers": legs["receivers"], "neighbours": legs["senders"]}
    layer = names[name]
    out = layer(**{key: legs[key] for key in inspect.signature(layer).parameters})
    return graph.build(*(out if isinstance(out, tuple) else (out,)))


def random_inputs(graph: TensorProductGraph) -> Tensors:
    """Inputs with every species, and every node among senders and receivers."""
    ends = torch.arange(NUM_EDGES) % NUM_NODES
    given = {
        "x": torch.randn(NUM_NODES, 16),
        "species": torch.nn.functional.one_hot(torch.arange(NUM_NODES) % 3, 3).double(),
        "vectors": torch.randn(NUM_EDGES, 3),
        "senders": ends[torch.randperm(NUM_EDGES)],
        "receivers": ends[torch.randperm(NUM_EDGES)],
    }
    return {name: given[name] for name in graph.inputs}


def as_list(found: Any) -> list[torch.Tensor]:
    return list(found.values()) if isinstance(found, dict) else [found]


def derivatives(
    run: Callable[[Tensors, Tensors], list[torch.Tensor]], inputs: Tensors, parameters: Tensors
) -> dict[str, torch.Tensor]:
    """Values, first and second derivatives of random functionals, to inputs and parameters."""
    values = {n: v.clone().requires_grad_(v.is_floating_point()) for n, v in inputs.items()}
    weights = {n: v.clone().requires_grad_() for n, v in parameters.items()}
    leaves = {n: v for n, v in {**values, **weights}.items() if v.requires_grad}
    outputs = run(values, weights)
    found = {f"value {number}": value for number, value in enumerate(outputs)}
    generator = torch.Generator().manual_seed(1)
    for order in (1, 2):
        terms = [(v * torch.randn(v.shape, generator=generator)).sum() for v in outputs]
        grads = torch.autograd.grad(
            torch.stack(terms).sum(),
            list(leaves.values()),
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        found |= {f"order {order}, {n}": g for n, g in zip(leaves, grads, strict=True)}
        outputs = list(grads)
    return {name: value.detach() for name, value in found.items()}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_has_fewer_than_30_lines(name: str) -> None:
    (source,) = [example for example in EXAMPLES if example.startswith(f"def {name}(")]
    assert len(source.splitlines()) < 30


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_e3nns(name: str) -> None:
    graph = diagram(name)
    module = GraphModule(DEFAULT_PIPELINE(graph))
    inputs, parameters = random_inputs(graph), dict(module.named_parameters())

    def ours(values: Tensors, weights: Tensors) -> list[torch.Tensor]:
        return as_list(torch.func.functional_call(module, weights, (), values))

    plain = {key: value.detach() for key, value in parameters.items()}
    found = derivatives(ours, inputs, plain)
    expected = derivatives(LAYERS[name], inputs, plain)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        scale = float(value.abs().max())
        error = float((found[key] - value).abs().max())
        assert error <= 1e-10 * scale, (key, error, scale)
        assert scale > 0 or key.startswith("order"), key


@pytest.mark.parametrize("inversion", [1, -1])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_equivariant(name: str, inversion: int) -> None:
    graph = diagram(name)
    module = GraphModule(DEFAULT_PIPELINE(graph))
    inputs, turn = random_inputs(graph), inversion * o3.rand_matrix()

    def turned(key: str, value: torch.Tensor) -> torch.Tensor:
        kind = graph.types[key]
        if not isinstance(kind, ValueType):
            return value
        return value @ o3.Irreps(kind.irreps).D_from_matrix(turn).T

    with torch.no_grad():
        found = as_list(module(**{key: turned(key, value) for key, value in inputs.items()}))
        before = as_list(module(**inputs))
    for output, left, right in zip(graph.outputs, found, before, strict=True):
        expected = turned(output, right)
        assert float(expected.abs().max()) > 1e-3
        torch.testing.assert_close(left, expected, rtol=0, atol=1e-11 * float(right.abs().max()))
    has_vectors = [not graph.types[output].is_invariant for output in graph.outputs]  # type: ignore[union-attr]
    assert any(has_vectors)


def test_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_default_dtype(torch.float32)
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(example, names)
    assert capsys.readouterr().out == "linear: 2x1o [node]\ntorch.Size([8, 3])\n"
    kinds = [node.kind for node in names["model"].graph.nodes]
    assert kinds.count("Convolution") == 1
    assert not {"Gather", "ScatterSum"} & set(kinds)
