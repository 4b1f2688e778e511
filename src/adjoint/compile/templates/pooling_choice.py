"""Which element of a window is its maximum, and what stands there.

The first element, in row-major order, that equals the maximum; the last one where none does,
which is the case of NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from adjoint.base.dtype import DType, int64
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import Function, Kind, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.templates.entry import (
    JOB,
    at,
    chunked,
    enter,
    fill,
    kind_of,
    lanes_for,
    load,
    store,
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


@template("from_first_max", "place_of_max")
def chosen(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are rows of windows."""
    assert node.args is not None
    *values, x, out = node.args
    frame = node.params["frame"]
    lead = x.ndim - len(frame.kernel)
    if 0 in out.shape:
        return []
    g = geometry(prod(x.shape[:lead]), x.shape[lead:], frame)
    if g is None:
        return None
    name, dtype = node.params["region"].name, x.dtype

    def write(target: Target) -> str:
        return _write(g, dtype, target, bool(values))

    row = prod(g.kernel[:-1]) * g.width * dtype.itemsize
    return [
        Kernel(
            name, f"{name}{g}{dtype}", write, tuple(Place(a) for a in node.args),
            (Place(results[0]),), extent=g.planes * prod(g.places[:-1]),
            grain=max(1, JOB // max(row, 1)), scratch=padding_bytes(g, dtype) * len(node.args),
            nbytes=sum(prod(a.shape) * a.dtype.itemsize for a in (*node.args, node)),
            nodes=(node,),
        )
    ]  # fmt: skip


def padding_bytes(g: Geometry, dtype: DType) -> int:
    """Bytes of a row that stands in for those that do not exist."""
    return -(-(g.width + 32) * dtype.itemsize // 64) * 64


def lanes_of_rows(target: Target, g: Geometry) -> int:
    """Lanes for windows of a row."""
    return 1 if g.stride[-1] > WIDEST_STRIDE else lanes_for(target, g.columns)


class Windows:
    """Rows of windows of one array: what each tap sees; ``rest`` is what padding holds."""

    def __init__(
        self, f: Function, g: Geometry, dtype: DType, lanes: int, start: Value, padding: Value,
        rest: float,
    ) -> None:  # fmt: skip
        self.f = f
        self.g = g
        self.dtype = dtype
        self.lanes = lanes
        self.start = start
        self.padding = padding
        self.rest = rest
        self.starts: list[Value] = []
        fill(f, dtype, padding, g.width, f.number(rest, kind_of(dtype, 1)), 1)

    def go(self, plane: Value, places: Sequence[Value]) -> None:
        """Look at the windows at ``places`` of a plane from now on."""
        f, g = self.f, self.g
        self.starts = []
        for tap in g.outer_taps:
            start = at(f, self.dtype, self.start, row_of(f, g, plane, places, tap))
            exists = inside(f, g, places, tap)
            if exists is not None:
                start = f.select(exists, start, self.padding)
            self.starts.append(start)

    def taps(self, first: Value | int, place: int | None) -> list[Value]:
        """What each tap sees of ``lanes`` windows, in row-major order."""
        f, g = self.f, self.g
        stride, low = g.stride[-1], g.low[-1]
        found: list[Value] = []
        for start in self.starts:

            def read(offset: int, count: int, start: Value = start) -> Value:
                if place is None:
                    assert isinstance(first, Value)
                    flags = [True] * count
                    column = scaled(f, first, stride, offset - low)
                    return load(f, self.dtype, at(f, self.dtype, start, column), flags)
                column = place * self.lanes * stride + offset - low
                flags = [0 <= column + i < g.width for i in range(count)]
                rest = f.number(self.rest, kind_of(self.dtype, count))
                return load(f, self.dtype, at(f, self.dtype, start, column), flags, rest)

            found += picked(f, g.kernel[-1], g.dilation[-1], stride, self.lanes, read)
        return found

    def is_inner(self, place: int) -> bool:
        """Whether a chunk of windows needs no masks."""
        g, many = self.g, self.lanes
        first = place * many * g.stride[-1] - g.low[-1]
        span = many * g.stride[-1] if many > 1 else 1
        offset = g.groups * g.stride[-1] if many > 1 else (g.kernel[-1] - 1) * g.dilation[-1]
        return first >= 0 and first + offset + span <= g.width and (place + 1) * many <= g.columns

    def kept(self, place: int | None) -> list[bool]:
        """The lanes of a chunk that are windows."""
        if place is None:
            return [True] * self.lanes
        return [place * self.lanes + i < self.g.columns for i in range(self.lanes)]


def equal(f: Function, a: Value, b: Value) -> Value:
    return f.compare("oeq" if a.kind.is_float else "eq", a, b)


def _write(g: Geometry, dtype: DType, target: Target, has_values: bool) -> str:
    e = enter(target, 3 if has_values else 2, 1)
    f, lanes = e.f, lanes_of_rows(target, g)
    x, out = e.reads[-2:]
    result = dtype if has_values else int64
    padding = f.at(e.scratch, padding_bytes(g, dtype), "i8")
    windows = Windows(f, g, dtype, lanes, x, e.scratch, lowest(dtype))
    values = Windows(f, g, dtype, lanes, e.reads[0], padding, 0) if has_values else None
    with f.loop(e.begin, e.end) as unit:
        plane, *places = decoded(f, unit.index, (g.planes, *g.places[:-1]))
        for source in (windows, values):
            if source is not None:
                source.go(plane, places)
        row = f.mul(unit.index, f.number(g.columns))

        def write(first: Value | int, place: int | None) -> None:
            index = f.add(row, first if isinstance(first, Value) else f.number(first))
            kept = windows.kept(place)
            largest = load(f, dtype, at(f, dtype, out, index), kept)
            if values is not None:
                there = values.taps(first, place)
            else:
                there = _numbers(f, g, lanes, places, first)
            *before, found = there
            seen = windows.taps(first, place)[:-1]
            for value, other in zip(reversed(seen), reversed(before), strict=True):
                found = f.select(equal(f, value, largest), other, found)
            store(f, found, result, at(f, result, e.writes[0], index), kept)

        chunked(f, g.columns, lanes, windows.is_inner, write)
    return e.finish()


def _numbers(
    f: Function, g: Geometry, lanes: int, places: Sequence[Value], first: Value | int
) -> list[Value]:
    """The flat place in the array that each tap meets; 0 for padding."""
    kind = Kind("i64", lanes if lanes > 1 else 0)
    start = f.splat(first if isinstance(first, Value) else f.number(first), kind.lanes)
    window = f.add(start, f.lanes(kind))
    nothing = f.number(0, kind)
    found: list[Value] = []
    for tap in product(*(range(k) for k in g.kernel)):
        *outer, along = tap
        shift = along * g.dilation[-1] - g.low[-1]
        column = f.add(f.mul(window, f.number(g.stride[-1], kind)), f.number(shift, kind))
        index = row_of(f, g, f.number(0), places, outer)
        number = f.add(f.splat(index, kind.lanes), column)
        exists = f.compare("ult", column, f.number(g.width, kind))
        row_exists = inside(f, g, places, outer)
        number = f.select(exists, number, nothing)
        if row_exists is not None:
            number = f.select(row_exists, number, nothing)
        found.append(number)
    return found
