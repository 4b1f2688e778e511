"""The gradient of attention: shares are computed again, block by block, from their sums.

A job is a head. It goes through the queries some at a time, and for them through the keys block
by block; the gradients of keys and values are summed in the order of the queries, whatever the
number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adjoint.compile import elements
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
from adjoint.compile.templates.entry import at, enter, first_lanes, store, vectors
from adjoint.compile.templates.tiles import BLOCK, Tiles
from adjoint.ir.node import Node

JOB = 1 << 19  # multiply-adds in a job, at least


@template("attention_gradient")
def sent_back(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are heads."""
    assert node.args is not None
    _, _, q, k, v, _, *mask = node.args
    of, sizes = case_of(q, k, v, mask, node.params["causal"], node.params["scale"])
    if 0 in (*sizes, of.e, of.v):
        return [] if all(0 in r.shape for r in results) else None
    work = sizes.pairs(of) * (3 * of.e + 2 * of.v)
    rows = 2 * (sizes.t + sizes.s) * (of.e + of.v)
    scratch = memory(of).nbytes
    if of.converts:  # gradients of keys and values before they are rounded
        scratch += sizes.s * (of.e + of.v) * of.wide.itemsize
    return [
        Kernel(
            "attention_gradient", f"attention_gradient {of}",
            lambda target: Writer(of, target).write(), tuple(Place(a) for a in node.args),
            tuple(Place(r) for r in results), sizes.words, extent=sizes.heads,
            grain=max(1, JOB * sizes.heads // work), scratch=scratch, flops=2 * work,
            nbytes=sizes.heads * rows * of.dtype.itemsize, nodes=(node,),
        )
    ]  # fmt: skip


def memory(of: Case) -> Memory:
    """What a thread needs for one head, whatever the number of keys."""
    found = Memory(of.wide)
    found.take("queries", rounded_up(of.e) * QUERIES)
    found.take("cts", rounded_up(of.v) * QUERIES)
    found.take("shares", BLOCK * QUERIES)
    found.take("slopes", BLOCK * QUERIES)
    found.take("dq", of.e * QUERIES)
    found.take("rows", QUERIES * rounded_up(of.e))
    if of.turns_mask:
        found.take("mask", BLOCK * QUERIES)
    if of.converts:
        found.take("query_rows", QUERIES * of.e)
        found.take("ct_rows", QUERIES * of.v)
        found.take("keys", BLOCK * of.e)
        found.take("values", BLOCK * of.v)
    return found


class Head(NamedTuple):
    """What belongs to one head: where its rows of queries and keys begin, and its gradients."""

    number: Value
    batch: Value
    own: Value
    queries: Value
    keys: Value
    dk: Value
    dv: Value


class Writer:
    """Writes the kernel for one case."""

    def __init__(self, of: Case, target: Target) -> None:
        self.of = of
        self.e = enter(target, 7 if of.mask else 6, 3, len(Counts._fields))
        self.counts = Counts(*self.e.words)
        self.f: Function = self.e.f
        self.tiles = Tiles(self.f.module, of.wide, of.few)
        mask = self.e.reads[6] if of.mask else None
        self.scores = Scores(self.f, self.tiles, of, self.counts, mask)
        places = memory(of)
        self.rest = self.f.at(self.e.scratch, places.nbytes, "i8")
        self.room = {n: places.start(self.f, self.e.scratch, n) for n in places.sizes}

    def write(self) -> str:
        f, of = self.f, self.of
        heads, many = self.counts.h, self.counts.s
        k_size, v_size = f.mul(many, f.number(of.e)), f.mul(many, f.number(of.v))
        with f.loop(self.e.begin, self.e.end) as unit:
            number = unit.index
            keys = f.mul(number, many)
            dk = self.scores.at(self.e.writes[1], f.mul(keys, f.number(of.e)))
            dv = self.scores.at(self.e.writes[2], f.mul(keys, f.number(of.v)))
            sums = (dk, dv)
            if of.converts:
                sums = (self.rest, at(f, of.wide, self.rest, k_size))
            head = Head(
                number, f.two("udiv", number, heads), f.two("urem", number, heads),
                f.mul(number, self.counts.t), keys, *sums,
            )  # fmt: skip
            self.scores.clear(head.dk, k_size)
            self.scores.clear(head.dv, v_size)
            with f.loop(0, self.counts.t, self.tiles.width) as loop:
                left = f.sub(self.counts.t, loop.index)
                count = f.call("llvm.smin.i64", WORD, left, f.number(self.tiles.width))
                self.queries(head, loop.index, count)
            if of.converts:
                self.narrow(head.dk, dk, k_size)
                self.narrow(head.dv, dv, v_size)
        return self.e.finish()

    def narrow(self, source: Value, to: Value, count: Value) -> None:
        """Sums in the wide dtype to results in the narrow one."""
        f, of = self.f, self.of

        def write(index: Value, lanes: int) -> None:
            value = elements.load(f, of.wide, at(f, of.wide, source, index), lanes)
            elements.store(f, value, of.dtype, self.scores.at(to, index))

        vectors(f, count, self.tiles.lanes, write)

    def rows_of(self, which: int, start: Value, size: int, count: Value, room: str) -> Value:
        """``count`` rows of an argument, widened."""
        f = self.f
        source = self.scores.at(self.e.reads[which], f.mul(start, f.number(size)))
        if not self.of.converts:
            return source
        return self.scores.widened(source, self.room[room], f.mul(count, f.number(size)))

    def turn(self, source: Value, size: int, count: Value, to: str, factor: float) -> None:
        f, tiles = self.f, self.tiles
        scale = f.number(factor, tiles.scalar)
        tiles.turn(f, self.of.wide, source, size, count, size, self.room[to], tiles.width, scale)

    def queries(self, head: Head, first: Value, count: Value) -> None:
        """One panel of queries against all keys that they may look at."""
        f, of, tiles, room = self.f, self.of, self.tiles, self.room
        start = f.add(head.queries, first)
        query_rows = self.rows_of(2, start, of.e, count, "query_rows")
        ct_rows = self.rows_of(0, start, of.v, count, "ct_rows")
        self.turn(query_rows, of.e, count, "queries", of.scale)
        self.turn(ct_rows, of.v, count, "cts", 1)
        self.scores.clear(room["dq"], of.e * tiles.width)
        logs = self.per_query(5, start, count)
        deltas = self.per_query(1, start, count)
        limit = self.scores.reach(f.add(first, count))
        with f.loop(0, limit, tiles.block) as loop:
            left = f.sub(limit, loop.index)
            keys = f.call("llvm.smin.i64", WORD, left, f.number(tiles.block))
            row = f.add(head.keys, loop.index)
            key_rows = self.rows_of(3, row, of.e, keys, "keys")
            value_rows = self.rows_of(4, row, of.v, keys, "values")
            tiles.dots(f, room["queries"], key_rows, room["shares"], of.e, keys)
            tiles.dots(f, room["cts"], value_rows, room["slopes"], of.v, keys)
            block = Block(head.batch, head.own, first, count, loop.index, keys)
            self.scores.hide(room["shares"], block, room.get("mask", room["shares"]))
            self.slopes(keys, logs, deltas)
            dk = tiles.row(f, head.dk, loop.index, of.e)
            dv = tiles.row(f, head.dv, loop.index, of.v)
            tiles.outer(f, room["shares"], ct_rows, dv, of.v, keys, count)
            tiles.outer(f, room["slopes"], query_rows, dk, of.e, keys, count)
            tiles.sums(f, room["slopes"], key_rows, room["dq"], of.e, keys)
        self.put_queries(start, count)

    def per_query(self, which: int, start: Value, count: Value) -> list[Value]:
        """A number for each query, in vectors; 0 where there is no query."""
        f, tiles, of = self.f, self.tiles, self.of
        source = at(f, of.wide, self.e.reads[which], start)
        found: list[Value] = []
        for v in range(tiles.vectors):
            mask = first_lanes(f, f.sub(count, f.number(v * tiles.lanes)), tiles.lanes)
            found.append(f.load_masked(tiles.vector, tiles.at(f, source, v * tiles.lanes), mask))
        return found

    def slopes(self, keys: Value, logs: list[Value], deltas: list[Value]) -> None:
        """exp(scores - logarithms of the totals), and share * (slope - delta) * scale."""
        f, tiles, room = self.f, self.tiles, self.room
        scale = f.number(self.of.scale, tiles.vector)
        with f.loop(0, keys) as loop:
            rows = [
                tiles.row(f, room[name], loop.index, tiles.width) for name in ("shares", "slopes")
            ]
            for v in range(tiles.vectors):
                share_at, slope_at = (tiles.at(f, row, v * tiles.lanes) for row in rows)
                share = FUNCTIONS["exp"](f, f.sub(tiles.load(f, share_at), logs[v]))
                f.store(share, share_at)
                slope = f.sub(tiles.load(f, slope_at), deltas[v])
                f.store(f.mul(f.mul(share, scale), slope), slope_at)

    def put_queries(self, start: Value, count: Value) -> None:
        """The gradient of a panel of queries, row by row."""
        f, of, tiles, room = self.f, self.of, self.tiles, self.room
        pitch, many = rounded_up(of.e), tiles.width
        one = f.number(1, tiles.scalar)
        size = f.number(of.e)
        tiles.turn(f, of.wide, room["dq"], many, size, many, room["rows"], pitch, one)
        out = self.scores.at(self.e.writes[0], f.mul(start, size))
        with f.loop(0, count) as loop:
            row = tiles.row(f, room["rows"], loop.index, pitch)
            to = self.scores.at(out, f.mul(loop.index, size))
            for first, flags in tiles.columns(of.e):
                for begin in range(0, len(flags), tiles.lanes):
                    value = tiles.load(f, row, first + begin)
                    some = flags[begin : begin + tiles.lanes]
                    store(f, value, of.dtype, self.scores.at(to, first + begin), some)
