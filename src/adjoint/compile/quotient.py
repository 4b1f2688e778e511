"""Quotients and remainders, of floats and of integers, as NumPy means them."""

from __future__ import annotations

from adjoint.base.dtype import DType
from adjoint.compile import floats
from adjoint.compile.code import Function, Value


def divide(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """The quotient of floats; of integers its floor, and 0 for a zero divisor."""
    if a.kind.is_float:
        return f.div(a, b)
    found = _floored(f, a, b, dtype)
    return f.select(_is_zero(f, b), f.number(0, a.kind), found)


def remainder(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """a - floor(a / b) b, with the sign of ``b``; of integers 0 for a zero divisor."""
    if a.kind.is_float:
        return _float_remainder(f, a, b)
    found = f.sub(a, f.mul(_floored(f, a, b, dtype), b))
    return f.select(_is_zero(f, b), f.number(0, a.kind), found)


def truncated_remainder(f: Function, a: Value, b: Value) -> Value:
    """a - trunc(a / b) b of floats, exactly, with the sign of ``a``: C's fmod.

    Like a long division, a turn of the loop finds some dozen bits of the quotient; one turn is
    enough unless the quotient is huge.
    """
    narrow = a.kind.element == "float"
    wide = [f.cast("fpext", x, "double") if narrow else x for x in (a, b)]
    size, by = (floats.absolute(f, x) for x in wide)
    infinity, zero = f.number(float("inf"), size.kind), f.number(0, size.kind)
    finite, far = f.compare("olt", size, infinity), f.compare("oeq", by, infinity)
    valid = f.two("and", finite, f.compare("ogt", by, zero))
    easy = f.two("or", far, f.compare("uge", zero, by))  # nothing to divide by
    rest = _long_division(
        f, f.select(finite, size, zero), f.select(easy, f.number(1, by.kind), by), narrow
    )
    rest = f.select(far, size, rest)
    found = f.select(valid, rest, f.number(float("nan"), rest.kind))
    found = f.cast("fptrunc", found, "float") if narrow else found
    return floats.with_sign(f, found, a)


def _is_zero(f: Function, b: Value) -> Value:
    return f.compare("eq", b, f.number(0, b.kind))


# --- integers ---------------------------------------------------------------------------------


def _floored(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """floor(a / b); anything where ``b`` is 0."""
    signed = dtype.kind == "i"
    if a.kind.lanes and a.kind.bits <= 32:
        return _floored_as_floats(f, a, b, signed)
    one = f.number(1, b.kind)
    safe = f.select(_is_zero(f, b), one, b)
    if not signed:
        return f.two("udiv", a, safe)
    # the least integer by -1 does not fit, and traps; it stays what it is
    minus = f.compare("eq", b, f.number(-1, b.kind))
    least = f.compare("eq", a, f.number(-(1 << (a.kind.bits - 1)), a.kind))
    safe = f.select(f.two("and", minus, least), one, safe)
    quotient = f.two("sdiv", a, safe)
    rest = f.sub(a, f.mul(quotient, safe))
    zero = f.number(0, a.kind)
    crossed = f.compare("slt", f.two("xor", rest, safe), zero)
    low = f.two("and", crossed, f.compare("ne", rest, zero))
    return f.select(low, f.sub(quotient, one), quotient)


def _floored_as_floats(f: Function, a: Value, b: Value, signed: bool) -> Value:
    """By a float wide enough that a / b, rounded, is on the right side of every integer.

    A quotient that is no integer differs from one by 1 / b at least, which is more than half a
    last place where a float has twice the bits of ``a``.
    """
    name = "float" if a.kind.bits <= 8 else "double"
    instruction = "sitofp" if signed else "uitofp"
    safe = f.select(_is_zero(f, b), f.number(1, b.kind), b)
    quotient = f.div(f.cast(instruction, a, name), f.cast(instruction, safe, name))
    quotient = floats.floor(f, quotient)
    if a.kind.bits < 32:
        return f.cast("trunc", f.cast("fptosi", quotient, "i32"), a.kind.element)
    if not signed:
        return f.cast("fptoui", quotient, "i32")
    limit = f.number(2.0**31, quotient.kind)  # the least integer by -1 wraps
    fits = f.compare("olt", quotient, limit)
    quotient = f.select(fits, quotient, f.number(-(2.0**31), quotient.kind))
    return f.cast("fptosi", quotient, "i32")


# --- floats -----------------------------------------------------------------------------------


def _float_remainder(f: Function, a: Value, b: Value) -> Value:
    rest = truncated_remainder(f, a, b)
    zero = f.number(0, rest.kind)
    crossed = f.two(
        "and",
        f.compare("une", rest, zero),
        f.two("xor", f.compare("olt", rest, zero), f.compare("olt", b, zero)),
    )
    found = f.select(crossed, f.add(rest, b), rest)
    return f.select(f.compare("oeq", rest, zero), floats.with_sign(f, zero, b), found)


def _long_division(f: Function, size: Value, by: Value, narrow: bool) -> Value:
    """The remainder of two finite doubles, neither negative, nor ``by`` zero.

    A turn subtracts the multiple of by * 2^shift that leaves less than by * 2^shift. Its factor
    has few enough bits that the difference is computed without rounding.
    """
    step = 26 if narrow else (48 if f.target.fma else 24)
    kind = size.kind
    turn, after = f.label("divide"), f.label("divided")
    before = f.block
    f.jump(turn)
    f.begin(turn)
    rest = Value(f"%{f.label('rest')}", kind)
    place = len(f.lines)
    f.lines.append("")  # the phi, known at the end
    shift = f.sub(floats.exponent(f, rest), floats.exponent(f, by))
    shift = f.sub(shift, f.number(step, shift.kind))
    zero = f.number(0, shift.kind)
    again = f.compare("sgt", shift, zero)
    scaled = _grown(f, by, f.select(again, shift, zero), narrow)
    quotient = floats.truncated(f, f.div(rest, scaled))
    following = _minus_product(f, rest, quotient, scaled, narrow)
    low = f.compare("olt", following, f.number(0, kind))  # the quotient was rounded up
    following = f.select(low, f.add(following, scaled), following)
    f.branch(floats.any_lane(f, again), turn, after)
    f.lines[place] = (
        f"  {rest.text} = phi {kind.text} [ {size.text}, %{before} ],"
        f" [ {following.text}, %{f.block} ]"
    )
    f.begin(after)
    return following


def _grown(f: Function, by: Value, shift: Value, narrow: bool) -> Value:
    """by * 2^shift; doubles may be so far apart that the factor alone would be too large."""
    if narrow:
        return f.mul(by, floats.power_of_two(f, shift, "double"))
    part = f.two("lshr", shift, f.number(2, shift.kind))
    factor = floats.power_of_two(f, part, "double")
    last = f.sub(shift, f.mul(part, f.number(3, shift.kind)))
    by = f.mul(f.mul(f.mul(by, factor), factor), factor)
    return f.mul(by, floats.power_of_two(f, last, "double"))


def _minus_product(f: Function, rest: Value, quotient: Value, by: Value, narrow: bool) -> Value:
    """rest - quotient * by, which a float can hold, without rounding on the way."""
    if narrow:
        return f.sub(rest, f.mul(quotient, by))
    if f.target.fma:
        return f.fma(f.neg(quotient), by, rest)
    bits = floats.bits_of(f, by)
    high = floats.float_of(f, f.two("and", bits, f.number(-(1 << 27), bits.kind)))
    product = f.mul(quotient, by)
    error = f.add(f.sub(f.mul(quotient, high), product), f.mul(quotient, f.sub(by, high)))
    return f.sub(f.sub(rest, product), error)
