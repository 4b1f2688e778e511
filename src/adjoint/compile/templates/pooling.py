"""Windows reduced: their maximum or their sum.

First the rows that a window covers are combined, column by column, into a row in the thread's
memory with padding at both ends; then the columns of that row. Some rows are done at a time, as
many as stay in the first-level cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from adjoint.base.dtype import DType
from adjoint.compile import elements, emit
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import Function, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.templates.entry import (
    JOB,
    Entry,
    at,
    bits,
    enter,
    fill,
    first_lanes,
    kind_of,
    lanes_for,
    lanes_of,
    load,
    store,
    wide,
)
from adjoint.compile.templates.geometry import (
    WIDEST_STRIDE,
    Geometry,
    decoded,
    geometry,
    inside,
    lowest,
    picked,
    row_of,
    scaled,
)
from adjoint.ir.node import Node

BLOCK = 1 << 14  # bytes of rows in the thread's memory
UNROLLED = 16  # taps of the kernel that are written out; more are a loop


@template("window_max", "window_sum")
def reduced(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; jobs are blocks of rows."""
    assert node.args is not None
    (x,) = node.args
    name = node.params["region"].name
    frame = node.params["frame"]
    count = len(frame.kernel)
    if 0 in node.shape:
        return []
    if x.dtype.kind == "b" and name == "window_sum":
        return None
    g = geometry(prod(x.shape[: x.ndim - count]), x.shape[x.ndim - count :], frame)
    if g is None:
        return None
    plan = Plan(g.merged(), x.dtype, name == "window_max")
    return [
        Kernel(
            name, f"{name}{plan}", plan.write, (Place(x),), (Place(results[0]),),
            extent=plan.extent, grain=max(1, JOB // plan.unit_bytes), scratch=plan.scratch,
            flops=node_size(node) * prod(frame.kernel),
            nbytes=(node_size(x) + node_size(node)) * x.dtype.itemsize, nodes=(node,),
        )
    ]  # fmt: skip


def node_size(node: Node) -> int:
    return prod(node.shape)


class Plan(NamedTuple):
    """What there is to do, and how."""

    g: Geometry
    dtype: DType
    largest: bool

    @property
    def is_flat(self) -> bool:
        """Whether rows in the thread's memory follow each other as windows do."""
        return self.g.is_cells(len(self.g.sizes) - 1) and self.g.stride[-1] <= WIDEST_STRIDE

    @property
    def pitch(self) -> int:
        """Elements between rows in the thread's memory; enough for whole vectors."""
        if self.is_flat:
            return self.g.width
        most = 32
        ends = (self.g.columns + most + self.g.groups + 1) * self.g.stride[-1]
        return max(ends, self.g.low[-1] + self.g.width + most)

    @property
    def rows(self) -> int:
        """Rows in a block."""
        size = self.pitch * wide(self.dtype).itemsize
        return min(self.g.places[-2], max(1, BLOCK // size))

    @property
    def blocks(self) -> int:
        return -(-self.g.places[-2] // self.rows)

    @property
    def extent(self) -> int:
        return self.g.planes * prod(self.g.places[:-2]) * self.blocks

    @property
    def unit_bytes(self) -> int:
        outer = prod(self.g.kernel[:-2]) * self.g.stride[-2]
        return self.rows * self.g.width * self.dtype.itemsize * outer

    @property
    def padding(self) -> int:
        """Bytes of a row of padding, which stands in for rows that do not exist."""
        if not any(self.g.is_padded(a) for a in range(len(self.g.sizes) - 1)):
            return 0
        return -(-(self.g.width + 32) * self.dtype.itemsize // 64) * 64

    @property
    def scratch(self) -> int:
        slack = 64 * WIDEST_STRIDE
        return self.padding + (self.rows * self.pitch + slack) * wide(self.dtype).itemsize

    def write(self, target: Target) -> str:
        return Writer(self, target).write()


class Writer:
    """Writes the kernel of a plan."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.g = plan.g
        self.dtype = plan.dtype
        self.wide = wide(plan.dtype)
        self.e: Entry = enter(target, 1, 1)
        self.f: Function = self.e.f
        self.down_lanes = lanes_for(target, self.g.width)
        if plan.is_flat:
            self.across_lanes = lanes_of(target)
        else:
            self.across_lanes = lanes_for(target, self.g.columns)
        if self.g.stride[-1] > WIDEST_STRIDE:
            self.across_lanes = 1
        self.nothing = lowest(self.dtype) if plan.largest else 0

    def combine(self, a: Value, b: Value) -> Value:
        if self.plan.largest:
            return emit.maximum(self.f, a, b, self.dtype)
        return self.f.add(a, b)

    def empty(self, lanes: int) -> Value:
        return self.f.number(self.nothing, kind_of(self.dtype, lanes))

    def write(self) -> str:
        f, g, plan = self.f, self.g, self.plan
        self.padding = self.e.scratch
        self.block = f.at(self.e.scratch, plan.padding, "i8")
        if plan.padding:
            many = plan.padding // self.dtype.itemsize
            fill(f, self.dtype, self.padding, many, self.empty(1), self.down_lanes)
        if not plan.is_flat:
            size = plan.rows * plan.pitch
            fill(f, self.wide, self.block, size, self.empty(1), self.down_lanes)
        with f.loop(self.e.begin, self.e.end) as unit:
            plane, *outer, block = decoded(f, unit.index, (g.planes, *g.places[:-2], plan.blocks))
            first = f.mul(block, f.number(plan.rows))
            left = f.sub(f.number(g.places[-2]), first)
            rows = f.call("llvm.smin.i64", left.kind, left, f.number(plan.rows))
            if plan.blocks * plan.rows == g.places[-2]:
                rows = f.number(plan.rows)
            with f.loop(0, rows) as row:
                self.down(plane, [*outer, f.add(first, row.index)], row.index)
            index = plane
            for p, size in zip([*outer, first], g.places[:-1], strict=True):
                index = f.add(f.mul(index, f.number(size)), p)
            out = at(f, self.dtype, self.e.writes[0], f.mul(index, f.number(g.columns)))
            if plan.is_flat:
                self.across(self.block, out, f.mul(rows, f.number(g.columns)))
            else:
                with f.loop(0, rows) as row:
                    source = at(f, self.wide, self.block, scaled(f, row.index, plan.pitch))
                    place = at(f, self.dtype, out, scaled(f, row.index, g.columns))
                    self.across(source, place, g.columns)
        return self.e.finish()

    # --- down the rows --------------------------------------------------------------------------

    def down(self, plane: Value, places: list[Value], row: Value) -> None:
        """All rows that the windows at ``places`` cover, into one row of the block."""
        f, g, plan = self.f, self.g, self.plan
        place = scaled(f, row, plan.pitch, g.low[-1])
        to = at(f, self.wide, self.block, place)
        taps = g.outer_taps
        if len(taps) > UNROLLED:
            self.down_in_loops(plane, places, to)
            return
        starts: list[Value] = []
        for tap in taps:
            start = at(f, self.dtype, self.e.reads[0], row_of(f, g, plane, places, tap))
            exists = inside(f, g, places, tap)
            starts.append(start if exists is None else f.select(exists, start, self.padding))

        def combined(column: Value | int, flags: list[bool]) -> None:
            found: Value | None = None
            for start in starts:
                value = load(f, self.dtype, at(f, self.dtype, start, column), flags)
                found = value if found is None else self.combine(found, value)
            assert found is not None
            self.keep(found, to, column, flags)

        self.by_columns(combined)

    def by_columns(self, write: Callable[[Value | int, list[bool]], None]) -> None:
        """``write(column, flags)`` for every vector of a row."""
        lanes, width = self.down_lanes, self.g.width
        whole = width // lanes * lanes
        if whole:
            with self.f.loop(0, whole, lanes) as loop:
                write(loop.index, [True] * lanes)
        if whole < width:
            write(whole, [i < width - whole for i in range(lanes)])

    def keep(self, value: Value, to: Value, column: Value | int, flags: list[bool]) -> None:
        """Into the block; what lies behind a row is padding."""
        if not all(flags):
            value = self.f.select(bits(self.f, flags), value, self.empty(len(flags)))
        elements.store(self.f, value, self.wide, at(self.f, self.wide, to, column))

    def down_in_loops(self, plane: Value, places: list[Value], to: Value) -> None:
        """The same for kernels with many rows: loops over the taps that exist."""
        f, g = self.f, self.g
        ranges = [self.taps_inside(axis, p) for axis, p in enumerate(places)]
        origin = row_of(f, g, plane, places, (0,) * len(places))
        start = at(f, self.dtype, self.e.reads[0], origin)
        steps = [prod(g.sizes[a + 1 :]) * g.dilation[a] for a in range(len(places))]

        def combined(column: Value | int, flags: list[bool]) -> None:
            first = at(f, self.dtype, start, column)

            def inner(axis: int, pointer: Value, sum_so_far: Value) -> Value:
                low, high = ranges[axis]
                with f.loop(low, high, 1, [sum_so_far]) as loop:
                    here = at(f, self.dtype, pointer, f.mul(loop.index, f.number(steps[axis])))
                    if axis + 1 < len(ranges):
                        loop.carry = [inner(axis + 1, here, loop.values[0])]
                    else:
                        value = load(f, self.dtype, here, flags)
                        loop.carry = [self.combine(loop.values[0], value)]
                return loop.values[0]

            self.keep(inner(0, first, self.empty(len(flags))), to, column, flags)

        self.by_columns(combined)

    def taps_inside(self, axis: int, place: Value) -> tuple[Value, Value]:
        """The first tap that meets an element, and the one behind the last."""
        f, g = self.f, self.g
        kernel, step = f.number(g.kernel[axis]), f.number(g.dilation[axis])
        if not g.is_padded(axis):
            return f.number(0), kernel
        zero, up = f.number(0), f.number(g.dilation[axis] - 1)
        base = scaled(f, place, g.stride[axis], -g.low[axis])
        found: list[Value] = []
        for before in (f.sub(zero, base), f.sub(f.number(g.sizes[axis]), base)):
            least = f.call("llvm.smax.i64", zero.kind, before, zero)
            taps = f.two("udiv", f.add(least, up), step)
            found.append(f.call("llvm.smin.i64", zero.kind, taps, kernel))
        return found[0], found[1]

    # --- across the columns ---------------------------------------------------------------------

    def across(self, source: Value, out: Value, count: Value | int) -> None:
        """``count`` windows of a padded row, or of many rows of cells."""
        f, lanes = self.f, self.across_lanes
        if isinstance(count, int):
            whole: Value | int = count // lanes * lanes
            has_rest = whole < count
        else:
            whole = f.two("and", count, f.number(-lanes))
            has_rest = lanes > 1
        with f.loop(0, whole, lanes) as loop:
            self.store(self.windows(source, loop.index), out, loop.index)
        if not has_rest:
            return
        if isinstance(whole, int):
            assert isinstance(count, int)
            flags = [i < count - whole for i in range(lanes)]
            place = at(f, self.dtype, out, whole)
            store(f, self.windows(source, whole), self.dtype, place, flags)
            return
        assert isinstance(count, Value)
        rest = f.sub(count, whole)
        with f.when(f.compare("ne", rest, f.number(0))):
            mask = first_lanes(f, rest, lanes)
            self.store(self.windows(source, whole), out, whole, mask)

    def store(
        self, value: Value, out: Value, index: Value | int, mask: Value | None = None
    ) -> None:
        elements.store(self.f, value, self.dtype, at(self.f, self.dtype, out, index), mask)

    def windows(self, source: Value, index: Value | int) -> Value:
        """``lanes`` windows from ``index`` on."""
        f, g, lanes = self.f, self.g, self.across_lanes
        stride, kernel, dilation = g.stride[-1], g.kernel[-1], g.dilation[-1]
        if isinstance(index, int):
            start = at(f, self.wide, source, index * stride)
        else:
            start = at(f, self.wide, source, scaled(f, index, stride))

        def read(offset: Value | int, count: int) -> Value:
            place = at(f, self.wide, start, offset)
            return elements.load(f, self.wide, place, count if count > 1 else 0)

        if kernel <= UNROLLED:
            values = picked(f, kernel, dilation, stride, lanes, read)
            found = next(values)
            for value in values:
                found = self.combine(found, value)
            return found
        with f.loop(0, kernel, 1, [self.empty(lanes)]) as loop:
            offset = scaled(f, loop.index, dilation)
            step = stride if lanes > 1 else 1
            (value,) = picked(f, 1, 1, step, lanes, lambda _, count: read(offset, count))
            loop.carry = [self.combine(loop.values[0], value)]
        return loop.values[0]
