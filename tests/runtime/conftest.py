"""A small kernel with every family of steps, and inputs for it."""

from collections.abc import Callable

import pytest
import torch

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.runtime.plans import resolve

PATHS = (
    Instruction(0, 0, 0, "uvu", True, 0.7),
    Instruction(1, 0, 1, "uvu", True, 0.3),
    Instruction(1, 1, 2, "uvw", True, 0.3),
)


def make(weight_rows: str) -> Kernel:
    return tensor_product_kernel(
        ((3, 1), (3, 2)), ((1, 1), (1, 0)), ((3, 1), (3, 2), (2, 2)), PATHS, weight_rows=weight_rows
    )


@pytest.fixture
def plan() -> str:
    """Weights per row."""
    return make("row").plan()


@pytest.fixture
def shared_plan() -> str:
    """Weights shared by all rows."""
    return make("shared").plan()


@pytest.fixture
def inputs() -> Callable[..., list[torch.Tensor]]:
    """inputs(plan, rows, dtype, requires_grad) -> random tensors."""

    def draw(
        plan: str,
        rows: int = 4,
        dtype: torch.dtype = torch.float64,
        *,
        requires_grad: bool = False,
    ) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        kernel = resolve(plan)
        shapes = [
            (rows, kernel.operand(n).dim)
            if kernel.operand(n).rows == "row"
            else (kernel.operand(n).dim,)
            for n in kernel.inputs
        ]
        return [
            torch.randn(shape, dtype=dtype, generator=generator).requires_grad_(requires_grad)
            for shape in shapes
        ]

    return draw
