"""Operators that make tensors of nothing.

In: sizes and numbers. Out: steps.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.steps import Expr, Steps


def full(steps: Steps, value: Any) -> Expr:
    """A tensor of one number everywhere."""
    return steps.emit(relax.op.full(steps.shape, steps.operand(value, steps.dtype), steps.dtype))


@converts("aten.full.default", "aten.full_like.default", "aten.new_full.default")
def filled(steps: Steps, _: Any, value: Any, **__: Any) -> Expr:
    """One number everywhere."""
    return full(steps, value)


@converts("aten.scalar_tensor.default")
def scalar(steps: Steps, value: Any, **_: Any) -> Expr:
    """A tensor of no axes."""
    return steps.operand(value, steps.dtype)


@converts(
    "aten.zeros.default",
    "aten.zeros_like.default",
    "aten.new_zeros.default",
    "aten.empty.memory_format",
    "aten.empty_like.default",
    "aten.new_empty.default",
    "aten.new_empty_strided.default",
    "aten.empty_strided.default",
)
def zeros(steps: Steps, *_: Any, **__: Any) -> Expr:
    """Zeros."""
    return full(steps, 0)


@converts("aten.ones.default", "aten.ones_like.default", "aten.new_ones.default")
def ones(steps: Steps, *_: Any, **__: Any) -> Expr:
    """Ones."""
    return full(steps, 1)


@converts("aten.arange.default", "aten.arange.start", "aten.arange.start_step")
def arange(steps: Steps, *args: Any, **_: Any) -> Expr:
    """Numbers at equal distances."""
    start, step = (args[0] if len(args) > 1 else 0), (args[2] if len(args) > 2 else 1)
    dtype = steps.dtype
    exact = "float64" if "float" in dtype else "int64"

    def number(value: Any) -> Any:
        return value.astype(exact) if isinstance(value, tirx.Expr) else tirx.const(value, exact)

    def numbers(count: Any) -> Any:
        def at(i: Any) -> Any:
            return (number(start) + i.astype(exact) * number(step)).astype(dtype)

        return te.compute((count,), at, name="arange")

    return steps.emit_te(numbers, steps.shape[0], name="arange")
