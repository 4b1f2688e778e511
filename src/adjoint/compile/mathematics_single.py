"""Elementary functions of float, without branches: within 2 units in the last place.

The polynomials and rational functions are minimax fits to the interval that each comment names,
made with Lawson's algorithm and rounded to floats one coefficient after the other.
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
    extreme,
    float_of,
    horner,
    times_power,
    with_sign,
)  # fmt: skip

LN2 = 0.693147180559945309
LOG2_E = 1.44269504088896341
# ln 2 in two parts, the first of 9 bits so that its products with exponents are exact
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4


# --- exponentials -----------------------------------------------------------------------------

# (exp(r) - 1 - r) / r^2 for |r| up to half of ln 2; the second set to 1 / 16 of a unit of expm1
_EXP = (1.382073387503624e-3, 8.368677459657192e-3, 4.166826605796814e-2, 1.666652113199234e-1,
        4.999999403953552e-1)  # fmt: skip
_EXPM1 = (1.9762571901083093e-4, 1.3932330766692758e-3, 8.333545178174973e-3,
          4.166649281978607e-2, 1.666666567325592e-1, 0.5)  # fmt: skip


def exp(f: Function, x: Value) -> Value:
    """2^n exp(r) with x = n ln 2 + r."""
    n, rest = _reduced(f, clamped(f, x, -104.0, 89.0))
    return times_power(f, horner(f, rest, (*_EXP, 1.0, 1.0)), n)


def exp2(f: Function, x: Value) -> Value:
    """2^n exp(r ln 2) with x = n + r."""
    x = clamped(f, x, -151.0, 129.0)
    n = _whole(f, x, 1.0)
    rest = f.mul(f.sub(x, n), f.number(LN2, x.kind))
    return times_power(f, horner(f, rest, (*_EXP, 1.0, 1.0)), n)


def expm1(f: Function, x: Value) -> Value:
    """2^n (exp(r) - 1) + (2^n - 1), twice the half of it, so that 2^128 is no trouble."""
    n, rest = _reduced(f, clamped(f, x, -20.0, 89.0))
    square = f.mul(rest, rest)
    grown = f.fma(square, horner(f, rest, _EXPM1), rest)
    half = _power(f, f.sub(n, f.number(1, n.kind)))
    found = f.fma(half, grown, f.sub(half, f.number(0.5, x.kind)))
    small = f.compare("oeq", n, f.number(0, x.kind))
    return with_sign(f, f.select(small, grown, f.add(found, found)), x)


def _reduced(f: Function, x: Value) -> tuple[Value, Value]:
    """n and r of x = n ln 2 + r, with |r| at most half of ln 2."""
    n = _whole(f, x, LOG2_E)
    rest = f.fma(n, f.number(-LN2_HIGH, x.kind), x)
    return n, f.fma(n, f.number(-LN2_LOW, x.kind), rest)


def _whole(f: Function, x: Value, factor: float) -> Value:
    """x times ``factor``, rounded to a whole number."""
    magic = f.number(MAGIC["float"], x.kind)
    return f.sub(f.fma(x, f.number(factor, x.kind), magic), magic)


def _power(f: Function, n: Value) -> Value:
    """2^n for whole numbers from -126 to 127."""
    shifted = bits_of(f, f.add(n, f.number(MAGIC["float"] + 127, n.kind)))
    return float_of(f, f.two("shl", shifted, f.number(23, shifted.kind)))


def tanh(f: Function, x: Value) -> Value:
    """t / (t + 2) with t = exp(2 |x|) - 1."""
    size = extreme(f, f.number(10, x.kind), absolute(f, x), "minimum")
    n, rest = _reduced(f, f.add(size, size))
    grown = f.fma(f.mul(rest, rest), horner(f, rest, _EXPM1), rest)
    scale = _power(f, n)
    grown = f.fma(scale, grown, f.sub(scale, f.number(1, x.kind)))
    return with_sign(f, tanh_of(f, grown), x)


def tanh_of(f: Function, grown: Value) -> Value:
    """tanh(x) from exp(2 x) - 1, which is not negative; of doubles, too."""
    found = f.div(grown, f.add(grown, f.number(2, grown.kind)))
    # t / (t + 2) = t / 2 - (t / 2) t / (t + 2): rounding the sum t + 2 matters less in the latter
    half = f.mul(grown, f.number(0.5, grown.kind))
    small = f.compare("olt", found, f.number(0.3, grown.kind))
    return f.select(small, f.fma(f.neg(found), half, half), found)


# --- logarithms -------------------------------------------------------------------------------

# (log(1 + t) - t + t^2 / 2) / t^3 for |t| up to 1/3
_LOG = (-0.12879283726215363, 0.13985593616962433, -0.12187454104423523, 0.14005543291568756,
        -0.16680221259593964, 0.20010435581207275, -0.2499980479478836,
        0.3333321511745453)  # fmt: skip
_TWO_THIRDS = 0.6666667


def log(f: Function, x: Value) -> Value:
    exponent, rest = _split(f, x)
    found = f.fma(exponent, f.number(LN2 * 2.0**-23, x.kind), _log_core(f, rest))
    return log_ends(f, x, found)


def log2(f: Function, x: Value) -> Value:
    exponent, rest = _split(f, x)
    whole = f.mul(exponent, f.number(2.0**-23, x.kind))
    return log_ends(f, x, f.fma(_log_core(f, rest), f.number(LOG2_E, x.kind), whole))


def log1p(f: Function, x: Value) -> Value:
    """As ``log`` of 1 + x, but x itself is scaled, not what is left of it in the sum."""
    kind = x.kind
    bits = bits_of(f, f.add(x, f.number(1, kind)))
    exponent = f.sub(bits, bits_of_number(f, _TWO_THIRDS, bits))
    exponent = f.two("and", exponent, f.number(-(1 << 23), bits.kind))
    moved = float_of(f, f.sub(bits_of(f, x), exponent))
    four = float_of(f, f.sub(bits_of_number(f, 4.0, bits), exponent))
    shift = f.fma(four, f.number(0.25, kind), f.number(-1, kind))
    still = f.compare("eq", exponent, f.number(0, bits.kind))
    rest = f.select(still, x, f.add(moved, shift))
    found = _log_core(f, rest)
    whole = f.cast("sitofp", exponent, "float")
    found = with_sign(f, f.fma(whole, f.number(LN2 * 2.0**-23, kind), found), x)
    minus = f.number(-1, kind)
    inside = f.compare("olt", x, f.number(INFINITY, kind))
    inside = f.two("and", inside, f.compare("ogt", x, minus))
    ends = f.select(f.compare("oeq", x, minus), f.number(-INFINITY, kind), x)
    ends = f.select(f.compare("olt", x, minus), f.number(NAN, kind), ends)
    return f.select(inside, found, ends)


def _split(f: Function, x: Value) -> tuple[Value, Value]:
    """e 2^23 and t of x = 2^e (1 + t), with |t| at most 1/3, for positive finite x."""
    tiny = f.compare("olt", x, f.number(2.0**-126, x.kind))
    grown = f.select(tiny, f.mul(x, f.number(2.0**23, x.kind)), x)
    bits = bits_of(f, grown)
    exponent = f.sub(bits, bits_of_number(f, _TWO_THIRDS, bits))
    exponent = f.two("and", exponent, f.number(-(1 << 23), bits.kind))
    mantissa = float_of(f, f.sub(bits, exponent))
    moved = f.select(tiny, f.number(-23 * 2.0**23, x.kind), f.number(0, x.kind))
    whole = f.add(f.cast("sitofp", exponent, "float"), moved)
    return whole, f.sub(mantissa, f.number(1, x.kind))


def _log_core(f: Function, t: Value) -> Value:
    square = f.mul(t, t)
    series = f.fma(horner(f, t, _LOG), t, f.number(-0.5, t.kind))
    return f.fma(series, square, t)


def log_ends(f: Function, x: Value, found: Value) -> Value:
    """A logarithm ``found`` for positive finite ``x``, with its values elsewhere."""
    zero, infinity = f.number(0, x.kind), f.number(INFINITY, x.kind)
    inside = f.two("and", f.compare("ogt", x, zero), f.compare("olt", x, infinity))
    ends = f.select(f.compare("olt", x, zero), f.number(NAN, x.kind), x)
    ends = f.select(f.compare("oeq", x, zero), f.number(-INFINITY, x.kind), ends)
    return f.select(inside, found, ends)


# --- the error function -----------------------------------------------------------------------

_BORDER, _ERF_END = 0.9277, 3.95
# erf(x) / x - 1 for |x| below the border, in powers of x^2
_ERF = (-5.970268975943327e-4, 4.989431705325842e-3, -2.676435559988022e-2, 1.128176748752594e-1,
        -3.761249184608459e-1, 1.283791512250900e-1)  # fmt: skip
# -log(1 - erf(x)) / x - 1 from there up to 3.95, in powers of x
_ERFC = (-2.1373032359406352e-4, 3.2128412276506424e-3, -2.2883135825395584e-2,
         1.0525111854076385e-1, 6.357265114784241e-1, 1.285119205713272e-1)  # fmt: skip


def erf(f: Function, x: Value) -> Value:
    """A polynomial near 0, and 1 - exp(-p(x)) farther out. Source of the scheme: N. Juffa,
    "Accurate and efficient vectorizable implementation of erff()", 2017."""
    is_near, near, small = _erf_parts(f, x)
    far = f.sub(f.number(1, x.kind), small)
    return f.select(is_near, near, with_sign(f, far, x))


def gelu(f: Function, x: Value) -> Value:
    """x (1 + erf(x / sqrt(2))) / 2, without cancellation where erf is near -1."""
    scaled = f.mul(x, f.number(0.70710678118654752, x.kind))
    is_near, near, small = _erf_parts(f, scaled)
    end = f.compare("oge", absolute(f, scaled), f.number(_ERF_END, x.kind))
    zero = f.number(0, x.kind)
    small = f.select(end, zero, small)
    far = f.select(f.compare("olt", x, zero), small, f.sub(f.number(2, x.kind), small))
    share = f.select(is_near, f.add(near, f.number(1, x.kind)), far)
    return f.mul(f.mul(x, f.number(0.5, x.kind)), share)


def _erf_parts(f: Function, x: Value) -> tuple[Value, Value, Value]:
    """Whether x is near 0, erf(x) if it is, and 1 - erf(|x|) if it is not."""
    size = extreme(f, f.number(_ERF_END, x.kind), absolute(f, x), "minimum")
    square = f.mul(x, x)
    near = f.fma(horner(f, square, _ERF), x, x)
    log = f.fma(horner(f, size, _ERFC), size, size)
    n, rest = _reduced(f, f.neg(log))
    small = f.mul(horner(f, rest, (*_EXP, 1.0, 1.0)), _power(f, n))
    return f.compare("olt", size, f.number(_BORDER, x.kind)), near, small


# --- the arc tangent --------------------------------------------------------------------------

# (atan(x) / x - 1) / x^2 for |x| up to 1, in powers of x^2
_ATAN = (-1.7875476041808724e-3, 1.0887361131608486e-2, -3.1127002090215683e-2,
         5.790654569864273e-2, -8.400475233793259e-2, 1.0951174795627594e-1,
         -1.4264051616191864e-1, 1.999853104352951e-1, -3.3333298563957214e-1)  # fmt: skip
_HALF_PI = (1.57079637050628662109375, -4.37113883e-8)


def atan(f: Function, x: Value) -> Value:
    """Beyond 1, pi / 2 - atan(1 / |x|)."""
    size = absolute(f, x)
    one, zero = f.number(1, x.kind), f.number(0, x.kind)
    big = f.compare("ogt", size, one)
    ratio = f.div(f.select(big, f.number(-1, x.kind), size), f.select(big, size, one))
    square = f.mul(ratio, ratio)
    found = f.fma(f.mul(square, horner(f, square, _ATAN)), ratio, ratio)
    high, low = (f.select(big, f.number(v, x.kind), zero) for v in _HALF_PI)
    return with_sign(f, f.add(high, f.add(found, low)), x)
