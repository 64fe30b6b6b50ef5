"""Plans read back, keys are stable, and malformed programs are refused."""

from dataclasses import replace

import pytest

from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.errors import ArgumentError


def kernel() -> Kernel:
    path = (Instruction(0, 0, 0, "uvw", True, 1 / 3),)
    return tensor_product_kernel(((4, 1),), ((2, 1),), ((5, 2),), path, weight_rows="row")


def test_plan_reads_back_exactly() -> None:
    assert Kernel.from_plan(kernel().plan()) == kernel()
    assert Kernel.from_plan(kernel().plan()).key() == kernel().key()


def test_structure_leaves_the_factors_of_paths_out() -> None:
    form = kernel().contractions[0]
    other = replace(form, paths=tuple(replace(path, scale=0.5) for path in form.paths))
    scaled = replace(kernel(), contractions=(other, *kernel().contractions[1:]))
    assert scaled.key() != kernel().key()
    assert scaled.structure() == kernel().structure()
    assert replace(kernel(), outputs=("t",)).structure() != kernel().structure()


def test_repr_lists_the_steps() -> None:
    assert repr(kernel()).splitlines() == [
        "Kernel(x, y, w) -> z",
        "  t += couple[0](x, y)  # 1 paths",
        "  z += mix[1](t, w)  # 1 paths",
    ]
    assert kernel().temporaries == ("t",)
    assert kernel().operand("t").layout == "ir_mul"


@pytest.mark.parametrize("text", ["", "no plan", "0" * 20])
def test_other_text_is_no_plan(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"plan: expected a plan's text"):
        Kernel.from_plan(text)


def test_values_are_complete_before_they_are_read() -> None:
    with pytest.raises(ArgumentError, match=r"steps\[0\]: expected 't' complete"):
        replace(kernel(), steps=kernel().steps[::-1])
    with pytest.raises(ArgumentError, match=r"expected 't' complete"):
        replace(kernel(), steps=(*kernel().steps, kernel().steps[0]))


def test_a_value_has_one_type() -> None:
    first = kernel().steps[0]
    wrong = Step(first.contraction, ("y", "x", "t"), 2)
    with pytest.raises(ArgumentError, match=r"steps\[0\]: expected 'y' of type"):
        replace(kernel(), steps=(wrong, kernel().steps[1]))
