"""The reference of symmetric contractions, which shares no arithmetic with the kernels."""

import numpy as np
import pytest
import torch

from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.graph.operations import SymmetricContraction
from tvm_equi.graph.regions import kernel_of
from tvm_equi.nn.symmetric_reference import symmetric_reference


@pytest.mark.parametrize("weights", ["row", "shared"])
def test_reference_equals_the_kernel(weights: str) -> None:
    operation = SymmetricContraction("3x0e+3x1o+3x2e", "3x0e+3x1o", 3, weights)
    x = torch.randn(4, 27, dtype=torch.float64)
    size = operation.num_weights()
    w = torch.randn(*((4,) if weights == "row" else ()), size, dtype=torch.float64)
    expected = evaluate(kernel_of(operation), [x.numpy(), np.ones(1), w.numpy()])[0]
    np.testing.assert_allclose(symmetric_reference(operation)(x, w), expected, atol=1e-12)
