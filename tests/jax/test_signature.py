"""What kernels take, and the words of what does not fit; `test_operator.py` has the rest."""

import numpy as np
import pytest

from tests.kernels import linear, product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.errors import ArgumentError
from tvm_equi.jax.signature import check, count_rows, shape, signature

pytestmark = pytest.mark.deploy


def test_facts() -> None:
    conv = signature(convolution_kernel(product(u=4)).plan())
    assert conv.inputs == ((12, "sender"), (3, "row"), (8, "row"))
    assert conv.outputs == ((24, "receiver"),)
    assert conv.is_convolution
    layer = signature(linear().plan())
    assert not layer.is_convolution
    assert [shape(value, {"row": 5}) for value in layer.inputs] == [(5, 99), (660,)]
    arrays = [np.zeros((7, 99)), np.zeros(660)]
    assert count_rows(layer.inputs, arrays) == {"row": 7}
    assert count_rows(layer.inputs, [None, 3]) == {}


def test_a_shared_value_has_no_rows() -> None:
    layer = signature(linear().plan())
    with pytest.raises(ArgumentError, match=r"f\[1\]: expected shape \[660\], got \[5, 660\]"):
        check("f", layer.inputs, [np.zeros((5, 99)), np.zeros((5, 660))], {"row": 5})
    with pytest.raises(ArgumentError, match=r"f\[0\]: expected shape \[rows, 99\]"):
        check("f", layer.inputs, [np.zeros(99), np.zeros(660)], {})
