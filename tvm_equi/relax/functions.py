"""Functions of one number in arithmetic that compilers vectorise: calls of the C library are not.

In: Relax operators exp, sigmoid and tanh. Out: their legalisations, for
`relax.transform.LegalizeOps`. Errors stay below 2 units in the last place; infinities and
not-a-number are kept.

Source:
    S. L. Moshier, Cephes mathematical library, release 2.2: expf.c, exp.c, tanhf.c and tanh.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

Expr = Any

LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class _Format:
    """What exp needs to know of a floating-point format.

    Args:
        low: from here down exp is zero.
        high: from here up it is infinite.
        log2: the logarithm of 2 in two parts, the first with zeros at the end.
        mantissa: bits of the mantissa.
        bias: of the exponent.
        integer: dtype of the bits.
    """

    low: float
    high: float
    log2: tuple[float, float]
    mantissa: int
    bias: int
    integer: str


_FORMATS = {
    "float32": _Format(-104.0, 89.0, (0.693359375, -2.12194440e-4), 23, 127, "int32"),
    "float64": _Format(
        -746.0, 710.0, (6.93145751953125e-1, 1.42860682030941723212e-6), 52, 1023, "int64"
    ),
}

_SERIES = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_ABOVE = (1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1)
_BELOW = (
    3.00198505138664455042e-6,
    2.52448340349684104192e-3,
    2.27265548208155028766e-1,
    2.00000000000000000005,
)


def _polynomial(x: Expr, coefficients: Sequence[float], dtype: str) -> Expr:
    found = tirx.const(coefficients[0], dtype)
    for coefficient in coefficients[1:]:
        found = found * x + tirx.const(coefficient, dtype)
    return found


def exponential(x: Expr, dtype: str) -> Expr:
    """Exp of an expression.

    Args:
        x: the expression.
        dtype: "float32" or "float64".
    """
    form = _FORMATS[dtype]

    def number(value: float) -> Expr:
        return tirx.const(value, dtype)

    given, inside, power, rest = (
        tirx.Var(name, dtype) for name in ("given", "inside", "power", "rest")
    )
    if dtype == "float32":
        value = _polynomial(rest, _SERIES, dtype) * rest * rest + rest + number(1.0)
    else:
        square = rest * rest
        above = rest * _polynomial(square, _ABOVE, dtype)
        value = number(1.0) + number(2.0) * above / (_polynomial(square, _BELOW, dtype) - above)
    # In two steps, since 2 to the 128th, or to less than the -126th, is no float32.
    whole = power.astype("int32")
    half = tirx.shift_right(whole, tirx.const(1, "int32"))
    value = value * _power_of_two(half, form, dtype) * _power_of_two(whole - half, form, dtype)
    value = tirx.Select(tirx.isnan(given), given, value)
    bound = inside - power * number(form.log2[0]) - power * number(form.log2[1])
    for variable, meaning in (
        (rest, bound),
        (power, tirx.floor(inside * number(LOG2_E) + number(0.5))),
        (inside, tirx.max(tirx.min(given, number(form.high)), number(form.low))),
        (given, x),
    ):
        value = tirx.Let(variable, meaning, value)
    return value


def _power_of_two(exponent: Expr, form: _Format, dtype: str) -> Expr:
    bits = exponent.astype(form.integer) + tirx.const(form.bias, form.integer)
    return tirx.reinterpret(dtype, tirx.shift_left(bits, tirx.const(form.mantissa, form.integer)))


def _legalize(name: str, function: Callable[[Expr, str], Expr]) -> Callable[[Any, Any], Any]:
    """A legalisation; of other dtypes TVM's own."""

    def legalize(builder: Any, call: Any) -> Any:
        dtype = str(call.args[0].ty.dtype)
        if dtype not in _FORMATS:
            return call

        def compute(x: Any) -> Any:
            return te.compute(x.shape, lambda *place: function(x(*place), dtype), name=name)

        return builder.call_te(compute, call.args[0], primfunc_name_hint=name)

    return legalize


def _sigmoid(x: Expr, dtype: str) -> Expr:
    one = tirx.const(1.0, dtype)
    return one / (one + exponential(-x, dtype))


_TANH_SERIES = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)
_TANH_ABOVE = (
    -9.64399179425052238628e-1,
    -9.92877231001918586564e1,
    -1.61468768441708447952e3,
)
_TANH_BELOW = (
    1.0,
    1.12811678491632931402e2,
    2.23548839060100448583e3,
    4.84406305325125486048e3,
)
_NEAR_ZERO = 0.625
"""Up to here tanh is a polynomial: TVM's own has no digit right near zero."""


def _tanh(x: Expr, dtype: str) -> Expr:
    given, size, far = (tirx.Var(name, dtype) for name in ("argument", "size", "far"))
    one, two = tirx.const(1.0, dtype), tirx.const(2.0, dtype)
    square = given * given
    if dtype == "float32":
        series = _polynomial(square, _TANH_SERIES, dtype)
    else:
        below = _polynomial(square, _TANH_BELOW, dtype)
        series = _polynomial(square, _TANH_ABOVE, dtype) / below
    signed = tirx.Select(given < tirx.const(0.0, dtype), -far, far)
    near = given + given * square * series
    value = tirx.Select(size < tirx.const(_NEAR_ZERO, dtype), near, signed)
    for variable, meaning in (
        (far, one - two / (exponential(size + size, dtype) + one)),
        (size, tirx.abs(given)),
        (given, x),
    ):
        value = tirx.Let(variable, meaning, value)
    return value


LEGALIZATIONS = {
    "relax.exp": _legalize("exp", exponential),
    "relax.sigmoid": _legalize("sigmoid", _sigmoid),
    "relax.tanh": _legalize("tanh", _tanh),
}
"""For `customize_legalize_map` of `relax.transform.LegalizeOps`."""
