"""How the threads of a GPU share the index space of a loop kernel.

Loops without sums: a thread has ``each`` points, a block's threads next to each other.
Loops with sums: a *team* of threads shares the reduced axes of one point of the rows. Where the
lanes of a CPU would be along a reduced axis (a row kernel), so are the threads of a team; where
they would be along another one (a column kernel), neighbouring threads have neighbouring columns.
Nothing depends on the device but the text, so results do not either.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from math import prod
from typing import NamedTuple

from adjoint.compile.backends.cuda.target import WARP
from adjoint.compile.loops import Loops
from adjoint.compile.pieces import LONG

BLOCK = 256  # threads where nothing asks for another number
MOST = 512  # threads of a team: each has 128 registers then
EACH = 4  # points that a thread works on at a time, so that loads wait together
MANY = 1 << 20  # points from which a thread gets several
KEPT = 16  # points of a row that a thread keeps in registers from pass to pass
VALUES = 160  # items of all these points together
ROOM = 40 << 10  # bytes of shared memory for sums
BUSY = 264  # blocks that keep a device busy


class Layout(NamedTuple):
    """Blocks of ``across`` rows with ``team`` threads for each, in units of ``blocks``.

    each: points per thread at a time. keep: whether a thread's points of the row are all of it, so
    that what is computed stays in registers from one pass to the next.
    """

    across: int
    team: int
    each: int
    keep: bool
    blocks: int

    @property
    def threads(self) -> int:
        return self.across * self.team


class Unsaved(Loops):
    """Loops in which nothing waits in scratch memory from one pass to the next: it is computed
    again, or kept in registers."""

    @cached_property
    def kept(self) -> dict[int, int]:
        """What is stored, and since which pass."""
        found: dict[int, int] = {}
        for store in self.stores:
            item = self.items[store.item]
            if self.is_inner_store(store) and item.op not in ("load", "number", "iota"):
                found.setdefault(store.item, self.store_pass(store))
        return found


def unsaved(loops: Loops) -> Unsaved:
    """The same loops, as a GPU goes through them."""
    return Unsaved(**{f.name: getattr(loops, f.name) for f in fields(loops)})


def layout(loops: Loops) -> Layout:
    """How threads share ``loops``."""
    if not loops.has_sums:
        many = loops.free or loops.points >= MANY
        each = EACH if many and len(loops.items) <= 32 else 1
        return Layout(BLOCK, 1, each, False, blocks_of(loops, BLOCK * each))
    return _columns(loops) if loops.is_flat else _rows(loops)


def blocks_of(loops: Loops, unit: int, points: int | None = None) -> int:
    """How many blocks of ``unit`` points there are; of a free size, those for ``points``."""
    return -(-(loops.points if points is None else points) // unit)


def needs_pieces(loops: Loops) -> bool:
    """Whether so few blocks have so long rows that the rows are better cut in pieces."""
    if not loops.has_sums or loops.count != 1 or loops.ragged is not None:
        return False
    plan = layout(loops)
    each = -(-loops.row // plan.team)
    return plan.blocks * 4 <= BUSY and each >= 64 and loops.row >= LONG // 16


def _rows(loops: Loops) -> Layout:
    row, rows = loops.row, prod(loops.sizes[: loops.rows])
    share = 8 if rows >= BUSY else 2
    team = min(power_above(row), WARP)
    team = min(max(team, power_above(-(-row // share))), MOST)
    each = -(-row // team)
    keep = each <= KEPT and each * len(loops.items) <= VALUES
    across = max(1, 128 // team)
    blocks = -(-rows // across)
    return Layout(across, team, each if keep else EACH, keep, blocks)


def _columns(loops: Loops) -> Layout:
    columns, row = loops.sizes[loops.vector], loops.row
    across = min(power_above(columns), WARP)
    team = min(power_above(-(-row // 4)), MOST // across)
    sums = sum(i.op.startswith("reduce_") for i in loops.items)
    while team > 1 and across * team * sums * 8 > ROOM:
        team //= 2
    while across * team < 128 and across < columns:
        across *= 2
    each = -(-row // team)
    keep = each <= KEPT and each * len(loops.items) <= VALUES
    others = prod(loops.sizes[: loops.rows]) // columns
    blocks = others * -(-columns // across)
    return Layout(across, team, each if keep else EACH, keep, blocks)


def power_above(n: int) -> int:
    """The least power of two that is not below ``n``."""
    return 1 << max(n - 1, 0).bit_length()
