"""schedule: in what order steps run, and which at the same time.

A wave is a run of steps of which none needs another. Between waves all threads meet, except where
a wave is so little that one thread does it alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from adjoint.compile.copies import copy_kernel
from adjoint.compile.kernel import Host, Kernel
from adjoint.compile.lower import buffer
from adjoint.ir.node import Node

if TYPE_CHECKING:
    from adjoint.compile.loop import Loop

    Step = Kernel | Host | Loop

FLOPS, BYTES = 100e9, 40e9  # per second and thread: a rough guess of a kernel's time
LITTLE = 4e-6  # seconds: a wave that takes less is not worth meeting for
SHARE = 2e-6  # seconds that a thread should have at least


@dataclass(eq=False)
class Wave:
    """Kernels that run at the same time on up to ``parts`` threads; or one step of another kind."""

    steps: list[Step] = field(default_factory=lambda: [])
    parts: int = 1

    def __str__(self) -> str:
        return f"{self.parts} threads: {', '.join(map(str, self.steps))}"


def with_after(kernel: Kernel) -> list[Kernel]:
    """The kernel, and the one that finishes what it computes."""
    return [kernel] if kernel.after is None else [kernel, kernel.after]


def nodes_read(step: Step) -> Iterable[Node]:
    """The buffers that ``step`` reads."""
    if isinstance(step, Kernel):
        return [p.node for k in with_after(step) for p in k.reads]
    return step.reads


def nodes_written(step: Step) -> Iterable[Node]:
    """The buffers that ``step`` writes."""
    if isinstance(step, Kernel):
        return [p.node for k in with_after(step) for p in k.writes]
    return step.writes


def may_overwrite(kernel: Kernel, new: Node, old: Node) -> bool:
    """Whether ``kernel`` may write ``new`` into the buffer of ``old`` while it reads that."""
    written = [(k, i) for k in with_after(kernel) for i, p in enumerate(k.writes) if p.node is new]
    if len(written) != 1 or old in nodes_written(kernel):
        return False
    by, at = written[0]
    for part in with_after(kernel):
        for i, place in enumerate(part.reads):
            if place.node is old:
                if part is not by or (at, i) not in by.in_place:
                    return False
                if place.offset != by.writes[at].offset:
                    return False
    return True


class Dependencies:
    """Steps, and for each the steps that must be done before: who reads a buffer follows its
    writers, and who writes it again follows both."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps: list[Step] = []
        self.before: list[set[int]] = []
        self.after: list[set[int]] = []
        self.readers: defaultdict[Node, list[int]] = defaultdict(list)
        self.first: dict[Node, int] = {}
        self._writer: dict[Node, int] = {}
        self._since: defaultdict[Node, list[int]] = defaultdict(list)
        for step in steps:
            self.add(step)

    def add(self, step: Step) -> int:
        """Put ``step`` behind all others; gives its number."""
        me = len(self.steps)
        self.steps.append(step)
        self.before.append(set())
        self.after.append(set())
        reads, writes = set(nodes_read(step)), set(nodes_written(step))
        for node in reads:
            self.readers[node].append(me)
            self._since[node].append(me)
            if node in self._writer:
                self.require(self._writer[node], me)
        for node in writes:
            for other in self._since.pop(node, ()):
                self.require(other, me)
            if node in self._writer:
                self.require(self._writer[node], me)
            self._writer[node] = me
            self.first.setdefault(node, me)
        return me

    def require(self, earlier: int, later: int) -> None:
        """From now on, step ``earlier`` is done before ``later``."""
        if earlier != later:
            self.before[later].add(earlier)
            self.after[earlier].add(later)

    def reaches(self, start: int, goals: set[int]) -> bool:
        """Whether one of ``goals`` has to wait for ``start``."""
        seen, stack = {start}, [start]
        while stack:
            for following in self.after[stack.pop()]:
                if following in goals:
                    return True
                if following not in seen:
                    seen.add(following)
                    stack.append(following)
        return False

    def order(self) -> list[int]:
        """The numbers of the steps, each after those it waits for, else as they were given."""
        missing = [len(b) for b in self.before]
        ready = [i for i, count in enumerate(missing) if not count]
        heapify(ready)
        found: list[int] = []
        while ready:
            me = heappop(ready)
            found.append(me)
            for following in self.after[me]:
                missing[following] -= 1
                if not missing[following]:
                    heappush(ready, following)
        assert len(found) == len(self.steps), "steps wait for each other"
        return found


def overwrite(plan: Dependencies, old: Node, new: Node) -> Node:
    """Let the buffer of the input ``old`` become that of ``new``, once nobody reads it any more.

    Gives the node that is written there: ``new`` itself if its writer can wait for the last reader
    of ``old`` (and for the last host step, which may raise an error, after which inputs should
    be as they were), else a copy of it made at the end.
    """
    writer = plan.first[new]
    others = {r for r in plan.readers[old] if r != writer}
    others.update(i for i, s in enumerate(plan.steps) if isinstance(s, Host) and i != writer)
    step = plan.steps[writer]
    reads_itself = writer in plan.readers[old]
    alone = isinstance(step, Kernel) and (not reads_itself or may_overwrite(step, new, old))
    if not alone or plan.reaches(writer, others):
        spare = buffer(new.shape, new.dtype)
        writer = plan.add(copy_kernel(new, spare))
        new = spare
    for other in others:
        plan.require(other, writer)
    if reads_itself and writer != plan.first[new]:
        plan.require(plan.first[new], writer)
    return new


def waves(plan: Dependencies) -> list[Wave]:
    """The steps in order, cut wherever one needs another of the same wave."""
    found: list[Wave] = []
    inside: set[int] = set()
    for me in plan.order():
        step = plan.steps[me]
        alone = not isinstance(step, Kernel)
        if not inside or alone or plan.before[me] & inside:
            found.append(Wave())
            inside = set()
        found[-1].steps.append(step)
        if not alone:
            inside.add(me)
    for wave in found:
        wave.parts = parts_of([s for s in wave.steps if isinstance(s, Kernel)])
        # the longest first, so that no thread is left with it in the end
        wave.steps.sort(key=lambda s: -estimate(s) if isinstance(s, Kernel) else 0.0)
    return found


def estimate(kernel: Kernel) -> float:
    """Roughly the seconds that one thread takes."""
    return sum(k.flops / FLOPS + k.nbytes / BYTES for k in with_after(kernel))


def parts_of(kernels: Sequence[Kernel]) -> int:
    """How many threads are worth using for ``kernels``."""
    jobs = sum(k.jobs for k in kernels)
    seconds = sum(map(estimate, kernels))
    if jobs < 2 or seconds < LITTLE:
        return 1
    return min(jobs, max(round(seconds / SHARE), 2))
