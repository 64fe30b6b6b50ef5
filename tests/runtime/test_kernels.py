"""Functions of kernels: installed ones first, and refusals in words."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.lower.test_primfunc import product
from tvm_equi.errors import ArgumentTypeError, ArtifactError
from tvm_equi.runtime import kernels
from tvm_equi.runtime.compiled import CompiledKernel, Library

KERNEL = product("uvu", (3, 1, 3), "row")
GPU = torch.device("cuda", 0)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was built and loaded, on a machine with an H100 that is not there."""
    seen: list[object] = []

    class Entry:
        library = Path("built.so")

    def build(*arguments: object) -> Entry:
        seen.append(arguments[1:])
        return Entry()

    def load_function(path: Path) -> Callable[..., None]:
        seen.append(path.name)
        return lambda *tensors: None

    monkeypatch.setattr(kernels, "_installed", {})
    monkeypatch.setattr(kernels, "build", build)
    monkeypatch.setattr(kernels, "load_function", load_function)
    monkeypatch.setattr(kernels, "load_library", lambda library: seen.append(library.data))
    monkeypatch.setattr(kernels, "load_cuda_runtime", lambda: None)
    monkeypatch.setattr(kernels, "architecture", lambda device: "sm_90")
    return seen


def test_kernels_are_built_for_the_device(loaded: list[object]) -> None:
    kernels.load_kernel(KERNEL, torch.float64)
    kernels.load_gpu_kernel(KERNEL, torch.bfloat16, GPU)
    assert loaded == [("float64",), "built.so", ("bfloat16", "sm_90"), "built.so"]


def compiled(code: bytes) -> CompiledKernel:
    return CompiledKernel(KERNEL.key(), "float32", "some", Library.of(code))


def test_installed_kernels_come_first(loaded: list[object]) -> None:
    kernels.install(compiled(b"cpu"))
    assert loaded == [b"cpu"]  # now, so that errors come early
    kernels.install(compiled(b"gpu"), ["sm_80"])
    assert loaded == [b"cpu"]  # later: this machine may have no GPU
    kernels.load_kernel(KERNEL, torch.float32)
    kernels.load_gpu_kernel(KERNEL, torch.float32, GPU)
    assert loaded == [b"cpu", b"cpu", b"gpu"]


def test_installed_for_another_gpu(loaded: list[object]) -> None:
    kernels.install(compiled(b"gpu"), ["sm_100", "sm_120"])
    message = (
        "tvm_equi: cuda:0: expected a GPU that runs code for sm_100, sm_120, for which the "
        "artifact was compiled, got sm_90; compile it with target='sm_90' too"
    )
    with pytest.raises(ArtifactError, match=f"^{message}$"):
        kernels.load_gpu_kernel(KERNEL, torch.float32, GPU)
    assert loaded == []


def test_dtypes_are_refused(loaded: list[object]) -> None:
    with pytest.raises(ArgumentTypeError, match=r"expected float32 or float64, got torch\.float16"):
        kernels.load_kernel(KERNEL, torch.float16)
    with pytest.raises(ArgumentTypeError, match="float32, float64, float16, bfloat16, got"):
        kernels.load_gpu_kernel(KERNEL, torch.int32, GPU)
