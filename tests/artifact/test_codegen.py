"""Libraries of kernels: keys, errors, and what can be looked at."""

import numpy as np
import pytest
import torch

from tests.kernels import kinds
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.artifact import codegen
from tvm_equi.artifact.codegen import assembly, build, cache_key, tensorir
from tvm_equi.errors import ArgumentError
from tvm_equi.lower.names import FUNCTION, ROWS_BLOCK
from tvm_equi.runtime.library import load_function


def kernel(coefficient: float = 1.0) -> Kernel:
    path = (Instruction(0, 0, 0, "uvu", True, coefficient),)
    return tensor_product_kernel(((5, 1),), ((1, 1),), ((5, 2),), path, weight_rows="row")


def test_key_depends_on_kernel_dtype_and_target() -> None:
    keys = {
        cache_key(kernel(), "float32", "host"),
        cache_key(kernel(), "float64", "host"),
        cache_key(kernel(), "float32", "x86-64-v3"),
        cache_key(kernel(2.0), "float32", "host"),
    }
    assert len(keys) == 4
    assert cache_key(kernel(), "float32", "host") in keys


def test_build_is_cached() -> None:
    first, second = build(kernel(), "float32"), build(kernel(), "float32")
    assert first.library == second.library
    assert first.manifest["kernel"] == kernel().key()
    assert first.manifest["dtype"] == "float32"


def test_views_that_start_anywhere() -> None:
    function = load_function(build(kernel(), "float32").library)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((9, kernel().operand(n).dim)) for n in kernel().inputs]
    views = []
    for array in [*arrays, np.zeros((9, 25))]:
        memory = torch.zeros(array.size + 1)
        view = memory[1:].view(array.shape)
        view.copy_(torch.tensor(array))
        views.append(view)
    function(*views)
    (wanted,) = evaluate(kernel(), arrays)
    assert np.allclose(views[-1].numpy(), wanted, rtol=0, atol=1e-5)


def test_text_of_a_kernel() -> None:
    text = tensorir(kernel(), "float32")
    assert f'T.sblock("{ROWS_BLOCK}")' in text
    assert 'T.sblock("couple_0")' in text
    assert FUNCTION in assembly(kernel(), "float32", "x86-64-v3")


@pytest.mark.parametrize(
    ("dtype", "target", "text"),
    [
        ("float16", "host", "build: dtype: expected one of float32, float64, got 'float16'"),
        ("float32", "sparc", "build: target: expected one of host, x86-64-v2"),
    ],
)
def test_unknown_dtype_or_target(dtype: str, target: str, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        build(kernel(), dtype, target)


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4", "sm_80"])
@pytest.mark.parametrize("name", ["uvw gradient", "conv uvu second 0"])
def test_passes_that_are_left_out_are_idle(
    name: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = kinds()[name]
    without = assembly(kernel, "float32", target)
    monkeypatch.setattr(codegen, "IDLE_PASSES", [])
    monkeypatch.setattr(codegen, "IDLE_CPU_PASSES", [])
    assert assembly(kernel, "float32", target) == without
