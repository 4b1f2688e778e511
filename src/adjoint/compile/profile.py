"""Where the time of a program goes, and its memory: tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adjoint.compile.copies import size_of
from adjoint.compile.execute import Instance
from adjoint.compile.kernel import Kernel
from adjoint.compile.loop import Loop
from adjoint.compile.machine import limits
from adjoint.compile.memory import Scope
from adjoint.compile.schedule import with_after
from adjoint.ir.node import Array, Node

if TYPE_CHECKING:
    from adjoint.compile.program import Program
    from adjoint.compile.schedule import Step


class Timed(NamedTuple):
    """One step: seconds, what it computes and moves, and the share of what the machine could do
    (the time that arithmetic or memory would need at least, whichever is more, over the time)."""

    name: str
    seconds: float
    flops: int
    nbytes: int
    share: float


class Profile:
    """The steps of a program in order, timed one by one. Prints as a table, the longest first."""

    def __init__(self, rows: list[Timed]) -> None:
        self.rows = rows

    @property
    def seconds(self) -> float:
        """All together."""
        return sum(r.seconds for r in self.rows)

    def __str__(self) -> str:
        head = ["kernel", "us", "%", "GFLOP/s", "GB/s", "of the limit"]
        total = self.seconds or 1.0
        lines: list[list[str]] = []
        for row in sorted(self.rows, key=lambda r: -r.seconds):
            time = max(row.seconds, 1e-9)
            lines.append([
                row.name, f"{time * 1e6:.1f}", f"{100 * time / total:.1f}",
                f"{row.flops / time / 1e9:.1f}", f"{row.nbytes / time / 1e9:.1f}",
                f"{100 * row.share:.0f}%",
            ])  # fmt: skip
        lines.append(["all", f"{self.seconds * 1e6:.1f}", "", "", "", ""])
        return columns([head, *lines])


class Lived(NamedTuple):
    """A buffer in the arena: where, how large, from which wave to which, and whose."""

    name: str
    offset: int
    nbytes: int
    first: int
    last: int
    site: str


class Memory:
    """The arena of a program and what lies in it; bytes of inputs, results and constants."""

    def __init__(self, rows: list[Lived], arena: int, inputs: int, results: int,
                 constants: int) -> None:  # fmt: skip
        self.rows = rows
        self.arena = arena
        self.inputs = inputs
        self.results = results
        self.constants = constants

    @property
    def peak(self) -> int:
        """All bytes that a call needs at once."""
        return self.arena + self.inputs + self.results + self.constants

    def __str__(self) -> str:
        head = ["buffer", "offset", "bytes", "waves", "line"]
        lines = [
            [r.name, str(r.offset), str(r.nbytes), f"{r.first}-{r.last}", r.site]
            for r in sorted(self.rows, key=lambda r: -r.nbytes)
        ]
        return (
            f"arena {self.arena:,} bytes, inputs {self.inputs:,}, results {self.results:,}, "
            f"constants {self.constants:,}\n{columns([head, *lines])}"
        )


def profile(program: Program, arrays: Sequence[Array], rounds: int = 5) -> Profile:
    """Each step timed by itself, the fastest of ``rounds`` runs on copies of ``arrays``."""
    instance = Instance(program, program.apart)
    for number, array in enumerate(arrays):
        instance.bind(number, np.array(array))
    phases = instance.table.phases
    best = [float("inf")] * len(phases)
    for _ in range(rounds):
        results = instance.make_results()  # alive while they are written
        for number in range(len(phases)):
            start = perf_counter_ns()
            instance.run_phase(number)
            best[number] = min(best[number], (perf_counter_ns() - start) * 1e-9)
        del results
    most = limits()
    rows: list[Timed] = []
    for phase, seconds in zip(phases, best, strict=True):
        flops, nbytes = _work(phase.steps[0])
        seconds = max(seconds - instance.call_overhead, 1e-9)
        least = max(flops / most.flops, nbytes / most.bytes)
        rows.append(Timed(str(phase.steps[0]), seconds, flops, nbytes, least / seconds))
    return Profile(rows)


def memory(program: Program) -> Memory:
    """The placement of all buffers."""
    rows = _rows(program.scope)
    inputs = sum(size_of(n) for n in program.graph.inputs)
    results = sum(np.dtype(d).itemsize * int(np.prod(s)) for s, d in program.fresh)
    constants = sum(c.nbytes for c in program.table.constants)
    return Memory(rows, program.scope.placement.size, inputs, results, constants)


def kernels(program: Program) -> str:
    """The steps of a program wave by wave: threads, name, arithmetic, bytes, line."""
    lines = [["wave", "threads", "kernel", "Mflop", "kB", "jobs", "line"]]
    _list(program.scope, "", lines)
    return columns(lines)


def columns(lines: list[list[str]]) -> str:
    """Text in columns: the first of words to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    left = [not any(ch.isdigit() for ch in lines[-1][i][:1]) for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            t.ljust(w) if words else t.rjust(w)
            for t, w, words in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )


def _work(step: Step) -> tuple[int, int]:
    """Arithmetic operations and bytes moved."""
    if isinstance(step, Kernel):
        return sum(k.flops for k in with_after(step)), sum(k.nbytes for k in with_after(step))
    if isinstance(step, Loop):
        found = [_work(s) for s in step.scope.steps]
        turns = step.repeat.length
        return turns * sum(f for f, _ in found), turns * sum(b for _, b in found)
    return 0, sum(size_of(n) for n in (*step.reads, *step.writes))


def _list(scope: Scope, indent: str, lines: list[list[str]]) -> None:
    for number, wave in enumerate(scope.waves):
        for step in wave.steps:
            flops, nbytes = _work(step)
            lines.append([
                f"{indent}{number}", str(wave.parts), f"{indent}{step}", f"{flops / 1e6:.3f}",
                f"{nbytes / 1e3:.1f}", str(step.jobs) if isinstance(step, Kernel) else "",
                _site(step),
            ])  # fmt: skip
            if isinstance(step, Loop):
                _list(step.scope, indent + "  ", lines)


def _rows(scope: Scope) -> list[Lived]:
    found: list[Lived] = []
    loops = {s.scope.work for s in scope.steps if isinstance(s, Loop)}
    for life in scope.placement.lives:
        spot = scope.placement.spots[life.node]
        name = "memory of a loop" if life.node in loops else _describe(life.node)
        size = size_of(life.node)
        found.append(Lived(name, spot.at, size, life.first, life.last, _line(life.node)))
    return found


def _describe(node: Node) -> str:
    what = node.op.name if node.op is not None else "buffer"
    return f"{what} {node.dtype.name}[{', '.join(map(str, node.shape))}]"


def _line(node: Node) -> str:
    return node.site or "" if node.is_abstract else ""


def _site(step: Step) -> str:
    nodes = step.nodes if isinstance(step, Kernel) else ()
    sites = [_line(n) for n in nodes if _line(n)]
    return sites[-1] if sites else ""
