"""assemble: a schedule as one table of words that the native interpreter runs.

Layout: the context, entries (a cache line each), instructions, then records and patches. Addresses
are filled in by an instance: of the table itself, of its arena, of the arrays of a call.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adjoint.compile import copies
from adjoint.compile.backends.cpu.native import (
    AGAIN,
    PARALLEL,
    REPEAT,
    SERIAL,
    SIZE,
    STOP,
)
from adjoint.compile.copies import size_of
from adjoint.compile.kernel import Host, Kernel
from adjoint.compile.loop import Loop
from adjoint.compile.memory import (
    ARENA,
    INPUT,
    MOVING,
    OUTER,
    OUTPUT,
    Scope,
    Spot,
    constant_of,
)
from adjoint.compile.schedule import parts_of
from adjoint.ir.node import Array, Node
from adjoint.runtime.memory import address_of

if TYPE_CHECKING:
    from adjoint.compile.schedule import Step

PAGE = 4096
ENTRIES, CODE, DATA = "entries", "code", "data"
CONTEXT = SIZE  # words in front of the entries

Word = tuple[str, int]  # an area, and a place in it


class Phase(NamedTuple):
    """A part of a program: native code from the word ``start`` to the word ``stop``, or a host
    step."""

    steps: list[Step]
    start: int
    stop: int
    parts: int

    @property
    def host(self) -> Host | None:
        first = self.steps[0] if self.steps else None
        return first if isinstance(first, Host) else None


class Fix(NamedTuple):
    """A word of the table that is an address: ``offset`` bytes behind something."""

    word: int
    offset: int


class Table:
    """The words, and which of them are addresses."""

    def __init__(self, assembler: Assembler) -> None:
        areas = {ENTRIES: assembler.entries, CODE: assembler.code, DATA: assembler.data}
        base: dict[str, int] = {}
        start = CONTEXT
        for name, words in areas.items():
            base[name] = start
            start += -(-len(words) // SIZE) * SIZE
        self.words = np.zeros(start, np.int64)
        for name, words in areas.items():
            self.words[base[name] : base[name] + len(words)] = words

        def fixes(found: list[tuple[Word, int]]) -> list[Fix]:
            return [Fix(base[area] + at, offset) for (area, at), offset in found]

        here = [(word, (base[a] + i) * 8) for word, (a, i) in assembler.links]
        here += [(word, 0) for word in assembler.contexts]
        self.here = fixes(here)
        self.arena = fixes(assembler.arena)
        self.inputs = {i: fixes(f) for i, f in assembler.inputs.items()}
        self.outputs = {i: fixes(f) for i, f in assembler.outputs.items()}
        self.phases = [_moved(p, base[CODE]) for p in assembler.phases]
        self.constants = list(assembler.constants.values())
        self.scratch = -(-assembler.scratch // PAGE) * PAGE


class Assembler:
    """Writes the table. ``apart``: every step is a phase of its own, to be timed."""

    def __init__(self, scope: Scope, functions: dict[str, int], apart: bool = False) -> None:
        self.functions = functions
        self.apart = apart
        self.entries: list[int] = []
        self.code: list[int] = []
        self.data: list[int] = []
        self.links: list[tuple[Word, Word]] = []
        self.contexts: list[Word] = []
        self.arena: list[tuple[Word, int]] = []
        self.inputs: defaultdict[int, list[tuple[Word, int]]] = defaultdict(list)
        self.outputs: defaultdict[int, list[tuple[Word, int]]] = defaultdict(list)
        self.constants: dict[Node, Array] = {}
        self.phases: list[Phase] = []
        self.scratch = 0
        self._moving: dict[Scope, list[list[tuple[Word, int]]]] = {}
        self._serial = 0  # where the entries begin that no instruction runs yet
        self._start, self._parts = 0, 1
        self._steps: list[Step] = []
        self._waves(scope)
        self._close()

    def _waves(self, scope: Scope) -> None:
        for wave in scope.waves:
            for step in wave.steps:
                if isinstance(step, Host):
                    self._close()
                    self.phases.append(Phase([step], 0, 0, 1))
                    continue
                self._steps.append(step)
                if isinstance(step, Loop):
                    self._flush()
                    self._loop(step, scope)
                else:
                    if wave.parts > 1 and step is wave.steps[0]:
                        self._flush()
                    self._entry(step, scope)
                if self.apart and scope.parent is None:
                    self._flush(parts_of([step]) if isinstance(step, Kernel) else 1)
                    self._close()
            if wave.parts > 1:
                self._flush(wave.parts)

    def _close(self) -> None:
        """End a native phase."""
        self._flush()
        if len(self.code) > self._start:
            stop = self._instruction(STOP)
            self.phases.append(Phase(self._steps, self._start, stop, self._parts))
        self._start, self._parts, self._steps = len(self.code), 1, []

    def _flush(self, parts: int = 1) -> None:
        """An instruction that runs the entries written since the last."""
        count = len(self.entries) // SIZE - self._serial
        if count:
            kind = SERIAL if parts == 1 else PARALLEL
            at = self._instruction(kind, 0, count, parts, 0)
            self.links.append(((CODE, at + 1), (ENTRIES, self._serial * SIZE)))
            self.contexts.append((CODE, at + 4))
            self._serial += count
            self._parts = max(self._parts, parts)

    def _instruction(self, *words: int) -> int:
        at = len(self.code)
        self.code.extend([*words, *[0] * (SIZE - len(words))])
        return at

    def _entry(self, kernel: Kernel, scope: Scope) -> None:
        if not kernel.extent or _does_nothing(kernel, scope):
            return
        record = self._record(kernel, scope)
        at = len(self.entries)
        words = (self.functions[kernel.key], 0, kernel.extent, kernel.grain)
        self.entries.extend([*words, *[0] * (SIZE - len(words))])
        self.links.append(((ENTRIES, at + 1), (DATA, record)))
        self.scratch = max(self.scratch, kernel.scratch)

    def _record(self, kernel: Kernel, scope: Scope) -> int:
        """Where the record of ``kernel`` begins."""
        after = None if kernel.after is None else self._record(kernel.after, scope)
        record = len(self.data)
        self.data.extend([0] * (len(kernel.reads) + len(kernel.writes)))
        self.data.extend(kernel.words)
        for i, place in enumerate((*kernel.reads, *kernel.writes)):
            self._point((DATA, record + i), scope, place.node, place.offset)
        if kernel.after is not None and after is not None:
            at = record + kernel.after_word
            self.data[at] = self.functions[kernel.after.key]
            self.links.append(((DATA, at + 1), (DATA, after)))
        return record

    def _point(self, word: Word, scope: Scope, node: Node, offset: int) -> None:
        """Make ``word`` the address of ``offset`` bytes into the buffer of ``node``."""
        scope, spot, node = locate(scope, node)
        if size_of(node) == 0:
            self.contexts.append(word)  # any address that is one
        elif spot is None:
            if node not in self.constants:
                value = constant_of(node)
                assert value is not None, f"nobody writes {node}"
                self.constants[node] = np.ascontiguousarray(value)
            area = self.data if word[0] == DATA else self.entries
            area[word[1]] = address_of(self.constants[node]) + offset
        elif spot.kind == ARENA and scope.parent is not None:
            self._point(word, scope.parent, scope.work, spot.at + offset)
        elif spot.kind == ARENA:
            self.arena.append((word, spot.at + offset))
        elif spot.kind == MOVING:
            self._moving[scope][spot.at].append((word, offset))
        else:
            found = self.inputs if spot.kind == INPUT else self.outputs
            assert spot.kind in (INPUT, OUTPUT)
            found[spot.at].append((word, offset))

    def _loop(self, loop: Loop, around: Scope) -> None:
        loop.scope.parent = around
        self._moving[loop.scope] = [[] for _ in loop.moving]
        start = self._instruction(REPEAT, loop.repeat.length)
        self._waves(loop.scope)
        self._flush()
        again = self._instruction(AGAIN)
        self.links.append(((CODE, again + 1), (CODE, start)))
        self.links.append(((CODE, start + 5), (CODE, len(self.code))))
        self.links.append(((CODE, start + 3), (DATA, len(self.data))))
        for move, targets in zip(loop.moving, self._moving.pop(loop.scope), strict=True):
            for word, offset in targets:
                self.code[start + 4] += 1
                at = len(self.data)
                self.data.extend([0, 0, move.step, 0, move.kind])
                self.links.append(((DATA, at), word))
                self._point((DATA, at + 1), around, move.start, offset)
                if move.other is not None:
                    self._point((DATA, at + 3), around, move.other, offset)
        for wave in loop.scope.waves:
            self._parts = max(self._parts, wave.parts)


def _moved(phase: Phase, by: int) -> Phase:
    if phase.host is not None:
        return phase
    return phase._replace(start=phase.start + by, stop=phase.stop + by)


def locate(scope: Scope, node: Node) -> tuple[Scope, Spot | None, Node]:
    """Where ``node`` lies: a scope and a spot in it, and by what name; None for a constant."""
    spot = scope.placement.spots.get(node)
    while spot is not None and spot.kind == OUTER:
        assert scope.parent is not None and spot.node is not None
        scope, node = scope.parent, spot.node
        spot = scope.placement.spots.get(node)
    return scope, spot, node


def _does_nothing(kernel: Kernel, scope: Scope) -> bool:
    """Whether it is a copy of a buffer to itself."""
    if kernel.write is not copies.write:
        return False
    read, written = (locate(scope, p.node) for p in (*kernel.reads, *kernel.writes))
    return read[1] is not None and read[:2] == written[:2]
