"""Load compiled libraries of kernels.

In: a library made by `artifact.codegen`, in a file or in memory. Out: a function that takes tensors
through DLPack. Only the small TVM runtime is loaded, never the compiler.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from tvm_equi.artifact.cuda_libraries import check_runtime
from tvm_equi.deploy.libraries import kernel_name, register_kernel
from tvm_equi.deploy.runtime import load_runtime
from tvm_equi.errors import ArtifactError
from tvm_equi.lower.names import FUNCTION
from tvm_equi.runtime.compiled import Library


@lru_cache(maxsize=1)
def load_cuda_runtime() -> None:
    """Loads what libraries of kernels for GPUs call.

    Raises:
        ArtifactError: a library is missing, or the driver is too old.
    """
    path = check_runtime()
    load_runtime()
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


@lru_cache(maxsize=4096)
def load_function(path: Path) -> Callable[..., None]:
    """The kernel in a library.

    Args:
        path: of the library.

    Returns:
        A function of the kernel's inputs, then its outputs, which it fills.

    Raises:
        ArtifactError: the runtime is missing, or the file is no library of ours.
    """
    try:
        module = load_runtime().load_module(str(path.resolve()))
        function: Callable[..., None] = module[FUNCTION]
    except (RuntimeError, AttributeError) as error:
        raise ArtifactError(
            f"load: {path.name}: expected a kernel library, got: {error}"
        ) from error
    return function


def load_library(library: Library) -> Callable[..., None]:
    """The kernel in a library that is in memory; the same code is loaded once.

    Args:
        library: whose sha256 is known to be right.

    Raises:
        ArtifactError: the runtime is missing, or it is no library of ours.
    """
    register_kernel(library.sha256[:32], library.data, library.sha256)
    function: Callable[..., None] = load_runtime().get_global_func(kernel_name(library.sha256))
    return function
