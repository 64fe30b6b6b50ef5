"""Every workload's kernels compile for sm_80 and sm_90, and ptxas reports no spills."""

import pytest

from bench.workloads import Workload, load
from tests.workloads import WORKLOADS
from tvm_equi.algebra.convolution import passes, stages
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact import cuda
from tvm_equi.artifact.codegen import assembly
from tvm_equi.nn.from_e3nn import from_e3nn
from tvm_equi.runtime.plans import resolve

ARCHITECTURES = ("sm_80", "sm_90")
MAX_SHARED_BYTES = 48 << 10
"""Of a block, without asking the driver for more."""


@pytest.fixture(autouse=True)
def nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    """nvcc where it is, else NVRTC, which has the same ptxas."""
    if cuda._find_nvcc("nvcc") is not None:
        monkeypatch.setenv(cuda.COMPILER_VARIABLE, "nvcc")


def kernels(workload: Workload, is_convolution: bool) -> list[Kernel]:
    """The kernels of a workload: forward, backward and double backward."""
    kernel = resolve(from_e3nn(workload.build())._plan)
    found = []
    for order in range(3):
        if order:
            everything = tuple(range(len(kernel.inputs)))
            kernel = vjp(kernel, everything, tuple(range(len(kernel.outputs))))
        elif is_convolution:
            kernel = stages(kernel).edges
        found += [part.kernel for part in passes(kernel)] if is_convolution else [kernel]
    return found


@pytest.mark.parametrize("is_convolution", [False, True], ids=["rows", "edges"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_no_spills_in_float32(workload: Workload, is_convolution: bool) -> None:
    for kernel in kernels(workload, is_convolution):
        source = assembly(kernel, "float32", "sm_80,sm_90")
        for architecture in ARCHITECTURES:
            for used in cuda.usage(source, architecture):
                assert used.spill_store_bytes == used.spill_load_bytes == 0, (architecture, used)
                assert used.stack_bytes == 0, (architecture, used)
                assert used.registers <= 255
                assert used.shared_bytes <= MAX_SHARED_BYTES, used


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("is_convolution", [False, True], ids=["rows", "edges"])
@pytest.mark.parametrize("name", ["mace-medium", "diffdock-l2", "e3tools-shared", "single-l5"])
def test_other_dtypes_compile(name: str, is_convolution: bool, dtype: str) -> None:
    workload = next(workload for workload in load() if workload.name == name)
    for kernel in kernels(workload, is_convolution):
        source = assembly(kernel, dtype, "sm_80,sm_90")
        for architecture in ARCHITECTURES:
            found = cuda.usage(source, architecture)
            assert found
            assert all(used.shared_bytes <= MAX_SHARED_BYTES for used in found)
