"""place: where each buffer lies, all those between kernels in one arena.

A buffer lives from the wave that first writes it to the last that uses it; buffers that do not
live at the same time share memory (greedily, the largest first). A kernel that may write over what
it reads does so when nobody else needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adjoint.base.dtype import uint8
from adjoint.compile.copies import size_of
from adjoint.compile.kernel import Kernel
from adjoint.compile.lower import buffer
from adjoint.compile.schedule import (
    Wave,
    may_overwrite,
    nodes_read,
    nodes_written,
    with_after,
)
from adjoint.ir.node import Array, Node, force

if TYPE_CHECKING:
    from adjoint.compile.schedule import Step

ALIGN = 64  # bytes: a cache line, and the widest vector
ARENA, INPUT, OUTPUT, OUTER, MOVING = "arena", "input", "output", "outer", "moving"
EXCLUSIVE = (OUTPUT, MOVING)  # memory in which nobody looks for anything else


class Spot(NamedTuple):
    """Where a buffer lies.

    arena: ``at`` bytes from the start of the scope's memory. input, output: in the array with the
    number ``at``. moving: where the pointer ``at`` of the loop stands. outer: where ``node`` lies
    in the scope around this one.
    """

    kind: str
    at: int = 0
    node: Node | None = None


class Life(NamedTuple):
    """A buffer in the arena: the first and the last wave that need it."""

    node: Node
    first: int
    last: int


class Placement:
    """The spot of every buffer, the size of the arena, and the lives of what lies in it."""

    def __init__(self, spots: dict[Node, Spot], lives: list[Life], size: int) -> None:
        self.spots = spots
        self.lives = lives
        self.size = size


class Scope:
    """Waves with memory of their own: those of a program, or of the body of a loop."""

    def __init__(self, waves: list[Wave], given: dict[Node, Spot]) -> None:
        self.waves = waves
        self.placement = place(waves, given)
        self.work = buffer((self.placement.size,), uint8)
        self.parent: Scope | None = None

    @property
    def steps(self) -> list[Step]:
        return [step for wave in self.waves for step in wave.steps]


def place(waves: Sequence[Wave], given: dict[Node, Spot]) -> Placement:
    """The spots of all buffers that ``waves`` use; those of ``given`` are where they are."""
    uses = _Uses(waves, given)
    owner = _share(waves, given, uses)
    sizes: dict[Node, int] = {}
    firsts: dict[Node, int] = {}
    lasts: dict[Node, int] = {}
    spots = dict(given)
    inside: dict[Node, list[Node]] = {}
    for node in uses.first:
        if node in given:
            continue
        root = _root(owner, node)
        if root in given:
            spots[node] = given[root]
            continue
        inside.setdefault(root, []).append(node)
        sizes[root] = max(sizes.get(root, 0), -(-size_of(node) // ALIGN) * ALIGN)
        firsts[root] = min(firsts.get(root, len(waves)), uses.first[node])
        lasts[root] = max(lasts.get(root, -1), uses.last[node])
    roots = sorted(inside, key=lambda n: (-sizes[n], firsts[n], n.serial))
    offsets, size = _pack([(sizes[r], firsts[r], lasts[r]) for r in roots])
    lives: list[Life] = []
    for root, offset in zip(roots, offsets, strict=True):
        for node in inside[root]:
            spots[node] = Spot(ARENA, offset)
            lives.append(Life(node, uses.first[node], uses.last[node]))
    return Placement(spots, lives, size)


def constant_of(node: Node) -> Array | None:
    """The value of a buffer that nobody writes."""
    return node.value if node.value is not None else force(node)


class _Uses:
    """The first and last wave of every buffer somebody writes, and how many steps use it there."""

    def __init__(self, waves: Sequence[Wave], given: dict[Node, Spot]) -> None:
        self.first: dict[Node, int] = {}
        self.last: dict[Node, int] = {}
        self.writer: dict[Node, Step] = {}
        self.users: dict[Node, int] = {}  # in the last wave
        for number, wave in enumerate(waves):
            for step in wave.steps:
                for node in nodes_written(step):
                    self.first.setdefault(node, number)
                    self.writer.setdefault(node, step)
                for node in {*nodes_read(step), *nodes_written(step)}:
                    if self.last.get(node) != number:
                        self.users[node] = 0
                    self.users[node] += 1
                    self.last[node] = number
        for node in self.last:
            known = node in self.first or node in given or constant_of(node) is not None
            known = known or size_of(node) == 0
            assert known, f"nobody writes {node}, which {waves[self.last[node]]} reads"

    def ends(self, node: Node, wave: int) -> bool:
        """Whether one step of ``wave`` is the last that uses what somebody wrote to ``node``."""
        return node in self.first and self.last[node] == wave and self.users[node] == 1

    def begins(self, node: Node, step: Step) -> bool:
        """Whether ``step`` is the first that writes ``node``."""
        return self.writer.get(node) is step


def _share(waves: Sequence[Wave], given: dict[Node, Spot], uses: _Uses) -> dict[Node, Node]:
    """For buffers that take over memory, whose: chains of these end at the owner."""
    owner: dict[Node, Node] = {}
    largest: dict[Node, int] = {}
    for number, wave in enumerate(waves):
        for step in wave.steps:
            if not isinstance(step, Kernel):
                continue
            taken: set[Node] = set()
            for kernel in with_after(step):
                for w, r in kernel.in_place:
                    new, old = kernel.writes[w].node, kernel.reads[r].node
                    root = _root(owner, old)
                    if root in taken or new in taken or new in owner:
                        continue
                    if not uses.ends(old, number) or not uses.begins(new, step):
                        continue
                    if old in given or not may_overwrite(step, new, old):
                        continue
                    size = max(largest.get(root, 0), size_of(old))
                    if _take_over(root, new, size, given, owner):
                        largest[root] = size
                        taken.update((root, new))
    return owner


def _take_over(
    root: Node, new: Node, size: int, given: dict[Node, Spot], owner: dict[Node, Node]
) -> bool:
    """Let ``new`` use the memory of ``root``, of ``size`` bytes; or the other way round where that
    of ``new`` is given. Whether this could be done."""
    if root in given:
        return False
    if new in given:
        if given[new].kind not in EXCLUSIVE or size > size_of(new):
            return False
        owner[root] = new
    elif size_of(new) > size:
        return False
    else:
        owner[new] = root
    return True


def _root(owner: dict[Node, Node], node: Node) -> Node:
    while node in owner:
        node = owner[node]
    return node


def _pack(blocks: list[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets for blocks (size, first wave, last wave), so that those alive at once lie apart."""
    count = len(blocks)
    starts, ends = np.zeros(count, np.int64), np.zeros(count, np.int64)
    firsts = np.array([b[1] for b in blocks], np.int64)
    lasts = np.array([b[2] for b in blocks], np.int64)
    for i, (size, first, last) in enumerate(blocks):
        if size:
            others = (firsts[:i] <= last) & (lasts[:i] >= first) & (ends[:i] > starts[:i])
            starts[i] = _first_gap(starts[:i][others], ends[:i][others], size)
            ends[i] = starts[i] + size
    return [int(s) for s in starts], int(ends.max(initial=0))


def _first_gap(starts: Array, ends: Array, size: int) -> int:
    """The lowest place for ``size`` bytes between blocks that may overlap each other."""
    order = np.argsort(starts, kind="stable")
    reach = np.concatenate([[0], np.maximum.accumulate(ends[order])])
    gaps = np.append(starts[order], np.iinfo(np.int64).max) - reach
    return int(reach[np.argmax(gaps >= size)])
