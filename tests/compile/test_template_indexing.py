"""The templates of gather, scatter_add, index_set and largest_at mean what the ops mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adjoint.base import dtype as dtypes
from adjoint.base.dtype import DType, bfloat16, bool_, float16, float32, float64, int32, int64
from adjoint.compile import lower
from adjoint.compile.templates.indexing import Scatter
from adjoint.ir.graph import recording
from adjoint.ir.node import Type, abstract
from adjoint.ops.index import gather, scatter_add
from adjoint.ops.rows import full
from adjoint.ops.structure import call
from adjoint.tensors.regions import REGIONS
from tests.compile.running import Array, Buffers, compiles_elsewhere, lowered, outputs, run

pytestmark = pytest.mark.feature("T30")

ALL = dtypes.ALL
INDICES = tuple(d for d in ALL if d.kind in "iu")


def drawn(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(0 if dtype.kind in "ub" else -4, 5, shape).astype(dtype.numpy)


def plain(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype.kind == "V" else x


GATHERS = [  # shape of x, batch axes, shape of the index behind them
    ((7,), 0, (40,)),
    ((7, 1), 0, (3, 5)),
    ((50, 128), 0, (9,)),
    ((5, 3), 0, (11,)),
    ((5, 7), 0, (11,)),
    ((5, 37), 0, (11,)),
    ((4, 400), 0, (6,)),
    ((3, 6, 2, 3), 1, (4,)),
    ((2, 3, 5), 2, (4,)),
    ((2, 3, 5), 2, ()),
    ((5, 3), 0, (0,)),
    ((5, 0), 0, (2,)),
]


@pytest.mark.parametrize(("shape", "batch", "tail"), GATHERS)
def test_gather(shape: tuple[int, ...], batch: int, tail: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    n = shape[batch]
    for i, dtype in enumerate(ALL):
        kind = INDICES[i % len(INDICES)]
        low = -2 if kind.kind == "i" else 0  # out of range at both ends: clipped
        index = rng.integers(low, n + 2, shape[:batch] + tail).astype(kind.numpy)
        x = drawn(shape, dtype)
        for job in (None, 1, 3):
            found = outputs(gather, [x, index], {"batch": batch}, job)
            assert found is not None
            assert found[0].tobytes() == gather.ref(x, index, batch=batch).tobytes()


def test_gather_of_large_unsigned_indices() -> None:
    index = np.array([2**63, 2**64 - 1, 1], np.uint64)
    found = outputs(gather, [np.arange(3), index], {"batch": 0})
    assert found is not None
    assert_array_equal(found[0], [2, 2, 1])


SCATTERS = [*GATHERS[:9], ((9000,), 0, (50,)), ((300, 64), 0, (50,)), ((2, 900, 33), 1, (20,))]


@pytest.mark.parametrize(("shape", "batch", "tail"), [*SCATTERS, *GATHERS[9:]])
def test_scatter_add(shape: tuple[int, ...], batch: int, tail: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    for i, dtype in enumerate(ALL):
        kind = INDICES[i % len(INDICES)]
        high = min(shape[batch] + 2, 100)
        index = rng.integers(-1 if kind.kind == "i" else 0, high, shape[:batch] + tail)
        index = index.astype(kind.numpy)
        x = drawn(shape, dtype)
        updates = drawn(index.shape + shape[batch + 1 :], dtype, 3)
        want = scatter_add.ref(x, index, updates, batch=batch)
        for job in (None, 1, 3):
            found = outputs(scatter_add, [x, index, updates], {"batch": batch}, job)
            assert found is not None
            assert_allclose(plain(found[0]), plain(want), rtol=1e-6)


def test_many_values_in_few_places_are_summed_well() -> None:
    rng = np.random.default_rng(0)
    index, updates = rng.integers(0, 3, 100_000), rng.random(100_000, np.float32)
    found = outputs(scatter_add, [np.zeros(3, np.float32), index, updates], {"batch": 0})
    assert found is not None
    exact = np.bincount(index, updates.astype(np.float64))
    assert_allclose(found[0], exact, rtol=1e-7)


def test_a_target_of_zeros_is_never_read() -> None:
    index, updates = np.array([3, 700, 3]), drawn((3, 64), float32)
    with recording():
        zeros = full(0, (1000, 64), float32)
        args = [abstract(Type(a.shape, d)) for a, d in ((index, int64), (updates, float32))]
        node = scatter_add(zeros, *args, batch=0)
    rule = lower.template_of("scatter_add")
    assert rule is not None
    kernels = rule(node, (node,))
    assert kernels is not None
    buffers = Buffers(dict(zip(args, (index, updates), strict=True)))
    assert [p.node for p in kernels[0].reads] == args
    assert kernels[0].jobs > 1
    run(kernels, buffers)
    want = np.zeros((1000, 64), np.float32)
    np.add.at(want, index, updates)
    assert_array_equal(buffers[node], want)


@pytest.mark.parametrize("dtype", [float32, bfloat16])
def test_in_place(dtype: DType) -> None:
    x, index = drawn((5, 40), dtype), np.array([1, 4, 1])
    updates = drawn((3, 40), dtype, 2)
    types = [Type(a.shape, d) for a, d in ((x, dtype), (index, int64), (updates, dtype))]
    kernels, args, (result,) = lowered(scatter_add, types, {"batch": 0})
    assert kernels is not None
    assert kernels[0].in_place == ((0, 2),)
    assert kernels[0].reads[2].node is args[0]
    buffers = Buffers(dict(zip(args, (x.copy(), index, updates), strict=True)))
    buffers.arrays[result] = buffers[args[0]]
    run(kernels, buffers)
    want = scatter_add.ref(x, index, updates, batch=0)
    assert_array_equal(plain(buffers[result]), plain(want))


@pytest.mark.parametrize("size", [1, 7, 100, 70_000])
@pytest.mark.parametrize("name", ["index_set", "largest_at"])
def test_writing(name: str, size: int) -> None:
    rng = np.random.default_rng(0)
    region = REGIONS[name]
    assert region.kernel is not None
    for dtype in (float32, float64, float16, bfloat16, int32, int64, bool_):
        if name == "largest_at" and dtype is bfloat16:
            continue  # NumPy has no maximum.at for it
        x, index = drawn((size,), dtype), rng.integers(0, min(size, 40), 60)
        values: Any = drawn((60,), dtype, 5)
        if name == "largest_at" and dtype is float32:
            values[::9] = np.nan
        with np.errstate(invalid="ignore"):
            want = region.kernel(x, index, values)
        for job in (None, 1):
            found = outputs(call, [x, index, values], {"region": region}, job)
            assert found is not None
            assert_array_equal(plain(found[0]), plain(want))


def test_ranges_of_rows_follow_from_the_work() -> None:
    def ranges(n: int, m: int, rest: int) -> int:
        return Scatter("add", 1, n, m, rest, float32, int64, float32, True).ranges

    assert ranges(50_000, 1024, 128) > 4  # mostly filling
    assert ranges(100, 1_000_000, 1) == 1  # mostly looking at indices


@pytest.mark.parametrize("dtype", [float32, bfloat16, float16, bool_])
def test_other_cpus(dtype: DType) -> None:
    for rest in (1, 37):
        x, index = Type((50, rest), dtype), Type((20,), int64)
        for op, types in (
            (gather, [x, index]),
            (scatter_add, [x, index, Type((20, rest), dtype)]),
        ):
            kernels, *_ = lowered(op, types, {"batch": 0})
            assert kernels is not None
            compiles_elsewhere(kernels)
