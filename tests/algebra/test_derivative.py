"""Derivatives by algebra agree with differences, at any order, for every mode."""

import numpy as np
import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.errors import ArgumentError

MODES = {
    "uvw": (2, 3, 4),
    "uvu": (2, 3, 2),
    "uvv": (2, 3, 3),
    "uuw": (3, 3, 2),
    "uuu": (3, 3, 3),
    "uvuv": (2, 3, 6),
    "uvu<v": (3, 3, 3),
    "u<vw": (3, 3, 2),
}


def kernel(mode: str, weight_rows: str = "row") -> Kernel:
    u, v, w = MODES[mode]
    path = (Instruction(0, 0, 0, mode, True, 0.5),)
    return tensor_product_kernel(((u, 1),), ((v, 2),), ((w, 1),), path, weight_rows=weight_rows)


def arrays(one: Kernel, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    operands = [one.operand(name) for name in one.inputs]
    return [rng.standard_normal((3, o.dim) if o.rows == "row" else o.dim) for o in operands]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_gradients_equal_differences(mode: str, order: int) -> None:
    function = kernel(mode, "shared" if order == 1 else "row")
    for _ in range(order - 1):
        everything = tuple(range(len(function.inputs)))
        function = vjp(function, everything, tuple(range(len(function.outputs))))
    outputs = tuple(range(len(function.outputs)))
    inputs = tuple(range(len(function.inputs)))
    gradient = vjp(function, inputs, outputs)
    values = arrays(gradient)
    point, cotangents = values[: len(inputs)], values[len(inputs) :]
    found = evaluate(gradient, values)
    rng = np.random.default_rng(9)
    for number in inputs:
        direction = rng.standard_normal(point[number].shape)

        def along(step: float, number: int = number, direction: np.ndarray = direction) -> float:
            moved = [a + step * direction if n == number else a for n, a in enumerate(point)]
            return sum(
                float(np.sum(g * z))
                for g, z in zip(cotangents, evaluate(function, moved), strict=True)
            )

        # The function is linear in each operand: a difference over any step is exact.
        wanted = (along(1.0) - along(-1.0)) / 2
        assert np.sum(found[number] * direction) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_unneeded_steps_are_dropped() -> None:
    full = vjp(kernel("uvw"), (0, 1, 2), (0,))
    only_t = vjp(kernel("uvw"), (0,), (0,))
    assert len(only_t.steps) < len(full.steps)
    assert only_t.outputs == ("o0",)


def test_names_are_canonical() -> None:
    gradient = vjp(kernel("uvu"), (1, 0), (0,))
    assert gradient.inputs == ("i0", "i1", "i2", "i3")
    assert gradient.outputs == ("o0", "o1")
    assert gradient.operand("o0") == kernel("uvu").operand("y")


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"vjp: wrt: expected numbers below 3, got \(3,\)"):
        vjp(kernel("uvu"), (3,), (0,))
    with pytest.raises(ArgumentError, match=r"vjp: of: expected numbers below 1, got \(1,\)"):
        vjp(kernel("uvu"), (0,), (1,))
