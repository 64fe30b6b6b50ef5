"""An interaction model in the way of NequIP, twice: with e3nn, and as a graph for the compiler.

In: settings. Out: an e3nn module, and a graph that computes the same from the same numbers. Each
layer: radial perceptron -> weights of a uvu tensor product of the neighbours' features with
spherical harmonics -> sum over neighbours -> linear layer, plus a linear layer of the atom's own
features -> gate. The last layer gives scalars.

Source:
    Batzner et al., E(3)-equivariant graph neural networks for data-efficient and accurate
    interatomic potentials, Nature Communications 13 (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from e3nn import o3
from e3nn.nn import FullyConnectedNet, Gate

from tvm_equi.demo.structures import SPECIES
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.gate import add_gate, gate_irreps
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.types import DType, parse_irreps


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes of the model.

    Args:
        num_channels: of each irrep of the features.
        num_layers: of interaction.
        max_degree: of the spherical harmonics.
        feature_degree: highest degree of the features.
        num_basis: radial functions.
        num_hidden: width of the radial perceptron.
        cutoff: in angstrom.
        avg_neighbours: by whose root sums are divided.
        species: chemical symbols that it knows, in the order of the one-hot input.
    """

    num_channels: int = 64
    num_layers: int = 3
    max_degree: int = 3
    feature_degree: int = 2
    num_basis: int = 8
    num_hidden: int = 64
    cutoff: float = 3.5
    avg_neighbours: float = 28.0
    species: tuple[str, ...] = SPECIES

    @property
    def scalars(self) -> str:
        """Irreps of the invariant features."""
        return f"{self.num_channels}x0e"

    def gated(self, layer: int) -> str:
        """Irreps of the other features after a layer; none after the last."""
        if layer == self.num_layers - 1:
            return ""
        degrees = range(1, self.feature_degree + 1)
        return "+".join(f"{self.num_channels}x{d}{'eo'[d % 2]}" for d in degrees)

    def wanted(self, layer: int) -> str:
        """Irreps of the output of a layer's tensor product."""
        gated = self.gated(layer)
        return f"{self.scalars}+{gated}" if gated else self.scalars


class Interaction(torch.nn.Module):
    """One layer, with e3nn.

    Args:
        irreps: of the features that come in.
        settings: of the model.
        layer: its number.
    """

    def __init__(self, irreps: str, settings: Settings, layer: int) -> None:
        super().__init__()
        harmonics = str(o3.Irreps.spherical_harmonics(settings.max_degree))
        out, instructions = channelwise(irreps, harmonics, settings.wanted(layer))
        gated, scalars = settings.gated(layer), settings.scalars
        self.factor = settings.avg_neighbours**-0.5
        self.tp = o3.TensorProduct(
            irreps, harmonics, out, instructions, shared_weights=False, internal_weights=False
        )
        sizes = [settings.num_basis, settings.num_hidden, self.tp.weight_numel]
        self.fc = FullyConnectedNet(sizes, torch.nn.functional.silu)
        mixed = gate_irreps(scalars, gated) if gated else scalars
        self.mix = o3.Linear(o3.Irreps(out).simplify(), mixed)
        self.skip = o3.Linear(irreps, mixed)
        gates = "+".join(f"{irrep.mul}x0e" for irrep in parse_irreps(gated))
        sigmoids = [torch.sigmoid] * len(parse_irreps(gated))
        self.gate = Gate(scalars, [torch.nn.functional.silu], gates, sigmoids, gated)

    def forward(
        self,
        x: torch.Tensor,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
        senders: torch.Tensor,
        receivers: torch.Tensor,
    ) -> torch.Tensor:
        """New features of each atom."""
        messages = self.tp(x[senders], harmonics, self.fc(basis))
        total = messages.new_zeros((x.shape[0], messages.shape[1]))
        total = total.index_add(0, receivers, messages) * self.factor
        mixed = self.mix(total) + self.skip(x)
        return cast(torch.Tensor, self.gate(mixed))


class ReferenceModel(torch.nn.Module):
    """The model with e3nn: energy of positions, species, senders, receivers, shifts.

    Args:
        settings: of the model.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.embed = o3.Linear(f"{len(settings.species)}x0e", settings.scalars)
        degrees = list(range(settings.max_degree + 1))
        self.harmonics = o3.SphericalHarmonics(degrees, True, "component")
        irreps, layers = settings.scalars, []
        for layer in range(settings.num_layers):
            layers.append(Interaction(irreps, settings, layer))
            irreps = settings.wanted(layer)
        self.layers = torch.nn.ModuleList(layers)
        self.readout = o3.Linear(settings.scalars, "1x0e")

    def forward(
        self,
        positions: torch.Tensor,
        species: torch.Tensor,
        senders: torch.Tensor,
        receivers: torch.Tensor,
        shifts: torch.Tensor,
    ) -> torch.Tensor:
        """The energy, [1]."""
        vectors = positions[senders] - positions[receivers] + shifts
        harmonics, basis = self.harmonics(vectors), self.radial_basis(vectors)
        x = self.embed(species)
        for layer in self.layers:
            x = layer(x, harmonics, basis, senders, receivers)
        return cast(torch.Tensor, self.readout(x).sum(0))

    def radial_basis(self, vectors: torch.Tensor) -> torch.Tensor:
        """Bessel functions times a polynomial cutoff: [edges, num_basis]."""
        cutoff, p = self.settings.cutoff, 6
        lengths = vectors.norm(dim=1, keepdim=True)
        u = lengths / cutoff
        numbers = torch.arange(1, self.settings.num_basis + 1, dtype=vectors.dtype)
        waves = (2 / cutoff) ** 0.5 * torch.sin(numbers * torch.pi * u) / lengths
        envelope = (
            1
            - (p + 1) * (p + 2) / 2 * u**p
            + p * (p + 2) * u ** (p + 1)
            - p * (p + 1) / 2 * u ** (p + 2)
        )
        return cast(torch.Tensor, waves * envelope * (u < 1))


def interaction_graph(settings: Settings, dtype: DType = "float32") -> TensorProductGraph:
    """The same model as a graph, from positions to energy.

    Args:
        settings: of the model.
        dtype: of all values.
    """
    build = GraphBuilder(dtype=dtype)
    positions = build.input("positions", "1o", rows="node")
    species = build.input("species", f"{len(settings.species)}x0e", rows="node")
    senders = build.index("senders", rows="edge", into="node")
    receivers = build.index("receivers", rows="edge", into="node")
    shifts = build.input("shifts", "1o", rows="edge")
    ends = build.gather("sender_positions", positions, senders)
    starts = build.gather("receiver_positions", positions, receivers)
    vectors = build.combine("vectors", (1, ends), (-1, starts), (1, shifts))
    build.spherical_harmonics("harmonics", vectors, range(settings.max_degree + 1))
    length = build.norm("length", vectors)
    build.radial_basis("basis", length, settings.num_basis, cutoff=settings.cutoff)
    x = build.linear("embed", species, settings.scalars)
    for layer in range(settings.num_layers):
        x = _add_interaction(build, x, settings, layer)
    return build.graph(build.sum("energy", build.linear("readout", x, "1x0e")))


def _add_interaction(build: GraphBuilder, x: str, settings: Settings, layer: int) -> str:
    """One layer of the graph."""
    name = f"layers.{layer}"
    irreps = build.value(x).irreps
    harmonics = build.value("harmonics").irreps
    out, instructions = channelwise(irreps, harmonics, settings.wanted(layer))
    num_weights = sum(parse_irreps(irreps)[ins[0]].mul for ins in instructions)
    sizes = [settings.num_basis, settings.num_hidden, num_weights]
    weights = build.mlp(f"{name}.fc", "basis", sizes)
    sent = build.gather(f"{name}.sent", x, "senders")
    messages = build.tensor_product(
        f"{name}.tp", sent, "harmonics", out, instructions, weights=weights
    )
    factor = settings.avg_neighbours**-0.5
    total = build.scatter_sum(f"{name}.total", messages, "receivers", factor=factor)
    gated, scalars = settings.gated(layer), settings.scalars
    mixed = gate_irreps(scalars, gated) if gated else scalars
    linear = build.linear(f"{name}.mix", total, mixed)
    own = build.linear(f"{name}.skip", x, mixed)
    both = build.combine(f"{name}.mixed", (1, linear), (1, own))
    if gated:
        return add_gate(build, f"{name}.gate", both, scalars, gated)
    return build.activation(f"{name}.gate", both, ["silu"])


def graph_parameters(model: ReferenceModel, graph: TensorProductGraph) -> dict[str, torch.Tensor]:
    """The parameters of the graph, from those of the e3nn model.

    Args:
        model: with e3nn.
        graph: of the same settings.

    Returns:
        Flat tensors by name. e3nn's `mix` sees channels of one irrep together, the graph path by
        path, so that the rows of its weights are in another order.
    """
    found = {}
    for name, value in model.named_parameters():
        if name in graph.parameters:
            flat = value.detach().reshape(-1)
            is_mix = name.endswith(".mix.weight")
            found[name] = _by_path(model.get_submodule(name[:-7]), flat, graph) if is_mix else flat
    return found


def _by_path(linear: Any, weights: torch.Tensor, graph: TensorProductGraph) -> torch.Tensor:
    """Weights of a linear layer with its inputs' irreps split into equal runs of channels."""
    num = parse_irreps(str(linear.irreps_out))[0].mul
    blocks: dict[int, list[torch.Tensor]] = {}
    start = 0
    for instruction in linear.instructions:
        rows, columns = instruction.path_shape
        matrix = weights[start : start + rows * columns].reshape(rows, columns)
        start += rows * columns
        blocks.setdefault(instruction.i_in, []).append(matrix)
    parts = []
    for matrices in blocks.values():
        for first in range(0, matrices[0].shape[0], num):
            parts += [matrix[first : first + num].reshape(-1) for matrix in matrices]
    return torch.cat(parts)
