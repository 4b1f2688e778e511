"""Rows read and written at computed positions: gather, scatter_add, index_set, largest_at.

Additions to one place happen in the order of the index, whatever the number of threads: a job has
a range of the target's rows for itself, and looks at every index.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from adjoint.base.dtype import DType, float32, float64
from adjoint.compile import elements, emit
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import WORD, Function, Kind, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import is_zero, template
from adjoint.compile.templates.entry import (
    JOB,
    at,
    enter,
    fill_many,
    kind_of,
    lanes_for,
    load,
    store,
    vectors,
    wide,
)
from adjoint.ir.node import Node

MOST_RANGES = 16
SCRATCH = 1 << 20  # bytes of sums in the thread's memory
UNROLLED = 8  # vectors of a row that are written out


def size_of(node: Node) -> int:
    return prod(node.shape)


def clipped(f: Function, raw: Value, dtype: DType, n: int) -> Value:
    """An index of ``dtype`` as a word from 0 to n - 1."""
    if dtype.kind == "u":
        wider = f.cast("zext", raw, "i64") if dtype.bits < 64 else raw
        return f.call("llvm.umin.i64", WORD, wider, f.number(n - 1))
    wider = f.cast("sext", raw, "i64") if dtype.bits < 64 else raw
    positive = f.call("llvm.smax.i64", WORD, wider, f.number(0))
    return f.call("llvm.smin.i64", WORD, positive, f.number(n - 1))


# --- gather -------------------------------------------------------------------------------------


@template("gather")
def gathered(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are the rows of the result."""
    assert node.args is not None
    x, index = node.args
    batch: int = node.params["batch"]
    if 0 in node.shape:
        return []
    if 0 in x.shape:
        return None
    n, m = x.shape[batch], prod(index.shape[batch:])
    width = prod(x.shape[batch + 1 :]) * x.dtype.itemsize
    plan = (prod(x.shape[:batch]), n, m, width, index.dtype)
    return [
        Kernel(
            "gather", f"gather{plan}", lambda target: _write_gather(target, *plan),
            (Place(x), Place(index)), (Place(results[0]),), extent=size_of(index),
            grain=max(1, JOB // (width + 8)),
            nbytes=2 * size_of(node) * node.dtype.itemsize + size_of(index) * index.dtype.itemsize,
            nodes=(node,),
        )
    ]  # fmt: skip


def _write_gather(target: Target, batch: int, n: int, m: int, width: int, dtype: DType) -> str:
    e = enter(target, 2, 1)
    f = e.f
    (x, index), (out,) = e.reads, e.writes
    unroll = 4 if width <= 8 else 1

    def row(place: Value) -> None:
        raw = f.load(Kind(elements.stored(dtype)), at(f, dtype, index, place))
        source = clipped(f, raw, dtype, n)
        if batch > 1:
            first = f.mul(f.two("udiv", place, f.number(m)), f.number(n))
            source = f.add(source, first)
        many = f.number(width)
        copy_row(f, f.at(x, f.mul(source, many), "i8"), f.at(out, f.mul(place, many), "i8"), width)

    left = f.two("urem", f.sub(e.end, e.begin), f.number(unroll))
    middle = f.sub(e.end, left)
    if unroll > 1:
        with f.loop(e.begin, middle, unroll) as loop:
            for i in range(unroll):
                row(f.add(loop.index, f.number(i)))
    with f.loop(middle if unroll > 1 else e.begin, e.end) as loop:
        row(loop.index)
    return e.finish()


def copy_row(f: Function, source: Value, to: Value, width: int) -> None:
    """``width`` bytes from ``source`` to ``to``, in vectors; the last one may overlap."""
    size = f.target.bits // 8

    def piece(offset: Value | int, count: int) -> None:
        single = count <= 8 and count & (count - 1) == 0
        kind = Kind(f"i{8 * count}") if single else Kind("i8", count)
        f.store(f.load(kind, f.at(source, offset, "i8"), 1), f.at(to, offset, "i8"), 1)

    whole = width // size * size
    if whole > 16 * size:
        step = 4 * size
        looped = width // step * step
        with f.loop(0, looped, step) as loop:
            for i in range(4):
                piece(f.add(loop.index, f.number(i * size)), size)
        done = looped
    else:
        done = 0
    while width - done >= size:
        piece(done, size)
        done += size
    if done < width and width >= size:
        piece(width - size, size)
        return
    while done < width:
        largest = 1 << ((width - done).bit_length() - 1)
        following = largest * 2
        if width > largest and following <= size and done and width >= largest:
            piece(width - largest, largest)  # overlaps what was copied before
            if width - done == largest:
                return
        piece(done, largest)
        done += largest


# --- scatter ------------------------------------------------------------------------------------


@template("scatter_add")
def scattered(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel: a range of rows is copied (or zeroed), then added to."""
    assert node.args is not None
    x, index, updates = node.args
    batch: int = node.params["batch"]
    if 0 in node.shape:
        return []
    rest = prod(x.shape[batch + 1 :])
    dense = x.dtype is float32 and size_of(updates) >= size_of(x)
    sums = float64 if dense else wide(x.dtype)
    plan = Scatter(
        "add", prod(x.shape[:batch]), x.shape[batch], prod(index.shape[batch:]), rest, x.dtype,
        index.dtype, sums, is_zero(x),
    )  # fmt: skip
    return [plan.kernel(node, (x, index, updates), results[0])]


@template("index_set", "largest_at")
def written(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel: a range of elements is copied, then written to."""
    assert node.args is not None
    x, index, updates = node.args
    if 0 in node.shape:
        return []
    how = "set" if node.params["region"].name == "index_set" else "largest"
    plan = Scatter(how, 1, size_of(x), size_of(index), 1, x.dtype, index.dtype, x.dtype, is_zero(x))
    return [plan.kernel(node, (x, index, updates), results[0])]


class Scatter(NamedTuple):
    """``batch`` targets of ``n`` rows of ``rest`` elements, each with ``m`` rows of updates.

    sums: what additions are made in. Where it is not the dtype itself, or where few places get
    many values, they are made in the thread's memory and added to the target at the end.
    """

    how: str
    batch: int
    n: int
    m: int
    rest: int
    dtype: DType
    index_dtype: DType
    sums: DType
    zero: bool

    @property
    def is_direct(self) -> bool:
        return self.sums is self.dtype

    @property
    def ranges(self) -> int:
        """Into how many ranges the rows go: each index is looked at once per range."""
        row = self.rest * self.dtype.itemsize
        table = self.n * row
        work = table / 10 + self.m * row / 8  # in nanoseconds, about
        found = min(int(work / (8 * self.m + 1)), table >> 15, MOST_RANGES // self.batch)
        found = max(found, 1)
        if not self.is_direct:
            found = max(found, -(-self.n * self.rest * self.sums.itemsize // SCRATCH))
        return min(found, self.n)

    @property
    def rows(self) -> int:
        return -(-self.n // self.ranges)

    def kernel(self, node: Node, args: tuple[Node, Node, Node], result: Node) -> Kernel:
        x, index, updates = args
        reads = (index, updates) if self.zero else (index, updates, x)
        return Kernel(
            node.params["region"].name if "region" in node.params else "scatter_add",
            f"scatter{self}", self.write, tuple(Place(a) for a in reads), (Place(result),),
            extent=self.batch * -(-self.n // self.rows),
            grain=max(1, JOB // (self.rows * self.rest * self.dtype.itemsize)),
            scratch=0 if self.is_direct else self.rows * self.rest * self.sums.itemsize,
            flops=size_of(updates),
            nbytes=size_of(x) * x.dtype.itemsize * (1 if self.zero else 2)
            + size_of(updates) * x.dtype.itemsize + size_of(index) * index.dtype.itemsize,
            in_place=() if self.zero else ((0, 2),), nodes=(node,),
        )  # fmt: skip

    def write(self, target: Target) -> str:
        return _Writer(self, target).write()


class _Writer:
    def __init__(self, plan: Scatter, target: Target) -> None:
        self.plan = plan
        self.e = enter(target, 2 if plan.zero else 3, 1)
        self.f = self.e.f
        self.lanes = lanes_for(target, plan.rest)
        self.many = target.bits // 32

    def write(self) -> str:
        f, plan, e = self.f, self.plan, self.e
        ranges = -(-plan.n // plan.rows)
        with f.loop(e.begin, e.end) as unit:
            many = f.number(ranges)
            batch = f.two("udiv", unit.index, many)
            low = f.mul(f.two("urem", unit.index, many), f.number(plan.rows))
            left = f.sub(f.number(plan.n), low)
            rows = f.call("llvm.smin.i64", WORD, left, f.number(plan.rows))
            first = f.mul(f.add(f.mul(batch, f.number(plan.n)), low), f.number(plan.rest))
            count = f.mul(rows, f.number(plan.rest))
            out = at(f, plan.dtype, e.writes[0], first)
            x = None if plan.zero else at(f, plan.dtype, e.reads[2], first)
            if plan.is_direct:
                self.begin(x, out, count)
                self.rows(batch, low, rows, out)
            else:
                zero = f.number(0, kind_of(plan.sums, 1))
                fill_many(f, plan.sums, e.scratch, count, zero, self.many)
                self.rows(batch, low, rows, e.scratch)
                self.finish(x, out, count)
        return e.finish()

    def begin(self, x: Value | None, out: Value, count: Value) -> None:
        """The target as it was."""
        f, dtype = self.f, self.plan.dtype
        if x is None:
            fill_many(f, dtype, out, count, f.number(0, kind_of(dtype, 1)), self.many)
            return
        raw = elements.stored(dtype)

        def copy(index: Value, lanes: int) -> None:
            value = f.load(Kind(raw, lanes), f.at(x, index, raw))
            f.store(value, f.at(out, index, raw))

        same = f.emit(Kind("i1"), f"icmp ne ptr {x.text}, {out.text}")
        with f.when(same):  # else the target is changed in place
            vectors(f, count, self.many, copy)

    def finish(self, x: Value | None, out: Value, count: Value) -> None:
        """The sums added to the target."""
        f, plan = self.f, self.plan
        inside = wide(plan.dtype)

        def write(index: Value, lanes: int) -> None:
            total = elements.load(f, plan.sums, at(f, plan.sums, self.e.scratch, index), lanes)
            if x is not None:
                old = elements.load(f, plan.dtype, at(f, plan.dtype, x, index), lanes)
                total = f.add(total, emit.cast(f, old, inside, plan.sums))
            total = emit.cast(f, total, plan.sums, inside)
            elements.store(f, total, plan.dtype, at(f, plan.dtype, out, index))

        vectors(f, count, self.many, write)

    def rows(self, batch: Value, low: Value, rows: Value, target: Value) -> None:
        """All updates whose index is in the range, in order."""
        f, plan = self.f, self.plan
        index, updates = self.e.reads[:2]
        start = f.mul(batch, f.number(plan.m))
        with f.loop(0, plan.m) as loop:
            number = f.add(start, loop.index)
            raw = f.load(
                Kind(elements.stored(plan.index_dtype)), at(f, plan.index_dtype, index, number)
            )
            place = f.sub(clipped(f, raw, plan.index_dtype, plan.n), low)
            source = at(f, plan.dtype, updates, f.mul(number, f.number(plan.rest)))
            if plan.rows >= plan.n:
                self.row(source, self.row_at(target, place))
            else:
                with f.when(f.compare("ult", place, rows)):
                    self.row(source, self.row_at(target, place))

    def row_at(self, target: Value, place: Value) -> Value:
        plan = self.plan
        return at(self.f, plan.sums, target, self.f.mul(place, self.f.number(plan.rest)))

    def row(self, source: Value, to: Value) -> None:
        """One row of updates to one row of the target."""
        lanes, rest = self.lanes, self.plan.rest
        whole = rest // lanes * lanes
        if whole > UNROLLED * lanes:
            with self.f.loop(0, whole, lanes) as loop:
                self.piece(source, to, loop.index, [True] * lanes)
        else:
            for index in range(0, whole, lanes):
                self.piece(source, to, index, [True] * lanes)
        if whole < rest:
            self.piece(source, to, whole, [i < rest - whole for i in range(lanes)])

    def piece(self, source: Value, to: Value, index: Value | int, flags: list[bool]) -> None:
        f, plan = self.f, self.plan
        value = load(f, plan.dtype, at(f, plan.dtype, source, index), flags)
        value = emit.cast(f, value, wide(plan.dtype), plan.sums)
        place = at(f, plan.sums, to, index)
        if plan.how != "set":
            old = load(f, plan.sums, place, flags)
            if plan.how == "largest":
                value = emit.maximum(f, old, value, plan.dtype)
            else:
                value = emit.emit(f, "add", [old, value], [plan.sums, plan.sums], plan.sums)
        store(f, value, plan.sums, place, flags)
