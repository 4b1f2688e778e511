"""Loops become LLVM IR: every value is written at the outermost loop where it is known.

LLVM runs no passes over this text, so what does not change inside a loop is computed outside of
it here. Lanes are along one axis: loads along it are vectors, splats or strided; the last vector
of an axis that does not fill it is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from adjoint.base.dtype import DType, float64, int64
from adjoint.base.shape import Shape
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value
from adjoint.compile.emit import emit, maximum, reduce
from adjoint.compile.loops import WIDE_FROM, Item, Loops, Store

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
        return lanes
    return BLOCK if loops.free or loops.sizes[loops.vector] > BLOCK else loops.sizes[loops.vector]


def units(loops: Loops, target: Target) -> int:
    """How many units of work there are."""
    if not loops.is_flat:
        return prod(loops.sizes[: loops.rows])
    others = prod(n for i, n in enumerate(loops.sizes[: loops.rows]) if i != loops.vector)
    return others * -(-loops.sizes[loops.vector] // unit(loops, target))


def scratch(loops: Loops, target: Target) -> int:
    """Bytes of memory for the items that are saved from one pass to the next."""
    width = lanes_for(loops, target) if loops.is_flat else 1
    return sum(_space(loops, i, width) for i in loops.saved)


def _space(loops: Loops, item: int, width: int) -> int:
    size = Kind(elements.element(loops.items[item].dtype)).bits // 8
    # the last vector may reach beyond the row
    return -(-(loops.row * width + 32) * size // 64) * 64


def write(loops: Loops, target: Target, rectangle: bool = False) -> str:
    """The module; ``rectangle``: a kernel that finishes rows and columns of a contraction."""
    module = Module(target)
    arguments = [POINTER, WORD, WORD, WORD, WORD] if rectangle else [POINTER, WORD, WORD, POINTER]
    f = module.function("kernel", arguments)
    _Writer(f, loops, rectangle).write()
    return str(module)


class _Scope:
    """What is known at one place of the text: values of items, addresses of buffers."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self.values: dict[int, Value] = dict(outer.values) if outer else {}
        self.wide: dict[int, Value] = dict(outer.wide) if outer else {}
        self.places: dict[tuple[str, int], Value] = dict(outer.places) if outer else {}


class _Writer:
    def __init__(self, f: Function, loops: Loops, rectangle: bool) -> None:
        self.f = f
        self.loops = loops
        self.rectangle = rectangle
        self.lanes = lanes_for(loops, f.target)
        self.mask: Value | None = None
        self.length: Value | None = None  # of the piece at hand, of an axis that is cut
        users: set[int] = set()
        for i, item in enumerate(loops.items):
            if loops.vector in loops.depends[i] or item.op.startswith("reduce_"):
                users.update(item.args)
        users.update(s.item for s in loops.stores)
        self.used_wide = users  # items that some vector needs

    # --- the frame ------------------------------------------------------------------------------

    def write(self) -> None:
        f, loops = self.f, self.loops
        scope = _Scope()
        record = f.arguments[0]
        slots = [f.load(POINTER, f.at(record, i, "i64")) for i in range(len(loops.dtypes))]
        for i, item in enumerate(loops.items):
            if item.op == "load":
                scope.places["load", i] = slots[item.slot]
            elif item.op == "iota":
                scope.places["load", i] = f.number(dict(item.params)["start"])
        for i, store in enumerate(loops.stores):
            scope.places["store", i] = slots[store.slot]
        if loops.free:
            self.size = f.load(WORD, f.at(record, len(slots), "i64"))
        else:
            self.size = f.number(loops.sizes[loops.vector])
        self.define(scope, self.outer_items(frozenset()))
        if not self.rectangle:
            self.scratch(scope)
        with f.loop(f.arguments[1], f.arguments[2]) as loop:
            inner = _Scope(scope)
            self.unit(inner, loop.index)
        f.end()

    def scratch(self, scope: _Scope) -> None:
        width = self.lanes if self.loops.is_flat else 1
        offset = 0
        for item in self.loops.saved:
            scope.places["saved", item] = self.f.at(self.f.arguments[3], offset, "i8")
            offset += _space(self.loops, item, width)

    def outer_items(self, axes: frozenset[int], before: frozenset[int] | None = None) -> list[int]:
        """Items of pass 0 that change along some of ``axes`` only and are not known ``before``."""
        loops = self.loops
        found: list[int] = []
        for i, item in enumerate(loops.items):
            known = before is not None and loops.depends[i] <= before
            first = loops.passes[i] == 0 and not item.op.startswith("reduce_")
            if first and loops.depends[i] <= axes and not known:
                found.append(i)
        return found

    def unit(self, scope: _Scope, index: Value) -> None:
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
            self.row(scope)
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

    def along(self, scope: _Scope, start: Value, stop: Value, known: frozenset[int]) -> None:
        """Vector after vector from ``start`` to ``stop``, then a masked one for the rest."""
        f, loops = self.f, self.loops
        items = self.outer_items(known | {loops.vector}, known)

        def body(index: Value, mask: Value | None) -> None:
            inner = _Scope(scope)
            self.mask = mask
            self.enter(inner, loops.vector, index)
            self.define(inner, items)
            self.row(inner)
            self.mask = None

        width = f.number(self.lanes)
        n = loops.sizes[loops.vector]
        exact = not loops.free and not self.rectangle and n % self.lanes == 0
        if exact and unit(loops, f.target) % self.lanes == 0:
            with f.loop(start, stop, width) as loop:
                body(loop.index, None)
            return
        count = f.sub(stop, start)
        whole = f.two("and", count, f.number(-self.lanes))
        middle = f.add(start, whole)
        if loops.free or self.rectangle or (loops.row == 1 and n >= self.lanes):
            with f.loop(start, middle, width) as loop:
                body(loop.index, None)
        else:
            middle = start
        with f.loop(middle, stop, width) as loop:
            body(loop.index, self.mask_for(f.sub(stop, loop.index)))

    def mask_for(self, left: Value) -> Value:
        """The lanes below ``left``."""
        f = self.f
        kind = Kind("i32", self.lanes)
        small = f.emit(Kind("i32"), f"trunc {left.typed} to i32")
        return f.compare("slt", f.lanes(kind), f.splat(small, self.lanes))

    # --- one row --------------------------------------------------------------------------------

    def row(self, scope: _Scope) -> None:
        """All passes at one point of the rows (a vector of points, in a flat kernel)."""
        loops = self.loops
        for number in range(loops.count):
            self.one_pass(scope, number)
            self.define(scope, self.between(number + 1))
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

    def one_pass(self, scope: _Scope, number: int) -> None:
        f, loops = self.f, self.loops
        known = {*loops.saved, *(s.item for s in loops.stores if loops.is_inner_store(s))}
        needed = loops.needed(number, known)
        sums = [
            i for i, item in enumerate(loops.items)
            if item.op.startswith("reduce_") and loops.passes[i] == number
        ]  # fmt: skip
        kinds = [self.accumulator(i) for i in sums]
        starts = [f.number(self.neutral(i), kind) for i, kind in zip(sums, kinds, strict=True)]
        ends = self.nest(scope, loops.rows, starts, number, needed, sums)
        for i, value in zip(sums, ends, strict=True):
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
        self, scope: _Scope, axis: int, carried: Sequence[Value], number: int, needed: set[int],
        sums: list[int],
    ) -> list[Value]:  # fmt: skip
        """The loops over reduced axes from ``axis`` in; gives the sums."""
        f, loops = self.f, self.loops
        if axis == len(loops.sizes):
            return self.point(scope, carried, number, sums)
        here = [i for i in sorted(needed) if max(loops.depends[i]) == axis]

        def body(index: Value, values: Sequence[Value]) -> list[Value]:
            inner = _Scope(scope)
            self.enter(inner, axis, index)
            self.define_inner(inner, here, number)
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
        self, scope: _Scope, carried: Sequence[Value], number: int, sums: list[int]
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

    def finish(self, scope: _Scope, item: int, total: Value) -> None:
        """What a reduction comes to."""
        f, row = self.f, self.loops.items[item]
        value = total
        if not self.loops.is_flat:
            how = "add" if row.op == "reduce_sum" else "maximum"
            value = reduce(f, how, total, float64 if total.kind.element == "double" else row.dtype)
        if value.kind.element != elements.element(row.dtype):
            value = f.cast("fptrunc", value, "float")
        self.know(scope, item, value)

    # --- values and memory ----------------------------------------------------------------------

    def enter(self, scope: _Scope, axis: int, index: Value) -> None:
        """Go to ``index`` along ``axis`` in every buffer."""
        f, loops = self.f, self.loops
        steps: dict[int, Value] = {}

        def moved(key: tuple[str, int], stride: int, unit: str | None) -> None:
            if stride == 0:
                return
            if stride not in steps:
                steps[stride] = f.mul(index, f.number(stride)) if stride != 1 else index
            place = scope.places[key]
            if unit is None:
                scope.places[key] = f.add(place, steps[stride])
            else:
                scope.places[key] = f.at(place, steps[stride], unit)

        for i, item in enumerate(loops.items):
            if item.op in ("load", "iota"):
                unit = elements.stored(item.dtype) if item.op == "load" else None
                moved(("load", i), item.strides[axis], unit)
        for i, store in enumerate(loops.stores):
            dtype = loops.dtypes[store.slot]
            moved(("store", i), store.strides[axis], elements.stored(dtype))
        for i in loops.saved:
            stride = self.saved_strides()[axis] if axis >= loops.rows else 0
            if ("saved", i) in scope.places:
                moved(("saved", i), stride, elements.element(loops.items[i].dtype))

    def saved_strides(self) -> list[int]:
        """Along each axis, how far one step goes in the memory of a saved item."""
        loops = self.loops
        step = self.lanes if loops.is_flat else 1
        found = [0] * len(loops.sizes)
        for axis in reversed(range(loops.rows, len(loops.sizes))):
            found[axis] = step
            step *= loops.sizes[axis]
        return found

    def define(self, scope: _Scope, items: list[int]) -> None:
        for i in items:
            self.know(scope, i, self.compute(scope, i))

    def define_inner(self, scope: _Scope, items: list[int], number: int) -> None:
        """The same inside a pass: what an earlier one saved or stored is read again."""
        f, loops = self.f, self.loops
        for i in items:
            dtype = loops.items[i].dtype
            old = loops.passes[i] < number
            stores = [s for s, st in enumerate(loops.stores)
                      if st.item == i and loops.is_inner_store(st)]  # fmt: skip
            if old and i in loops.saved:
                place = scope.places["saved", i]
                value = f.load(Kind(elements.element(dtype), self.width(i)), place)
            elif old and stores and loops.items[i].op not in ("load", "number", "iota"):
                store = loops.stores[stores[0]]
                value = self.read(scope.places["store", stores[0]], dtype, store.strides, i)
            else:
                value = self.compute(scope, i)
                if i in loops.saved and not old:
                    f.store(value, scope.places["saved", i])
            self.know(scope, i, value)

    def width(self, item: int) -> int:
        """Lanes of an item: 0 where it is the same along the vector axis."""
        return self.lanes if self.loops.vector in self.loops.depends[item] else 0

    def know(self, scope: _Scope, item: int, value: Value) -> None:
        scope.values[item] = value
        if not value.kind.lanes and item in self.used_wide:
            scope.wide[item] = self.f.splat(value, self.lanes)

    def vector(self, scope: _Scope, item: int) -> Value:
        value = scope.values[item]
        return value if value.kind.lanes else scope.wide[item]

    def compute(self, scope: _Scope, number: int) -> Value:
        f, item = self.f, self.loops.items[number]
        match item.op:
            case "load":
                return self.read(scope.places["load", number], item.dtype, item.strides, number)
            case "number":
                return f.number(dict(item.params)["value"], Kind(elements.element(item.dtype)))
            case "iota":
                return self.counted(scope, number, item)
        wide = self.width(number) > 0
        args = [self.vector(scope, a) if wide else scope.values[a] for a in item.args]
        dtypes: list[DType] = [self.loops.items[a].dtype for a in item.args]
        rule = special(item.op)
        if rule is not None:
            return rule(f, args, dtypes, item.dtype, dict(item.params))
        return emit(f, item.op, args, dtypes, item.dtype, dict(item.params))

    def counted(self, scope: _Scope, number: int, item: Item) -> Value:
        """A value that grows evenly along axes."""
        f = self.f
        start = scope.places["load", number]
        stride = item.strides[self.loops.vector] if item.strides else 0
        if stride:
            kind = Kind("i64", self.lanes)
            steps = f.mul(f.lanes(kind), f.number(stride, kind))
            start = f.add(f.splat(start, self.lanes), steps)
        return emit(f, "cast", [start], [int64], item.dtype)

    def read(self, place: Value, dtype: DType, strides: Shape, item: int) -> Value:
        f = self.f
        stride = strides[self.loops.vector] if strides else 0
        if stride == 0:
            return elements.load(f, dtype, place, 0)
        if stride == 1:
            return elements.load(f, dtype, place, self.lanes, self.mask)
        return elements.strided(f, dtype, place, stride, self.lanes, self.mask)

    def put(self, scope: _Scope, number: int, store: Store) -> None:
        f, dtype = self.f, self.loops.dtypes[store.slot]
        place = scope.places["store", number]
        stride = store.strides[self.loops.vector]
        if stride == 0:
            value = scope.values[store.item]
            elements.store(f, value, dtype, place, None)
        elif stride == 1:
            elements.store(f, self.vector(scope, store.item), dtype, place, self.mask)
        else:
            value = self.vector(scope, store.item)
            elements.store_strided(f, value, dtype, place, stride, self.mask)


def special(name: str) -> Any:
    """How a region is computed directly, if it is."""
    return None
