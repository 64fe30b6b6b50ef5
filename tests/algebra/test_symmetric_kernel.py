"""Kernels of symmetric contractions: the weighted sum of their polynomials."""

import numpy as np
import pytest

from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.symmetric import evaluate_polynomial
from tvm_equi.algebra.symmetric_kernel import polynomials, symmetric_kernel

IRREPS = ((0, 1), (1, -1), (2, 1))
OUTPUTS = ((0, 1), (1, -1))


@pytest.mark.parametrize("nu", [1, 2, 3, 4])
@pytest.mark.parametrize("weight_rows", ["row", "shared"])
def test_kernel_sums_polynomials(nu: int, weight_rows: str) -> None:
    rng, mul, rows = np.random.default_rng(0), 3, 4
    kernel = symmetric_kernel(IRREPS, OUTPUTS, nu, mul, weight_rows=weight_rows, layout="ir_mul")
    found = polynomials(IRREPS, OUTPUTS, nu)
    x = rng.normal(size=(rows, 9, mul))
    w = rng.normal(size=(rows, len(found), mul))
    if weight_rows == "shared":
        w = w[:1]
    given = [x.reshape(rows, -1), np.ones(1), w.reshape(len(w), -1)]
    if weight_rows == "shared":
        given[2] = given[2][0]
    blocks = [np.zeros((rows, mul, 2 * degree + 1)) for degree, _ in OUTPUTS]
    for number, (output, polynomial) in enumerate(found):
        value = evaluate_polynomial(IRREPS, polynomial, OUTPUTS[output], x.swapaxes(1, 2))
        blocks[output] += w[:, number, :, None] * value
    expected = np.concatenate([block.swapaxes(1, 2).reshape(rows, -1) for block in blocks], axis=1)
    np.testing.assert_allclose(evaluate(kernel, given)[0], expected, atol=1e-12)


def test_pairs_are_computed_once() -> None:
    kernel = symmetric_kernel(IRREPS, OUTPUTS, 3, 2)
    (first,) = [step for step in kernel.steps if step.target == "t"]
    paths = kernel.contractions[first.contraction].paths
    segments = kernel.operand("t").segments
    made = {(*path.segments[:2], segments[path.segments[2]].dim) for path in paths}
    assert len(made) == len(paths) == len(segments)
