"""Marks these tests, and gives them a runtime that takes CPU tensors for those of a GPU."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tvm_equi.algebra.convolution import NODE_ROWS, is_convolution, pass_order, passes
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.runtime import devices, gpu, topology
from tvm_equi.runtime.device_order import device_order

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2.0**-8}
"""Of the largest element; for bfloat16 half a unit in the last place, since sums are in float32."""
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
def check(on_opencl: None) -> Callable[..., None]:
    """check(kernel, ...): outputs equal `evaluate`, for a kernel on rows or over edges."""

    def check(
        kernel: Kernel,
        edges: torch.Tensor | None = None,
        counts: tuple[int, int] = (0, 0),
        *,
        rows: int = 37,
        dtype: torch.dtype = torch.float64,
        seed: int = 7,
    ) -> list[torch.Tensor]:
        sizes = {"row": rows if edges is None else edges.shape[1]}
        sizes |= dict(zip(NODE_ROWS, counts, strict=True))
        rng = np.random.default_rng(seed)
        arrays = []
        for name in kernel.inputs:
            operand = kernel.operand(name)
            lead = () if operand.rows == "shared" else (sizes[operand.rows],)
            drawn = torch.tensor(rng.standard_normal((*lead, operand.dim))).to(dtype)
            arrays.append(drawn.double().numpy())
        if edges is None or not is_convolution(kernel):
            expected = evaluate(kernel, arrays)
        else:
            pairs = zip(NODE_ROWS, edges.numpy(), counts, strict=True)
            expected = evaluate(kernel, arrays, {r: Nodes(e, c) for r, e, c in pairs})
        given = [torch.tensor(array, dtype=dtype) for array in arrays]
        found = _run(kernel, given, edges, counts, sizes)
        for name, got, wanted in zip(kernel.outputs, found, expected, strict=True):
            scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
            error = float(np.abs(got.double().numpy() - wanted).max(initial=0.0)) / scale
            assert error < TOLERANCE[dtype], f"{name} of {kernel!r}: relative error {error}"
        return found

    return check


def _run(
    kernel: Kernel,
    inputs: list[torch.Tensor],
    edges: torch.Tensor | None,
    counts: tuple[int, int],
    sizes: dict[str, int],
) -> list[torch.Tensor]:
    """The outputs, by the calls that the runtime makes."""
    device = torch.device("cpu")
    if edges is None:
        return gpu.call(gpu.gpu_kernel(kernel, inputs[0].dtype, device), inputs, sizes)
    outputs: dict[int, torch.Tensor] = {}
    for part in passes(kernel):
        side = NODE_ROWS.index(pass_order(part.kernel))
        order = device_order(edges, side, counts[side], counts[1 - side])
        ready = gpu.gpu_kernel(part.kernel, inputs[0].dtype, device)
        found = gpu.call(ready, inputs, sizes, order)
        outputs |= dict(zip(part.outputs, found, strict=True))
    return [outputs[number] for number in range(len(outputs))]
