"""Division with a whole quotient, and what it leaves, with torch's signs and roundings.

In: tensors and numbers. Out: steps of the shape that they broadcast to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from tvm_equi.relax.converters.comparisons import is_less
from tvm_equi.relax.converters.elementwise import binary
from tvm_equi.relax.converters.layout import broadcast
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.steps import Expr, Steps


def _each(steps: Steps, function: Callable[[Any, Any], Any], x: Any, y: Any, name: str) -> Expr:
    """A step of two tensors or numbers that Relax has no operator for."""
    shape, dtype = steps.shape, steps.dtype
    given = [broadcast(steps, steps.operand(value, dtype), shape) for value in (x, y)]

    def compute(left: Any, right: Any) -> Any:
        return te.compute(shape, lambda *p: function(left(*p), right(*p)), name=name)

    return steps.emit_te(compute, *given, name=name)


@converts("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(steps: Steps, x: Any, y: Any) -> Expr:
    """What is left of x after division by y, with the sign of x."""
    dtype = steps.dtype
    name = "fmodf" if dtype == "float32" else "fmod"  # of the C library; TVM's is not compiled

    def rest(left: Any, right: Any) -> Any:
        return tirx.call_pure_extern(dtype, name, left, right)

    return _each(steps, rest if "float" in dtype else tirx.truncmod, x, y, "fmod")


def _floored(steps: Steps, x: Any, y: Any) -> tuple[Expr, Expr]:
    """What `fmod` gives of floating-point numbers, and whether its sign is not that of y."""
    rest, zero = fmod(steps, x, y), relax.const(0.0, steps.dtype)
    signs = [is_less(steps, value, zero) for value in (rest, steps.operand(y, steps.dtype))]
    is_other = steps.emit(relax.op.logical_xor(*signs))
    is_exact = steps.emit(relax.op.equal(rest, zero))
    not_exact = steps.emit(relax.op.logical_not(is_exact))
    return rest, steps.emit(relax.op.logical_and(is_other, not_exact))


@converts("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor")
def remainder(steps: Steps, x: Any, y: Any) -> Expr:
    """What is left of x after division by y, with the sign of y.

    TVM's own, x - floor(x / y) y, has a wrong sign where the quotient is rounded up.
    """
    if "float" not in steps.dtype:
        return binary(steps, relax.op.floor_mod, x, y)
    rest, is_off = _floored(steps, x, y)
    return steps.emit(relax.op.where(is_off, binary(steps, relax.op.add, rest, y), rest))


@converts("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def divide(steps: Steps, x: Any, y: Any, *, rounding_mode: str | None = None) -> Expr:
    """X / y, rounded down or toward zero."""
    if rounding_mode is None:
        return binary(steps, relax.op.divide, x, y)
    if "float" not in steps.dtype:
        function = tirx.floordiv if rounding_mode == "floor" else tirx.truncdiv
        return _each(steps, function, x, y, f"{rounding_mode}_divide")
    quotient = binary(steps, relax.op.divide, x, y)
    if rounding_mode == "trunc":
        return steps.emit(relax.op.trunc(quotient))
    rest, is_off = _floored(steps, x, y)
    whole = binary(steps, relax.op.divide, binary(steps, relax.op.subtract, x, rest), y)
    whole = steps.emit(relax.op.round(whole))  # it was whole, but for one rounding
    below = binary(steps, relax.op.subtract, whole, 1.0)
    found = steps.emit(relax.op.where(is_off, below, whole))
    zero = relax.const(0.0, steps.dtype)
    by_zero = steps.emit(relax.op.equal(steps.operand(y, steps.dtype), zero))
    return steps.emit(relax.op.where(by_zero, quotient, found))


@converts("aten.floor_divide.default", "aten.floor_divide.Scalar")
def floor_divide(steps: Steps, x: Any, y: Any) -> Expr:
    """X / y, rounded down."""
    return divide(steps, x, y, rounding_mode="floor")
