"""Pointwise regions: NumPy's kernel, the composition of ops and the derivative say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjoint.base.dtype import as_dtype
from adjoint.ir.graph import record
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Node, Type, constant
from adjoint.ops.structure import Region, pullback
from adjoint.tensors import pointwise, powers, transcendental
from adjoint.tensors.handle import wrap
from adjoint.testing import assert_close
from adjoint.transform.vmap import vmap

Array = np.ndarray[Any, np.dtype[Any]]

MODULES = (pointwise, transcendental, powers)
FOUND: dict[str, Region] = {
    value.name: value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, Region) and value.body is not None
}
STATIC: dict[str, list[dict[str, Any]]] = {
    "clamp": [{"low": -1, "high": 2}, {"low": None, "high": 0.5}, {"low": 1, "high": None}],
    "power_number": [{"exponent": e} for e in (0, 2.5, -3, 7, -0.25)],
}
TWO = {"copysign", "fmod", "floor_divide", "logaddexp", "atan2", "hypot", "power"}
CASES = [(name, static) for name in FOUND for static in STATIC.get(name, [{}])]
NAMES = [f"{name} {static or ''}".strip() for name, static in CASES]

ULPS = 5
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-8, -1e-8, 1e-20,
     1e-3, 3.0, -3.0, 2.0, -2.0, 20.0, -20.0, 88.0, -87.0, 1e10, -1e10]
)  # fmt: skip


def values(dtype: str) -> Array:
    rng = np.random.default_rng(0)
    if dtype.startswith(("int", "uint")):
        info = np.iinfo(dtype)
        ends = [0, 1, 2, 3, info.min, info.max, info.max - 1]
        few = rng.integers(max(info.min, -99), 100, 60).astype(dtype)
        return np.concatenate([np.array(ends, dtype), few])
    sizes = np.exp(rng.uniform(-20, 20, 150))
    parts = [SPECIAL, rng.normal(size=80) * 3, rng.uniform(-1, 1, 80), sizes, -sizes[:50]]
    return np.concatenate(parts).astype(dtype)


def arguments(name: str, x: Array) -> list[Array]:
    if name == "clamp_between":
        return [x, np.roll(x, 7), np.roll(x, 31)]
    if name not in TWO:
        return [x]
    thin = np.concatenate([x[:26], x[26::9]])
    a, b = (v.ravel() for v in np.meshgrid(thin, thin))
    if x.dtype.kind in "iu":
        keep = (b >= 0) if name == "power" else b != 0
        a, b = a[keep], b[keep]
    return [a, b]


def both(region: Region, arrays: list[Array], static: dict[str, Any]) -> tuple[Array, Array]:
    """What the kernel gives, and what the recorded body gives."""
    with np.errstate(all="ignore"):
        assert region.kernel is not None
        kernel = np.asarray(region.kernel(*arrays, **static))
        graph = region.graph([Type(a.shape, as_dtype(a.dtype)) for a in arrays], static)
        return kernel, interpret(graph, [constant(a) for a in arrays])[0].array()


@pytest.mark.feature("T6")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "static"), CASES, ids=NAMES)
def test_the_body_agrees_with_the_kernel(name: str, static: dict[str, Any], dtype: str) -> None:
    kernel, body = both(FOUND[name], arguments(name, values(dtype)), static)
    assert kernel.dtype == body.dtype
    if kernel.dtype.kind != "f":
        np.testing.assert_array_equal(body, kernel)
        return
    number = ~np.isnan(kernel)
    np.testing.assert_array_equal(~np.isnan(body), number)
    np.testing.assert_array_equal(np.signbit(body[number]), np.signbit(kernel[number]))
    normal = number & (np.abs(kernel) > np.finfo(dtype).tiny)
    eps = float(np.finfo(dtype).eps)
    tolerance = ULPS * eps
    if name.startswith("power") and dtype == "float64":
        tolerance = 800 * eps  # exp(y log x): the error of y log x, up to 700, is magnified
    absolute = 2 * eps if name == "logaddexp" else 0.0  # two logarithms of opposite sign cancel
    np.testing.assert_allclose(body[normal], kernel[normal], rtol=tolerance, atol=absolute)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint64"])
@pytest.mark.parametrize("name", ["abs", "sign", "fmod", "power", "clamp_between"])
def test_the_body_agrees_with_the_kernel_for_integers(name: str, dtype: str) -> None:
    kernel, body = both(FOUND[name], arguments(name, values(dtype)), {})
    np.testing.assert_array_equal(body, kernel)
    assert kernel.dtype == body.dtype


SMOOTH = [
    (name, static) for name, static in CASES
    if name not in ("sign", "signbit", "ceil", "trunc", "round", "isnan", "isinf", "isfinite",
                    "floor_divide", "abs", "copysign")
]  # fmt: skip


@pytest.mark.feature("T6")
@pytest.mark.parametrize(
    ("name", "static"), SMOOTH, ids=[f"{n} {s or ''}".strip() for n, s in SMOOTH]
)
def test_the_derivative_by_hand_agrees_with_that_of_the_body(
    name: str, static: dict[str, Any]
) -> None:
    region = FOUND[name]
    rng = np.random.default_rng(1)
    count = 3 if name == "clamp_between" else 2 if name in TWO else 1
    x = rng.uniform(0.1, 0.9, (count, 30)) + (1.0 if name == "acosh" else 0.0)
    nodes = [constant(row) for row in x]
    ct = constant(rng.normal(size=30))
    by_hand = pullback(lambda *n: [region(*n, **static)], nodes, [True] * count, ct)
    assert region.body is not None
    by_body = pullback(lambda *n: region.body(*n, **static), nodes, [True] * count, ct)
    for hand, body in zip(by_hand, by_body, strict=True):
        assert isinstance(hand, Node)
        expected = np.zeros(30) if body is None else body.array()
        np.testing.assert_allclose(hand.array(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.feature("T23")
@pytest.mark.parametrize(("name", "static"), CASES, ids=NAMES)
def test_regions_are_vectorised_and_recorded(name: str, static: dict[str, Any]) -> None:
    region = FOUND[name]
    count = 3 if name == "clamp_between" else 2 if name in TWO else 1
    low = 1.1 if name == "acosh" else 0.1
    rng = np.random.default_rng(2)
    rows = [constant(rng.uniform(low, low + 0.8, (4, 5))) for _ in range(count)]
    expected = region(*rows, **static)
    found = vmap(lambda *n: [region(*n, **static)], 4, rows, [0] * count, lambda n: [0])[0]
    assert_close(wrap(found), wrap(expected), rtol=0, atol=0)
    graph = record(lambda *n: [region(*n, **static)], [Type((4, 5), as_dtype("float64"))] * count)
    assert len(graph.nodes) == 1
    assert_close(wrap(interpret(graph, rows)[0]), wrap(expected), rtol=0, atol=0)
