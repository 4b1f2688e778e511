"""The first node that is computed wrongly is found, wherever the fault is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.base.dtype import bfloat16, float32, int64
from adjoint.compile.differences import Difference, agree, first_difference
from adjoint.compile.interpreted import Interpreted
from adjoint.ir.graph import Graph
from adjoint.ir.node import Array

RNG = np.random.default_rng(0)


def net(x: Any, w: Any) -> Any:
    h = (x @ w).tanh()
    normed = nn.functional.layer_norm(h, (4,))
    return nn.functional.softmax(normed * 2 + h.exp(), 1), h.sort(dim=1)[1]


def recorded() -> tuple[Graph, list[Array]]:
    arrays = [RNG.normal(size=s).astype(np.float32) for s in ((3, 4), (4, 4))]
    return ad.record(net, *map(ad.tensor, arrays)), arrays


class Faulty:
    """A compiler with a fault: one element is off where ``is_broken(name of an op, graph)``."""

    def __init__(self, is_broken: Callable[[str, Graph], bool], by: float) -> None:
        self.is_broken, self.by = is_broken, by
        self.programs = 0

    def __call__(self, graph: Graph) -> Any:
        self.programs += 1
        program = Interpreted(graph)
        for step in program.steps:
            if self.is_broken(step.op.name, program.graph):
                step.op = Wrong(step.op, self.by)  # type: ignore[assignment]
        return program


class Wrong:
    """An op that gives a wrong first element."""

    def __init__(self, good: Any, by: float) -> None:
        self.good, self.by = good, by

    def ref(self, *args: Any, **params: Any) -> Any:
        value = np.array(self.good.ref(*args, **params))
        value.reshape(-1)[0] += self.by
        return value


def named(name: str) -> Callable[[str, Graph], bool]:
    return lambda op, graph: op == name


@pytest.mark.feature("T41")
def test_the_compiler_agrees() -> None:
    assert first_difference(*recorded()) is None


@pytest.mark.feature("T41")
@pytest.mark.parametrize("name", ["dot", "tanh", "exp", "reduce_max", "div"])
def test_a_wrong_op_is_found(name: str) -> None:
    compiler = Faulty(named(name), 1e3)
    graph, arrays = recorded()
    before = [a.copy() for a in arrays]
    found = first_difference(graph, arrays, compiler)
    assert isinstance(found, Difference)
    assert found.node.op is not None
    assert found.node.op.name == name
    assert found.alone
    assert found.wrong == 1
    assert not any(found.worst)
    assert found.found == pytest.approx(found.expected + 1e3, rel=1e-3)
    assert [a.tobytes() for a in arrays] == [b.tobytes() for b in before]
    assert compiler.programs < 24


def test_a_fault_that_only_fusing_brings() -> None:
    def together(op: str, graph: Graph) -> bool:
        return op == "exp" and len(graph.nodes) > 1

    graph, arrays = recorded()
    found = first_difference(graph, arrays, Faulty(together, 1e3))
    assert found is not None
    assert found.node.op is not None and found.node.op.name == "exp"
    assert not found.alone
    assert "only together with others" in str(found)


@pytest.mark.feature("T41")
def test_the_report_names_the_line() -> None:
    graph, arrays = recorded()
    found = first_difference(graph, arrays, Faulty(named("tanh"), 5.0))
    text = str(found)
    assert "tanh, float32[3, 4]: 1 elements differ, most at (0, 0)" in text
    assert "it is wrong by itself, too" in text
    assert "test_differences.py" in text


def test_what_counts_as_equal() -> None:
    ones = np.ones(3, np.float32)
    assert agree(ones + 1e-6, ones, float32)
    assert not agree(ones + 1e-2, ones, float32)
    special = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert agree(special, special.copy(), float32)
    assert not agree(special, special[::-1].copy(), float32)
    assert not agree(np.array([np.nan, 1, 1], np.float32), ones, float32)
    assert not agree(np.array([2]), np.array([3]), int64)
    rough = ones.astype(bfloat16.numpy)
    assert agree(rough, (ones * 1.01).astype(bfloat16.numpy), bfloat16)
