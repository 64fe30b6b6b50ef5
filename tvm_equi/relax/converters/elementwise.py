"""Operators that act on each number alone, with torch's promotion of dtypes.

In: tensors and numbers. Out: a step of the same shape, or of the shape that they broadcast to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.converters.comparisons import is_none, isinf
from tvm_equi.relax.converters.table import CONVERTERS, converts
from tvm_equi.relax.steps import Expr, Steps

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

    for name, function in _UNARY.items():
        CONVERTERS[f"aten.{name}.default"] = of_one(function)
    for name, function in _BINARY.items():
        for kind in ("Tensor", "Scalar", "default"):
            CONVERTERS[f"aten.{name}.{kind}"] = of_two(function)


_register()


@converts("aten.mul.Tensor", "aten.mul.Scalar")
def mul(steps: Steps, x: Any, y: Any) -> Expr:
    """X y."""
    if steps.dtype == "bool":
        return binary(steps, relax.op.logical_and, x, y)
    for number, other in ((x, y), (y, x)):
        if isinstance(number, (int, float)) and number == 0 and "float" in steps.dtype:
            # TVM takes zero times what is none, or infinite, to be zero.
            value = steps.operand(other, steps.dtype)
            is_odd = relax.op.logical_or(is_none(steps, value), isinf(steps, value))
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
