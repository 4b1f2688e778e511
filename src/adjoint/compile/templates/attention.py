"""Attention forward, without ever holding all scores.

Some queries at a time look at the keys block by block. A panel holds the scores, with a column
for each query, so that maxima and sums over keys are plain vector operations; what was summed
before fades by exp(old maximum - new maximum).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import WORD, Function, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.mathematics import FUNCTIONS
from adjoint.compile.templates.attending import (
    QUERIES,
    Block,
    Case,
    Counts,
    Memory,
    Scores,
    case_of,
    rounded_up,
)
from adjoint.compile.templates.attention_rows import Rows, are_few, scratch_of
from adjoint.compile.templates.entry import at, enter, store
from adjoint.compile.templates.tiles import BLOCK, Tiles
from adjoint.ir.node import Node

JOB = 1 << 19  # multiply-adds in a job, at least


@template("attention")
def attended(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are blocks of queries of one head."""
    assert node.args is not None
    q, k, v, *mask = node.args
    of, sizes = case_of(q, k, v, mask, node.params["causal"], node.params["scale"])
    if 0 in (sizes.heads, sizes.t):
        return []
    if 0 in (sizes.s, of.e, of.v):
        return None
    work = sizes.pairs(of) * (of.e + of.v)
    rows = (sizes.t + sizes.s) * (of.e + of.v)
    units, key, scratch = sizes.heads * -(-sizes.t // QUERIES), f"attention {of}", memory(of).nbytes
    writer: type[Writer] | type[Rows] = Writer
    if are_few(of, sizes):
        units, key, scratch = sizes.heads * sizes.t, f"attention rows {of}", scratch_of(of, sizes)
        writer = Rows
    return [
        Kernel(
            "attention", key, lambda target: writer(of, target).write(),
            tuple(Place(a) for a in node.args), tuple(Place(r) for r in results), sizes.words,
            extent=units, grain=max(1, JOB * units // work), scratch=scratch,
            flops=2 * work, nbytes=sizes.heads * rows * of.dtype.itemsize, nodes=(node,),
        )
    ]  # fmt: skip


def memory(of: Case) -> Memory:
    """What a thread needs for one block of queries."""
    found = Memory(of.wide)
    found.take("queries", rounded_up(of.e) * QUERIES)
    found.take("weights", BLOCK * QUERIES)
    found.take("sums", of.v * QUERIES)
    for name in ("largest", "total", "fade"):
        found.take(name, QUERIES)
    found.take("rows", QUERIES * rounded_up(of.v))
    if of.turns_mask:
        found.take("mask", BLOCK * QUERIES)
    if of.converts:
        found.take("keys", BLOCK * of.e)
        found.take("values", BLOCK * of.v)
    return found


class Writer:
    """Writes the kernel for one case."""

    def __init__(self, of: Case, target: Target) -> None:
        self.of = of
        self.e = enter(target, 4 if of.mask else 3, 2, len(Counts._fields))
        self.counts = Counts(*self.e.words)
        self.f: Function = self.e.f
        self.tiles = Tiles(self.f.module, of.wide, of.few)
        mask = self.e.reads[3] if of.mask else None
        self.scores = Scores(self.f, self.tiles, of, self.counts, mask)
        places = memory(of)
        self.room = {n: places.start(self.f, self.e.scratch, n) for n in places.sizes}

    def write(self) -> str:
        f, many = self.f, self.counts.t
        blocks = f.two("udiv", f.add(many, f.number(QUERIES - 1)), f.number(QUERIES))
        with f.loop(self.e.begin, self.e.end) as unit:
            head = f.two("udiv", unit.index, blocks)
            first = f.mul(f.two("urem", unit.index, blocks), f.number(QUERIES))
            last = f.add(first, f.number(QUERIES))
            last = f.call("llvm.smin.i64", WORD, last, many)
            with f.loop(first, last, self.tiles.width) as loop:
                left = f.sub(last, loop.index)
                count = f.call("llvm.smin.i64", WORD, left, f.number(self.tiles.width))
                self.queries(head, loop.index, count)
        return self.e.finish()

    def queries(self, head: Value, first: Value, count: Value) -> None:
        """One panel of queries against all keys that they may look at."""
        f, of, tiles, room = self.f, self.of, self.tiles, self.room
        q, k, v = self.e.reads[:3]
        start = f.add(f.mul(head, self.counts.t), first)
        source = self.scores.at(q, f.mul(start, f.number(of.e)))
        factor = f.number(of.scale, tiles.scalar)
        tiles.turn(f, of.dtype, source, of.e, count, of.e, room["queries"], tiles.width, factor)
        self.scores.clear(room["sums"], of.v * tiles.width)
        for vector in range(tiles.vectors):
            self.put("largest", vector, f.number(-inf, tiles.vector))
            self.put("total", vector, f.number(0, tiles.vector))
        heads = self.counts.h
        batch, own = f.two("udiv", head, heads), f.two("urem", head, heads)
        limit = self.scores.reach(f.add(first, count))
        with f.loop(0, limit, tiles.block) as loop:
            left = f.sub(limit, loop.index)
            keys = f.call("llvm.smin.i64", WORD, left, f.number(tiles.block))
            row = f.add(f.mul(head, self.counts.s), loop.index)
            keys_at = self.scores.at(k, f.mul(row, f.number(of.e)))
            values_at = self.scores.at(v, f.mul(row, f.number(of.v)))
            if of.converts:
                many = f.mul(keys, f.number(of.e))
                keys_at = self.scores.widened(keys_at, room["keys"], many)
                many = f.mul(keys, f.number(of.v))
                values_at = self.scores.widened(values_at, room["values"], many)
            tiles.dots(f, room["queries"], keys_at, room["weights"], of.e, keys)
            block = Block(batch, own, first, count, loop.index, keys)
            self.scores.hide(room["weights"], block, room.get("mask", room["weights"]))
            self.raise_weights(keys)
            tiles.sums(f, room["weights"], values_at, room["sums"], of.v, keys, room["fade"])
        self.finish(start, count)

    def put(self, name: str, vector: int, value: Value) -> None:
        lanes = self.tiles.lanes
        self.f.store(value, self.tiles.at(self.f, self.room[name], vector * lanes))

    def get(self, name: str, vector: int) -> Value:
        return self.tiles.load(self.f, self.room[name], vector * self.tiles.lanes)

    def raise_weights(self, keys: Value) -> None:
        """exp(scores - maximum), the sums of that, and how much earlier sums fade."""
        f, tiles = self.f, self.tiles
        many = range(tiles.vectors)
        weights = self.room["weights"]
        before = [self.get("largest", v) for v in many]
        with f.loop(0, keys, 1, before) as loop:
            row = tiles.row(f, weights, loop.index, tiles.width)
            here = [tiles.load(f, row, v * tiles.lanes) for v in many]
            pairs = zip(here, loop.values, strict=True)
            loop.carry = [f.select(f.compare("ogt", a, b), a, b) for a, b in pairs]
        largest = loop.values
        lowest, zero = f.number(-inf, tiles.vector), f.number(0, tiles.vector)
        shift = [f.select(f.compare("oeq", x, lowest), zero, x) for x in largest]
        with f.loop(0, keys, 1, [zero] * tiles.vectors) as loop:
            row = tiles.row(f, weights, loop.index, tiles.width)
            totals = list(loop.values)
            for v in many:
                place = tiles.at(f, row, v * tiles.lanes)
                raised = self.exp(f.sub(tiles.load(f, place), shift[v]))
                f.store(raised, place)
                totals[v] = f.add(totals[v], raised)
            loop.carry = totals
        for v in many:
            fade = self.exp(f.sub(before[v], shift[v]))
            self.put("largest", v, largest[v])
            self.put("fade", v, fade)
            self.put("total", v, f.fma(self.get("total", v), fade, loop.values[v]))

    def exp(self, x: Value) -> Value:
        return FUNCTIONS["exp"](self.f, x)

    def finish(self, start: Value, count: Value) -> None:
        """The sums divided by the totals, row by row; the logarithms of the totals."""
        f, of, tiles, room = self.f, self.of, self.tiles, self.room
        for v in range(tiles.vectors):
            total, largest = self.get("total", v), self.get("largest", v)
            empty = f.compare("oeq", total, f.number(0, tiles.vector))
            total = f.select(empty, f.number(1, tiles.vector), total)
            self.put("total", v, f.div(f.number(1, tiles.vector), total))
            logarithm = f.add(FUNCTIONS["log"](f, total), largest)
            self.put("largest", v, f.select(empty, f.number(inf, tiles.vector), logarithm))
        pitch = rounded_up(of.v)
        tiles.turn(
            f, of.wide, room["sums"], tiles.width, f.number(of.v), tiles.width, room["rows"], pitch,
            f.number(1, tiles.scalar),
        )  # fmt: skip
        out, log_total = self.e.writes
        out = self.scores.at(out, f.mul(start, f.number(of.v)))
        log_total = at(f, of.wide, log_total, start)
        with f.loop(0, count) as loop:
            value = f.load(tiles.scalar, tiles.at(f, room["largest"], loop.index))
            f.store(value, at(f, of.wide, log_total, loop.index))
            factor = f.load(tiles.scalar, tiles.at(f, room["total"], loop.index))
            row = tiles.row(f, room["rows"], loop.index, pitch)
            to = self.scores.at(out, f.mul(loop.index, f.number(of.v)))
            self.put_row(row, to, factor)

    def put_row(self, row: Value, to: Value, factor: Value) -> None:
        """A row of the result, times ``factor``."""
        f, of, tiles = self.f, self.of, self.tiles
        for first, flags in tiles.columns(of.v):
            for begin in range(0, len(flags), tiles.lanes):
                some = flags[begin : begin + tiles.lanes]
                value = tiles.load(f, row, first + begin)
                value = f.mul(value, f.splat(factor, tiles.lanes))
                store(f, value, of.dtype, self.scores.at(to, first + begin), some)
