"""Small networks of e3nn for the tests, all with the same few kernels."""

from collections.abc import Callable
from typing import Any

import torch
from e3nn import nn, o3

FEATURES = "4x0e + 4x1o"
HARMONICS = "0e + 1o"
MIDDLE = "4x0e + 4x1o + 4x1o"
PATHS = [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True), (1, 0, 2, "uvu", True)]
NUM_WEIGHTS = 12


def product() -> o3.TensorProduct:
    return o3.TensorProduct(
        FEATURES, HARMONICS, MIDDLE, PATHS, shared_weights=False, internal_weights=False
    )


class Layer(torch.nn.Module):
    """Products of neighbours, summed, mixed and gated."""

    def __init__(self) -> None:
        super().__init__()
        self.tp = product()
        self.fc = nn.FullyConnectedNet([3, 4, NUM_WEIGHTS], torch.nn.functional.silu)
        self.mix = o3.Linear(o3.Irreps(MIDDLE), "8x0e + 4x1o")
        self.skip = o3.Linear(FEATURES, "8x0e + 4x1o")
        self.gate = nn.Gate("4x0e", [torch.nn.functional.silu], "4x0e", [torch.sigmoid], "4x1o")
        self.factor = 0.5

    def forward(
        self, x: torch.Tensor, y: torch.Tensor, radial: torch.Tensor, edge_index: torch.Tensor
    ) -> torch.Tensor:
        senders, receivers = edge_index[0], edge_index[1]
        messages = self.tp(x[senders], y, self.fc(radial))
        total = messages.new_zeros((x.shape[0], messages.shape[1]))
        total = total.index_add(0, receivers, messages) * self.factor
        gated: torch.Tensor = self.gate(self.mix(total) + self.skip(x))
        return gated


class Network(torch.nn.Module):
    """An energy of positions: [1]."""

    def __init__(self, num_layers: int = 2) -> None:
        super().__init__()
        self.harmonics = o3.SphericalHarmonics([0, 1], True, "component")
        self.embed = o3.Linear("2x0e", FEATURES)
        self.layers = torch.nn.ModuleList([Layer() for _ in range(num_layers)])
        self.readout = o3.Linear(FEATURES, "0e")

    def forward(
        self, positions: torch.Tensor, species: torch.Tensor, edge_index: torch.Tensor
    ) -> torch.Tensor:
        vectors = positions[edge_index[1]] - positions[edge_index[0]]
        y = self.harmonics(vectors)
        length = vectors.square().sum(1, keepdim=True)
        radial = torch.cat([torch.exp(-length * scale) for scale in (0.5, 1.0, 2.0)], dim=1)
        x = self.embed(species)
        for layer in self.layers:
            x = layer(x, y, radial, edge_index)
        energy: torch.Tensor = self.readout(x).sum(0)
        return energy


def inputs(num_nodes: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
    """Positions, species and edges of a graph whose last node has none."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(num_nodes, 3, generator=generator, dtype=torch.float64).to(dtype)
    species = torch.randn(num_nodes, 2, generator=generator, dtype=torch.float64).to(dtype)
    pairs = [(i, j) for i in range(num_nodes - 1) for j in range(num_nodes - 1) if i != j]
    return positions, species, torch.tensor(pairs).T.contiguous()


def edges_of_layer(
    num_nodes: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0
) -> dict[str, torch.Tensor]:
    """What `Layer` takes, and weights, by name."""
    edge_index = inputs(num_nodes)[2]
    generator = torch.Generator().manual_seed(seed)
    sizes = {
        "x": (num_nodes, o3.Irreps(FEATURES).dim),
        "y": (edge_index.shape[1], o3.Irreps(HARMONICS).dim),
        "radial": (edge_index.shape[1], 3),
        "weight": (edge_index.shape[1], NUM_WEIGHTS),
    }
    drawn = {
        name: torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
        for name, size in sizes.items()
    }
    return drawn | {"edge_index": edge_index}


def training_step(model: torch.nn.Module, arguments: Any) -> dict[str, torch.Tensor]:
    """Energy, forces, and the gradients to all parameters of a loss on both."""
    positions, *others = arguments
    positions = positions.clone().requires_grad_()
    energy = model(positions, *others)
    (forces,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
    loss = energy.square().sum() + forces.square().sum()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    found = {f"to {name}": g.detach() for name, g in pairs if g is not None}
    return {"energy": energy.detach(), "forces": forces.detach()} | found


def assert_close(
    got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tolerance: float = 1e-10
) -> None:
    """Checks every value against the largest of its kind."""
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        error = float((got[name] - value).detach().abs().max()) / max(
            float(value.abs().max()), 1e-30
        )
        assert error <= tolerance, f"{name}: {error:g}"


Function = Callable[..., torch.Tensor]
