"""Sorting and searching by the templates are those of the ops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adjoint.base import dtype as dtypes
from adjoint.base.dtype import DType, float16, float32, float64, int8, int64, uint8
from adjoint.ir.node import Type
from adjoint.ops.reduce import argsort
from adjoint.ops.structure import call
from adjoint.tensors.regions import REGIONS
from tests.compile.running import Array, compiles_elsewhere, lowered, outputs

pytestmark = pytest.mark.feature("T30")

CASES = [((1,), 0), ((37,), 0), ((3, 16), 1), ((7, 5), 0), ((2, 9, 3), 1), ((2, 300), 1),
         ((400, 3), 0), ((1000,), 0), ((0, 3), 1), ((3, 0), 0)]  # fmt: skip


def drawn(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> Array:
    """Numbers with ties, NaN, both zeros and both ends of the range."""
    rng = np.random.default_rng(seed)
    if dtype.kind in "iu" and shape and shape[0] % 2 == 1:
        info = np.iinfo(dtype.numpy)  # pyright: ignore
        return rng.integers(info.min, info.max, shape, dtype.numpy, endpoint=True)
    x = rng.integers(0 if dtype.kind in "ub" else -40, 50, shape).astype(dtype.numpy)
    if dtype.kind == "f" and x.size:
        flat = x.reshape(-1)
        flat[3::11], flat[1::17], flat[2::13] = np.nan, -np.inf, np.inf
        flat[5::19], flat[4::23] = -0.0, -np.nan
    return x


def some(i: int) -> list[DType]:
    """A quarter of the dtypes, others from case to case."""
    return [d for j, d in enumerate(dtypes.ALL) if (i + j) % 4 == 0]


@pytest.mark.parametrize("i", range(len(CASES)))
def test_argsort(i: int) -> None:
    shape, axis = CASES[i]
    for dtype in some(i):
        x = drawn(shape, dtype)
        found = outputs(argsort, [x], {"axis": axis}, None if i % 2 else 1)
        assert found is not None
        assert_array_equal(found[0], argsort.ref(x, axis=axis), f"{dtype}")


@pytest.mark.parametrize("i", range(8))
@pytest.mark.parametrize("largest", [False, True])
def test_top_indices(i: int, largest: bool) -> None:
    shape, axis = CASES[i]
    region = REGIONS["top_indices"]
    assert region.kernel is not None
    for dtype in some(i + largest):
        x = drawn(shape, dtype)
        for k in {(shape[axis] + 1) // 2, shape[axis] if i % 2 else 1, min(7, shape[axis])}:
            static = {"axis": axis, "k": k, "largest": largest}
            found = outputs(call, [x], {"region": region, **static})
            assert found is not None
            assert_array_equal(found[0], region.kernel(x, **static), f"{dtype} {k}")


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize(("lead", "n"), [((), 1), ((), 64), ((2, 3), 33), ((2,), 1000)])
def test_search(lead: tuple[int, ...], n: int, right: bool) -> None:
    region = REGIONS["search"]
    assert region.kernel is not None
    for dtype in (float32, float64, float16, int64, int8, uint8):
        values = drawn((*lead, 90), dtype, 1)
        sequence = np.sort(drawn((*lead, n), dtype), axis=-1)
        found = outputs(call, [sequence, values], {"region": region, "right": right})
        assert found is not None
        assert_array_equal(found[0], region.kernel(sequence, values, right=right), f"{dtype}")


@pytest.mark.parametrize("dtype", [float32, float16, int64])
def test_other_cpus(dtype: DType) -> None:
    for n in (20, 500):
        kernels, *_ = lowered(argsort, [Type((2, n), dtype)], {"axis": 1})
        assert kernels is not None
        compiles_elsewhere(kernels)
    params = {"region": REGIONS["search"], "right": True}
    kernels, *_ = lowered(call, [Type((20,), dtype), Type((30,), dtype)], params)
    assert kernels is not None
    compiles_elsewhere(kernels)
