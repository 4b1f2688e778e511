"""The place of the first largest element along an axis; NaN is the largest."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from adjoint.base.dtype import DType, int64
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import Function, Kind, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.templates.entry import (
    JOB,
    at,
    bits,
    enter,
    kind_of,
    lanes_for,
    load,
    store,
)
from adjoint.compile.templates.geometry import lowest
from adjoint.ir.node import Node

COLUMNS = 64  # neighbours that are worked on together
VECTORS = 4  # of a row that are compared at the same time
NOWHERE = 0x7FFFFFFF
Best = tuple[Value, Value]


@template("argmax")
def place_of_largest(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are rows, or blocks of neighbouring columns."""
    assert node.args is not None
    (x,) = node.args
    axis: int = node.params["axis"]
    if 0 in node.shape:
        return []
    if not 0 < x.shape[axis] < NOWHERE:
        return None
    plan = Plan(prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :]), x.dtype)
    row = plan.n * min(plan.inner, COLUMNS) * x.dtype.itemsize
    return [
        Kernel(
            "argmax", f"argmax{plan}", plan.write, (Place(x),), (Place(results[0]),),
            extent=plan.outer * plan.blocks, grain=max(1, JOB // row), flops=prod(x.shape),
            nbytes=prod(x.shape) * x.dtype.itemsize + prod(node.shape) * 8, nodes=(node,),
        )
    ]  # fmt: skip


class Plan(NamedTuple):
    """``outer`` blocks of ``n`` steps of ``inner`` elements side by side."""

    outer: int
    n: int
    inner: int
    dtype: DType

    @property
    def blocks(self) -> int:
        return -(-self.inner // COLUMNS)

    def write(self, target: Target) -> str:
        return Writer(self, target).write()


class Writer:
    """Writes the kernel of a plan."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.e = enter(target, 1, 1)
        self.f: Function = self.e.f

    def write(self) -> str:
        f, plan = self.f, self.plan
        with f.loop(self.e.begin, self.e.end) as unit:
            if plan.inner == 1:
                self.row(unit.index)
            else:
                self.columns(unit.index)
        return self.e.finish()

    def load(self, index: Value, flags: Sequence[bool]) -> Value:
        dtype = self.plan.dtype
        rest = self.f.number(lowest(dtype), kind_of(dtype, len(flags)))
        return load(self.f, dtype, at(self.f, dtype, self.e.reads[0], index), flags, rest)

    def above(self, a: Value, b: Value) -> Value:
        """Whether ``b`` is larger than ``a``; NaN is larger than every number."""
        f = self.f
        if not a.kind.is_float:
            return f.compare("sgt" if self.plan.dtype.kind == "i" else "ugt", b, a)
        first_nan = f.two("and", f.compare("uno", b, b), f.compare("ord", a, a))
        return f.two("or", f.compare("ogt", b, a), first_nan)

    def later(self, a: Best, b: Best) -> list[Value]:
        """The better of two, of which ``b`` comes later."""
        better = self.above(a[0], b[0])
        return [self.f.select(better, y, x) for x, y in zip(a, b, strict=True)]

    def row(self, number: Value) -> None:
        """Lanes are reduced to one at the end."""
        f, n = self.f, self.plan.n
        lanes = lanes_for(f.target, n)
        start = f.mul(number, f.number(n))
        many = VECTORS if n >= 2 * VECTORS * lanes else 1
        step = many * lanes
        bests = [self.piece(start, v * lanes, [v * lanes + i < n for i in range(lanes)])
                 for v in range(many)]  # fmt: skip
        whole = max(n // step * step, step)
        with f.loop(step, whole, step, [x for best in bests for x in best]) as loop:
            kept: list[Value] = []
            for v in range(many):
                index = f.add(loop.index, f.number(v * lanes))
                old = (loop.values[2 * v], loop.values[2 * v + 1])
                kept += self.later(old, self.piece(start, index, [True] * lanes))
            loop.carry = kept
        bests = [(loop.values[2 * v], loop.values[2 * v + 1]) for v in range(many)]
        for index in range(whole, n, lanes):
            a, b = self.later(
                bests[0], self.piece(start, index, [index + i < n for i in range(lanes)])
            )
            bests[0] = (a, b)
        while len(bests) > 1:
            bests = [self.better(a, b) for a, b in zip(bests[::2], bests[1::2], strict=True)]
        found = f.cast("sext", self.across(bests[0]), "i64")
        f.store(found, f.at(self.e.writes[0], number, "i64"))

    def piece(self, start: Value, index: Value | int, flags: list[bool]) -> Best:
        """A vector of a row, and its places; there is nothing where a flag does not hold."""
        f = self.f
        word = index if isinstance(index, Value) else f.number(index)
        kind = Kind("i32", len(flags) if len(flags) > 1 else 0)
        here = f.splat(f.cast("trunc", word, "i32"), kind.lanes)
        places = f.add(here, f.lanes(kind))
        if not all(flags):
            places = f.select(bits(f, flags), places, f.number(NOWHERE, kind))
        return self.load(f.add(start, word), flags), places

    def across(self, best: Best) -> Value:
        """The place of the best lane, the first of equals."""
        f = self.f
        while (lanes := best[0].kind.lanes) > 1:
            low, high = list(range(lanes // 2)), list(range(lanes // 2, lanes))
            a, b = ([f.shuffle(x, x, side) for x in best] for side in (low, high))
            best = self.better((a[0], a[1]), (b[0], b[1]))
        return f.extract(best[1], 0) if best[1].kind.lanes else best[1]

    def better(self, a: Best, b: Best) -> Best:
        """The better of two in any order: the first of equals."""
        f = self.f
        above = self.above(a[0], b[0])
        worse = f.two("or", above, self.above(b[0], a[0]))
        tied = f.two("xor", worse, f.number(1, worse.kind))
        wins = f.two("or", above, f.two("and", tied, f.compare("slt", b[1], a[1])))
        return f.select(wins, b[0], a[0]), f.select(wins, b[1], a[1])

    def columns(self, unit: Value) -> None:
        f, plan = self.f, self.plan
        many = f.number(plan.blocks)
        block, outer = f.two("urem", unit, many), f.two("udiv", unit, many)
        shift = f.mul(block, f.number(COLUMNS))
        start = f.add(f.mul(outer, f.number(plan.n * plan.inner)), shift)
        out = f.add(f.mul(outer, f.number(plan.inner)), shift)
        left = f.sub(f.number(plan.inner), shift)
        rest = plan.inner % COLUMNS
        if plan.inner >= COLUMNS:
            with f.when(f.compare("sge", left, f.number(COLUMNS))):
                self.block(start, out, COLUMNS)
        if rest:
            with f.when(f.compare("slt", left, f.number(COLUMNS))):
                self.block(start, out, rest)

    def block(self, start: Value, out: Value, count: int) -> None:
        f, plan = self.f, self.plan
        lanes = lanes_for(f.target, count)
        kind = Kind("i32", lanes if lanes > 1 else 0)
        for first in range(0, count, lanes):
            flags = [first + i < count for i in range(lanes)]
            begin = f.add(start, f.number(first))
            best = [self.load(begin, flags), f.number(0, kind)]
            with f.loop(1, plan.n, 1, best) as loop:
                place = f.add(begin, f.mul(loop.index, f.number(plan.inner)))
                number = f.splat(f.cast("trunc", loop.index, "i32"), kind.lanes)
                a = (loop.values[0], loop.values[1])
                loop.carry = self.later(a, (self.load(place, flags), number))
            found = f.cast("sext", loop.values[1], "i64")
            place = f.at(self.e.writes[0], f.add(out, f.number(first)), "i64")
            store(f, found, int64, place, flags)
