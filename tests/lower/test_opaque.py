"""A zero that LLVM does not see through: that values are right is tested everywhere else."""

import contextlib
import re

import pytest

from tests.kernels import product
from tvm_equi.artifact.codegen import assembly
from tvm_equi.lower import primfunc


def broadcast_operands(text: str) -> int:
    """Multiply-adds that broadcast an element from memory."""
    return len(re.findall(r"vfn?m\w+.*\{1to16\}", text))


def test_tables_are_read_inside_the_loop_over_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = product(u=512)
    inside = assembly(kernel, "float32", "x86-64-v4")
    assert "tvm_equi_zero" not in inside  # nothing is left of the function
    monkeypatch.setattr(primfunc, "opaque_zeros", contextlib.nullcontext)
    monkeypatch.setattr("tvm_equi.lower.couple.varying_zero", lambda index: 0)
    outside = assembly(kernel, "float32", "x86-64-v4")
    assert broadcast_operands(inside) > broadcast_operands(outside)
