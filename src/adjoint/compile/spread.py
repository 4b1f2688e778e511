"""What a convolution needs around its product: an image with room, and partial sums added up.

``arrange`` copies planes (image, channel) so that a convolution reads them in whole vectors:
padded with zeros, and, where it takes every s-th element, with these side by side. ``fold`` adds
the sums of several pieces of k, in their order, and puts them where they belong.
"""

from __future__ import annotations

from adjoint.base.dtype import DType
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value
from adjoint.compile.panels import first_lanes, least, prefetch, turned

ARRANGE = ("rows", "width", "step", "inner", "outer_stride", "inner_stride", "table")
LAST = ("rows", "width", "channels", "image_stride", "channel_stride", "table")
FAR = 512  # bytes ahead that are asked for
TURN = ("count", "size", "channels", "total", "table")
WEAVE = ("rows", "width", "table")
FOLD = ("count", "columns", "size", "row", "table")


def arrange_text(target: Target, dtype: DType) -> str:
    """kernel: y[unit] = a plane of x, in ``rows`` rows of ``width``; ``table`` has three words for
    each: where in the plane it would begin, and from which to which element it has one; others
    are 0. Elements are ``step`` apart in x. unit = i * inner + j is at i * outer_stride + j *
    inner_stride."""
    f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, _ = f.arguments
    x, y = (f.load(POINTER, f.at(record, i, "i64")) for i in range(2))
    word = {name: f.load(WORD, f.at(record, 2 + i, "i64")) for i, name in enumerate(ARRANGE)}
    table = f.emit(POINTER, f"inttoptr {word['table'].typed} to ptr")
    kind = Kind(elements.stored(dtype), target.bits // max(dtype.bits, 32))
    by = f.select(f.compare("sle", word["step"], f.number(2)), word["step"], f.number(0))
    with f.loop(begin, end) as unit:
        i, j = (f.two(how, unit.index, word["inner"]) for how in ("udiv", "urem"))
        offset = f.add(f.mul(i, word["outer_stride"]), f.mul(j, word["inner_stride"]))
        plane = f.at(x, offset, kind.element)
        result = f.at(y, f.mul(f.mul(unit.index, word["rows"]), word["width"]), kind.element)
        with f.loop(0, word["rows"]) as row:
            entry = f.at(table, f.mul(row.index, f.number(3)), "i64")
            start, low, high = (f.load(WORD, f.at(entry, i, "i64")) for i in range(3))
            source = f.at(plane, start, kind.element)
            to = f.at(result, f.mul(row.index, word["width"]), kind.element)
            for step in (1, 2):
                fits = f.compare("eq", by, f.number(step))
                with f.when(fits), f.loop(0, word["width"], kind.lanes) as loop:
                    _piece(f, kind, (source, to), (loop.index, low, high, word["width"]), step)
            other = f.compare("eq", by, f.number(0))
            with f.when(other), f.loop(0, word["width"]) as loop:
                at = loop.index
                f.store(f.number(0, Kind(kind.element)), f.at(to, at, kind.element))
                inside = f.two("and", f.compare("sge", at, low), f.compare("slt", at, high))
                with f.when(inside):
                    place = f.at(source, f.mul(at, word["step"]), kind.element)
                    f.store(f.load(Kind(kind.element), place), f.at(to, at, kind.element))
    f.end()
    return str(f.module)


def _piece(
    f: Function, kind: Kind, places: tuple[Value, Value], sizes: tuple[Value, ...], step: int
) -> None:
    """One vector of a row, of elements ``step`` apart."""
    (source, to), (at, low, high, width) = places, sizes
    value = _some(f, kind, source, (at, low, high), step)
    mask = first_lanes(f, f.sub(width, at), kind.lanes)
    f.store_masked(value, f.at(to, at, kind.element), mask)


def _some(
    f: Function, kind: Kind, source: Value, sizes: tuple[Value, Value, Value], step: int
) -> Value:
    """Elements ``at``, ``at`` + 1, ... of those ``step`` (1 or 2) apart; 0 outside of low to
    high."""
    at, low, high = sizes
    lanes = kind.lanes
    after, before = (first_lanes(f, f.sub(x, at), lanes) for x in (high, low))
    mask = f.two("xor", after, before)
    place = f.at(source, f.mul(at, f.number(step)), kind.element)
    if step == 1:
        return f.load_masked(kind, place, mask)
    halves: list[Value] = []
    for half in range(2):
        # lane 2 i of the two vectors together is element i; what lies between is not touched
        order = [half * lanes // 2 + i // 2 if i % 2 == 0 else lanes for i in range(lanes)]
        spread = f.shuffle(mask, f.number(0, mask.kind), order)
        halves.append(f.load_masked(kind, f.at(place, half * lanes, kind.element), spread))
    return f.shuffle(halves[0], halves[1], range(0, 2 * lanes, 2))


def last_text(target: Target, dtype: DType, wide: DType, step: int) -> str:
    """kernel: images with the channels as the last axis; rows as for ``arrange``, ``step`` 1 or 2.
    A unit is a vector of channels of one image; it needs a square of vectors of scratch memory."""
    f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, scratch = f.arguments
    x, y = (f.load(POINTER, f.at(record, i, "i64")) for i in range(2))
    word = {name: f.load(WORD, f.at(record, 2 + i, "i64")) for i, name in enumerate(LAST)}
    table = f.emit(POINTER, f"inttoptr {word['table'].typed} to ptr")
    lanes = target.bits // wide.bits
    kind = Kind(elements.stored(dtype), lanes)
    width, channels = word["width"], word["channels"]
    blocks = f.two("udiv", channels, f.number(lanes))
    with f.loop(begin, end) as unit, f.loop(0, word["rows"]) as row:
        image, block = (f.two(how, unit.index, blocks) for how in ("udiv", "urem"))
        first = f.mul(block, f.number(lanes))
        entry = f.at(table, f.mul(row.index, f.number(3)), "i64")
        start, low, high = (f.load(WORD, f.at(entry, i, "i64")) for i in range(3))
        start = f.add(start, f.mul(image, word["image_stride"]))
        start = f.add(start, f.mul(first, word["channel_stride"]))
        source = f.at(x, start, kind.element)
        place = f.mul(f.add(f.mul(image, word["rows"]), row.index), width)
        result = f.at(y, f.add(f.mul(place, channels), first), kind.element)
        with f.loop(0, width, lanes) as at:
            lines: list[Value] = []
            for i in range(lanes):
                line = f.at(source, f.mul(f.number(i), word["channel_stride"]), kind.element)
                # channels may be pages apart, where the processor does not look ahead by itself
                prefetch(f, f.at(f.at(line, at.index, kind.element), FAR, "i8"), 0)
                lines.append(_some(f, kind, line, (at.index, low, high), step))
            for i, line in enumerate(turned(f, lines)):
                f.store(line, f.at(scratch, i * lanes, kind.element))
            to = f.at(result, f.mul(at.index, channels), kind.element)
            count = least(f, f.sub(width, at.index), f.number(lanes))
            with f.loop(0, count) as i:
                line = f.load(kind, f.at(scratch, f.mul(i.index, f.number(lanes)), kind.element))
                f.store(line, f.at(to, f.mul(i.index, channels), kind.element))
    f.end()
    return str(f.module)


def turn_text(target: Target, dtype: DType, wide: DType) -> str:
    """kernel: ``count`` partial results, ``size`` apart, added up and turned: the element e of
    channel c, at ``table[e] + c``, goes to ``c * total + e``. A unit is a vector of channels."""
    f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, _ = f.arguments
    parts, y = (f.load(POINTER, f.at(record, i, "i64")) for i in range(2))
    word = {name: f.load(WORD, f.at(record, 2 + i, "i64")) for i, name in enumerate(TURN)}
    table = f.emit(POINTER, f"inttoptr {word['table'].typed} to ptr")
    lanes = target.bits // wide.bits
    kind = Kind(elements.element(wide), lanes)
    stop = f.sub(word["total"], f.number(lanes))
    with f.loop(begin, end) as unit, f.loop(0, word["total"], lanes) as loop:
        first = f.mul(unit.index, f.number(lanes))
        at = least(f, loop.index, stop)  # the last ones twice
        starts = [
            f.at(f.at(parts, f.load(WORD, f.at(f.at(table, at, "i64"), i, "i64")), kind.element),
                 first, kind.element)
            for i in range(lanes)
        ]  # fmt: skip
        zero = f.number(0, kind)
        with f.loop(0, word["count"], 1, [f.number(0), *[zero] * lanes]) as piece:
            shift, *sums = piece.values
            lines = [f.load(kind, f.at(start, shift, kind.element)) for start in starts]
            sums = [f.add(a, b) for a, b in zip(sums, lines, strict=True)]
            piece.carry = [f.add(shift, word["size"]), *sums]
        for i, line in enumerate(turned(f, piece.values[1:])):
            row = f.mul(f.add(first, f.number(i)), word["total"])
            place = f.at(f.at(y, row, elements.stored(dtype)), at, elements.stored(dtype))
            elements.store(f, line, dtype, place)
    f.end()
    return str(f.module)


def weave_text(target: Target, dtype: DType, count: int, step: int) -> str:
    """kernel: plane ``unit`` of the result, in ``rows`` of ``width``; element i of a row is element
    i // step of the part that ``table`` names for i % step: its number, or -1 for zeros, where the
    row begins in its plane, and how large its planes are."""
    f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, _ = f.arguments
    y = f.load(POINTER, f.at(record, count, "i64"))
    word = {n: f.load(WORD, f.at(record, count + 1 + i, "i64")) for i, n in enumerate(WEAVE)}
    table = f.emit(POINTER, f"inttoptr {word['table'].typed} to ptr")
    kind = Kind(elements.stored(dtype), target.bits // max(dtype.bits, 32))
    with f.loop(begin, end) as unit, f.loop(0, word["rows"]) as row:
        at = f.add(f.mul(unit.index, word["rows"]), row.index)
        to = f.at(y, f.mul(at, word["width"]), kind.element)
        parts: list[tuple[Value, Value]] = []
        for i in range(step):
            entry = f.at(table, f.mul(f.add(f.mul(row.index, f.number(step)), f.number(i)),
                                      f.number(3)), "i64")  # fmt: skip
            number, offset, size = (f.load(WORD, f.at(entry, j, "i64")) for j in range(3))
            exists = f.compare("sge", number, f.number(0))
            number = f.select(exists, number, f.number(0))
            start = f.load(POINTER, f.at(record, number, "i64"))
            offset = f.add(offset, f.mul(unit.index, size))
            length = f.two("sdiv", f.add(word["width"], f.number(step - 1 - i)), f.number(step))
            length = f.select(exists, length, f.number(0))
            parts.append((f.at(start, offset, kind.element), length))
        if step == 2:
            _weave_two(f, kind, parts, to, word["width"])
        else:
            _weave_many(f, kind, parts, to, word["width"])
    f.end()
    return str(f.module)


def _weave_two(
    f: Function, kind: Kind, parts: list[tuple[Value, Value]], to: Value, width: Value
) -> None:
    """Two parts, a vector of each at a time."""
    lanes = kind.lanes
    half = f.two("sdiv", f.add(width, f.number(1)), f.number(2))
    with f.loop(0, half, lanes) as loop:
        values = [
            f.load_masked(kind, f.at(start, loop.index, kind.element),
                          first_lanes(f, f.sub(length, loop.index), lanes))
            for start, length in parts
        ]  # fmt: skip
        first = f.mul(loop.index, f.number(2))
        for i in range(2):
            order = [i * lanes // 2 + j // 2 + j % 2 * lanes for j in range(lanes)]
            place = f.add(first, f.number(i * lanes))
            mask = first_lanes(f, f.sub(width, place), lanes)
            value = f.shuffle(values[0], values[1], order)
            f.store_masked(value, f.at(to, place, kind.element), mask)


def _weave_many(
    f: Function, kind: Kind, parts: list[tuple[Value, Value]], to: Value, width: Value
) -> None:
    """Part by part, element by element."""
    step = len(parts)
    for i, (start, length) in enumerate(parts):
        with f.loop(i, width, step) as loop:
            at = f.two("sdiv", loop.index, f.number(step))
            place = f.at(to, loop.index, kind.element)
            is_there = f.compare("slt", at, length)
            f.store(f.number(0, Kind(kind.element)), place)
            with f.when(is_there):
                f.store(f.load(Kind(kind.element), f.at(start, at, kind.element)), place)


def fold_text(target: Target, dtype: DType, wide: DType) -> str:
    """kernel: row ``unit`` of the result is the sum of ``count`` rows of ``columns`` elements of
    ``wide``, ``size`` apart; element j goes to ``unit * row + table[j]``, or to the next place."""
    f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, _ = f.arguments
    parts, result = (f.load(POINTER, f.at(record, i, "i64")) for i in range(2))
    word = {name: f.load(WORD, f.at(record, 2 + i, "i64")) for i, name in enumerate(FOLD)}
    table = f.emit(POINTER, f"inttoptr {word['table'].typed} to ptr")
    linear = f.compare("eq", word["table"], f.number(0))
    bent = f.compare("ne", word["table"], f.number(0))
    lanes = target.bits // wide.bits
    stored, kind = elements.stored(dtype), Kind(elements.element(wide), lanes)
    whole = f.two("and", word["columns"], f.number(-lanes))

    def add_up(at: Value, lanes: int, row: Value, to: Value) -> None:
        zero = f.number(0, kind if lanes else Kind(kind.element))
        first = f.at(row, at, kind.element)
        with f.loop(0, word["count"], 1, [first, zero]) as loop:
            place, total = loop.values
            total = f.add(total, elements.load(f, wide, place, lanes))
            loop.carry = [f.at(place, word["size"], kind.element), total]
        total = loop.values[1]
        with f.when(linear):
            elements.store(f, total, dtype, f.at(to, at, stored))
        with f.when(bent):
            for lane in range(max(lanes, 1)):
                value = f.extract(total, lane) if lanes else total
                shift = f.load(WORD, f.at(f.at(table, at, "i64"), lane, "i64"))
                elements.store(f, value, dtype, f.at(to, shift, stored))

    with f.loop(begin, end) as unit:
        row = f.at(parts, f.mul(unit.index, word["columns"]), kind.element)
        to = f.at(result, f.mul(unit.index, word["row"]), stored)
        with f.loop(0, whole, lanes) as loop:
            add_up(loop.index, lanes, row, to)
        with f.loop(whole, word["columns"]) as loop:
            add_up(loop.index, 0, row, to)
    f.end()
    return str(f.module)
