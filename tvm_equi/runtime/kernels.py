"""The compiled functions of kernels: installed from an artifact, from the cache, or compiled now.

In: a kernel, a dtype and a device. Out: its function, loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import build
from tvm_equi.errors import ArgumentTypeError, ArtifactError
from tvm_equi.runtime.devices import architecture, runs_on
from tvm_equi.runtime.library import load_cuda_runtime, load_function

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
GPU_DTYPES = DTYPES | {torch.float16: "float16", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True, slots=True)
class _Installed:
    """A library compiled earlier, and the GPUs that it is for."""

    library: Path
    architectures: tuple[str, ...]


_installed: dict[tuple[str, str, bool], _Installed] = {}


def install(kernel: Kernel, dtype: str, library: Path, architectures: Sequence[str] = ()) -> None:
    """Makes calls of a kernel use a library compiled earlier, for instance from an artifact.

    Args:
        kernel: the program.
        dtype: of its values.
        library: its path.
        architectures: of the GPUs that it is for; none if it is for the CPU.
    """
    found = _Installed(library, tuple(architectures))
    _installed[kernel.key(), dtype, bool(architectures)] = found


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
    return load_function(found.library if found else build(kernel, DTYPES[dtype]).library)


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
    return load_function(found.library if found else build(kernel, GPU_DTYPES[dtype], own).library)
