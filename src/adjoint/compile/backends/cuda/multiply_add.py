"""Products in plain multiply-adds: of float32 and float64, whose results tensor cores would round.

A block makes a tile of the result; slices of both operands wait in shared memory, the next slice in
registers while one is used. Source of the scheme: V. Volkov and J. Demmel, "Benchmarking GPUs to
tune dense linear algebra", 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from adjoint.base.dtype import DType
from adjoint.compile import elements
from adjoint.compile.backends.cuda.products import Product, Recipe, Side, Tile, at_most, tile_of
from adjoint.compile.backends.cuda.target import CudaTarget
from adjoint.compile.backends.cuda.threads import CudaModule, barrier, thread, wide
from adjoint.compile.code import POINTER, Kind, Value

SIDE = 16  # threads along each side of a tile
DEPTH = 8  # of a slice


class Shape(NamedTuple):
    """A thread has ``high`` times ``wide`` squares of as many elements as 16 bytes hold."""

    high: int
    wide: int
    size: int

    @property
    def rows(self) -> int:
        return SIDE * self.high * 16 // self.size

    @property
    def columns(self) -> int:
        return SIDE * self.wide * 16 // self.size

    @property
    def threads(self) -> int:
        return SIDE * SIDE


def recipe(product: Product, busy: int) -> Recipe:
    """Large tiles where there are enough of them to keep ``busy`` blocks at work."""
    shape = Shape(2, 2, product.dtype.itemsize)
    if product.tiles(shape.rows, shape.columns) < busy:
        shape = Shape(1, 1, product.dtype.itemsize)
    return Recipe(
        f"{product} {shape}", shape.rows, shape.columns, shape.threads, 0,
        partial(write, product, shape),
    )  # fmt: skip


def write(product: Product, shape: Shape, target: CudaTarget) -> str:
    """The module: ``kernel(a, b, out)``."""
    module = CudaModule(target)
    module.kernel([POINTER] * 3, shape.threads)
    return _Writer(module, product, shape).write()


class _Slice(NamedTuple):
    """One operand: its tile in shared memory, twice, and what this thread brings there."""

    side: Side
    start: Value
    limit: int  # rows of the operand
    width: int  # of the tile
    memory: Value


class _Writer:
    def __init__(self, module: CudaModule, product: Product, shape: Shape) -> None:
        self.f = module.functions["kernel"]
        self.module = module
        self.product = product
        self.shape = shape
        self.dtype: DType = product.dtype
        self.element = elements.element(product.dtype)
        self.each = 16 // product.dtype.itemsize
        self.here = thread(self.f)

    def write(self) -> str:
        f, product, shape = self.f, self.product, self.shape
        tile = tile_of(f, product, shape.rows, shape.columns)
        a, b, _ = f.arguments
        size = 2 * DEPTH * product.dtype.itemsize
        left = _Slice(
            product.left, f.at(a, tile.a, self.element), product.m, shape.rows,
            self.module.shared("left", size * shape.rows),
        )  # fmt: skip
        right = _Slice(
            product.right, f.at(b, tile.b, self.element), product.n, shape.columns,
            self.module.shared("right", size * shape.columns),
        )  # fmt: skip
        firsts = (tile.row, tile.column)
        slices = tuple(zip((left, right), firsts, strict=True))
        for part, first in slices:
            self.put(part, self.get(part, first, f.number(0)), f.number(0))
        barrier(f)
        zero = f.number(0, Kind(self.element))
        count = shape.high * shape.wide * self.each**2
        with f.loop(0, product.k, DEPTH, [f.number(0), *[zero] * count]) as loop:
            stage, *sums = loop.values
            coming = f.add(loop.index, f.number(DEPTH))
            fetched = [self.get(part, first, coming) for part, first in slices]
            sums = self.multiplied(left, right, stage, sums)
            other = f.sub(f.number(1), stage)
            for (part, _), values in zip(slices, fetched, strict=True):
                self.put(part, values, other)
            barrier(f)
            loop.carry = [other, *sums]
        self.store(tile, loop.values[1:])
        f.end()
        return str(self.module)

    # --- operands -------------------------------------------------------------------------------

    def places(self, part: _Slice) -> list[tuple[Value, Value]]:
        """Row and depth of what this thread brings: neighbours where memory has neighbours."""
        f = self.f
        found: list[tuple[Value, Value]] = []
        for i in range(part.width * DEPTH // self.shape.threads):
            index = f.add(self.here, f.number(i * self.shape.threads, self.here.kind))
            by = DEPTH if part.side.inner == 1 else part.width
            size = f.number(by, index.kind)
            pair = f.two("udiv", index, size), f.two("urem", index, size)
            found.append(pair if part.side.inner == 1 else (pair[1], pair[0]))
        return found

    def get(self, part: _Slice, first: Value, depth: Value) -> list[Value]:
        """The elements of the slice from ``depth`` on that this thread brings, 0 beyond the end."""
        f, product = self.f, self.product
        found: list[Value] = []
        for row, inner in self.places(part):
            row = wide(f, at_most(f, f.add(first, row), part.limit - 1))
            inner = f.add(depth, wide(f, inner))
            fits = f.compare("slt", inner, f.number(product.k))
            place = f.mul(at_most(f, inner, product.k - 1), f.number(part.side.inner))
            place = f.add(f.mul(row, f.number(part.side.row)), place)
            value = f.load(Kind(self.element), f.at(part.start, place, self.element))
            found.append(f.select(fits, value, f.number(0, value.kind)))
        return found

    def put(self, part: _Slice, values: Sequence[Value], stage: Value) -> None:
        f = self.f
        start = f.mul(stage, f.number(DEPTH * part.width))
        for (row, inner), value in zip(self.places(part), values, strict=True):
            place = f.add(f.mul(inner, f.number(part.width, inner.kind)), row)
            f.store(value, f.at(part.memory, f.add(start, wide(f, place)), self.element))

    # --- results --------------------------------------------------------------------------------

    def square(self, axis: int, part: int) -> Value:
        """The first of this thread's rows (axis 0) or columns (1) in its square ``part``."""
        f, kind = self.f, self.here.kind
        how = "udiv" if axis == 0 else "urem"
        place = f.mul(f.two(how, self.here, f.number(SIDE, kind)), f.number(self.each, kind))
        return f.add(place, f.number(part * SIDE * self.each, kind))

    def multiplied(
        self, left: _Slice, right: _Slice, stage: Value, sums: Sequence[Value]
    ) -> list[Value]:
        """The sums after a slice."""
        f, shape = self.f, self.shape
        kind = Kind(self.element, self.each)
        starts: list[list[Value]] = []
        for axis, (part, squares) in enumerate(((left, shape.high), (right, shape.wide))):
            start = f.at(part.memory, f.mul(stage, f.number(DEPTH * part.width)), self.element)
            starts.append(
                [f.at(start, wide(f, self.square(axis, i)), self.element) for i in range(squares)]
            )
        found = list(sums)
        for k in range(DEPTH):
            rows, columns = (
                [
                    f.extract(vector, lane)
                    for start in begin
                    for vector in [f.load(kind, f.at(start, k * part.width, self.element), 16)]
                    for lane in range(self.each)
                ]
                for part, begin in zip((left, right), starts, strict=True)
            )
            for i, x in enumerate(rows):
                for j, y in enumerate(columns):
                    at = i * len(columns) + j
                    found[at] = f.fma(x, y, found[at])
        return found

    def store(self, tile: Tile, sums: Sequence[Value]) -> None:
        f, product, shape = self.f, self.product, self.shape
        out = f.at(f.arguments[2], tile.out, self.element)
        lanes = range(self.each)
        rows, columns = (
            [
                f.add(f.add(first, self.square(axis, part)), f.number(i, first.kind))
                for part in range(squares)
                for i in lanes
            ]
            for axis, (first, squares) in enumerate(
                ((tile.row, shape.high), (tile.column, shape.wide))
            )
        )
        exact = product.m % shape.rows == 0 and product.n % shape.columns == 0
        for i, row in enumerate(rows):
            begin = f.at(out, f.mul(wide(f, row), f.number(product.n)), self.element)
            for j, column in enumerate(columns):
                place = f.at(begin, wide(f, column), self.element)
                value = sums[i * len(columns) + j]
                if exact:
                    f.store(value, place)
                    continue
                inside = f.two(
                    "and",
                    f.compare("slt", row, f.number(product.m, row.kind)),
                    f.compare("slt", column, f.number(product.n, column.kind)),
                )
                with f.when(inside):
                    f.store(value, place)
