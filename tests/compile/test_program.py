"""Programs of hand-written kernels give what NumPy gives, whoever does the work, whatever shares
memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from adjoint import ops, scan
from adjoint.base.dtype import float32
from adjoint.compile.backends.cpu import pool
from adjoint.compile.fuse import Fused
from adjoint.compile.interpreted import Interpreted
from adjoint.compile.kernel import Host, Kernel, Repeat, Step
from adjoint.compile.lower import buffer
from adjoint.compile.program import Program
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import Array, Node, Type
from adjoint.ops.structure import Region
from adjoint.runtime.threads import get_num_threads, set_num_threads
from adjoint.tensors.handle import wrap
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
        if self.carries and rng.random() < 0.5:  # as recurrent nets have it
            self.outputs.append(self.outputs[0])
            count += 1
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


def product_program(size: int = 5000) -> tuple[Program, Callable[[Array], Array]]:
    """y = 2 (x + x / 2), of two kernels worth several threads."""
    x, middle, out = vector(size), vector(size), vector(size)
    steps = [
        combine([x, x], [middle], [[1.0, 0.5]], heavy=True),
        combine([middle], [out], [[2.0]], heavy=True),
    ]
    graph = Graph([x], [x])
    graph.outputs = (out,)
    return Program(graph, Fused(list(steps), (out,))), lambda x: 2 * (x + x / 2)


def test_arrays_in_any_layout(threads: int) -> None:
    program, expected = product_program(12)
    shifted = np.zeros(12 * 4 + 1, np.uint8)[1:].view(np.float32)
    whole = np.arange(24, dtype=np.float32)
    for x in (whole[::2], whole[::-2], whole[12:], shifted, whole[:12].astype(np.float64)):
        before = x.copy()
        for _ in range(2):
            np.testing.assert_allclose(program([x])[0], expected(x))
        np.testing.assert_array_equal(x, before)
    x = whole[:12].copy()
    program([x])
    x += 1.0  # the same array, changed by its owner
    np.testing.assert_allclose(program([x])[0], expected(x))
    with pytest.raises(ValueError, match="expected shape"):
        program([whole])


def test_results_are_new_each_time() -> None:
    program, expected = product_program()
    x = np.ones(5000, np.float32)
    first = program([x])[0]
    second = program([x * 2])[0]
    np.testing.assert_array_equal(first, expected(x))
    np.testing.assert_array_equal(second, expected(x * 2))


def test_several_threads_run_one_program(threads: int) -> None:
    program, expected = product_program()
    xs = [np.full(5000, i, np.float32) for i in range(4)]
    wrong: list[int] = []

    def run(i: int) -> None:
        for _ in range(100):
            if not np.array_equal(program([xs[i]])[0], expected(xs[i])):
                wrong.append(i)

    team = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert wrong == [] and len(program._free) <= 4


def test_a_program_runs_alone_when_another_thread_has_the_workers() -> None:
    program, expected = product_program()
    x = np.ones(5000, np.float32)
    busy = pool.team().busy
    with busy:
        np.testing.assert_array_equal(program([x])[0], expected(x))
    np.testing.assert_array_equal(program([x])[0], expected(x))
    assert not busy.locked()


def test_workers_an_interrupt_left_taken_come_back() -> None:
    """The thread that holds them without running anything can take them again."""
    program, expected = product_program()
    x = np.ones(5000, np.float32)
    before = get_num_threads()
    set_num_threads(2)
    try:
        assert pool.team().enter(2) == 1  # and never left
        np.testing.assert_array_equal(program([x])[0], expected(x))
        assert not pool.team().busy.locked()
    finally:
        set_num_threads(before)


def test_an_error_of_numpy_leaves_the_inputs_as_they_were() -> None:
    node = record(lambda m: [cholesky(m)], [Type((2, 2), float32)]).outputs[0]
    x, w = buffer((2, 2), float32), vector(8)
    new = vector(8)
    steps: list[Step] = [combine([w], [new], [[3.0]]), Host(node, (x,), (node,))]
    graph = Graph([x, w], [x, w])
    graph.outputs, graph.updates = (node, new), ((1, 1),)
    program = Program(graph, Fused(steps, (node, new)))
    weights = np.ones(8, np.float32)
    with pytest.raises(np.linalg.LinAlgError):
        program([-np.eye(2, dtype=np.float32), weights])
    assert weights.tolist() == [1.0] * 8
    found = program([4 * np.eye(2, dtype=np.float32), weights])
    assert found[0].tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert found[1] is weights and weights.tolist() == [3.0] * 8


def cholesky(x: Node) -> Node:
    region = Region(
        "lower",
        kernel=np.linalg.cholesky,
        infer=lambda x: Type(x.shape, x.dtype),
        identity=cholesky,
    )
    return region(x)


def test_graphs_of_tensors_equal_the_interpreter(threads: int) -> None:
    def function(a: Node, b: Node) -> list[Node]:
        x, y = wrap(a), wrap(b)
        z = (x @ y).softmax(dim=1)
        carry, rows = scan(lambda c, r: (c * 0.5 + r, (c * r).sum()), z.sum(0) * 0.0, z)
        return [z.node, carry.node, rows.node, a, z.T.reshape(-1).node]

    graph = record(function, [Type((33, 17), float32), Type((17, 21), float32)])
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(np.float32) for n in graph.inputs]
    for a, b in zip(Program(graph)(arrays), Interpreted(graph)(arrays), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
