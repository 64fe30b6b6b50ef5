"""Plans name kernels and their derivatives."""

import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.errors import ArgumentError
from tvm_equi.runtime.plans import derivative_plan, derivative_plans, resolve, signature


def test_a_word_for_each_derivative(plan: str) -> None:
    kernel = resolve(plan)
    gradient = derivative_plan(plan, (0, 2), (0,))
    assert gradient == f"{plan} 0,2:0"
    assert resolve(gradient) == vjp(kernel, (0, 2), (0,))
    assert resolve(derivative_plan(gradient, (1,), (0, 1))).outputs == ("o0",)


def test_plans_up_to_an_order(plan: str) -> None:
    plans = derivative_plans(plan, 2)
    assert plans == [plan, f"{plan} 0,1,2:0", f"{plan} 0,1,2:0 0,1,2,3:0,1,2"]
    assert derivative_plans(plan, 0) == [plan]


def test_signature_of_shared_weights(shared_plan: str) -> None:
    found = signature(derivative_plan(shared_plan, (2,), (0,)))
    assert found.inputs[2] == found.outputs[0] == (3 + 3 + 6, False)
    assert found.row_elements == 24 + 4 + 34


@pytest.mark.parametrize("word", ["x", "0,1", "0:y", "9:0"])
def test_other_words_are_refused(plan: str, word: str) -> None:
    with pytest.raises(ArgumentError):
        resolve(f"{plan} {word}")
