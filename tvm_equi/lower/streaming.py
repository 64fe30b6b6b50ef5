"""Stores that go past the cache, for outputs too large to be found there when they are read.

In: a vector, where it goes, and whether this call's outputs are large. Out: TensorIR that stores it
by a non-temporal store where the output is large and aligned, and as usual elsewhere: a line that
is written whole need not be read first, and pushes nothing out of the cache. TVM has no such store,
so functions in LLVM's language are linked into the kernel; LLVM takes the choice out of the loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T
from tvm.sym import Analyzer

from tvm_equi.lower.vector import Expr

STREAM_BYTES = 16 << 20
"""Outputs of fewer bytes are stored as usual: whoever reads them next may find them in a cache.
Measured with a reader, 32 MiB of last-level cache: 0.83 times as fast at 8 MiB, 1.07 at 16 MiB,
1.23 at 32 MiB."""

ALIGNMENT = 64
"""Bytes, of an output that is stored past the cache."""

_MISALIGNMENT, _FENCE = "tvm_equi_misalignment", "llvm.x86.sse.sfence"


def _name(dtype: str, width: int) -> str:
    return f"tvm_equi_stream_{dtype}x{width}"


def _source(dtype: str) -> str:
    """The functions, in LLVM's language."""
    bits = int(dtype.removeprefix("float"))
    element = {32: "float", 64: "double"}[bits]
    lines = [
        f"define linkonce_odr i64 @{_MISALIGNMENT}(ptr %p) alwaysinline nounwind {{",
        "  %address = ptrtoint ptr %p to i64",
        f"  %rest = and i64 %address, {ALIGNMENT - 1}",
        "  ret i64 %rest",
        "}",
    ]
    for width in (2, 4, 8, 16, 32, 64):
        alignment = min(ALIGNMENT, width * bits // 8)
        lines += [
            f"define linkonce_odr void @{_name(dtype, width)}(ptr %p, <{width} x {element}> %v) "
            "alwaysinline nounwind {",
            f"  store <{width} x {element}> %v, ptr %p, align {alignment}, !nontemporal !0",
            "  ret void",
            "}",
        ]
    return "\n".join([*lines, "!0 = !{i32 1}", ""])


@contextmanager
def streaming(dtype: str) -> Iterator[None]:
    """Code that may store past the cache, on an x86-64 CPU.

    Args:
        dtype: "float32" or "float64".
    """
    with T.attr(tirx.const(0, "int32"), "pragma_import_llvm", _source(dtype)):
        yield


def is_large(buffer: Any) -> Expr:
    """Whether an output is to be stored past the cache.

    Args:
        buffer: of the output, [rows, dim].
    """
    rows, dim = buffer.shape
    element_bytes = int(str(buffer.dtype).removeprefix("float")) // 8
    rest = T.call_extern("int64", _MISALIGNMENT, T.address_of(buffer[0, 0]))
    return T.bind(tirx.all(rows * (int(dim) * element_bytes) >= STREAM_BYTES, rest == 0))


def fence() -> None:
    """Makes streamed values visible to other threads before what follows."""
    T.evaluate(T.call_llvm_intrin("void", _FENCE))


def can_stream(buffer: Any, address: Expr, width: int) -> bool:
    """Whether a vector's place in a row is aligned whatever the row, if the buffer is.

    Args:
        buffer: [rows, dim].
        address: of the first element in the row.
        width: elements.
    """
    bits = int(str(buffer.dtype).removeprefix("float"))
    elements = min(ALIGNMENT * 8 // bits, width)
    if width < 2 or width * bits < 128 or int(buffer.shape[1]) % elements:
        return False
    if isinstance(address, int):
        return address % elements == 0
    found = Analyzer().modular_set(address)
    return int(found.coeff) % elements == 0 and int(found.base) % elements == 0


def stream(buffer: Any, lead: tuple[Expr, ...], address: Expr, value: Expr, width: int) -> None:
    """Stores a vector past the cache; `can_stream` must hold."""
    pointer = T.address_of(buffer[(*lead, address)])
    T.evaluate(T.call_extern("void", _name(str(buffer.dtype), width), pointer, value))
