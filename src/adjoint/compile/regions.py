"""Pointwise regions with a better form than the body that their region gives.

    REGIONS["sigmoid"](f, [x], [float32], float32, {})

Values agree with the region's NumPy function, special values included. A region that is not here
is written by its body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import pi, sqrt
from typing import Any

import numpy as np

from adjoint.base.dtype import DType
from adjoint.compile import floats, quotient
from adjoint.compile import mathematics_double as double
from adjoint.compile import mathematics_single as single
from adjoint.compile.code import Function, Value
from adjoint.compile.elements import element
from adjoint.compile.mathematics import FUNCTIONS, Unary, by_width

Static = Mapping[str, Any]
Emitter = Callable[[Function, Sequence[Value], Sequence[DType], DType, Static], Value]

expm1 = by_width(single.expm1, double.expm1)
log1p = by_width(single.log1p, double.log1p)
exp2 = by_width(single.exp2, double.exp2)
log2 = by_width(single.log2, double.log2)


def number(f: Function, value: float, like: Value, dtype: DType) -> Value:
    """A constant as ``dtype`` rounds it."""
    with np.errstate(over="ignore"):
        rounded = np.asarray(value, dtype.numpy)
    return f.number(int(rounded) if dtype.kind in "iu" else float(rounded), like.kind)


# --- of one argument --------------------------------------------------------------------------


def _absolute(f: Function, x: Value, dtype: DType) -> Value:
    if x.kind.is_float:
        return floats.absolute(f, x)
    if dtype.kind != "i":
        return x
    return f.call(
        f"llvm.abs.{x.kind.suffix}", x.kind, x, f.number(0, x.kind.of("i1")._replace(lanes=0))
    )


def _sign(f: Function, x: Value, dtype: DType) -> Value:
    zero, one = f.number(0, x.kind), f.number(1, x.kind)
    if not x.kind.is_float:
        some = f.select(f.compare("ne", x, zero), one, zero)
        if dtype.kind == "u":
            return some
        return f.select(f.compare("slt", x, zero), f.number(-1, x.kind), some)
    found = f.select(f.compare("oeq", x, zero), zero, x)  # NaN stays
    found = f.select(f.compare("olt", x, zero), f.number(-1, x.kind), found)
    return f.select(f.compare("ogt", x, zero), one, found)


def _signbit(f: Function, x: Value, dtype: DType) -> Value:
    bits = floats.bits_of(f, x) if x.kind.is_float else x
    if dtype.kind == "u":
        return f.number(0, x.kind.of("i1"))
    return f.compare("slt", bits, f.number(0, bits.kind))


def _relu(f: Function, x: Value, dtype: DType) -> Value:
    return _bounded(f, x, dtype, 0, None)


def _sigmoid(f: Function, x: Value, dtype: DType) -> Value:
    grown = FUNCTIONS["exp"](f, f.neg(x))
    one = f.number(1, x.kind)
    return f.div(one, f.add(grown, one))


def _silu(f: Function, x: Value, dtype: DType) -> Value:
    grown = FUNCTIONS["exp"](f, f.neg(x))
    return f.div(x, f.add(grown, f.number(1, x.kind)))


def _gelu(f: Function, x: Value, dtype: DType) -> Value:
    if x.kind.element == "float":
        return single.gelu(f, x)
    share = FUNCTIONS["erf"](f, f.mul(x, f.number(sqrt(0.5), x.kind)))
    half = f.mul(x, f.number(0.5, x.kind))
    return f.mul(half, f.add(share, f.number(1, x.kind)))


def _gelu_tanh(f: Function, x: Value, dtype: DType) -> Value:
    """x (1 + tanh(u)) / 2 = x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    cube = f.mul(f.mul(x, x), x)
    inner = f.fma(cube, f.number(0.044715, x.kind), x)
    grown = FUNCTIONS["exp"](f, f.mul(inner, f.number(-2 * sqrt(2 / pi), x.kind)))
    return f.div(x, f.add(grown, f.number(1, x.kind)))


def _rsqrt(f: Function, x: Value, dtype: DType) -> Value:
    return f.div(f.number(1, x.kind), floats.sqrt(f, x))


def _isnan(f: Function, x: Value, dtype: DType) -> Value:
    return f.compare("uno", x, x)


def _isinf(f: Function, x: Value, dtype: DType) -> Value:
    return f.compare("oeq", floats.absolute(f, x), f.number(floats.INFINITY, x.kind))


def _isfinite(f: Function, x: Value, dtype: DType) -> Value:
    return f.compare("olt", floats.absolute(f, x), f.number(floats.INFINITY, x.kind))


def _of_floats(function: Unary) -> Callable[[Function, Value, DType], Value]:
    """Integers are what rounding would make of them."""

    def write(f: Function, x: Value, dtype: DType) -> Value:
        return function(f, x) if x.kind.is_float else x

    return write


_UNARY: dict[str, Callable[[Function, Value, DType], Value]] = {
    "abs": _absolute,
    "sign": _sign,
    "signbit": _signbit,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "rsqrt": _rsqrt,
    "isnan": _isnan,
    "isinf": _isinf,
    "isfinite": _isfinite,
    "ceil": _of_floats(floats.ceiling),
    "trunc": _of_floats(floats.truncated),
    "round": _of_floats(floats.nearest),
    "root": _of_floats(floats.sqrt),
    "expm1": _of_floats(expm1),
    "log1p": _of_floats(log1p),
    "exp2": _of_floats(exp2),
    "log2": _of_floats(log2),
}


# --- of two -----------------------------------------------------------------------------------


def _copysign(f: Function, x: Value, y: Value, dtype: DType) -> Value:
    return floats.with_sign(f, x, y)


def _replaced(f: Function, old: Value, new: Value, dtype: DType) -> Value:
    return new


def _fmod(f: Function, x: Value, y: Value, dtype: DType) -> Value:
    """The remainder with the sign of ``x``."""
    if x.kind.is_float:
        return quotient.truncated_remainder(f, x, y)
    rest = quotient.remainder(f, x, y, dtype)
    if dtype.kind == "u":
        return rest
    zero = f.number(0, x.kind)
    crossed = f.compare("slt", f.two("xor", x, y), zero)
    crossed = f.two("and", crossed, f.compare("ne", rest, zero))
    return f.select(crossed, f.sub(rest, y), rest)


def _floor_divide(f: Function, x: Value, y: Value, dtype: DType) -> Value:
    """(x - remainder) / y, where x / y itself could round up to the next whole number."""
    if not x.kind.is_float:
        return quotient.divide(f, x, y, dtype)
    zero = f.number(0, x.kind)
    rest = quotient.truncated_remainder(f, x, y)
    found = floats.nearest(f, f.div(f.sub(x, rest), y))
    minus = (f.compare("olt", rest, zero), f.compare("olt", y, zero))
    crossed = f.two("and", f.two("xor", *minus), f.compare("une", rest, zero))
    found = f.select(crossed, f.sub(found, f.number(1, x.kind)), found)
    plain = f.div(x, y)
    found = f.select(f.compare("oeq", found, zero), floats.with_sign(f, found, plain), found)
    return f.select(f.compare("oeq", y, zero), plain, found)


def _power(f: Function, x: Value, y: Value, dtype: DType) -> Value:
    if not x.kind.is_float:
        return _whole_power(f, x, y, dtype)
    size, zero, one = floats.absolute(f, x), f.number(0, x.kind), f.number(1, x.kind)
    infinity = f.number(floats.INFINITY, x.kind)
    found = _positive_power(f, size, y)
    whole = f.compare("oeq", floats.floor(f, y), y)
    half = f.mul(y, f.number(0.5, x.kind))
    odd = f.two("and", whole, f.compare("une", floats.floor(f, half), half))
    # the sign of x where y is odd; elsewhere x below 0 has no power, but for -inf and even y
    found = f.select(odd, floats.with_sign(f, found, x), found)
    below = f.two("and", f.compare("olt", x, zero), f.compare("olt", size, infinity))
    fraction = f.two("and", below, f.compare("one", floats.floor(f, y), y))
    found = f.select(fraction, f.number(floats.NAN, x.kind), found)
    ends = f.two(
        "and",
        f.compare("oeq", size, one),
        f.compare("oeq", floats.absolute(f, y), infinity),
    )
    ones = f.two("or", f.compare("oeq", y, zero), f.compare("oeq", x, one))
    return f.select(f.two("or", ends, ones), one, found)


def _positive_power(f: Function, size: Value, y: Value) -> Value:
    """exp(y log(size)); of floats in double, so that they are right to the last place."""
    if size.kind.element == "double":
        return double.power(f, size, y)
    wide, exponent = f.cast("fpext", size, "double"), f.cast("fpext", y, "double")
    found = double.exp(f, f.mul(exponent, double.log(f, wide)))
    return f.cast("fptrunc", found, "float")


def _whole_power(f: Function, x: Value, y: Value, dtype: DType) -> Value:
    """Square and multiply, by the bits of ``y``."""
    found, one = f.number(1, x.kind), f.number(1, y.kind)
    for bit in range(dtype.bits - (dtype.kind == "i")):
        shifted = f.two("lshr", y, f.number(bit, y.kind)) if bit else y
        has = f.compare("ne", f.two("and", shifted, one), f.number(0, y.kind))
        found = f.select(has, f.mul(found, x), found)
        x = f.mul(x, x)
    return found


_BINARY: dict[str, Callable[[Function, Value, Value, DType], Value]] = {
    "copysign": _copysign,
    "replaced": _replaced,
    "fmod": _fmod,
    "floor_divide": _floor_divide,
    "power": _power,
}


# --- with parameters --------------------------------------------------------------------------


def _bounded(f: Function, x: Value, dtype: DType, low: float | None, high: float | None) -> Value:
    """x between numbers; NaN stays NaN."""
    for bound, how in ((low, "maximum"), (high, "minimum")):
        if bound is None:
            continue
        limit = number(f, bound, x, dtype)
        if x.kind.is_float:
            x = floats.extreme(f, x, limit, how)
        else:
            sign = "u" if dtype.kind == "u" else "s"
            x = f.call(f"llvm.{sign}{how[:3]}.{x.kind.suffix}", x.kind, x, limit)
    return x


def _clamp(
    f: Function, args: Sequence[Value], dtypes: Sequence[DType], out: DType, static: Static
) -> Value:
    return _bounded(f, args[0], dtypes[0], static["low"], static["high"])


def _leaky_relu(
    f: Function, args: Sequence[Value], dtypes: Sequence[DType], out: DType, static: Static
) -> Value:
    x = args[0]
    low = f.mul(x, number(f, static["slope"], x, dtypes[0]))
    return f.select(f.compare("ogt", x, f.number(0, x.kind)), x, low)


def _power_number(
    f: Function, args: Sequence[Value], dtypes: Sequence[DType], out: DType, static: Static
) -> Value:
    x, dtype, exponent = args[0], dtypes[0], static["exponent"]
    if not x.kind.is_float:
        return _multiplied(f, x, int(exponent))
    y = number(f, exponent, x, dtype)
    return _power(f, x, f.splat(y, x.kind.lanes), dtype)


def _multiplied(f: Function, x: Value, exponent: int) -> Value:
    """x multiplied with itself, by squares."""
    found = f.number(1, x.kind)
    while exponent:
        if exponent & 1:
            found = f.mul(found, x)
        exponent >>= 1
        if exponent:
            x = f.mul(x, x)
    return found


def _of_one(function: Callable[[Function, Value, DType], Value]) -> Emitter:
    def write(
        f: Function, args: Sequence[Value], dtypes: Sequence[DType], out: DType, static: Static
    ) -> Value:
        assert args[0].kind.element == element(dtypes[0])
        return function(f, args[0], dtypes[0])

    return write


def _of_two(function: Callable[[Function, Value, Value, DType], Value]) -> Emitter:
    def write(
        f: Function, args: Sequence[Value], dtypes: Sequence[DType], out: DType, static: Static
    ) -> Value:
        return function(f, args[0], args[1], dtypes[0])

    return write


REGIONS: dict[str, Emitter] = {
    **{name: _of_one(function) for name, function in _UNARY.items()},
    **{name: _of_two(function) for name, function in _BINARY.items()},
    "clamp": _clamp,
    "hardtanh": _clamp,
    "leaky_relu": _leaky_relu,
    "power_number": _power_number,
}
"""By the name of a region."""
