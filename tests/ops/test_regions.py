"""Every named region: its kernel gives what its body gives, and its derivative is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from adjoint.base.dtype import DType, float32, float64
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Node, Type, constant, grad_mode
from adjoint.ops.movement import swap_last
from adjoint.ops.structure import Region, results
from adjoint.tensors.regions import REGIONS
from adjoint.testing.differences import check
from adjoint.transform.vmap import vmap
from tests.ops.op_cases import Array
from tests.ops.region_cases import REGION_CASES

READ_ONE_TRIANGLE = ("cholesky", "eigh")
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
SETTINGS = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-6, "seed": 0}
ALL = [(name, i) for name in REGIONS for i in range(len(REGION_CASES.get(name, [])))]
MOVED = [
    (name, i)
    for name, i in ALL
    if REGION_CASES[name][i].moved != () and float64 in REGION_CASES[name][i].dtypes
]


def is_pointwise(name: str) -> bool:
    cases = REGION_CASES.get(name, [])
    scalar = bool(cases) and bool(cases[0].inputs) and {i.shape for i in cases[0].inputs} == {()}
    return scalar and REGIONS[name].body is not None and REGIONS[name].kernel is not None


each = pytest.mark.parametrize(("name", "index"), ALL)
each_differentiable = pytest.mark.parametrize(("name", "index"), MOVED)


@pytest.mark.feature("T6")
@pytest.mark.parametrize("name", REGIONS)
def test_every_region_has_a_case(name: str) -> None:
    assert REGION_CASES.get(name), f"add inputs for {name} to tests/ops/region_cases.py"


def test_every_case_has_a_region() -> None:
    assert set(REGION_CASES) <= set(REGIONS)


@each
def test_kernel_and_body_agree(name: str, index: int) -> None:
    """In every dtype; a recording runs the body, eager code the kernel."""
    region, case = REGIONS[name], REGION_CASES[name][index]
    for dtype in case.dtypes:
        arrays, static = case.draw(dtype), case.static
        before = [a.tobytes() for a in arrays]
        direct = apply(region, nodes(arrays), static)
        assert [a.tobytes() for a in arrays] == before
        if region.body is None:
            continue
        types = [Type(n.shape, n.dtype) for n in nodes(arrays)]
        with grad_mode(False):
            composed = interpret(region.graph(types, static), nodes(arrays))
        for one, other in zip(direct, composed, strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            compare(one.array(), other.array(), one.dtype, case.ulps, f"{name} in {dtype.name}")


SPECIAL = (0.0, -0.0, 1.0, -1.0, -2.5, np.inf, -np.inf, np.nan, 1e30, 5e-40, 800.0, -800.0, 0.5)


@pytest.mark.feature("Z1")
@pytest.mark.parametrize("dtype", [float64, float32], ids=lambda d: d.name)
@pytest.mark.parametrize("name", [n for n in REGIONS if is_pointwise(n)])
def test_kernel_and_body_agree_at_special_floats(name: str, dtype: DType) -> None:
    """NaN, infinities, both zeros, tiny and huge values, in all combinations."""
    region = REGIONS[name]
    for case in REGION_CASES[name]:
        if case.static == {"exponent": 0.5}:  # pow takes the root itself; NumPy's power does too
            continue
        grid = np.meshgrid(*[np.array(SPECIAL).astype(dtype.numpy)] * len(case.inputs))
        arrays, static = [g.reshape(-1).copy() for g in grid], case.static
        one = apply(region, nodes(arrays), static)[0].array()
        types = [Type(a.shape, dtype) for a in arrays]
        other = interpret(region.graph(types, static), nodes(arrays))[0].array()
        np.testing.assert_allclose(one, other, 1024 * EPSILON[dtype.name], 0)
        known = ~np.isnan(one.astype(np.float64))
        np.testing.assert_array_equal(np.signbit(one * 1.0)[known], np.signbit(other * 1.0)[known])


def nodes(arrays: Sequence[Array]) -> list[Node]:
    return [constant(a) for a in arrays]


def compare(one: Array, other: Array, dtype: DType, ulps: float, where: str) -> None:
    if dtype.kind != "f":
        np.testing.assert_array_equal(one, other, where)
        return
    a, b = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(b)
    np.testing.assert_array_equal(a[~finite], b[~finite], where)
    allowed = ulps * EPSILON[dtype.name] * np.abs(b[finite]).max(initial=1e-2)
    assert np.abs(a[finite] - b[finite]).max(initial=0) <= allowed, where


@pytest.mark.feature("T6", "T10")
@each_differentiable
def test_first_derivative(name: str, index: int) -> None:
    function, args = moved(name, index)
    assert check(function, args, order=1, mode="elementwise", **SETTINGS) is None


@pytest.mark.feature("T16")
@each_differentiable
def test_second_derivative(name: str, index: int) -> None:
    function, args = moved(name, index)
    assert check(function, args, order=2, mode="random", **SETTINGS) is None


def moved(name: str, index: int) -> tuple[Any, list[Node]]:
    """The region as a function of the arguments that can be differentiated."""
    region, case = REGIONS[name], REGION_CASES[name][index]
    given = nodes(case.draw(float64))
    places = case.moved
    if places is None:
        places = tuple(k for k, n in enumerate(given) if n.dtype.kind == "f")

    def function(*floats: Node) -> list[Node]:
        args = list(given)
        for place, node in zip(places, floats, strict=True):
            args[place] = node
        if name in READ_ONE_TRIANGLE:
            args = [(args[0] + swap_last(args[0])) * 0.5]
        return apply(region, args, case.static)

    return function, [given[p] for p in places]


@pytest.mark.feature("T23")
@each
def test_vmap_is_a_loop(name: str, index: int) -> None:
    """With all arguments batched, and with each alone where the region takes it so."""
    region, case = REGIONS[name], REGION_CASES[name][index]
    dtype = float64 if float64 in case.dtypes else case.dtypes[0]
    examples = [case.draw(dtype, seed) for seed in range(2)]
    static = case.static
    choices = [[True] * len(examples[0])]
    if case.make is None:
        choices += [[k == j for k in range(len(examples[0]))] for j in range(len(examples[0]))]
    for batched in choices:
        args = [
            constant(np.stack([e[k] for e in examples])) if b else constant(examples[0][k])
            for k, b in enumerate(batched)
        ]
        axes = [0 if b else None for b in batched]
        found = vmap(lambda *n: apply(region, n, static), 2, args, axes, lambda n: [0] * n)
        for i in range(2):
            single = [examples[i if b else 0][k] for k, b in enumerate(batched)]
            for out, wanted in zip(found, apply(region, nodes(single), static), strict=True):
                a, b = (v.astype(np.float64) for v in (out.array()[i], wanted.array()))
                np.testing.assert_allclose(a, b, 1e-10, 1e-10)


def apply(region: Region, args: Sequence[Node], static: dict[str, Any]) -> list[Node]:
    return results(region(*args, **static))
