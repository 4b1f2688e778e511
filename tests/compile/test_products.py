"""The compiled matrix product: values, strides, threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as ad
from adjoint.base.dtype import OF_NUMPY
from adjoint.compile import blocks, gemm, products
from adjoint.compile.backends.cpu.target import host
from adjoint.ops import contract
from adjoint.runtime.device import CPU
from adjoint.runtime.threads import get_num_threads, set_num_threads

Array = np.ndarray[Any, np.dtype[Any]]
TOLERANCE = {"f": 3e-6, "d": 1e-14}
TILE = gemm.tile_for(host(), 32)
EDGES = sorted(
    {1, 2, 3, TILE.few, TILE.rows - 1, TILE.rows, TILE.rows + 1, 2 * TILE.rows + TILE.few}
    | {TILE.lanes - 1, TILE.lanes, TILE.columns - 1, TILE.columns, TILE.columns + 1, 70}
)
DEPTHS = [1, 2, 15, 16, 17, 64, blocks.DEPTH - 1, blocks.DEPTH, blocks.DEPTH + 1, 500]


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads."""
    before = get_num_threads()
    yield
    set_num_threads(before)


def random(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check(a: Array, b: Array) -> None:
    """Against NumPy in double precision (long double for doubles), per sum of magnitudes."""
    wide = np.longdouble if a.dtype.char == "d" else np.float64
    expected = np.matmul(a.astype(wide), b.astype(wide))
    scale = np.matmul(abs(a.astype(wide)), abs(b.astype(wide)))
    found = products.product(a, b)
    assert found.dtype == a.dtype
    assert found.shape == expected.shape
    assert found.flags.c_contiguous
    assert np.all(abs(found - expected) <= TOLERANCE[a.dtype.char] * scale)


@pytest.mark.feature("O2")
@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("k", DEPTHS)
def test_every_edge_of_tiles_and_blocks(k: int, dtype: str) -> None:
    for m in EDGES:
        for n in EDGES:
            turned = (m + n) % 4
            a = random((m, k), dtype) if turned & 1 else random((k, m), dtype).T
            b = random((k, n), dtype, 1) if turned & 2 else random((n, k), dtype, 1).T
            check(a, b)


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_more_rows_than_the_second_level_cache_holds(dtype: str) -> None:
    check(random((2 * blocks.HEIGHT + 5, 201), dtype), random((201, 45), dtype, 1))
    check(random((9, 33), dtype), random((33, blocks.WIDEST + 70), dtype, 1))


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_strides_of_any_kind(dtype: str) -> None:
    a, b = random((80, 90), dtype), random((90, 70), dtype, 1)
    check(a[::-1], b[:, ::-1])
    check(a[::2, ::3], b[::3, 1::2])
    check(a[:, ::-1], b[::-1])
    check(a.T[5:75, 7:], b[4:77, 3:])
    check(a.T[5:75, 7:], b[76:3:-1])
    check(np.broadcast_to(a[:1], (40, 90)), np.broadcast_to(b[:, :1], (90, 33)))
    check(np.broadcast_to(a[:, :1], (80, 90)), b)


def test_elements_at_odd_addresses() -> None:
    record = np.zeros((40, 50), np.dtype([("tag", "i1"), ("x", "f4")]))
    record["x"] = random((40, 50), "f")
    check(record["x"], random((50, 30), "f", 1))


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_batches(dtype: str) -> None:
    check(random((5, 30, 40), dtype), random((5, 40, 50), dtype, 1))
    check(random((2, 3, 30, 40), dtype), random((2, 3, 40, 50), dtype, 1))
    a, b = random((30, 5, 40), dtype), random((40, 5, 50), dtype, 1)
    check(a.transpose(1, 0, 2), b.transpose(1, 0, 2))
    check(np.broadcast_to(a[:, 0], (4, 30, 40)), random((4, 40, 50), dtype, 1)[::-1])


@given(
    m=st.integers(1, 100), n=st.integers(1, 100), k=st.integers(1, 300),
    steps=st.tuples(*[st.sampled_from([-3, -2, -1, 1, 2])] * 4), wide=st.booleans(),
)  # fmt: skip
def test_random_sizes_and_steps(
    m: int, n: int, k: int, steps: tuple[int, int, int, int], wide: bool
) -> None:
    dtype = "d" if wide else "f"
    sizes = [size * abs(step) for size, step in zip((m, k, k, n), steps, strict=True)]
    a = random((sizes[0], sizes[1]), dtype)[:: steps[0], :: steps[1]]
    b = random((sizes[2], sizes[3]), dtype, 1)[:: steps[2], :: steps[3]]
    check(a, b)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_sizes_that_stay_with_numpy(size: int) -> None:
    for m, k, n in ((size, 50, 50), (50, size, 50), (50, 50, size), (size, size, size)):
        a, b = random((m, k), "f"), random((k, n), "f", 1)
        assert np.allclose(products.dot(a, b), a @ b, rtol=1e-5, atol=1e-5)


def test_integers_stay_exact() -> None:
    a = np.arange(200 * 200).reshape(200, 200)
    assert np.array_equal(products.dot(a, a), a @ a)


def test_nan_and_infinity_stay_in_their_row_and_column() -> None:
    a, b = random((100, 100), "f"), random((100, 100), "f", 1)
    a[37, 5], b[8, 90] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        found = products.product(a, b)
    wrong = ~np.isfinite(found)
    assert wrong[37].all()
    assert wrong[:, 90].all()
    assert wrong.sum() == 199


@pytest.mark.feature("O2")
@pytest.mark.parametrize(
    "shape", [(64, 512, 784), (300, 333, 257), (12, 1000, 64), (1000, 9, 300)], ids=str
)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_the_bits_do_not_depend_on_the_threads(
    shape: tuple[int, int, int], dtype: str, threads: None
) -> None:
    m, n, k = shape
    a, b = random((m, k), dtype), random((n, k), dtype, 1).T
    set_num_threads(1)
    expected = products.product(a, b)
    for count in (2, 3, 5, 8):
        set_num_threads(count)
        for _ in range(5):
            assert np.array_equal(products.product(a, b), expected)


def test_every_thread_of_the_user_may_multiply() -> None:
    a, b = random((200, 300), "f"), random((300, 250), "f", 1)
    expected = products.product(a, b)
    wrong: list[int] = []

    def work(i: int) -> None:
        if not all(np.array_equal(products.product(a, b), expected) for _ in range(50)):
            wrong.append(i)

    users = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_multiplies_too() -> None:
    a, b = random((200, 300), "f"), random((300, 250), "f", 1)
    expected = products.product(a, b)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(products.product(a, b), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_eager_dot_uses_it(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []

    def counted(a: Array, b: Array) -> Array:
        sizes.append((*a.shape, b.shape[-1]))
        return products.dot(a, b)

    monkeypatch.setitem(CPU.kernels, "dot", counted)
    x = ad.tensor(random((150, 200), dtype), requires_grad=True)
    w = ad.tensor(random((180, 200), dtype, 1), requires_grad=True)
    (x @ w.T).square().sum().backward()
    assert contract.LARGE <= 150 * 200 * 180
    assert sorted(sizes) == [(150, 180, 200), (150, 200, 180), (200, 150, 180)]
    tx = torch.from_numpy(random((150, 200), dtype)).requires_grad_()
    tw = torch.from_numpy(random((180, 200), dtype, 1)).requires_grad_()
    (tx @ tw.T).square().sum().backward()
    tolerance = {"f": 1e-3, "d": 1e-10}[dtype]
    for ours, theirs in ((x, tx), (w, tw)):
        assert ours.grad is not None and theirs.grad is not None
        assert np.allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=tolerance)


def test_sixteen_bits_are_summed_in_single_precision() -> None:
    a, b = random((150, 200), "f"), random((200, 180), "f", 1)
    for dtype in (ad.float16, ad.bfloat16):
        x, y = ad.tensor(a, dtype=dtype), ad.tensor(b, dtype=dtype)
        assert OF_NUMPY[(x @ y).numpy().dtype] is dtype
        exact = x.numpy().astype("d") @ y.numpy().astype("d")
        assert np.allclose((x @ y).numpy().astype("d"), exact, rtol=1e-2, atol=1e-2)
