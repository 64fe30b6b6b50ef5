"""What tests of the lowering for GPUs share: CUDA source in parts, and TensorIR run on the CPU."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest import mock

import numpy as np
import torch
import tvm
from numpy.typing import NDArray
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.algebra.convolution import NODE_ROWS, pass_order
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import PASS_CONFIG, assembly
from tvm_equi.lower.gpu import product, tile
from tvm_equi.lower.gpu.arguments import (
    ORDER,
    argument_names,
    copied_inputs,
    copy_name,
    parts_name,
    summed_outputs,
)
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.launches import Launch, launches
from tvm_equi.lower.gpu.lowering import lower_gpu
from tvm_equi.lower.gpu.scalars import num_bytes
from tvm_equi.lower.names import FUNCTION
from tvm_equi.runtime.device_order import device_order

NUM_BYTES = {"float": 4, "double": 8, "int64_t": 8}


@dataclass(frozen=True)
class CudaKernel:
    """One `__global__` function.

    Args:
        name: of the function.
        parameters: names of its parameters.
        threads: of a block.
        body: its text.
    """

    name: str
    parameters: tuple[str, ...]
    threads: int
    body: str

    @property
    def shared(self) -> list[int]:
        """Bytes of each buffer of shared memory."""
        found = re.findall(r"__shared__ (?:alignas\(\d+\) )?(\w+) \w+\[(\d+)\]", self.body)
        assert len(found) == self.body.count("__shared__")
        return [NUM_BYTES[dtype] * int(size) for dtype, size in found]

    def enclosing(self, text: str) -> list[list[str]]:
        """For each line that holds a text, the heads of the blocks around it."""
        found, stack = [], []
        for line in self.body.splitlines():
            if text in line:
                found.append(list(stack))
            if line.strip().startswith("}"):
                stack.pop()
            if line.rstrip().endswith("{"):
                stack.append(line.strip())
        return found


_DEFINITION = re.compile(
    r'extern "C" __global__ void __launch_bounds__\((\d+)\) (\w+)\(([^)]*)\) \{\n(.*?)\n\}\n', re.S
)


@lru_cache(maxsize=256)
def cuda_kernels(kernel: Kernel, dtype: str = "float32") -> tuple[CudaKernel, ...]:
    """The functions of a kernel's CUDA source, in the order of their launches."""
    source = assembly(kernel, dtype, "sm_90")
    found = tuple(
        CudaKernel(
            name,
            tuple(p.split()[-1].removesuffix("_ptr") for p in parameters.split(",")),
            int(threads),
            body,
        )
        for threads, name, parameters, body in _DEFINITION.findall(source)
    )
    assert 2 * len(found) == source.count("__global__")  # each is declared first
    return found


@contextmanager
def serial_threads(*, alone: bool = False) -> Iterator[None]:
    """Makes loops of what would be bound to threads, for code that needs no barriers.

    `alone`: launches with barriers have one thread per block, which waits for nobody.
    """

    threads: list[int] = []

    def loop(start: int, stop: Any, *, thread: str) -> Any:
        if thread == "blockIdx.x":
            threads.clear()
        elif thread.startswith("threadIdx."):
            threads.append(int(stop))
        return T.serial(start, stop)

    def barrier() -> None:
        assert set(threads) == {1}

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(T, "thread_binding", loop))
        for module in (product, tile) if alone else ():
            stack.enter_context(mock.patch.object(module, "barrier", barrier))
        yield


def compiled(function: Any) -> Any:
    """A PrimFunc for the CPU."""
    assert "T.thread_binding" not in function.script()
    assert "tvm_storage_sync" not in function.script()
    module = tvm.IRModule({FUNCTION: function})
    with tvm.transform.PassContext(config=PASS_CONFIG):
        return tvm.compile(module, target="llvm")[FUNCTION]


@lru_cache(maxsize=8)
def compiled_kernel(kernel: Kernel, decisions: GpuDecisions, *, alone: bool) -> Any:
    """The function of a kernel, in float64, for the CPU."""
    with serial_threads(alone=alone):
        function = lower_gpu(kernel, "float64", decisions)
    return compiled(function)


def run_emitted(emit: Callable[..., None], tensors: Mapping[str, torch.Tensor]) -> None:
    """Runs what `emit` emits, which is given a buffer for each tensor by its name."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name(FUNCTION)
        T.func_attr({"global_symbol": FUNCTION, "tirx.noalias": True})
        buffers = {}
        for name, tensor in tensors.items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            handle = T.arg(name, T.handle())
            buffers[name] = T.match_buffer(
                handle, tuple(tensor.shape), dtype, align=num_bytes(dtype)
            )
        emit(**buffers)
    compiled(builder.get())(*tensors.values())


def outputs(
    kernel: Kernel,
    decisions: GpuDecisions,
    inputs: list[NDArray[np.float64]],
    edges: torch.Tensor | None = None,
    counts: tuple[int, int] = (0, 0),
    chunks: int = 3,
    *,
    alone: bool = False,
) -> list[NDArray[np.float64]]:
    """What the lowered function computes, thread after thread, from memory full of NaN."""
    num_rows = len(inputs[0]) if edges is None else edges.shape[1]
    extents = {"row": num_rows, "sender": counts[0], "receiver": counts[1]}
    given: dict[str, torch.Tensor] = {
        name: torch.tensor(array) for name, array in zip(kernel.inputs, inputs, strict=True)
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name in (*kernel.outputs, *kernel.temporaries):
        operand = kernel.operand(name)
        shapes[name] = (extents.get(operand.rows, chunks), operand.dim)
    if edges is not None:
        side = NODE_ROWS.index(pass_order(kernel))
        order = device_order(edges, side, counts[side], counts[1 - side])
        given |= dict(zip(ORDER, order, strict=True))
        for name in copied_inputs(kernel):
            shapes[copy_name(name)] = tuple(given[name].shape)
        for name in summed_outputs(kernel):
            shapes[parts_name(name)] = (len(order.part_nodes), kernel.operand(name).dim)
    for name, shape in shapes.items():
        given[name] = torch.full(shape, float("nan"), dtype=torch.float64)
    function = compiled_kernel(kernel, decisions, alone=alone)
    function(*(given[name] for name in argument_names(kernel)))
    return [
        given[name].sum(0).numpy() if kernel.operand(name).rows == "shared" else given[name].numpy()
        for name in kernel.outputs
    ]


def random_inputs(
    kernel: Kernel, rows: int, counts: tuple[int, int] = (0, 0)
) -> list[NDArray[np.float64]]:
    """Values for the inputs of a kernel."""
    rng = np.random.default_rng(3)
    extents = {"row": (rows,), "sender": (counts[0],), "receiver": (counts[1],), "shared": ()}
    return [
        rng.standard_normal((*extents[kernel.operand(name).rows], kernel.operand(name).dim))
        for name in kernel.inputs
    ]


def assert_close(found: list[NDArray[np.float64]], wanted: list[NDArray[np.float64]]) -> None:
    """Equal up to rounding."""
    for one, other in zip(found, wanted, strict=True):
        scale = max(float(np.abs(other).max(initial=0.0)), 1e-30)
        assert np.abs(one - other).max(initial=0.0) < 1e-12 * scale


def forms(kernels: Iterable[Kernel]) -> Iterator[tuple[Kernel, Launch, Contraction]]:
    """All launches by the rule's decisions, with their contractions."""
    for kernel in kernels:
        for launch in launches(kernel, GpuDecisions()):
            yield kernel, launch, kernel.contractions[launch.contraction]
