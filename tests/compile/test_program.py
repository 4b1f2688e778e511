"""Programs of hand-written kernels give what NumPy gives, whoever does the work, whatever shares
memory."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from adjoint import ops
from adjoint.base.dtype import float32
from adjoint.compile.fuse import Fused
from adjoint.compile.kernel import Host, Kernel, Repeat, Step
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
