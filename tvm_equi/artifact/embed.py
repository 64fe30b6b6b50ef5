"""Machine code for GPUs inside a library, in the place of the source that TVM would put there.

In: the source that TVM generated for a library's imported module, and its machine code. Out: a
function for TVM's `export_library` that writes the data of imported modules. TVM would store the
source, to be compiled on the machine that loads it; with machine code nothing is compiled there.

The data (TVM 0.27, `ffi/src/extra/library_module.cc` and `src/runtime/cuda/cuda_module.cc`), every
number a little-endian uint64 and every text its length and bytes:
    size of the rest
    the tree of imports, then kind and data of each module; one is imported, and so its data is last
        its kind, "cuda"; the size of its data
            format of the code ("cuda": source; "fatbin": machine code); functions; the code
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvm_equi.errors import ArtifactError

KIND = b"cuda"
SOURCE_FORMAT, CODE_FORMAT = b"cuda", b"fatbin"

ASSEMBLER = """    .section .rodata
    .globl {symbol}
    .balign 64
    .type {symbol}, @object
{symbol}:
    .incbin "{file}"
    .size {symbol}, . - {symbol}
    .section .note.GNU-stack, "", @progbits
"""


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
    old = _text(source.encode())
    # The module's data start with the format; before them stand their size and the module's kind.
    start = data.find(_text(KIND), 8)
    size_at = start + len(_text(KIND))
    body = data[size_at + 8 :]
    is_known = (
        start > 0
        and data[:8] == _number(len(data) - 8)
        and data[size_at : size_at + 8] == _number(len(body))
        and body.startswith(_text(SOURCE_FORMAT))
        and body.endswith(old)
    )
    if not is_known:
        raise ArtifactError(
            "build: expected one imported CUDA module in the form of TVM 0.27, got another; "
            "pip install apache-tvm==0.27.0.post1"
        )
    functions = body[len(_text(SOURCE_FORMAT)) : -len(old)]
    new = _text(CODE_FORMAT) + functions + _text(code)
    rest = data[8:size_at] + _number(len(new)) + new
    return _number(len(rest)) + rest


def _number(value: int) -> bytes:
    return struct.pack("<Q", value)


def _text(value: bytes) -> bytes:
    return _number(len(value)) + value
