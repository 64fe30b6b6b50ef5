"""The inner kernel of radial weights is a matrix product, block by block."""

import numpy as np
import pytest

from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.radial import radial_kernel
from tvm_equi.errors import ArgumentError

WEIGHTS = Operand((Segment(3, 1), Segment(0, 1), Segment(5, 1)))


def test_is_a_matrix_product() -> None:
    rng = np.random.default_rng(0)
    hidden, matrix = rng.standard_normal((6, 4)), rng.standard_normal((4, 8))
    blocks = np.concatenate([matrix[:, :3].ravel(), matrix[:, 3:].ravel()])
    kernel = radial_kernel(WEIGHTS, 4)
    assert kernel.operand("w") == WEIGHTS
    (found,) = evaluate(kernel, [hidden, blocks])
    assert np.allclose(found, hidden @ matrix, rtol=0, atol=1e-14)


def test_shared_weights_are_refused() -> None:
    shared = Operand((Segment(3, 1),), "mul_ir", "shared")
    with pytest.raises(ArgumentError, match="weights: expected one set per row, got rows 'shared'"):
        radial_kernel(shared, 4)
