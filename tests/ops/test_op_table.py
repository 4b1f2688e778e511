"""Every row of the op table: its meaning, its derivatives and its batching rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from adjoint.base.dtype import DType, float64
from adjoint.ir.graph import record
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Node, Type, constant
from adjoint.ops import TABLE
from adjoint.ops.rows import zeros_like
from adjoint.testing.differences import check
from adjoint.transform.grad import Pullback
from adjoint.transform.jvp import jvp
from adjoint.transform.vmap import vmap
from tests.ops.op_cases import Array, Case, constants, gather_cases, layouts, rounded, split

CASES = gather_cases()
SMOOTH = [c for c in CASES if c.smooth and c.floats() and float64 in c.dtypes]
TWINS = [c for c in CASES if c.twin is not None and float64 in c.dtypes]
DIFFERENTIABLE = [
    c
    for c in CASES
    if c.floats() and float64 in c.dtypes and (c.result is None or c.result.kind == "f")
]
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}

each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_smooth = pytest.mark.parametrize("case", SMOOTH, ids=str)
each_differentiable = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)


@pytest.mark.feature("T6")
def test_every_row_has_a_case() -> None:
    assert {c.op for c in CASES} == set(TABLE)
    assert len({str(c) for c in CASES}) == len(CASES)


@pytest.mark.feature("T6")
def test_every_row_with_a_derivative_is_differentiated() -> None:
    without = set(TABLE) - {c.op for c in SMOOTH}
    assert without == {
        "argsort", "bit_and", "bit_or", "bit_xor", "eq", "iota", "lt", "random_bits", "shift_left",
        "shift_right",
    }  # fmt: skip


@each_case
def test_case_runs_its_row(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    row, used = TABLE[case.op], []
    meaning = row.ref

    def spy(*args: Any, **params: Any) -> Any:
        used.append(case.op)
        return meaning(*args, **params)

    monkeypatch.setattr(row, "ref", spy)
    for node in case.nodes_of(*constants(case.draw(case.dtypes[-1]))):
        node.array()
    assert used


@pytest.mark.feature("T1")
@each_case
def test_value(case: Case) -> None:
    """In every dtype, however the inputs lie in memory; the inputs are left alone."""
    for dtype in case.dtypes:
        arrays = case.draw(dtype)
        expected = case.expected(arrays)
        for name in layouts(np.zeros(())):
            given = [layouts(a)[name] for a in arrays]
            nodes = case.nodes_of(*constants(given))
            where = f"{case} in {dtype.name}, {name}"
            assert len(nodes) == len(expected), where
            for node, value in zip(nodes, expected, strict=True):
                check_value(node, value, case.result or dtype, case.ulps, where)
            for before, after in zip(arrays, given, strict=True):
                assert before.tobytes() == after.tobytes(), where


def check_value(node: Node, value: Array, dtype: DType, ulps: float, where: str) -> None:
    out, wanted = node.array(), rounded(value, dtype)
    assert node.shape == out.shape == wanted.shape, where
    assert node.dtype is dtype and out.dtype == dtype.numpy, where
    if ulps == 0 or dtype.kind != "f":
        np.testing.assert_array_equal(out, wanted, where)
        return
    wide = wanted.astype(np.float64)
    allowed = ulps * EPSILON[dtype.name] * np.abs(wide).max(initial=1e-3)
    assert np.abs(out.astype(np.float64) - wide).max(initial=0.0) <= allowed, where


@pytest.mark.feature("T4")
@each_case
def test_recorded_equals_computed(case: Case) -> None:
    """A program recorded on types alone gives the same bits when it is run."""
    for dtype in case.dtypes:
        arrays = case.draw(dtype)
        direct = case.nodes_of(*constants(arrays))
        types = [Type(a.shape, n.dtype) for a, n in zip(arrays, constants(arrays), strict=True)]
        graph = record(lambda *nodes: case.nodes_of(*nodes), types)
        graph.verify()
        for a, b in zip(interpret(graph, constants(arrays)), direct, strict=True):
            assert a.dtype is b.dtype
            np.testing.assert_array_equal(a.array(), b.array())


@pytest.mark.parametrize("case", TWINS, ids=str)
def test_torch(case: Case) -> None:
    """The value and the gradient are torch's; ties and kinks too."""
    assert case.twin is not None
    arrays = case.draw(float64)
    tensors = [torch.tensor(a) for a in arrays]
    places = [p for p in case.floats()]
    for p in places:
        tensors[p].requires_grad_()
    theirs = case.twin(*tensors)
    theirs = list(theirs) if isinstance(theirs, tuple) else [theirs]
    function, args = split(case)
    pull = Pullback(function, args, [True] * len(args))
    rng = np.random.default_rng(1)
    seeds = [rng.standard_normal(t.shape) for t in theirs]
    for mine, other in zip(pull.outs, theirs, strict=True):
        np.testing.assert_allclose(mine.array(), other.detach().numpy(), 1e-12, 1e-12)
    floats = [i for i, t in enumerate(theirs) if t.requires_grad]
    if not floats:
        return
    found = pull([constant(s) if i in floats else None for i, s in enumerate(seeds)])
    grads = torch.autograd.grad(
        [theirs[i] for i in floats], [tensors[p] for p in places],
        [torch.tensor(seeds[i]) for i in floats], allow_unused=True,
    )  # fmt: skip
    for mine, other in zip(found, grads, strict=True):
        if mine is None or other is None:
            assert mine is None or not mine.array().any()
            assert other is None or not other.numpy().any()
        else:
            np.testing.assert_allclose(mine.array(), other.numpy(), 1e-11, 1e-11)


SETTINGS = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-6, "seed": 0}


@pytest.mark.feature("T6", "T8", "T10", "T15")
@each_smooth
def test_first_derivative(case: Case) -> None:
    """The whole Jacobian, in reverse and in forward mode, against central differences."""
    function, args = split(case)
    assert check(function, args, order=1, mode="elementwise", **SETTINGS) is None


@pytest.mark.feature("T6", "T16")
@each_smooth
def test_second_derivative(case: Case) -> None:
    """The gradient function itself, in both modes, along random directions."""
    function, args = split(case)
    assert check(function, args, order=2, mode="random", **SETTINGS) is None


@pytest.mark.feature("T10")
@each_differentiable
def test_forward_mode_is_the_transpose_of_reverse_mode(case: Case) -> None:
    """<u, J v> = <J^T u, v>, at kinks as well."""
    function, args = split(case)
    rng = np.random.default_rng(2)
    directions = [rng.standard_normal(a.shape) for a in args]
    pull = Pullback(function, args, [True] * len(args))
    weights = [rng.standard_normal(o.shape) if o.dtype.kind == "f" else None for o in pull.outs]
    grads = pull([None if w is None else constant(w) for w in weights])
    _, tangents = jvp(function, args, constants(directions))
    terms = [w * t.array() for w, t in zip(weights, tangents, strict=True) if w is not None]
    left = sum(float(t.sum()) for t in terms)
    right = sum(
        float(np.vdot(g.array(), v))
        for g, v in zip(grads, directions, strict=True)
        if g is not None
    )
    scale = sum(float(np.abs(t).sum()) for t in terms)
    precision = 1e-12 if case.result is None else EPSILON[case.result.name]
    assert abs(left - right) <= precision * max(scale, 1.0)


@each_differentiable
def test_gradient_does_not_depend_on_memory_layout(case: Case) -> None:
    rng = np.random.default_rng(3)
    function, args = split(case)
    reference: list[Array | None] | None = None
    for name in layouts(np.zeros(())):
        moved = [constant(layouts(a.array())[name]) for a in args]
        pull = Pullback(function, moved, [True] * len(args))
        seeds = [
            constant(layouts(s)[name]) if o.dtype.kind == "f" else None
            for o, s in zip(pull.outs, fixed(rng, pull.outs), strict=True)
        ]
        found = [None if g is None else g.array() for g in pull(seeds)]
        if reference is None:
            reference = found
        for mine, other in zip(found, reference, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None and other is not None:
                np.testing.assert_allclose(mine, other, 1e-12, 1e-12)


def fixed(rng: np.random.Generator, nodes: Sequence[Node]) -> list[Array]:
    return [np.cos(np.arange(n.array().size) + 1.0).reshape(n.shape) for n in nodes]


@pytest.mark.feature("T23")
@pytest.mark.parametrize("case", [c for c in CASES if c.inputs], ids=str)
def test_vmap_is_a_loop(case: Case) -> None:
    """For every choice of batched arguments."""
    dtype = float64 if float64 in case.dtypes else case.dtypes[0]
    compare_with_loop(lambda *nodes: case.nodes_of(*nodes), examples(case, dtype))


@pytest.mark.feature("T23")
@each_differentiable
def test_vmap_of_the_gradient_is_a_loop(case: Case) -> None:
    """The gradient function of one example, for every choice of batched arguments."""
    places = case.floats()
    outs = case.nodes_of(*constants(case.draw(float64)))
    weights = [np.cos(np.arange(o.array().size) + 1.0).reshape(o.shape) for o in outs]
    arrays = [*examples(case, float64), [w * k for k, w in enumerate(weights, 1)][:1] * 3]
    arrays[-1] = [weights[0] * k for k in (1.0, 2.0, -1.0)]

    def gradient(*nodes: Node) -> list[Node]:
        given, ct = nodes[:-1], nodes[-1]
        wanted = [p in places for p in range(len(given))]
        pull = Pullback(lambda *n: case.nodes_of(*n), given, wanted)
        rest = [constant(w) for w in weights[1:]]
        cts = [c if o.dtype.kind == "f" else None for o, c in zip(outs, [ct, *rest], strict=True)]
        found = pull(cts)
        return [zeros_like(given[p]) if (g := found[p]) is None else g for p in places]

    compare_with_loop(gradient, arrays)


def examples(case: Case, dtype: DType, count: int = 3) -> list[list[Array]]:
    """For each argument, several examples of it."""
    drawn = [case.draw(dtype, seed) for seed in range(count)]
    return [list(column) for column in zip(*drawn, strict=True)]


def compare_with_loop(
    function: Callable[..., list[Node]], arguments: Sequence[Sequence[Array]]
) -> None:
    size = len(arguments[0])
    for batched in product((True, False), repeat=len(arguments)):
        if not any(batched):
            continue
        args = [
            constant(np.stack(column)) if b else constant(column[0])
            for column, b in zip(arguments, batched, strict=True)
        ]
        axes = [0 if b else None for b in batched]
        found = vmap(function, size, args, axes, lambda n: [0] * n)
        loop = [
            function(
                *(constant(c[k] if b else c[0]) for c, b in zip(arguments, batched, strict=True))
            )
            for k in range(size)
        ]
        for out, *singles in zip(found, *loop, strict=True):
            wanted = np.stack([s.array() for s in singles])
            assert out.dtype is singles[0].dtype
            np.testing.assert_allclose(out.array(), wanted, 1e-12, 1e-12, err_msg=f"{batched}")
