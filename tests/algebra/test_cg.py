"""Wigner 3j tensors: equal to e3nn's in value and sign, invariant, orthogonal, exactly sparse."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from e3nn import o3

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.errors import ArgumentError, ArgumentTypeError

TRIANGLES = [
    (l1, l2, l3)
    for l1 in range(9)
    for l2 in range(9)
    for l3 in range(abs(l1 - l2), min(8, l1 + l2) + 1)
]


@pytest.fixture
def float64_default() -> Iterator[None]:
    """Has e3nn build its rotation matrices in float64: it uses torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("l1", range(9))
def test_value_and_sign_of_e3nn(l1: int) -> None:
    for degrees in TRIANGLES:
        if degrees[0] == l1:
            ours, theirs = wigner_3j(*degrees), o3.wigner_3j(*degrees, dtype=torch.float64)
            np.testing.assert_allclose(
                ours, theirs.numpy(), rtol=0, atol=1e-14, err_msg=str(degrees)
            )


@pytest.mark.parametrize("l1", range(9))
def test_zero_exactly_where_the_symbol_is_zero(l1: int) -> None:
    for degrees in TRIANGLES:
        if degrees[0] == l1:
            ours, theirs = wigner_3j(*degrees), o3.wigner_3j(*degrees, dtype=torch.float64)
            assert np.array_equal(ours != 0, np.abs(theirs.numpy()) > 1e-9), degrees
            assert not np.signbit(ours[ours == 0]).any()


def test_each_component_of_the_third_index_is_orthogonal() -> None:
    for l1, l2, l3 in TRIANGLES:
        tensor = wigner_3j(l1, l2, l3).reshape(-1, 2 * l3 + 1)
        gram = tensor.T @ tensor * (2 * l3 + 1)
        np.testing.assert_allclose(gram, np.eye(2 * l3 + 1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("degrees", [(1, 1, 2), (2, 3, 4), (5, 5, 5), (8, 8, 1), (8, 7, 6)])
@pytest.mark.usefixtures("float64_default")
def test_invariant_under_rotation(degrees: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    angles = 6 * torch.rand(3, generator=generator)
    rotations = [o3.wigner_D(degree, *angles).numpy() for degree in degrees]
    tensor = wigner_3j(*degrees)
    rotated = np.einsum("ijk,il,jm,kn->lmn", tensor, *rotations, optimize=True)
    np.testing.assert_allclose(rotated, tensor, rtol=0, atol=1e-12)


def test_degree_beyond_float_factorials() -> None:
    assert np.linalg.norm(wigner_3j(20, 20, 20)) == pytest.approx(1, abs=1e-13)


def test_cached_and_read_only() -> None:
    tensor = wigner_3j(2, 2, 2)
    assert wigner_3j(np.int64(2), 2, 2) is tensor
    assert tensor.dtype == np.float64
    assert tensor.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        tensor[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("degrees", "message"),
    [
        ((1, 1, 3), "l3: expected |l1 - l2| <= l3 <= l1 + l2, got l1=1, l2=1, l3=3"),
        ((3, 1, 1), "l3: expected |l1 - l2| <= l3 <= l1 + l2, got l1=3, l2=1, l3=1"),
        ((1, -1, 1), "l2: expected a degree >= 0, got -1"),
    ],
)
def test_refuses_bad_degrees(degrees: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(f"wigner_3j: {message}")):
        wigner_3j(*degrees)


@pytest.mark.parametrize("degree", [1.0, "1", None])
def test_refuses_degrees_that_are_no_integers(degree: object) -> None:
    wigner_3j(1, 1, 1)  # a float equal to a cached degree is refused all the same
    message = re.escape(f"wigner_3j: l1: expected an integer degree, got {degree!r}")
    with pytest.raises(ArgumentTypeError, match=message):
        wigner_3j(degree, 1, 1)  # type: ignore[arg-type]
