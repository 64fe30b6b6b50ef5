"""One topology for all convolutions of a call."""

import jax
import numpy as np
import pytest

from tests.jax.arrays import RECEIVERS, SENDERS, edges
from tvm_equi.errors import IndexRangeError
from tvm_equi.jax.graph_call import Call, topology_of

pytestmark = pytest.mark.deploy

NAMES, ROWS = ("i", "j"), ("node", "graph")


def test_made_once_for_each_pair_of_indices() -> None:
    call = Call([], {"node": SENDERS, "graph": RECEIVERS})
    indices = tuple(edges())
    first = topology_of(call, NAMES, indices, ROWS)
    assert (first.num_senders, first.num_receivers) == (SENDERS, RECEIVERS)
    assert topology_of(call, NAMES, indices, ROWS) is first
    assert topology_of(call, NAMES[::-1], indices[::-1], ROWS[::-1]) is not first


def test_known_indices_are_checked() -> None:
    counts = {"node": 1, "graph": RECEIVERS}
    indices = tuple(edges())
    with pytest.raises(IndexRangeError):
        topology_of(Call([], counts), NAMES, indices, ROWS)
    loose = topology_of(Call([], counts, False), NAMES, indices, ROWS)
    traced = jax.jit(lambda *given: topology_of(Call([], counts), NAMES, given, ROWS))(*indices)
    for left, right in zip(loose.arrays(), traced.arrays(), strict=True):
        np.testing.assert_array_equal(left, right)
