"""Loops become kernels of a GPU: the text of one thread, which works on scalars.

What does not change along the reduced axes is computed by every thread of a team. Threads that
stand outside of the index space work on its last point again and store nothing, so that all of a
warp meet at every barrier.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjoint.compile import elements
from adjoint.compile.backends.cuda.layout import Layout, layout, unsaved
from adjoint.compile.backends.cuda.target import WARP, CudaTarget
from adjoint.compile.backends.cuda.threads import (
    CudaModule,
    barrier,
    block,
    exchanged,
    thread,
    wide,
)
from adjoint.compile.code import POINTER, WORD, Kind, Value
from adjoint.compile.emit import emit, maximum
from adjoint.compile.loop_values import Scope
from adjoint.compile.loops import WIDE_FROM, Loops, Store
from adjoint.compile.write_loops import Writer

LIMIT = 1 << 31  # points up to which 32 bits are enough to count them


def write(loops: Loops, target: CudaTarget) -> str:
    """The module; its function ``kernel`` takes the addresses of all buffers, then the size if
    that is free."""
    plan = layout(loops)
    module = CudaModule(target)
    arguments = [POINTER] * len(loops.dtypes) + [WORD] * loops.free
    module.kernel(arguments, plan.threads)
    writer = TeamWriter if loops.has_sums else PointWriter
    writer(module, unsaved(loops), plan).write()
    return str(module)


class ThreadWriter(Writer):
    """What both kinds of kernel share."""

    def __init__(self, module: CudaModule, loops: Loops, plan: Layout) -> None:
        super().__init__(module.functions["kernel"], loops, False)
        self.module = module
        self.plan = plan
        self.lanes = 0

    def start(self) -> Scope:
        """The buffers, and what is the same everywhere."""
        f, loops = self.f, self.loops
        scope = Scope()
        for i, item in enumerate(loops.items):
            if item.op == "load":
                scope.places["load", i] = f.arguments[item.slot]
            elif item.op == "iota":
                scope.places["load", i] = f.number(dict(item.params)["start"])
        for i, store in enumerate(loops.stores):
            scope.places["store", i] = f.arguments[store.slot]
        self.define(scope, self.outer_items(frozenset()))
        return scope

    def walk(self, scope: Scope, axes: Sequence[int], index: Value) -> dict[int, Value]:
        """Go to the point ``index`` of ``axes``, counted with the last one fastest."""
        f, loops = self.f, self.loops
        found: dict[int, Value] = {}
        for axis in reversed(axes):
            place = index
            if axis != axes[0]:
                size = f.number(loops.sizes[axis], index.kind)
                place = f.two("urem", index, size)
                index = f.two("udiv", index, size)
            found[axis] = wide(f, place)
            self.enter(scope, axis, found[axis])
        return found

    def define_all(self, scopes: Sequence[Scope], items: Sequence[int]) -> None:
        """The items at several points: loads come together, not one after the use of another."""
        for i in items:
            for scope in scopes:
                self.know(scope, i, self.compute(scope, i))

    def put_if(self, scope: Scope, stores: Sequence[tuple[int, Store]],
               condition: Value | None) -> None:  # fmt: skip
        """Store what is ready, where ``condition`` holds (None: everywhere)."""
        if not stores:
            return
        if condition is None:
            for i, store in stores:
                self.put(scope, i, store)
            return
        with self.f.when(condition):
            for i, store in stores:
                self.put(scope, i, store)

    def inside(self, index: Value, count: int, whole: bool) -> tuple[Value, Value | None]:
        """``index``, or the last below ``count``, and whether it was below; ``whole``: it is."""
        if whole:
            return index, None
        f = self.f
        size = f.number(count, index.kind)
        fits = f.compare("slt", index, size)
        return f.select(fits, index, f.number(count - 1, index.kind)), fits


class PointWriter(ThreadWriter):
    """No sums: every thread computes a few points, a block's threads next to each other."""

    def write(self) -> None:
        f, loops, plan = self.f, self.loops, self.plan
        scope = self.start()
        points = f.arguments[-1] if loops.free else None
        kind = WORD if loops.free or loops.points >= LIMIT else Kind("i32")
        number, here = block(f), thread(f)
        if kind is WORD:
            number, here = wide(f, number), wide(f, here)
        unit = plan.threads * plan.each
        first = f.add(f.mul(number, f.number(unit, kind)), here)
        scopes: list[Scope] = []
        conditions: list[Value | None] = []
        for k in range(plan.each):
            index = f.add(first, f.number(k * plan.threads, kind)) if k else first
            if points is None:
                index, fits = self.inside(index, loops.points, loops.points % unit == 0)
            else:
                fits = f.compare("slt", index, points)
                index = f.select(fits, index, f.sub(points, f.number(1)))
            inner = Scope(scope)
            self.walk(inner, range(len(loops.sizes)), index)
            scopes.append(inner)
            conditions.append(fits)
        axes = frozenset(range(len(loops.sizes)))
        self.define_all(scopes, self.outer_items(axes, frozenset()))
        stores = list(enumerate(loops.stores))
        for inner, condition in zip(scopes, conditions, strict=True):
            self.put_if(inner, stores, condition)
        f.end()


class TeamWriter(ThreadWriter):
    """Sums: pass after pass over the reduced axes, shared by a team."""

    def __init__(self, module: CudaModule, loops: Loops, plan: Layout) -> None:
        super().__init__(module, loops, plan)
        f = self.f
        self.here = thread(f)
        across, team = (f.number(n, self.here.kind) for n in (plan.across, plan.team))
        if loops.is_flat:
            self.column = f.two("urem", self.here, across)
            self.member = f.two("udiv", self.here, across)
        else:
            self.column = f.two("udiv", self.here, team)
            self.member = f.two("urem", self.here, team)
        self.valid: Value | None = None
        self.kept: list[tuple[Scope, Value | None]] = []

    def write(self) -> None:
        f, loops = self.f, self.loops
        scope = self.start()
        scope = self.to_row(scope)
        for number in range(loops.count):
            self.team_pass(scope, number)
        first = f.compare("eq", self.member, f.number(0, self.member.kind))
        if self.valid is not None:
            first = f.two("and", first, self.valid)
        outer = [(i, s) for i, s in enumerate(loops.stores) if not loops.is_inner_store(s)]
        self.put_if(scope, outer, first)
        f.end()

    def to_row(self, scope: Scope) -> Scope:
        """Go to the point of the rows that this thread works for."""
        f, loops, plan = self.f, self.loops, self.plan
        inner = Scope(scope)
        axes = [i for i in range(loops.rows) if i != loops.vector]
        number, across = block(f), f.number(plan.across, Kind("i32"))
        if loops.is_flat:
            size = loops.sizes[loops.vector]
            tiles = f.number(-(-size // plan.across), number.kind)
            along = f.mul(f.two("urem", number, tiles), across)
            along = f.add(along, self.column)
            along, self.valid = self.inside(along, size, size % plan.across == 0)
            self.enter(inner, loops.vector, wide(f, along))
            index = f.two("udiv", number, tiles)
        else:
            rows = loops.points // loops.row
            index = f.add(f.mul(number, across), self.column)
            index, self.valid = self.inside(index, rows, rows % plan.across == 0)
        places = self.walk(inner, axes, index)
        if loops.ragged is not None:
            self.length = self.piece(places[loops.ragged[0]])
        known = frozenset(range(loops.rows))
        self.define(inner, self.outer_items(known, frozenset()))
        return inner

    # --- one pass -------------------------------------------------------------------------------

    def team_pass(self, scope: Scope, number: int) -> None:
        f, loops, plan = self.f, self.loops, self.plan
        sums = [
            i for i, item in enumerate(loops.items)
            if item.op.startswith("reduce_") and loops.passes[i] == number
        ]  # fmt: skip
        kinds = [self.accumulator(i) for i in sums]
        totals = [f.number(self.neutral(i), k) for i, k in zip(sums, kinds, strict=True)]
        if plan.keep:
            totals = self.kept_points(scope, number, sums, totals)
        else:
            totals = self.looped_points(scope, number, sums, totals)
        totals = self.together(sums, totals)
        for i, total in zip(sums, totals, strict=True):
            self.finish(scope, i, total)
        self.define(scope, self.between(number + 1))
        for inner, _ in self.kept:
            inner.values.update(scope.values)
            inner.wide.update(scope.wide)

    def kept_points(
        self, scope: Scope, number: int, sums: list[int], totals: list[Value]
    ) -> list[Value]:
        """All of the row at once; what an earlier pass computed is there."""
        f, loops, plan = self.f, self.loops, self.plan
        if not self.kept:
            for k in range(plan.each):
                index = self.member
                if k:
                    index = f.add(index, f.number(k * plan.team, index.kind))
                whole = (k + 1) * plan.team <= loops.row
                index, fits = self.inside(index, loops.row, whole)
                self.kept.append(self.to_point(scope, index, fits))
        scopes = [s for s, _ in self.kept]
        needed = [i for i in sorted(loops.needed(number, {})) if i not in scopes[0].values]
        self.define_all(scopes, needed)
        return self.points(self.kept, number, sums, totals)

    def looped_points(
        self, scope: Scope, number: int, sums: list[int], totals: list[Value]
    ) -> list[Value]:
        """Some points of the row at a time; what was stored is read again, the rest computed."""
        f, loops, plan = self.f, self.loops, self.plan
        needed = sorted(loops.needed(number, loops.kept))
        member = wide(f, self.member)
        step = plan.team * plan.each
        whole = loops.row - loops.row % step

        def several(first: Value, count: int, carried: Sequence[Value]) -> list[Value]:
            found: list[tuple[Scope, Value | None]] = []
            for k in range(count):
                index = f.add(first, f.number(k * plan.team)) if k else first
                if loops.row < LIMIT and loops.rows + 1 < len(loops.sizes):
                    index = f.cast("trunc", index, "i32")  # to be divided
                found.append(self.to_point(scope, index, None))
            for i in needed:
                for inner, _ in found:
                    self.define_inner(inner, [i], number)
            return self.points(found, number, sums, carried)

        if whole:
            with f.loop(0, whole, step, totals) as loop:
                loop.carry = several(f.add(loop.index, member), plan.each, loop.values)
            totals = loop.values
        if whole < loops.row:
            start = f.add(member, f.number(whole))
            with f.loop(start, loops.row, plan.team, totals) as loop:
                loop.carry = several(loop.index, 1, loop.values)
            totals = loop.values
        return totals

    def to_point(
        self, scope: Scope, index: Value, fits: Value | None
    ) -> tuple[Scope, Value | None]:
        """The point ``index`` of the reduced axes, and whether it counts."""
        f, loops = self.f, self.loops
        inner = Scope(scope)
        axes = range(loops.rows, len(loops.sizes))
        if loops.ragged is None:
            self.walk(inner, axes, index)
            return inner, fits
        assert self.length is not None
        for axis in reversed(axes):
            place = index
            if axis != axes[0]:
                size = f.number(loops.sizes[axis], index.kind)
                place, index = f.two("urem", index, size), f.two("udiv", index, size)
            place = wide(f, place)
            if axis == loops.ragged[1]:
                near = f.compare("slt", place, self.length)
                place = f.select(near, place, f.sub(self.length, f.number(1)))
                fits = near if fits is None else f.two("and", fits, near)
            self.enter(inner, axis, place)
        return inner, fits

    def points(
        self, points: Sequence[tuple[Scope, Value | None]], number: int, sums: list[int],
        carried: Sequence[Value],
    ) -> list[Value]:  # fmt: skip
        """Store what is ready at some points, and add to the sums."""
        f, loops = self.f, self.loops
        stores = [
            (i, s) for i, s in enumerate(loops.stores)
            if loops.is_inner_store(s) and loops.store_pass(s) == number
        ]  # fmt: skip
        totals = list(carried)
        for scope, fits in points:
            for place, i in enumerate(sums):
                item, total = loops.items[i], totals[place]
                value = scope.values[item.args[0]]
                if fits is not None:
                    value = f.select(fits, value, f.number(self.neutral(i), value.kind))
                if total.kind.element == "double" and value.kind.element == "float":
                    value = f.cast("fpext", value, "double")
                totals[place] = self.added(i, total, value)
        for scope, fits in points:
            condition = fits
            if self.valid is not None:
                condition = self.valid if fits is None else f.two("and", fits, self.valid)
            self.put_if(scope, stores, condition)
        return totals

    # --- sums -----------------------------------------------------------------------------------

    def accumulator(self, item: int) -> Kind:
        """What a thread sums in: float64 where it has many numbers of 32 bits to add."""
        row = self.loops.items[item]
        element = elements.element(row.dtype)
        many = self.loops.row // self.plan.team >= WIDE_FROM
        return Kind("double" if many and row.op == "reduce_sum" and element == "float" else element)

    def added(self, item: int, a: Value, b: Value) -> Value:
        row = self.loops.items[item]
        if row.op == "reduce_max":
            return maximum(self.f, a, b, row.dtype)
        return emit(self.f, "add", [a, b], [row.dtype] * 2, row.dtype)

    def together(self, sums: list[int], totals: list[Value]) -> list[Value]:
        """The sums of the whole team, in an order that the sizes alone decide."""
        plan = self.plan
        if plan.team == 1 or not sums:
            return totals
        if self.loops.is_flat:
            return self.by_memory(sums, totals, plan.across, self.here, self.column)
        found: list[Value] = []
        for i, total in zip(sums, totals, strict=True):
            distance = min(plan.team, WARP) // 2
            while distance:
                total = self.added(i, total, exchanged(self.f, total, distance))
                distance //= 2
            found.append(total)
        if plan.team <= WARP:
            return found
        f = self.f
        lane = f.two("urem", self.here, f.number(WARP, self.here.kind))
        warp = f.two("udiv", self.here, f.number(WARP, self.here.kind))
        first = f.compare("eq", lane, f.number(0, lane.kind))
        start = f.mul(self.column, f.number(plan.team // WARP, lane.kind))
        return self.by_memory(sums, found, 1, warp, start, first)

    def by_memory(
        self, sums: list[int], totals: list[Value], stride: int, to: Value, start: Value,
        condition: Value | None = None,
    ) -> list[Value]:  # fmt: skip
        """Everybody writes a sum to place ``to`` of the shared memory (where ``condition`` holds)
        and adds up the places from ``start`` on, ``stride`` apart."""
        f, plan = self.f, self.plan
        count = plan.team if self.loops.is_flat else plan.team // WARP
        memory: list[Value] = []
        for i, total in zip(sums, totals, strict=True):
            size = -(-total.kind.bits // 8)
            memory.append(self.module.shared(f"sums{i}", max(count * plan.across * size, 16)))
        if condition is None:
            for place, total in zip(memory, totals, strict=True):
                f.store(_byte(self, total), f.at(place, wide(f, to), total.kind.element))
        else:
            with f.when(condition):
                for place, total in zip(memory, totals, strict=True):
                    f.store(_byte(self, total), f.at(place, wide(f, to), total.kind.element))
        barrier(f)
        found: list[Value] = []
        for i, place, total in zip(sums, memory, totals, strict=True):
            element = total.kind.element
            begin = f.at(place, wide(f, start), element)
            whole: Value | None = None
            for k in range(count):
                value = f.load(Kind(_unit(element)), f.at(begin, k * stride, element))
                if element == "i1":
                    value = f.cast("trunc", value, "i1")
                whole = value if whole is None else self.added(i, whole, value)
            assert whole is not None
            found.append(whole)
        return found


def _unit(element: str) -> str:
    """What memory holds of a register: a bit is a byte there."""
    return "i8" if element == "i1" else element


def _byte(writer: ThreadWriter, value: Value) -> Value:
    return writer.f.cast("zext", value, "i8") if value.kind.element == "i1" else value
