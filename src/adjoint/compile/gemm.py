"""The packed matrix product, written for one element type and one CPU.

    c[i, j] = sum_k a[i, k] * b[k, j]

Goto's scheme (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, 2008).
``depth`` rows of b and columns of a are worked off at a time. They are copied into panels as wide
as a tile, in the order in which the innermost loop reads them; copying reads through strides, so
a transposed or sliced operand costs nothing more. The micro-kernel holds a tile of c in vector
registers and adds one outer product per step of k.

Every element of c is the sum of its blocks of ``depth`` products, each block summed in the order
of k; neither tiles nor threads change that, so neither changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.backends.llvm import Writer, ir

RECORD = (  # what the entry reads, 64 bits each; strides in elements
    "a", "b", "c", "m", "n", "k", "a_row", "a_column", "b_row", "b_column", "c_row", "c_column",
    "a_batch", "b_batch", "c_batch", "rows", "columns", "grid_columns", "grid", "jobs", "depth",
    "height", "scratch", "scratch_size", "counter",
)  # fmt: skip
RECORD_FORMAT = f"{len(RECORD)}q"
AHEAD = 12  # rows that are asked for in advance
SLACK = 64  # elements behind the panels that whole vectors may touch


@dataclass(frozen=True)
class Tile:
    """The micro-kernel's shape: ``rows`` by ``vectors`` of ``lanes`` elements of ``bits``.

    ``few``: the height of the micro-kernel for rows that are left over.
    """

    bits: int
    lanes: int
    rows: int
    few: int
    vectors: int

    @property
    def columns(self) -> int:
        return self.lanes * self.vectors

    @property
    def nbytes(self) -> int:
        return self.bits // 8


def tile_for(target: Target, bits: int) -> Tile:
    """The tile that fills the registers: accumulators, a row of b and one element of a."""
    lanes = target.bits // bits
    match target.bits, target.registers:
        case 512, _:
            return Tile(bits, lanes, 12, 4, 2)
        case 256, _:
            return Tile(bits, lanes, 6, 3, 2)
        case _, 32:
            return Tile(bits, lanes, 8, 4, 3)
        case _:  # without an fma, the product needs a register as well
            return Tile(bits, lanes, 5, 3, 2)


def scratch_size(tile: Tile, columns: int, depth: int, height: int) -> int:
    """Elements of scratch memory that one thread needs, in whole pages."""
    panels = -(-columns // tile.columns) * tile.columns + -(-height // tile.rows) * tile.rows
    page = 4096 // tile.nbytes
    return -(-(tile.rows * tile.columns + panels * depth + SLACK) // page) * page


def module_text(target: Target, bits: int, kind: type[Template] | None = None) -> str:
    """LLVM IR with the function ``gemm(record, thread)``.

    It takes jobs, blocks of c of ``rows`` by ``columns``, from the record's counter until none is
    left. Any number of threads may call it with the same record; thread i packs into the i-th
    piece of the scratch memory.
    """
    lib = ir()
    module = lib.Module(f"gemm_f{bits}", context=lib.Context())
    module.triple = target.triple
    (kind or Template)(module, target, tile_for(target, bits)).write()
    return str(module)


class Template:
    """Writes the functions of one module."""

    def __init__(self, module: Any, target: Target, tile: Tile) -> None:
        lib = ir()
        self.module = module
        self.target = target
        self.tile = tile
        self.element = lib.FloatType() if tile.bits == 32 else lib.DoubleType()
        self.word = lib.IntType(64)
        self.pointer = lib.PointerType()

    def write(self) -> None:
        tile = self.tile
        self.turn = self.write_turn()
        self.pack_a = self.pack("pack_a", tile.rows)
        self.pack_b = self.write_pack_b()
        self.kernels = {
            (rows, vectors): self.micro(f"micro_{rows}_{vectors}", rows, vectors)
            for rows in (tile.rows, tile.few)
            for vectors in (tile.vectors, 1)
        }
        self.copy = self.copy_out()
        self.strip = self.write_strip()
        self.block = self.write_block()
        self.entry()

    def begin(self, name: str, pointers: int, words: int) -> Writer:
        kinds = [self.pointer] * pointers + [self.word] * words
        w = Writer(self.module, name, kinds)
        if name != "gemm":
            w.function.linkage = "internal"
        return w

    def multiply_add(self, w: Writer, a: Any, b: Any, c: Any) -> Any:
        """a * b + c on vectors, rounded once where the CPU can."""
        if not self.target.fma:
            return w.b.fadd(w.b.fmul(a, b), c)
        name = f"llvm.fma.v{self.tile.lanes}f{self.tile.bits}"
        return w.intrinsic(name, c.type, [a, b, c])

    def micro(self, name: str, rows: int, vectors: int) -> Any:
        """c tile = panel of a @ panel of b, or += with ``add``; ``step`` is the row stride of c."""
        tile, element = self.tile, self.element
        w = self.begin(name, 3, 3)
        a, b, c, k, step, add = w.arguments
        vector = w.vector(element, tile.lanes)
        zero = w.lib.Constant(vector, None)
        self.fetch(w, c, step, rows, vectors * tile.lanes)
        start = [zero] * (rows * vectors)
        with w.loop(w.number(0), k, w.number(1), [a, b, *start]) as loop:
            a, b, *sums = loop.values
            row = [
                w.load(vector, w.at(b, v * tile.lanes, element), tile.lanes * tile.nbytes)
                for v in range(vectors)
            ]
            for i in range(rows):
                scalar = w.load(element, w.at(a, i, element), tile.nbytes)
                factor = w.splat(scalar, tile.lanes)
                for v, other in enumerate(row):
                    at = i * vectors + v
                    sums[at] = self.multiply_add(w, factor, other, sums[at])
            loop.carry = [w.at(a, tile.rows, element), w.at(b, tile.columns, element), *sums]
        sums = loop.values[2:]
        places = [
            w.at(c, w.b.add(w.b.mul(step, w.number(i)), w.number(v * tile.lanes)), element)
            for i in range(rows)
            for v in range(vectors)
        ]
        with w.either(w.b.icmp_signed("!=", add, w.number(0))) as (then, otherwise):
            with then:
                for place, value in zip(places, sums, strict=True):
                    old = w.load(vector, place, tile.nbytes)
                    w.store(w.b.fadd(old, value), place, tile.nbytes)
            with otherwise:
                for place, value in zip(places, sums, strict=True):
                    w.store(value, place, tile.nbytes)
        w.end()
        return w.function

    def fetch(self, w: Writer, c: Any, step: Any, rows: int, columns: int) -> None:
        """Ask for the lines of a tile of c, which are needed when its sums are done."""
        for i in range(rows):
            row = w.at(c, w.b.mul(step, w.number(i)), self.element)
            for first in range(0, columns, 64 // self.tile.nbytes):
                self.prefetch(w, w.at(row, first, self.element), 1)

    def prefetch(self, w: Writer, place: Any, write: int) -> None:
        """Bring a line into the cache; nothing happens where there is no memory."""
        keep, data = 3, 1
        numbers = [w.lib.Constant(w.lib.IntType(32), x) for x in (write, keep, data)]
        w.intrinsic("llvm.prefetch.p0", w.lib.VoidType(), [place, *numbers])

    def copy_out(self) -> Any:
        """Part of a tile in memory to c through both strides, or added to it."""
        size, lanes = self.tile.nbytes, self.tile.lanes
        w = self.begin("copy_out", 2, 5)
        tile, c, rows, columns, row_step, column_step, add = w.arguments
        zero, one = w.number(0), w.number(1)
        adds = w.b.icmp_signed("!=", add, zero)
        side_by_side = w.b.icmp_signed("==", column_step, one)
        whole = w.b.mul(w.b.udiv(columns, w.number(lanes)), w.number(lanes))
        whole = w.b.select(side_by_side, whole, zero)
        with w.loop(zero, rows, one) as i:
            source = w.at(tile, w.b.mul(i.index, w.number(self.tile.columns)), self.element)
            target = w.at(c, w.b.mul(i.index, row_step), self.element)

            def move(kind: Any, start: Any, stop: Any, count: int) -> None:
                with w.loop(start, stop, w.number(count)) as j:
                    value = w.load(kind, w.at(source, j.index, self.element), size)
                    place = w.at(target, w.b.mul(j.index, column_step), self.element)
                    with w.either(adds) as (then, otherwise):
                        with then:
                            w.store(w.b.fadd(w.load(kind, place, size), value), place, size)
                        with otherwise:
                            w.store(value, place, size)

            move(w.vector(self.element, lanes), zero, whole, lanes)
            move(self.element, whole, columns, 1)
        w.end()
        return w.function

    def write_strip(self) -> Any:
        """One panel of a times one panel of b: a whole tile, or pieces of it at the edges."""
        tile = self.tile
        w = self.begin("strip", 4, 6)
        rows, columns = w.arguments[5:7]
        zero, lanes = w.number(0), w.number(tile.lanes)
        for vectors, fits in ((1, w.b.icmp_signed("<=", columns, lanes)), (tile.vectors, None)):
            with nullcontext() if fits is None else w.when(fits):
                whole = w.b.icmp_signed("==", rows, w.number(tile.rows))
                with w.either(whole) as (then, otherwise):
                    with then:
                        self.piece(w, tile.rows, vectors, zero)
                    with otherwise, w.loop(zero, rows, w.number(tile.few)) as loop:
                        self.piece(w, tile.few, vectors, loop.index)
                w.end()
        return w.function

    def piece(self, w: Writer, height: int, vectors: int, first: Any) -> None:
        """Rows from ``first`` on by the kernel for ``height`` and ``vectors``: straight into c
        where that takes the whole piece, else by way of the spare tile."""
        tile, element = self.tile, self.element
        a, b, c, spare, k, rows, columns, row_step, column_step, add = w.arguments
        left = w.b.sub(rows, first)
        tall = w.b.icmp_signed(">=", left, w.number(height))
        wide = w.b.icmp_signed("==", columns, w.number(vectors * tile.lanes))
        side_by_side = w.b.icmp_signed("==", column_step, w.number(1))
        direct = w.b.and_(w.b.and_(tall, wide), side_by_side)
        place = w.at(c, w.b.mul(first, row_step), element)
        to = w.b.select(direct, place, spare)
        step = w.b.select(direct, row_step, w.number(tile.columns))
        adds = w.b.select(direct, add, w.number(0))
        w.b.call(self.kernels[height, vectors], [w.at(a, first, element), b, to, k, step, adds])
        with w.when(w.b.not_(direct)):
            height_left = w.minimum(left, w.number(height))
            w.b.call(self.copy, [spare, place, height_left, columns, row_step, column_step, add])

    def write_block(self) -> Any:
        """One job: a block of c, over all of k."""
        tile, element = self.tile, self.element
        w = self.begin("block", 2, 1)
        record, scratch, job = w.arguments
        field = read_record(w, record, self.pointer)
        zero, mr, nr = w.number(0), w.number(tile.rows), w.number(tile.columns)
        mul, add, sub = w.b.mul, w.b.add, w.b.sub
        batch, place = w.b.udiv(job, field["grid"]), w.b.urem(job, field["grid"])
        top = mul(w.b.udiv(place, field["grid_columns"]), field["rows"])
        left = mul(w.b.urem(place, field["grid_columns"]), field["columns"])
        rows = w.minimum(field["rows"], sub(field["m"], top))
        columns = w.minimum(field["columns"], sub(field["n"], left))

        b_panels = w.at(scratch, tile.rows * tile.columns, element)
        b_size = mul(mul(w.up(columns, nr), nr), field["depth"])
        a_panels = w.at(b_panels, b_size, element)
        with w.loop(zero, field["k"], field["depth"]) as deep:
            k = w.minimum(field["depth"], sub(field["k"], deep.index))
            adds = w.b.zext(w.b.icmp_signed("!=", deep.index, zero), self.word)
            self.panels_of_b(w, field, batch, deep.index, left, columns, k, b_panels)
            with w.loop(zero, rows, field["height"]) as down:
                height = w.minimum(field["height"], sub(rows, down.index))
                first = add(top, down.index)
                source = self.corner(w, field, "a", batch, first, deep.index)
                self.pack_all(w, self.pack_a, tile.rows, source, height, k,
                              (field["a_row"], field["a_column"]), a_panels)  # fmt: skip
                with w.loop(zero, columns, nr) as j, w.loop(zero, height, mr) as i:
                    row, column = add(first, i.index), add(left, j.index)
                    target = self.corner(w, field, "c", batch, row, column)
                    w.b.call(self.strip, [
                        w.at(a_panels, mul(i.index, k), element),
                        w.at(b_panels, mul(j.index, k), element), target, scratch, k,
                        w.minimum(mr, sub(height, i.index)), w.minimum(nr, sub(columns, j.index)),
                        field["c_row"], field["c_column"], adds,
                    ])  # fmt: skip
        w.end()
        return w.function

    def corner(
        self, w: Writer, field: dict[str, Any], name: str, batch: Any, row: Any, column: Any
    ) -> Any:
        """The address of an element of an operand."""
        offset = w.b.mul(batch, field[f"{name}_batch"])
        offset = w.b.add(offset, w.b.mul(row, field[f"{name}_row"]))
        offset = w.b.add(offset, w.b.mul(column, field[f"{name}_column"]))
        return w.at(field[name], offset, self.element)

    def write_pack_b(self) -> Any:
        return self.pack("pack_b", self.tile.columns)

    def panels_of_b(
        self, w: Writer, field: dict[str, Any], batch: Any, deep: Any, left: Any, columns: Any,
        k: Any, panels: Any,
    ) -> None:  # fmt: skip
        """Rows from ``deep`` on and columns from ``left`` on, into panels."""
        source = self.corner(w, field, "b", batch, deep, left)
        steps = (field["b_column"], field["b_row"])
        self.pack_all(w, self.pack_b, self.tile.columns, source, columns, k, steps, panels)

    def pack_all(
        self, w: Writer, pack: Any, width: int, source: Any, count: Any, k: Any,
        steps: Sequence[Any], panels: Any,
    ) -> None:  # fmt: skip
        """``count`` rows of a, or columns of b, into panels of ``width``."""
        across, along = steps
        with w.loop(w.number(0), count, w.number(width)) as loop:
            at = loop.index
            left = w.minimum(w.number(width), w.b.sub(count, at))
            start = w.at(source, w.b.mul(at, across), self.element)
            panel = w.at(panels, w.b.mul(at, k), self.element)
            w.b.call(pack, [start, panel, left, k, across, along])

    def pack(self, name: str, width: int) -> Any:
        """One panel: ``count`` lines, ``across`` apart, of ``k`` elements, ``along`` apart.

        Where ``count`` is less than the width, other places hold anything: what is computed from
        them is never stored.
        """
        w = self.begin(name, 2, 4)
        _, _, count, k, across, along = w.arguments
        one = w.number(1)
        full = w.b.icmp_signed("==", count, w.number(width))
        with w.when(w.b.icmp_signed("==", across, one)):
            with w.either(full) as (then, otherwise):
                with then:
                    self.pack_rows(w, width)
                with otherwise:
                    self.pack_narrow_rows(w, width)
            w.end()
        lanes = w.number(self.tile.lanes)
        whole = w.b.mul(w.b.udiv(k, lanes), lanes)
        whole = w.b.select(w.b.icmp_signed("==", along, one), whole, w.number(0))
        self.pack_transposed(w, width, whole)
        self.pack_rest(w, width, whole)
        w.end()
        return w.function

    def pack_rows(self, w: Writer, width: int) -> None:
        """The lines lie side by side: whole rows are copied."""
        source, panel, _, k, _, along = w.arguments
        size = self.tile.nbytes
        row = w.vector(self.element, width)
        with w.loop(w.number(0), k, w.number(1)) as loop:
            start = w.at(source, w.b.mul(loop.index, along), self.element)
            # rows may be pages apart, where the processor does not look ahead by itself
            later = w.at(start, w.b.mul(along, w.number(AHEAD)), self.element)
            for first in range(0, width, 64 // size):
                self.prefetch(w, w.at(later, first, self.element), 0)
            to = w.at(panel, w.b.mul(loop.index, w.number(width)), self.element)
            w.store(w.load(row, start, size), to, size)

    def pack_narrow_rows(self, w: Writer, width: int) -> None:
        """The same for less than a panel: vectors, then single elements."""
        source, panel, count, k, _, along = w.arguments
        lanes, size = self.tile.lanes, self.tile.nbytes
        zero, one = w.number(0), w.number(1)
        whole = w.b.mul(w.b.udiv(count, w.number(lanes)), w.number(lanes))
        with w.loop(zero, k, one) as loop:
            start = w.at(source, w.b.mul(loop.index, along), self.element)
            to = w.at(panel, w.b.mul(loop.index, w.number(width)), self.element)
            vector = w.vector(self.element, lanes)
            for kind, first, last, step in (
                (vector, zero, whole, lanes),
                (self.element, whole, count, 1),
            ):
                with w.loop(first, last, w.number(step)) as j:
                    value = w.load(kind, w.at(start, j.index, self.element), size)
                    w.store(value, w.at(to, j.index, self.element), size)

    def pack_transposed(self, w: Writer, width: int, whole: Any) -> None:
        """Each line is contiguous: squares of ``lanes`` by ``lanes`` are turned in registers.

        Where the width is not a multiple of the lanes, the last vector reaches into the next row
        of the panel; so the last lines come first, and others write over what it left there.
        """
        source, panel, count, _, across, _ = w.arguments
        last = w.b.sub(count, w.number(1))
        for first in reversed(range(0, width, self.tile.lanes)):
            start = w.b.mul(w.minimum(w.number(first), last), across)
            left = w.b.sub(last, w.number(first))
            left = w.b.select(w.less(left, w.number(0)), w.number(0), left)
            w.b.call(self.turn, [
                w.at(source, start, self.element), w.at(panel, first, self.element), left, whole,
                across, w.number(width),
            ])  # fmt: skip

    def write_turn(self) -> Any:
        """Lines 0 to ``last`` (others repeat it), ``across`` apart, up to ``k``: transposed into
        vectors ``step`` apart."""
        w = self.begin("turn", 2, 4)
        source, panel, last, k, across, step = w.arguments
        lanes, element, size = self.tile.lanes, self.element, self.tile.nbytes
        vector = w.vector(element, lanes)
        starts = [
            w.at(source, w.b.mul(w.minimum(w.number(i), last), across), element)
            for i in range(lanes)
        ]
        with w.loop(w.number(0), k, w.number(lanes)) as loop:
            lines = [w.load(vector, w.at(x, loop.index, element), size) for x in starts]
            to = w.at(panel, w.b.mul(loop.index, step), element)
            for line in turned(w, lines):
                w.store(line, to, size)
                to = w.at(to, step, element)
        w.end()
        return w.function

    def pack_rest(self, w: Writer, width: int, done: Any) -> None:
        """Element by element, from ``done`` on."""
        source, panel, count, k, across, along = w.arguments
        element, size = self.element, self.tile.nbytes
        last = w.b.sub(count, w.number(1))
        with w.loop(done, k, w.number(1)) as loop:
            start = w.at(source, w.b.mul(loop.index, along), element)
            to = w.at(panel, w.b.mul(loop.index, w.number(width)), element)
            with w.loop(w.number(0), w.number(width), w.number(1)) as j:
                at = w.b.mul(w.minimum(j.index, last), across)
                value = w.load(element, w.at(start, at, element), size)
                w.store(value, w.at(to, j.index, element), size)

    def entry(self) -> None:
        w = self.begin("gemm", 1, 1)
        record, thread = w.arguments
        field = read_record(w, record, self.pointer)
        offset = w.b.mul(thread, field["scratch_size"])
        scratch = w.at(field["scratch"], offset, self.element)
        again, work, done = (w.function.append_basic_block(n) for n in ("again", "work", "done"))
        w.b.branch(again)
        w.b.position_at_end(again)
        counter = w.at(record, RECORD.index("counter"), self.word)
        job = w.b.atomic_rmw("add", counter, w.number(1), "monotonic")
        w.b.cbranch(w.less(job, field["jobs"]), work, done)
        w.b.position_at_end(work)
        w.b.call(self.block, [record, scratch, job])
        w.b.branch(again)
        w.b.position_at_end(done)
        w.end()


def turned(w: Writer, lines: list[Any]) -> list[Any]:
    """The transpose of a square of vectors: log2(lanes) rounds of interleaving halves."""
    lanes = len(lines)
    half = lanes // 2
    low = [i // 2 + (i % 2) * lanes for i in range(lanes)]
    high = [place + half for place in low]
    for _ in range(lanes.bit_length() - 1):
        pairs = [(lines[i], lines[i + half]) for i in range(half)]
        lines = [w.shuffle(a, b, order) for a, b in pairs for order in (low, high)]
    return lines


def read_record(w: Writer, record: Any, pointer: Any) -> dict[str, Any]:
    """The fields of the record by name."""
    return {
        name: w.load(
            pointer if name in ("a", "b", "c", "scratch") else w.word, w.at(record, i, w.word), 8
        )
        for i, name in enumerate(RECORD)
    }
