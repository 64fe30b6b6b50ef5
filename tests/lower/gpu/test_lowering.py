"""Whole functions: their launches as CUDA kernels, within the bounds of a device."""

import re

import pytest

from tests.lower.gpu.helpers import (
    CudaKernel,
    assert_close,
    cuda_kernels,
    outputs,
    random_inputs,
)
from tests.lower.test_convolution import COUNTS, EDGES, fused, random_edges
from tests.lower.test_primfunc import MODES, derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel, is_convolution, passes, stages
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, WeightRows, tensor_product_kernel
from tvm_equi.artifact.codegen import assembly
from tvm_equi.lower.gpu.arguments import (
    ORDER,
    argument_names,
    copied_inputs,
    parts_name,
    summed_outputs,
)
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.launches import launches
from tvm_equi.lower.gpu.lowering import lower_gpu
from tvm_equi.lower.gpu.scalars import padded, wide_lanes
from tvm_equi.lower.names import FUNCTION
from tvm_equi.lower.roles import Roles
from tvm_equi.schedule.gpu import decide
from tvm_equi.schedule.targets import gpu_target

SHARED_BYTES = 48 << 10
"""What every block may have without asking for more."""


def num_kernels(kernel: Kernel, dtype: str) -> int:
    """Launches, copies, zeros where no path stores, and sums of parts."""
    found = launches(kernel, decide(kernel, dtype, gpu_target("sm_90")))
    reached = {
        (i.step.target, kernel.contractions[one.contraction].paths[i.path].segments[i.step.output])
        for one in found
        for i in one.items
    }
    zeros, parts = 0, 0
    for name in (*kernel.outputs, *kernel.temporaries):
        has_stores = [
            (name, n) in reached for n, s in enumerate(kernel.operand(name).segments) if s.size
        ]
        zeros += has_stores.count(False)
        if is_convolution(kernel) and name in summed_outputs(kernel):
            # One launch for each run of neighbouring segments.
            parts += sum(
                b and not a for a, b in zip([False, *has_stores], has_stores, strict=False)
            )
    copies = len(copied_inputs(kernel)) if is_convolution(kernel) else 0
    return len(found) + copies + zeros + parts


def check(kernel: Kernel, dtype: str = "float32") -> tuple[CudaKernel, ...]:
    found = cuda_kernels(kernel, dtype)
    assert len(found) == num_kernels(kernel, dtype)
    for one in found:
        assert 1 <= one.threads <= 1024
        assert sum(one.shared) <= SHARED_BYTES
        assert "atomic" not in one.body
        check_barriers(one)
    return found


def check_barriers(one: CudaKernel) -> None:
    """None stands where only some threads come by; every loop around one is as long for all."""
    barriers = one.enclosing("__syncthreads()")
    assert bool(barriers) == bool(one.shared)
    for heads in barriers:
        assert all(head.startswith("for (") for head in heads)
        assert not any("threadIdx" in head for head in heads)


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize(("mode", "u", "v", "w"), MODES)
def test_every_mode(mode: str, u: int, v: int, w: int, weight_rows: WeightRows) -> None:
    whole = product(mode, (u, v, w), weight_rows)
    first = 0 if weight_rows == "row" else 1
    for kernel in derivatives(whole)[first:2]:
        check(kernel)
    for kernel in derivatives(stages(whole).edges)[1:2]:
        for part in passes(kernel):
            check(part.kernel)


@pytest.mark.parametrize("mode", ["uvu", "uvw"])
def test_second_derivatives(mode: str) -> None:
    whole = product(mode, (16, 1, 16), "row")
    check(derivatives(whole)[2])
    for part in passes(derivatives(stages(whole).edges)[2]):
        check(part.kernel)


def test_inner_kernels() -> None:
    for kernel in derivatives(fused(radial=True, harmonics=True))[:2]:
        for part in passes(kernel):
            check(part.kernel)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tables_are_read_16_bytes_at_a_time(dtype: str) -> None:
    vector = {"float32": "float4", "float64": "double2"}[dtype]
    for kernel in derivatives(product("uvu", (32, 1, 32), "row"))[:2]:
        (form,) = kernel.contractions
        (walk,) = [one for one in check(kernel, dtype) if one.shared]
        patterns = [Roles(form, path, wanted="u").pattern for path in form.paths]
        # Each table once, whatever is computed from it.
        wanted = sum(padded(len(pattern), dtype) // wide_lanes(dtype) for pattern in patterns)
        assert walk.body.count(f"*({vector}*)(") == wanted
    for few in (1, 7):  # threads that combine coefficients themselves
        alone = check(product("uvu", (few, 1, few), "row"), dtype)
        assert not any(one.shared for one in alone)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mul", [64, 256])
def test_high_degrees_and_many_channels_fit_shared_memory(mul: int, dtype: str) -> None:
    """Sums over 256 lanes of the 81 components of attributes up to degree 8 would not."""
    kernel = tensor_product_kernel(
        ((mul, 0),),
        tuple((1, degree) for degree in range(9)),
        tuple((mul, degree) for degree in range(9)),
        tuple(Instruction(0, degree, degree, "uvu", True, 1.0) for degree in range(9)),
        weight_rows="row",
    )
    found = check(vjp(kernel, (0, 1, 2), (0,)), dtype)
    assert any(one.shared for one in found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_stored_and_summed_in_float32(dtype: str) -> None:
    kernel = derivatives(stages(product("uvu", (8, 1, 8), "shared")).edges)[1]
    for part in passes(kernel):
        text = lower_gpu(part.kernel, dtype, GpuDecisions()).script()
        found = dict(re.findall(r'(\w+): T\.Buffer\(\(.*?\), "(\w+)"', text))
        partial = [n for n in part.kernel.outputs if part.kernel.operand(n).rows == "shared"]
        wide = {*partial, *part.kernel.temporaries, *map(parts_name, summed_outputs(part.kernel))}
        for name in argument_names(part.kernel):
            narrow = "int64" if name in ORDER else dtype
            assert found[name] == ("float32" if name in wide else narrow)
        check(part.kernel, dtype)


@pytest.mark.parametrize("target", ["sm_75", "sm_90,sm_120"])
def test_any_architecture(target: str) -> None:
    kernel = product("uvu", (8, 1, 8), "row")
    source = assembly(kernel, "float32", target)
    assert source.count("__global__") == 2 * num_kernels(kernel, "float32")


def test_segments_that_no_path_reaches_are_zero() -> None:
    """Also on nodes, and in memory between launches."""
    kernel = stages(product("uuu", (5, 5, 5), "row")).edges
    inputs = random_inputs(kernel, EDGES.shape[1], COUNTS)
    (z,) = outputs(kernel, GpuDecisions(min_table_lanes=99), inputs, EDGES, COUNTS)
    assert kernel.outputs == ("z",)
    last = kernel.operand("z").offsets[2]
    assert (z[:, last:] == 0).all()
    assert (z[-1] == 0).all()  # a node without edges
    nodes = {n: Nodes(EDGES[i].numpy(), COUNTS[i]) for i, n in enumerate(("sender", "receiver"))}
    assert_close([z], evaluate(kernel, inputs, nodes))


def test_parts_of_segments_on_both_sides_of_one_that_no_path_reaches() -> None:
    kernel = convolution_kernel(
        tensor_product_kernel(
            ((3, 1),),
            ((3, 0),),
            ((3, 1), (3, 2), (3, 1)),
            (Instruction(0, 0, 0, "uuu", False, 0.5), Instruction(0, 0, 2, "uuu", False, 0.25)),
            weight_rows="none",
        )
    )
    edges = random_edges(100, 4, 2)
    inputs = random_inputs(kernel, 100, (4, 2))
    found = outputs(kernel, GpuDecisions(min_table_lanes=99), inputs, edges, (4, 2))
    nodes = {n: Nodes(edges[i].numpy(), (4, 2)[i]) for i, n in enumerate(("sender", "receiver"))}
    assert_close(found, evaluate(kernel, inputs, nodes))


def test_function() -> None:
    function = lower_gpu(product("uvu", (4, 1, 4), "row"), "float32", GpuDecisions())
    assert str(function.attrs["global_symbol"]) == FUNCTION
    text = function.script()
    blocks = [line for line in text.splitlines() if "T.sblock(" in line and "root" not in line]
    assert [line.split('"')[1] for line in blocks] == ["zeros_1", "couple_2"]
    assert text.count('thread="blockIdx.x"') == text.count('thread="threadIdx.x"') == 2
