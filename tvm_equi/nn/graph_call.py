"""What the function that runs a node of a graph is given.

In: the values of one call of a graph. Out: what a rule sees. The sorted edges of an edge index are
made when the first convolution asks for them, and shared by all others of the call and by their
derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from tvm_equi.runtime.topology import Topology

Topologies: TypeAlias = dict[tuple[str, str], Topology]
"""By the names of the indices of senders and receivers."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule sees.

    Args:
        values: of the node's inputs.
        num_rows: of each kind.
        topologies: that this call of the graph has made so far.
    """

    values: list[torch.Tensor]
    num_rows: dict[str, int]
    topologies: Topologies = field(default_factory=dict)


Rule: TypeAlias = Callable[[Call], torch.Tensor]


def topology_of(
    call: Call,
    names: tuple[str, str],
    indices: tuple[torch.Tensor, torch.Tensor],
    nodes: Sequence[str],
) -> Topology:
    """The edges that two indices give.

    Args:
        call: that keeps them.
        names: of the indices of senders and receivers.
        indices: their values, each [edges].
        nodes: the kinds of rows of senders and receivers.
    """
    found = call.topologies.get(names)
    if found is None:
        counts = (call.num_rows[nodes[0]], call.num_rows[nodes[1]])
        found = Topology(torch.stack(indices), counts)
        call.topologies[names] = found
    return found
