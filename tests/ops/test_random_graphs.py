"""Random programs of 5 to 30 ops: their derivatives, their recordings and their batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from adjoint.base.dtype import float64
from adjoint.ir.graph import record
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Node, Type, constant, grad_mode
from adjoint.ir.reverse import backward
from adjoint.ops import TABLE
from adjoint.ops.rows import zeros_like
from adjoint.testing.differences import check
from adjoint.transform.grad import Pullback
from adjoint.transform.vmap import vmap
from tests.ops.random_programs import Program, Step, programs

SETTINGS = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-6, "seed": 0}


def sweep(fast: int, slow: int) -> Any:
    """Parametrise a property by how many programs it is tried on; the long run is marked slow."""
    counts = [fast, pytest.param(slow, marks=pytest.mark.slow)]
    return pytest.mark.parametrize("count", counts)


def try_on(count: int, prop: Any, **options: Any) -> None:
    health = [HealthCheck.too_slow, HealthCheck.data_too_large]
    chosen = settings(max_examples=count, suppress_health_check=health, deadline=None)
    chosen(given(programs(**options))(prop))()


@pytest.mark.feature("T6", "T8", "T15")
@sweep(25, 400)
def test_gradients(count: int) -> None:
    """Reverse and forward mode against central differences."""

    def prop(program: Program) -> None:
        function = connected(program)
        assert check(function, program.arguments(), order=1, mode="random", **SETTINGS) is None

    try_on(count, prop)


@pytest.mark.feature("T16")
@sweep(10, 100)
def test_second_derivatives(count: int) -> None:
    def prop(program: Program) -> None:
        function = connected(program)
        assert check(function, program.arguments(), order=2, mode="random", **SETTINGS) is None

    try_on(count, prop, most=12)


def connected(program: Program) -> Any:
    """The program, with its inputs among the results so that there always is a derivative."""
    return lambda *x: [*program(*x), *x]


@pytest.mark.feature("T13")
@sweep(40, 1000)
def test_every_gradient_has_the_shape_of_its_tensor(count: int) -> None:
    """Of the inputs and of every value in between."""

    def prop(program: Program) -> None:
        inputs = program.arguments()
        for node in inputs:
            node.needs_grad = True
        values = program.values(*inputs)
        outs = [values[i] for i in program.outputs]
        seeds = [constant(np.ones(o.shape)) for o in outs]
        live = [v for v in values if v.needs_grad]
        found = backward(outs, seeds, live)
        assert values[-1] in found
        for node, grad in found.items():
            assert (grad.shape, grad.dtype) == (node.shape, node.dtype)
            assert grad.array().shape == node.array().shape

    try_on(count, prop)


@pytest.mark.feature("T4", "T23")
@sweep(40, 400)
def test_recording(count: int) -> None:
    """A recorded program runs to the same bits, also when it is recorded or differentiated again;
    it prints and hashes the same each time."""

    def prop(program: Program) -> None:
        graph = record(program, program.types(), name="program")
        graph.verify()
        again = record(program, program.types(), name="program")
        assert str(graph) == str(again) and graph == again
        replayed = record(lambda *x: interpret(graph, x), program.types(), name="program")
        assert replayed.key == graph.key
        args = program.arguments()
        direct = program(*args)
        for one, two in zip(interpret(graph, args), direct, strict=True):
            assert one.array().tobytes() == two.array().tobytes()
        seeds = [constant(np.cos(np.arange(o.array().size) + 1.0)).array() for o in direct]
        cts = [constant(s.reshape(o.shape)) for s, o in zip(seeds, direct, strict=True)]
        wanted = [True] * len(args)
        ours = Pullback(lambda *x: interpret(graph, x), args, wanted)(cts)
        theirs = Pullback(program, args, wanted)(cts)
        for one, two in zip(ours, theirs, strict=True):
            assert (one is None) == (two is None)
            if one is not None and two is not None:
                assert one.array().tobytes() == two.array().tobytes()

    try_on(count, prop)


@sweep(25, 300)
def test_a_changed_program_has_another_key(count: int) -> None:
    def prop(program: Program) -> None:
        key = record(program, program.types()).key
        for changed in changes(program):
            assert record(changed, changed.types()).key != key

    try_on(count, prop)


def changes(program: Program) -> list[Any]:
    """The last step done twice; a constant changed; recorded without gradients; other outputs."""
    last = len(program.inputs) + len(program.steps) - 1
    longer = (*program.steps, Step("neg", (last,)))
    return [
        Program(program.inputs, longer, (last + 1, *program.outputs[1:])),
        Program(program.inputs, program.steps, (*program.outputs, 0)),
        Shifted(program, 1.0),
        Shifted(program, 1.5),
        Still(program),
    ]


class Shifted:
    """A program with a number added to its first result; each number is another program."""

    def __init__(self, program: Program, by: float) -> None:
        self.program, self.by, self.types = program, by, program.types

    def __call__(self, *inputs: Node) -> list[Node]:
        first, *rest = self.program(*inputs)
        return [first + self.by, *rest]


class Still(Shifted):
    """A program recorded without gradients."""

    def __init__(self, program: Program) -> None:
        super().__init__(program, 0.0)

    def __call__(self, *inputs: Node) -> list[Node]:
        with grad_mode(False):
            return self.program(*inputs)


@pytest.mark.feature("T23")
@sweep(15, 250)
def test_vmap_is_a_loop(count: int) -> None:
    """Of the program and of its gradient, with a different choice of batched inputs each time."""

    def prop(program: Program) -> None:
        size = 3
        drawn = [program.arguments(seed) for seed in range(size)]
        choice = sum(len(s.operands) for s in program.steps) % (2 ** len(program.inputs) - 1) + 1
        batched = [bool(choice >> k & 1) for k in range(len(program.inputs))]
        args = [
            constant(np.stack([d[k].array() for d in drawn])) if b else drawn[0][k]
            for k, b in enumerate(batched)
        ]
        for function in (program, gradient_of(program)):
            axes = [0 if b else None for b in batched]
            outs = vmap(function, size, args, axes, lambda n: [0] * n)
            for i in range(size):
                single = [drawn[i if b else 0][k] for k, b in enumerate(batched)]
                for out, wanted in zip(outs, function(*single), strict=True):
                    np.testing.assert_allclose(out.array()[i], wanted.array(), 1e-11, 1e-11)

    try_on(count, prop)


def gradient_of(program: Program) -> Any:
    def gradient(*inputs: Node) -> list[Node]:
        pull = Pullback(program, inputs, [True] * len(inputs))
        found = pull([ones(o) for o in pull.outs])
        return [zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]

    return gradient


def ones(node: Node) -> Node:
    return constant(np.ones(node.shape))


def test_the_programs_are_varied() -> None:
    """Every kind of step, rank 0, zero sizes, broadcasts and several inputs do occur."""
    seen: Counter[str] = Counter()
    rows: set[str] = set()

    def prop(program: Program) -> None:
        seen.update(step.kind for step in program.steps)
        values = record(lambda *x: program.values(*x), program.types())
        rows.update(n.op.name for n in values.nodes if n.op is not None)
        seen["rank 0"] += () in program.inputs
        seen["zero size"] += any(0 in v.shape for v in values.outputs)
        seen["several inputs"] += len(program.inputs) > 1
        assert 5 <= len(program.steps) <= 30

    try_on(150, prop)
    from tests.ops.random_programs import RUN

    assert set(RUN) - set(seen) == set()
    assert min(seen[k] for k in ("rank 0", "zero size", "several inputs")) > 5
    assert {Type((), float64)} and len(rows) > len(TABLE) / 2
