"""Marks these tests, and gives them a runtime that takes CPU tensors for those of a GPU."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tvm_equi.runtime import devices, gpu, topology

REQUIRED = "TVM_EQUI_REQUIRE_OPENCL"
"""Environment variable: 1 to fail where OpenCL or Oclgrind is missing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu_schedules)


def needs(what: str, is_there: bool) -> None:
    """Skips where something is missing, or fails where it is required."""
    if not is_there:
        (pytest.fail if os.environ.get(REQUIRED) == "1" else pytest.skip)(f"needs {what}")


def has_opencl() -> bool:
    if importlib.util.find_spec("pyopencl") is None:
        return False
    import pyopencl as cl

    try:
        return any(platform.get_devices() for platform in cl.get_platforms())
    except cl.LogicError:
        return False


@pytest.fixture
def opencl() -> None:
    """OpenCL is there."""
    needs(
        "an OpenCL device (Debian: pocl-opencl-icd, ocl-icd-libopencl1; PyPI: pyopencl)",
        has_opencl(),
    )


@pytest.fixture
def oclgrind() -> str:
    """The path of Oclgrind."""
    found = shutil.which("oclgrind")
    needs("oclgrind (Debian: oclgrind, ocl-icd-libopencl1)", found is not None)
    return str(found)


@pytest.fixture
def on_opencl(opencl: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU tensors go the way of CUDA tensors, and kernels run as OpenCL."""
    from tests.gpu_schedules.opencl import as_function
    from tvm_equi.nn import arguments, convolution

    for module in (devices, topology, arguments, convolution):
        monkeypatch.setattr(module, "is_on_gpu", lambda tensor: True)
    monkeypatch.setattr(gpu, "load_gpu_kernel", as_function)
    gpu.gpu_kernel.cache_clear()


@pytest.fixture
def check(on_opencl: None) -> Callable[..., list[torch.Tensor]]:
    """`oracle.check`, with kernels run as OpenCL."""
    from tests.gpu_schedules import oracle

    return oracle.check
