"""Comparisons, and what chooses by them: bounds, minima, maxima.

In: tensors and numbers. Out: a step of the shape that they broadcast to. Not a number stays that,
as in torch; TVM's own rewrites forget it in places, which are noted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tvm import relax

from tvm_equi.relax.converters.table import CONVERTERS, converts
from tvm_equi.relax.steps import Expr, Steps, dtype_name

_COMPARISONS = {
    "eq": relax.op.equal,
    "lt": relax.op.less,
    "le": relax.op.less_equal,
    "gt": relax.op.greater,
    "ge": relax.op.greater_equal,
}


def compare(steps: Steps, function: Callable[[Expr, Expr], Expr], x: Any, y: Any) -> Expr:
    """A comparison, in the dtype that torch promotes both to."""
    first, second = (steps.argument(0), steps.argument(1))
    if first is second and function in (
        relax.op.equal,
        relax.op.less_equal,
        relax.op.greater_equal,
    ):
        return steps.emit(relax.op.logical_not(is_none(steps, x)))  # TVM takes it to hold of all
    dtype = dtype_name(torch.result_type(first, second))
    dtype = "uint8" if dtype == "bool" else dtype  # TVM orders no truth values
    return steps.emit(function(steps.operand(x, dtype), steps.operand(y, dtype)))


def _register() -> None:
    """Adds the comparisons that Relax has too."""

    def of_comparison(function: Any) -> Any:
        return lambda steps, x, y: compare(steps, function, x, y)

    for name, function in _COMPARISONS.items():
        for kind in ("Tensor", "Scalar"):
            CONVERTERS[f"aten.{name}.{kind}"] = of_comparison(function)


_register()


@converts("aten.ne.Tensor", "aten.ne.Scalar")
def not_equal(steps: Steps, x: Any, y: Any) -> Expr:
    """Whether two numbers differ, of which one may be none: TVM then takes them not to differ."""
    return steps.emit(relax.op.logical_not(compare(steps, relax.op.equal, x, y)))


@converts("aten.isnan.default")
def isnan(steps: Steps, x: Expr) -> Expr:
    """Whether it is not a number."""
    return steps.emit(relax.op.isnan(x))  # TVM takes x != x to be false


@converts("aten.isinf.default")
def isinf(steps: Steps, x: Expr) -> Expr:
    """Whether it is infinite."""
    dtype = str(x.ty.dtype)
    if "float" not in dtype:
        return steps.emit(relax.op.zeros_like(x, "bool"))
    size = steps.emit(relax.op.abs(x))
    return steps.emit(relax.op.equal(size, relax.const(float("inf"), dtype)))


@converts("aten.relu.default")
def relu(steps: Steps, x: Expr) -> Expr:
    """x, or zero where that is more."""
    return clamp(steps, x, 0)


@converts("aten.threshold_backward.default")
def threshold_backward(steps: Steps, grad: Expr, x: Expr, threshold: Any) -> Expr:
    """The gradient where x is above a threshold."""
    below = steps.emit(relax.op.less_equal(x, relax.const(threshold, str(x.ty.dtype))))
    return steps.emit(relax.op.where(below, relax.const(0, steps.dtype), grad))


@converts("aten.clamp.default", "aten.clamp.Tensor")
def clamp(steps: Steps, x: Expr, low: Any = None, high: Any = None) -> Expr:
    """A number, or the nearest bound."""
    found = steps.operand(x, steps.dtype)
    if low is not None:
        bound = steps.operand(low, steps.dtype)
        found = steps.emit(relax.op.where(is_less(steps, found, bound), bound, found))
    if high is not None:
        bound = steps.operand(high, steps.dtype)
        found = steps.emit(relax.op.where(is_less(steps, bound, found), bound, found))
    return found


@converts("aten.clamp_min.default", "aten.clamp_min.Tensor")
def clamp_min(steps: Steps, x: Expr, low: Any) -> Expr:
    """A number, or a lower bound."""
    return clamp(steps, x, low)


@converts("aten.clamp_max.default", "aten.clamp_max.Tensor")
def clamp_max(steps: Steps, x: Expr, high: Any) -> Expr:
    """A number, or an upper bound."""
    return clamp(steps, x, None, high)


def is_less(steps: Steps, x: Expr, y: Expr) -> Expr:
    """Whether one number is below another."""
    return steps.emit(relax.op.less(x, y))


def is_none(steps: Steps, x: Expr) -> Expr:
    """Whether it is not a number."""
    if "float" not in str(x.ty.dtype):
        return steps.emit(relax.op.zeros_like(x, "bool"))
    return isnan(steps, x)


@converts("aten.maximum.default", "aten.minimum.default")
def extremum(steps: Steps, x: Expr, y: Expr) -> Expr:
    """The larger or smaller of two numbers, or whichever is none."""
    left, right = steps.operand(x, steps.dtype), steps.operand(y, steps.dtype)
    is_maximum = str(steps.node.target).startswith("aten.maximum")
    is_left = is_less(steps, right, left) if is_maximum else is_less(steps, left, right)
    none = is_none(steps, left)
    return steps.emit(relax.op.where(steps.emit(relax.op.logical_or(is_left, none)), left, right))


@converts("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def where(steps: Steps, condition: Expr, x: Any, y: Any) -> Expr:
    """X where the condition holds, else y."""
    left, right = steps.operand(x, steps.dtype), steps.operand(y, steps.dtype)
    return steps.emit(relax.op.where(steps.cast(condition, "bool"), left, right))


@converts("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(steps: Steps, x: Expr, mask: Expr, value: Any) -> Expr:
    """A value where the mask holds, else x."""
    filled = steps.operand(value, steps.dtype)
    return steps.emit(relax.op.where(steps.cast(mask, "bool"), filled, x))
