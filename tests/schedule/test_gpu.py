"""The GPU rule: what it decides, and that its schedule binds every launch."""

import pytest

from tests.lower.test_primfunc import product
from tvm_equi.lower.gpu.scalars import accumulator, num_bytes
from tvm_equi.lower.names import FUNCTION
from tvm_equi.schedule.gpu import decide, schedule
from tvm_equi.schedule.targets import gpu_target

REGISTERS = 255
SHARED_BYTES = 48 << 10


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_decisions_fit_a_thread_and_a_block(dtype: str) -> None:
    decisions = decide(product("uvu", (4, 1, 4), "row"), dtype, gpu_target("sm_90"))
    size = num_bytes(accumulator(dtype))
    assert (decisions.sums + decisions.node_inputs) * size // 4 <= REGISTERS
    assert decisions.table_bytes == 24 << 10
    assert decisions.reduce_elements * size == 20 << 10
    assert decisions.table_bytes + decisions.reduce_elements * size <= SHARED_BYTES


def test_constants_are_exact_for_opencl_alone() -> None:
    """CUDA's code generator prints enough digits."""
    kernel = product("uvu", (4, 1, 4), "row")
    cuda, opencl = gpu_target("sm_90"), gpu_target("opencl")
    assert not decide(kernel, "float32", cuda).exact_constants
    assert decide(kernel, "float32", opencl).exact_constants
    for target, is_exact in ((cuda, False), (opencl, True)):
        decisions = decide(kernel, "float32", target)
        assert ("reinterpret" in schedule(kernel, "float32", decisions).script()) == is_exact


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
def test_everything_is_bound_to_threads(weight_rows: str) -> None:
    kernel = product("uvw", (4, 2, 6), weight_rows)  # type: ignore[arg-type]
    decisions = decide(kernel, "float32", gpu_target("sm_90"))
    module = schedule(kernel, "float32", decisions)
    assert [var.name_hint for var in module.get_global_vars()] == [FUNCTION]
    lines = module[FUNCTION].script().splitlines()
    loops = [line for line in lines if line.startswith("    for ")]
    assert loops
    assert all("T.thread_binding(" in line and '"blockIdx.x"' in line for line in loops)


def test_architecture_changes_no_decision() -> None:
    kernel = product("uvu", (4, 1, 4), "row")
    found = {decide(kernel, "float32", gpu_target(name)) for name in ("sm_75", "sm_80,sm_120")}
    assert len(found) == 1
