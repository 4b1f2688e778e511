"""Loop: a Repeat made ready to run natively.

Slices of scanned inputs and of stacked results are pointers that every turn moves on. A carry lies
in two buffers in turn: what one turn writes, the next reads. Which of the two is the result's
follows from the length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

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
    """A pointer that starts at ``start``: it goes on by ``step`` bytes each turn, or is at
    ``other`` and ``start`` in turn."""

    start: Node
    step: int
    other: Node | None


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


def _native(repeat: Repeat) -> list[Step]:
    """The first carries put in place, then the loop."""
    body = prepared(repeat.steps)
    outputs = distinct(repeat.outputs, body, written_by(body))
    carries, scanned = repeat.carries, repeat.scanned
    given: dict[Node, Spot] = {}
    moving: list[Moving] = []

    def move(node: Node, start: Node, step: int, other: Node | None = None) -> None:
        given[node] = Spot(MOVING, len(moving))
        moving.append(Moving(start, step, other))

    steps: list[Step] = []
    spares: list[Node] = []
    for i in range(carries):
        result = repeat.writes[i]
        pair = [result, buffer(result.shape, result.dtype)]
        spares.append(pair[1])
        even, odd = pair if repeat.length % 2 == 0 else pair[::-1]
        steps.append(copy_kernel(repeat.reads[i], even))
        move(repeat.inputs[i], even, 0, odd)
        move(outputs[i], odd, 0, even)
    for i in range(carries, carries + scanned):
        move(repeat.inputs[i], repeat.reads[i], size_of(repeat.inputs[i]))
    for i in range(carries, len(outputs)):
        move(outputs[i], repeat.writes[i], size_of(outputs[i]))
    for i in range(carries + scanned, len(repeat.inputs)):
        given[repeat.inputs[i]] = Spot(OUTER, 0, repeat.reads[i])
    scope = Scope(waves(Dependencies(body)), given)
    reads = [*repeat.reads[carries:], *repeat.writes[:carries], *spares]
    writes = [*repeat.writes, *spares, scope.work]
    steps.append(Loop(repeat, scope, moving, reads, writes))
    return steps
