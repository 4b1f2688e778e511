"""Instance: the memory that a program runs in, and the run itself."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from adjoint.base.shape import Shape
from adjoint.compile.backends.cpu import pool
from adjoint.compile.backends.cpu.native import ENDED, HELPERS, SCRATCH, STATE, STRIDE
from adjoint.compile.backends.cpu.target import host
from adjoint.compile.kernel import Host
from adjoint.compile.memory import ARENA, INPUT, constant_of
from adjoint.compile.table import PAGE, Fix, Phase, Table, locate
from adjoint.ir.node import Array, Node, Type, evaluate
from adjoint.runtime.memory import address_of
from adjoint.runtime.threads import get_num_threads

if TYPE_CHECKING:
    from adjoint.compile.program import Program


SHARED = 1 << 20  # bytes: arenas from this size on are shared between programs
FIT = 0x1 | 0x100  # NumPy's flags for arrays in row-major order, and for aligned ones


class Instance:
    """A table with an arena. It serves one call at a time; a program has as many as it needs.

    arrays: those its inputs are bound to; fresh: the results of the last call.
    """

    def __init__(self, program: Program, table: Table) -> None:
        self.program = program
        self.table = table
        words = aligned(8 * len(table.words)).view(np.int64)
        words[:] = table.words
        self.base = address_of(words)
        self.arena = aligned(0)
        fill(words, table.here, self.base)
        self._table = words
        self._arena_fixes = np.array(table.arena, np.int64).reshape(-1, 2)
        self._arena_size = program.scope.placement.size
        self._shares = self._arena_size >= SHARED
        if not self._shares:
            self._move(aligned(self._arena_size))
        self.words: memoryview[int] = memoryview(cast("Any", words))
        self.arrays: list[Array | None] = [None] * len(program.graph.inputs)
        self.fresh: list[Array | None] = [None] * len(program.fresh)
        self._lent: dict[int, weakref.ref[Array]] = {}
        self._results = [
            (shape, dtype, table.outputs.get(number, []))
            for number, (shape, dtype) in enumerate(program.fresh)
        ]
        self._has_hosts = any(p.host for p in table.phases)
        self._helpers = self._threads = 0
        self._state: int = 0
        self._scratch = self._reserve(1)
        self._execute = pool.compiled(host()).execute
        last = table.phases[-1] if table.phases else None
        self._last_stop = -1 if last is None or last.host else self.base + 8 * last.stop
        self._parts = [
            self._native(p) if p.host is None else self._host(p.host) for p in table.phases
        ]

    def bind(self, number: int, array: Array) -> Array:
        """Let the input ``number`` be read from ``array``, or from a copy when kernels cannot.

        Gives the array that is used.
        """
        of = self.program.inputs[number]
        fits = array.dtype == of.dtype.numpy and array.flags.c_contiguous and array.flags.aligned
        if array.shape != of.shape:
            raise ValueError(f"input {number}: expected shape {of.shape}, got {array.shape}")
        if not fits or (number in self.program.updated and not array.flags.writeable):
            array = np.array(array, of.dtype.numpy, order="C")
        self.arrays[number] = array
        self._patch(self.table.inputs.get(number, ()), address_of(array))
        return array

    def point(self, number: int, array: Array) -> None:
        """Let the input ``number`` be read from ``array``, which fits and which others keep."""
        self.arrays[number] = None
        self._lent[number] = weakref.ref(array)
        self._patch(self.table.inputs.get(number, ()), address_of(array))

    def take(self, number: int, array: Array) -> None:
        """``bind`` for an array of the right shape and dtype."""
        if array.flags.num & FIT == FIT and number not in self.program.updated:
            self.arrays[number] = array
            self._patch(self.table.inputs.get(number, ()), address_of(array))
        else:
            self.bind(number, array)

    def make_results(self) -> list[Array]:
        """New arrays for the outputs that are not updates; whoever runs keeps them until then."""
        found: list[Array] = []
        words = self.words
        for shape, dtype, fixes in self._results:
            array = np.empty(shape, dtype)
            address = address_of(array)
            for word, offset in fixes:
                words[word] = address + offset
            found.append(array)
        if self._has_hosts:
            self.fresh[:] = found
        return found

    def forget_results(self) -> None:
        """Let go of the results: they are the caller's alone."""
        if self._has_hosts:
            self.fresh[:] = [None] * len(self.fresh)

    def run(self) -> None:
        """All phases, on what is bound."""
        self.words[ENDED] = 0
        if not self._shares:
            for part in self._parts:
                part()
            return
        self._move(borrow(self._arena_size))
        try:
            for part in self._parts:
                part()
        finally:
            give_back(self.arena)

    def _move(self, arena: Array) -> None:
        """Work in ``arena`` from now on."""
        if arena is not self.arena:
            self.arena = arena
            fixes = self._arena_fixes
            self._table[fixes[:, 0]] = fixes[:, 1] + address_of(arena)

    @property
    def has_updated(self) -> bool:
        """Whether the last run, if an interrupt cut it short, came to its end all the same. Inputs
        are overwritten by the last phase only, so if not, they are as before."""
        return self.words[ENDED] == self._last_stop

    def run_phase(self, number: int) -> None:
        """One phase, on what is bound, in an arena of its own."""
        if self._shares and self.arena.size < self._arena_size:
            self._move(aligned(self._arena_size))
        self._parts[number]()

    @property
    def call_overhead(self) -> float:
        """The seconds that a phase takes that does nothing: the fastest of some tries."""
        phases = [p for p in self.table.phases if p.host is None]
        if not phases:
            return 0.0
        nothing = self._native(phases[0]._replace(start=0, parts=1))  # the context: reads as STOP
        times: list[float] = []
        for _ in range(20):
            start = perf_counter()
            nothing()
            times.append(perf_counter() - start)
        return min(times)

    def _patch(self, fixes: Sequence[Fix], address: int) -> None:
        words = self.words
        for word, offset in fixes:
            words[word] = address + offset

    def _native(self, phase: Phase) -> Callable[[], None]:
        """What runs the instructions of ``phase``."""
        execute, base, start = self._execute, self.base, self.base + 8 * phase.start

        def alone() -> None:
            self._set_helpers(0, 0)
            execute(base, start)

        def together() -> None:
            team = pool.team()
            helpers = team.enter(min(phase.parts, get_num_threads()))
            try:
                self._set_helpers(helpers, team.address)
                execute(base, start)
            finally:
                if helpers:
                    team.leave()

        return alone if phase.parts == 1 else together

    def _set_helpers(self, helpers: int, state: int) -> None:
        if helpers != self._helpers or state != self._state:
            self._helpers = -1  # not known, should an interrupt come now
            if helpers >= self._threads:
                self._scratch = self._reserve(helpers + 1)
            self.words[HELPERS], self.words[STATE] = helpers, state
            self._helpers, self._state = helpers, state

    def _reserve(self, threads: int) -> Array:
        """Scratch memory for ``threads``."""
        stride = self.table.scratch
        memory = np.empty(threads * stride + PAGE, np.uint8)
        self.words[SCRATCH] = -(-address_of(memory) // PAGE) * PAGE
        self.words[STRIDE] = stride
        self._threads = threads
        return memory

    def _host(self, step: Host) -> Callable[[], None]:
        """What computes ``step`` by the NumPy meaning of its op."""
        node = step.node
        assert node.op is not None
        op, params = node.op, node.params
        # a buffer may have another shape than the argument that it holds
        shapes = [a.shape for a in node.args or ()]
        reads = [self._reader(n, s) for n, s in zip(step.reads, shapes, strict=True)]
        writes = [self._reader(n, n.shape) for n in step.writes]

        def compute() -> None:
            value = evaluate(op, [read() for read in reads], params)
            values = cast("tuple[Any, ...]", value if isinstance(value, tuple) else (value,))
            for write, result in zip(writes, values, strict=True):
                write()[...] = result

        return compute

    def _reader(self, node: Node, shape: Shape) -> Callable[[], Any]:
        """What gives the buffer of ``node`` as an array."""
        if 0 in shape:  # nothing is written there, so it has no place
            nothing = np.empty(shape, node.dtype.numpy)
            return lambda: nothing
        _, spot, found = locate(self.program.scope, node)
        if spot is None:
            value = constant_of(found)
            assert value is not None
            array = value.reshape(shape)
            return lambda: array
        if spot.kind == ARENA:
            of = Type(shape, node.dtype)
            return lambda: buffer_view(self.arena, spot.at, of)
        number = spot.at
        if spot.kind == INPUT:
            return lambda: self._input(number).reshape(shape)
        return lambda: self.fresh[number].reshape(shape)  # type: ignore[union-attr]

    def _input(self, number: int) -> Any:
        array = self.arrays[number]
        return self._lent[number]() if array is None else array


def borrow(nbytes: int) -> Array:
    """An arena of at least ``nbytes`` that nobody works in. Programs do not leave anything in it,
    so they can all have the same, as long as they run one after the other."""
    while True:
        try:
            arena = _RESTING.pop()()
        except IndexError:
            return aligned(nbytes)
        if arena is not None and arena.size >= nbytes:
            return arena


def give_back(arena: Array) -> None:
    """Let the next program have ``arena``. It lives as long as a program that worked in it."""
    _RESTING.append(weakref.ref(arena))


_RESTING: list[weakref.ref[Array]] = []


def aligned(nbytes: int, to: int = 64) -> Array:
    """Memory of ``nbytes`` at an address that is a multiple of ``to``."""
    memory = np.empty(nbytes + to, np.uint8)
    start = -address_of(memory) % to
    return memory[start : start + nbytes]


def fill(words: Array, fixes: Sequence[Fix], base: int) -> None:
    """Write addresses behind ``base``."""
    if fixes:
        table = np.array(fixes, np.int64)
        words[table[:, 0]] = table[:, 1] + base


def buffer_view(memory: Array, start: int, of: Type) -> Array:
    """The bytes of ``memory`` from ``start`` on as an array of type ``of``."""
    return np.ndarray(of.shape, of.dtype.numpy, memory.data, start)
