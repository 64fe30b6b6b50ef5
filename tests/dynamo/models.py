"""Small models with e3nn, inputs for them, and a backend that keeps the graphs that it makes."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from e3nn import o3
from e3nn.nn.models.v2106.gate_points_message_passing import MessagePassing
from torch import fx

from tvm_equi.demo.model import ReferenceModel, Settings
from tvm_equi.dynamo import backend
from tvm_equi.dynamo.convolution import Convolution

Batch = dict[str, torch.Tensor]
SIZES = ((5, 12), (7, 30), (9, 17))
"""(nodes, edges) of three batches."""


@contextmanager
def float64() -> Iterator[None]:
    """Modules of e3nn are made in the default dtype, their constants rounded to it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def batch(nodes: int, edges: int, seed: int = 0) -> Batch:
    """Random atoms and pairs."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 3, (nodes,), generator=generator)
    positions = torch.randn(nodes, 3, dtype=torch.float64, generator=generator)
    return {
        "positions": positions.requires_grad_(),
        "species": torch.nn.functional.one_hot(kinds, 3).double(),
        "senders": torch.randint(0, nodes, (edges,), generator=generator),
        "receivers": torch.randint(0, nodes, (edges,), generator=generator),
        "shifts": torch.randn(edges, 3, dtype=torch.float64, generator=generator),
    }


def demo_model() -> torch.nn.Module:
    """The reference model of the demo, small."""
    torch.manual_seed(0)
    with float64():
        return ReferenceModel(Settings(4, 2, 1, 1, num_basis=3, num_hidden=4))


class StockModel(torch.nn.Module):
    """e3nn's own message passing of 2021, with harmonics by its function."""

    def __init__(self) -> None:
        super().__init__()
        irreps = ["4x0e", "4x0e + 2x1o", "1x0e"]
        self.mp = MessagePassing(irreps, "1x0e", "0e + 1o", [3, 4], 3.0)

    def forward(
        self,
        positions: torch.Tensor,
        species: torch.Tensor,
        senders: torch.Tensor,
        receivers: torch.Tensor,
        shifts: torch.Tensor,
    ) -> torch.Tensor:
        """The energy."""
        vectors = positions[senders] - positions[receivers] + shifts
        length = vectors.norm(dim=1)
        radial = torch.stack([torch.exp(-k * length) for k in (1, 2, 3)], dim=1)
        harmonics = o3.spherical_harmonics("0e + 1o", vectors, True, "component")
        x = torch.cat([species, species[:, :1]], dim=1)
        one = species.new_ones(species.shape[0], 1)
        energies: torch.Tensor = self.mp(x, one, senders, receivers, harmonics, radial)
        return energies.sum()


def stock_model() -> torch.nn.Module:
    """e3nn's own model."""
    torch.manual_seed(0)
    with float64():
        return StockModel()


def everything(function: Any, model: torch.nn.Module, inputs: Batch) -> list[torch.Tensor]:
    """Energy, parameter gradients, forces, and parameter gradients of a loss of forces.

    Args:
        function: the model, compiled or not.
        model: with the parameters.
        inputs: of the model.
    """
    parameters = list(model.parameters())
    energy = function(**inputs).sum()
    gradients = torch.autograd.grad(energy, parameters, retain_graph=True)
    (forces,) = torch.autograd.grad(energy, inputs["positions"], create_graph=True)
    factors = torch.arange(forces.numel()).reshape(forces.shape)
    second = torch.autograd.grad((forces * factors).sum() + energy, parameters)
    return [energy, *gradients, forces, *second]


def largest_difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """The largest difference over the largest value, or 1 where all are smaller."""
    assert len(ours) == len(theirs)
    errors = []
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        scale = max(1.0, float(other.detach().abs().max())) if other.numel() else 1.0
        errors.append(float((mine - other).detach().abs().max()) / scale if mine.numel() else 0.0)
    return max(errors)


def watched(graphs: list[fx.GraphModule]) -> Callable[..., Any]:
    """The backend, which adds each graph that it has made to a list."""

    @functools.wraps(backend)
    def watch(module: fx.GraphModule, inputs: Any, **options: Any) -> Any:
        result = backend(module, inputs, **options)
        graphs.append(module)
        return result

    return watch


def convolutions(graph: fx.GraphModule) -> list[Convolution]:
    """The fused convolutions of a graph, in order."""
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    modules = [graph.get_submodule(node.target) for node in calls]
    return [module for module in modules if isinstance(module, Convolution)]
