"""Modules as graphs: the interpreter gives what the module gives."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from e3nn import o3

from tvm_equi.errors import UnsupportedError
from tvm_equi.frontend.e3nn import import_module
from tvm_equi.graph import interpret
from tvm_equi.nn import Linear, SymmetricContraction, TensorProduct, from_e3nn

IRREPS = "3x0e+2x1o"

MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "fully connected": lambda: o3.FullyConnectedTensorProduct(IRREPS, "0e+1o", "2x0e+3x1o+1x1e"),
    "full": lambda: o3.FullTensorProduct("2x0e+1o", "0e+1o"),
    "elementwise": lambda: o3.ElementwiseTensorProduct("3x1o", "3x0e"),
    "square": lambda: o3.TensorSquare("2x0e+2x1o"),
    "weights per row": lambda: o3.TensorProduct(
        IRREPS,
        "1o",
        "3x1o",
        [(0, 0, 0, "uvu", True)],
        shared_weights=False,
        internal_weights=False,
    ),
    "linear": lambda: o3.Linear(IRREPS, "2x1o+4x0e", biases=True),
    "harmonics": lambda: o3.SphericalHarmonics([0, 2, 1], True, "norm"),
}


@pytest.fixture(autouse=True)
def _float64() -> object:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", MODULES)
def test_graph_computes_what_the_module_does(name: str) -> None:
    module = MODULES[name]()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    imported = import_module(module)
    graph = imported.graph
    assert graph.types["out"].dtype == "float64" or not list(module.buffers())
    given = {key: torch.randn(4, graph.types[key].dim) for key in graph.inputs}
    expected = module(*given.values()).detach().numpy()
    given |= {key: value.detach() for key, value in imported.parameters.items()}
    found = interpret(graph, {key: value.numpy() for key, value in given.items()})["out"]
    np.testing.assert_allclose(found, expected, atol=1e-11)


@pytest.mark.parametrize("name", MODULES)
def test_our_modules_give_the_same_graph(name: str) -> None:
    module = MODULES[name]()
    assert import_module(from_e3nn(module)).graph == import_module(module).graph


def test_layout_is_kept() -> None:
    graph = import_module(Linear(IRREPS, IRREPS, layout="ir_mul")).graph
    assert graph.types["out"].layout == "ir_mul"


def test_chain() -> None:
    module = torch.nn.Sequential(
        o3.SphericalHarmonics([0, 1], True, "component"),
        o3.Linear("0e+1o", "2x0e+2x1o"),
        o3.TensorSquare("2x0e+2x1o", "3x0e"),
    )
    imported = import_module(module)
    assert set(imported.parameters) == {"1.weight", "2.weight"}
    vectors = torch.randn(5, 3)
    given = {key: value.detach().numpy() for key, value in imported.parameters.items()}
    found = interpret(imported.graph, given | {"x": vectors.numpy()})["out"]
    np.testing.assert_allclose(found, module(vectors).detach().numpy(), atol=1e-11)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: torch.nn.Linear(2, 3),
            "compile: module: expected a graph, or a TensorProduct, Linear, SphericalHarmonics or "
            "SymmetricContraction of e3nn or tvm_equi, got Linear",
        ),
        (
            lambda: o3.Linear(IRREPS, IRREPS, f_in=2, f_out=2),
            "compile: module: expected a Linear without f_in, got one with it",
        ),
        (
            lambda: torch.nn.Sequential(
                o3.Linear(IRREPS, IRREPS),
                TensorProduct(IRREPS, "1o", "3x1o", [(0, 0, 0, "uvu", True)]),
            ),
            "compile: module: 1: expected a module with one input in a Sequential, "
            "got TensorProduct",
        ),
    ],
)
def test_refusals(make: Callable[[], torch.nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        import_module(make())
    assert str(error.value) == message


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_symmetric_contraction(layout: str) -> None:
    module = SymmetricContraction("2x0e+2x1o", "2x1o", 3, layout=layout)
    imported = import_module(module)
    x = torch.randn(4, 8)
    given = {"x": x.numpy(), "weight": module.weight.detach().flatten().numpy()}
    expected = module(x).detach().numpy()
    np.testing.assert_allclose(interpret(imported.graph, given)["out"], expected, atol=1e-12)
    with pytest.raises(UnsupportedError, match="expected a SymmetricContraction of one element"):
        import_module(SymmetricContraction("2x0e", "2x0e", 2, num_elements=2))
