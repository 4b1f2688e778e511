"""Programs of hand-written kernels give what NumPy gives, whoever does the work, whatever shares
memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from adjoint import ops
from adjoint.base.dtype import float32
from adjoint.compile.fuse import Fused
from adjoint.compile.kernel import Host, Kernel, Repeat, Step
from adjoint.compile.lower import buffer
from adjoint.compile.program import Program
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import Array, Node, Type
from adjoint.runtime.threads import get_num_threads, set_num_threads
from tests.compile.handmade import combine, known, meaning, vector


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each test with several numbers of threads."""
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


class Random:
    """A random program: its steps, and what they mean."""

    def __init__(self, seed: int, hosts: bool) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.size = int(rng.choice([0, 1, 5, 999, 5000]))
        self.inputs = [vector(self.size) for _ in range(rng.integers(1, 5))]
        self.values = {n: self.random() for n in self.inputs}
        fixed = [self.random() for _ in range(2)]
        self.constants = {known(v): v for v in fixed}
        self.values.update(self.constants)
        self.before = dict(self.values)
        self.steps: list[Step] = []
        self.computed: list[Node] = []
        for _ in range(rng.integers(1, 25)):
            self.step(hosts)
        self.graph_of()

    def random(self) -> Array:
        return self.rng.standard_normal(self.size).astype(np.float32)

    def step(self, hosts: bool) -> None:
        rng, pool = self.rng, list(self.values)
        reads = [pool[i] for i in rng.integers(0, len(pool), rng.integers(1, 4))]
        if hosts and rng.random() < 0.2:
            node = self.negative(reads[0])
            self.steps.append(Host(node, (reads[0],), (node,)))
            self.values[node] = -self.values[reads[0]]
            self.computed.append(node)
            return
        writes = [vector(self.size) for _ in range(rng.integers(1, 3))]
        factors = rng.uniform(-0.7, 0.7, (len(writes), len(reads))).astype(np.float32)
        kernel = combine(
            reads, writes, factors.tolist(), bool(rng.random() < 0.7), bool(rng.random() < 0.5)
        )
        self.steps.append(kernel)
        found = meaning(kernel, [self.values[n] for n in reads])
        self.values.update(zip(writes, found, strict=True))
        self.computed.extend(writes)

    def negative(self, x: Node) -> Node:
        return record(lambda y: [ops.neg(y)], [Type(x.shape, float32)]).outputs[0]

    def graph_of(self) -> None:
        rng = self.rng
        pool = list(self.values)
        self.outputs = [pool[i] for i in rng.integers(0, len(pool), rng.integers(1, 5))]
        self.outputs += self.computed[-2:]
        count = min(len(self.inputs), int(rng.integers(0, 4)))
        self.updates = [
            (i, int(rng.integers(0, len(self.outputs))))
            for i in rng.permutation(len(self.inputs))[:count].tolist()
        ]

    def program(self) -> Program:
        graph = Graph(self.inputs, (), name="random")
        graph.outputs, graph.updates = tuple(self.outputs), tuple(self.updates)
        return Program(graph, Fused(self.steps, tuple(self.outputs)))


@pytest.mark.parametrize("hosts", [False, True])
def test_random_programs(threads: int, hosts: bool) -> None:
    for seed in range(60):
        case = Random(seed, hosts)
        program = case.program()
        for _ in range(2):
            arrays = [case.before[n].copy() for n in case.inputs]
            found = program(arrays)
            for array, node in zip(found, case.outputs, strict=True):
                np.testing.assert_array_equal(array, case.values[node], str(seed))
            written = dict(case.updates)
            for i, (array, node) in enumerate(zip(arrays, case.inputs, strict=True)):
                now = case.outputs[written[i]] if i in written else node
                expected = case.values[now] if i in written else case.before[node]
                np.testing.assert_array_equal(array, expected, str(seed))


class Body:
    """A random loop over hand-written kernels, and what it means."""

    def __init__(self, rng: Any, size: int, pool: dict[Node, Array], depth: int) -> None:
        self.carries, self.scanned = int(rng.integers(0, 3)), int(rng.integers(0, 3))
        self.length = int(rng.choice([0, 1, 2, 5]))
        fixed = int(rng.integers(1, 3))
        self.inputs = [vector(size) for _ in range(self.carries + self.scanned + fixed)]
        self.steps: list[Step] = []
        self.run: list[Callable[[dict[Node, Array]], None]] = []
        known_inside = list(self.inputs)
        for _ in range(rng.integers(1, 5)):
            picked = [known_inside[i] for i in rng.integers(0, len(known_inside), 2)]
            if depth and rng.random() < 0.3:
                inner = Body(rng, size, {n: np.empty(0) for n in picked}, depth - 1)
                self.steps.extend(inner.around)
                self.run.append(inner.apply)
                known_inside.extend(inner.results[: inner.carries])
                continue
            writes = [vector(size)]
            factors = rng.uniform(-0.6, 0.6, (1, 2)).astype(np.float32)
            kernel = combine(picked, writes, factors.tolist(), True, bool(rng.random() < 0.3))
            self.steps.append(kernel)
            self.run.append(self.kernel_run(kernel, picked))
            known_inside.extend(writes)
        count = self.carries + int(rng.integers(0, 3))
        self.outputs = [known_inside[i] for i in rng.integers(0, len(known_inside), count)]
        self.connect(rng, size, list(pool), count)

    def connect(self, rng: Any, size: int, pool: list[Node], count: int) -> None:
        """Arguments: buffers from around for carries and constants, and one stacked by a constant
        for each of the scanned."""
        pick = lambda: pool[int(rng.integers(0, len(pool)))]  # noqa: E731
        shape = (self.length, size)
        xs = [known(rng.standard_normal(shape).astype(np.float32)) for _ in range(self.scanned)]
        fixed = len(self.inputs) - self.carries - self.scanned
        self.args = [*(pick() for _ in range(self.carries)), *xs, *(pick() for _ in range(fixed))]
        self.results = [vector(size) for _ in range(self.carries)]
        self.results += [buffer(shape, float32) for _ in range(count - self.carries)]
        self.around = [
            Repeat(
                self.args[0], self.steps, tuple(self.inputs), tuple(self.outputs), self.carries,
                self.scanned, self.length, tuple(self.args), tuple(self.results),
            )
        ]  # fmt: skip

    def kernel_run(self, kernel: Kernel, reads: list[Node]) -> Callable[[dict[Node, Array]], None]:
        def run(values: dict[Node, Array]) -> None:
            found = meaning(kernel, [values[n] for n in reads])
            values.update(zip((p.node for p in kernel.writes), found, strict=True))

        return run

    def apply(self, values: dict[Node, Array]) -> None:
        for x in self.args:
            if x.value is not None:
                values[x] = x.value
        first, rest = self.carries, self.carries + self.scanned
        current = [values[a] for a in self.args[:first]]
        stacked = [np.empty(r.shape, np.float32) for r in self.results[first:]]
        for turn in range(self.length):
            slices = [values[a][turn] for a in self.args[first:rest]]
            given = [*current, *slices, *(values[a] for a in self.args[rest:])]
            inside = dict(zip(self.inputs, given, strict=True))
            for run in self.run:
                run(inside)
            outs = [inside[o] for o in self.outputs]
            current = outs[:first]
            for y, value in zip(stacked, outs[first:], strict=True):
                y[turn] = value
        values.update(zip(self.results, [*current, *stacked], strict=True))


def test_random_loops(threads: int) -> None:
    for seed in range(150):
        rng = np.random.default_rng(seed)
        size = int(rng.choice([0, 3, 2000]))
        inputs = [vector(size) for _ in range(2)]
        values = {n: rng.standard_normal(size).astype(np.float32) for n in inputs}
        middle = vector(size)
        first = combine(inputs, [middle], [[0.5, 0.25]])
        values[middle] = meaning(first, [values[n] for n in inputs])[0]
        body = Body(rng, size, values, 2)
        outputs = (*body.results, middle) if rng.random() < 0.5 else tuple(body.results)
        outputs = outputs or (middle,)
        updates = ((0, 0),) if body.carries and rng.random() < 0.5 else ()
        before = [values[n].copy() for n in inputs]
        graph = Graph(inputs, (), name="loop")
        graph.outputs, graph.updates = outputs, updates
        program = Program(graph, Fused([first, *body.around], outputs))
        body.apply(values)
        for _ in range(2):
            arrays = [b.copy() for b in before]
            for array, node in zip(program(arrays), outputs, strict=True):
                np.testing.assert_array_equal(array, values[node], str(seed))
            if updates:
                np.testing.assert_array_equal(arrays[0], values[outputs[0]], str(seed))
            np.testing.assert_array_equal(arrays[1], before[1], str(seed))
