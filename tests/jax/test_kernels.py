"""Kernels as custom calls: keys, errors of kernels, the end of a process, what is installed."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.jax.arrays import values
from tests.kernels import linear, product
from tvm_equi.artifact.codegen import build
from tvm_equi.errors import ArgumentTypeError, ArtifactError
from tvm_equi.jax import kernels
from tvm_equi.jax.kernels import call_key, common_target, install, is_installed, kernel_name
from tvm_equi.jax.operator import run
from tvm_equi.runtime.library import load_function

pytestmark = pytest.mark.deploy

AT_THE_END = """
import jax, numpy as np
from tests.kernels import product
from tvm_equi.jax import run
plan = product(u=4).plan()
x, y, w = (np.ones((200, n), "float32") for n in (12, 3, 8))
function = jax.jit(lambda x: [run(plan, [x * n, y, w])[0] for n in range(50)])
jax.block_until_ready(function(x))
for _ in range(80):
    function(x)
print("end")
"""


def test_keys_are_the_same_in_every_process() -> None:
    name = kernel_name(product(u=4), "float64")
    assert name == f"tvm_equi.{product(u=4).key()[:40]}.float64"
    key = call_key("tvm_equi.kernel", 3, 0, True)
    assert len(key) == kernels.KEY_LENGTH
    assert call_key("tvm_equi.kernel", 3, 0, True) == key
    assert call_key("tvm_equi.kernel", 3, 0, False) != key


def test_two_calls_of_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = call_key("tvm_equi.first", 1, 0, False)
    monkeypatch.setitem(kernels._calls, key, ("tvm_equi.other", 1, 0, False))
    with pytest.raises(ArtifactError, match=f"expected one kernel of key {key}, got two"):
        call_key("tvm_equi.first", 1, 0, False)


def test_dtypes() -> None:
    with pytest.raises(ArgumentTypeError, match="expected float32 or float64, got float16; cast"):
        kernel_name(product(u=4), "float16")


@pytest.mark.parametrize("is_pooled", [False, True])
def test_errors_of_kernels_are_exceptions_with_their_text(is_pooled: bool) -> None:
    name = kernel_name(product(u=4), "float64")
    key = call_key(name, 3, 0, is_pooled)
    wrong = [np.zeros((5, n)) for n in (12, 4, 8)]  # y has 3 columns
    call = jax.ffi.ffi_call(common_target(), jax.ShapeDtypeStruct((5, 24), "float64"))
    with pytest.raises(RuntimeError, match=r"expected arguments of tvm_equi_kernel\(x: Tensor\("):
        jax.block_until_ready(call(*wrong, key=key))


def test_a_process_that_ends_with_calls_under_way() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END], capture_output=True, text=True, cwd=root
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_what_is_installed_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = linear()
    library = build(kernel, "float64").library
    monkeypatch.setattr(kernels, "_functions", {})
    monkeypatch.setattr(kernels, "build", None)
    assert not is_installed(kernel, "float64")
    install(kernel.key(), "float64", load_function(library))
    install(kernel.key(), "float64", print)  # too late
    assert is_installed(kernel, "float64")
    jax.clear_caches()
    assert run(kernel.plan(), values(kernel.plan(), {"row": 2}))[0].shape == (2, 60)


def test_a_kernel_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImportError("No module named 'tvm'")

    monkeypatch.setattr(kernels, "build", fail)
    with pytest.raises(ArtifactError, match="expected a kernel of a model file, or the compiler"):
        kernel_name(product(u=1), "float64")
