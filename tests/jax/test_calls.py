"""Calls of kernels: chunks, copies, sums that tasks share; `test_operator.py` has their numbers."""

import numpy as np
import pytest

from tests.jax.arrays import COUNTS, RECEIVERS, SENDERS, edges, values
from tests.kernels import product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.jax.calls import _passes, num_chunks, row_counts
from tvm_equi.jax.topology import Topology
from tvm_equi.runtime.torch_op import _num_chunks

pytestmark = pytest.mark.deploy


def test_chunks_are_those_of_torch() -> None:
    for rows in (1, 127, 128, 300, 5000, 10**6):
        assert num_chunks(rows) == _num_chunks(rows)


def test_rows() -> None:
    plan = convolution_kernel(product(u=4)).plan()
    arrays = Topology(edges(), (SENDERS, RECEIVERS)).arrays()
    assert row_counts(plan, values(plan), arrays) == COUNTS
    assert row_counts(product(u=4).plan(), [np.zeros((3, 12))], ()) == {"row": 3}


def test_passes_of_a_gradient() -> None:
    gradient = f"{convolution_kernel(product(u=4)).plan()} 0,1,2:0"
    second = f"{gradient} 0,1,2,3:0,1,2"
    (first,) = _passes(gradient, "float64")
    assert (first.order, first.outputs) == (0, (0, 1, 2))
    assert [part.order for part in _passes(second, "float64")] == [0, 1]
    assert first.copied == (0, 3)
    assert first.summed == (12,)
