"""Spherical harmonics as one kernel equal e3nn's, values and gradients."""

import numpy as np
import pytest
import torch
from e3nn import o3

from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.harmonics import (
    NORMALIZATIONS,
    factor,
    half,
    harmonics_kernel,
    needed_degrees,
    scale,
)


def unit_vectors(num: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(num, 3, dtype=torch.float64, generator=generator)
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("degrees", [(0, 1), (1,), (0, 1, 2, 3), (3, 2, 0, 2), (7, 4, 5)])
def test_equal_e3nn(degrees: tuple[int, ...], normalization: str) -> None:
    v = unit_vectors(5).requires_grad_()
    parts = [o3.spherical_harmonics(degree, v, True, normalization) for degree in degrees]
    wanted = torch.cat(parts, -1)
    kernel = harmonics_kernel(
        Operand(tuple(Segment(1, 2 * degree + 1) for degree in degrees)), normalization
    )
    arrays = [np.ones((5, 1)), v.detach().numpy()]
    (found,) = evaluate(kernel, arrays)
    assert np.allclose(found, wanted.detach().numpy(), rtol=0, atol=1e-13)
    cotangent = torch.randn_like(wanted)
    (gradient,) = torch.autograd.grad(wanted, v, cotangent)
    (other,) = evaluate(vjp(kernel, (1,), (0,)), [*arrays, cotangent.numpy()])
    along = np.sum(other * arrays[1], axis=1, keepdims=True)  # normalising takes this part away
    assert np.allclose(other - along * arrays[1], gradient.numpy(), rtol=0, atol=1e-11)


def test_recursion() -> None:
    assert [half(degree) for degree in (2, 3, 4, 5, 8, 9)] == [1, 2, 2, 4, 4, 8]
    assert needed_degrees({0, 1}) == set()
    assert needed_degrees({7}) == {2, 3, 4, 7}
    assert scale("norm", 2) == pytest.approx(5**-0.5)
    assert factor(1, 2, "component") == pytest.approx(factor(1, 2, "norm") * 5**0.5 / 3)
