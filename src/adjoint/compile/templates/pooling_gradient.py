"""The reverse of windows: a cotangent sent to the first largest element of its window
(``to_first_max``), or to all elements (``window_spread``).

Where each window has elements of its own, they are written as the windows are looked at. Where
windows overlap, every window is first given the number of its largest element; then every element
collects from the windows that it lies in. Both are kept in the thread's memory, for one plane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from adjoint.base.dtype import DType, int32
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import Function, Kind, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.templates.entry import (
    JOB,
    Entry,
    at,
    chunked,
    enter,
    fill,
    kind_of,
    load,
    store,
    wide,
)
from adjoint.compile.templates.geometry import (
    Geometry,
    decoded,
    geometry,
    lowest,
    row_of,
    scaled,
)
from adjoint.compile.templates.pooling_choice import (
    Windows,
    equal,
    lanes_of_rows,
    padding_bytes,
)
from adjoint.ir.node import Node

SLACK = 64  # elements behind a plane in the thread's memory that whole vectors may touch


@template("to_first_max", "window_spread")
def sent_back(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are rows of windows, or planes where windows overlap."""
    assert node.args is not None
    name, frame = node.params["region"].name, node.params["frame"]
    lead = node.ndim - len(frame.kernel)
    if 0 in node.shape:
        return []
    if 0 in node.args[0].shape or node.dtype.kind == "b":
        return None
    g = geometry(prod(node.shape[:lead]), node.shape[lead:], frame)
    if g is None:
        return None
    plan = Plan(g.merged(), node.dtype, name == "to_first_max")
    return [
        Kernel(
            name, f"{name}{plan}", plan.write, tuple(Place(a) for a in node.args),
            (Place(results[0]),), extent=plan.extent, grain=max(1, JOB // plan.unit_bytes),
            scratch=plan.scratch,
            nbytes=sum(prod(a.shape) * a.dtype.itemsize for a in (*node.args, node)),
            nodes=(node,),
        )
    ]  # fmt: skip


class Plan(NamedTuple):
    """What there is to do, and how."""

    g: Geometry
    dtype: DType
    largest: bool

    @property
    def is_direct(self) -> bool:
        return all(self.g.is_cells(a) for a in range(len(self.g.sizes)))

    @property
    def extent(self) -> int:
        return self.g.planes * (prod(self.g.places[:-1]) if self.is_direct else 1)

    @property
    def unit_bytes(self) -> int:
        rows = prod(self.g.stride[:-1]) if self.is_direct else prod(self.g.sizes[:-1])
        return rows * self.g.width * self.dtype.itemsize

    @property
    def padding(self) -> int:
        return padding_bytes(self.g, self.dtype)

    def steps(self, axis: int) -> int:
        """How many strides an axis is long."""
        g = self.g
        return -(-(g.sizes[axis] + g.low[axis]) // g.stride[axis])

    def before(self, axis: int) -> int:
        """How many windows before the one that starts in a stride reach into it."""
        return (self.g.kernel[axis] - 1) * self.g.dilation[axis] // self.g.stride[axis]

    @property
    def room(self) -> tuple[int, ...]:
        """The sizes of a plane of windows with room at both ends."""
        last = len(self.g.sizes) - 1
        found = [
            self.before(a) + max(self.g.places[a], self.steps(a)) + (32 if a == last else 0)
            for a in range(last + 1)
        ]
        return tuple(found)

    @property
    def plane(self) -> int:
        return prod(self.room) + SLACK

    @property
    def scratch(self) -> int:
        if self.is_direct:
            return self.padding
        size = wide(self.dtype).itemsize
        return self.padding + self.plane * (size + (int32.itemsize if self.largest else 0))

    def write(self, target: Target) -> str:
        writer = Direct(self, target) if self.is_direct else Collected(self, target)
        return writer.write()


class Writer:
    """What both ways share: the cotangents, and the windows of x with their maxima."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.g = plan.g
        self.dtype = plan.dtype
        self.lanes = lanes_of_rows(target, plan.g)
        self.e: Entry = enter(target, 3 if plan.largest else 1, 1)
        self.f: Function = self.e.f
        self.windows: Windows | None = None
        if plan.largest:
            self.windows = Windows(
                self.f, self.g, self.dtype, self.lanes, self.e.reads[1], self.e.scratch,
                lowest(self.dtype),
            )  # fmt: skip

    def kept(self, place: int | None) -> list[bool]:
        if place is None:
            return [True] * self.lanes
        return [place * self.lanes + i < self.g.columns for i in range(self.lanes)]

    def is_inner(self, place: int) -> bool:
        if self.windows is not None:
            return self.windows.is_inner(place)
        return (place + 1) * self.lanes <= self.g.columns

    def argument(self, which: int, index: Value, place: int | None) -> Value:
        """Elements of the cotangent (0) or of the maxima (2)."""
        start = at(self.f, self.dtype, self.e.reads[which], index)
        return load(self.f, self.dtype, start, self.kept(place))

    def zero(self, lanes: int | None = None) -> Value:
        return self.f.number(0, kind_of(self.dtype, lanes or self.lanes))

    def put(self, parts: list[Value], row: Value, column: Value | int, first: int | None) -> None:
        """Interleaved ``parts`` to the elements of a row from ``column`` on, which is ``first``
        where it is known; those that do not exist are left out."""
        f, width = self.f, self.g.width
        start = at(f, self.dtype, row, column)
        if self.lanes == 1:
            for i, part in enumerate(parts):
                if first is None or 0 <= first + i < width:
                    elements.store(f, part, self.dtype, at(f, self.dtype, start, i))
            return
        value = interleaved(f, parts)
        count = value.kind.lanes
        flags = [first is None or 0 <= first + i < width for i in range(count)]
        store(f, value, self.dtype, start, flags)


class Direct(Writer):
    """Every window has elements of its own, and there are no others."""

    def write(self) -> str:
        f, g = self.f, self.g
        flat = g._replace(dilation=(1,) * len(g.sizes))
        with f.loop(self.e.begin, self.e.end) as unit:
            plane, *places = decoded(f, unit.index, (g.planes, *g.places[:-1]))
            if self.windows is not None:
                self.windows.go(plane, places)
            first_window = f.mul(unit.index, f.number(g.columns))
            rows = [
                (phase, at(f, self.dtype, self.e.writes[0], row_of(f, flat, plane, places, phase)))
                for phase in product(*(range(s) for s in g.stride[:-1]))
            ]

            def write(first: Value | int, place: int | None) -> None:
                start = first if isinstance(first, Value) else f.number(first)
                values = self.shares(f.add(first_window, start), first, place)
                column = scaled(f, start, g.stride[-1])
                known = None if place is None else place * self.lanes * g.stride[-1]
                for phase, row in rows:
                    parts = [
                        values.get((*phase, along), self.zero()) for along in range(g.stride[-1])
                    ]
                    self.put(parts, row, column, known)

            chunked(f, g.columns, self.lanes, self.is_inner, write)
        return self.e.finish()

    def shares(
        self, index: Value, first: Value | int, place: int | None
    ) -> dict[tuple[int, ...], Value]:
        """What each tap gets, by the place of its element in the cell."""
        f, g = self.f, self.g
        ct = self.argument(0, index, place)
        taps = list(product(*(range(k) for k in g.kernel)))
        values = [ct] * len(taps)
        if self.windows is not None:
            largest = self.argument(2, index, place)
            values, rest = list[Value](), ct
            for seen in self.windows.taps(first, place)[:-1]:
                hit = equal(f, seen, largest)
                values.append(f.select(hit, rest, self.zero()))
                rest = f.select(hit, self.zero(), rest)
            values.append(rest)
        cells = [tuple(t * d for t, d in zip(tap, g.dilation, strict=True)) for tap in taps]
        return dict(zip(cells, values, strict=True))


class Collected(Writer):
    """Every element sums over the windows that it lies in."""

    def __init__(self, plan: Plan, target: Target) -> None:
        super().__init__(plan, target)
        f = self.f
        self.wide = wide(plan.dtype)
        self.cts = f.at(self.e.scratch, plan.padding, "i8")
        self.codes = at(f, self.wide, self.cts, plan.plane)

    def write(self) -> str:
        f, g, plan = self.f, self.g, self.plan
        fill(f, self.wide, self.cts, plan.plane, self.zero(1), self.lanes)
        with f.loop(self.e.begin, self.e.end) as unit:
            self.over(g.places[:-1], [], lambda places: self.look(unit.index, places))
            steps = [plan.steps(a) for a in range(len(g.sizes) - 1)]
            self.over(steps, [], lambda places: self.collect_rows(unit.index, places))
        return self.e.finish()

    def over(
        self, sizes: Sequence[int], places: list[Value], write: Callable[[list[Value]], None]
    ) -> None:
        """Nested loops."""
        if len(places) == len(sizes):
            write(places)
            return
        with self.f.loop(0, sizes[len(places)]) as loop:
            self.over(sizes, [*places, loop.index], write)

    def look(self, plane: Value, places: list[Value]) -> None:
        """Number the largest elements of a row of windows."""
        f, g = self.f, self.g
        if self.windows is not None:
            self.windows.go(plane, places)
        row = plane
        for p, size in zip(places, g.places[:-1], strict=True):
            row = f.add(f.mul(row, f.number(size)), p)
        row = f.mul(row, f.number(g.columns))
        to = self.room_at(places, (0,) * len(places))

        def write(first: Value | int, place: int | None) -> None:
            start = first if isinstance(first, Value) else f.number(first)
            index, target = f.add(row, start), f.add(to, start)
            ct = self.argument(0, index, place)
            elements.store(f, ct, self.wide, at(f, self.wide, self.cts, target))
            if self.windows is None:
                return
            largest = self.argument(2, index, place)
            kind = Kind("i32", self.lanes if self.lanes > 1 else 0)
            seen = self.windows.taps(first, place)
            code = f.number(len(seen) - 1, kind)
            for i in reversed(range(len(seen) - 1)):
                code = f.select(equal(f, seen[i], largest), f.number(i, kind), code)
            f.store(code, f.at(self.codes, target, "i32"))

        chunked(f, g.columns, self.lanes, self.is_inner, write)

    def room_at(self, places: Sequence[Value], back: Sequence[int]) -> Value:
        """Where the row ``back`` before that at ``places`` begins, in the plane with room."""
        f, plan = self.f, self.plan
        index = f.number(0)
        for axis, (p, b) in enumerate(zip(places, back, strict=True)):
            here = scaled(f, p, 1, plan.before(axis) - b)
            index = f.add(f.mul(index, f.number(plan.room[axis])), here)
        return scaled(f, index, plan.room[-1], plan.before(len(places)))

    def collect_rows(self, plane: Value, places: list[Value]) -> None:
        """The rows of elements that begin a stride further on each axis."""
        f, g = self.f, self.g
        flat = g._replace(dilation=(1,) * len(g.sizes))
        for phase in product(*(range(s) for s in g.stride[:-1])):
            exists = f.number(1, Kind("i1"))
            for axis, (p, shift) in enumerate(zip(places, phase, strict=True)):
                y = scaled(f, p, g.stride[axis], shift - g.low[axis])
                exists = f.two("and", exists, f.compare("ult", y, f.number(g.sizes[axis])))
            with f.when(exists):
                index = row_of(f, flat, plane, places, phase)
                self.collect_row(at(f, self.dtype, self.e.writes[0], index), places, phase)

    def collect_row(self, row: Value, places: list[Value], phase: tuple[int, ...]) -> None:
        """Every element of a row that has the given place in its stride."""
        f, g, plan = self.f, self.g, self.plan
        last, lanes = len(places), self.lanes
        outer = [self.meeting(axis, shift) for axis, shift in enumerate(phase)]
        rows = [
            (tuple(t for t, _ in pairs), self.room_at(places, [b for _, b in pairs]))
            for pairs in product(*outer)
        ]
        stride, low = g.stride[last], g.low[last]

        def write(first: Value | int, place: int | None) -> None:
            start = first if isinstance(first, Value) else f.number(first)
            parts: list[Value] = []
            for along in range(stride):
                total: Value | None = None
                for taps, origin in rows:
                    for tap, back in self.meeting(last, along):
                        index = scaled(f, f.add(origin, start), 1, -back)
                        value = self.share(index, (*taps, tap))
                        total = value if total is None else f.add(total, value)
                parts.append(self.zero() if total is None else total)
            known = None if place is None else place * lanes * stride - low
            self.put(parts, row, scaled(f, start, stride, -low), known)

        def is_inner(place: int) -> bool:
            begin = place * lanes * stride - low
            return begin >= 0 and begin + lanes * stride <= g.width

        chunked(f, plan.steps(last), lanes, is_inner, write)

    def meeting(self, axis: int, phase: int) -> list[tuple[int, int]]:
        """The taps that meet elements at a place in their stride, and how many windows back."""
        g = self.g
        stride, dilation = g.stride[axis], g.dilation[axis]
        return [
            (t, t * dilation // stride)
            for t in range(g.kernel[axis])
            if t * dilation % stride == phase
        ]

    def share(self, index: Value, tap: tuple[int, ...]) -> Value:
        """What ``lanes`` windows from ``index`` on give to their element at ``tap``."""
        f, lanes = self.f, self.lanes if self.lanes > 1 else 0
        ct = elements.load(f, self.wide, at(f, self.wide, self.cts, index), lanes)
        if self.windows is None:
            return ct
        number = 0
        for t, size in zip(tap, self.g.kernel, strict=True):
            number = number * size + t
        code = f.load(Kind("i32", lanes), f.at(self.codes, index, "i32"))
        return f.select(equal(f, code, f.number(number, code.kind)), ct, self.zero())


def interleaved(f: Function, parts: list[Value]) -> Value:
    """The first elements of all parts, then the second ones, and so on."""
    count, lanes = len(parts), parts[0].kind.lanes
    if count == 1:
        return parts[0]
    if count == 2:
        return f.shuffle(
            parts[0], parts[1], [i + side * lanes for i in range(lanes) for side in (0, 1)]
        )
    halves = [
        f.shuffle(a, b, list(range(2 * lanes))) for a, b in (parts[:2], (parts[2], parts[-1]))
    ]
    return f.shuffle(
        halves[0], halves[1], [i + k * lanes for i in range(lanes) for k in range(count)]
    )
