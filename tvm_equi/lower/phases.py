"""The order in which the bundles of a convolution run for a tile of edges.

In: a kernel and its bundles. Out: phases: bundles of values on edges alone, which run for the tile
as a whole, and bundles that touch nodes, which run for each node's edges.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import ScheduleError
from tvm_equi.lower.arguments import summed_outputs
from tvm_equi.lower.bundles import Bundle
from tvm_equi.lower.primfunc import fits_row_lanes


@dataclass(frozen=True, slots=True)
class Phase:
    """Bundles that run one after another for a tile.

    Args:
        by_node: whether they run for each node's edges, and not for the tile as a whole.
        bundles: their numbers.
    """

    by_node: bool
    bundles: tuple[int, ...]


def runs_by_tile(kernel: Kernel, bundle: Bundle) -> bool:
    """Whether a bundle is computed for all edges of a tile at once."""
    form = kernel.contractions[bundle.contraction]
    is_shared_mix = form.family == "mix" and form.operands[1].rows == "shared"
    return is_shared_mix or fits_row_lanes(form)


def phases(kernel: Kernel, groups: list[Bundle]) -> list[Phase]:
    """The bundles in few phases, each after those whose results it reads.

    Raises:
        ScheduleError: what is computed for a tile as a whole would add to nodes.
    """
    writers: dict[str, set[int]] = {}
    for number, bundle in enumerate(groups):
        for step in bundle.steps:
            writers.setdefault(step.target, set()).add(number)
    needs = [
        {n for step in bundle.steps for name in step.sources for n in writers.get(name, ())}
        for bundle in groups
    ]
    found: list[Phase] = []
    done: set[int] = set()
    by_node = False
    while len(done) < len(groups):
        chosen: list[int] = []
        for number, bundle in enumerate(groups):
            is_ready = needs[number] <= done | set(chosen) and number not in done
            if is_ready and runs_by_tile(kernel, bundle) != by_node:
                chosen.append(number)
        if chosen:
            found.append(Phase(by_node, tuple(chosen)))
        done |= set(chosen)
        by_node = not by_node
    for name in summed_outputs(kernel):
        if any(
            writers.get(name, set()) & set(phase.bundles) for phase in found if not phase.by_node
        ):
            raise ScheduleError(
                f"convolution: {name}: expected steps of edges to add to it, got a matrix that all "
                "edges share; split the kernel with algebra.convolution.stages"
            )
    return found
