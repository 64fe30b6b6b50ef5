"""A fixture that compares compiled kernels with the numpy oracle."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import build
from tvm_equi.runtime.library import load_function, use_threads

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture
def check_kernel() -> Callable[..., None]:
    """check_kernel(kernel, dtype, rows, target): outputs equal `evaluate`, from NaN memory."""

    def check(kernel: Kernel, dtype: str = "float64", rows: int = 37, target: str = "host") -> None:
        assert Kernel.from_plan(kernel.plan()) == kernel
        rng = np.random.default_rng(7)

        def shape(name: str) -> tuple[int, ...]:
            operand = kernel.operand(name)
            return (rows, operand.dim) if operand.rows == "row" else (operand.dim,)

        arrays = [rng.standard_normal(shape(name)) for name in kernel.inputs]
        torch_dtype = getattr(torch, dtype)
        outputs = []
        for name in kernel.outputs:
            is_row = kernel.operand(name).rows == "row"
            extent = shape(name) if is_row else (3, *shape(name))
            outputs.append(torch.full(extent, float("nan"), dtype=torch_dtype))
        use_threads(1)
        function = load_function(build(kernel, dtype, target).library)
        function(*[torch.tensor(array, dtype=torch_dtype) for array in arrays], *outputs)
        for name, got, wanted in zip(
            kernel.outputs, outputs, evaluate(kernel, arrays), strict=True
        ):
            found = got if kernel.operand(name).rows == "row" else got.sum(0)
            scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
            error = float(np.abs(found.numpy() - wanted).max(initial=0.0)) / scale
            assert error < TOLERANCE[dtype], f"{name} of {kernel!r}: relative error {error}"

    return check
