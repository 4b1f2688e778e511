"""Small products with one operand transposed, from which attention is put together.

A panel has a column for each of ``width`` queries: whole vectors, ``vectors`` of them. Its rows
are features, or keys. The other operands lie in memory row by row, as they came.

    turn:  panel[c, i] = factor * rows[i, c]
    dots:  panel[j, i] = sum_c rows[j, c] * features[c, i]
    sums:  panel[c, i] = fade[i] * panel[c, i] + sum_j rows[j, c] * weights[j, i]
    outer: target[j, c] += sum_i weights[j, i] * rows[i, c]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.base.dtype import DType
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value
from adjoint.compile.templates.entry import bits, first_lanes

BLOCK = 96  # keys looked at together: their weights stay in the first-level cache


class Tiles:
    """Writes the products for one element type, as functions of a module; each is written when it
    is first called."""

    def __init__(self, module: Module, dtype: DType, few: bool) -> None:
        target: Target = module.target
        self.module = module
        self.dtype = dtype
        self.element = elements.element(dtype)
        self.lanes = target.bits // dtype.bits
        self.vectors = 1 if few else 2
        self.width = self.lanes * self.vectors
        many = target.registers == 32
        self.heights = (12, 4, 1) if many else (6, 2, 1) if target.fma else (5, 2, 1)
        self.block = BLOCK if target.fma else 80
        self.scalar = Kind(self.element)
        self.vector = Kind(self.element, self.lanes)

    def begin(self, name: str, *arguments: Kind) -> Function:
        return self.module.function(name, arguments, inline=True)

    def at(self, f: Function, pointer: Value, index: Value | int) -> Value:
        return f.at(pointer, index, self.element)

    def row(self, f: Function, pointer: Value, row: Value | int, size: int) -> Value:
        """The address of a row of ``size`` elements."""
        if isinstance(row, int):
            return self.at(f, pointer, row * size)
        return self.at(f, pointer, f.mul(row, f.number(size)))

    def load(self, f: Function, pointer: Value, index: Value | int = 0) -> Value:
        return f.load(self.vector, self.at(f, pointer, index))

    def zeros(self, f: Function, count: int) -> list[Value]:
        return [f.number(0, self.vector)] * count

    def in_rows(self, f: Function, count: Value, write: Callable[[Value, int], None]) -> None:
        """``write(first, height)`` for pieces of ``count`` rows, tall ones as long as they fit."""
        start: Value | int = 0
        for height in self.heights:
            left = count if isinstance(start, int) else f.sub(count, start)
            rest = f.two("urem", left, f.number(height))
            stop = f.sub(count, rest)
            with f.loop(start, stop, height) as loop:
                write(loop.index, height)
            start = stop

    # --- turn -----------------------------------------------------------------------------------

    def turn(
        self, f: Function, dtype: DType, source: Value, stride: Value | int, rows: Value,
        columns: Value | int, to: Value, pitch: int, factor: Value,
    ) -> None:  # fmt: skip
        """Squares of ``rows`` by ``columns`` elements of ``dtype`` transposed, times ``factor``.
        What lies beyond is filled with something, up to whole squares."""
        is_whole = isinstance(columns, int) and columns % self.lanes == 0
        name = f"turn_{dtype.name}{'_whole' if is_whole else ''}"
        if name not in self.module.functions:
            self.write_turn(name, dtype, is_whole)
        words = [f.number(x) if isinstance(x, int) else x for x in (stride, rows, columns, pitch)]
        f.run(name, source, to, *words, factor)

    def write_turn(self, name: str, dtype: DType, is_whole: bool) -> None:
        f = self.begin(name, POINTER, POINTER, WORD, WORD, WORD, WORD, self.scalar)
        source, to, stride, rows, columns, pitch, factor = f.arguments
        lanes, unit = self.lanes, elements.stored(dtype)
        many = f.splat(factor, lanes)
        last = f.sub(rows, f.number(1))
        with f.loop(0, rows, lanes) as down:
            starts: list[Value] = []
            for i in range(lanes):
                row = f.add(down.index, f.number(i))
                row = f.call("llvm.smin.i64", WORD, row, last)
                starts.append(f.at(source, f.mul(row, stride), unit))
            target = self.at(f, to, down.index)

            def square(column: Value, mask: Value | None) -> None:
                lines: list[Value] = []
                for start in starts:
                    value = elements.load(f, dtype, f.at(start, column, unit), lanes, mask)
                    if value.kind.element == "i1":
                        value = f.cast("uitofp", value, self.element)
                    lines.append(f.mul(value, many))
                place = self.at(f, target, f.mul(column, pitch))
                for line in turned(f, lines):
                    f.store(line, place)
                    place = self.at(f, place, pitch)

            whole = columns if is_whole else f.two("and", columns, f.number(-lanes))
            with f.loop(0, whole, lanes) as across:
                square(across.index, None)
            if not is_whole:
                rest = f.sub(columns, whole)
                with f.when(f.compare("ne", rest, f.number(0))):
                    square(whole, first_lanes(f, rest, lanes))
        f.end()

    # --- dots -----------------------------------------------------------------------------------

    def dots(
        self, f: Function, features: Value, rows: Value, to: Value, size: int, count: Value
    ) -> None:
        """Products of ``count`` rows of ``size`` with the features of each query."""

        def piece(first: Value, height: int) -> None:
            name = f"dots_{size}_{height}"
            if name not in self.module.functions:
                self.write_dots(name, size, height)
            place = self.row(f, rows, first, size)
            f.run(name, features, place, self.row(f, to, first, self.width))

        self.in_rows(f, count, piece)

    def write_dots(self, name: str, size: int, height: int) -> None:
        f = self.begin(name, POINTER, POINTER, POINTER)
        features, rows, to = f.arguments
        many = self.vectors
        start = self.zeros(f, height * many)
        with f.loop(0, size, 1, [features, rows, *start]) as loop:
            here, row, *totals = loop.values
            column = [self.load(f, here, v * self.lanes) for v in range(many)]
            for i in range(height):
                scalar = f.load(self.scalar, self.at(f, row, i * size))
                factor = f.splat(scalar, self.lanes)
                for v in range(many):
                    at = i * many + v
                    totals[at] = f.fma(factor, column[v], totals[at])
            loop.carry = [self.at(f, here, self.width), self.at(f, row, 1), *totals]
        for i, total in enumerate(loop.values[2:]):
            f.store(total, self.at(f, to, i * self.lanes))
        f.end()

    # --- sums -----------------------------------------------------------------------------------

    def sums(
        self, f: Function, weights: Value, rows: Value, to: Value, size: int, count: Value,
        fade: Value | None = None,
    ) -> None:  # fmt: skip
        """``count`` rows of ``size``, weighted for each query, added to ``to``, which is first
        multiplied by ``fade``."""
        first = 0
        for height in even_parts(size, self.heights[0]):
            name = f"{'faded_' if fade else ''}sums_{size}_{height}"
            if name not in self.module.functions:
                self.write_sums(name, size, height, fade is not None)
            place = self.row(f, to, first, self.width)
            rest = [fade] if fade else []
            f.run(name, weights, self.at(f, rows, first), place, count, *rest)
            first += height

    def write_sums(self, name: str, size: int, height: int, fades: bool) -> None:
        f = self.begin(name, POINTER, POINTER, POINTER, WORD, *([POINTER] if fades else []))
        weights, rows, to, count, *fade = f.arguments
        many = self.vectors
        start = [self.load(f, to, i * self.lanes) for i in range(height * many)]
        for pointer in fade:
            factors = [self.load(f, pointer, v * self.lanes) for v in range(many)]
            start = [f.mul(x, factors[i % many]) for i, x in enumerate(start)]
        with f.loop(0, count, 1, [weights, rows, *start]) as loop:
            here, row, *totals = loop.values
            weight = [self.load(f, here, v * self.lanes) for v in range(many)]
            for i in range(height):
                factor = f.splat(f.load(self.scalar, self.at(f, row, i)), self.lanes)
                for v in range(many):
                    at = i * many + v
                    totals[at] = f.fma(factor, weight[v], totals[at])
            loop.carry = [self.at(f, here, self.width), self.at(f, row, size), *totals]
        for i, total in enumerate(loop.values[2:]):
            f.store(total, self.at(f, to, i * self.lanes))
        f.end()

    # --- outer ----------------------------------------------------------------------------------

    def outer(
        self, f: Function, weights: Value, rows: Value, target: Value, size: int, count: Value,
        queries: Value,
    ) -> None:  # fmt: skip
        """``queries`` rows of ``size``, weighted for each of ``count`` keys, added to the keys'
        rows of ``target``."""

        def piece(first: Value, height: int) -> None:
            here = self.row(f, weights, first, self.width)
            place = self.row(f, target, first, size)
            for column, flags in self.columns(size):
                name = f"outer_{size}_{height}_{sum(flags)}"
                if name not in self.module.functions:
                    self.write_outer(name, size, height, flags)
                f.run(name, here, self.at(f, rows, column), self.at(f, place, column), queries)

        self.in_rows(f, count, piece)

    def columns(self, size: int) -> list[tuple[int, list[bool]]]:
        """Pieces of a row: two vectors each, as long as there are so many; the lanes that exist."""
        found: list[tuple[int, list[bool]]] = []
        first = 0
        while first < size:
            many = 2 if size - first > self.lanes else 1
            found.append((first, [first + i < size for i in range(many * self.lanes)]))
            first += many * self.lanes
        return found

    def write_outer(self, name: str, size: int, height: int, flags: Sequence[bool]) -> None:
        f = self.begin(name, POINTER, POINTER, POINTER, WORD)
        weights, rows, target, queries = f.arguments
        lanes = self.lanes
        parts = [
            (v * lanes, flags[v * lanes : (v + 1) * lanes]) for v in range(len(flags) // lanes)
        ]
        start = [
            self.load_some(f, self.at(f, target, i * size + first), some)
            for i in range(height)
            for first, some in parts
        ]
        with f.loop(0, queries, 1, [weights, rows, *start]) as loop:
            here, row, *totals = loop.values
            line = [self.load_some(f, self.at(f, row, first), some) for first, some in parts]
            for i in range(height):
                scalar = f.load(self.scalar, self.at(f, here, i * self.width))
                factor = f.splat(scalar, lanes)
                for v, other in enumerate(line):
                    at = i * len(parts) + v
                    totals[at] = f.fma(factor, other, totals[at])
            loop.carry = [self.at(f, here, 1), self.at(f, row, size), *totals]
        for number, total in enumerate(loop.values[2:]):
            i, v = divmod(number, len(parts))
            first, some = parts[v]
            place = self.at(f, target, i * size + first)
            if all(some):
                f.store(total, place)
            else:
                f.store_masked(total, place, bits(f, some))
        f.end()

    def load_some(self, f: Function, pointer: Value, flags: Sequence[bool]) -> Value:
        if all(flags):
            return f.load(self.vector, pointer)
        return f.load_masked(self.vector, pointer, bits(f, flags))


def even_parts(size: int, most: int) -> list[int]:
    """``size`` in parts of nearly equal size, at most ``most``."""
    count = -(-size // most)
    return [size // count + (i < size % count) for i in range(count)]


def turned(f: Function, lines: list[Value]) -> list[Value]:
    """The transpose of a square of vectors: log2(lanes) rounds of interleaving halves."""
    lanes = len(lines)
    half = lanes // 2
    low = [i // 2 + (i % 2) * lanes for i in range(lanes)]
    high = [place + half for place in low]
    for _ in range(lanes.bit_length() - 1):
        pairs = [(lines[i], lines[i + half]) for i in range(half)]
        lines = [f.shuffle(a, b, order) for a, b in pairs for order in (low, high)]
    return lines
