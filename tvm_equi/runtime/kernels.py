"""The compiled functions of kernels: installed from an artifact, from the cache, or compiled now.

In: a kernel, a dtype and a device. Out: its function, loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import build
from tvm_equi.errors import ArgumentTypeError, ArtifactError
from tvm_equi.runtime.compiled import CompiledKernel
from tvm_equi.runtime.devices import architecture, runs_on
from tvm_equi.runtime.library import load_cuda_runtime, load_function, load_library

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
GPU_DTYPES = DTYPES | {torch.float16: "float16", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True, slots=True)
class _Installed:
    """A kernel compiled earlier, and the GPUs that it is for."""

    load: Callable[[], Callable[..., None]]
    architectures: tuple[str, ...]


_installed: dict[tuple[str, str, bool], _Installed] = {}


def install(kernel: CompiledKernel, architectures: Sequence[str] = ()) -> None:
    """Makes calls of a kernel use code compiled earlier, for instance from an artifact.

    Code for the CPU is loaded at once, code for GPUs when it is first called.

    Args:
        kernel: to call.
        architectures: of the GPUs that it is for; none if it is for the CPU.

    Raises:
        ArtifactError: the code cannot be loaded.
    """
    load = partial(load_library, kernel.library)
    if not architectures:
        load()
    found = _Installed(load, tuple(architectures))
    _installed[kernel.key, kernel.dtype, bool(architectures)] = found


def load_kernel(kernel: Kernel, dtype: torch.dtype) -> Callable[..., None]:
    """The function of a kernel for this CPU.

    Args:
        kernel: the program.
        dtype: of its values.

    Raises:
        ArgumentTypeError: the dtype is not supported.
    """
    if dtype not in DTYPES:
        raise ArgumentTypeError(
            f"tvm_equi: inputs: expected float32 or float64, got {dtype}; cast them"
        )
    found = _installed.get((kernel.key(), DTYPES[dtype], False))
    return found.load() if found else load_function(build(kernel, DTYPES[dtype]).library)


def load_gpu_kernel(
    kernel: Kernel, dtype: torch.dtype, device: torch.device
) -> Callable[..., None]:
    """The function of a kernel for a GPU.

    Args:
        kernel: the program.
        dtype: of its values.
        device: the GPU.

    Raises:
        ArgumentTypeError: the dtype is not supported.
        ArtifactError: an installed library is for other GPUs, no compiler or driver is there, or
            one fails.
    """
    if dtype not in GPU_DTYPES:
        raise ArgumentTypeError(
            f"tvm_equi: inputs: expected {', '.join(GPU_DTYPES.values())}, got {dtype}; cast them"
        )
    own = architecture(device)
    found = _installed.get((kernel.key(), GPU_DTYPES[dtype], True))
    if found is not None and not runs_on(found.architectures, own):
        raise ArtifactError(
            f"tvm_equi: {device}: expected a GPU that runs code for "
            f"{', '.join(found.architectures)}, for which the artifact was compiled, got {own}; "
            f"compile it with target='{own}' too"
        )
    load_cuda_runtime()
    return found.load() if found else load_function(build(kernel, GPU_DTYPES[dtype], own).library)
