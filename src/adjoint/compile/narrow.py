"""Convolutions with few output channels per group, and gradients of few kernels.

A packed product earns its packing back by using each vector many times. With few rows there is
too little use, so these two read the image where it is:

- ``few``: up to ``MOST`` rows at once, all in registers, with vectors along the places of a row of
  the image: depthwise convolutions, gradients of inputs with few channels;
- ``inner``: sums over places with vectors along the places, for gradients of kernels: a product of
  rows of the cotangent with shifted images, added up across the lanes at the end.

Both walk over a table of vectors, three words each: where it begins in x and in the other array,
and how many of its lanes count.
"""

from __future__ import annotations

from contextlib import nullcontext

from adjoint.base.dtype import DType, float32
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value
from adjoint.compile.panels import first_lanes, least

MOST = 8  # rows that ``few`` holds at once
FEW = (
    "after", "after_record", "m", "k", "vectors", "groups", "a_group", "a_step", "b_image",
    "b_group", "c_image", "c_group", "c_row", "rows", "table", "places", "grid", "chunk",
)  # fmt: skip
INNER = (
    "images", "m", "n", "vectors", "groups", "down", "a_row", "a_image", "a_group", "b_image",
    "b_group", "columns", "table",
)  # fmt: skip


def few_shape(target: Target, rows: int) -> int:
    """Vectors of a tile of ``rows`` rows: sums, a vector of x for each, and a factor."""
    room = target.registers - 1 - (0 if target.fma else 1)
    return max(min(8, (room - 1) // (rows + 1)), 1)


def inner_shape(target: Target, m: int) -> tuple[int, int]:
    """Rows of a tile for m rows, and its columns."""
    room = target.registers - 2 - (0 if target.fma else 1)
    most = 5 if target.registers == 32 else 3
    tall = range(max(most - 2, 1), most + 1)
    rows = m if m <= most else min(tall, key=lambda r: (-(-m // r) * r, -r))
    return rows, max(min(9, (room - 1) // (rows + 1)), 1)


class _Narrow:
    """What both templates share."""

    def __init__(self, target: Target, dtype: DType) -> None:
        self.dtype = dtype
        self.wide = float32 if dtype.bits == 16 else dtype
        self.lanes = target.bits // self.wide.bits
        self.vector = Kind(elements.element(self.wide), self.lanes)
        self.stored = elements.stored(dtype)
        self.f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])

    def words(self, names: tuple[str, ...]) -> tuple[list[Value], dict[str, Value]]:
        """The three addresses and the words of the record."""
        f, record = self.f, self.f.arguments[0]
        places = [f.load(POINTER, f.at(record, i, "i64")) for i in range(3)]
        return places, {n: f.load(WORD, f.at(record, 3 + i, "i64")) for i, n in enumerate(names)}

    def table(self, word: Value) -> Value:
        return self.f.emit(POINTER, f"inttoptr {word.typed} to ptr")

    def read(self, place: Value, lanes: int, mask: Value | None = None) -> Value:
        return elements.load(self.f, self.dtype, place, lanes, mask)


class Few(_Narrow):
    """``rows`` rows at a time of a packed left operand with windows that begin at ``table``'s
    vectors. exact: there are no more rows than these.

    A unit is ``chunk`` tiles of one image and group; after the last row of a unit that is all of
    its image and group, the function ``after`` may finish it.
    """

    def __init__(
        self, target: Target, dtype: DType, rows: int, exact: bool = True, out: DType | None = None
    ) -> None:
        super().__init__(target, dtype)
        self.out = out or dtype
        self.rows = rows
        self.exact = exact
        self.width = few_shape(target, rows)

    def text(self) -> str:
        f = self.f
        (a, b, c), word = self.words(FEW)
        with f.loop(f.arguments[1], f.arguments[2]) as unit:
            item, part = (f.two(how, unit.index, word["grid"]) for how in ("udiv", "urem"))
            image, group = (f.two(how, item, word["groups"]) for how in ("udiv", "urem"))
            left = f.at(a, f.mul(group, word["a_group"]), self.vector.element)
            x, y = (
                f.at(start, f.add(f.mul(image, word[f"{name}_image"]),
                                  f.mul(group, word[f"{name}_group"])), elements.stored(kind))
                for name, start, kind in (("b", b, self.dtype), ("c", c, self.out))
            )  # fmt: skip
            size = f.mul(word["chunk"], f.number(self.width))
            first = f.mul(part, size)
            stop = least(f, f.add(first, size), word["vectors"])
            with f.loop(first, stop, self.width) as loop:
                self._tiles(word, (left, x, y), loop.index)
            with f.when(f.compare("ne", word["after"], f.number(0))):
                row = f.mul(item, word["m"])
                function = f.emit(POINTER, f"inttoptr {word['after'].typed} to ptr")
                record = f.emit(POINTER, f"inttoptr {word['after_record'].typed} to ptr")
                ends = (record, row, f.add(row, word["m"]), f.number(0), word["places"])
                f.do(f"call void {function.text}({', '.join(x.typed for x in ends)})")
        f.end()
        return str(f.module)

    def _tiles(self, word: dict[str, Value], operands: tuple[Value, ...], first: Value) -> None:
        """All rows of a few vectors."""
        f, (a, x, y) = self.f, operands
        table, last = self.table(word["table"]), f.sub(word["vectors"], f.number(1))
        starts: list[Value] = []
        ends: list[tuple[Value, Value]] = []
        for v in range(self.width):  # behind the last vector, the last one again
            at = f.mul(least(f, f.add(first, f.number(v)), last), f.number(3))
            entry = f.at(table, at, "i64")
            shift, to, count = (f.load(WORD, f.at(entry, i, "i64")) for i in range(3))
            starts.append(f.at(x, shift, self.stored))
            ends.append((f.at(y, to, elements.stored(self.out)), count))
        if self.exact:
            self._put(word, self._sums(word, a, starts), ends, f.number(0))
            return
        with f.loop(0, word["m"], self.rows) as loop:  # panels of a have several tiles
            panel = f.two("udiv", loop.index, word["a_step"])
            inside = f.two("urem", loop.index, word["a_step"])
            offset = f.add(f.mul(f.mul(panel, word["a_step"]), word["k"]), inside)
            sums = self._sums(word, f.at(a, offset, self.vector.element), starts)
            self._put(word, sums, ends, loop.index)

    def _sums(self, word: dict[str, Value], a: Value, starts: list[Value]) -> list[Value]:
        """Rows from ``a`` on times the vectors that begin at ``starts``."""
        f, rows = self.f, self.rows
        sums = [f.number(0, self.vector)] * (rows * self.width)
        step = f.mul(word["a_step"], f.number(self.wide.itemsize))
        offsets = self.table(word["rows"])
        with f.loop(0, word["k"], 1, [a, *sums]) as loop:
            left, *sums = loop.values
            shift = f.load(WORD, f.at(offsets, loop.index, "i64"))
            row = [self.read(f.at(s, shift, self.stored), self.lanes) for s in starts]
            for i in range(rows):
                place = f.at(left, i, self.vector.element)
                factor = f.splat(f.load(Kind(self.vector.element), place), self.lanes)
                for v, other in enumerate(row):
                    at = i * self.width + v
                    sums[at] = f.fma(factor, other, sums[at])
            loop.carry = [f.at(left, step, "i8"), *sums]
        return loop.values[1:]

    def _put(
        self, word: dict[str, Value], sums: list[Value], ends: list[tuple[Value, Value]],
        first: Value,
    ) -> None:  # fmt: skip
        """Rows from ``first`` on; those behind the last one are dropped."""
        f = self.f
        for i in range(self.rows):
            row = f.add(first, f.number(i))
            is_row = f.compare("slt", row, word["m"])
            with nullcontext() if self.exact else f.when(is_row):
                offset = f.mul(row, word["c_row"])
                for v, (to, count) in enumerate(ends):
                    place = f.at(to, offset, elements.stored(self.out))
                    value = sums[i * self.width + v]
                    full = f.compare("sge", count, f.number(self.lanes))
                    with f.when(full):
                        elements.store(f, value, self.out, place)
                    with f.when(f.two("xor", full, f.number(1, full.kind))):
                        mask = first_lanes(f, count, self.lanes)
                        elements.store(f, value, self.out, place, mask)


class Inner(_Narrow):
    """Partial sums: c[piece, group, i, j] = the sum over the images of a piece and the vectors of
    the table of a[image, i] times x[image] shifted by ``columns[j]``; c is of the wide type.

    A unit is a few rows of one piece and group.
    """

    def __init__(self, target: Target, dtype: DType, m: int) -> None:
        super().__init__(target, dtype)
        self.rows, self.width = inner_shape(target, m)

    def text(self) -> str:
        f = self.f
        (a, b, c), word = self.words(INNER)
        with f.loop(f.arguments[1], f.arguments[2]) as unit:
            item, part = (f.two(how, unit.index, word["down"]) for how in ("udiv", "urem"))
            piece, group = (f.two(how, item, word["groups"]) for how in ("udiv", "urem"))
            image = f.mul(piece, word["images"])
            left, x = (
                f.at(start, f.add(f.mul(image, word[f"{name}_image"]),
                                  f.mul(group, word[f"{name}_group"])), self.stored)
                for name, start in (("a", a), ("b", b))
            )  # fmt: skip
            size = f.mul(word["m"], word["n"])
            result = f.at(c, f.mul(item, size), self.vector.element)
            first = f.mul(part, f.number(self.rows))
            with f.loop(0, word["n"], self.width) as column:
                self._tile(word, (left, x, result), first, column.index)
        f.end()
        return str(f.module)

    def _tile(
        self, word: dict[str, Value], operands: tuple[Value, ...], first: Value, column: Value
    ) -> None:
        f, (a, x, result) = self.f, operands
        columns, table = self.table(word["columns"]), self.table(word["table"])
        rows = [self._clamped(first, i, word["m"]) for i in range(self.rows)]
        ends = [self._clamped(column, j, word["n"]) for j in range(self.width)]
        lefts = [f.at(a, f.mul(i, word["a_row"]), self.stored) for i in rows]
        rights = [f.at(x, f.load(WORD, f.at(columns, j, "i64")), self.stored) for j in ends]
        count = self.rows * self.width
        zeros = [f.number(0, self.vector)] * count
        a_step, b_step = (
            f.mul(word[n], f.number(self.dtype.itemsize)) for n in ("a_image", "b_image")
        )
        with f.loop(0, word["images"], 1, [f.number(0), f.number(0), *zeros]) as image:
            a_at, b_at, *sums = image.values
            with f.loop(0, word["vectors"], 1, sums) as loop:
                entry = f.at(table, f.mul(loop.index, f.number(3)), "i64")
                shift, to, lanes = (f.load(WORD, f.at(entry, i, "i64")) for i in range(3))
                mask = first_lanes(f, lanes, self.lanes)
                b_byte = f.add(b_at, f.mul(shift, f.number(self.dtype.itemsize)))
                a_byte = f.add(a_at, f.mul(to, f.number(self.dtype.itemsize)))
                row = [self.read(f.at(r, b_byte, "i8"), self.lanes, mask) for r in rights]
                sums = list(loop.values)
                for i, left in enumerate(lefts):
                    factor = self.read(f.at(left, a_byte, "i8"), self.lanes, mask)
                    for j, other in enumerate(row):
                        at = i * self.width + j
                        sums[at] = f.fma(factor, other, sums[at])
                loop.carry = sums
            image.carry = [f.add(a_at, a_step), f.add(b_at, b_step), *loop.values]
        for at, total in enumerate(image.values[2:]):
            i, j = rows[at // self.width], ends[at % self.width]
            place = f.at(result, f.add(f.mul(i, word["n"]), j), self.vector.element)
            f.store(across(f, total), place)

    def _clamped(self, first: Value, step: int, count: Value) -> Value:
        """first + step, at most the last: what is there is computed again."""
        f = self.f
        return least(f, f.add(first, f.number(step)), f.sub(count, f.number(1)))


def across(f: Function, value: Value) -> Value:
    """The sum of all lanes, by halves."""
    lanes = value.kind.lanes
    while lanes > 1:
        half = lanes // 2
        low, high = (f.shuffle(value, value, range(s, s + half)) for s in (0, half))
        value, lanes = f.add(low, high), half
    return f.extract(value, 0)
