"""Calls of kernels on GPUs: arguments in order, memory of the right size, chunks by shapes."""

from collections.abc import Callable

import pytest
import torch

from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel, passes
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu.arguments import argument_names, copy_name, parts_name
from tvm_equi.runtime import gpu
from tvm_equi.runtime.device_order import DeviceOrder, device_order

Calls = list[tuple[torch.Tensor, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Arguments of each call; outputs are filled with ones."""
    seen: Calls = []

    def load(kernel: Kernel, dtype: torch.dtype, device: torch.device) -> Callable[..., None]:
        def function(*tensors: torch.Tensor) -> None:
            first = len(kernel.inputs)
            for tensor in tensors[first : first + len(kernel.outputs)]:
                tensor.fill_(1)
            seen.append(tensors)

        return function

    monkeypatch.setattr(gpu, "load_gpu_kernel", load)
    gpu.gpu_kernel.cache_clear()
    return seen


def call(
    kernel: Kernel, counts: dict[str, int], dtype: torch.dtype, order: DeviceOrder | None = None
) -> list[torch.Tensor]:
    inputs = []
    for name in kernel.inputs:
        operand = kernel.operand(name)
        rows = () if operand.rows == "shared" else (counts[operand.rows],)
        inputs.append(torch.zeros((*rows, operand.dim), dtype=dtype))
    ready = gpu.gpu_kernel(kernel, dtype, torch.device("cpu"))
    return gpu.call(ready, inputs, counts, order)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_rows(calls: Calls, dtype: torch.dtype) -> None:
    kernel = derivatives(product("uvw", (3, 2, 4), "shared"))[1]
    rows = 200
    outputs = call(kernel, {"row": rows}, dtype)
    by_name = dict(zip(argument_names(kernel), calls[0], strict=True))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    shared = [name for name in kernel.outputs if kernel.operand(name).rows == "shared"]
    chunks = gpu.num_chunks(rows, sum(kernel.operand(name).dim for name in shared))
    assert shared
    assert chunks == rows // gpu.ROWS_PER_CHUNK
    for name, output in zip(kernel.outputs, outputs, strict=True):
        dim = kernel.operand(name).dim
        is_sum = name in shared
        assert by_name[name].shape == ((chunks if is_sum else rows), dim)
        assert by_name[name].dtype == (wide if is_sum else dtype)
        assert output.dtype == dtype
        assert output.shape == ((dim,) if is_sum else (rows, dim))
        assert (output == (chunks if is_sum else 1)).all()
    for name in kernel.temporaries:
        assert by_name[name].shape == (rows, kernel.operand(name).dim)
        assert by_name[name].dtype == wide


def test_edges(calls: Calls) -> None:
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 9, (2, 500), generator=generator)
    edges[1, :300] = 4  # a node in several parts
    counts = {"row": 500, "sender": 9, "receiver": 11}
    whole = convolution_kernel(product("uvu", (3, 1, 3), "row"))
    for kernel in [part.kernel for k in derivatives(whole)[:2] for part in passes(k)]:
        order = device_order(edges, 1, 11, 9)
        call(kernel, counts, torch.float32, order)
        names = argument_names(kernel)
        by_name = dict(zip(names, calls[-1], strict=True))
        assert all(tensor.is_contiguous() for tensor in calls[-1])
        for name in kernel.inputs:
            if copy_name(name) in names:
                assert by_name[copy_name(name)].shape == by_name[name].shape
        for name in kernel.outputs:
            if parts_name(name) in names:
                dim = kernel.operand(name).dim
                assert by_name[parts_name(name)].shape == (order.part_nodes.shape[0], dim)
        assert by_name["part_ends"] is order.part_ends


@pytest.mark.parametrize("rows", [1, 31, 64, 10**4, 10**7])
@pytest.mark.parametrize("columns", [0, 1, 10**3, 10**8])
def test_chunks(rows: int, columns: int) -> None:
    chunks = gpu.num_chunks(rows, columns)
    assert 1 <= chunks <= gpu.MAX_CHUNKS
    assert chunks == 1 or chunks * gpu.ROWS_PER_CHUNK <= rows
    assert chunks == 1 or chunks * columns <= gpu.MAX_PARTIAL_ELEMENTS
