"""Attention of one query or a few, as when a text is continued word by word.

There are not enough queries to fill vectors with, so vectors run along the features: the scores
of one query are held for all keys, one number each.
"""

from __future__ import annotations

from math import inf

from adjoint.base.dtype import bool_
from adjoint.compile import elements, emit
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import WORD, Function, Kind, Value
from adjoint.compile.mathematics import FUNCTIONS
from adjoint.compile.templates.attending import Case, Counts, Sizes, rounded_up
from adjoint.compile.templates.entry import at, enter, first_lanes, load, store
from adjoint.compile.templates.tiles import turned

QUERIES = 4  # at most; for more, panels are faster
LARGEST = 256  # features that are written out
VECTORS = 8  # of a result that are summed at the same time


def are_few(of: Case, sizes: Sizes) -> bool:
    return sizes.t <= QUERIES and of.e <= LARGEST


def scratch_of(of: Case, sizes: Sizes) -> int:
    """Bytes for the scores of one query."""
    return (rounded_up(sizes.s) + 16) * of.wide.itemsize


class Rows:
    """Writes the kernel; its units of work are queries."""

    def __init__(self, of: Case, target: Target) -> None:
        self.of = of
        self.e = enter(target, 4 if of.mask else 3, 2, len(Counts._fields))
        self.counts = Counts(*self.e.words)
        self.f: Function = self.e.f
        self.lanes = target.bits // of.wide.bits
        self.vector = Kind(elements.element(of.wide), self.lanes)
        self.scalar = Kind(self.vector.element)

    def write(self) -> str:
        f, counts, of = self.f, self.counts, self.of
        q, k, v = self.e.reads[:3]
        with f.loop(self.e.begin, self.e.end) as unit:
            head, query = f.two("udiv", unit.index, counts.t), f.two("urem", unit.index, counts.t)
            keys = counts.s
            if of.causal:
                seen = f.add(query, f.number(1))
                keys = f.call("llvm.smin.i64", WORD, seen, keys)
            first = f.mul(head, counts.s)
            source = self.row(q, unit.index, of.e)
            mask = self.mask_row(head, query) if of.mask else None
            largest = self.scores(source, self.row(k, first, of.e), keys, mask)
            total = self.raise_scores(largest, keys)
            empty = f.compare("oeq", total, f.number(0, self.scalar))
            total = f.select(empty, f.number(1, self.scalar), total)
            logarithm = f.add(FUNCTIONS["log"](f, total), largest)
            logarithm = f.select(empty, f.number(inf, self.scalar), logarithm)
            f.store(logarithm, at(f, of.wide, self.e.writes[1], unit.index))
            factor = f.div(f.number(1, self.scalar), total)
            out = self.row(self.e.writes[0], unit.index, of.v)
            self.sums(self.row(v, first, of.v), keys, f.splat(factor, self.lanes), out)
        return self.e.finish()

    def row(self, pointer: Value, row: Value, size: int) -> Value:
        return at(self.f, self.of.dtype, pointer, self.f.mul(row, self.f.number(size)))

    def pieces(self, size: int) -> list[tuple[int, list[bool]]]:
        """The vectors of a row, and which of their lanes exist."""
        return [
            (first, [first + i < size for i in range(self.lanes)])
            for first in range(0, size, self.lanes)
        ]

    def mask_row(self, head: Value, query: Value) -> Value:
        f, of, counts = self.f, self.of, self.counts
        assert of.mask_dtype is not None
        batch, own = f.two("udiv", head, counts.h), f.two("urem", head, counts.h)
        index = f.number(0)
        places = ((batch, None), (own, counts.h), (query, counts.t))
        for (place, count), several in zip(places, of.mask, strict=True):
            if several:
                index = place if count is None else f.add(f.mul(index, count), place)
        return at(f, of.mask_dtype, self.e.reads[3], f.mul(index, counts.s))

    def scores(self, query: Value, keys: Value, count: Value, mask: Value | None) -> Value:
        """The scores of one query into the thread's memory; the largest of them."""
        f, of, lanes = self.f, self.of, self.lanes
        scale = f.number(of.scale, self.vector)
        parts = [
            (first, flags, f.mul(load(f, of.dtype, at(f, of.dtype, query, first), flags), scale))
            for first, flags in self.pieces(of.e)
        ]

        def group(index: Value, some: Value | None) -> Value:
            """As many keys as there are lanes, each a sum over the features."""
            starts: list[Value] = []
            last = f.sub(count, f.number(1))
            for i in range(lanes):
                number = f.add(index, f.number(i))
                if some is not None:
                    number = f.call("llvm.smin.i64", WORD, number, last)
                starts.append(self.row(keys, number, of.e))
            sums = [f.number(0, self.vector)] * lanes
            for first, flags, part in parts:
                for i, start in enumerate(starts):
                    value = load(f, of.dtype, at(f, of.dtype, start, first), flags)
                    sums[i] = f.fma(value, part, sums[i])
            found = turned(f, sums)
            while len(found) > 1:
                found = [f.add(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
            score = self.masked(found[0], mask, index, some)
            f.store(score, at(f, of.wide, self.e.scratch, index))
            return score

        lowest = f.number(-inf, self.vector)
        whole = f.two("and", count, f.number(-lanes))
        with f.loop(0, whole, lanes, [lowest]) as loop:
            score = group(loop.index, None)
            better = f.compare("ogt", score, loop.values[0])
            loop.carry = [f.select(better, score, loop.values[0])]
        with f.loop(whole, count, lanes, loop.values) as rest:  # once, or not at all
            score = group(rest.index, first_lanes(f, f.sub(count, rest.index), lanes))
            better = f.compare("ogt", score, rest.values[0])
            rest.carry = [f.select(better, score, rest.values[0])]
        return emit.reduce(f, "maximum", rest.values[0])

    def masked(self, score: Value, mask: Value | None, index: Value, some: Value | None) -> Value:
        """-inf for keys that are hidden, or that do not exist."""
        f, kind = self.f, self.of.mask_dtype
        lowest = f.number(-inf, self.vector)
        if mask is not None and kind is not None:
            extra = elements.load(f, kind, at(f, kind, mask, index), self.lanes, some)
            score = f.select(extra, score, lowest) if kind is bool_ else f.add(score, extra)
        return score if some is None else f.select(some, score, lowest)

    def raise_scores(self, largest: Value, count: Value) -> Value:
        """exp(scores - largest), and their sum."""
        f, lanes, wide = self.f, self.lanes, self.of.wide
        nothing = f.compare("oeq", largest, f.number(-inf, self.scalar))
        shift = f.splat(f.select(nothing, f.number(0, self.scalar), largest), lanes)
        with f.loop(0, count, lanes, [f.number(0, self.vector)]) as loop:
            place = at(f, wide, self.e.scratch, loop.index)
            raised = FUNCTIONS["exp"](f, f.sub(f.load(self.vector, place), shift))
            f.store(raised, place)
            loop.carry = [f.add(loop.values[0], raised)]
        return emit.reduce(f, "add", loop.values[0])

    def sums(self, values: Value, count: Value, factor: Value, out: Value) -> None:
        """The weighted sum of the values, some vectors at a time."""
        f, of = self.f, self.of
        pieces = self.pieces(of.v)
        for begin in range(0, len(pieces), VECTORS):
            some = pieces[begin : begin + VECTORS]
            with f.loop(0, count, 1, [f.number(0, self.vector)] * len(some)) as loop:
                weight = f.load(self.scalar, at(f, of.wide, self.e.scratch, loop.index))
                weight = f.splat(weight, self.lanes)
                row = self.row(values, loop.index, of.v)
                loop.carry = [
                    f.fma(weight, load(f, of.dtype, at(f, of.dtype, row, first), flags), total)
                    for (first, flags), total in zip(some, loop.values, strict=True)
                ]
            for (first, flags), total in zip(some, loop.values, strict=True):
                place = at(f, of.dtype, out, first)
                store(f, f.mul(total, factor), of.dtype, place, flags)
