"""The packed matrix product, written for one element type and one CPU.

    c[i, j] = sum_k a[i, k] * b[k, j]

Goto's scheme (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, 2008).
``depth`` rows of b and columns of a are worked off at a time. They are copied into panels as wide
as a tile (see ``panels``), or read where they are when that is as good. The micro-kernel holds a
tile of c in vector registers and adds one outer product per step of k.

A convolution is the same product, with b read through two tables, ``x[rows[k] + columns[j]]``:
windows are never copied into a matrix. c may be written through a table as well.

Every element of c is the sum of its blocks of ``depth`` products, each block summed in the order
of k; neither tiles nor threads change that, so neither changes a bit of the result.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from adjoint.base.dtype import DType
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Value
from adjoint.compile.panels import Panels, first_lanes, least, prefetch, up

WORDS = (  # what the record says after the addresses of a, b and c; strides in elements
    "after", "after_record",  # a function that finishes blocks of c, and its record; or 0
    "task",  # 0: the product; 1, 2: only pack a or b into c
    "m", "n", "k", "depth",
    "rows", "columns", "across", "grid", "height",  # blocks of c, how many in a row and in all
    "inner", "middle",  # a batch of ? x middle x inner products
    "a_batch", "a_batch_1", "a_batch_2", "b_batch", "b_batch_1", "b_batch_2",
    "c_batch", "c_batch_1", "c_batch_2",
    "a_row", "a_column", "a_run", "a_jump",  # k in pieces of a_run, a_jump apart; 0: a table
    "b_row", "b_column", "b_rows", "b_columns",  # tables of b, or 0
    "c_row", "c_columns",  # and of c
    "a_placed", "a_tile", "a_lane", "a_step",  # not 0: a is read where it is
    "b_placed", "b_tile", "b_step",  # 1: whole panels of b are, 2: all are
)  # fmt: skip
RECORD = ("a", "b", "c", *WORDS)
AFTER = RECORD.index("after")
PRODUCT, PACK_A, PACK_B = range(3)
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


def module_text(target: Target, dtype: DType, out: DType) -> str:
    """LLVM IR with ``kernel(record, begin, end, scratch)``; a unit of work is a block of c.

    out: the dtype of c: ``dtype``, or float32 where that has 16 bits.
    """
    return Template(target, dtype, out).write()


class Template(Panels):
    """Writes the functions of one module."""

    def __init__(self, target: Target, dtype: DType, out: DType) -> None:
        super().__init__(target, dtype)
        self.out = out
        self.tile = tile_for(target, self.wide.bits)
        self.direct = self.wide is out  # sums can go straight to c

    def in_c(self, f: Function, c: Value, index: Value | int) -> Value:
        """The address of an element of c."""
        return f.at(c, index, elements.stored(self.out))

    def write(self) -> str:
        tile = self.tile
        for width in (tile.rows, tile.columns):
            self.write_pack(width)
        self.write_gather(tile.rows)
        self.write_window(tile.columns)
        for vectors in (tile.vectors, 1):
            self.write_micro(tile.rows, vectors)
            self.write_micro(tile.few, vectors)
        self.write_copy()
        self.write_strip()
        self.write_panels_of_b()
        self.write_block()
        self.write_packing()
        self.write_entry()
        return str(self.module)

    # --- a tile -------------------------------------------------------------------------------

    def write_micro(self, rows: int, vectors: int) -> None:
        """micro(a, b, c, k, a_row, a_step, b_step, c_row, add, last): c tile = rows of a times
        columns of b, or += with ``add``. Rows after ``last`` repeat it in a low tile."""
        f = self.function(f"micro_{rows}_{vectors}", 3, 7)
        _, b, c, k, a_row, a_step, b_step, c_row, add, _ = f.arguments
        size, lanes = f.number(self.size), self.lanes
        a_row, a_step, b_step, c_row = (f.mul(x, size) for x in (a_row, a_step, b_step, c_row))
        places = self._places(f, c, c_row, rows)
        for place in places:
            for first in range(0, vectors * lanes * self.size, 64):
                prefetch(f, f.at(place, first, "i8"), 1)
        starts, group = self._starts(f, rows, a_row)
        zero = f.number(0, self.vector)
        count = rows * vectors
        with f.loop(0, k, 1, [*starts, b, *[zero] * count]) as loop:
            pointers, b, sums = (
                loop.values[: -count - 1],
                loop.values[-count - 1],
                loop.values[-count:],
            )
            row = [f.load(self.vector, self.to(f, b, v * lanes)) for v in range(vectors)]
            for i in range(rows):
                pointer = pointers[i // group]
                unit = ("", "i8", "i16")[i % group]  # a_row once or twice: the CPU scales it
                place = f.at(pointer, a_row, unit) if unit else pointer
                factor = f.splat(f.load(Kind(self.element), place), lanes)
                for v, other in enumerate(row):
                    at = i * vectors + v
                    sums[at] = f.fma(factor, other, sums[at])
            moved = [f.at(x, a_step, "i8") for x in pointers]
            loop.carry = [*moved, f.at(b, b_step, "i8"), *sums]
        sums = loop.values[-count:]
        adds = f.compare("ne", add, f.number(0))
        targets = [self.to(f, places[i // vectors], i % vectors * lanes) for i in range(count)]
        with f.when(adds):
            for place, value in zip(targets, sums, strict=True):
                f.store(f.add(f.load(self.vector, place), value), place)
        with f.when(f.compare("eq", add, f.number(0))):
            for place, value in zip(targets, sums, strict=True):
                f.store(value, place)
        f.end()

    def _places(self, f: Function, start: Value, step: Value, count: int) -> list[Value]:
        """``count`` addresses, ``step`` bytes apart."""
        return [f.at(start, f.mul(step, f.number(i)), "i8") for i in range(count)]

    def _starts(self, f: Function, rows: int, a_row: Value) -> tuple[list[Value], int]:
        """Pointers to rows of a, and how many rows each stands for."""
        a, last = f.arguments[0], f.arguments[9]
        if rows == self.tile.few:
            places = [f.mul(least(f, f.number(i), last), a_row) for i in range(rows)]
            return [f.at(a, place, "i8") for place in places], 1
        return [f.at(a, f.mul(f.number(i), a_row), "i8") for i in range(0, rows, 3)], 3

    def write_copy(self) -> None:
        """copy(tile, c, table, rows, columns, c_row, add): part of a tile in memory to c, or
        added to it; column j goes to ``table[j] - table[0]``, or next to the one before."""
        f = self.function("copy", 3, 4)
        spare, c, table, rows, columns, c_row, add = f.arguments
        adds = f.compare("ne", add, f.number(0))
        stored = f.compare("eq", add, f.number(0))
        linear = f.compare("eq", f.emit(WORD, f"ptrtoint {table.typed} to i64"), f.number(0))
        whole = f.select(linear, f.two("and", columns, f.number(-self.lanes)), f.number(0))
        done = f.select(linear, columns, f.number(0)) if self.masks else whole
        left = f.sub(columns, whole)
        mask = first_lanes(f, left, self.lanes) if self.masks else None

        def move(source: Value, place: Value, lanes: int, mask: Value | None) -> None:
            value = f.load(Kind(self.element, lanes), source)
            if self.direct:  # 16-bit results come in one piece
                with f.when(adds):
                    old = elements.load(f, self.out, place, lanes, mask)
                    elements.store(f, f.add(old, value), self.out, place, mask)
                with f.when(stored):
                    elements.store(f, value, self.out, place, mask)
            else:
                elements.store(f, value, self.out, place, mask)

        with f.loop(0, rows) as i:
            source = self.to(f, spare, f.mul(i.index, f.number(self.tile.columns)))
            place = self.in_c(f, c, f.mul(i.index, c_row))
            with f.loop(0, whole, self.lanes) as j:
                move(self.to(f, source, j.index), self.in_c(f, place, j.index), self.lanes, None)
            if mask is not None:
                is_left = f.two("and", linear, f.compare("sgt", left, f.number(0)))
                with f.when(is_left):
                    move(self.to(f, source, whole), self.in_c(f, place, whole), self.lanes, mask)
            with f.when(linear), f.loop(done, columns) as j:
                move(self.to(f, source, j.index), self.in_c(f, place, j.index), 0, None)
            bent = f.two("xor", linear, f.number(1, linear.kind))
            with f.when(bent):
                start = f.load(WORD, table)
                with f.loop(0, columns) as j:
                    shift = f.sub(f.load(WORD, f.at(table, j.index, "i64")), start)
                    move(self.to(f, source, j.index), self.in_c(f, place, shift), 0, None)
        f.end()

    def write_strip(self) -> None:
        """strip(a, b, c, spare, table, k, rows, columns, a_row, a_step, b_step, c_row, add): rows
        of a by one panel of b: a whole tile, or pieces of it at the edges."""
        tile = self.tile
        f = self.function("strip", 5, 8)
        rows, columns = f.arguments[6:8]
        for vectors in (1, tile.vectors):
            fits = f.compare("sle", columns, f.number(tile.lanes))
            with self.either(f, fits) if vectors == 1 else nullcontext():
                with self.either(f, f.compare("eq", rows, f.number(tile.rows))):
                    self._piece(f, tile.rows, vectors, f.number(0))
                with f.loop(0, rows, tile.few) as loop:
                    self._piece(f, tile.few, vectors, loop.index)
        f.end()

    def _piece(self, f: Function, height: int, vectors: int, first: Value) -> None:
        """Rows from ``first`` on by the kernel for ``height`` and ``vectors``: straight into c
        where that takes the whole piece, else by way of the spare tile."""
        a, b, c, spare, table, k, rows, columns, a_row, a_step, b_step, c_row, add = f.arguments
        tile, name = self.tile, f"micro_{height}_{vectors}"
        left = least(f, f.sub(rows, first), f.number(height))
        last = f.sub(left, f.number(1))
        source = self.to(f, a, f.mul(first, a_row))
        place = self.in_c(f, c, f.mul(first, c_row))
        common = (k, a_row, a_step, b_step)
        direct = f.number(0, Kind("i1"))
        if self.direct:
            linear = f.compare("eq", f.emit(WORD, f"ptrtoint {table.typed} to i64"), f.number(0))
            wide = f.compare("eq", columns, f.number(vectors * tile.lanes))
            tall = f.compare("eq", left, f.number(height))
            direct = f.two("and", f.two("and", tall, wide), linear)
            with f.when(direct):
                f.run(name, source, b, place, *common, c_row, add, last)
        with f.when(f.two("xor", direct, f.number(1, direct.kind))):
            f.run(name, source, b, spare, *common, f.number(tile.columns), f.number(0), last)
            f.run("copy", spare, place, table, left, columns, c_row, add)

    # --- a block ------------------------------------------------------------------------------

    def write_block(self) -> None:
        """block(record, scratch, job): a block of c, over all of k."""
        tile = self.tile
        f = self.module.function("block", [POINTER, POINTER, WORD])
        record, scratch, job = f.arguments
        field = self.read_record(f, record)
        batch, place = f.two("udiv", job, field["grid"]), f.two("urem", job, field["grid"])
        top = f.mul(f.two("udiv", place, field["across"]), field["rows"])
        left = f.mul(f.two("urem", place, field["across"]), field["columns"])
        rows = least(f, field["rows"], f.sub(field["m"], top))
        columns = least(f, field["columns"], f.sub(field["n"], left))
        a, b, c = self.in_batch(f, field, batch)
        c = self.in_c(f, c, f.mul(top, field["c_row"]))
        b_panels = self.to(f, scratch, tile.rows * tile.columns)
        b_size = f.mul(f.mul(up(f, columns, f.number(tile.columns)), f.number(tile.columns)),
                       field["depth"])  # fmt: skip
        a_panels = self.to(f, b_panels, b_size)
        with f.loop(0, field["k"], field["depth"]) as deep:
            k = least(f, field["depth"], f.sub(field["k"], deep.index))
            adds = f.cast("zext", f.compare("ne", deep.index, f.number(0)), "i64")
            f.run("panels_of_b", record, b, b_panels, deep.index, left, columns, k)
            with f.loop(0, rows, field["height"]) as down:
                height = least(f, field["height"], f.sub(rows, down.index))
                first = f.add(top, down.index)
                operand = self._rows_of_a(f, field, a, a_panels, (first, height), deep.index, k)
                self._strips(
                    f, field, (operand, b, c), (b_panels, scratch),
                    (deep.index, left, columns, k), (down.index, height, adds),
                )  # fmt: skip
                ends = f.compare("sge", f.add(deep.index, field["depth"]), field["k"])
                finish = f.two("and", ends, f.compare("ne", field["after"], f.number(0)))
                with f.when(finish):
                    row = f.add(f.mul(batch, field["m"]), first)
                    self._call_after(f, field, row, height, left, columns)
        f.end()

    def _call_after(
        self, f: Function, field: dict[str, Value], row: Value, height: Value, left: Value,
        columns: Value,
    ) -> None:  # fmt: skip
        """Let the kernel that follows finish these rows and columns of c."""
        function, record = (
            f.emit(POINTER, f"inttoptr {field[name].typed} to ptr")
            for name in ("after", "after_record")
        )
        places = (record, row, f.add(row, height), left, f.add(left, columns))
        f.do(f"call void {function.text}({', '.join(x.typed for x in places)})")

    def _rows_of_a(
        self, f: Function, field: dict[str, Value], a: Value, panels: Value,
        rows: tuple[Value, Value], deep: Value, k: Value,
    ) -> tuple[Value, Value, Value, Value]:  # fmt: skip
        """Where rows of a are, how far apart tiles, rows of a tile and steps of k; packed first
        where they are not read in place."""
        first, height = rows
        placed = f.compare("ne", field["a_placed"], f.number(0))
        width = f.number(self.tile.rows)
        near = self.of(f, a, f.mul(first, field["a_row"]))
        with f.when(f.compare("eq", field["a_placed"], f.number(0))):
            table = f.emit(POINTER, f"inttoptr {field['a_jump'].typed} to ptr")
            with f.loop(0, height, self.tile.rows) as loop:
                start = self.of(f, near, f.mul(loop.index, field["a_row"]))
                f.run(f"gather_{self.tile.rows}", start, self.to(f, panels, f.mul(loop.index, k)),
                      table, deep, least(f, width, f.sub(height, loop.index)), k, field["a_row"],
                      field["a_column"], field["a_run"], field["a_jump"])  # fmt: skip
        offset = f.add(f.mul(first, field["a_tile"]), f.mul(deep, field["a_step"]))
        there = self.to(f, a, offset)
        return (
            f.select(placed, there, panels),
            f.select(placed, field["a_tile"], k),
            f.select(placed, field["a_lane"], f.number(1)),
            f.select(placed, field["a_step"], width),
        )

    def _strips(
        self, f: Function, field: dict[str, Value],
        operands: tuple[tuple[Value, ...], Value, Value],
        memory: tuple[Value, Value], across: tuple[Value, ...], down: tuple[Value, ...],
    ) -> None:  # fmt: skip
        """All tiles of some rows of a block."""
        tile, zero = self.tile, f.number(0)
        (a, a_tile, a_lane, a_step), b, c = operands
        (b_panels, spare), (deep, left, columns, k), (first, height, adds) = memory, across, down
        table = f.emit(POINTER, f"inttoptr {field['c_columns'].typed} to ptr")
        has_table = f.compare("ne", field["c_columns"], zero)
        b_here = self.to(f, b, f.mul(deep, field["b_step"]))
        all_placed = f.compare("eq", field["b_placed"], f.number(2))
        some_placed = f.compare("eq", field["b_placed"], f.number(1))
        c = self.in_c(f, c, f.mul(first, field["c_row"]))
        null = Value("null", POINTER)
        with f.loop(0, columns, tile.columns) as j:
            width = least(f, f.number(tile.columns), f.sub(columns, j.index))
            full = f.compare("eq", width, f.number(tile.columns))
            placed = f.two("or", all_placed, f.two("and", some_placed, full))
            column = f.add(left, j.index)
            there = self.to(f, b_here, f.mul(column, field["b_tile"]))
            shift = f.select(some_placed, zero, f.mul(j.index, k))
            panel = f.select(placed, there, self.to(f, b_panels, shift))
            step = f.select(placed, field["b_step"], f.number(tile.columns))
            # a column of c, and whether the panel's columns follow it
            nothing = f.select(has_table, table, spare)  # some memory that can be read
            here = f.at(nothing, f.select(has_table, column, zero), "i64")
            offset = f.select(has_table, f.load(WORD, here), column)
            length = f.load(WORD, f.at(here, f.select(has_table, field["n"], zero), "i64"))
            bent = f.two("and", has_table, f.compare("slt", length, width))
            places = f.select(bent, here, null)
            target = self.in_c(f, c, offset)
            with f.loop(0, height, tile.rows) as i:
                f.run(
                    "strip", self.to(f, a, f.mul(i.index, a_tile)), panel,
                    self.in_c(f, target, f.mul(i.index, field["c_row"])), spare, places, k,
                    least(f, f.number(tile.rows), f.sub(height, i.index)), width, a_lane, a_step,
                    step, field["c_row"], adds,
                )  # fmt: skip

    def write_panels_of_b(self) -> None:
        """panels_of_b(record, b, panels, deep, left, columns, k): the columns that are not read
        in place, into panels."""
        f = self.module.function("panels_of_b", [POINTER] * 3 + [WORD] * 4)
        record, b, panels, deep, left, columns, k = f.arguments
        field = self.read_record(f, record)
        width = self.tile.columns
        with self.either(f, f.compare("eq", field["b_placed"], f.number(2))):
            pass
        whole = f.mul(f.two("udiv", columns, f.number(width)), f.number(width))
        some = f.compare("eq", field["b_placed"], f.number(1))
        start = f.select(some, whole, f.number(0))
        with f.loop(start, columns, width) as loop:
            count = least(f, f.number(width), f.sub(columns, loop.index))
            panel = self.to(f, panels, f.mul(f.sub(loop.index, start), k))
            self.panel_of_b(f, field, b, panel, deep, f.add(left, loop.index), count, k)
        f.end()

    def panel_of_b(
        self, f: Function, field: dict[str, Value], b: Value, panel: Value, deep: Value,
        column: Value, count: Value, k: Value,
    ) -> None:  # fmt: skip
        """``count`` columns from ``column`` on, packed."""
        width, lanes = self.tile.columns, self.lanes
        plain = f.compare("eq", field["b_rows"], f.number(0))
        with f.when(plain):
            offset = f.add(f.mul(deep, field["b_row"]), f.mul(column, field["b_column"]))
            f.run(f"pack_{width}", self.of(f, b, offset), panel, count, k, field["b_column"],
                  field["b_row"])  # fmt: skip
        with f.when(f.compare("ne", field["b_rows"], f.number(0))):
            row_table, column_table = (
                f.emit(POINTER, f"inttoptr {field[name].typed} to ptr")
                for name in ("b_rows", "b_columns")
            )
            rows = f.at(row_table, deep, "i64")
            row_runs = f.at(rows, field["k"], "i64")
            columns = f.at(column_table, column, "i64")
            column_runs = f.at(columns, field["n"], "i64")
            with f.loop(0, count, lanes) as loop:
                at = loop.index
                f.run(f"window_{width}", b, self.to(f, panel, at), rows, row_runs,
                      f.at(columns, at, "i64"), f.at(column_runs, at, "i64"),
                      least(f, f.number(lanes), f.sub(count, at)), k)  # fmt: skip

    # --- the record and the entry -------------------------------------------------------------

    def read_record(self, f: Function, record: Value) -> dict[str, Value]:
        """The fields of the record by name."""
        return {
            name: f.load(POINTER if i < 3 else WORD, f.at(record, i, "i64"))
            for i, name in enumerate(RECORD)
        }

    def in_batch(
        self, f: Function, field: dict[str, Value], batch: Value
    ) -> tuple[Value, Value, Value]:
        """Where the three matrices of one product begin."""
        two = f.two("urem", batch, field["inner"])
        rest = f.two("udiv", batch, field["inner"])
        one = f.two("urem", rest, field["middle"])
        zero = f.two("udiv", rest, field["middle"])
        found: list[Value] = []
        for name in "abc":
            offset = f.mul(zero, field[f"{name}_batch"])
            offset = f.add(offset, f.mul(one, field[f"{name}_batch_1"]))
            offset = f.add(offset, f.mul(two, field[f"{name}_batch_2"]))
            at = self.in_c if name == "c" else self.of
            found.append(at(f, field[name], offset))
        return found[0], found[1], found[2]

    def write_packing(self) -> None:
        """packing(record, scratch, job): one panel of a or b, over all of k, for later products."""
        tile = self.tile
        f = self.module.function("packing", [POINTER, POINTER, WORD])
        record, _, job = f.arguments
        field = self.read_record(f, record)
        batch, place = f.two("udiv", job, field["grid"]), f.two("urem", job, field["grid"])
        a, b, _ = self.in_batch(f, field, batch)
        k = field["k"]
        for task, width, size in ((PACK_A, tile.rows, "m"), (PACK_B, tile.columns, "n")):
            with f.when(f.compare("eq", field["task"], f.number(task))):
                first = f.mul(place, f.number(width))
                panel = self.to(f, field["c"], f.mul(f.mul(job, f.number(width)), k))
                count = least(f, f.number(width), f.sub(field[size], first))
                if task == PACK_B:
                    self.panel_of_b(f, field, b, panel, f.number(0), first, count, k)
                    continue
                table = f.emit(POINTER, f"inttoptr {field['a_jump'].typed} to ptr")
                f.run(f"gather_{width}", self.of(f, a, f.mul(first, field["a_row"])), panel, table,
                      f.number(0), count, k, field["a_row"], field["a_column"], field["a_run"],
                      field["a_jump"])  # fmt: skip
        f.end()

    def write_entry(self) -> None:
        f = self.module.function("kernel", [POINTER, WORD, WORD, POINTER])
        record, begin, end, scratch = f.arguments
        task = f.load(WORD, f.at(record, RECORD.index("task"), "i64"))
        with f.when(f.compare("eq", task, f.number(PRODUCT))), f.loop(begin, end) as job:
            f.run("block", record, scratch, job.index)
        with f.when(f.compare("ne", task, f.number(PRODUCT))), f.loop(begin, end) as job:
            f.run("packing", record, scratch, job.index)
        f.end()
