"""What the function that runs a node of a graph is given.

In: the values of one call of a graph. Out: what a rule sees. The sorted edges of an edge index are
made when the first convolution asks for them, and shared by all others of the call and by their
derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tvm_equi.runtime.array_library import Array

Topologies: TypeAlias = dict[tuple[str, str], Any]
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

    values: list[Array]
    num_rows: dict[str, int]
    check_indices: bool | None = None
    topologies: Topologies = field(default_factory=dict)


Rule: TypeAlias = Callable[[Call], Array]
