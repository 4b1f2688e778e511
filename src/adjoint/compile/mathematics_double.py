"""Elementary functions of double: within about one unit in the last place.

Coefficients and reductions are those of FreeBSD's msun (Sun Microsystems, 1993) where nothing
else is said, written without branches.
"""

from __future__ import annotations

from adjoint.compile.code import Function, Value
from adjoint.compile.floats import (
    INFINITY,
    absolute,
    bits_of,
    bits_of_number,
    clamped,
    float_of,
    horner,
    power_of_two,
    with_sign,
)  # fmt: skip
from adjoint.compile.mathematics_single import log_ends
from adjoint.ops.special import ERX, FAR, MIDDLE, NEAR, TAIL, Rational

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOG2_E = 1.44269504088896338700e00


# --- exponentials -----------------------------------------------------------------------------

_MAGIC = 1.5 * 2.0**52  # added and subtracted again, it rounds to a whole number


def exp(f: Function, x: Value) -> Value:
    x = clamped(f, x, -746.0, 710.0)
    n, whole, rest, low = _reduced(f, x)
    found = f.add(_expm1_core(f, rest, low), f.number(1, x.kind))
    return _times_power(f, found, n)


def expm1(f: Function, x: Value) -> Value:
    x = clamped(f, x, -40.0, 710.0)
    n, whole, rest, low = _reduced(f, x)
    grown = _expm1_core(f, rest, low)
    # 2^n (grown + 1) - 1, where 2^1024 would be too large: half of it, twice
    half = power_of_two(f, f.sub(n, f.number(1, n.kind)), "double")
    parts = f.fma(half, grown, f.sub(half, f.number(0.5, x.kind)))
    found = f.add(parts, parts)
    zero = f.compare("oeq", whole, f.number(0, x.kind))
    return f.select(zero, grown, found)


def tanh(f: Function, x: Value) -> Value:
    """t / (t + 2) with t = exp(2 |x|) - 1."""
    size = absolute(f, x)
    largest = f.number(20, x.kind)
    size = f.select(f.compare("olt", largest, size), largest, size)
    n, _, rest, low = _reduced(f, f.add(size, size))
    scale = power_of_two(f, n, "double")
    grown = f.fma(scale, _expm1_core(f, rest, low), f.sub(scale, f.number(1, x.kind)))
    found = f.div(grown, f.add(grown, f.number(2, x.kind)))
    return with_sign(f, found, x)


def _reduced(f: Function, x: Value) -> tuple[Value, Value, Value, Value]:
    """x = n ln 2 + rest + low, with n also as a float; |rest| is at most half of ln 2."""
    magic = f.number(_MAGIC, x.kind)
    shifted = f.fma(x, f.number(LOG2_E, x.kind), magic)
    whole = f.sub(shifted, magic)
    bits = bits_of(f, shifted)
    n = f.sub(bits, bits_of_number(f, _MAGIC, bits))
    high = f.sub(x, f.mul(whole, f.number(LN2_HIGH, x.kind)))
    small = f.mul(whole, f.number(LN2_LOW, x.kind))
    rest = f.sub(high, small)
    low = f.sub(f.sub(high, rest), small)
    return n, whole, rest, low


_EXPM1 = tuple(1 / __import__("math").factorial(k) for k in range(14, 1, -1))


def _expm1_core(f: Function, rest: Value, low: Value) -> Value:
    """exp(rest + low) - 1, for small ``rest`` and far smaller ``low``."""
    square = f.mul(rest, rest)
    tail = f.fma(square, horner(f, rest, _EXPM1), low)
    return f.add(rest, tail)


def _times_power(f: Function, x: Value, n: Value) -> Value:
    """x 2^n, rounded once where it becomes subnormal."""
    half = f.two("ashr", n, f.number(1, n.kind))
    first = f.mul(x, power_of_two(f, half, "double"))
    return f.mul(first, power_of_two(f, f.sub(n, half), "double"))


# --- logarithms -------------------------------------------------------------------------------

_LOG = (1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
        2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
        6.666666666666735130e-01)  # fmt: skip


def log(f: Function, x: Value) -> Value:
    kind = x.kind
    tiny = f.compare("olt", x, f.number(2.0**-1022, kind))
    grown = f.select(tiny, f.mul(x, f.number(2.0**54, kind)), x)
    bits = bits_of(f, grown)
    # one half is where the exponent of sqrt(1/2) begins
    start = bits_of_number(f, 0.7071067811865476, bits)
    n = f.two("ashr", f.sub(bits, start), f.number(52, bits.kind))
    mantissa = float_of(f, f.sub(bits, f.two("shl", n, f.number(52, bits.kind))))
    n = f.select(tiny, f.sub(n, f.number(54, bits.kind)), n)
    whole = f.cast("sitofp", f.cast("trunc", n, "i32"), "double")
    rest = f.sub(mantissa, f.number(1, kind))
    ratio = f.div(rest, f.add(rest, f.number(2, kind)))
    square = f.mul(ratio, ratio)
    series = f.mul(square, horner(f, square, _LOG))
    half = f.mul(f.mul(rest, f.number(0.5, kind)), rest)
    small = f.add(f.mul(ratio, f.add(half, series)), f.mul(whole, f.number(LN2_LOW, kind)))
    found = f.sub(f.mul(whole, f.number(LN2_HIGH, kind)), f.sub(f.sub(half, small), rest))
    return log_ends(f, x, found)


# --- the error function -----------------------------------------------------------------------


def erf(f: Function, x: Value) -> Value:
    """Rational functions on four intervals; beyond 1.25 of 1 / x^2, times exp(-x^2)."""
    size = absolute(f, x)
    limit = f.number(6, x.kind)
    size = f.select(f.compare("olt", limit, size), limit, size)
    one = f.number(1, x.kind)
    near = f.compare("olt", size, f.number(0.84375, x.kind))
    middle = f.compare("olt", size, f.number(1.25, x.kind))
    tail = f.compare("oge", size, f.number(1 / 0.35, x.kind))
    square = f.mul(size, size)
    small = f.fma(size, _ratio(f, square, NEAR), size)
    bent = f.add(f.number(ERX, x.kind), _ratio(f, f.sub(size, one), MIDDLE))
    inverse = f.div(one, f.select(middle, one, square))
    exponent = f.select(tail, _ratio(f, inverse, TAIL), _ratio(f, inverse, FAR))
    bits = bits_of(f, size)
    high = float_of(f, f.two("and", bits, f.number(-(1 << 32), bits.kind)))
    exact = f.fma(f.neg(high), high, f.number(-0.5625, x.kind))
    rest = f.fma(f.sub(high, size), f.add(high, size), exponent)
    share = f.div(f.mul(exp(f, exact), exp(f, rest)), size)
    found = f.select(middle, bent, f.sub(one, share))
    return with_sign(f, f.select(near, small, found), x)


def _ratio(f: Function, x: Value, rational: Rational) -> Value:
    return f.div(horner(f, x, rational[0][::-1]), horner(f, x, rational[1][::-1]))


# --- the arc tangent --------------------------------------------------------------------------

_ATAN = (1.62858201153657823623e-02, -3.65315727442169155270e-02, 4.97687799461593236017e-02,
         -5.83357013379057348645e-02, 6.66107313738753120669e-02, -7.69187620504482999495e-02,
         9.09088713343650656196e-02, -1.11111104054623557880e-01, 1.42857142725034663711e-01,
         -1.99999999998764832476e-01, 3.33333333333329318027e-01)  # fmt: skip
# up to |x|: a and b of atan(x) = atan(b / a) + atan((a x - b) / (b x + a)); atan(b / a) in two parts
_ATAN_PIECES = (
    (0.6875, 2.0, 1.0, 4.63647609000806093515e-01, 2.26987774529616870924e-17),
    (1.1875, 1.0, 1.0, 7.85398163397448278999e-01, 3.06161699786838301793e-17),
    (2.4375, 1.0, 1.5, 9.82793723247329054082e-01, 1.39033110312309984516e-17),
    (INFINITY, 0.0, 1.0, 1.57079632679489655800e00, 6.12323399573676603587e-17),
)


def atan(f: Function, x: Value) -> Value:
    kind, size = x.kind, absolute(f, x)
    values = [f.number(v, kind) for v in (1.0, 0.0, 0.0, 0.0)]
    last = 0.4375
    for end, a, b, high, low in _ATAN_PIECES:
        beyond = f.compare("oge", size, f.number(last, kind))
        values = [
            f.select(beyond, f.number(new, kind), old)
            for new, old in zip((a, b, high, low), values, strict=True)
        ]
        last = end
    a, b, high, low = values
    top, bottom = f.fma(a, size, f.neg(b)), f.fma(b, size, a)
    infinite = f.compare("oeq", size, f.number(INFINITY, kind))
    top = f.select(infinite, f.number(-1, kind), top)
    ratio = f.div(top, bottom)
    square = f.mul(ratio, ratio)
    series = f.mul(f.mul(square, horner(f, square, _ATAN)), ratio)
    found = f.sub(high, f.sub(f.sub(series, low), ratio))
    return with_sign(f, found, x)
