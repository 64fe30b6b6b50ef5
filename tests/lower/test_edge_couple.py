"""Runs of edges of any length give the same sums, and fetch the operands of later edges."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lower.test_convolution import random_edges
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.artifact.codegen import tensorir
from tvm_equi.schedule import cpu

# More components of the product than one loop over edges keeps in registers.
SEGMENTS = ((0, 0, 0), (0, 1, 0), (0, 1, 1), (0, 2, 1), (0, 2, 2), (0, 2, 3))
KERNEL = convolution_kernel(
    tensor_product_kernel(
        ((16, 2),),
        ((1, 0), (1, 1), (1, 2)),
        ((16, 2), (16, 3), (16, 1), (16, 4)),
        tuple(Instruction(*segments, "uvu", True, 1.0) for segments in SEGMENTS),
        weight_rows="row",
    )
)


@pytest.mark.parametrize("run_bytes", [1, 1 << 11, 1 << 30])
def test_runs_of_any_length(
    run_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    check_convolution: Callable[..., None],
) -> None:
    monkeypatch.setattr(cpu, "RUN_BYTES", run_bytes)
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", str(tmp_path))
    check_convolution(KERNEL, random_edges(70, 9, 5), (9, 5))
    check_convolution(vjp(KERNEL, (0, 1, 2), (0,)), random_edges(70, 9, 5), (9, 5))


def test_operands_of_later_edges_are_fetched() -> None:
    assert "llvm.prefetch" in tensorir(KERNEL, "float32")
