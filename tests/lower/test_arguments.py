"""Which arguments a convolution takes beside its kernel's inputs and outputs."""

from tests.lower.test_primfunc import product
from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.derivative import vjp
from tvm_equi.lower.arguments import copied_inputs, is_interleaved, summed_outputs


def test_interleaved_operands() -> None:
    assert is_interleaved(Operand((Segment(4, 1), Segment(2, 3))))
    assert not is_interleaved(Operand((Segment(4, 1), Segment(1, 3))))
    assert not is_interleaved(Operand((Segment(2, 3),), "ir_mul"))


def test_copies_and_sums() -> None:
    kernel = convolution_kernel(product("uvu", (5, 1, 5), "row"))
    assert (copied_inputs(kernel), summed_outputs(kernel)) == (("x",), ("z",))
    backward = vjp(kernel, (0, 1, 2), (0,))
    assert (copied_inputs(backward), summed_outputs(backward)) == (("i0", "i3"), ("o0",))
    to_weights = vjp(kernel, (2,), (0,))
    assert (copied_inputs(to_weights), summed_outputs(to_weights)) == (("i0", "i3"), ())
    to_x = vjp(kernel, (0,), (0,))
    assert copied_inputs(to_x) == ("i3",)  # x is not read
    plain = convolution_kernel(product("uvu", (5, 1, 5), "row", "ir_mul"))
    assert copied_inputs(plain) == ()
