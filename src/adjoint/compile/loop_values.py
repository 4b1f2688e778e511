"""What a loop kernel reads, computes and writes at one place of its text."""

from __future__ import annotations

from typing import Any

from adjoint.base.dtype import DType, int64
from adjoint.base.shape import Shape
from adjoint.compile import elements
from adjoint.compile.code import POINTER, WORD, Function, Kind, Value
from adjoint.compile.emit import emit
from adjoint.compile.loops import WIDTH, Item, Loops, Store
from adjoint.compile.regions import REGIONS


class Scope:
    """What is known at one place of the text: values of items, addresses of buffers."""

    def __init__(self, outer: Scope | None = None) -> None:
        self.values: dict[int, Value] = dict(outer.values) if outer else {}
        self.wide: dict[int, Value] = dict(outer.wide) if outer else {}
        self.places: dict[tuple[str, int], Value] = dict(outer.places) if outer else {}


class Values:
    """Writes the items of a kernel, one place of the text at a time."""

    def __init__(self, f: Function, loops: Loops, lanes: int) -> None:
        self.f = f
        self.loops = loops
        self.lanes = lanes
        self.mask: Value | None = None
        users: set[int] = set()
        for i, item in enumerate(loops.items):
            if loops.vector in loops.depends[i] or item.op.startswith("reduce_"):
                users.update(item.args)
        users.update(s.item for s in loops.stores)
        self.used_wide = users  # items that some vector needs

    def write(self) -> None:
        f, loops = self.f, self.loops
        scope = Scope()
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
        self.scratch(scope)
        with f.loop(f.arguments[1], f.arguments[2]) as loop:
            inner = Scope(scope)
            self.unit(inner, loop.index)
        f.end()

    def unit(self, scope: Scope, index: Value) -> None:
        """One unit of work."""
        raise NotImplementedError

    def scratch(self, scope: Scope) -> None:
        width = self.lanes if self.loops.is_flat else 1
        offset = 0
        for item in self.loops.saved:
            scope.places["saved", item] = self.f.at(self.f.arguments[3], offset, "i8")
            offset += space(self.loops, item, width)

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

    def mask_for(self, left: Value) -> Value:
        """The lanes below ``left``; a literal where that is a number."""
        f = self.f
        if left.text.isdigit():
            bits = ", ".join(f"i1 {'true' if i < int(left.text) else 'false'}"
                             for i in range(self.lanes))  # fmt: skip
            return Value(f"<{bits}>", Kind("i1", self.lanes))
        kind = Kind("i32", self.lanes)
        small = f.emit(Kind("i32"), f"trunc {left.typed} to i32")
        return f.compare("slt", f.lanes(kind), f.splat(small, self.lanes))

    def enter(self, scope: Scope, axis: int, index: Value) -> None:
        """Go to ``index`` along ``axis`` in every buffer."""
        f, loops = self.f, self.loops
        steps: dict[int, Value] = {}

        def moved(key: tuple[str, int], stride: int, unit: str | None) -> None:
            if stride == 0:
                return
            if stride not in steps:
                far = self.size if stride == WIDTH else f.number(stride)
                steps[stride] = f.mul(index, far) if stride != 1 else index
            place = scope.places[key]
            if unit is None:
                scope.places[key] = f.add(place, steps[stride])
            else:
                scope.places[key] = f.at(place, steps[stride], unit)

        for key, strides, unit in self.accesses():
            moved(key, strides[axis], unit)
        for i in loops.saved:
            stride = self.saved_strides()[axis] if axis >= loops.rows else 0
            if ("saved", i) in scope.places:
                moved(("saved", i), stride, elements.element(loops.items[i].dtype))

    def accesses(self) -> list[tuple[tuple[str, int], Shape, str | None]]:
        """Every place that moves with an index: its key, strides, and unit (None: a number)."""
        loops = self.loops
        found: list[tuple[tuple[str, int], Shape, str | None]] = []
        for i, item in enumerate(loops.items):
            if item.op in ("load", "iota"):
                unit = elements.stored(item.dtype) if item.op == "load" else None
                found.append((("load", i), item.strides, unit))
        for i, store in enumerate(loops.stores):
            dtype = loops.dtypes[store.slot]
            found.append((("store", i), store.strides, elements.stored(dtype)))
        return found

    def beside(self, first: Scope, other: Scope, axis: int, steps: int) -> None:
        """``other`` goes where ``first`` went along ``axis``, but ``steps`` further along the
        lanes."""
        vector = self.loops.vector
        for key, strides, unit in self.accesses():
            if not strides[axis]:
                continue
            offset = steps * strides[vector]
            if unit is None:
                other.places[key] = self.f.add(first.places[key], self.f.number(offset))
            else:
                other.places[key] = self.f.at(first.places[key], offset, unit)

    def saved_strides(self) -> list[int]:
        """Along each axis, how far one step goes in the memory of a saved item."""
        loops = self.loops
        step = self.lanes if loops.is_flat else 1
        found = [0] * len(loops.sizes)
        for axis in reversed(range(loops.rows, len(loops.sizes))):
            found[axis] = step
            step *= loops.sizes[axis]
        return found

    def define(self, scope: Scope, items: list[int]) -> None:
        for i in items:
            self.know(scope, i, self.compute(scope, i))

    def define_inner(self, scope: Scope, items: list[int], number: int) -> None:
        """The same inside a pass: what an earlier one saved or stored is read again."""
        f, loops = self.f, self.loops
        for i in items:
            dtype = loops.items[i].dtype
            old = loops.kept.get(i, number) < number
            if old and i in loops.saved:
                place = scope.places["saved", i]
                value = f.load(Kind(elements.element(dtype), self.width(i)), place)
            elif old:
                k, store = next((k, s) for k, s in enumerate(loops.stores) if s.item == i)
                value = self.read(scope.places["store", k], dtype, store.strides, i)
            else:
                value = self.compute(scope, i)
                if i in loops.saved and loops.kept[i] == number:
                    f.store(value, scope.places["saved", i])
            self.know(scope, i, value)

    def width(self, item: int) -> int:
        """Lanes of an item: 0 where it is the same along the vector axis."""
        return self.lanes if self.loops.vector in self.loops.depends[item] else 0

    def know(self, scope: Scope, item: int, value: Value) -> None:
        scope.values[item] = value
        if not value.kind.lanes and item in self.used_wide:
            scope.wide[item] = self.f.splat(value, self.lanes)

    def vector(self, scope: Scope, item: int) -> Value:
        value = scope.values[item]
        return value if value.kind.lanes else scope.wide[item]

    def compute(self, scope: Scope, number: int) -> Value:
        f, item = self.f, self.loops.items[number]
        match item.op:
            case "load":
                return self.read(scope.places["load", number], item.dtype, item.strides, number)
            case "number":
                return f.number(dict(item.params)["value"], Kind(elements.element(item.dtype)))
            case "iota":
                return self.counted(scope, number, item)
            case _:
                return self.combined(scope, number, item)

    def combined(self, scope: Scope, number: int, item: Item) -> Value:
        """An item from its arguments."""
        f = self.f
        wide = self.width(number) > 0
        args = [self.vector(scope, a) if wide else scope.values[a] for a in item.args]
        dtypes: list[DType] = [self.loops.items[a].dtype for a in item.args]
        rule = special(item.op)
        if rule is not None:
            return rule(f, args, dtypes, item.dtype, dict(item.params))
        return emit(f, item.op, args, dtypes, item.dtype, dict(item.params))

    def counted(self, scope: Scope, number: int, item: Item) -> Value:
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

    def put(self, scope: Scope, number: int, store: Store) -> None:
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


def space(loops: Loops, item: int, width: int) -> int:
    size = Kind(elements.element(loops.items[item].dtype)).bits // 8
    # the last vector may reach beyond the row
    return -(-(loops.row * width + 32) * size // 64) * 64


def special(name: str) -> Any:
    """How a region is computed directly, element by element, if it is."""
    return None if name == "replaced" else REGIONS.get(name)
