"""Scans along an axis: running sums, products, logarithms of sums, places of maxima.

Along the last axis a vector is scanned in registers, by combining each lane with those 1, 2, 4,
... before it, and then combined with what came before (Hillis and Steele, "Data parallel
algorithms", 1986). Along other axes, neighbours are worked on together, element after element.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import NamedTuple

from adjoint.base.dtype import DType, int64
from adjoint.compile import emit, floats
from adjoint.compile import mathematics_double as double
from adjoint.compile import mathematics_single as single
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import Function, Kind, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.mathematics import FUNCTIONS
from adjoint.compile.templates.entry import (
    JOB,
    at,
    enter,
    kind_of,
    lanes_for,
    load,
    store,
    wide,
)
from adjoint.compile.templates.geometry import lowest
from adjoint.ir.node import Node

COLUMNS = 64  # neighbours that are worked on together
State = list[Value]

HOW = {
    "cumsum": "add",
    "running_product": "mul",
    "running_logsumexp": "logaddexp",
    "running_argmax": "argmax",
}


@template(*HOW)
def scanned(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are rows, or blocks of neighbouring columns."""
    assert node.args is not None and node.op is not None
    (x,) = node.args
    axis: int = node.params["axis"]
    if 0 in x.shape:
        return []
    name = node.params["region"].name if "region" in node.params else node.op.name
    if x.shape[axis] >= 1 << 31:
        return None
    outer, n, inner = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])
    plan = Scan(HOW[name], outer, n, inner, x.dtype)
    return [
        Kernel(
            name, f"scan{plan}", plan.write, (Place(x),), (Place(results[0]),),
            extent=plan.extent, grain=max(1, JOB // plan.unit_bytes), flops=prod(x.shape),
            nbytes=prod(x.shape) * (x.dtype.itemsize + node.dtype.itemsize),
            in_place=((0, 0),) if node.dtype is x.dtype else (), nodes=(node,),
        )
    ]  # fmt: skip


class Scan(NamedTuple):
    """``outer`` blocks of ``n`` steps of ``inner`` elements side by side."""

    how: str
    outer: int
    n: int
    inner: int
    dtype: DType

    @property
    def blocks(self) -> int:
        return -(-self.inner // COLUMNS)

    @property
    def extent(self) -> int:
        return self.outer * self.blocks

    @property
    def unit_bytes(self) -> int:
        return self.n * min(self.inner, COLUMNS) * self.dtype.itemsize

    def write(self, target: Target) -> str:
        writer = Rows(self, target) if self.inner == 1 else Columns(self, target)
        return writer.write()


class Writer:
    """What is combined, and how."""

    def __init__(self, plan: Scan, target: Target) -> None:
        self.plan = plan
        self.dtype = plan.dtype
        self.result = int64 if plan.how == "argmax" else plan.dtype
        self.e = enter(target, 1, 1)
        self.f: Function = self.e.f

    def identity(self, lanes: int) -> State:
        """What changes nothing when it comes first."""
        f, how = self.f, self.plan.how
        kind = kind_of(self.dtype, lanes)
        if how == "argmax":
            return [f.number(lowest(self.dtype), kind), f.number(-1, kind.of("i32"))]
        numbers = {"add": 0, "mul": 1, "logaddexp": float("-inf")}
        return [f.number(numbers[how], kind)]

    def combine(self, a: State, b: State) -> State:
        """``b`` comes after ``a``."""
        f, dtype = self.f, wide(self.dtype)
        match self.plan.how:
            case "argmax":
                return self.later_largest(a, b)
            case "logaddexp":
                return [self.log_add(a[0], b[0])]
            case how:
                return [emit.emit(f, how, [a[0], b[0]], [dtype, dtype], dtype)]

    def later_largest(self, a: State, b: State) -> State:
        """The larger one, the later of equals; NaN is the largest."""
        f = self.f
        if b[0].kind.is_float:
            better = f.compare("oge", b[0], a[0])
            better = f.two("or", better, f.compare("uno", b[0], b[0]))
        else:
            better = f.compare("sge" if self.dtype.kind == "i" else "uge", b[0], a[0])
        return [f.select(better, y, x) for x, y in zip(a, b, strict=True)]

    def log_add(self, a: Value, b: Value) -> Value:
        """The larger one plus log(1 + exp(-distance))."""
        f = self.f
        top = floats.extreme(f, a, b, "maximum")
        distance = floats.absolute(f, f.sub(a, b))
        raised = FUNCTIONS["exp"](f, f.neg(distance))
        log1p = single.log1p if a.kind.element == "float" else double.log1p
        more = log1p(f, raised)
        more = f.select(f.compare("oeq", a, b), f.number(log(2), a.kind), more)
        return f.add(top, more)

    def store(self, state: State, index: Value, flags: Sequence[bool]) -> None:
        value = state[-1]
        if self.plan.how == "argmax":
            value = self.f.cast("sext", value, "i64")
        store(self.f, value, self.result, at(self.f, self.result, self.e.writes[0], index), flags)

    def load(self, index: Value, flags: Sequence[bool]) -> Value:
        rest = self.identity(len(flags))[0]
        return load(self.f, self.dtype, at(self.f, self.dtype, self.e.reads[0], index), flags, rest)


class Rows(Writer):
    """Along contiguous elements."""

    def write(self) -> str:
        f, n = self.f, self.plan.n
        lanes = lanes_for(f.target, n)
        whole = n // lanes * lanes
        with f.loop(self.e.begin, self.e.end) as unit:
            start = f.mul(unit.index, f.number(n))
            with f.loop(0, whole, lanes, self.first()) as loop:
                flags = [True] * lanes
                loop.carry = self.piece(start, loop.index, flags, loop.values)
            if whole < n:
                flags = [i < n - whole for i in range(lanes)]
                self.piece(start, f.number(whole), flags, loop.values)
        return self.e.finish()

    @property
    def is_precise(self) -> bool:
        """Whether what came before is kept with more digits than there are in a result."""
        return self.plan.how == "add" and kind_of(self.dtype, 1).element == "float"

    def first(self) -> State:
        return [self.f.number(0, Kind("double"))] if self.is_precise else self.identity(1)

    def piece(self, start: Value, index: Value, flags: list[bool], before: State) -> State:
        """One vector; ``before``: what all elements before it come to. The same with it."""
        f, lanes = self.f, len(flags)
        place = f.add(start, index)
        state = [self.load(place, flags)]
        if self.plan.how == "argmax":
            kind = Kind("i32", lanes if lanes > 1 else 0)
            number = f.splat(f.cast("trunc", index, "i32"), kind.lanes)
            state.append(f.add(number, f.lanes(kind)))
        identity = self.identity(lanes)
        step = 1
        while step < lanes:
            order = [lanes - step + i if i < step else lanes + i - step for i in range(lanes)]
            moved = [f.shuffle(a, b, order) for a, b in zip(identity, state, strict=True)]
            state = self.combine(moved, state)
            step *= 2
        if self.is_precise:
            (total,) = before
            near = f.splat(f.cast("fptrunc", total, "float"), state[0].kind.lanes)
            last = f.extract(state[0], lanes - 1) if lanes > 1 else state[0]
            self.store([f.add(near, state[0])], place, flags)
            return [f.add(total, f.cast("fpext", last, "double"))]
        state = self.combine([f.splat(x, state[0].kind.lanes) for x in before], state)
        self.store(state, place, flags)
        return [f.extract(x, lanes - 1) if lanes > 1 else x for x in state]


class Columns(Writer):
    """Along elements that are apart: a block of columns at a time."""

    def write(self) -> str:
        f, plan = self.f, self.plan
        with f.loop(self.e.begin, self.e.end) as unit:
            many = f.number(plan.blocks)
            block = f.two("urem", unit.index, many)
            row = f.mul(f.two("udiv", unit.index, many), f.number(plan.n * plan.inner))
            start = f.add(row, f.mul(block, f.number(COLUMNS)))
            left = f.sub(f.number(plan.inner), f.mul(block, f.number(COLUMNS)))
            if plan.inner >= COLUMNS:
                with f.when(f.compare("sge", left, f.number(COLUMNS))):
                    self.block(start, COLUMNS)
            if plan.inner % COLUMNS:
                with f.when(f.compare("slt", left, f.number(COLUMNS))):
                    self.block(start, plan.inner % COLUMNS)
        return self.e.finish()

    def block(self, start: Value, count: int) -> None:
        """``count`` columns, four vectors at a time."""
        lanes = lanes_for(self.f.target, count)
        first = 0
        while first < count:
            many = min(4, -(-(count - first) // lanes))
            self.vectors(start, first, [
                [first + v * lanes + i < count for i in range(lanes)] for v in range(many)
            ])  # fmt: skip
            first += many * lanes

    def vectors(self, start: Value, first: int, flags: list[list[bool]]) -> None:
        f, plan = self.f, self.plan
        lanes = len(flags[0])
        begin = [x for _ in flags for x in self.identity(lanes)]
        size = len(begin) // len(flags)
        with f.loop(0, plan.n, 1, begin) as loop:
            row = f.add(start, f.mul(loop.index, f.number(plan.inner)))
            found: State = []
            for v, some in enumerate(flags):
                place = f.add(row, f.number(first + v * lanes))
                state = [self.load(place, some)]
                if plan.how == "argmax":
                    number = f.cast("trunc", loop.index, "i32")
                    state.append(f.splat(number, lanes if lanes > 1 else 0))
                state = self.combine(loop.values[v * size : (v + 1) * size], state)
                self.store(state, place, some)
                found += state
            loop.carry = found
