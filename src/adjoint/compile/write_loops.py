"""Loops become LLVM IR: every value is written at the outermost loop where it is known.

LLVM runs no passes over this text, so what does not change inside a loop is computed outside of
it here. Lanes are along one axis: loads along it are vectors, splats or strided; the last vector
of an axis that does not fill it is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from adjoint.base.dtype import float64
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value
from adjoint.compile.emit import emit, maximum, reduce
from adjoint.compile.loop_values import Scope, Values, space
from adjoint.compile.loops import WIDE_FROM, Loops
from adjoint.compile.write_tiles import (
    TileWriter,
    lanes_of_tile,
    tile_axis,
    tile_scratch,
    tile_units,
)

BLOCK = 1024  # elements of a flat kernel's unit of work


def lanes_for(loops: Loops, target: Target) -> int:
    """Lanes of the kernel's vectors: as many as the widest type of most values fills."""
    bits = [d.bits for d in loops.dtypes if d.name != "bool"] or [32]
    wide = 64 if min(bits) == 64 else 32
    return target.bits // wide


def unit(loops: Loops, target: Target) -> int:
    """Elements along the vector axis that one unit of a flat kernel handles."""
    lanes = lanes_for(loops, target)
    if loops.row > 1:
        return lanes * together(loops, target)
    return BLOCK if loops.free or loops.sizes[loops.vector] > BLOCK else loops.sizes[loops.vector]


def together(loops: Loops, target: Target) -> int:
    """How many vectors of columns are summed at a time: more memory is read in one piece."""
    if loops.row == 1 or not loops.is_flat or loops.saved:
        return 1
    most = 4 if len(loops.items) <= 10 else 2 if len(loops.items) <= 24 else 1
    return min(most, max(loops.sizes[loops.vector] // lanes_for(loops, target), 1))


def units(loops: Loops, target: Target) -> int:
    """How many units of work there are."""
    if (axis := tile_axis(loops)) is not None:
        return tile_units(loops, axis, lanes_of_tile(loops, target))
    if not loops.is_flat:
        return prod(loops.sizes[: loops.rows])
    others = prod(n for i, n in enumerate(loops.sizes[: loops.rows]) if i != loops.vector)
    return others * -(-loops.sizes[loops.vector] // unit(loops, target))


def scratch(loops: Loops, target: Target) -> int:
    """Bytes of memory for squares that are turned, for items saved from one pass to the next."""
    if (axis := tile_axis(loops)) is not None:
        return tile_scratch(loops, axis, lanes_of_tile(loops, target))
    width = lanes_for(loops, target) if loops.is_flat else 1
    return sum(space(loops, i, width) for i in loops.saved)


def write(loops: Loops, target: Target, rectangle: bool = False) -> str:
    """The module; ``rectangle``: a kernel that finishes rows and columns of a contraction."""
    module = Module(target)
    arguments = [POINTER, WORD, WORD, WORD, WORD] if rectangle else [POINTER, WORD, WORD, POINTER]
    f = module.function("kernel", arguments)
    axis = None if rectangle else tile_axis(loops)
    if axis is not None:
        TileWriter(f, loops, lanes_of_tile(loops, target), axis).write()
    else:
        Writer(f, loops, rectangle).write()
    return str(module)


class Writer(Values):
    """The frame of a kernel: rows, lanes, passes over the reduced axes."""

    def __init__(self, f: Function, loops: Loops, rectangle: bool) -> None:
        super().__init__(f, loops, lanes_for(loops, f.target))
        self.rectangle = rectangle
        self.length: Value | None = None  # of the piece at hand, of an axis that is cut

    # --- the frame ------------------------------------------------------------------------------

    def unit(self, scope: Scope, index: Value) -> None:
        """One unit of work: a row, or a piece of one along the lanes."""
        f, loops = self.f, self.loops
        row_axes = [i for i in range(loops.rows) if i != loops.vector]
        start: Value | None = None
        if loops.is_flat and not self.rectangle:
            pieces = -(-loops.sizes[loops.vector] // unit(loops, f.target))
            row = index
            if loops.free or not row_axes:
                piece = index
            elif pieces == 1:
                piece = f.number(0)
            else:
                row = f.two("udiv", index, f.number(pieces))
                piece = f.two("urem", index, f.number(pieces))
            start = f.mul(piece, f.number(unit(loops, f.target)))
            index = row
        for axis in reversed(row_axes):
            n = loops.sizes[axis]
            if axis == row_axes[0]:
                place = index
            else:
                place = f.two("urem", index, f.number(n))
                index = f.two("udiv", index, f.number(n))
            self.enter(scope, axis, place)
            if loops.ragged is not None and axis == loops.ragged[0]:
                self.length = self.piece(place)
        known = frozenset(row_axes)
        self.define(scope, self.outer_items(known, frozenset()))
        if not loops.is_flat:
            self.row([scope])
        elif self.rectangle:
            self.along(scope, f.arguments[3], f.arguments[4], known)
        else:
            assert start is not None
            stop = f.add(start, f.number(unit(loops, f.target)))
            if loops.free or loops.sizes[loops.vector] % unit(loops, f.target):
                stop = f.select(f.compare("slt", stop, self.size), stop, self.size)
            self.along(scope, start, stop, known)

    def piece(self, index: Value) -> Value:
        """How long piece ``index`` of the axis that is cut is."""
        f, loops = self.f, self.loops
        assert loops.ragged is not None
        _, axis, total = loops.ragged
        length = f.number(loops.sizes[axis])
        left = f.sub(f.number(total), f.mul(index, length))
        left = f.select(f.compare("slt", left, f.number(0)), f.number(0), left)
        return f.select(f.compare("slt", left, length), left, length)

    def along(self, scope: Scope, start: Value, stop: Value, known: frozenset[int]) -> None:
        """Vector after vector from ``start`` to ``stop``, then a masked one for the rest."""
        f, loops = self.f, self.loops
        items = self.outer_items(known | {loops.vector}, known)

        def body(index: Value, mask: Value | None, count: int = 1) -> None:
            self.mask = mask
            fan = self.side_by_side([scope] * count, loops.vector, index)
            for i, inner in enumerate(fan):
                self.define(inner, items if i == 0 else self.changing(fan[0], inner, items))
            self.row(fan)
            self.mask = None

        width = f.number(self.lanes)
        n = loops.sizes[loops.vector]
        many = together(loops, f.target)
        if many > 1:
            wide = f.sub(stop, f.number(many * self.lanes - 1))
            with f.loop(start, wide, many * self.lanes) as loop:
                body(loop.index, None, many)
            done = f.sub(stop, start)
            done = f.mul(f.two("udiv", done, f.number(many * self.lanes)), width)
            start = f.add(start, f.mul(done, f.number(many)))
        exact = not loops.free and not self.rectangle and n % self.lanes == 0
        if exact and unit(loops, f.target) % self.lanes == 0:
            with f.loop(start, stop, width) as loop:
                body(loop.index, None)
            return
        count = f.sub(stop, start)
        whole = f.two("and", count, f.number(-self.lanes))
        middle = f.add(start, whole)
        if loops.free or self.rectangle or (n >= self.lanes and (loops.row == 1 or many > 1)):
            with f.loop(start, middle, width) as loop:
                body(loop.index, None)
        else:
            middle = start
        with f.loop(middle, stop, width) as loop:
            body(loop.index, self.mask_for(f.sub(stop, loop.index)))

    def side_by_side(self, scopes: list[Scope], axis: int, index: Value) -> list[Scope]:
        """New scopes at ``index`` of ``axis``: one, or some that are a vector apart each."""
        inner = [Scope(scope) for scope in scopes]
        self.enter(inner[0], axis, index)
        for k, scope in enumerate(inner[1:], 1):
            self.beside(inner[0], scope, axis, k * self.lanes)
        return inner

    def changing(self, first: Scope, other: Scope, items: list[int]) -> list[int]:
        """Those of ``items`` that change along the lanes; the rest is as in ``first``."""
        found: list[int] = []
        for i in items:
            if self.loops.vector in self.loops.depends[i]:
                found.append(i)
            else:
                other.values[i] = first.values[i]
                if i in first.wide:
                    other.wide[i] = first.wide[i]
        return found

    # --- one row --------------------------------------------------------------------------------

    def row(self, scopes: list[Scope]) -> None:
        """All passes at one point of the rows (vectors of points, in a flat kernel)."""
        loops = self.loops
        for number in range(loops.count):
            self.one_pass(scopes, number)
            for scope in scopes:
                self.define(scope, self.between(number + 1))
        for scope in scopes:
            for i, store in enumerate(loops.stores):
                if not loops.is_inner_store(store):
                    self.put(scope, i, store)

    def between(self, number: int) -> list[int]:
        """Items of the rows that are known before pass ``number``."""
        loops = self.loops
        return [
            i for i, item in enumerate(loops.items)
            if loops.passes[i] == number and not loops.is_inner(i)
            and not item.op.startswith("reduce_")
        ]  # fmt: skip

    def one_pass(self, scopes: list[Scope], number: int) -> None:
        f, loops = self.f, self.loops
        needed = loops.needed(number, loops.kept)
        sums = [
            i for i, item in enumerate(loops.items)
            if item.op.startswith("reduce_") and loops.passes[i] == number
        ]  # fmt: skip
        kinds = [self.accumulator(i) for i in sums]
        starts = [f.number(self.neutral(i), kind) for i, kind in zip(sums, kinds, strict=True)]
        ends = self.nest(scopes, loops.rows, starts * len(scopes), number, needed, sums)
        for k, scope in enumerate(scopes):
            for i, value in zip(sums, ends[k * len(sums) :], strict=False):
                self.finish(scope, i, value)

    def accumulator(self, item: int) -> Kind:
        dtype = self.loops.items[item].dtype
        element = elements.element(dtype)
        per_lane = self.loops.row // (1 if self.loops.is_flat else self.lanes)
        is_sum = self.loops.items[item].op == "reduce_sum"
        if is_sum and element == "float" and per_lane >= WIDE_FROM:
            element = "double"
        return Kind(element, self.lanes)

    def neutral(self, item: int) -> float:
        row = self.loops.items[item]
        if row.op == "reduce_sum":
            return 0
        if row.dtype.kind == "f":
            return float("-inf")
        return 0 if row.dtype.kind in "ub" else -(1 << row.dtype.bits - 1)

    def nest(
        self, scopes: list[Scope], axis: int, carried: Sequence[Value], number: int,
        needed: set[int], sums: list[int],
    ) -> list[Value]:  # fmt: skip
        """The loops over reduced axes from ``axis`` in; gives the sums."""
        f, loops = self.f, self.loops
        if axis == len(loops.sizes):
            found: list[Value] = []
            for k, scope in enumerate(scopes):
                mine = carried[k * len(sums) : (k + 1) * len(sums)]
                found += self.point(scope, mine, number, sums)
            return found
        here = [i for i in sorted(needed) if max(loops.depends[i]) == axis]

        def body(index: Value, values: Sequence[Value]) -> list[Value]:
            inner = self.side_by_side(scopes, axis, index)
            for k, scope in enumerate(inner):
                items = here if k == 0 else self.changing(inner[0], scope, here)
                self.define_inner(scope, items, number)
            return self.nest(inner, axis + 1, values, number, needed, sums)

        size = loops.sizes[axis]
        stop: Value | None = None
        if loops.ragged is not None and axis == loops.ragged[1]:
            stop = self.length
        if axis == loops.vector and stop is not None:
            return self.ragged(stop, carried, body)
        if axis != loops.vector:
            with f.loop(0, stop or size, 1, carried) as loop:
                loop.carry = body(loop.index, loop.values)
            return loop.values
        whole = size - size % self.lanes
        values = list(carried)
        if whole:
            with f.loop(0, whole, self.lanes, values) as loop:
                loop.carry = body(loop.index, loop.values)
            values = loop.values
        if whole < size:
            self.mask = self.mask_for(f.number(size - whole))
            values = body(f.number(whole), values)
            self.mask = None
        return values

    def ragged(
        self, stop: Value, carried: Sequence[Value],
        body: Callable[[Value, Sequence[Value]], list[Value]],
    ) -> list[Value]:  # fmt: skip
        """The lanes along a piece of an axis: vectors, then a masked one for the rest."""
        f = self.f
        whole = f.two("and", stop, f.number(-self.lanes))
        with f.loop(0, whole, self.lanes, carried) as loop:
            loop.carry = body(loop.index, loop.values)
        with f.loop(whole, stop, self.lanes, loop.values) as rest:
            self.mask = self.mask_for(f.sub(stop, rest.index))
            rest.carry = body(rest.index, rest.values)
            self.mask = None
        return rest.values

    def point(
        self, scope: Scope, carried: Sequence[Value], number: int, sums: list[int]
    ) -> list[Value]:
        """One point: store what is ready, add to the sums."""
        f, loops = self.f, self.loops
        for i, store in enumerate(loops.stores):
            if loops.is_inner_store(store) and loops.store_pass(store) == number:
                self.put(scope, i, store)
        found: list[Value] = []
        for i, total in zip(sums, carried, strict=True):
            item = loops.items[i]
            value = self.vector(scope, item.args[0])
            if self.mask is not None and not loops.is_flat:
                neutral = f.number(self.neutral(i), value.kind)
                value = f.select(self.mask, value, neutral)
            if total.kind.element == "double" and value.kind.element == "float":
                value = f.cast("fpext", value, "double")
            if item.op == "reduce_max":
                found.append(maximum(f, total, value, item.dtype))
            else:
                found.append(emit(f, "add", [total, value], [item.dtype] * 2, item.dtype))
        return found

    def finish(self, scope: Scope, item: int, total: Value) -> None:
        """What a reduction comes to."""
        f, row = self.f, self.loops.items[item]
        value = total
        if not self.loops.is_flat:
            how = "add" if row.op == "reduce_sum" else "maximum"
            value = reduce(f, how, total, float64 if total.kind.element == "double" else row.dtype)
        if value.kind.element != elements.element(row.dtype):
            value = f.cast("fptrunc", value, "float")
        self.know(scope, item, value)
