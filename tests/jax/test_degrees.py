"""Degrees of kernels and their derivatives in each input."""

import pytest

from tests.kernels import product
from tvm_equi.algebra.symmetric_kernel import symmetric_kernel
from tvm_equi.jax.degrees import degrees, depends, is_linear

pytestmark = pytest.mark.deploy

KERNEL = product(u=2).plan()
SYMMETRIC = symmetric_kernel(((0, 1), (1, -1)), ((0, 1),), 3, 2).plan()


def test_a_product_is_linear_in_each_input() -> None:
    assert [degrees(KERNEL, number) for number in range(3)] == [(frozenset({1}),)] * 3
    assert is_linear(KERNEL, (0,), (0, 1, 2))


def test_a_gradient_does_not_depend_on_its_own_input() -> None:
    gradient = f"{KERNEL} 0,1,2:0"
    assert degrees(gradient, 0) == (frozenset({0}), frozenset({1}), frozenset({1}))
    assert not is_linear(gradient, (0, 1, 2), (0,))
    assert is_linear(gradient, (1, 2), (0,))
    assert not depends(gradient, 0, (0,))
    assert depends(gradient, 0, (0, 1))


def test_a_polynomial_has_all_its_degrees() -> None:
    assert degrees(SYMMETRIC, 0)[0] == {1, 2, 3}
    assert degrees(SYMMETRIC, 2)[0] == {1}
    assert not is_linear(SYMMETRIC, (0,), (0,))
