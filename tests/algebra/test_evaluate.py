"""The oracle itself: shapes it refuses, and multilinearity."""

import numpy as np
import pytest

from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.errors import ArgumentError

PATH = (Instruction(0, 0, 0, "uvu", True, 1.0),)
KERNEL = tensor_product_kernel(((2, 1),), ((1, 1),), ((2, 0),), PATH, weight_rows="shared")


def test_dot_product() -> None:
    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((4, 6)), rng.standard_normal((4, 3)), rng.standard_normal(2)
    (z,) = evaluate(KERNEL, [x, y, w])
    wanted = np.einsum("nui,ni,u->nu", x.reshape(4, 2, 3), y, w) / np.sqrt(3)
    assert np.allclose(z, wanted, rtol=0, atol=1e-14)


def test_is_linear_in_each_operand() -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((4, 6)), rng.standard_normal((4, 3)), rng.standard_normal(2)]
    (z,) = evaluate(KERNEL, arrays)
    for slot in range(3):
        scaled = [a * (2.5 if n == slot else 1.0) for n, a in enumerate(arrays)]
        assert np.allclose(evaluate(KERNEL, scaled)[0], 2.5 * z, rtol=1e-14)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ArgumentError, match="expected 3 arrays, got 1"):
        evaluate(KERNEL, [np.zeros((4, 6))])
    with pytest.raises(ArgumentError, match=r"y: expected 3 columns, got shape \(4, 4\)"):
        evaluate(KERNEL, [np.zeros((4, 6)), np.zeros((4, 4)), np.zeros(2)])
