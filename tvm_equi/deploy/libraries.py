"""Compiled libraries, from bytes in memory to functions.

In: the bytes of libraries that were verified, with their sha256. Out: kernels in tvm_ffi's table of
global functions, under names made of that sha256, and programs that call them by these names. Code
stays loaded for as long as the process lives; the same bytes are loaded once. No file is left.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvm_equi.deploy.index_error import register_index_error
from tvm_equi.deploy.runtime import function_table, load_runtime
from tvm_equi.errors import ArtifactError

KERNEL_FUNCTION = "tvm_equi_kernel"
"""The function in a kernel's library."""

KERNEL_PREFIX = "tvm_equi.kernel."
KERNEL_DIGITS = 32
"""A kernel's name is the prefix and so many hexadecimal digits of its library's sha256."""

PROGRAM_LOADER = "vm_load_executable"
"""The function in a program's library that makes a virtual machine with the program in it."""

_programs: dict[str, Callable[[], Any]] = {}


def kernel_name(sha256: str) -> str:
    """The name under which programs call a kernel.

    Args:
        sha256: of its library, in hexadecimal digits.
    """
    return KERNEL_PREFIX + sha256[:KERNEL_DIGITS]


def register_kernel(name: str, data: bytes | memoryview, sha256: str) -> None:
    """Makes a kernel callable by its name, unless an equal one is already.

    Args:
        name: of the library, for errors.
        data: the library.
        sha256: of it, in hexadecimal digits; known to be right.

    Raises:
        ArtifactError: it is no kernel library, or this machine cannot load it.
    """
    tvm_ffi, wanted = load_runtime(), kernel_name(sha256)
    with function_table():
        if tvm_ffi.get_global_func(wanted, allow_missing=True) is None:
            function = _function(name, data, KERNEL_FUNCTION)
            tvm_ffi.register_global_func(wanted, function)


def load_program(name: str, data: bytes | memoryview, sha256: str) -> Callable[[], Any]:
    """What makes virtual machines that run a program; its kernels are registered before.

    The function that programs call about wrong indices is registered here.

    Args:
        name: of the library, for errors.
        data: the library.
        sha256: of it, in hexadecimal digits; known to be right.

    Raises:
        ArtifactError: it is no library of a program, or this machine cannot load it.
    """
    register_index_error()
    with function_table():
        if sha256 not in _programs:
            _programs[sha256] = _function(name, data, PROGRAM_LOADER)
        return _programs[sha256]


def _function(name: str, data: bytes | memoryview, function: str) -> Any:
    """A function of a library."""
    tvm_ffi, problems = load_runtime(), []
    for place in (_in_folder, _in_memory):
        try:
            with place(data) as path:
                return tvm_ffi.load_module(str(path))[function]
        except (RuntimeError, AttributeError, OSError) as error:
            problems.append(str(error))
    raise ArtifactError(
        f"load: {name}: expected a library with the function {function}, got: {problems[-1]}"
    )


@contextmanager
def _in_folder(data: bytes | memoryview) -> Iterator[Path]:
    """The path of a library in a folder that only this user may read."""
    with tempfile.TemporaryDirectory(prefix="tvm_equi-") as folder:
        path = Path(folder) / "library.so"
        path.write_bytes(data)
        yield path


@contextmanager
def _in_memory(data: bytes | memoryview) -> Iterator[Path]:
    """The path of a library on no disk, for systems that run no code from temporary folders.

    TVM wants a suffix, hence the link.

    Raises:
        OSError: the system has no files in memory, or no code may be loaded from them.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("no files in memory")
    file = os.memfd_create("tvm_equi")
    try:
        with os.fdopen(file, "wb", closefd=False) as stream:
            stream.write(data)
        with tempfile.TemporaryDirectory(prefix="tvm_equi-") as folder:
            path = Path(folder) / "library.so"
            path.symlink_to(f"/proc/{os.getpid()}/fd/{file}")
            yield path
    finally:
        os.close(file)
