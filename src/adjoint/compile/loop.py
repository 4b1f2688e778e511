"""Loop: a Repeat made ready to run natively.

Slices of scanned inputs and of stacked results are pointers that every turn moves on. A carry lies
in two buffers in turn: what one turn writes, the next reads. Which of the two is the result's
follows from the length. A carry that is stacked as well is read from the slice it was written to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from adjoint.compile.backends.cpu.native import ADVANCE, ALTERNATE, FOLLOW
from adjoint.compile.copies import copy_kernel, size_of
from adjoint.compile.kernel import Host, Repeat
from adjoint.compile.kernel import Step as Given
from adjoint.compile.lower import buffer
from adjoint.compile.memory import MOVING, OUTER, Scope, Spot
from adjoint.compile.schedule import Dependencies, nodes_written, waves
from adjoint.ir.node import Node

if TYPE_CHECKING:
    from adjoint.compile.schedule import Step


class Moving(NamedTuple):
    """A pointer that starts at ``start``, and where each turn takes it: of kind ADVANCE ``step``
    bytes on, of kind ALTERNATE to ``other`` and back, of kind FOLLOW to ``other`` and from there
    ``step`` bytes on."""

    kind: int
    start: Node
    step: int = 0
    other: Node | None = None


class Loop:
    """The body's waves, the pointers that move, and what of the scope around it is used."""

    def __init__(self, repeat: Repeat, scope: Scope, moving: list[Moving],
                 reads: Sequence[Node], writes: Sequence[Node]) -> None:  # fmt: skip
        self.repeat = repeat
        self.scope = scope
        self.moving = moving
        self.reads = tuple(reads)
        self.writes = tuple(writes)

    def __str__(self) -> str:
        return str(self.repeat)


def prepared(steps: Iterable[Given]) -> list[Step]:
    """The steps with every Repeat as a Loop; one that has a host step in it is a host step."""
    found: list[Step] = []
    for step in steps:
        if not isinstance(step, Repeat):
            found.append(step)
        elif _needs_host(step):
            found.append(Host(step.node, step.reads, step.writes))
        else:
            found.extend(_native(step))
    return found


def distinct(
    outputs: Sequence[Node], steps: list[Step], written: set[Node]
) -> list[Node]:  # fmt: skip
    """Buffers for ``outputs`` that are all different and all computed: copies are added to
    ``steps`` for those that are inputs, constants, or there twice."""
    found: list[Node] = []
    free = set(written)
    for node in outputs:
        if node in free:
            free.discard(node)
            found.append(node)
        else:
            spare = buffer(node.shape, node.dtype)
            steps.append(copy_kernel(node, spare))
            found.append(spare)
    return found


def written_by(steps: Iterable[Step]) -> set[Node]:
    """All buffers that ``steps`` write."""
    return {node for step in steps for node in nodes_written(step)}


def _needs_host(step: Given) -> bool:
    return isinstance(step, Host) or (
        isinstance(step, Repeat) and any(_needs_host(s) for s in step.steps)
    )


class _Builder:
    """What becomes of the inputs and outputs of a body."""

    def __init__(self, repeat: Repeat) -> None:
        self.repeat = repeat
        self.given: dict[Node, Spot] = {}
        self.moving: list[Moving] = []
        self.before: list[Step] = []
        self.after: list[Step] = []
        self.reads: list[Node] = []
        self.writes: list[Node] = []

    def move(self, node: Node, to: Moving) -> None:
        self.given[node] = Spot(MOVING, len(self.moving))
        self.moving.append(to)

    def alternate(self, i: int, output: Node) -> None:
        """Let carry ``i`` lie in two buffers in turn: the result, and a spare one."""
        repeat = self.repeat
        result = repeat.writes[i]
        spare = buffer(result.shape, result.dtype)
        even, odd = (result, spare) if repeat.length % 2 == 0 else (spare, result)
        self.before.append(copy_kernel(repeat.reads[i], even))
        self.move(repeat.inputs[i], Moving(ALTERNATE, even, 0, odd))
        self.move(output, Moving(ALTERNATE, odd, 0, even))
        self.reads.extend((result, spare))
        self.writes.extend((result, spare))

    def follow(self, i: int, stacked: int) -> None:
        """Let carry ``i`` be read where the last turn put it: in the result ``stacked``."""
        repeat = self.repeat
        source, size = repeat.writes[stacked], size_of(repeat.inputs[i])
        self.move(repeat.inputs[i], Moving(FOLLOW, repeat.reads[i], size, source))
        last = (repeat.length - 1) * size
        self.after.append(copy_kernel(source, repeat.writes[i], last))
        self.reads.append(repeat.reads[i])


def _native(repeat: Repeat) -> list[Step]:
    """The first carries put in place, the loop, and what is left to be put in place after it."""
    made = _Builder(repeat)
    body = prepared(repeat.steps)
    carries, scanned = repeat.carries, repeat.scanned
    stacked = _stacked_carries(repeat, written_by(body))
    # the stacked ones first: their buffers are where they are wanted twice
    numbers = [i for i in range(len(repeat.outputs)) if i not in stacked]
    numbers.sort(key=lambda i: i not in stacked.values())
    buffers = distinct([repeat.outputs[i] for i in numbers], body, written_by(body))
    outputs = dict(zip(numbers, buffers, strict=True))
    for i in range(carries):
        if i in stacked:
            made.follow(i, stacked[i])
        else:
            made.alternate(i, outputs[i])
    for i in range(carries, carries + scanned):
        step = size_of(repeat.inputs[i])
        made.move(repeat.inputs[i], Moving(ADVANCE, repeat.reads[i], step))
    for i in range(carries, len(repeat.outputs)):
        made.move(outputs[i], Moving(ADVANCE, repeat.writes[i], size_of(outputs[i])))
    for i in range(carries + scanned, len(repeat.inputs)):
        made.given[repeat.inputs[i]] = Spot(OUTER, 0, repeat.reads[i])
    scope = Scope(waves(Dependencies(body)), made.given)
    reads = [*repeat.reads[carries:], *made.reads]
    writes = [*repeat.writes[carries:], *made.writes, scope.work]
    return [*made.before, Loop(repeat, scope, made.moving, reads, writes), *made.after]


def _stacked_carries(repeat: Repeat, written: set[Node]) -> dict[int, int]:
    """Carries that are stacked as well: number of the carry to number of the stacked output."""
    found: dict[int, int] = {}
    first = repeat.carries
    for i, node in enumerate(repeat.outputs[:first]):
        if repeat.length and node in written and node not in repeat.outputs[:i]:
            same = [p for p in range(first, len(repeat.outputs)) if repeat.outputs[p] is node]
            if same:
                found[i] = same[0]
    return found
