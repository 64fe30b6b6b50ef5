"""Scalar TensorIR for GPU threads: constants, registers, barriers, wide reads of shared memory.

In: numbers and buffers. Out: TensorIR.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.vector import Expr

WIDE_BYTES = 16
"""Bytes that a thread reads from shared memory at once."""


def accumulator(dtype: str) -> str:
    """The dtype that sums of a dtype are kept in."""
    return dtype if dtype in ("float32", "float64") else "float32"


def num_bytes(dtype: str) -> int:
    """Bytes of an element."""
    return int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8


def wide_lanes(dtype: str) -> int:
    """Elements that a thread reads from shared memory at once."""
    return WIDE_BYTES // num_bytes(dtype)


def padded(count: int, dtype: str) -> int:
    """The count, rounded up to whole wide reads."""
    return -(-count // wide_lanes(dtype)) * wide_lanes(dtype)


def constant(dtype: str, value: float, *, exact: bool = False) -> Expr:
    """A scalar constant; `exact` writes its bits, where a code generator would round it."""
    if not exact or value == round(value):
        return tirx.FloatImm(dtype, float(value))
    float_code, bits_code, bits = (
        ("f", "I", "uint32") if dtype == "float32" else ("d", "q", "int64")
    )
    (pattern,) = struct.unpack(bits_code, struct.pack(float_code, value))
    return T.reinterpret(dtype, tirx.IntImm(bits, pattern))


def registers(count: int, dtype: str) -> Any:
    """Memory of one thread, every index of which is a constant, and so registers."""
    return T.alloc_buffer((max(1, count),), dtype, scope="local")


def set_zero(buffer: Any, count: int, dtype: str) -> None:
    """Stores zeros to registers."""
    for k in range(count):
        T.buffer_store(buffer, tirx.FloatImm(dtype, 0.0), [k])


def barrier() -> None:
    """Waits until every thread of the block is here, and has written its shared memory."""
    T.evaluate(T.tvm_storage_sync("shared"))


def wide_read(buffer: Any, start: Expr, dtype: str) -> list[Expr]:
    """Neighbouring elements of shared memory, read at once."""
    lanes = wide_lanes(dtype)
    vector = T.bind(buffer[T.Ramp(start, 1, lanes)])
    return [T.Shuffle([vector], [lane]) for lane in range(lanes)]


def total(terms: Sequence[Expr]) -> Expr:
    """The sum of terms, left to right."""
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result
