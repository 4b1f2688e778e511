"""How the kernels of all templates begin, and what they share: the record, masks, edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from adjoint.base.dtype import DType, float32
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import BIT, POINTER, WORD, Function, Kind, Module, Value

JOB = 1 << 16  # bytes that a job should touch at least


class Entry(NamedTuple):
    """The function ``kernel`` being written: its memory, its words, its range of work."""

    f: Function
    reads: list[Value]
    writes: list[Value]
    words: list[Value]
    begin: Value
    end: Value
    scratch: Value

    def finish(self) -> str:
        """The text of the module."""
        self.f.end()
        return str(self.f.module)


def enter(target: Target, reads: int, writes: int, words: int = 0) -> Entry:
    """A new module with the function ``kernel``, and its record read."""
    f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, scratch = f.arguments
    places = [f.load(POINTER, f.at(record, i, "i64")) for i in range(reads + writes)]
    constants = [f.load(WORD, f.at(record, len(places) + i, "i64")) for i in range(words)]
    return Entry(f, places[:reads], places[reads:], constants, begin, end, scratch)


def lanes_of(target: Target) -> int:
    """How many lanes kernels use for every dtype: those of float32; LLVM splits wider ones."""
    return target.bits // 32


def lanes_for(target: Target, size: int) -> int:
    """Fewer lanes where there are only ``size`` elements: the next power of two."""
    return min(lanes_of(target), 1 << max(size - 1, 0).bit_length())


def wide(dtype: DType) -> DType:
    """What intermediate results of a dtype are kept as: float32 for 16-bit floats."""
    return float32 if dtype.kind == "f" and dtype.bits == 16 else dtype


def kind_of(dtype: DType, lanes: int) -> Kind:
    """The kind that values of a dtype are computed in; one lane is a scalar."""
    return Kind(elements.element(dtype), lanes if lanes > 1 else 0)


def at(f: Function, dtype: DType, pointer: Value, index: Value | int) -> Value:
    """The address of an element of a buffer of ``dtype``."""
    return f.at(pointer, index, elements.stored(dtype))


def bits(f: Function, flags: Sequence[bool]) -> Value:
    """A constant mask."""
    if len(flags) == 1:
        return f.number(int(flags[0]), BIT)
    if all(flags) or not any(flags):
        return f.number(int(flags[0]), Kind("i1", len(flags)))
    inside = ", ".join(f"i1 {'true' if x else 'false'}" for x in flags)
    return Value(f"<{inside}>", Kind("i1", len(flags)))


def first_lanes(f: Function, count: Value, lanes: int) -> Value:
    """The mask of the first ``count`` lanes."""
    kind = Kind("i32", lanes)
    return f.compare("slt", f.lanes(kind), f.splat(f.cast("trunc", count, "i32"), lanes))


def load(
    f: Function, dtype: DType, pointer: Value, flags: Sequence[bool], rest: Value | None = None
) -> Value:
    """As many elements as there are flags; ``rest`` (or 0) where one does not hold, without
    touching memory. One flag: a scalar."""
    lanes = len(flags)
    if lanes == 1 or all(flags):
        if not flags[0]:
            return rest if rest is not None else f.number(0, kind_of(dtype, 0))
        return elements.load(f, dtype, pointer, lanes if lanes > 1 else 0)
    if not any(flags):
        return rest if rest is not None else f.number(0, kind_of(dtype, lanes))
    if sum(flags) == 1:
        return _load_one(f, dtype, pointer, flags, rest)
    mask = bits(f, flags)
    value = elements.load(f, dtype, pointer, lanes, mask)
    return value if rest is None else f.select(mask, value, rest)


def _load_one(
    f: Function, dtype: DType, pointer: Value, flags: Sequence[bool], rest: Value | None
) -> Value:
    lane = list(flags).index(True)
    value = elements.load(f, dtype, at(f, dtype, pointer, lane), 0)
    kind = kind_of(dtype, len(flags))
    other = rest if rest is not None else f.number(0, kind)
    return f.emit(kind, f"insertelement {other.typed}, {value.typed}, i32 {lane}")


def store(f: Function, value: Value, dtype: DType, pointer: Value, flags: Sequence[bool]) -> None:
    """Write the lanes whose flags hold."""
    if len(flags) == 1 or all(flags):
        if flags[0]:
            elements.store(f, value, dtype, pointer)
    elif sum(flags) == 1:
        # LLVM 22 writes four bytes for one lane of a masked store of 16-bit elements
        lane = list(flags).index(True)
        elements.store(f, f.extract(value, lane), dtype, at(f, dtype, pointer, lane))
    elif any(flags):
        elements.store(f, value, dtype, pointer, bits(f, flags))


Range = tuple[Value | int, int]


def chunked(
    f: Function, count: int, lanes: int, is_inner: Callable[[int], bool],
    write: Callable[[Value | int, int | None], None],
) -> None:  # fmt: skip
    """``write(start, place)`` for every chunk of ``lanes`` of ``count``. Chunks at the edges are
    written out one by one, with their number ``place``; the inner ones may be a loop, in which
    start is a value and place None."""
    total = -(-count // lanes)
    inner = [is_inner(c) for c in range(total)]
    first = inner.index(True) if True in inner else total
    last = first
    while last < total and inner[last]:
        last += 1
    for c in range(total):
        if c == first and last - first > 2:
            with f.loop(first * lanes, last * lanes, lanes) as loop:
                write(loop.index, None)
        if not (first <= c < last and last - first > 2):
            write(c * lanes, c)


def vectors(
    f: Function, count: Value | int, lanes: int, write: Callable[[Value, int], None]
) -> None:
    """``write(index, lanes)`` for whole vectors of ``count`` elements, then ``write(index, 0)``
    for each that is left."""
    if isinstance(count, int):
        whole = f.number(count // lanes * lanes)
        many = f.number(count)
    else:
        whole, many = f.two("and", count, f.number(-lanes)), count
    if lanes > 1:
        with f.loop(0, whole, lanes) as loop:
            write(loop.index, lanes)
    with f.loop(whole if lanes > 1 else 0, many) as loop:
        write(loop.index, 0)


def fill(f: Function, dtype: DType, pointer: Value, count: int, value: Value, lanes: int) -> None:
    """``value`` (a scalar) into ``count`` elements."""
    if count:
        fill_many(f, dtype, pointer, f.number(count), value, lanes)


def fill_many(
    f: Function, dtype: DType, pointer: Value, count: Value, value: Value, lanes: int
) -> None:
    """The same for a count known at run time only."""

    def write(index: Value, lanes: int) -> None:
        elements.store(f, f.splat(value, lanes), dtype, at(f, dtype, pointer, index))

    vectors(f, count, lanes, write)
