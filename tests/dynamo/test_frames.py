"""A compiled function that takes a gradient itself."""

import pytest
import torch
from torch import fx

from tests.dynamo.models import Batch, batch, demo_model, largest_difference, watched
from tvm_equi.dynamo.frames import keep_out
from tvm_equi.runtime.function import EagerFunction, KernelFunction


class WithForces(torch.nn.Module):
    """Energy and forces in one call."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy and forces."""
        positions = inputs["positions"]
        energy = self.model(**inputs).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
        return energy, -gradient


@pytest.mark.parametrize("is_traced", [False, True])
def test_forces_inside(is_traced: bool) -> None:
    with torch._dynamo.config.patch(trace_autograd_ops=is_traced):
        check_forces_inside()


def check_forces_inside() -> None:
    """Numbers and gradients of energy and forces, and what was traced."""
    model, graphs = WithForces(demo_model()), list[fx.GraphModule]()
    compiled = torch.compile(model, backend=watched(graphs), dynamic=True)
    parameters = list(model.parameters())
    for nodes, edges in ((5, 12), (7, 30)):
        inputs, results = batch(nodes, edges), []
        for function in (compiled, model):
            energy, forces = function(inputs)
            loss = energy + forces.square().sum()
            results.append([energy, forces, *torch.autograd.grad(loss, parameters)])
        assert largest_difference(*results) < 1e-10
    runtime = ("runtime/", "algebra/")
    traces = [node.stack_trace or "" for graph in graphs for node in graph.graph.nodes]
    assert not any(part in trace for part in runtime for trace in traces)
    assert len(graphs) <= 2  # at most one break: before and after the gradient


def test_twice_does_nothing() -> None:
    before = (KernelFunction.backward, EagerFunction.backward)
    keep_out()
    assert (KernelFunction.backward, EagerFunction.backward) == before
