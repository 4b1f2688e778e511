"""Waves hold steps that do not need each other, and memory is shared by what does not live at the
same time."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from adjoint.base.dtype import float32
from adjoint.compile.copies import size_of
from adjoint.compile.fuse import Fused
from adjoint.compile.kernel import Kernel
from adjoint.compile.lower import buffer
from adjoint.compile.memory import ARENA, INPUT, Spot, place
from adjoint.compile.program import Program
from adjoint.compile.schedule import Dependencies, Wave, overwrite, waves
from adjoint.ir.graph import Graph
from adjoint.ir.node import Node
from tests.compile.handmade import combine, vector

SIZE = 16


def step(reads: list[Node], in_place: bool = True, heavy: bool = False) -> tuple[Kernel, Node]:
    out = vector(SIZE)
    return combine(reads, [out], [[1.0] * len(reads)], in_place, heavy), out


def order(found: list[Wave]) -> list[list[Any]]:
    return [wave.steps for wave in found]


def test_independent_steps_share_a_wave() -> None:
    x = vector(SIZE)
    (a, u), (b, v) = step([x]), step([x])
    c, w = step([u, v])
    d, _ = step([w])
    assert order(waves(Dependencies([a, b, c, d]))) == [[a, b], [c], [d]]


def test_little_waves_run_on_one_thread() -> None:
    x = vector(5000)
    little = combine([x], [vector(5000)], [[1.0]])
    great = combine([x], [vector(5000)], [[1.0]], heavy=True)
    assert [w.parts for w in waves(Dependencies([little]))] == [1]
    assert [w.parts for w in waves(Dependencies([great]))] == [great.jobs]


def test_whoever_writes_a_buffer_again_waits_for_its_readers() -> None:
    x = vector(SIZE)
    a, u = step([x])
    b, v = step([u])
    again = combine([v, x], [u], [[1.0, 1.0]])
    c, _ = step([u])
    assert order(waves(Dependencies([a, b, again, c]))) == [[a], [b], [again], [c]]


def test_an_update_waits_for_the_last_reader_of_the_old_value() -> None:
    w = vector(SIZE)
    writer, new = step([w])
    reader, _out = step([w])
    plan = Dependencies([writer, reader])
    assert overwrite(plan, w, new) is new
    assert order(waves(plan)) == [[reader], [writer]]


def test_an_update_that_a_reader_of_the_old_value_needs_is_copied() -> None:
    w = vector(SIZE)
    writer, new = step([w])
    reader, _out = step([w, new])
    plan = Dependencies([writer, reader])
    spare = overwrite(plan, w, new)
    assert spare is not new
    assert [s.name for s in plan.steps] == [writer.name, reader.name, "copy"]
    assert order(waves(plan))[-1] == [plan.steps[-1]]


def test_an_update_over_what_the_kernel_itself_reads() -> None:
    w = vector(SIZE)
    writer, new = step([w], in_place=False)
    plan = Dependencies([writer])
    assert overwrite(plan, w, new) is not new
    writer, new = step([w], in_place=True)
    plan = Dependencies([writer])
    assert overwrite(plan, w, new) is new


def test_steps_that_wait_for_each_other_are_noticed() -> None:
    plan = Dependencies([step([vector(1)])[0], step([vector(1)])[0]])
    plan.require(0, 1)
    assert plan.reaches(0, {1}) and not plan.reaches(1, {0})
    plan.require(1, 0)
    with pytest.raises(AssertionError, match="wait for each other"):
        plan.order()


@pytest.mark.parametrize("seed", range(30))
def test_what_lives_at_the_same_time_lies_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, steps = [vector(SIZE)], []
    for _ in range(30):
        reads = [known[i] for i in rng.integers(max(0, len(known) - 6), len(known), 2)]
        out = buffer((int(rng.integers(0, 5)) * 16,), float32)
        kernel = combine(reads, [out], [[1.0, 1.0]], in_place=False)
        steps.append(kernel)
        known.append(out)
    found = waves(Dependencies(steps))
    placed = place(found, {known[0]: Spot(INPUT, 0)})
    assert len(placed.lives) == 30
    for a, b in combinations(placed.lives, 2):
        i, j = placed.spots[a.node].at, placed.spots[b.node].at
        apart = i + size_of(a.node) <= j or j + size_of(b.node) <= i
        assert apart or a.last < b.first or b.last < a.first
        assert i % 64 == 0 and i + size_of(a.node) <= placed.size
    assert placed.size < sum(size_of(n) for n in known[1:])


def test_a_chain_in_place_needs_one_buffer() -> None:
    x = vector(SIZE)
    steps, last = [], x
    for _ in range(6):
        kernel, last = step([last])
        steps.append(kernel)
    placed = place(waves(Dependencies(steps)), {x: Spot(INPUT, 0)})
    assert placed.size == 64
    assert {s for n, s in placed.spots.items() if n is not x} == {Spot(ARENA, 0)}


def test_a_chain_into_a_result_needs_no_arena() -> None:
    x = vector(SIZE)
    a, u = step([x])
    b, out = step([u])
    graph = Graph([x], [x])
    graph.outputs = (out,)
    program = Program(graph, Fused([a, b], (out,)))
    assert program.memory().arena == 0
    assert program([np.ones(SIZE, np.float32)])[0].tolist() == [1.0] * SIZE


def test_what_is_read_before_it_is_written_is_a_mistake() -> None:
    a, _ = step([vector(SIZE)])
    with pytest.raises(AssertionError, match="nobody writes"):
        place(waves(Dependencies([a])), {})


def test_the_tables_say_what_there_is() -> None:
    x = vector(SIZE)
    a, u = step([x], in_place=False)
    b, v = step([u, x], in_place=False)
    c, out = step([v, u])
    graph = Graph([x], [x])
    graph.outputs = (out,)
    program = Program(graph, Fused([a, b, c], (out,)))
    memory = program.memory()
    assert memory.arena == 64 and memory.inputs == memory.results == 64
    assert "float32[16]" in str(memory)
    profile = program.profile([np.ones(SIZE, np.float32)], rounds=1)
    assert [row.name for row in profile.rows] == [a.name, b.name, c.name]
    assert all(row.seconds > 0 for row in profile.rows) and "of the limit" in str(profile)
    assert program.kernels.count("combine") == 3
