"""Elements in memory and in registers: loads, stores and conversions of every dtype.

float16 and bfloat16 are computed with as float; memory holds their 16 bits. A bool is a bit in a
register and a byte in memory. The sign of an integer is known from its dtype alone.
"""

from __future__ import annotations

from adjoint.base.dtype import DType, bfloat16, float16
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, Function, Kind, Value


def element(dtype: DType) -> str:
    """LLVM's name of what a ``dtype`` is computed as."""
    match dtype.kind:
        case "b":
            return "i1"
        case "f":
            return "double" if dtype.bits == 64 else "float"
        case _:
            return f"i{dtype.bits}"


def stored(dtype: DType) -> str:
    """LLVM's name of what memory holds of a ``dtype``: 16-bit floats as integers."""
    if dtype.kind == "b":
        return "i8"
    return "i16" if dtype.kind == "f" and dtype.bits == 16 else element(dtype)


# --- between memory and registers -------------------------------------------------------------


def unpacked(f: Function, raw: Value, dtype: DType) -> Value:
    """What is computed with, from what memory holds."""
    if dtype.kind == "b":
        return f.compare("ne", raw, f.number(0, raw.kind))
    if dtype is bfloat16:
        wide = f.cast("zext", raw, "i32")
        return f.cast("bitcast", f.two("shl", wide, f.number(16, wide.kind)), "float")
    if dtype is float16:
        return _from_half(f, raw)
    return raw


def packed(f: Function, value: Value, dtype: DType) -> Value:
    """What memory holds, from what is computed with; 16-bit floats are rounded here."""
    if dtype.kind == "b":
        return f.cast("zext", value, "i8")
    if dtype is bfloat16:
        return _to_bfloat(f, value)
    return _to_half(f, value) if dtype is float16 else value


def rounded(f: Function, value: Value, dtype: DType) -> Value:
    """A float as ``dtype`` can hold it, to nearest even; unchanged for other dtypes."""
    if stored(dtype) != "i16" or dtype.kind != "f":
        return value
    return unpacked(f, packed(f, value, dtype), dtype)


def has_half(target: Target) -> bool:
    """Whether the machine converts float16; LLVM would call a C library for it elsewhere."""
    if target.triple.startswith(("aarch64", "arm64", "nvptx")) or "+f16c" in target.features:
        return True
    return not target.features and target.bits >= 256


def _from_half(f: Function, raw: Value) -> Value:
    if has_half(f.target):
        return f.cast("fpext", f.cast("bitcast", raw, "half"), "float")
    # As a float, the bits mean 2^112 times too little; infinity and NaN get the largest exponent.
    wide = f.cast("zext", raw, "i32")
    kind = wide.kind
    size = f.two("shl", f.two("and", wide, f.number(0x7FFF, kind)), f.number(13, kind))
    value = f.cast("bitcast", size, "float")
    value = f.mul(value, f.number(2.0**112, value.kind))
    ends = f.two("or", size, f.number(0x7F800000, kind))
    is_end = f.compare("uge", size, f.number(0x7C00 << 13, kind))
    bits = f.select(is_end, ends, f.cast("bitcast", value, "i32"))
    sign = f.two("shl", f.two("and", wide, f.number(0x8000, kind)), f.number(16, kind))
    return f.cast("bitcast", f.two("or", bits, sign), "float")


def _to_half(f: Function, value: Value) -> Value:
    if has_half(f.target):
        return f.cast("bitcast", f.cast("fptrunc", value, "half"), "i16")
    bits = f.cast("bitcast", value, "i32")
    kind = bits.kind

    def number(x: int) -> Value:
        return f.number(x, kind)

    size = f.two("and", bits, number(0x7FFFFFFF))
    # Normal numbers: the exponent is moved by 112, and half a last place is added for rounding.
    odd = f.two("and", f.two("lshr", size, number(13)), number(1))
    normal = f.add(f.add(size, number(0xFFF - (112 << 23))), odd)
    normal = f.two("lshr", normal, number(13))
    # Small ones: adding 0.5 rounds at the place where the bits of a small half end.
    small = f.add(f.cast("bitcast", size, "float"), f.number(0.5, value.kind))
    small = f.sub(f.cast("bitcast", small, "i32"), number(0x3F000000))
    found = f.select(f.compare("ult", size, number(0x38800000)), small, normal)
    found = f.select(f.compare("ugt", size, number(0x477FEFFF)), number(0x7C00), found)
    found = f.select(f.compare("ugt", size, number(0x7F800000)), number(0x7E00), found)
    sign = f.two("and", f.two("lshr", bits, number(16)), number(0x8000))
    return f.cast("trunc", f.two("or", found, sign), "i16")


def _to_bfloat(f: Function, value: Value) -> Value:
    bits = f.cast("bitcast", value, "i32")
    high = f.two("lshr", bits, f.number(16, bits.kind))
    odd = f.two("and", high, f.number(1, bits.kind))
    up = f.add(f.add(bits, f.number(0x7FFF, bits.kind)), odd)
    up = f.two("lshr", up, f.number(16, bits.kind))
    quiet = f.two("or", high, f.number(0x40, bits.kind))
    found = f.select(f.compare("uno", value, value), quiet, up)
    return f.cast("trunc", found, "i16")


# --- memory -----------------------------------------------------------------------------------


def load(f: Function, dtype: DType, pointer: Value, lanes: int, mask: Value | None = None) -> Value:
    """``lanes`` elements that follow each other (0: one, a scalar); 0 where ``mask`` is not."""
    kind = Kind(stored(dtype), lanes)
    raw = f.load(kind, pointer) if mask is None else f.load_masked(kind, pointer, mask)
    return unpacked(f, raw, dtype)


def store(
    f: Function, value: Value, dtype: DType, pointer: Value, mask: Value | None = None
) -> None:
    """Write ``value`` to elements that follow each other, where ``mask`` holds."""
    raw = packed(f, value, dtype)
    if mask is None:
        f.store(raw, pointer)
    elif raw.kind.bits == 16 and mask.text.startswith("<") and mask.text.count("true") == 1:
        # LLVM 22 writes four bytes for one lane of a masked store of 16-bit elements
        lane = mask.text.split(",").index(next(b for b in mask.text.split(",") if "true" in b))
        f.store(f.extract(raw, lane), f.at(pointer, lane, raw.kind.element))
    else:
        f.store_masked(raw, pointer, mask)


def strided(
    f: Function, dtype: DType, pointer: Value, stride: int, lanes: int, mask: Value | None = None
) -> Value:
    """``lanes`` elements from ``pointer`` on, ``stride`` elements apart; 0 where ``mask`` is not.

    No memory is touched before the first or behind the last of them.
    """
    if not lanes or stride == 1:
        return load(f, dtype, pointer, lanes, mask)
    kind = Kind(stored(dtype), lanes)
    if mask is not None:
        return unpacked(f, _gathered(f, kind, pointer, stride, mask), dtype)
    if stride == 0:
        return f.splat(unpacked(f, f.load(Kind(kind.element), pointer), dtype), lanes)
    if abs(stride) <= 4:
        return unpacked(f, _picked(f, kind, pointer, stride), dtype)
    if f.target.bits >= 256 and kind.bits >= 32:
        everywhere = f.number(1, kind.of("i1"))
        return unpacked(f, _gathered(f, kind, pointer, stride, everywhere), dtype)
    return unpacked(f, _one_by_one(f, kind, pointer, stride), dtype)


def store_strided(
    f: Function, value: Value, dtype: DType, pointer: Value, stride: int, mask: Value | None = None
) -> None:
    """Write the lanes of ``value`` ``stride`` elements apart, where ``mask`` holds."""
    lanes = value.kind.lanes
    if not lanes or stride == 1:
        store(f, value, dtype, pointer, mask)
        return
    raw = packed(f, value, dtype)
    if mask is None:
        for i in range(lanes):
            f.store(f.extract(raw, i), f.at(pointer, i * stride, raw.kind.element))
        return
    places = _addresses(f, raw.kind, pointer, stride)
    name = f"llvm.masked.scatter.{raw.kind.suffix}.v{lanes}p0"
    bits = raw.kind.of("i1").text
    f.module.declarations.setdefault(
        name, f"declare void @{name}({raw.kind.text}, {places.kind.text}, {bits})"
    )
    align = f"{places.kind.text} align {raw.kind.bits // 8} {places.text}"
    f.do(f"call void @{name}({raw.typed}, {align}, {mask.typed})")


def _addresses(f: Function, kind: Kind, pointer: Value, stride: int) -> Value:
    """The addresses of the elements that the lanes of ``kind`` stand for."""
    index = ", ".join(f"i64 {i * stride}" for i in range(kind.lanes))
    inside = f"ptr {pointer.text}, <{kind.lanes} x i64> <{index}>"
    return f.emit(Kind(POINTER.element, kind.lanes), f"getelementptr {kind.element}, {inside}")


def _gathered(f: Function, kind: Kind, pointer: Value, stride: int, mask: Value) -> Value:
    places = _addresses(f, kind, pointer, stride)
    name = f"llvm.masked.gather.{kind.suffix}.v{kind.lanes}p0"
    bits = kind.of("i1").text
    f.module.declarations.setdefault(
        name, f"declare {kind.text} @{name}({places.kind.text}, {bits}, {kind.text})"
    )
    align = f"{places.kind.text} align {kind.bits // 8} {places.text}"
    inside = f"{align}, {mask.typed}, {kind.text} zeroinitializer"
    return f.emit(kind, f"call {kind.text} @{name}({inside})")


def _picked(f: Function, kind: Kind, pointer: Value, stride: int) -> Value:
    """Whole vectors are read, the last one so that it ends with the last element wanted."""
    lanes, step = kind.lanes, abs(stride)
    last = (lanes - 1) * step
    start = pointer if stride > 0 else f.at(pointer, -last, kind.element)
    found = f.load(kind, start)
    covered = lanes
    offsets = [*(i * lanes for i in range(1, step - 1)), last + 1 - lanes] if step > 1 else []
    for offset in offsets:
        part = f.load(kind, f.at(start, offset, kind.element))
        order: list[int] = []
        for lane in range(lanes):
            place = lane * step
            if place < covered:  # the first vector is in the order of memory, later ones are not
                order.append(place if covered == lanes else lane)
            else:  # a place beyond this part comes with a later one
                order.append(lanes + place - offset if place < offset + lanes else lane)
        found = f.shuffle(found, part, order)
        covered = offset + lanes
    return found if stride > 0 else f.shuffle(found, found, list(range(lanes))[::-1])


def _one_by_one(f: Function, kind: Kind, pointer: Value, stride: int) -> Value:
    found = Value("poison", kind)
    for i in range(kind.lanes):
        one = f.load(Kind(kind.element), f.at(pointer, i * stride, kind.element))
        found = f.emit(kind, f"insertelement {found.typed}, {one.typed}, i32 {i}")
    return found
