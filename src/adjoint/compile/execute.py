"""Instance: the memory that a program runs in, and the run itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from adjoint.compile.backends.cpu import pool
from adjoint.compile.backends.cpu.native import HELPERS, SCRATCH, STATE, STRIDE
from adjoint.compile.backends.cpu.target import host
from adjoint.compile.kernel import Host
from adjoint.compile.memory import ARENA, INPUT, constant_of
from adjoint.compile.table import PAGE, Fix, Phase, Table, address_of, locate
from adjoint.ir.node import Array, Node, Type, evaluate
from adjoint.runtime.threads import get_num_threads

if TYPE_CHECKING:
    from adjoint.compile.program import Program


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
        self.arena = aligned(program.scope.placement.size)
        fill(words, table.here, self.base)
        fill(words, table.arena, address_of(self.arena))
        self.words: memoryview[int] = memoryview(cast("Any", words))
        self.arrays: list[Array | None] = [None] * len(program.graph.inputs)
        self.fresh: list[Array] = []
        self._helpers = self._threads = 0
        self._state: int = 0
        self._scratch = self._reserve(1)
        self._execute = pool.compiled(host()).execute
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

    def make_results(self) -> list[Array]:
        """New arrays for the outputs that are not updates."""
        self.fresh = [np.empty(shape, dtype) for shape, dtype in self.program.fresh]
        for number, array in enumerate(self.fresh):
            self._patch(self.table.outputs.get(number, ()), address_of(array))
        return self.fresh

    def run(self) -> None:
        """All phases, on what is bound."""
        for part in self._parts:
            part()

    def run_phase(self, number: int) -> None:
        """One phase, on what is bound."""
        self._parts[number]()

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
        op, params = step.node.op, step.node.params
        assert op is not None
        reads = [self._reader(node) for node in step.reads]
        writes = [self._reader(node) for node in step.writes]

        def compute() -> None:
            value = evaluate(op, [read() for read in reads], params)
            values = cast("tuple[Any, ...]", value if isinstance(value, tuple) else (value,))
            for write, result in zip(writes, values, strict=True):
                write()[...] = result

        return compute

    def _reader(self, node: Node) -> Callable[[], Any]:
        """What gives the buffer of ``node`` as an array."""
        _, spot, node = locate(self.program.scope, node)
        if spot is None:
            value = constant_of(node)
            return lambda: value
        if spot.kind == ARENA:
            view = buffer_view(self.arena, spot.at, Type(node.shape, node.dtype))
            return lambda: view
        number = spot.at
        if spot.kind == INPUT:
            return lambda: self.arrays[number]
        return lambda: self.fresh[number]


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
