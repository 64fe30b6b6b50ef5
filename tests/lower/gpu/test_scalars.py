"""Scalars: exact constants, wide reads, registers."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tests.lower.gpu.helpers import run_emitted
from tvm_equi.lower.gpu.scalars import (
    WIDE_BYTES,
    accumulator,
    constant,
    num_bytes,
    padded,
    registers,
    set_zero,
    total,
    wide_lanes,
    wide_read,
)

VALUES = [1 / 3, -0.1, 2.0**-140 / 3, 123456.789, -np.pi * 1e-20, np.sqrt(5) / 7]


@pytest.mark.parametrize(
    ("dtype", "size", "sums"),
    [
        ("float32", 4, "float32"),
        ("float64", 8, "float64"),
        ("float16", 2, "float32"),
        ("bfloat16", 2, "float32"),
        ("int64", 8, "float32"),
    ],
)
def test_dtypes(dtype: str, size: int, sums: str) -> None:
    assert num_bytes(dtype) == size
    assert wide_lanes(dtype) * size == WIDE_BYTES
    assert accumulator(dtype) == sums


@given(st.integers(0, 1000), st.sampled_from(["float32", "float64"]))
def test_padding_is_whole_wide_reads(count: int, dtype: str) -> None:
    found = padded(count, dtype)
    assert found % wide_lanes(dtype) == 0
    assert count <= found < count + wide_lanes(dtype)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constants_keep_every_bit(dtype: str, exact: bool) -> None:
    values = [*VALUES, 0.0, 2.0, -1.0]
    tensor = torch.zeros(len(values), dtype=getattr(torch, dtype))

    def emit(out: object) -> None:
        for number, value in enumerate(values):
            T.buffer_store(out, constant(dtype, value, exact=exact), [number])

    run_emitted(emit, {"out": tensor})
    assert tensor.numpy().tobytes() == np.array(values, dtype).tobytes()


@pytest.mark.parametrize(("dtype", "code", "bits"), [("float32", "f", "I"), ("float64", "d", "q")])
def test_exact_constants_are_bit_patterns(dtype: str, code: str, bits: str) -> None:
    for value in VALUES:
        (pattern,) = struct.unpack(bits, struct.pack(code, value))
        assert f"{pattern}" in str(constant(dtype, value, exact=True))
        assert isinstance(constant(dtype, value), tirx.FloatImm)
    for whole in (0.0, 1.0, -3.0):  # printed exactly by any code generator
        assert isinstance(constant(dtype, whole, exact=True), tirx.FloatImm)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_reads_and_registers(dtype: str) -> None:
    lanes = wide_lanes(dtype)
    source = torch.arange(3 * lanes, dtype=getattr(torch, dtype))
    target = torch.full((lanes + 1,), -1, dtype=source.dtype)

    def emit(source: object, target: object) -> None:
        kept = registers(lanes, dtype)
        set_zero(kept, lanes, dtype)
        for lane, value in enumerate(wide_read(source, lanes, dtype)):
            T.buffer_store(kept, kept[lane] + value, [lane])
        for lane in range(lanes):
            T.buffer_store(target, kept[lane], [lane])

    run_emitted(emit, {"source": source, "target": target})
    assert target.tolist() == [*range(lanes, 2 * lanes), -1]


def test_totals_go_from_left_to_right() -> None:
    assert total([1e16, 1.0, -1e16]) == 0.0
    assert total([1e16, -1e16, 1.0]) == 1.0
    assert total([7]) == 7
