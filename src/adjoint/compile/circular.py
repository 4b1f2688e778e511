"""Sine and cosine: how an angle of any size is reduced to a part of a quarter turn.

Up to some thousand turns, multiples of pi / 2 are subtracted in pieces short enough that every
step is exact (Cody and Waite, Software manual for the elementary functions, 1980). Beyond, the bits
of 2 / pi that matter for the exponent at hand are multiplied by the mantissa as integers (Payne
and Hanek, Radian reduction for trigonometric functions, 1983), lane after lane, in a branch that is
hardly ever taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from adjoint.compile.code import F64, WORD, Function, Kind, Module, Value
from adjoint.compile.floats import (
    INFINITY,
    MAGIC,
    absolute,
    any_lane,
    bits_of,
    float_of,
    horner,
    power_of_two,
    two_product,
)  # fmt: skip

HALF_PI = (1.57079632679489655800e00, 6.12323399573676603587e-17)
# 64 zeros, then the bits of 2 / pi
_TWO_OVER_PI = (
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041,
    0xFE5163ABDEBBC561, 0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484, 0xE99C7026B45F7E41, 0x3991D639835339F4, 0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB,
)  # fmt: skip
_TABLE = "two_over_pi"
_FAR = "quarter_turns"
_WIDE = Kind("i128")
_RESULT = Kind("{ i64, double, double }")


def sine(f: Function, x: Value) -> Value:
    return _circular(f, x, 0)


def cosine(f: Function, x: Value) -> Value:
    return _circular(f, x, 1)


def _circular(f: Function, x: Value, turn: int) -> Value:
    """sin(x + turn pi / 2)"""
    narrow = x.kind.element == "float"
    values = _near_single(f, x) if narrow else _near_double(f, x)
    limit = _limit(f) if narrow else 2.0**20
    size = absolute(f, x)
    infinity = f.number(INFINITY, x.kind)
    is_far = f.two(
        "and",
        f.compare("ogt", size, f.number(limit, x.kind)),
        f.compare("olt", size, infinity),
    )
    quarter, *rest = _far_lanes(f, x, is_far, values)
    quarter = f.add(quarter, f.number(turn, quarter.kind))
    one = f.number(1, quarter.kind)
    odd = f.compare("ne", f.two("and", quarter, one), f.number(0, quarter.kind))
    if narrow:
        found = f.select(odd, _cosine_single(f, rest[0]), _sine_single(f, rest[0]))
    else:
        found = f.select(odd, _cosine_double(f, *rest), _sine_double(f, *rest))
    last = f.number(x.kind.bits - 1, quarter.kind)
    sign = f.two("shl", f.two("lshr", quarter, one), last)
    found = float_of(f, f.two("xor", bits_of(f, found), sign))
    return found if turn else f.select(f.compare("oeq", x, f.number(0, x.kind)), x, found)


# --- small angles: which quarter (in the low bits of an integer), and what is left ---------------

_TWO_OVER_PI_FLOAT = 6.36619772367581382433e-01
# pi / 2 in floats; in pieces of few bits for CPUs that do not fuse; in doubles of 33 bits
_PIECES = (1.57079637050628662109375, -4.37113900018624283e-8, -1.71512449790588e-15)
_SHORT_PIECES = (1.5703125, 4.837512969970703e-4, 7.549533620476723e-8, 2.563344151594519e-12)
_LONG_PIECES = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)


def _limit(f: Function) -> float:
    """How large a float ``_near_single`` reduces."""
    return 32768.0 if f.target.fma else 8192.0


def _whole(f: Function, x: Value) -> tuple[Value, Value]:
    """The number of quarter turns next to x, as a float, and in the low bits of an integer."""
    magic = f.number(MAGIC[x.kind.element], x.kind)
    shifted = f.fma(x, f.number(_TWO_OVER_PI_FLOAT, x.kind), magic)
    return f.sub(shifted, magic), bits_of(f, shifted)


def _near_single(f: Function, x: Value) -> list[Value]:
    whole, quarter = _whole(f, x)
    for piece in _PIECES if f.target.fma else _SHORT_PIECES:
        x = f.fma(whole, f.number(-piece, x.kind), x)
    return [quarter, x]


def _near_double(f: Function, x: Value) -> list[Value]:
    whole, quarter = _whole(f, x)
    high = f.sub(x, f.mul(whole, f.number(_LONG_PIECES[0], x.kind)))
    middle = f.mul(whole, f.number(_LONG_PIECES[1], x.kind))
    first = f.sub(high, middle)
    lost = f.sub(f.sub(high, first), middle)
    small = f.sub(f.mul(whole, f.number(_LONG_PIECES[2], x.kind)), lost)
    rest = f.sub(first, small)
    return [quarter, rest, f.sub(f.sub(first, rest), small)]


# --- large angles -----------------------------------------------------------------------------


def _far_lanes(f: Function, x: Value, far: Value, near: Sequence[Value]) -> list[Value]:
    """``near``, or in the lanes that are ``far`` what ``quarter_turns`` gives."""
    _write_far(f.module)
    slow, after, before = f.label("far"), f.label("near"), f.block
    f.branch(any_lane(f, far), slow, after)
    f.begin(slow)
    narrow = x.kind.element == "float"
    values = list(near)
    if x.kind.lanes:
        with f.loop(0, x.kind.lanes, 1, values) as loop:
            lane = loop.index

            def element(v: Value) -> Value:
                return f.emit(Kind(v.kind.element), f"extractelement {v.typed}, {lane.typed}")

            found = _far_one(f, element(x), element(far), [element(v) for v in loop.values], narrow)
            loop.carry = [
                f.emit(v.kind, f"insertelement {v.typed}, {one.typed}, {lane.typed}")
                for v, one in zip(loop.values, found, strict=True)
            ]
        values = loop.values
    else:
        values = _far_one(f, x, far, values, narrow)
    slow = f.block
    f.jump(after)
    f.begin(after)
    return [
        f.emit(a.kind, f"phi {a.kind.text} [ {a.text}, %{before} ], [ {b.text}, %{slow} ]")
        for a, b in zip(near, values, strict=True)
    ]


def _far_one(f: Function, x: Value, far: Value, near: list[Value], narrow: bool) -> list[Value]:
    safe = f.select(far, x, f.number(1e10, x.kind))
    wide = f.cast("fpext", safe, "double") if narrow else safe
    made = f.call(_FAR, _RESULT, wide)
    quarter = f.emit(WORD, f"extractvalue {made.typed}, 0")
    rest = f.emit(F64, f"extractvalue {made.typed}, 1")
    low = f.emit(F64, f"extractvalue {made.typed}, 2")
    found = [quarter, rest, low]
    if narrow:
        found = [f.cast("trunc", quarter, "i32"), f.cast("fptrunc", f.add(rest, low), "float")]
    return [f.select(far, a, b) for a, b in zip(found, near, strict=True)]


def _write_far(module: Module) -> None:
    """Add to ``module`` the function quarter_turns(x): the number of quarter turns (modulo 4) next
    to a large x, and what is left of x as the sum of two doubles."""
    if _FAR in module.functions:
        return
    words = ", ".join(f"i64 {word}" for word in _TWO_OVER_PI)
    kind = f"[{len(_TWO_OVER_PI)} x i64]"
    module.declarations[_TABLE] = f"@{_TABLE} = internal constant {kind} [{words}]"
    f = module.function(_FAR, [F64], _RESULT, inline=True)
    x = f.arguments[0]
    bits = bits_of(f, x)
    field = f.two("and", f.two("lshr", bits, f.number(52)), f.number(0x7FF))
    fraction = f.two("and", bits, f.number((1 << 52) - 1))
    mantissa = f.cast("zext", f.two("or", fraction, f.number(1 << 52)), "i128")
    window = _window(f, f.sub(field, f.number(1075 - 62)))
    # 192 bits of 2 / pi, the first of which stands for a half turn, times the mantissa
    total = f.two("shl", f.mul(mantissa, window[0]), f.number(64, _WIDE))
    total = f.add(total, f.mul(mantissa, window[1]))
    last = f.two("lshr", f.mul(mantissa, window[2]), f.number(64, _WIDE))
    total = f.add(total, last)
    near = f.add(total, f.number(1 << 125, _WIDE))
    quarter = f.two("lshr", near, f.number(126, _WIDE))
    part = f.sub(total, f.two("shl", quarter, f.number(126, _WIDE)))
    rest, low = _angle(f, part)
    minus = f.compare("olt", x, f.number(0, x.kind))
    count = f.cast("trunc", quarter, "i64")
    values = (
        f.select(minus, f.neg(count), count),
        f.select(minus, f.neg(rest), rest),
        f.select(minus, f.neg(low), low),
    )
    made = Value("poison", _RESULT)
    for i, value in enumerate(values):
        made = f.emit(_RESULT, f"insertvalue {made.typed}, {value.typed}, {i}")
    f.end(made)


def _window(f: Function, start: Value) -> list[Value]:
    """192 bits of the table from bit ``start`` on, as three words of 128 bits."""
    first = f.two("lshr", start, f.number(6))
    shift = f.two("and", start, f.number(63))
    table = Value(f"@{_TABLE}", Kind("ptr"))
    words = [f.load(WORD, f.at(table, f.add(first, f.number(i)), "i64")) for i in range(4)]
    return [
        f.cast("zext", f.call("llvm.fshl.i64", WORD, a, b, shift), "i128")
        for a, b in pairwise(words)
    ]


def _angle(f: Function, part: Value) -> tuple[Value, Value]:
    """``part`` / 2^126 quarter turns in radians, as the sum of two doubles."""
    minus = f.compare("slt", part, f.number(0, _WIDE))
    size = f.select(minus, f.neg(part), part)
    zeros = f.call("llvm.ctlz.i128", _WIDE, size, Value("false", Kind("i1")))
    size = f.two("shl", size, zeros)

    def bits(start: int) -> Value:
        """53 bits, as the double that they are."""
        moved = f.two("lshr", size, f.number(128 - start - 53, _WIDE))
        word = f.two("and", f.cast("trunc", moved, "i64"), f.number((1 << 53) - 1))
        return f.cast("uitofp", word, "double")

    scale = f.sub(f.number(128 - 53 - 126), f.cast("trunc", zeros, "i64"))
    unit = power_of_two(f, scale, "double")
    high, low = f.mul(bits(0), unit), f.mul(bits(53), f.mul(unit, f.number(2.0**-53, F64)))
    first, second = (f.number(v, F64) for v in HALF_PI)
    product, error = two_product(f, high, first)
    error = f.add(error, f.add(f.mul(high, second), f.mul(low, first)))
    rest = f.add(product, error)
    lost = f.add(f.sub(product, rest), error)
    return f.select(minus, f.neg(rest), rest), f.select(minus, f.neg(lost), lost)


# --- the functions themselves, up to pi / 4 ---------------------------------------------------

# float: minimax fits of (sin(x) / x - 1) / x^2 and (cos(x) - 1 + x^2 / 2) / x^4 in powers of x^2
_SIN = (-1.9507874094415456e-4, 8.332106284797192e-3, -1.6666653752326965e-1)
_COS = (2.4432105419691652e-5, -1.3887308305129409e-3, 4.166664555668831e-2)


def _sine_single(f: Function, x: Value) -> Value:
    square = f.mul(x, x)
    return f.fma(f.mul(square, horner(f, square, _SIN)), x, x)


def _cosine_single(f: Function, x: Value) -> Value:
    square = f.mul(x, x)
    one = f.number(1, x.kind)
    tail = f.fma(horner(f, square, _COS), square, f.number(-0.5, x.kind))
    return f.fma(tail, square, one)


# double: FreeBSD's k_sin.c and k_cos.c (Sun Microsystems, 1993); ``low`` is added to x
_SIN_LONG = (1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
             -1.98412698298579493134e-04, 8.33333333332248946124e-03)  # fmt: skip
_SIN_FIRST = -1.66666666666666324348e-01
_COS_LONG = (-1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
             2.48015872894767294178e-05, -1.38888888888741095749e-03,
             4.16666666666666019037e-02)  # fmt: skip


def _sine_double(f: Function, x: Value, low: Value) -> Value:
    square = f.mul(x, x)
    cube = f.mul(square, x)
    half = f.fma(f.number(-0.5, x.kind), low, f.mul(cube, horner(f, square, _SIN_LONG)))
    inner = f.fma(square, half, low)
    return f.add(x, f.fma(cube, f.number(_SIN_FIRST, x.kind), inner))


def _cosine_double(f: Function, x: Value, low: Value) -> Value:
    square = f.mul(x, x)
    one = f.number(1, x.kind)
    series = f.mul(square, horner(f, square, _COS_LONG))
    half = f.mul(square, f.number(0.5, x.kind))
    near = f.sub(one, half)
    lost = f.sub(f.sub(one, near), half)
    tail = f.fma(f.neg(x), low, f.fma(square, series, lost))
    return f.add(near, tail)
