"""Elementary functions of double: within about one unit in the last place.

Coefficients and reductions are those of FreeBSD's msun (Sun Microsystems, 1993) where nothing
else is said, written without branches.
"""

from __future__ import annotations

from adjoint.compile.code import Function, Value
from adjoint.compile.floats import (
    INFINITY,
    MAGIC,
    NAN,
    absolute,
    bits_of,
    bits_of_number,
    clamped,
    float_of,
    horner,
    power_of_two,
    times_power,
    two_product,
    with_sign,
)  # fmt: skip
from adjoint.compile.mathematics_single import log_ends, tanh_of
from adjoint.ops.special import ERX, FAR, MIDDLE, NEAR, TAIL, Rational

LN2 = (0.693147180559945309, 2.3190468138462996e-17)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOG2_E, LOG2_E_LOW = 1.44269504088896338700e00, 2.03552737409310331e-17


# --- exponentials -----------------------------------------------------------------------------


def exp(f: Function, x: Value) -> Value:
    x = clamped(f, x, -746.0, 710.0)
    whole, _ = _whole(f, x, LOG2_E)
    rest = f.fma(whole, f.number(-LN2_HIGH, x.kind), x)
    rest = f.fma(whole, f.number(-LN2_LOW, x.kind), rest)
    return times_power(f, horner(f, rest, (*_EXPM1, 1.0, 1.0)), whole)


def expm1(f: Function, x: Value) -> Value:
    x = clamped(f, x, -40.0, 710.0)
    n, whole, rest, low = _reduced(f, x)
    grown = _expm1_core(f, rest, low)
    # 2^n (grown + 1) - 1, where 2^1024 would be too large: half of it, twice
    half = power_of_two(f, f.sub(n, f.number(1, n.kind)), "double")
    parts = f.fma(half, grown, f.sub(half, f.number(0.5, x.kind)))
    found = f.add(parts, parts)
    zero = f.compare("oeq", whole, f.number(0, x.kind))
    return with_sign(f, f.select(zero, grown, found), x)


def exp2(f: Function, x: Value) -> Value:
    """2^n exp(r ln 2) with x = n + r."""
    x = clamped(f, x, -1076.0, 1025.0)
    whole, _ = _whole(f, x, 1.0)
    rest = f.sub(x, whole)
    high, low = (f.number(v, x.kind) for v in LN2)
    product, error = two_product(f, rest, high)
    grown = _expm1_core(f, product, f.fma(rest, low, error))
    return times_power(f, f.add(grown, f.number(1, x.kind)), whole)


def tanh(f: Function, x: Value) -> Value:
    """t / (t + 2) with t = exp(2 |x|) - 1."""
    size = absolute(f, x)
    largest = f.number(20, x.kind)
    size = f.select(f.compare("olt", largest, size), largest, size)
    n, _, rest, low = _reduced(f, f.add(size, size))
    scale = power_of_two(f, n, "double")
    grown = f.fma(scale, _expm1_core(f, rest, low), f.sub(scale, f.number(1, x.kind)))
    return with_sign(f, tanh_of(f, grown), x)


def _reduced(f: Function, x: Value) -> tuple[Value, Value, Value, Value]:
    """x = n ln 2 + rest + low, with n also as a float; |rest| is at most half of ln 2."""
    whole, n = _whole(f, x, LOG2_E)
    high = f.sub(x, f.mul(whole, f.number(LN2_HIGH, x.kind)))
    small = f.mul(whole, f.number(LN2_LOW, x.kind))
    rest = f.sub(high, small)
    low = f.sub(f.sub(high, rest), small)
    return n, whole, rest, low


def _whole(f: Function, x: Value, factor: float) -> tuple[Value, Value]:
    """x times ``factor``, rounded to a whole number: as a float and as an integer."""
    magic = f.number(MAGIC["double"], x.kind)
    shifted = f.fma(x, f.number(factor, x.kind), magic)
    bits = bits_of(f, shifted)
    return f.sub(shifted, magic), f.sub(bits, bits_of_number(f, MAGIC["double"], bits))


# (exp(r) - 1 - r) / r^2 for |r| up to half of ln 2, interpolated at Chebyshev's points
_EXPM1 = (2.510038549551032e-08, 2.7620088445409746e-07, 2.7557268459997064e-06,
          2.4801521295954376e-05, 0.00019841269863053618, 0.0013888888917213717,
          0.008333333333330062, 0.04166666666662413, 0.16666666666666669,
          0.5000000000000001)  # fmt: skip


def _expm1_core(f: Function, rest: Value, low: Value) -> Value:
    """exp(rest + low) - 1, for small ``rest`` and far smaller ``low``."""
    square = f.mul(rest, rest)
    tail = f.fma(square, horner(f, rest, _EXPM1), low)
    return f.add(rest, tail)


# --- logarithms -------------------------------------------------------------------------------

_LOG = (1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
        2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
        6.666666666666735130e-01)  # fmt: skip


def log(f: Function, x: Value) -> Value:
    tiny = f.compare("olt", x, f.number(2.0**-1022, x.kind))
    grown = f.select(tiny, f.mul(x, f.number(2.0**54, x.kind)), x)
    n, rest = _split(f, grown)
    moved = f.select(tiny, f.number(-54, x.kind), f.number(0, x.kind))
    return log_ends(f, x, _log_sum(f, rest, f.add(n, moved), None))


def log1p(f: Function, x: Value) -> Value:
    """As ``log`` of the rounded sum u = 1 + x, corrected by what rounding lost over u."""
    one, minus = f.number(1, x.kind), f.number(-1, x.kind)
    inside = f.compare("olt", x, f.number(INFINITY, x.kind))
    inside = f.two("and", inside, f.compare("ogt", x, minus))
    safe = f.select(inside, x, one)
    total = f.add(safe, one)
    n, rest = _split(f, total)
    large = f.compare("ogt", safe, one)
    lost = f.select(large, f.sub(one, f.sub(total, safe)), f.sub(safe, f.sub(total, one)))
    near = f.compare("oeq", n, f.number(0, x.kind))
    rest = f.select(near, safe, rest)
    lost = f.select(near, f.number(0, x.kind), f.div(lost, total))
    found = with_sign(f, _log_sum(f, rest, n, lost), x)
    ends = f.select(f.compare("oeq", x, minus), f.number(-INFINITY, x.kind), x)
    ends = f.select(f.compare("olt", x, minus), f.number(NAN, x.kind), ends)
    return f.select(inside, found, ends)


def log2(f: Function, x: Value) -> Value:
    tiny = f.compare("olt", x, f.number(2.0**-1022, x.kind))
    grown = f.select(tiny, f.mul(x, f.number(2.0**54, x.kind)), x)
    n, rest = _split(f, grown)
    moved = f.select(tiny, f.number(-54, x.kind), f.number(0, x.kind))
    zero = f.number(0, x.kind)
    near = _log_sum(f, rest, zero, None)
    high, low = (f.number(v, x.kind) for v in (LOG2_E, LOG2_E_LOW))
    product, error = two_product(f, near, high)
    whole = f.add(n, moved)
    found = f.add(whole, product)  # |whole| is 0 or at least as large as the product
    lost = f.add(f.sub(product, f.sub(found, whole)), f.fma(near, low, error))
    return log_ends(f, x, f.add(found, lost))


def _split(f: Function, x: Value) -> tuple[Value, Value]:
    """n and t of x = 2^n (1 + t), with 1 + t between sqrt(1/2) and sqrt(2), for normal x > 0."""
    bits = bits_of(f, x)
    start = bits_of_number(f, 0.7071067811865476, bits)
    top = f.two("and", f.sub(bits, start), f.number(-(1 << 52), bits.kind))
    mantissa = float_of(f, f.sub(bits, top))
    n = f.cast("trunc", f.two("ashr", top, f.number(52, bits.kind)), "i32")
    return f.cast("sitofp", n, "double"), f.sub(mantissa, f.number(1, x.kind))


def _log_sum(f: Function, rest: Value, n: Value, lost: Value | None) -> Value:
    """n ln 2 + log(1 + rest) + lost"""
    kind = rest.kind
    ratio = f.div(rest, f.add(rest, f.number(2, kind)))
    square = f.mul(ratio, ratio)
    series = f.mul(square, horner(f, square, _LOG))
    half = f.mul(f.mul(rest, f.number(0.5, kind)), rest)
    low = f.mul(n, f.number(LN2_LOW, kind))
    small = f.add(f.mul(ratio, f.add(half, series)), low if lost is None else f.add(low, lost))
    return f.sub(f.mul(n, f.number(LN2_HIGH, kind)), f.sub(f.sub(half, small), rest))


# --- powers -----------------------------------------------------------------------------------


def power(f: Function, x: Value, y: Value) -> Value:
    """exp(y log(x)) for x >= 0, with the logarithm and the product in two doubles."""
    high, low = _log_pair(f, x)
    product, error = two_product(f, y, high)
    rest = f.fma(y, low, error)
    found = exp(f, product)
    more = f.fma(found, rest, found)  # exp(product + rest)
    inside = f.two(
        "and",
        f.compare("ogt", found, f.number(0, x.kind)),
        f.compare("olt", found, f.number(INFINITY, x.kind)),
    )
    return f.select(inside, more, found)


def _log_pair(f: Function, x: Value) -> tuple[Value, Value]:
    """log(x) as the sum of two doubles, to some 2^-66; the second is 0 at the ends."""
    kind = x.kind
    tiny = f.compare("olt", x, f.number(2.0**-1022, kind))
    n, t = _split(f, f.select(tiny, f.mul(x, f.number(2.0**54, kind)), x))
    n = f.add(n, f.select(tiny, f.number(-54, kind), f.number(0, kind)))
    # s = t / (2 + t), and log(1 + t) = 2 s + s^3 (2 / 3 + ...)
    two = f.number(2, kind)
    bottom = f.add(t, two)
    bottom_low = f.sub(t, f.sub(bottom, two))
    s = f.div(t, bottom)
    product, error = two_product(f, s, bottom)
    rest = f.sub(f.sub(f.sub(t, product), error), f.mul(s, bottom_low))
    s_low = f.div(rest, bottom)
    square, square_low = two_product(f, s, s)
    square_low = f.fma(f.add(s, s), s_low, square_low)
    series = f.mul(square, horner(f, square, _TAIL))
    third = f.add(series, f.number(_TWO_THIRDS[0], kind))
    third_low = f.sub(series, f.sub(third, f.number(_TWO_THIRDS[0], kind)))
    third_low = f.add(third_low, f.number(_TWO_THIRDS[1], kind))
    bent = _pair_product(f, (square, square_low), (third, third_low))
    bent = _pair_product(f, bent, (s, s_low))
    total = _pair_sum(f, (f.add(s, s), f.add(s_low, s_low)), bent)
    whole = (f.mul(n, f.number(LN2_HIGH, kind)), f.mul(n, f.number(LN2_LOW, kind)))
    high, low = _pair_sum(f, whole, total)
    high = log_ends(f, x, high)
    infinite = f.compare("oeq", absolute(f, high), f.number(INFINITY, kind))
    return high, f.select(infinite, f.number(0, kind), low)


_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
_TAIL = tuple(2 / (2 * k + 1) for k in range(13, 1, -1))
Pair = tuple[Value, Value]


def _pair_product(f: Function, a: Pair, b: Pair) -> Pair:
    product, error = two_product(f, a[0], b[0])
    error = f.fma(a[0], b[1], f.fma(a[1], b[0], error))
    total = f.add(product, error)
    return total, f.sub(error, f.sub(total, product))


def _pair_sum(f: Function, a: Pair, b: Pair) -> Pair:
    """The sum of two pairs; ``a`` is 0 or the larger one."""
    total = f.add(a[0], b[0])
    zero = f.number(0, total.kind)
    error = f.sub(b[0], f.sub(total, a[0]))
    error = f.add(error, f.add(a[1], b[1]))
    error = f.select(f.compare("oeq", a[0], zero), f.add(b[1], a[1]), error)
    found = f.add(total, error)
    return found, f.sub(error, f.sub(found, total))


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
# up to |x|: a and b of atan(x) = atan(b / a) + atan((a x - b) / (b x + a)), and atan(b / a) twice:
# rounded, and what that lost
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
