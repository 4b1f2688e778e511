"""The bits, signs and exponents of floats: what elementary functions are put together from."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack

from adjoint.compile.code import BIT, Function, Kind, Value

MANTISSA = {"float": 23, "double": 52}
BIAS = {"float": 127, "double": 1023}
# added to a small number, it rounds to a whole number, which is in the low bits of the sum
MAGIC = {"float": 1.5 * 2.0**23, "double": 1.5 * 2.0**52}
INFINITY, NAN = float("inf"), float("nan")


# --- bits and signs ---------------------------------------------------------------------------


def bits_of(f: Function, x: Value) -> Value:
    """The bits of a float as an integer."""
    return f.cast("bitcast", x, f"i{x.kind.bits}")


def float_of(f: Function, bits: Value) -> Value:
    """The float that has these bits."""
    return f.cast("bitcast", bits, "float" if bits.kind.bits == 32 else "double")


def bits_of_number(f: Function, value: float, like: Value) -> Value:
    """The bits of a float of the width of ``like``, as an integer constant."""
    codes = ("i", "f") if like.kind.bits == 32 else ("q", "d")
    return f.number(unpack(codes[0], pack(codes[1], value))[0], like.kind)


def absolute(f: Function, x: Value) -> Value:
    """x without its sign."""
    return f.call(f"llvm.fabs.{x.kind.suffix}", x.kind, x)


def with_sign(f: Function, size: Value, sign: Value) -> Value:
    """The absolute value of ``size`` with the sign bit of ``sign``."""
    # Not LLVM's copysign: rounded to half, it calls a C library to round the sign of a double.
    bits = bits_of(f, size)
    top = 1 << (size.kind.bits - 1)
    low = f.two("and", bits, f.number(top - 1, bits.kind))
    high = f.two("and", bits_of(f, sign), f.number(-top, bits.kind))
    return float_of(f, f.two("or", low, high))


def floor(f: Function, x: Value) -> Value:
    return f.call(f"llvm.floor.{x.kind.suffix}", x.kind, x)


def ceiling(f: Function, x: Value) -> Value:
    return f.call(f"llvm.ceil.{x.kind.suffix}", x.kind, x)


def truncated(f: Function, x: Value) -> Value:
    return f.call(f"llvm.trunc.{x.kind.suffix}", x.kind, x)


def nearest(f: Function, x: Value) -> Value:
    """To the nearest whole number, ties to even."""
    return f.call(f"llvm.roundeven.{x.kind.suffix}", x.kind, x)


def sqrt(f: Function, x: Value) -> Value:
    return f.call(f"llvm.sqrt.{x.kind.suffix}", x.kind, x)


def extreme(f: Function, a: Value, b: Value, how: str) -> Value:
    """The larger (``maximum``) or smaller (``minimum``) of two floats; NaN where one is NaN."""
    if f.target.triple.startswith(("aarch64", "arm64")):
        return f.call(f"llvm.{how}.{a.kind.suffix}", a.kind, a, b)
    # x86 gives the second operand where one is NaN, so a constant is best the first one
    if _is_number(b):
        a, b = b, a
    better = f.compare("ogt" if how == "maximum" else "olt", a, b)
    found = f.select(better, a, b)
    return found if _is_number(a) else f.select(f.compare("uno", a, a), a, found)


def _is_number(x: Value) -> bool:
    """Whether ``x`` is a constant that is not NaN."""
    return not x.text.startswith("%") and "0x7FF8" not in x.text and "0xFFF8" not in x.text


def any_lane(f: Function, bits: Value) -> Value:
    """Whether any lane of a vector of bits is set."""
    if not bits.kind.lanes:
        return bits
    return f.call(f"llvm.vector.reduce.or.v{bits.kind.lanes}i1", BIT, bits)


def exponent(f: Function, x: Value) -> Value:
    """The biased exponent of a float that is not negative, as an integer; below 1 for subnormal
    numbers, some small number for 0."""
    name = x.kind.element
    size = MANTISSA[name]
    tiny = f.compare("olt", x, f.number(2.0 ** (1 - BIAS[name]), x.kind))
    bits = bits_of(f, f.select(tiny, f.mul(x, f.number(2.0 ** (size + 1), x.kind)), x))
    found = f.two("lshr", bits, f.number(size, bits.kind))
    return f.select(tiny, f.sub(found, f.number(size + 1, bits.kind)), found)


def power_of_two(f: Function, n: Value, name: str) -> Value:
    """2^n for integers ``n`` whose power is a normal number."""
    biased = f.add(n, f.number(BIAS[name], n.kind))
    return float_of(f, f.two("shl", biased, f.number(MANTISSA[name], n.kind)))


def times_power(f: Function, x: Value, n: Value) -> Value:
    """x 2^n for x near 1 and whole numbers n, as floats, from twice the least exponent to twice the
    largest; rounded once where it is subnormal."""
    name, lanes = x.kind.element, 512 // x.kind.bits
    whole = x.kind.lanes >= lanes
    if whole and f.target.bits == 512 and f.target.triple.startswith("x86_64"):
        return _scaled(f, x, n, lanes)
    # The low bits of the sum are n + 2 bias; two halves of that, less the bias each, make up n.
    shift = MANTISSA[name]
    bits = bits_of(f, f.add(n, f.number(MAGIC[name] + 2 * BIAS[name], n.kind)))
    kind = bits.kind
    both = f.two("shl", bits, f.number(shift, kind))
    first = f.two("shl", bits, f.number(shift - 1, kind))
    first = f.two("and", first, f.number(-(1 << shift), kind))
    second = f.sub(both, first)
    return f.mul(f.mul(x, float_of(f, first)), float_of(f, second))


def _scaled(f: Function, x: Value, n: Value, lanes: int) -> Value:
    """AVX-512's instruction for x 2^n, on vectors of ``lanes``."""
    if x.kind.lanes > lanes:
        half = x.kind.lanes // 2
        order = range(x.kind.lanes)
        low, high = (
            _scaled(f, f.shuffle(x, x, part), f.shuffle(n, n, part), lanes)
            for part in (order[:half], order[half:])
        )
        return f.shuffle(low, high, order)
    code, mask = ("ps", "i16") if x.kind.bits == 32 else ("pd", "i8")
    every, now = Value("-1", Kind(mask)), Value("4", Kind("i32"))
    return f.call(f"llvm.x86.avx512.mask.scalef.{code}.512", x.kind, x, n, x, every, now)


def horner(f: Function, x: Value, coefficients: Sequence[float]) -> Value:
    """The polynomial with ``coefficients``, the highest power first."""
    found = f.number(coefficients[0], x.kind)
    for c in coefficients[1:]:
        found = f.fma(found, x, f.number(c, x.kind))
    return found


def clamped(f: Function, x: Value, low: float, high: float) -> Value:
    """x between two bounds; NaN stays NaN."""
    x = extreme(f, f.number(low, x.kind), x, "maximum")
    return extreme(f, f.number(high, x.kind), x, "minimum")


def either(f: Function, *conditions: Value) -> Value:
    """Whether any of several bits is set."""
    found = conditions[0]
    for condition in conditions[1:]:
        found = f.two("or", found, condition)
    return found


def two_product(f: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """a b of doubles as a rounded product and its error. Source: Dekker, A floating-point technique
    for extending the available precision, 1971, where the CPU does not fuse."""
    product = f.mul(a, b)
    if f.target.fma:
        return product, f.fma(a, b, f.neg(product))
    (a1, a2), (b1, b2) = _halves(f, a), _halves(f, b)
    error = f.sub(f.mul(a1, b1), product)
    error = f.add(f.add(error, f.mul(a1, b2)), f.mul(a2, b1))
    return product, f.add(error, f.mul(a2, b2))


def _halves(f: Function, x: Value) -> tuple[Value, Value]:
    bits = bits_of(f, x)
    high = float_of(f, f.two("and", bits, f.number(-(1 << 27), bits.kind)))
    return high, f.sub(x, high)
