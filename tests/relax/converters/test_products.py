import pytest
import torch

from tests.programs import CASES, capture_function, check_function
from tvm_equi.relax.lower import kernels_in
from tvm_equi.relax.translate import translate

SIZES = {"x": ("rows", 8), "y": ("rows", 8), "w": (8, 5), "b": ("rows", 3, 8)}


def products(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    x, y, w, b = (inputs[name] for name in ("x", "y", "w", "b"))
    given = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(((given @ w) ** 2).sum(), given)
    return {
        "mm": x @ w,
        "gradient": gradient,
        "weights": x.t() @ y,
        "square": w.t() @ w,
        "vector": x @ w[:, 0],
        "bmm": b @ b.transpose(1, 2),
        "batch": b @ w,
        "linear": torch.nn.functional.linear(x, w.t(), w[0]),
        "einsum": torch.einsum("nc,nic->ni", x, b),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_are_those_of_torch(dtype: torch.dtype) -> None:
    check_function(products, SIZES, dtype=dtype, cases=(*CASES, {"rows": 0, "edges": 1}))


def test_a_matrix_of_fixed_shape_is_that_of_a_linear_kernel() -> None:
    captured = capture_function(lambda x, w: {"out": x @ w}, {"x": ("rows", 8), "w": (8, 5)})
    ((kernel, dtype),) = kernels_in(translate(captured).module)
    assert [kernel.operand(name).dim for name in kernel.inputs] == [8, 40]
    assert dtype == "float64"
