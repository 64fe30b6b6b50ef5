"""Kernels of programs in this process, for those who run modules with TVM's virtual machine.

In: libraries of kernels. Out: their functions in tvm_ffi's registry.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tvm_ffi

from tvm_equi.deploy.runtime import function_table
from tvm_equi.relax.kernels import library_name
from tvm_equi.runtime.library import load_function


def register_kernels(libraries: Iterable[Path]) -> None:
    """Registers the function of each library by the name that programs call.

    Args:
        libraries: paths, such as `compile_kernels`' entries have.

    Raises:
        ArtifactError: a file that is no library of a kernel.
    """
    for path in libraries:
        name = library_name(path.read_bytes())
        with function_table():
            if tvm_ffi.get_global_func(name, allow_missing=True) is None:
                tvm_ffi.register_global_func(name, load_function(path))
