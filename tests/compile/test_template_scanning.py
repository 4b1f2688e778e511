"""Scans and places of maxima by the templates are those of the ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adjoint.base import dtype as dtypes
from adjoint.base.dtype import DType, bfloat16, float32
from adjoint.ir.node import Type
from adjoint.ops.reduce import cumsum
from adjoint.ops.structure import call
from adjoint.tensors.regions import REGIONS
from tests.compile.running import Array, compiles_elsewhere, lowered, outputs

pytestmark = pytest.mark.feature("T30")

CASES = [
    ((1,), 0), ((37,), 0), ((3, 16), 1), ((5, 40), 0), ((2, 9, 3), 1), ((2, 7, 200), 1),
    ((4, 10), 1), ((2, 1037), 1), ((3, 1), 1), ((2, 65, 64), 1), ((0, 3), 1), ((3, 0), 0),
]  # fmt: skip


def drawn(shape: tuple[int, ...], dtype: DType, special: bool = False) -> Array:
    rng = np.random.default_rng(0)
    x = rng.integers(0 if dtype.kind in "ub" else -4, 5, shape).astype(dtype.numpy)
    if special and dtype.kind == "f" and x.size:
        x.reshape(-1)[3::11] = np.nan
        x.reshape(-1)[1::5] = -np.inf
        x.reshape(-1)[2::7] = np.inf
    return x


def some(shape: tuple[int, ...], kinds: str = "fiub") -> list[DType]:
    """float32, and a quarter of the dtypes: others from case to case."""
    turn = CASES.index(next(c for c in CASES if c[0] == shape))
    found = [d for j, d in enumerate(dtypes.ALL) if (turn + j) % 4 == 0 or d is float32]
    return [d for d in found if d.kind in kinds]


def plain(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype.kind == "V" else x


def check(op: Any, ref: Any, x: Array, rtol: float, **params: Any) -> None:
    with np.errstate(all="ignore"):
        want = ref(x)
    for job in (None, 1):
        found = outputs(op, [x], params, job)
        assert found is not None
        assert_allclose(plain(found[0]), plain(want), rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_cumsum(shape: tuple[int, ...], axis: int) -> None:
    for dtype in some(shape):
        x = drawn(shape, dtype)
        check(cumsum, lambda x: cumsum.ref(x, axis=axis), x, 1e-2 if dtype.bits == 16 else 1e-5,
              axis=axis)  # fmt: skip


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("name", ["running_product", "running_logsumexp", "running_argmax"])
def test_regions(name: str, shape: tuple[int, ...], axis: int) -> None:
    region = REGIONS[name]
    kernel = region.kernel
    assert kernel is not None
    kinds = {"running_logsumexp": "f", "running_product": "fiu", "running_argmax": "fiub"}
    for dtype in some(shape, kinds[name]):
        for special in (False, True):
            x = drawn(shape, dtype, special)
            tolerance = 1e-2 if dtype.bits == 16 and dtype.kind == "f" else 1e-5
            check(call, lambda x: kernel(x, axis=axis), x, tolerance, region=region, axis=axis)


@pytest.mark.parametrize(("shape", "axis"), CASES[:-1])
def test_argmax(shape: tuple[int, ...], axis: int) -> None:
    region = REGIONS["argmax"]
    assert region.kernel is not None
    for dtype in some(shape):
        for special in (False, True):
            x = drawn(shape, dtype, special)
            found = outputs(call, [x], {"region": region, "axis": axis})
            assert found is not None
            assert_array_equal(found[0], region.kernel(x, axis=axis))


def test_places_of_the_lowest_value() -> None:
    x = np.full((2, 20), -np.inf, np.float32)
    found = outputs(call, [x], {"region": REGIONS["argmax"], "axis": 1})
    assert found is not None
    assert_array_equal(found[0], [0, 0])


def test_long_sums_keep_their_digits() -> None:
    x = np.full(3_000_000, 0.1, np.float32)
    found = outputs(cumsum, [x], {"axis": 0})
    assert found is not None
    exact = np.cumsum(x, dtype=np.float64)
    assert_allclose(found[0], exact, rtol=3e-7)


@pytest.mark.parametrize("dtype", [float32, bfloat16])
@pytest.mark.parametrize("axis", [0, 1])
def test_other_cpus(axis: int, dtype: DType) -> None:
    cases: list[tuple[Any, dict[str, Any]]] = [(cumsum, {})]
    for name in ("running_logsumexp", "running_argmax", "argmax"):
        cases.append((call, {"region": REGIONS[name]}))
    for op, params in cases:
        kernels, *_ = lowered(op, [Type((9, 21), dtype)], {**params, "axis": axis})
        assert kernels is not None
        compiles_elsewhere(kernels)
