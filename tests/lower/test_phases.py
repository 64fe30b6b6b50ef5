"""Phases follow what they read, and refuse what cannot be computed edge by edge."""

from collections.abc import Callable

import pytest

from tests.lower.test_convolution import COUNTS, EDGES, fused
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.derivative import vjp
from tvm_equi.errors import ScheduleError
from tvm_equi.lower.bundles import bundles
from tvm_equi.lower.phases import phases, runs_by_tile

Check = Callable[..., None]


@pytest.mark.parametrize("of", [(0,), (1,), (2,), (3,), (1, 3)])
def test_some_cotangents(of: tuple[int, ...], check_convolution: Check) -> None:
    """Steps that need results of later phases, and outputs that no step reaches."""
    first = vjp(fused(radial=False, harmonics=True), (0, 1, 2, 3), (0,))
    check_convolution(vjp(first, (0, 2, 3, 4), of), EDGES, COUNTS)


def test_phases_follow_what_they_read() -> None:
    forward, backward, second = derivatives(fused(radial=True, harmonics=True))
    kinds = [phase.by_node for phase in phases(forward, bundles(forward))]
    assert kinds == [False, True]
    assert [p.by_node for p in phases(backward, bundles(backward))] == [False, True, False]
    for kernel in (forward, backward, second):
        groups, done = bundles(kernel), set(kernel.inputs)
        found = phases(kernel, groups)
        assert sorted(n for phase in found for n in phase.bundles) == list(range(len(groups)))
        for phase in found:
            for number in phase.bundles:
                assert runs_by_tile(kernel, groups[number]) != phase.by_node
        last = {
            s.target: n for n, p in enumerate(found) for b in p.bundles for s in groups[b].steps
        }
        for position, phase in enumerate(found):
            for number in phase.bundles:
                for step in groups[number].steps:
                    for name in step.sources:
                        assert name in done or last[name] <= position


def test_a_shared_matrix_that_adds_to_nodes_is_refused() -> None:
    kernel = convolution_kernel(product("uvw", (3, 4, 20), "shared"))
    with pytest.raises(ScheduleError, match="expected steps of edges to add to it, got a matrix"):
        phases(kernel, bundles(kernel))
