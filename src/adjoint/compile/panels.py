"""Packing: operands of a product copied into panels, in the order in which they are read.

A panel holds ``width`` lines (rows of a, columns of b) side by side, step after step of k. It is
made of the wide type: 16-bit floats become float32 here. Where there are fewer lines than the
width, the other places hold anything: what is computed from them is never stored.

Three ways, by how the lines lie in memory: side by side (whole rows of the panel are copied), each
in one piece (squares are turned in registers), or neither (element by element).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from adjoint.base.dtype import DType, float32
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value

AHEAD = 12  # rows that are asked for in advance
RUNS = 4  # pieces of which a vector is put together at most


def least(f: Function, a: Value, b: Value) -> Value:
    """The smaller of two integers."""
    return f.select(f.compare("slt", a, b), a, b)


def up(f: Function, a: Value, b: Value) -> Value:
    """a / b rounded up, of positive numbers."""
    return f.two("udiv", f.add(a, f.sub(b, f.number(1))), b)


def prefetch(f: Function, place: Value, write: int) -> None:
    """Bring a line into the cache; nothing happens where there is no memory."""
    keep, data = 3, 1
    numbers = [Value(str(x), Kind("i32")) for x in (write, keep, data)]
    f.run("llvm.prefetch.p0", place, *numbers)


def first_lanes(f: Function, count: Value, lanes: int) -> Value:
    """The mask of the lanes below ``count``."""
    kind = Kind("i32", lanes)
    return f.compare("slt", f.lanes(kind), f.splat(f.cast("trunc", count, "i32"), lanes))


class Panels:
    """Writes the packing functions of a module. dtype: that of the operands in memory; ``wide``:
    that of panels and sums."""

    def __init__(self, target: Target, dtype: DType) -> None:
        self.target = target
        self.dtype = dtype
        self.wide = float32 if dtype.bits == 16 else dtype
        self.element = elements.element(self.wide)
        self.size = self.wide.itemsize
        self.lanes = target.bits // self.wide.bits
        self.vector = Kind(self.element, self.lanes)
        self.masks = target.bits == 512  # elsewhere they cost more than they spare
        self.module = Module(target)

    def function(self, name: str, pointers: int, words: int) -> Function:
        return self.module.function(name, [POINTER] * pointers + [WORD] * words)

    def of(self, f: Function, operand: Value, index: Value | int) -> Value:
        """The address of an element of an operand."""
        return f.at(operand, index, elements.stored(self.dtype))

    def to(self, f: Function, panel: Value, index: Value | int) -> Value:
        """The address of an element of a panel."""
        return f.at(panel, index, self.element)

    def load(self, f: Function, place: Value, lanes: int, mask: Value | None = None) -> Value:
        return elements.load(f, self.dtype, place, lanes, mask)

    @contextmanager
    def either(self, f: Function, condition: Value) -> Generator[None]:
        """The block if ``condition`` holds; the function ends after it."""
        with f.when(condition):
            yield
            f.end()
            f.begin(f.label("never"))

    # --- lines with a stride ------------------------------------------------------------------

    def write_pack(self, width: int) -> None:
        """pack(source, panel, count, k, across, along): ``count`` lines, ``across`` apart, of
        ``k`` elements, ``along`` apart."""
        f = self.function(f"pack_{width}", 2, 4)
        _, _, count, k, across, along = f.arguments
        places = self.array(f)
        with self.either(f, f.compare("eq", across, f.number(1))):
            full = f.compare("eq", count, f.number(width))
            with f.when(full):
                self._rows(f, width)
            with f.when(f.compare("slt", count, f.number(width))):
                self._narrow_rows(f, width)
        whole = f.two("and", k, f.number(-self.lanes))
        whole = f.select(f.compare("eq", along, f.number(1)), whole, f.number(0))
        self._transposed(f, width, whole, places)
        self._rest(f, width, whole)
        f.end()

    def _rows(self, f: Function, width: int) -> None:
        """The lines lie side by side: whole rows are copied."""
        source, panel, _, k, _, along = f.arguments
        step = f.mul(along, f.number(self.dtype.itemsize))
        far = f.mul(step, f.number(AHEAD))
        with f.loop(0, k, 1, [source, panel]) as loop:
            start, to = loop.values
            # rows may be pages apart, where the processor does not look ahead by itself
            later = f.at(start, far, "i8")
            for first in range(0, width * self.dtype.itemsize, 64):
                prefetch(f, f.at(later, first, "i8"), 0)
            f.store(self.load(f, start, width), to)
            loop.carry = [f.at(start, step, "i8"), self.to(f, to, width)]

    def _narrow_rows(self, f: Function, width: int) -> None:
        """The same for less than a panel."""
        source, panel, count, k, _, along = f.arguments
        if self.masks:
            parts = range(0, width, self.lanes)
            sizes = [min(self.lanes, width - p) for p in parts]
            masks = [
                first_lanes(f, f.sub(count, f.number(p)), n)
                for p, n in zip(parts, sizes, strict=True)
            ]
            with f.loop(0, k) as loop:
                start = self.of(f, source, f.mul(loop.index, along))
                to = self.to(f, panel, f.mul(loop.index, f.number(width)))
                for p, n, mask in zip(parts, sizes, masks, strict=True):
                    f.store(self.load(f, self.of(f, start, p), n, mask), self.to(f, to, p))
            return
        whole = f.two("and", count, f.number(-self.lanes))
        with f.loop(0, k) as loop:
            start = self.of(f, source, f.mul(loop.index, along))
            to = self.to(f, panel, f.mul(loop.index, f.number(width)))
            with f.loop(0, whole, self.lanes) as j:
                value = self.load(f, self.of(f, start, j.index), self.lanes)
                f.store(value, self.to(f, to, j.index))
            with f.loop(whole, count) as j:
                f.store(self.load(f, self.of(f, start, j.index), 0), self.to(f, to, j.index))

    def array(self, f: Function) -> Value:
        """Room for the addresses of the lines of a square."""
        return f.emit(POINTER, f"alloca [{self.lanes} x ptr], align 64")

    def _transposed(self, f: Function, width: int, whole: Value, places: Value) -> None:
        """Each line is contiguous: squares are turned."""
        source, panel, count, _, across, _ = f.arguments
        last = f.sub(count, f.number(1))
        for first in range(0, width, self.lanes):
            for i in range(self.lanes):
                start = self.of(f, source, f.mul(least(f, f.number(first + i), last), across))
                f.store(start, f.at(places, i, "ptr"))
            wanted = min(self.lanes, width - first)
            self.turn(f, places, self.to(f, panel, first), wanted, whole, f.number(0), width)

    def turn(
        self, f: Function, places: Value, panel: Value, count: int, k: Value, shift: Value,
        step: int,
    ) -> None:  # fmt: skip
        """``k`` elements of the lines that begin ``shift`` after ``places``, turned into rows of
        ``count`` elements, ``step`` apart."""
        name = "turn" if self.masks else f"turn_{count}"
        if name not in self.module.functions:
            self._write_turn(name, count)
        f.run(name, places, panel, f.number(count), k, shift, f.number(step))

    def _write_turn(self, name: str, width: int) -> None:
        f = self.function(name, 2, 4)
        places, panel, count, k, shift, step = f.arguments
        mask = first_lanes(f, count, self.lanes) if self.masks else None
        step = f.mul(step, f.number(self.size))
        with f.loop(0, k, self.lanes) as loop:
            at = f.add(loop.index, shift)
            lines: list[Value] = []
            for i in range(self.lanes):
                start = f.load(POINTER, f.at(places, i, "ptr"))
                lines.append(self.load(f, self.of(f, start, at), self.lanes))
            to = f.at(panel, f.mul(loop.index, step), "i8")
            for line in turned(f, lines):
                if mask is not None:
                    f.store_masked(line, to, mask)
                else:
                    self._put(f, line, to, width)
                to = f.at(to, step, "i8")
        f.end()

    def _put(self, f: Function, line: Value, to: Value, count: int) -> None:
        """The first ``count`` lanes: 5 of 8 as 4 and 1, as LLVM takes long over odd widths."""
        at = 0
        while at < count:
            part = min(self.lanes, 1 << (count - at).bit_length() - 1)
            piece = f.shuffle(line, line, range(at, at + part)) if count < self.lanes else line
            f.store(piece, self.to(f, to, at))
            at += part

    def _rest(self, f: Function, width: int, done: Value) -> None:
        """Element by element, from ``done`` on."""
        source, panel, count, k, across, along = f.arguments
        last = f.sub(count, f.number(1))
        with f.loop(done, k) as loop:
            start = self.of(f, source, f.mul(loop.index, along))
            to = self.to(f, panel, f.mul(loop.index, f.number(width)))
            with f.loop(0, width) as j:
                at = f.mul(least(f, j.index, last), across)
                f.store(self.load(f, self.of(f, start, at), 0), self.to(f, to, j.index))

    def write_gather(self, width: int) -> None:
        """gather(source, panel, table, deep, count, k, across, along, run, jump): steps ``deep``
        to ``deep + k`` of lines in pieces of ``run`` elements, ``jump`` apart; with run 0, step i
        is at ``table[i]``."""
        f = self.function(f"gather_{width}", 3, 7)
        source, panel, table, deep, count, k, across, along, run, jump = f.arguments
        with self.either(f, f.compare("eq", run, f.number(0))):
            last = f.sub(count, f.number(1))
            with f.loop(0, k) as loop:
                shift = f.load(WORD, f.at(table, f.add(deep, loop.index), "i64"))
                start = self.of(f, source, shift)
                to = self.to(f, panel, f.mul(loop.index, f.number(width)))
                with f.loop(0, width) as j:
                    at = f.mul(least(f, j.index, last), across)
                    f.store(self.load(f, self.of(f, start, at), 0), self.to(f, to, j.index))
        stop = f.add(deep, k)
        first = f.two("udiv", deep, run)
        with f.loop(first, up(f, stop, run)) as loop:
            begin = f.mul(loop.index, run)
            low = f.select(f.compare("slt", begin, deep), deep, begin)
            high = least(f, f.add(begin, run), stop)
            shift = f.add(f.mul(loop.index, jump), f.mul(f.sub(low, begin), along))
            to = self.to(f, panel, f.mul(f.sub(low, deep), f.number(width)))
            f.run(f"pack_{width}", self.of(f, source, shift), to, count, f.sub(high, low),
                  across, along)  # fmt: skip
        f.end()

    # --- columns read through two tables ------------------------------------------------------

    def write_window(self, width: int) -> None:
        """window(x, panel, rows, row_runs, columns, column_runs, count, k): element (k, j) is
        ``x[rows[k] + columns[j]]``; at most ``lanes`` columns of a panel of ``width``.

        runs: how many neighbours follow from each place on.
        """
        f = self.function(f"window_{width}", 6, 2)
        count, lanes = f.arguments[6], f.number(self.lanes)
        places = self.array(f)
        run = f.load(WORD, f.arguments[5])
        with self.either(f, f.compare("sge", least(f, run, count), lanes)):
            self._window_rows(f, width)
        if self.masks:
            self._window_pieces(f, width, run)
        self._window_squares(f, width, places)
        f.end()

    def _window_rows(self, f: Function, width: int) -> None:
        """Each row of the panel lies in x as one piece."""
        x, panel, rows, _, columns, _, _, k = f.arguments
        start = self.of(f, x, f.load(WORD, columns))
        with f.loop(0, k) as loop:
            shift = f.load(WORD, f.at(rows, loop.index, "i64"))
            value = self.load(f, self.of(f, start, shift), self.lanes)
            f.store(value, self.to(f, panel, f.mul(loop.index, f.number(width))))

    def _window_pieces(self, f: Function, width: int, run: Value) -> None:
        """Each row of the panel is put together of a few pieces, the others masked out."""
        x, panel, rows, row_runs, columns, column_runs, count, k = f.arguments
        last = f.sub(count, f.number(1))
        starts: list[Value] = []
        masks: list[Value] = []
        place, below = f.number(0), None
        for i in range(RUNS):
            index = least(f, place, last)
            if i:
                run = f.load(WORD, f.at(column_runs, index, "i64"))
            shift = f.load(WORD, f.at(columns, index, "i64"))
            starts.append(self.of(f, x, f.sub(shift, place)))
            place = least(f, f.add(place, run), count)
            reach = first_lanes(f, place, self.lanes)
            masks.append(reach if below is None else f.two("xor", reach, below))
            below = reach
            if i % 2:
                covered = f.compare("sge", place, count)
                if i == 1:  # long pieces along k are turned faster than put together from many
                    pass
                else:
                    short = f.compare("slt", f.load(WORD, row_runs), f.number(self.lanes))
                    covered = f.two("and", covered, short)
                with self.either(f, covered), f.loop(0, k) as loop:
                    at = f.load(WORD, f.at(rows, loop.index, "i64"))
                    total: Value | None = None
                    for start, mask in zip(starts, masks, strict=True):
                        part = self.load(f, self.of(f, start, at), self.lanes, mask)
                        total = part if total is None else f.select(mask, part, total)
                    assert total is not None
                    f.store(total, self.to(f, panel, f.mul(loop.index, f.number(width))))

    def _window_squares(self, f: Function, width: int, places: Value) -> None:
        """``lanes`` rows at a time: turned where each column is one piece, else by element."""
        x, panel, rows, row_runs, columns, _, count, k = f.arguments
        last = f.sub(count, f.number(1))
        for i in range(self.lanes):
            shift = f.load(WORD, f.at(columns, least(f, f.number(i), last), "i64"))
            f.store(self.of(f, x, shift), f.at(places, i, "ptr"))
        with f.loop(0, k, self.lanes) as loop:
            at = loop.index
            left = least(f, f.number(self.lanes), f.sub(k, at))
            run = f.load(WORD, f.at(row_runs, at, "i64"))
            is_short = f.compare("slt", least(f, run, left), f.number(self.lanes))
            with f.when(is_short), f.loop(0, left) as i:
                here = f.add(at, i.index)
                start = self.of(f, x, f.load(WORD, f.at(rows, here, "i64")))
                to = self.to(f, panel, f.mul(here, f.number(width)))
                with f.loop(0, count) as j:
                    shift = f.load(WORD, f.at(columns, j.index, "i64"))
                    f.store(self.load(f, self.of(f, start, shift), 0), self.to(f, to, j.index))
            is_long = f.two("xor", is_short, f.number(1, is_short.kind))
            with f.when(is_long):
                shift = f.load(WORD, f.at(rows, at, "i64"))
                to = self.to(f, panel, f.mul(at, f.number(width)))
                self.turn(f, places, to, self.lanes, f.number(self.lanes), shift, width)


def turned(f: Function, lines: Sequence[Value]) -> list[Value]:
    """The transpose of a square of vectors: log2(lanes) rounds of interleaving halves."""
    lanes = len(lines)
    half = lanes // 2
    low = [i // 2 + (i % 2) * lanes for i in range(lanes)]
    high = [place + half for place in low]
    found = list(lines)
    for _ in range(lanes.bit_length() - 1):
        pairs = [(found[i], found[i + half]) for i in range(half)]
        found = [f.shuffle(a, b, order) for a, b in pairs for order in (low, high)]
    return found
