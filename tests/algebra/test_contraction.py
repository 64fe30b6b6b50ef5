"""Forms refuse what does not fit, and know their coupling tensors."""

import numpy as np
import pytest

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.algebra.contraction import (
    PAIRS,
    Contraction,
    Operand,
    Path,
    Segment,
    coupling_tensor,
)
from tvm_equi.errors import ArgumentError

X = Operand((Segment(2, 1), Segment(3, 5)))


def test_offsets_and_dim() -> None:
    assert X.dim == 17
    assert X.offsets == (0, 2)


def test_channels_must_fit() -> None:
    path = Path((1, 0), ("u", "u"), (("u", 3),), 1.0)
    with pytest.raises(ArgumentError, match=r"paths\[0\].channels\[1\]: expected a segment of 3"):
        Contraction("select", (X, X), (0, 1), (path,))


def test_identity_needs_equal_components() -> None:
    z = Operand((Segment(3, 1),))
    path = Path((1, 0), ("u", "u"), (("u", 3),), 1.0)
    with pytest.raises(ArgumentError, match=r"expected equal components, got \[5, 1\]"):
        Contraction("select", (X, z), (0, 1), (path,))


def test_pairs_are_counted() -> None:
    path = Path((0,), (PAIRS,), (("u", 5), ("v", 5)), 1.0)
    assert path.num_channels(PAIRS) == 10
    assert path.num_channels("uv") == 25
    assert path.num_channels("") == 1


def test_coupling_tensors() -> None:
    assert np.array_equal(coupling_tensor((3, 3)), np.eye(3))
    assert np.array_equal(coupling_tensor((3, 5, 7)), wigner_3j(1, 2, 3))
