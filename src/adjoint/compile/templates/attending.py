"""What attention and its gradient share: shapes, masks, and the scores of a block of keys.

Source of the scheme: Dao et al., "FlashAttention", 2022.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from adjoint.base.dtype import DType, bool_
from adjoint.compile import elements
from adjoint.compile.code import WORD, Function, Kind, Value
from adjoint.compile.templates.entry import at, vectors, wide
from adjoint.compile.templates.tiles import Tiles
from adjoint.ir.node import Node

QUERIES = 32  # rows of the result that are worked on together, at most
FEW = 16  # rows for which one vector is enough


class Case(NamedTuple):
    """What the text of a kernel depends on: the size of keys (e) and of values (v), whether the
    queries are few, of which axes (batch, head, query) a mask has more than one entry.
    """

    e: int
    v: int
    dtype: DType
    few: bool
    mask: tuple[bool, ...]
    mask_dtype: DType | None
    causal: bool
    scale: float

    @property
    def wide(self) -> DType:
        return wide(self.dtype)

    @property
    def converts(self) -> bool:
        """Whether elements are widened before they are worked with."""
        return self.wide is not self.dtype

    @property
    def turns_mask(self) -> bool:
        """Whether each query has its own row of the mask."""
        return self.mask[2:] == (True,)


class Sizes(NamedTuple):
    """How many there are, known when a kernel is called: batch, heads, queries, keys."""

    n: int
    h: int
    t: int
    s: int

    @property
    def heads(self) -> int:
        return self.n * self.h

    @property
    def words(self) -> tuple[int, int, int]:
        """What the record has of them."""
        return self.h, self.t, self.s

    def pairs(self, case: Case) -> int:
        """Pairs of a query and a key, about."""
        share = 2 if case.causal and self.t > 1 else 1
        return max(self.heads * self.t * self.s // share, 1)


class Counts(NamedTuple):
    """The words in the record: heads, queries, keys."""

    h: Value
    t: Value
    s: Value


def case_of(
    q: Node, k: Node, v: Node, masks: list[Node], causal: bool, scale: float
) -> tuple[Case, Sizes]:
    """What decides about the text of a kernel, and what does not."""
    mask = masks[0] if masks else None
    own = () if mask is None else tuple(n > 1 for n in mask.shape[:3])
    kind = None if mask is None else mask.dtype
    n, h, t, e = q.shape
    case = Case(e, v.shape[3], q.dtype, t <= FEW, own, kind, causal, scale)
    return case, Sizes(n, h, t, k.shape[2])


def rounded_up(size: int) -> int:
    """To whole vectors of any target."""
    return -(-size // 16) * 16


class Memory:
    """Pieces of the thread's memory, handed out one after the other."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.sizes: dict[str, tuple[int, int]] = {}
        self.nbytes = 0

    def take(self, name: str, count: int) -> None:
        """Room for ``count`` elements, on whole cache lines."""
        self.sizes[name] = (self.nbytes, count)
        self.nbytes += -(-count * self.dtype.itemsize // 64) * 64

    def start(self, f: Function, scratch: Value, name: str) -> Value:
        return f.at(scratch, self.sizes[name][0], "i8")


class Block(NamedTuple):
    """Some keys as seen by some queries: the numbers of the first of each, and how many."""

    batch: Value
    head: Value
    query: Value
    queries: Value
    key: Value
    keys: Value


class Scores:
    """Writes the scores of a block, and what is done before and after."""

    def __init__(
        self, f: Function, tiles: Tiles, of: Case, counts: Counts, mask: Value | None
    ) -> None:
        self.f = f
        self.tiles = tiles
        self.of = of
        self.counts = counts
        self.mask = mask
        self.one = f.number(1, tiles.scalar)

    def at(self, pointer: Value, index: Value | int) -> Value:
        return at(self.f, self.of.dtype, pointer, index)

    def widened(self, source: Value, to: Value, count: Value) -> Value:
        """``count`` elements in the wide dtype: where they are, or copied to ``to``."""
        f, of = self.f, self.of
        if not of.converts:
            return source

        def write(index: Value, lanes: int) -> None:
            value = elements.load(f, of.dtype, self.at(source, index), lanes)
            elements.store(f, value, of.wide, at(f, of.wide, to, index))

        vectors(f, count, self.tiles.lanes, write)
        return to

    def clear(self, pointer: Value, count: Value | int) -> None:
        """Zeros."""

        def write(index: Value, lanes: int) -> None:
            kind = self.tiles.scalar._replace(lanes=lanes)
            self.f.store(self.f.number(0, kind), self.tiles.at(self.f, pointer, index))

        vectors(self.f, count, self.tiles.lanes, write)

    def reach(self, query: Value) -> Value:
        """How many keys the queries before ``query`` may look at."""
        keys = self.counts.s
        return self.f.call("llvm.smin.i64", WORD, query, keys) if self.of.causal else keys

    def hide(self, scores: Value, block: Block, room: Value) -> None:
        """Masks on ``scores``; ``room`` is for a mask that must be transposed."""
        if self.of.mask:
            self.apply_mask(scores, block, room)
        if self.of.causal:
            f = self.f
            last = f.add(block.key, block.keys)
            with f.when(f.compare("sgt", last, f.add(block.query, f.number(1)))):
                self.hide_later(scores, block)

    def hide_later(self, scores: Value, block: Block) -> None:
        """-inf where the key comes after the query."""
        f, tiles = self.f, self.tiles
        kind = Kind("i32", tiles.lanes)
        distance = f.cast("trunc", f.sub(block.query, block.key), "i32")
        first = f.add(f.splat(distance, tiles.lanes), f.lanes(kind))
        lowest = f.number(-inf, tiles.vector)
        with f.loop(0, block.keys) as loop:
            row = tiles.row(f, scores, loop.index, tiles.width)
            number = f.splat(f.cast("trunc", loop.index, "i32"), tiles.lanes)
            for v in range(tiles.vectors):
                query = f.add(first, f.number(v * tiles.lanes, kind))
                seen = f.compare("sge", query, number)
                place = tiles.at(f, row, v * tiles.lanes)
                f.store(f.select(seen, tiles.load(f, place), lowest), place)

    def apply_mask(self, scores: Value, block: Block, room: Value) -> None:
        """The mask's rows are turned, so that they lie as the scores do; one row for all queries
        is read as it is."""
        f, tiles, of = self.f, self.tiles, self.of
        assert self.mask is not None and of.mask_dtype is not None
        source = self.mask_row(block)
        if of.turns_mask:
            keys = self.counts.s
            tiles.turn(
                f,
                of.mask_dtype,
                source,
                keys,
                block.queries,
                block.keys,
                room,
                tiles.width,
                self.one,
            )
        with f.loop(0, block.keys) as loop:
            row = tiles.row(f, scores, loop.index, tiles.width)
            if of.turns_mask:
                other = tiles.row(f, room, loop.index, tiles.width)
                extra = [tiles.load(f, other, v * tiles.lanes) for v in range(tiles.vectors)]
            else:
                place = at(f, of.mask_dtype, source, loop.index)
                place = at(f, of.mask_dtype, source, loop.index)
                scalar = elements.load(f, of.mask_dtype, place, 0)
                if of.mask_dtype is bool_:
                    scalar = f.cast("uitofp", scalar, tiles.element)
                extra = [f.splat(scalar, tiles.lanes)] * tiles.vectors
            for v, value in enumerate(extra):
                place = tiles.at(f, row, v * tiles.lanes)
                f.store(self.masked(tiles.load(f, place), value), place)

    def masked(self, score: Value, value: Value) -> Value:
        f = self.f
        if self.of.mask_dtype is not bool_:
            return f.add(score, value)
        seen = f.compare("une", value, f.number(0, value.kind))
        return f.select(seen, score, f.number(-inf, score.kind))

    def mask_row(self, block: Block) -> Value:
        """The address of the mask's element for the first query and the first key."""
        f, of = self.f, self.of
        assert self.mask is not None and of.mask_dtype is not None
        index = f.number(0)
        places = ((block.batch, None), (block.head, self.counts.h), (block.query, self.counts.t))
        for (place, count), own in zip(places, of.mask, strict=True):
            if own:
                index = place if count is None else f.add(f.mul(index, count), place)
        index = f.add(f.mul(index, self.counts.s), block.key)
        return at(f, of.mask_dtype, self.mask, index)
