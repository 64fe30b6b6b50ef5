"""Copies, zeros and sums of parts, run thread after thread."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tvm import tirx

from tests.lower.gpu.helpers import run_emitted, serial_threads
from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.lower.gpu.memory import THREADS, emit_copy, emit_parts, emit_zeros

OPERAND = Operand((Segment(3, 1), Segment(70, 3), Segment(1, 5)), "mul_ir", "sender")


def lowering(**known: object) -> SimpleNamespace:
    """What a function knows that has one value, x."""
    return SimpleNamespace(
        kernel=SimpleNamespace(operand=lambda name: OPERAND), block_name=lambda what: what, **known
    )


@pytest.mark.parametrize("rows", [1, 7])
def test_copy(rows: int) -> None:
    x = torch.randn(rows, OPERAND.dim)
    copy = torch.full_like(x, float("nan"))

    def emit(x: object, copy: object) -> None:
        with serial_threads():
            emit_copy(lowering(arguments={"x": x, "x_copy": copy}), "x")  # type: ignore[arg-type]

    run_emitted(emit, {"x": x, "copy": copy})
    for segment, first in zip(OPERAND.segments, OPERAND.offsets, strict=True):
        inside = slice(first, first + segment.size)
        wanted = x[:, inside].reshape(rows, segment.mul, segment.dim).transpose(1, 2)
        assert torch.equal(copy[:, inside], wanted.reshape(rows, -1))


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_zeros(segment: int) -> None:
    x = torch.ones(5, OPERAND.dim)

    def emit(x: object) -> None:
        with serial_threads():
            emit_zeros(lowering(arguments={"x": x}), "x", segment)  # type: ignore[arg-type]

    run_emitted(emit, {"x": x})
    first = OPERAND.offsets[segment]
    inside = torch.zeros(OPERAND.dim, dtype=torch.bool)
    inside[first : first + OPERAND.segments[segment].size] = True
    assert torch.equal(x, torch.ones(5, 1) * ~inside)


def test_parts() -> None:
    nodes = [4, 4, 4, 1, 1, -1, -1]
    ends = [3, 0, 0, 5, 0, 0, 0]
    parts = torch.randn(len(nodes), OPERAND.dim, dtype=torch.float32)
    x = torch.full((6, OPERAND.dim), 7.0, dtype=torch.float16)
    first, size = OPERAND.offsets[1], OPERAND.segments[1].size

    def emit(x: object, parts: object, nodes: object, ends: object) -> None:
        known = lowering(
            arguments={"x": x, "x_parts": parts},
            order={"part_nodes": nodes, "part_ends": ends},
            num_parts=tirx.IntImm("int64", 7),
        )
        with serial_threads():
            emit_parts(known, "x", first, size)  # type: ignore[arg-type]

    run_emitted(
        emit, {"x": x, "parts": parts, "nodes": torch.tensor(nodes), "ends": torch.tensor(ends)}
    )
    wanted = np.full(x.shape, 7.0, np.float16)
    inside = slice(first, first + size)
    p = parts.numpy()[:, inside]
    wanted[4, inside] = ((p[0] + p[1]) + p[2]).astype(np.float16)  # in this order
    wanted[1, inside] = (p[3] + p[4]).astype(np.float16)
    assert np.array_equal(x.numpy(), wanted)


def test_blocks_fit_a_device() -> None:
    assert THREADS <= 1024
