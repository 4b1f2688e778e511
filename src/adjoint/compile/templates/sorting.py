"""Stable sorting along an axis: ``argsort`` and ``top_indices``.

Elements become unsigned integers of the same order. Short rows are ranked: an element's place is
how many come before it, counted for many elements at once. Long rows are sorted by their bytes,
the lowest first (a radix sort), leaving out bytes that are the same in all. Where only a few
places of a long row are wanted, a list of the best so far is kept, which an element seldom enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from adjoint.base.dtype import DType, int32
from adjoint.compile import elements, floats
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import BIT, Function, Kind, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.templates.entry import JOB, at, enter, fill, lanes_of, wide
from adjoint.compile.templates.geometry import scaled
from adjoint.ir.node import Node

SHORT = 128  # elements of a row that is ranked
FEW = 32  # places wanted for which a list of the best is kept
DIGITS = 256
ROOM = 16  # keys behind the last one


@template("argsort", "top_indices")
def sorted_(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are rows."""
    assert node.args is not None and node.op is not None
    (x,) = node.args
    axis: int = node.params["axis"]
    if 0 in node.shape:
        return []
    n = x.shape[axis]
    if n >= 1 << 31:
        return None
    name = "argsort" if node.op.name == "argsort" else "top_indices"
    plan = Plan(
        prod(x.shape[:axis]), n, prod(x.shape[axis + 1 :]), x.dtype,
        node.params.get("k", n), bool(node.params.get("largest", False)),
    )  # fmt: skip
    return [
        Kernel(
            name, f"{name}{plan}", plan.write, (Place(x),), (Place(results[0]),),
            extent=plan.outer * plan.inner, grain=max(1, JOB // (8 * n)), scratch=plan.scratch,
            flops=prod(x.shape) * max(n.bit_length(), 1),
            nbytes=prod(x.shape) * x.dtype.itemsize + prod(node.shape) * 8, nodes=(node,),
        )
    ]  # fmt: skip


class Plan(NamedTuple):
    """Rows of ``n``; the first ``k`` places of each are wanted, of the largest or smallest."""

    outer: int
    n: int
    inner: int
    dtype: DType
    k: int
    largest: bool

    @property
    def key(self) -> str:
        return "i64" if self.dtype.bits == 64 else "i32"

    @property
    def key_bytes(self) -> int:
        return 8 if self.dtype.bits == 64 else 4

    @property
    def passes(self) -> int:
        """Bytes that tell elements apart."""
        if self.dtype.kind == "b":
            return 1
        return wide(self.dtype).itemsize

    @property
    def is_short(self) -> bool:
        return self.n <= SHORT

    @property
    def are_few(self) -> bool:
        return self.k <= FEW

    @property
    def arrays(self) -> tuple[int, int]:
        """The bytes of an array of keys, and of one of places."""
        count = self.n + ROOM
        return (-(-count * self.key_bytes // 64) * 64, -(-count * 4 // 64) * 64)

    @property
    def scratch(self) -> int:
        keys, places = self.arrays
        if self.is_short:
            return keys + places
        if self.are_few:
            return keys + FEW * (self.key_bytes + 4)
        return 2 * (keys + places) + self.passes * DIGITS * 4

    def write(self, target: Target) -> str:
        if self.is_short:
            return Ranked(self, target).write()
        return Few(self, target).write() if self.are_few else Radix(self, target).write()


class Writer:
    """What both ways share: rows of keys."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.e = enter(target, 1, 1)
        self.f: Function = self.e.f
        self.word = Kind(plan.key)
        self.keys = self.e.scratch
        keys, self.places_bytes = plan.arrays
        self.places = self.f.at(self.e.scratch, keys, "i8")

    def write(self) -> str:
        f, plan = self.f, self.plan
        with f.loop(self.e.begin, self.e.end) as unit:
            many = f.number(plan.inner)
            outer, inner = f.two("udiv", unit.index, many), f.two("urem", unit.index, many)
            first = f.add(f.mul(outer, f.number(plan.n * plan.inner)), inner)
            out = f.add(f.mul(outer, f.number(plan.k * plan.inner)), inner)
            self.read(at(f, plan.dtype, self.e.reads[0], first))
            self.sort(f.at(self.e.writes[0], out, "i64"))
        return self.e.finish()

    def sort(self, out: Value) -> None:
        raise NotImplementedError

    def read(self, source: Value) -> None:
        """The keys of a row."""
        f, plan = self.f, self.plan
        lanes = lanes_of(f.target) if plan.inner == 1 else 1
        whole = plan.n // lanes * lanes

        def piece(index: Value, count: int) -> None:
            place = at(f, plan.dtype, source, scaled(f, index, plan.inner))
            value = elements.load(f, plan.dtype, place, count)
            f.store(self.key(value), f.at(self.keys, index, plan.key))

        if lanes > 1:
            with f.loop(0, whole, lanes) as loop:
                piece(loop.index, lanes)
        if whole < plan.n or lanes == 1:
            with f.loop(whole if lanes > 1 else 0, plan.n) as loop:
                piece(loop.index, 0)

    def key(self, value: Value) -> Value:
        """An unsigned integer of the same order; NaN is the largest, both zeros are one."""
        f, plan = self.f, self.plan
        if value.kind.is_float:
            found = self.key_of_float(value)
        elif plan.dtype.kind == "i":  # the sign bit is turned
            top = f.number(-(1 << (plan.dtype.bits - 1)), value.kind)
            found = f.two("xor", value, top)
        else:
            found = value
        if plan.largest:
            found = f.two("xor", found, f.number(-1 if found.kind.bits > 1 else 1, found.kind))
        return found if found.kind.element == plan.key else f.cast("zext", found, plan.key)

    def key_of_float(self, value: Value) -> Value:
        f = self.f
        bits = floats.bits_of(f, f.add(value, f.number(0, value.kind)))
        top = f.number(-(1 << (bits.kind.bits - 1)), bits.kind)
        negative = f.compare("slt", bits, f.number(0, bits.kind))
        every = f.number(-1, bits.kind)
        found = f.two("xor", bits, f.select(negative, every, top))
        return f.select(f.compare("uno", value, value), every, found)

    def put(self, out: Value, rank: Value, place: Value) -> None:
        """``place`` (i64) is what stands at ``rank``."""
        self.f.store(place, self.f.at(out, scaled(self.f, rank, self.plan.inner), "i64"))


class Ranked(Writer):
    """Short rows: every element is compared with every other."""

    def sort(self, out: Value) -> None:
        f, plan = self.f, self.plan
        lanes = lanes_of(f.target)
        for first in range(0, plan.n, lanes):
            f.store(self.ranks(first, lanes), f.at(self.places, first, "i32"))
        with f.loop(0, plan.n) as loop:
            rank = f.load(Kind("i32"), f.at(self.places, loop.index, "i32"))
            rank = f.cast("zext", rank, "i64")
            with f.when(f.compare("slt", rank, f.number(plan.k))):
                self.put(out, rank, loop.index)

    def ranks(self, first: int, lanes: int) -> Value:
        """How many come before each of ``lanes`` elements from ``first`` on."""
        f, n = self.f, self.plan.n
        mine = f.load(Kind(self.plan.key, lanes), f.at(self.keys, first, self.plan.key))
        count = Kind("i32", lanes)
        one, zero = f.number(1, count), f.number(0, count)
        last = min(first + lanes, n)
        total = zero
        for start, stop, how in ((0, first, "ule"), (last, n, "ult")):
            if start == stop:
                continue
            with f.loop(start, stop, 1, [total]) as loop:
                other = f.splat(self.one(loop.index), lanes)
                before = f.compare(how, other, mine)
                loop.carry = [f.add(loop.values[0], f.select(before, one, zero))]
            total = loop.values[0]
        places = f.lanes(count)
        with f.loop(first, last, 1, [total]) as loop:
            other = f.splat(self.one(loop.index), lanes)
            number = f.cast("trunc", f.sub(loop.index, f.number(first)), "i32")
            earlier = f.compare("slt", f.splat(number, lanes), places)
            tied = f.two("and", f.compare("eq", other, mine), earlier)
            before = f.two("or", f.compare("ult", other, mine), tied)
            loop.carry = [f.add(loop.values[0], f.select(before, one, zero))]
        return loop.values[0]

    def one(self, index: Value) -> Value:
        return self.f.load(self.word, self.f.at(self.keys, index, self.plan.key))


class Few(Writer):
    """The best of a long row: a list in order, whose last element is the bar to take."""

    def __init__(self, plan: Plan, target: Target) -> None:
        super().__init__(plan, target)
        self.best_keys = self.places  # what the other ways use for places
        self.best_places = self.f.at(self.best_keys, FEW * plan.key_bytes, "i8")

    def sort(self, out: Value) -> None:
        f, plan = self.f, self.plan
        with f.loop(0, plan.k) as loop:
            carried = self.enter(loop.index, loop.index)
            f.store(carried[0], f.at(self.best_keys, loop.index, plan.key))
            f.store(carried[1], f.at(self.best_places, loop.index, "i32"))
        lanes = lanes_of(f.target)
        with f.loop(plan.k, plan.n, lanes) as loop:
            many = f.load(Kind(plan.key, lanes), f.at(self.keys, loop.index, plan.key))
            better = f.compare("ult", many, f.splat(self.bar(), lanes))
            mask = f.emit(Kind(f"i{lanes}"), f"bitcast {better.typed} to i{lanes}")
            with f.when(f.compare("ne", mask, f.number(0, mask.kind))):
                self.look(loop.index, lanes)
        with f.loop(0, plan.k) as loop:
            place = f.load(Kind("i32"), f.at(self.best_places, loop.index, "i32"))
            self.put(out, loop.index, f.cast("zext", place, "i64"))

    def bar(self) -> Value:
        f, plan = self.f, self.plan
        return f.load(self.word, f.at(self.best_keys, plan.k - 1, plan.key))

    def look(self, first: Value, lanes: int) -> None:
        """Enter those of a vector that are better than the last in the list."""
        f, plan = self.f, self.plan
        stop = f.add(first, f.number(lanes))
        stop = f.call("llvm.smin.i64", stop.kind, stop, f.number(plan.n))
        with f.loop(first, stop) as loop:
            key = f.load(self.word, f.at(self.keys, loop.index, plan.key))
            with f.when(f.compare("ult", key, self.bar())):
                self.enter(loop.index, f.number(plan.k))

    def enter(self, index: Value, count: Value) -> list[Value]:
        """Put an element among the first ``count`` of the list; those after it move on by one. What
        moves out at the end."""
        f, plan = self.f, self.plan
        key = f.load(self.word, f.at(self.keys, index, plan.key))
        place = f.cast("trunc", index, "i32")
        with f.loop(0, count, 1, [key, place, f.number(0, BIT)]) as loop:
            key, place, moved = loop.values
            key_at = f.at(self.best_keys, loop.index, plan.key)
            place_at = f.at(self.best_places, loop.index, "i32")
            old_key, old_place = f.load(self.word, key_at), f.load(Kind("i32"), place_at)
            moved = f.two("or", moved, f.compare("ult", key, old_key))
            f.store(f.select(moved, key, old_key), key_at)
            f.store(f.select(moved, place, old_place), place_at)
            key, place = f.select(moved, old_key, key), f.select(moved, old_place, place)
            loop.carry = [key, place, moved]
        return loop.values[:2]


class Radix(Writer):
    """Long rows: byte by byte, from one pair of arrays to another."""

    def __init__(self, plan: Plan, target: Target) -> None:
        super().__init__(plan, target)
        f = self.f
        keys, places = plan.arrays
        self.other_keys = f.at(self.e.scratch, keys + places, "i8")
        self.other_places = f.at(self.e.scratch, 2 * keys + places, "i8")
        self.counts = f.at(self.e.scratch, 2 * (keys + places), "i8")

    def sort(self, out: Value) -> None:
        f, plan = self.f, self.plan
        lanes = lanes_of(f.target)
        fill(f, int32, self.counts, plan.passes * DIGITS, f.number(0, Kind("i32")), lanes)
        self.count()
        first = [self.keys, self.places, self.other_keys, self.other_places]
        with f.loop(0, plan.passes, 1, first) as loop:
            loop.carry = self.by_byte(loop.index, loop.values)
        places = loop.values[1]
        with f.loop(0, plan.k) as loop:
            place = f.load(Kind("i32"), f.at(places, loop.index, "i32"))
            self.put(out, loop.index, f.cast("zext", place, "i64"))

    def count(self) -> None:
        """How often each byte has each value; the places are numbered on the way."""
        f, plan = self.f, self.plan
        small = Kind("i32")
        with f.loop(0, plan.n) as loop:
            f.store(f.cast("trunc", loop.index, "i32"), f.at(self.places, loop.index, "i32"))
            key = f.load(self.word, f.at(self.keys, loop.index, plan.key))
            for number in range(plan.passes):
                digit = self.digit(key, f.number(8 * number, key.kind))
                place = f.at(self.counts, f.add(digit, f.number(number * DIGITS)), "i32")
                f.store(f.add(f.load(small, place), f.number(1, small)), place)

    def digit(self, key: Value, shift: Value) -> Value:
        f = self.f
        found = f.two("and", f.two("lshr", key, shift), f.number(DIGITS - 1, key.kind))
        return found if found.kind.bits == 64 else f.cast("zext", found, "i64")

    def by_byte(self, number: Value, arrays: list[Value]) -> list[Value]:
        """Sort by one byte. The arrays, exchanged if there was anything to do."""
        f, plan = self.f, self.plan
        small = Kind("i32")
        keys, places, to_keys, to_places = arrays
        shift = f.mul(number, f.number(8))
        shift = shift if plan.key == "i64" else f.cast("trunc", shift, "i32")
        counts = f.at(self.counts, f.mul(number, f.number(DIGITS)), "i32")
        first = self.digit(f.load(self.word, keys), shift)
        same = f.load(small, f.at(counts, first, "i32"))
        needed = f.compare("ne", same, f.number(plan.n, small))
        with f.when(needed):
            with f.loop(0, DIGITS, 1, [f.number(0, small)]) as loop:
                place = f.at(counts, loop.index, "i32")
                count = f.load(small, place)
                f.store(loop.values[0], place)
                loop.carry = [f.add(loop.values[0], count)]
            with f.loop(0, plan.n) as loop:
                key = f.load(self.word, f.at(keys, loop.index, plan.key))
                place = f.load(small, f.at(places, loop.index, "i32"))
                at_count = f.at(counts, self.digit(key, shift), "i32")
                rank = f.load(small, at_count)
                f.store(f.add(rank, f.number(1, small)), at_count)
                target = f.cast("zext", rank, "i64")
                f.store(key, f.at(to_keys, target, plan.key))
                f.store(place, f.at(to_places, target, "i32"))
        pairs = ((to_keys, keys), (to_places, places), (keys, to_keys), (places, to_places))
        return [f.select(needed, a, b) for a, b in pairs]
