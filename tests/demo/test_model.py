"""Both models have the same numbers, and so the same energies."""

import numpy as np
import pytest
import torch

from tvm_equi.demo.model import (
    ReferenceModel,
    Settings,
    graph_parameters,
    interaction_graph,
)
from tvm_equi.demo.structures import molecule
from tvm_equi.graph import DEFAULT_PIPELINE, interpret

SMALL = Settings(num_channels=3, num_layers=3, max_degree=2, num_hidden=5, num_basis=4)


@pytest.fixture(autouse=True)
def _float64() -> object:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_graph_and_e3nn_give_the_same_energy() -> None:
    model = ReferenceModel(SMALL)
    graph = interaction_graph(SMALL, "float64")
    parameters = graph_parameters(model, graph)
    assert set(parameters) == set(graph.parameters)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(value.numel() for value in parameters.values()) == total
    structure = molecule(SMALL.cutoff)
    arrays = {name: value.numpy() for name, value in (structure.inputs() | parameters).items()}
    expected = model(**structure.inputs()).detach().numpy()
    for planned in (graph, DEFAULT_PIPELINE(graph)):
        np.testing.assert_allclose(interpret(planned, arrays)["energy"], expected, rtol=1e-10)


def test_last_layer_has_scalars_only() -> None:
    graph = interaction_graph(SMALL)
    assert graph.types["layers.2.gate"].is_invariant
    assert graph.types["layers.1.gate"].irreps == "3x0e+3x1o+3x2e"
