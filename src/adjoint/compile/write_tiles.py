"""Loops that read something transposed: square tiles are turned in registers.

Lanes are along the axis that is written element after element. What is read element after element
along another axis comes as a square of vectors, is turned, and waits in scratch memory, row by row.
"""

from __future__ import annotations

from math import prod

from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import Function, Kind, Value
from adjoint.compile.loop_values import Scope, Values
from adjoint.compile.loops import Loops
from adjoint.compile.panels import turned

SMALLEST = 4  # shorter axes are read one by one


def tile_axis(loops: Loops) -> int | None:
    """The axis along which the largest load that is transposed lies, if there is one."""
    if not loops.is_flat or loops.has_sums or loops.sizes[loops.vector] < SMALLEST:
        return None
    found: list[tuple[int, int]] = []
    for item in loops.items:
        if item.op == "load" and item.strides[loops.vector] not in (0, 1):
            for axis, stride in enumerate(item.strides):
                if stride == 1 and loops.sizes[axis] >= SMALLEST:
                    pairs = zip(loops.sizes, item.strides, strict=True)
                    found.append((prod(n for n, s in pairs if s), axis))
    return max(found)[1] if found else None


def tiled(loops: Loops, axis: int) -> list[int]:
    """The loads that are turned."""
    return [
        i for i, item in enumerate(loops.items)
        if item.op == "load" and item.strides[axis] == 1
        and item.strides[loops.vector] not in (0, 1)
    ]  # fmt: skip


def tile_units(loops: Loops, axis: int, lanes: int) -> int:
    """Units of work: one is ``lanes`` places of the axis, over all of the vector axis."""
    rows = enumerate(loops.sizes[: loops.rows])
    others = prod(n for i, n in rows if i not in (axis, loops.vector))
    return others * -(-loops.sizes[axis] // lanes)


def tile_scratch(loops: Loops, axis: int, lanes: int) -> int:
    """Bytes of the squares."""
    return len(tiled(loops, axis)) * _square(lanes)


def _square(lanes: int) -> int:
    return lanes * lanes * 8


class TileWriter(Values):
    """The frame of such a kernel."""

    def __init__(self, f: Function, loops: Loops, lanes: int, axis: int) -> None:
        super().__init__(f, loops, lanes)
        self.axis = axis
        self.turned = tiled(loops, axis)

    def unit(self, scope: Scope, index: Value) -> None:
        """``lanes`` places of the axis, square after square along the lanes."""
        f, loops = self.f, self.loops
        blocks = -(-loops.sizes[self.axis] // self.lanes)
        block = f.two("urem", index, f.number(blocks))
        index = f.two("udiv", index, f.number(blocks))
        others = [i for i in range(loops.rows) if i not in (self.axis, loops.vector)]
        for axis in reversed(others):
            place = f.two("urem", index, f.number(loops.sizes[axis]))
            index = f.two("udiv", index, f.number(loops.sizes[axis]))
            self.enter(scope, axis, place)
        known = frozenset(others)
        self.define(scope, self.outer_items(known, frozenset()))
        first = f.mul(block, f.number(self.lanes))
        left = f.sub(f.number(loops.sizes[self.axis]), first)
        small = f.compare("slt", left, f.number(self.lanes))
        count = f.select(small, left, f.number(self.lanes))
        size = loops.sizes[loops.vector]
        whole = size - size % self.lanes
        with f.loop(0, whole, self.lanes) as loop:
            self.square(scope, first, count, loop.index, None, known)
        if whole < size:
            start = f.number(whole)
            mask = self.mask_for(f.number(size - whole))
            self.square(scope, first, count, start, mask, known)

    def square(
        self, scope: Scope, first: Value, count: Value, start: Value, mask: Value | None,
        known: frozenset[int],
    ) -> None:  # fmt: skip
        f, loops = self.f, self.loops
        corner = Scope(scope)
        self.enter(corner, self.axis, first)
        self.enter(corner, loops.vector, start)
        rows = loops.sizes[loops.vector] % self.lanes if mask is not None else self.lanes
        for number, item in enumerate(self.turned):
            self.turn(corner, item, self.tile(number), count, rows)
        with f.loop(0, count) as loop:
            inner = Scope(scope)
            self.mask = mask
            self.enter(inner, self.axis, f.add(first, loop.index))
            self.define(inner, self.outer_items(known | {self.axis}, known))
            self.enter(inner, loops.vector, start)
            for number, item in enumerate(self.turned):
                at = f.mul(loop.index, f.number(self.lanes))
                kind = elements.stored(loops.items[item].dtype)
                inner.places["load", item] = f.at(self.tile(number), at, kind)
            here = self.outer_items(known | {self.axis, loops.vector}, known | {self.axis})
            for i in here:
                value = self.from_tile(inner, i) if i in self.turned else self.compute(inner, i)
                self.know(inner, i, value)
            for i, store in enumerate(loops.stores):
                self.put(inner, i, store)
            self.mask = None

    def tile(self, number: int) -> Value:
        return self.f.at(self.f.arguments[3], number * _square(self.lanes), "i8")

    def from_tile(self, scope: Scope, item: int) -> Value:
        dtype = self.loops.items[item].dtype
        return elements.load(self.f, dtype, scope.places["load", item], self.lanes)

    def turn(self, scope: Scope, number: int, to: Value, count: Value, rows: int) -> None:
        """A square of an argument, as memory holds it, turned into ``to``."""
        f, item = self.f, self.loops.items[number]
        kind = Kind(elements.stored(item.dtype), self.lanes)
        stride = item.strides[self.loops.vector]
        place, size = scope.places["load", number], self.loops.sizes[self.axis]
        mask = None
        if size % self.lanes:
            mask = self.mask_for(count)
        lines: list[Value] = []
        for j in range(self.lanes):
            at = f.at(place, min(j, rows - 1) * stride, kind.element)
            lines.append(f.load(kind, at) if mask is None else f.load_masked(kind, at, mask))
        for i, line in enumerate(turned(f, lines)):
            f.store(line, f.at(to, i * self.lanes, kind.element))


def lanes_of_tile(loops: Loops, target: Target) -> int:
    """Lanes: as many as a vector has of the widest type that is read transposed."""
    bits = max([d.bits for d in loops.dtypes] or [32])
    return target.bits // max(bits, 32)
