"""Products of float16 and bfloat16 on tensor cores, with sums in float32.

A block makes a tile of the result, a warp a part of it from 16 x 8 squares (mma.m16n8k16). Slices
of the operands come into shared memory some turns before they are used: 16 bytes at a time, while
the block computes, where memory allows it, else element by element. An operand lies in shared
memory as it does in memory; ldmatrix turns it where need be. Rows are padded by 16 bytes, so that
the rows of a square lie in different banks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from adjoint.base.dtype import bfloat16
from adjoint.compile import elements
from adjoint.compile.backends.cuda.products import Product, Recipe, Side, Tile, at_most, tile_of
from adjoint.compile.backends.cuda.target import WARP, CudaTarget
from adjoint.compile.backends.cuda.threads import CudaModule, barrier, thread, wide
from adjoint.compile.code import F32, POINTER, Function, Kind, Value

DEPTH = 32  # of a slice
CHUNK = 8  # elements that come in one piece: 16 bytes
PADDING = 16  # bytes behind each row in shared memory
STAGES = 3  # slices in shared memory at a time
SHARED, GLOBAL = Kind("ptr addrspace(3)"), Kind("ptr addrspace(1)")
INT = Kind("i32")


class Shape(NamedTuple):
    """A block has ``down`` times ``across`` warps, a warp ``high`` times ``wide`` squares of 16 x
    16 results."""

    down: int
    across: int
    high: int
    wide: int

    @property
    def rows(self) -> int:
        return self.down * self.high * 16

    @property
    def columns(self) -> int:
        return self.across * self.wide * 16

    @property
    def threads(self) -> int:
        return self.down * self.across * WARP


LARGE, SMALL = Shape(2, 4, 4, 2), Shape(2, 2, 2, 2)


def recipe(product: Product, busy: int) -> Recipe:
    """Large tiles where there are enough of them to keep ``busy`` blocks at work."""
    shape = LARGE if product.tiles(LARGE.rows, LARGE.columns) >= busy else SMALL
    sides = ((product.left, shape.rows), (product.right, shape.columns))
    return Recipe(
        f"{product} {shape}", shape.rows, shape.columns, shape.threads,
        STAGES * sum(_stage_bytes(*side) for side in sides),
        partial(write, product, shape),
    )  # fmt: skip


def write(product: Product, shape: Shape, target: CudaTarget) -> str:
    """The module: ``kernel(a, b, out)``."""
    module = CudaModule(target)
    module.kernel([POINTER] * 3, shape.threads)
    return _Writer(module, product, shape).write()


def _along(side: Side) -> bool:
    """Whether rows in shared memory go along the inner axis."""
    return side.inner == 1 or side.row != 1


def _row_bytes(side: Side, width: int) -> int:
    return 2 * (DEPTH if _along(side) else width) + PADDING


def _stage_bytes(side: Side, width: int) -> int:
    return _row_bytes(side, width) * (width if _along(side) else DEPTH)


class _Operand(NamedTuple):
    """One operand: where its matrix begins, its first row, and its place in shared memory."""

    side: Side
    start: Value
    first: Value
    limit: int  # rows of the matrix
    width: int  # of the tile
    memory: Value  # of the first stage

    @property
    def along(self) -> bool:
        return _along(self.side)

    @property
    def row_bytes(self) -> int:
        return _row_bytes(self.side, self.width)

    @property
    def stage_bytes(self) -> int:
        return _stage_bytes(self.side, self.width)


class _Writer:
    def __init__(self, module: CudaModule, product: Product, shape: Shape) -> None:
        self.f: Function = module.functions["kernel"]
        self.module = module
        self.product = product
        self.shape = shape
        self.here = thread(self.f)
        self.lane = self.rest(self.here, WARP)
        warp = self.quotient(self.here, WARP)
        self.warp_row = self.times(self.quotient(warp, shape.across), shape.high * 16)
        self.warp_column = self.times(self.rest(warp, shape.across), shape.wide * 16)

    def write(self) -> str:
        f, product, shape = self.f, self.product, self.shape
        tile = tile_of(f, product, shape.rows, shape.columns)
        memory = self.module.shared_at_launch("slices")
        left = _Operand(
            product.left, f.at(f.arguments[0], tile.a, "i16"), tile.row, product.m, shape.rows,
            memory,
        )  # fmt: skip
        right = _Operand(
            product.right, f.at(f.arguments[1], tile.b, "i16"), tile.column, product.n,
            shape.columns, f.at(memory, STAGES * left.stage_bytes, "i8"),
        )  # fmt: skip
        slices = -(-product.k // DEPTH)
        for stage in range(STAGES - 1):
            if stage < slices:
                for part in (left, right):
                    self.fetch(part, f.number(stage * DEPTH), f.number(stage))
            f.run("llvm.nvvm.cp.async.commit.group")
        zero = f.number(0, F32)
        sums = [zero] * (shape.high * shape.wide * 8)
        carried = [f.number(0), f.number(STAGES - 1), *sums]
        with f.loop(0, slices, 1, carried) as loop:
            stage, ahead, *sums = loop.values
            f.run("llvm.nvvm.cp.async.wait.group", f.number(STAGES - 2, INT))
            barrier(f)
            coming = f.add(loop.index, f.number(STAGES - 1))
            with f.when(f.compare("slt", coming, f.number(slices))):
                for part in (left, right):
                    self.fetch(part, f.mul(coming, f.number(DEPTH)), ahead)
            f.run("llvm.nvvm.cp.async.commit.group")
            sums = self.multiplied(left, right, stage, sums)
            loop.carry = [self.after(stage), self.after(ahead), *sums]
        f.run("llvm.nvvm.cp.async.wait.group", f.number(0, INT))
        self.store(tile, loop.values[2:])
        f.end()
        return str(self.module)

    def after(self, stage: Value) -> Value:
        """The stage that follows."""
        f = self.f
        last = f.compare("eq", stage, f.number(STAGES - 1))
        return f.select(last, f.number(0), f.add(stage, f.number(1)))

    # --- slices come in -------------------------------------------------------------------------

    def fetch(self, part: _Operand, depth: Value, stage: Value) -> None:
        """Bring the slice from ``depth`` on to ``stage``."""
        f, product = self.f, self.product
        to = f.at(part.memory, f.mul(stage, f.number(part.stage_bytes)), "i8")
        per_row = (DEPTH if part.along else part.width) // CHUNK
        whole = self.is_whole(part)
        for i in range(part.width * DEPTH // CHUNK // self.shape.threads):
            number = f.add(self.here, f.number(i * self.shape.threads, INT))
            line, chunk = self.quotient(number, per_row), self.rest(number, per_row)
            place = f.add(self.times(line, part.row_bytes), self.times(chunk, 2 * CHUNK))
            target = f.at(to, wide(f, place), "i8")
            begin = self.times(chunk, CHUNK)
            row, inner = (line, begin) if part.along else (begin, line)
            row = wide(f, f.add(part.first, row))
            inner = f.add(depth, wide(f, inner))
            if not whole:
                self.one_by_one(part, row, inner, target)
                continue
            fits = f.two(
                "and",
                f.compare("slt", row, f.number(part.limit)),
                f.compare("slt", inner, f.number(product.k)),
            )
            source = f.at(part.start, self.offset(part, row, inner), "i16")
            source = f.select(fits, source, part.start)  # somewhere that is there
            f.run(
                "llvm.nvvm.cp.async.cg.shared.global.16.s",
                f.emit(SHARED, f"addrspacecast {target.typed} to {SHARED.text}"),
                f.emit(GLOBAL, f"addrspacecast {source.typed} to {GLOBAL.text}"),
                f.select(fits, f.number(16, INT), f.number(0, INT)),
            )

    def is_whole(self, part: _Operand) -> bool:
        """Whether every chunk is 16 bytes of memory in one piece, all inside or all outside."""
        side = part.side
        near, far = (side.inner, side.row) if part.along else (side.row, side.inner)
        size = self.product.k if part.along else part.limit
        return near == 1 and size % CHUNK == 0 and all(
            s % CHUNK == 0 for s in (far, side.offset, *side.batch)
        )  # fmt: skip

    def offset(self, part: _Operand, row: Value, inner: Value) -> Value:
        f, side = self.f, part.side
        return f.add(f.mul(row, f.number(side.row)), f.mul(inner, f.number(side.inner)))

    def one_by_one(self, part: _Operand, row: Value, inner: Value, to: Value) -> None:
        """A chunk of elements that each may be outside: 0 behind the end of the inner axis."""
        f, product = self.f, self.product
        values: list[Value] = []
        for i in range(CHUNK):
            step = f.number(i)
            r, k = (row, f.add(inner, step)) if part.along else (f.add(row, step), inner)
            fits = f.compare("slt", k, f.number(product.k))
            place = self.offset(part, at_most(f, r, part.limit - 1), at_most(f, k, product.k - 1))
            value = f.load(Kind("i16"), f.at(part.start, place, "i16"))
            value = f.select(fits, value, f.number(0, value.kind))
            values.append(f.cast("zext", value, "i32"))
        for i in range(0, CHUNK, 2):
            pair = f.two("or", values[i], f.two("shl", values[i + 1], f.number(16, INT)))
            f.store(pair, f.at(to, i, "i16"))

    # --- squares are multiplied -----------------------------------------------------------------

    def multiplied(
        self, left: _Operand, right: _Operand, stage: Value, sums: Sequence[Value]
    ) -> list[Value]:
        """The sums after a slice."""
        f, shape = self.f, self.shape
        found = list(sums)
        places = [
            f.at(part.memory, f.mul(stage, f.number(part.stage_bytes)), "i8")
            for part in (left, right)
        ]
        eighth, quarter = self.rest(self.lane, 8), self.quotient(self.lane, 8)
        low, high = self.times(self.rest(quarter, 2), 8), self.times(self.quotient(quarter, 2), 8)
        # squares of 8 x 8: of a, the lower rows come second; of b, the deeper part
        starts = [
            self.corner(left, places[0], self.warp_row, low, high, eighth),
            self.corner(right, places[1], self.warp_column, high, low, eighth),
        ]
        for deep in range(0, DEPTH, 16):
            rows = [self.fragment(left, starts[0], i * 16, deep) for i in range(shape.high)]
            columns = [self.fragment(right, starts[1], j * 16, deep) for j in range(shape.wide)]
            for i, a in enumerate(rows):
                for j, b in enumerate(columns):
                    for side in range(2):
                        at = 4 * ((i * shape.wide + j) * 2 + side)
                        found[at : at + 4] = self.square(
                            a, b[2 * side : 2 * side + 2], found[at : at + 4]
                        )
        return found

    def corner(
        self, part: _Operand, place: Value, first: Value, row: Value, inner: Value, eighth: Value
    ) -> Value:
        """Where this thread points: a row of one of four squares, in shared memory."""
        f = self.f
        row = f.add(first, row)
        if part.along:
            row = f.add(row, eighth)
            offset = f.add(self.times(row, part.row_bytes), self.times(inner, 2))
        else:
            inner = f.add(inner, eighth)
            offset = f.add(self.times(inner, part.row_bytes), self.times(row, 2))
        return f.at(place, wide(f, offset), "i8")

    def fragment(self, part: _Operand, corner: Value, row: int, inner: int) -> list[Value]:
        """Four squares of an operand, spread over the warp."""
        f = self.f
        step = row * part.row_bytes + 2 * inner if part.along else inner * part.row_bytes + 2 * row
        place = f.at(corner, step, "i8")
        turned = "" if part.along else ".trans"
        return self.several(
            f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4{turned}.b16.p3", INT,
            [f.emit(SHARED, f"addrspacecast {place.typed} to {SHARED.text}")],
        )  # fmt: skip

    def square(self, a: list[Value], b: list[Value], c: list[Value]) -> list[Value]:
        """c + a b, of 16 x 8 results."""
        f = self.f
        if self.product.dtype is bfloat16:
            return self.several("llvm.nvvm.mma.m16n8k16.row.col.bf16", F32, [*a, *b, *c])
        pair = Kind("half", 2)
        halves = [f.emit(pair, f"bitcast {x.typed} to {pair.text}") for x in (*a, *b)]
        return self.several("llvm.nvvm.mma.m16n8k16.row.col.f32.f32", F32, [*halves, *c])

    def several(self, name: str, kind: Kind, arguments: Sequence[Value]) -> list[Value]:
        """The four results of an intrinsic."""
        f = self.f
        together = Kind(f"{{{', '.join([kind.text] * 4)}}}")
        found = f.call(name, together, *arguments)
        return [f.emit(kind, f"extractvalue {found.typed}, {i}") for i in range(4)]

    # --- results --------------------------------------------------------------------------------

    def store(self, tile: Tile, sums: Sequence[Value]) -> None:
        """Round and write: a thread has pairs of neighbours."""
        f, product, shape = self.f, self.product, self.shape
        out = f.at(f.arguments[2], tile.out, "i16")
        row = f.add(f.add(tile.row, self.warp_row), self.quotient(self.lane, 4))
        column = f.add(f.add(tile.column, self.warp_column), self.times(self.rest(self.lane, 4), 2))
        for number in range(shape.high * shape.wide * 4):
            square, below = divmod(number, 2)
            high, across = divmod(square, shape.wide * 2)
            r = f.add(row, f.number(high * 16 + below * 8, INT))
            c = f.add(column, f.number(across * 8, INT))
            first = 4 * square + 2 * below
            pair = [elements.packed(f, value, product.dtype) for value in sums[first : first + 2]]
            place = f.add(f.mul(wide(f, r), f.number(product.n)), wide(f, c))
            self.put(f.at(out, place, "i16"), pair, r, c)

    def put(self, place: Value, pair: list[Value], row: Value, column: Value) -> None:
        """Two neighbours, where they are inside."""
        f, product = self.f, self.product
        fits = f.compare("slt", row, f.number(product.m, INT))
        near = f.two("and", fits, f.compare("slt", column, f.number(product.n, INT)))
        if product.n % 2 == 0:
            low, high = (f.cast("zext", x, "i32") for x in pair)
            word = f.two("or", low, f.two("shl", high, f.number(16, INT)))
            with f.when(near):
                f.store(word, place)
            return
        last = f.compare("slt", column, f.number(product.n - 1, INT))
        with f.when(near):
            f.store(pair[0], place)
        with f.when(f.two("and", fits, last)):
            f.store(pair[1], f.at(place, 1, "i16"))

    # --- small numbers --------------------------------------------------------------------------

    def quotient(self, x: Value, by: int) -> Value:
        return self.f.two("udiv", x, self.f.number(by, INT))

    def rest(self, x: Value, by: int) -> Value:
        return self.f.two("urem", x, self.f.number(by, INT))

    def times(self, x: Value, by: int) -> Value:
        return self.f.mul(x, self.f.number(by, INT))
