"""Operators that act on each number alone, with torch's promotion of dtypes.

In: tensors and numbers. Out: a step of the same shape, or of the shape that they broadcast to. Not
a number stays that, also in minima and maxima, as in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from tvm import relax, te, tirx

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.converters.table import CONVERTERS, converts
from tvm_equi.relax.steps import Expr, Steps, dtype_name

_UNARY = {
    "abs": relax.op.abs,
    "acos": relax.op.acos,
    "acosh": relax.op.acosh,
    "asin": relax.op.asin,
    "asinh": relax.op.asinh,
    "atan": relax.op.atan,
    "ceil": relax.op.ceil,
    "cos": relax.op.cos,
    "cosh": relax.op.cosh,
    "erf": relax.op.erf,
    "exp": relax.op.exp,
    "floor": relax.op.floor,
    "log": relax.op.log,
    "neg": relax.op.negative,
    "round": relax.op.round,
    "rsqrt": relax.op.rsqrt,
    "sigmoid": relax.op.sigmoid,
    "sign": relax.op.sign,
    "sin": relax.op.sin,
    "sinh": relax.op.sinh,
    "sqrt": relax.op.sqrt,
    "tan": relax.op.tan,
    "tanh": relax.op.tanh,
    "trunc": relax.op.trunc,
}

_BINARY = {
    "div": relax.op.divide,
    "true_divide": relax.op.divide,
    "atan2": relax.op.atan2,
    "bitwise_and": relax.op.bitwise_and,
    "bitwise_or": relax.op.bitwise_or,
    "bitwise_xor": relax.op.bitwise_xor,
    "logical_and": relax.op.logical_and,
    "logical_or": relax.op.logical_or,
    "logical_xor": relax.op.logical_xor,
}

_COMPARISONS = {
    "eq": relax.op.equal,
    "lt": relax.op.less,
    "le": relax.op.less_equal,
    "gt": relax.op.greater,
    "ge": relax.op.greater_equal,
}

MAX_POWER = 32
"""Powers up to this are products: a call of the library's `pow` costs as much as many of them."""


def unary(steps: Steps, function: Callable[[Expr], Expr], x: Expr) -> Expr:
    """A step of one tensor, computed in the dtype of what it gives."""
    return steps.emit(function(steps.operand(x, steps.dtype)))


def binary(steps: Steps, function: Callable[[Expr, Expr], Expr], x: Any, y: Any) -> Expr:
    """A step of two tensors or numbers, computed in the dtype of what it gives."""
    return steps.emit(function(steps.operand(x, steps.dtype), steps.operand(y, steps.dtype)))


def _register() -> None:
    """Adds the operators that Relax has too."""

    def of_one(function: Any) -> Any:
        return lambda steps, x: unary(steps, function, x)

    def of_two(function: Any) -> Any:
        return lambda steps, x, y: binary(steps, function, x, y)

    def of_comparison(function: Any) -> Any:
        return lambda steps, x, y: compare(steps, function, x, y)

    for name, function in _UNARY.items():
        CONVERTERS[f"aten.{name}.default"] = of_one(function)
    for name, function in _BINARY.items():
        for kind in ("Tensor", "Scalar", "default"):
            CONVERTERS[f"aten.{name}.{kind}"] = of_two(function)
    for name, function in _COMPARISONS.items():
        for kind in ("Tensor", "Scalar"):
            CONVERTERS[f"aten.{name}.{kind}"] = of_comparison(function)


def compare(steps: Steps, function: Callable[[Expr, Expr], Expr], x: Any, y: Any) -> Expr:
    """A comparison, in the dtype that torch promotes both to."""
    first, second = (steps.argument(0), steps.argument(1))
    if first is second and function in (
        relax.op.equal,
        relax.op.less_equal,
        relax.op.greater_equal,
    ):
        return steps.emit(relax.op.logical_not(_is_none(steps, x)))  # TVM takes it to hold of all
    dtype = dtype_name(torch.result_type(first, second))
    dtype = "uint8" if dtype == "bool" else dtype  # TVM orders no truth values
    return steps.emit(function(steps.operand(x, dtype), steps.operand(y, dtype)))


_register()


@converts("aten.ne.Tensor", "aten.ne.Scalar")
def not_equal(steps: Steps, x: Any, y: Any) -> Expr:
    """Whether two numbers differ, of which one may be none: TVM then takes them not to differ."""
    return steps.emit(relax.op.logical_not(compare(steps, relax.op.equal, x, y)))


@converts("aten.mul.Tensor", "aten.mul.Scalar")
def mul(steps: Steps, x: Any, y: Any) -> Expr:
    """X y."""
    if steps.dtype == "bool":
        return binary(steps, relax.op.logical_and, x, y)
    for number, other in ((x, y), (y, x)):
        if isinstance(number, (int, float)) and number == 0 and "float" in steps.dtype:
            # TVM takes zero times what is none, or infinite, to be zero.
            value = steps.operand(other, steps.dtype)
            is_odd = relax.op.logical_or(_is_none(steps, value), isinf(steps, value))
            odd, zero = (relax.const(each, steps.dtype) for each in (float("nan"), 0.0))
            return steps.emit(relax.op.where(steps.emit(is_odd), odd, zero))
    return binary(steps, relax.op.multiply, x, y)


@converts("aten.add.Tensor", "aten.add.Scalar")
def add(steps: Steps, x: Any, y: Any, alpha: Any = 1) -> Expr:
    """X + alpha y."""
    return _sum(steps, relax.op.add, x, y, alpha)


@converts("aten.sub.Tensor", "aten.sub.Scalar")
def sub(steps: Steps, x: Any, y: Any, alpha: Any = 1) -> Expr:
    """X - alpha y."""
    return _sum(steps, relax.op.subtract, x, y, alpha)


@converts("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(steps: Steps, x: Any, y: Any, alpha: Any = 1) -> Expr:
    """Y - alpha x."""
    return _sum(steps, relax.op.subtract, y, x, alpha)


def _sum(steps: Steps, function: Callable[[Expr, Expr], Expr], x: Any, y: Any, alpha: Any) -> Expr:
    """A sum, or a logical one where it is of truth values."""
    left, right = steps.operand(x, steps.dtype), steps.operand(y, steps.dtype)
    if steps.dtype == "bool":
        return steps.emit(relax.op.logical_or(left, right))
    if alpha != 1:
        right = steps.emit(relax.op.multiply(right, relax.const(alpha, steps.dtype)))
    return steps.emit(function(left, right))


@converts("aten.logical_not.default", "aten.bitwise_not.default")
def logical_not(steps: Steps, x: Expr) -> Expr:
    """Whether a number is zero.

    Raises:
        UnsupportedError: the complement of an integer's bits.
    """
    if "bitwise" in str(steps.node.target) and str(x.ty.dtype) != "bool":
        raise UnsupportedError(f"expected truth values, got {x.ty.dtype}")
    return steps.emit(relax.op.logical_not(steps.cast(x, "bool")))


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


@converts("aten.reciprocal.default")
def reciprocal(steps: Steps, x: Expr) -> Expr:
    """1 / x."""
    return binary(steps, relax.op.divide, 1.0, x)


def _of_c_library(steps: Steps, x: Expr, name: str) -> Expr:
    """A function of the C library: TVM has none, or one that has no digit right near zero."""
    dtype = steps.dtype
    function = f"{name}f" if dtype == "float32" else name

    def compute(given: Any) -> Any:
        def at(*place: Any) -> Any:
            return tirx.call_pure_extern(dtype, function, given(*place))

        return te.compute(given.shape, at, name=name)

    return steps.emit_te(compute, steps.operand(x, dtype), name=name)


@converts("aten.expm1.default")
def expm1(steps: Steps, x: Expr) -> Expr:
    """exp(x) - 1."""
    return _of_c_library(steps, x, "expm1")


@converts("aten.log1p.default")
def log1p(steps: Steps, x: Expr) -> Expr:
    """log(1 + x)."""
    return _of_c_library(steps, x, "log1p")


@converts("aten.atanh.default")
def atanh(steps: Steps, x: Expr) -> Expr:
    """The inverse hyperbolic tangent."""
    return _of_c_library(steps, x, "atanh")


@converts("aten.silu.default")
def silu(steps: Steps, x: Expr) -> Expr:
    """X sigmoid(x)."""
    return steps.emit(relax.op.multiply(x, unary(steps, relax.op.sigmoid, x)))


@converts("aten.silu_backward.default")
def silu_backward(steps: Steps, grad: Expr, x: Expr) -> Expr:
    """The gradient of silu: s (1 + x (1 - s))."""
    sigmoid = unary(steps, relax.op.sigmoid, x)
    rest = binary(steps, relax.op.subtract, 1.0, sigmoid)
    inner = binary(steps, relax.op.add, binary(steps, relax.op.multiply, x, rest), 1.0)
    slope = binary(steps, relax.op.multiply, sigmoid, inner)
    return binary(steps, relax.op.multiply, grad, slope)


@converts("aten.sigmoid_backward.default")
def sigmoid_backward(steps: Steps, grad: Expr, out: Expr) -> Expr:
    """The gradient of sigmoid, from its value."""
    rest = binary(steps, relax.op.subtract, 1.0, out)
    return binary(steps, relax.op.multiply, grad, binary(steps, relax.op.multiply, out, rest))


@converts("aten.tanh_backward.default")
def tanh_backward(steps: Steps, grad: Expr, out: Expr) -> Expr:
    """The gradient of tanh, from its value."""
    square = binary(steps, relax.op.multiply, out, out)
    rest = binary(steps, relax.op.subtract, 1.0, square)
    return binary(steps, relax.op.multiply, grad, rest)


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


def _is_none(steps: Steps, x: Expr) -> Expr:
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
    is_none = _is_none(steps, left)
    return steps.emit(
        relax.op.where(steps.emit(relax.op.logical_or(is_left, is_none)), left, right)
    )


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


@converts("aten.pow.Tensor_Scalar")
def power(steps: Steps, x: Expr, exponent: float) -> Expr:
    """A power, by products where the exponent is a small integer."""
    base = steps.operand(x, steps.dtype)
    if exponent == 0.5:
        return steps.emit(relax.op.sqrt(base))
    if exponent == -0.5:
        return steps.emit(relax.op.rsqrt(base))
    if exponent == 0:
        return steps.emit(relax.op.ones_like(base))
    is_small = abs(exponent) <= MAX_POWER or "float" not in steps.dtype  # TVM has none of integers
    if float(exponent).is_integer() and is_small:
        found = _integer_power(steps, base, int(abs(exponent)))
        return found if exponent > 0 else reciprocal(steps, found)
    return steps.emit(relax.op.power(base, relax.const(exponent, steps.dtype)))


def _integer_power(steps: Steps, base: Expr, exponent: int) -> Expr:
    """A power by repeated squares."""
    factors, square = [], base
    while exponent:
        if exponent & 1:
            factors.append(square)
        exponent >>= 1
        if exponent:
            square = steps.emit(relax.op.multiply(square, square))
    return reduce(lambda left, right: steps.emit(relax.op.multiply(left, right)), factors)


@converts("aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def general_power(steps: Steps, x: Any, exponent: Any) -> Expr:
    """A power.

    Raises:
        UnsupportedError: of integers, by exponents that are no constant.
    """
    known, base = steps.constants.get(steps.node.args[1]), steps.argument(0)
    is_tensor = isinstance(base, torch.Tensor)
    if known is not None and known.numel() == 1 and is_tensor and steps.result.shape == base.shape:
        return power(steps, x, known.item())
    if "float" not in steps.dtype:
        raise UnsupportedError(f"expected a constant exponent of {steps.dtype}, got a tensor")
    return binary(steps, relax.op.power, x, exponent)


@converts("aten._to_copy.default", "aten.to.dtype")
def to_copy(steps: Steps, x: Expr, *_: Any, **__: Any) -> Expr:
    """A tensor in another dtype."""
    return steps.cast(x, steps.dtype)


@converts(
    "aten.alias.default",
    "aten.detach.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.lift_fresh_copy.default",
)
def same(steps: Steps, x: Expr, **_: Any) -> Expr:
    """The same tensor: values never change, and have no strides."""
    return x
