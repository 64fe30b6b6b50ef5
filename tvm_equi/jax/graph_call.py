"""What the function that runs a node of a graph is given, in JAX.

In: the values of one call of a graph. Out: what a rule sees. The sorted edges of an edge index are
made when the first convolution asks for them, and shared by all others of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from tvm_equi.jax.topology import Topology

Topologies: TypeAlias = dict[tuple[str, str], Topology]
"""By the names of the indices of senders and receivers."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule sees.

    Args:
        values: of the node's inputs.
        num_rows: of each kind.
        check_indices: as for `Topology`.
        topologies: that were given, and that this call of the graph has made so far.
    """

    values: list[Any]
    num_rows: dict[str, int]
    check_indices: bool | None = None
    topologies: Topologies = field(default_factory=dict)


Rule: TypeAlias = Callable[[Call], Any]


def topology_of(
    call: Call, names: tuple[str, str], indices: tuple[Any, Any], nodes: Sequence[str]
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
        is_known = not any(isinstance(index, jax.core.Tracer) for index in indices)
        edges = np.stack(indices) if is_known else jnp.stack(indices)
        found = Topology(edges, counts, call.check_indices if is_known else None)
        call.topologies[names] = found
    return found
