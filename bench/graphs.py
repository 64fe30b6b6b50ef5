"""The graphs of neighbours that convolutions are timed on.

In: the "graphs" of `workloads.json`, and sizes. Out: frozen graphs, the same in every run. Edges go
from a sender to a receiver, row 0 to row 1 of `edge_index`; a vector points the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.workloads import PATH
from tvm_equi.demo.structures import neighbours

CARBON_CUTOFF = 6.0
WATER_CUTOFF = 5.0
WATER_SPACING = 3.1
MOLECULES_CUTOFF = 5.0
"""Angstrom."""

RATTLE = 0.05
"""Standard deviation of each coordinate of carbon, in angstrom."""

HUB_SHARE = 0.2
ISOLATED_SHARE = 0.05
EDGES_PER_NODE = 20
POWER = 1.0
"""Of the skewed graph: the hub's share of the edges, nodes without any, the mean, and how fast
in-degrees fall: as rank to the power of minus this."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes and directed edges.

    Args:
        name: an entry of `workloads.json`.
        edge_index: int64 [2, edges]; row 0 has senders, row 1 receivers.
        num_nodes: both of senders and of receivers.
        vectors: float64 [edges, 3], from sender to receiver.
    """

    name: str
    edge_index: Tensor
    num_nodes: int
    vectors: Tensor

    @property
    def num_edges(self) -> int:
        """The number of edges."""
        return self.edge_index.shape[1]

    def degrees(self) -> Tensor:
        """The number of edges into each node."""
        return torch.bincount(self.edge_index[1], minlength=self.num_nodes)

    def __str__(self) -> str:
        """For a line of a report."""
        degrees = self.degrees()
        return (
            f"{self.name}: {self.num_nodes} nodes, {self.num_edges} edges, "
            f"in-degree {int(degrees.min())} to {int(degrees.max())}"
        )


def carbon(repeats: int = 2) -> Graph:
    """Diamond, rattled: every node has about as many neighbours.

    Args:
        repeats: of the cubic cell of 8 atoms, along each axis.
    """
    from ase.build import bulk

    atoms = bulk("C", "diamond", cubic=True).repeat(repeats)
    atoms.rattle(RATTLE, seed=1)
    return Graph("carbon", *_pairs([atoms], CARBON_CUTOFF))


def water(side: int = 4) -> Graph:
    """Molecules of water on a periodic cubic grid, each turned at random.

    Args:
        side: molecules along each axis.
    """
    from ase import Atoms
    from ase.build import molecule

    generator = np.random.default_rng(2)
    atoms = Atoms(cell=[side * WATER_SPACING] * 3, pbc=True)
    for place in np.ndindex(side, side, side):
        turned = molecule("H2O")
        turned.positions -= turned.get_center_of_mass()
        turned.positions = turned.positions @ _rotation(generator).T
        turned.positions += WATER_SPACING * np.array(place)
        atoms += turned
    return Graph("water", *_pairs([atoms], WATER_CUTOFF))


def molecules(count: int | None = None) -> Graph:
    """The molecules of the G2 test set as one batch; those of one atom have no edge.

    Args:
        count: of molecules, from the first; all by default.
    """
    from ase.collections import g2

    batch = [g2[name] for name in g2.names[:count]]
    for atoms in batch:
        atoms.center(vacuum=MOLECULES_CUTOFF)  # matscipy wants a box, periodic or not
    return Graph("molecules", *_pairs(batch, MOLECULES_CUTOFF))


def skewed(num_edges: int = 10_000) -> Graph:
    """A random graph whose in-degrees follow a power law, edges in random order.

    Node 0 receives `HUB_SHARE` of all edges; the last nodes have none, neither in nor out.

    Args:
        num_edges: in all.
    """
    generator = np.random.default_rng(3)
    num_nodes = max(4, num_edges // EDGES_PER_NODE)
    connected = num_nodes - max(1, round(ISOLATED_SHARE * num_nodes))
    weights = np.arange(1, connected) ** -POWER
    num_hub = round(HUB_SHARE * num_edges)
    others = generator.choice(connected - 1, num_edges - num_hub, p=weights / weights.sum())
    receivers = generator.permutation(np.concatenate([np.zeros(num_hub, np.int64), others + 1]))
    senders = generator.integers(connected, size=num_edges)
    vectors = generator.normal(size=(num_edges, 3))
    return Graph(
        "skewed",
        torch.from_numpy(np.stack([senders, receivers])),
        num_nodes,
        torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)),
    )


BUILDERS: dict[str, Callable[[], Graph]] = {
    "carbon": carbon,
    "water": water,
    "molecules": molecules,
    "skewed": skewed,
}

SMALL: dict[str, Callable[[], Graph]] = {
    "carbon": lambda: carbon(1),
    "water": lambda: water(2),
    "molecules": lambda: molecules(20),
    "skewed": lambda: skewed(1000),
}
"""The same graphs with about a tenth of the edges."""


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The names in the order of the file."""
    data = json.loads(PATH.read_text(encoding="utf-8"))
    return tuple(entry["name"] for entry in data["graphs"])


def select_graphs(wanted: list[str] | None, *, small: bool = False) -> tuple[Graph, ...]:
    """The graphs of the given names, or all.

    Args:
        wanted: names.
        small: take about a tenth of the edges.

    Raises:
        ValueError: a name that is not in the file.
    """
    if unknown := sorted(set(wanted or ()) - set(names())):
        raise ValueError(
            f"--graphs: expected some of {', '.join(names())}, got {', '.join(unknown)}"
        )
    builders = SMALL if small else BUILDERS
    return tuple(builders[name]() for name in wanted or names())


def _pairs(structures: list[Any], cutoff: float) -> tuple[Tensor, int, Tensor]:
    """Edges, number of nodes and vectors of separate structures: an atom receives from others."""
    edges, vectors, offset = [], [], 0
    for atoms in structures:
        receivers, senders, shifts = neighbours(atoms, cutoff)
        positions = atoms.get_positions()
        shift = shifts.astype(float) @ np.array(atoms.cell)
        vectors.append(positions[receivers] - positions[senders] - shift)
        edges.append(np.stack([senders, receivers]).astype(np.int64) + offset)
        offset += len(atoms)
    return (
        torch.from_numpy(np.concatenate(edges, axis=1)),
        offset,
        torch.from_numpy(np.concatenate(vectors)),
    )


def _rotation(generator: np.random.Generator) -> Any:
    """A rotation or reflection that is uniform in O(3): [3, 3]."""
    q, r = np.linalg.qr(generator.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))
