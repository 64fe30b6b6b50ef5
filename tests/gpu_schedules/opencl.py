"""Runs kernels for GPUs where there is none: the same scheduled TensorIR, as OpenCL on the CPU.

In: a kernel. Out: a function of torch's CPU tensors that stands in for the function of a CUDA
library, in which outputs, temporaries and all other memory that it should write start as NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pyopencl as cl
import torch
import tvm

from tvm_equi.algebra.convolution import NODE_ROWS
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import executable
from tvm_equi.lower.gpu.arguments import ORDER, argument_names
from tvm_equi.lower.names import FUNCTION
from tvm_equi.schedule.gpu import schedule
from tvm_equi.schedule.space import Point, apply_point
from tvm_equi.schedule.targets import OPENCL, gpu_target

Array = np.ndarray[Any, Any]
Sizes = Mapping[str, int]
Grid = dict[str, Any]
"""Extents by thread tag."""

NAMES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
"""float16 needs an OpenCL device that computes with it; TVM makes integer code of bfloat16."""


@lru_cache(maxsize=1)
def queue() -> Any:
    """The queue of the first OpenCL device."""
    device = next(d for platform in cl.get_platforms() for d in platform.get_devices())
    return cl.CommandQueue(cl.Context([device]))


def grids(statement: Any, inside: Grid) -> Iterator[Grid]:
    """The blocks and threads of each launch, in order."""
    if isinstance(statement, tvm.tirx.SeqStmt):
        for each in statement.seq:
            yield from grids(each, inside)
    elif hasattr(statement, "block"):
        yield from grids(statement.block.body, inside)
    elif isinstance(statement, tvm.tirx.For) and statement.thread_binding is not None:
        tag = statement.thread_binding.thread_tag
        found = inside | {tag: statement.extent}
        if tag == "threadIdx.x":
            yield found
        else:
            yield from grids(statement.body, found)
    elif hasattr(statement, "body"):
        yield from grids(statement.body, inside)


OPERATORS: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "FloorDiv": lambda a, b: a // b,
    "Min": min,
    "Max": max,
}


def value(expression: Any, sizes: Sizes) -> int:
    """The value of an extent."""
    match type(expression).__name__:
        case "int":
            return int(expression)
        case "IntImm":
            return int(expression.value)
        case "Var":
            return sizes[expression.name]
        case "Cast":
            return value(expression.value, sizes)
        case name:
            return OPERATORS[name](value(expression.a, sizes), value(expression.b, sizes))


@dataclass(frozen=True)
class Launch:
    """One OpenCL kernel, the names of its parameters, and its blocks and threads."""

    kernel: Any
    parameters: tuple[str, ...]
    grid: Grid

    def run(self, buffers: Mapping[str, Any], sizes: Sizes) -> None:
        """Runs it."""
        arguments = [
            buffers[name.removesuffix("_ptr")] if name.endswith("_ptr") else np.int64(sizes[name])
            for name in self.parameters
        ]
        threads = [value(self.grid.get(f"threadIdx.{d}", 1), sizes) for d in "xyz"]
        blocks = [value(self.grid.get(f"blockIdx.{d}", 1), sizes) for d in "xyz"]
        assert min(blocks) > 0
        shape = [a * b for a, b in zip(threads, blocks, strict=True)]
        self.kernel(queue(), shape, threads, *arguments)


def repaired(source: str) -> str:
    """Source with storage in bfloat16, for which TVM 0.27 makes wrong OpenCL (not CUDA).

    It takes addresses of values, which OpenCL does not have, and reads numbers as if they were
    integers.
    """
    for number in ("float", "uint"):
        source = source.replace(f"*({number} *)(&(", f"as_{number}((")
    read = "float from_bfloat16(ushort bits) { return as_float((uint)bits << 16); }\n"
    return read + re.sub(r"convert_float\((\w+_ptr\[)", r"from_bfloat16(\1", source)


def generated(kernel: Kernel, dtype: str, point: Point) -> str:
    """The source that TVM makes of a kernel."""
    source: str = executable(kernel, dtype, OPENCL, point).mod.imports[0].inspect_source()
    return source


class Program:
    """A kernel compiled as OpenCL, by the rule or a point of the design space."""

    def __init__(self, kernel: Kernel, dtype: str, point: Point = MappingProxyType({})) -> None:
        source = generated(kernel, dtype, point)
        if dtype == "bfloat16":
            source = repaired(source)
        self.source = source
        options = ["-cl-std=CL1.2"]
        if queue().device.name.startswith("Oclgrind"):
            options.append("-cl-opt-disable")  # optimised code has instructions that it cannot run
        built = cl.Program(queue().context, source).build(options=options)
        decisions = apply_point(kernel, dtype, gpu_target(OPENCL), point)
        function = schedule(kernel, dtype, decisions)[FUNCTION]
        found = re.findall(r"__kernel void (\w+)\(([^)]*)\) \{", source)
        found.sort(key=lambda one: int(one[0].rpartition("_kernel")[2].lstrip("_") or 0))
        self.launches = [
            Launch(
                cl.Kernel(built, name), tuple(p.split()[-1] for p in parameters.split(",")), grid
            )
            for (name, parameters), grid in zip(found, grids(function.body, {}), strict=True)
        ]

    def run(self, arrays: Mapping[str, Array], sizes: Sizes) -> None:
        """Runs every launch; arrays are read and written."""
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffers = {
            name: cl.Buffer(queue().context, flags, hostbuf=array) if array.size else None
            for name, array in arrays.items()
        }
        for launch in self.launches:
            launch.run(buffers, sizes)
        for name, array in arrays.items():
            if buffers[name] is not None:
                cl.enqueue_copy(queue(), array, buffers[name])
        queue().finish()


def as_function(
    kernel: Kernel, dtype: torch.dtype, device: torch.device | None = None
) -> Callable[..., None]:
    """What stands in for the function of a CUDA library: takes tensors by position."""
    del device
    return called(Program(kernel, NAMES[dtype]), kernel)


def called(program: Program, kernel: Kernel) -> Callable[..., None]:
    """A function of tensors, by position, that runs a kernel's program."""
    names = argument_names(kernel)

    def function(*tensors: torch.Tensor) -> None:
        by_name = dict(zip(names, tensors, strict=True))
        for name, tensor in by_name.items():
            assert tensor.is_contiguous(), name
            if name not in (*kernel.inputs, *ORDER):
                tensor.fill_(float("nan"))
        program.run(
            {name: _array(tensor.detach()) for name, tensor in by_name.items()},
            _sizes(kernel, by_name),
        )

    return function


def _array(tensor: torch.Tensor) -> Array:
    """A tensor's memory, as integers where numpy has no such numbers."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _sizes(kernel: Kernel, tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Values of the sizes that launches take, from the shapes of tensors."""
    sizes: dict[str, int] = {}
    for name in (*kernel.inputs, *kernel.outputs, *kernel.temporaries):
        rows = kernel.operand(name).rows
        if rows == "row":
            sizes["num_rows"] = tensors[name].shape[0]
        elif rows in NODE_ROWS:
            sizes[f"num_{rows}s"] = tensors[name].shape[0]
        elif name in kernel.outputs:
            sizes["num_chunks"] = tensors[name].shape[0]
    if "edges" in tensors:
        sizes["num_rows"] = tensors["edges"].shape[0]
        sizes["num_segments"] = tensors["segment_nodes"].shape[0]
        sizes["num_parts"] = tensors["part_nodes"].shape[0]
    return sizes
