"""Bundles of couple steps: shared operands, loops over the other letter, and sums over lanes."""

from collections.abc import Callable

import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, tensor_product_kernel


def paths(degree: int, mul: int, mode: str = "uvu") -> Kernel:
    """Three paths, of which the last two share the gradient to y, and two the product."""
    return tensor_product_kernel(
        ((mul, degree),),
        ((1, 2), (1, 1)),
        ((mul, degree), (mul, degree - 1)),
        (
            Instruction(0, 0, 0, mode, True, 1.0),
            Instruction(0, 1, 1, mode, True, 0.5),
            Instruction(0, 1, 0, mode, True, 0.5),
        ),
        weight_rows="row",
    )


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("mul", [1, 13, 16, 33])
def test_gradients_to_the_common_operand(
    degree: int, mul: int, check_kernel: Callable[..., None]
) -> None:
    kernel = paths(degree, mul)
    check_kernel(vjp(kernel, (1,), (0,)))
    check_kernel(vjp(kernel, (0, 2), (0,)), "float32")


def test_third_derivative(check_kernel: Callable[..., None]) -> None:
    path = (Instruction(0, 0, 0, "uvu", True, 1.0),)
    kernel = tensor_product_kernel(((3, 1),), ((1, 1),), ((3, 2),), path, weight_rows="row")
    for _ in range(3):
        everything = tuple(range(len(kernel.inputs)))
        kernel = vjp(kernel, everything, tuple(range(len(kernel.outputs))))
    check_kernel(kernel)


def test_weighted_and_unweighted_paths_into_one_output(check_kernel: Callable[..., None]) -> None:
    paths = (
        Instruction(0, 0, 0, "uvu", True, 1.0),
        Instruction(0, 0, 0, "uvu", False, 0.5),
        Instruction(0, 0, 0, "uuu", False, 0.5),
    )
    kernel = tensor_product_kernel(((1, 1),), ((1, 1),), ((1, 1),), paths, weight_rows="row")
    for one in (kernel, vjp(kernel, (0, 1, 2), (0,))):
        check_kernel(one)
