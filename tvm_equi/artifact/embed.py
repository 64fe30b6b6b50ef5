"""Machine code for GPUs inside a library, in the place of the source that TVM would put there.

In: the source that TVM generated for a library's imported module, and its machine code. Out: a
function for TVM's `export_library` that writes the data of imported modules. TVM would store the
source, to be compiled on the machine that loads it; with machine code nothing is compiled there.
Where there is a driver, TVM would compile the source itself, with its own options and for this
machine's headers; it is given `PLACEHOLDER` in place of machine code.

The data (TVM 0.27, `ffi/src/extra/library_module.cc` and `src/runtime/cuda/cuda_module.cc`), every
number a little-endian uint64 and every text its length and bytes:
    size of the rest
    the tree of imports, then kind and data of each module; one is imported, and so its data is last
        its kind, "cuda"; the size of its data
            format of the code ("cuda": source; "cubin" or "fatbin": machine code); functions; the
            code
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tvm_equi.errors import ArtifactError

KIND = b"cuda"
SOURCE_FORMAT, COMPILED_FORMAT, CODE_FORMAT = b"cuda", b"cubin", b"fatbin"

CALLBACK = "tvm_callback_cuda_compile"
PLACEHOLDER = b"tvm_equi puts machine code here"

_local = threading.local()

ASSEMBLER = """    .section .rodata
    .globl {symbol}
    .balign 64
    .type {symbol}, @object
{symbol}:
    .incbin "{file}"
    .size {symbol}, . - {symbol}
    .section .note.GNU-stack, "", @progbits
"""


@contextmanager
def uncompiled() -> Iterator[None]:
    """Keeps TVM from compiling CUDA source in this thread, as it does where there is a driver."""
    _install()
    before = getattr(_local, "is_uncompiled", False)
    _local.is_uncompiled = True
    try:
        yield
    finally:
        _local.is_uncompiled = before


@lru_cache(maxsize=1)
def _install() -> None:
    """Puts a compiler before TVM's own, which still does what else is compiled in this process."""
    from tvm_ffi import get_global_func, register_global_func

    own = get_global_func(CALLBACK, allow_missing=True)

    def compile_source(code: str) -> bytes:
        if getattr(_local, "is_uncompiled", False):
            return PLACEHOLDER
        if own is None:
            raise ArtifactError(f"build: expected TVM's {CALLBACK}, got none")
        return bytes(own(code))

    register_global_func(CALLBACK, compile_source, override=True)


def packer(source: str, code: bytes) -> Callable[[Any, bool, str, str], str]:
    """What writes the data of imported modules into a file to link.

    Args:
        source: of the one imported module.
        code: what to store in its place.

    Raises:
        ArtifactError: TVM's data have another form than is known here.
    """

    def pack(module: Any, is_system_lib: bool, prefix: str, folder: str) -> str:
        from tvm_ffi import get_global_func

        del is_system_lib, prefix  # for libraries that are linked into programs
        data = get_global_func("runtime.ModulePackImportsToTensor")(module).numpy().tobytes()
        symbol = get_global_func("runtime.ModuleImportsBlobName")()
        file = Path(folder) / "imports.bin"
        file.write_bytes(with_code(data, source, code))
        assembler = Path(folder) / "imports.s"
        assembler.write_text(ASSEMBLER.format(symbol=symbol, file=file), encoding="utf-8")
        return str(assembler)

    return pack


def with_code(data: bytes, source: str, code: bytes) -> bytes:
    """The data of imported modules with machine code in the place of source.

    Args:
        data: TVM's.
        source: in them.
        code: to store in its place.

    Raises:
        ArtifactError: the data have another form than is known here.
    """
    forms = ((SOURCE_FORMAT, source.encode()), (COMPILED_FORMAT, PLACEHOLDER))
    # The module's data start with the format; before them stand their size and the module's kind.
    start = data.find(_text(KIND), 8)
    size_at = start + len(_text(KIND))
    body = data[size_at + 8 :]
    found = [
        (_text(form), _text(content))
        for form, content in forms
        if body.startswith(_text(form)) and body.endswith(_text(content))
    ]
    is_whole = (
        start > 0
        and data[:8] == _number(len(data) - 8)
        and data[size_at : size_at + 8] == _number(len(body))
    )
    if not (is_whole and found):
        raise ArtifactError(
            "build: expected one imported CUDA module in the form of TVM 0.27, got another; "
            "pip install apache-tvm==0.27.0.post1"
        )
    ((form, content),) = found
    functions = body[len(form) : -len(content)]
    new = _text(CODE_FORMAT) + functions + _text(code)
    rest = data[8:size_at] + _number(len(new)) + new
    return _number(len(rest)) + rest


def _number(value: int) -> bytes:
    return struct.pack("<Q", value)


def _text(value: bytes) -> bytes:
    return _number(len(value)) + value
