"""The pointwise rows of the op table as LLVM IR, for scalars and for vectors of any width.

    emit(f, "add", [a, b], [float32, float32], float32)

Every row means what NumPy means: integers wrap, their quotients are floored and 0 for a zero
divisor, maximum and minimum hand NaN on, shifts by the width or more give 0 (or the sign). Floats
that no integer can hold convert as NumPy does on x86, on every CPU. 16-bit floats are computed
with as float32; only ``cast`` and memory round them. Nothing calls a C library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adjoint.base.dtype import DType, bool_, float32
from adjoint.compile import floats
from adjoint.compile.code import BIT, Function, Value
from adjoint.compile.elements import (
    element,
    has_half,
    load,
    packed,
    rounded,
    store,
    store_strided,
    strided,
    unpacked,
)  # fmt: skip
from adjoint.compile.mathematics import FUNCTIONS
from adjoint.compile.philox import philox
from adjoint.compile.quotient import divide, remainder
from adjoint.compile.regions import REGIONS

__all__ = [
    "REGIONS", "element", "emit", "has_half", "load", "maximum", "minimum", "packed", "philox",
    "reduce", "rounded", "store", "store_strided", "strided", "unpacked",
]  # fmt: skip

NO_PARAMS: Mapping[str, Any] = {}


def emit(
    f: Function,
    op_name: str,
    args: Sequence[Value],
    dtypes: Sequence[DType],
    out: DType,
    params: Mapping[str, Any] = NO_PARAMS,
) -> Value:
    """The value of a pointwise row on ``args`` of ``dtypes``. Raises KeyError for other rows."""
    if op_name == "cast":
        return cast(f, args[0], dtypes[0], out)
    if op_name == "where":
        return f.select(*args)
    if op_name in FUNCTIONS:
        return FUNCTIONS[op_name](f, args[0])
    dtype = dtypes[0]
    if len(args) == 1:
        return _UNARY[op_name](f, args[0])
    return _BINARY[op_name](f, args[0], args[1], dtype)


def maximum(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """The larger one; NaN where one is NaN."""
    return _extreme(f, a, b, dtype, "maximum")


def minimum(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """The smaller one; NaN where one is NaN."""
    return _extreme(f, a, b, dtype, "minimum")


def reduce(f: Function, how: str, value: Value, dtype: DType | None = None) -> Value:
    """All lanes by add, mul, maximum, minimum, bit_and or bit_or: halves are folded on halves.

    ``dtype`` says whether integers have a sign; floats and sums need it not.
    """
    while (lanes := value.kind.lanes) > 1:
        half = lanes // 2
        low = f.shuffle(value, value, list(range(half)))
        high = f.shuffle(value, value, list(range(half, lanes)))
        if how in ("maximum", "minimum"):
            value = _extreme(f, low, high, dtype, how)
        else:
            value = _BINARY[how](f, low, high, dtype or float32)
    return f.extract(value, 0) if value.kind.lanes else value


# --- arithmetic -------------------------------------------------------------------------------


def _negated(f: Function, a: Value) -> Value:
    return f.neg(a)


def _floor(f: Function, a: Value) -> Value:
    return floats.floor(f, a) if a.kind.is_float else a


_UNARY: dict[str, Callable[[Function, Value], Value]] = {"neg": _negated, "floor": _floor}


def _add(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    return f.two("or", a, b) if dtype is bool_ else f.add(a, b)


def _sub(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    return f.two("xor", a, b) if dtype is bool_ else f.sub(a, b)


def _mul(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    return f.two("and", a, b) if dtype is bool_ else f.mul(a, b)


def _extreme(f: Function, a: Value, b: Value, dtype: DType | None, how: str) -> Value:
    if a.kind.is_float:
        return floats.extreme(f, a, b, how)
    if a.kind.element == BIT.element:
        return f.two("or" if how == "maximum" else "and", a, b)
    assert dtype is not None, "integers are compared by their dtype"
    sign = "u" if dtype.kind == "u" else "s"
    return f.call(f"llvm.{sign}{how[:3]}.{a.kind.suffix}", a.kind, a, b)


def _eq(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    return f.compare("oeq" if a.kind.is_float else "eq", a, b)


def _lt(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    if a.kind.is_float:
        return f.compare("olt", a, b)
    return f.compare("slt" if dtype.kind == "i" else "ult", a, b)


def _bits(instruction: str) -> Callable[[Function, Value, Value, DType], Value]:
    def write(f: Function, a: Value, b: Value, dtype: DType) -> Value:
        return f.two(instruction, a, b)

    return write


def _shift_left(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    near, count = _shift_count(f, b)
    return f.select(near, f.two("shl", a, count), f.number(0, a.kind))


def _shift_right(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    near, count = _shift_count(f, b)
    if dtype.kind == "u":
        return f.select(near, f.two("lshr", a, count), f.number(0, a.kind))
    last = f.number(a.kind.bits - 1, a.kind)
    return f.two("ashr", a, f.select(near, b, last))


def _shift_count(f: Function, b: Value) -> tuple[Value, Value]:
    """Whether ``b`` is a count below the width, and a count that is: LLVM's are undefined else."""
    near = f.compare("ult", b, f.number(b.kind.bits, b.kind))
    return near, f.two("and", b, f.number(b.kind.bits - 1, b.kind))


_BINARY: dict[str, Callable[[Function, Value, Value, DType], Value]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": divide,
    "rem": remainder,
    "maximum": maximum,
    "minimum": minimum,
    "eq": _eq,
    "lt": _lt,
    "bit_and": _bits("and"),
    "bit_or": _bits("or"),
    "bit_xor": _bits("xor"),
    "shift_left": _shift_left,
    "shift_right": _shift_right,
}


# --- conversions ------------------------------------------------------------------------------


def cast(f: Function, value: Value, source: DType, target: DType) -> Value:
    """``value`` of dtype ``source`` as ``target``."""
    if source is target:
        return value
    if target is bool_:
        how = "une" if value.kind.is_float else "ne"
        return f.compare(how, value, f.number(0, value.kind))
    if target.kind != "f":
        if value.kind.is_float:
            return _to_integer(f, value, target)
        return _resized(f, value, source, element(target))
    if not value.kind.is_float:
        instruction = "sitofp" if source.kind == "i" else "uitofp"
        return rounded(f, f.cast(instruction, value, element(target)), target)
    return _to_float(f, value, target)


def _resized(f: Function, value: Value, source: DType, name: str) -> Value:
    have, want = value.kind.bits, int(name[1:])
    if have == want:
        return value
    if want < have:
        return f.cast("trunc", value, name)
    return f.cast("sext" if source.kind == "i" else "zext", value, name)


def _to_float(f: Function, value: Value, target: DType) -> Value:
    if value.kind.element == element(target):
        return rounded(f, value, target)
    if target.bits == 64:
        return f.cast("fpext", value, "double")
    if target.name == "float16":
        return rounded(f, _to_odd(f, value), target)
    return rounded(f, f.cast("fptrunc", value, "float"), target)


def _to_odd(f: Function, value: Value) -> Value:
    """A double as a float whose last bit is set if it is inexact: rounded again, to fewer bits,
    it gives what the double itself would. Source: Boldo and Melquiond, Emulation of FMA and
    correctly rounded sums: proved algorithms using rounding to odd, 2008."""
    near = f.cast("fptrunc", value, "float")
    back = f.cast("fpext", near, "double")
    bits = f.cast("bitcast", near, "i32")
    one = f.number(1, bits.kind)
    size = floats.absolute(f, value)
    beyond = f.compare("ogt", floats.absolute(f, back), size)
    toward = f.select(beyond, f.sub(bits, one), bits)
    inexact = f.compare("one", back, value)
    odd = f.select(inexact, f.two("or", toward, one), bits)
    return f.cast("bitcast", odd, "float")


def _to_integer(f: Function, value: Value, target: DType) -> Value:
    """Towards zero. What does not fit becomes the least integer of the width that x86 converts
    to (32 bits, or 64), cut to the width of ``target``."""
    width = max(32, target.bits)
    if target.bits == width and target.kind == "u":
        # what is beyond the signed integers is moved there and back
        big = f.number(2.0 ** (width - 1), value.kind)
        is_big = f.compare("oge", value, big)
        low = _converted(f, f.select(is_big, f.sub(value, big), value), width)
        top = f.number(-(2 ** (width - 1)), low.kind)
        return f.select(is_big, f.two("xor", low, top), low)
    found = _converted(f, value, width)
    name = element(target)
    return found if found.kind.element == name else f.cast("trunc", found, name)


def _converted(f: Function, value: Value, bits: int) -> Value:
    """The signed integer of ``bits``; the least one for NaN and what is out of range."""
    limit = 2.0 ** (bits - 1)
    above = "ogt" if bits == 32 and value.kind.bits == 64 else "oge"
    low = f.number(-limit - 1 if above == "ogt" else -limit, value.kind)
    fits = f.two(
        "and",
        f.compare(above, value, low),
        f.compare("olt", value, f.number(limit, value.kind)),
    )
    found = f.cast("fptosi", value, f"i{bits}")
    return f.select(fits, found, f.number(-(2 ** (bits - 1)), found.kind))
