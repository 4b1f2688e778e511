"""Eager ops and regions use their templates where that pays, and give the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adjoint.compile import eager_whole
from adjoint.ops.index import scatter_add
from adjoint.ops.reduce import argsort
from adjoint.ops.source import random_bits
from adjoint.runtime.device import CPU
from adjoint.runtime.threads import get_num_threads, set_num_threads
from adjoint.tensors.functional.attention import attention, attention_gradient
from adjoint.tensors.functional.windows import Frame, to_first, window_max

pytestmark = pytest.mark.feature("T30")

RNG = np.random.default_rng(0)


class Counting:
    """The compiled way, which counts how often it was taken."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, *args: Any) -> Any:
        found = eager_whole.whole(*args)
        self.times += found is not None
        return found


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setitem(CPU.kernels, "whole", counting)
    monkeypatch.setattr(eager_whole, "_SEEN", {})
    return counting


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


def cases() -> list[tuple[Any, list[Any], dict[str, Any]]]:
    key = np.array([1, 2], np.uint32)
    x = RNG.standard_normal((40, 100), np.float32)
    index, updates = RNG.integers(0, 50, 400), RNG.standard_normal((400, 32), np.float32)
    return [
        (random_bits.ref, [key], {"shape": (100, 101)}),
        (argsort.ref, [x], {"axis": 0}),
        (scatter_add.ref, [np.zeros((50, 32), np.float32), index, updates], {"batch": 0}),
        (scatter_add.ref, [np.ones((900, 32)), index, updates.astype(np.float64)], {"batch": 0}),
    ]


@pytest.mark.parametrize("which", range(4))
def test_shapes_that_come_back_are_compiled(which: int, compiled: Counting, threads: int) -> None:
    function, arrays, params = cases()[which]
    results = [function(*arrays, **params) for _ in range(4)]
    assert compiled.times == 2
    for found in results[1:]:
        assert_array_equal(found, results[0])


def test_pooling(compiled: Counting) -> None:
    x = RNG.standard_normal((8, 3, 32, 32), np.float32)[:, :, ::-1]
    frame = Frame((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    assert window_max.kernel is not None and to_first.kernel is not None
    outs = [window_max.kernel(x, frame=frame) for _ in range(3)]
    assert_array_equal(outs[0], outs[2])
    ct = RNG.standard_normal(outs[0].shape, np.float32)
    grads = [to_first.kernel(ct, x, outs[0], frame=frame) for _ in range(3)]
    assert_array_equal(grads[0], grads[2])
    assert compiled.times == 2


def test_sums_of_overlapping_windows_stay_as_they_are(compiled: Counting) -> None:
    x = RNG.standard_normal((8, 3, 32, 32), np.float32)
    frame = Frame((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    assert window_max.kernel is not None and to_first.kernel is not None
    out = window_max.kernel(x, frame=frame)
    for _ in range(4):
        to_first.kernel(out, x, out, frame=frame)
    assert compiled.times == 0


def test_attention_is_compiled_from_the_first_time(
    compiled: Counting, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = (RNG.standard_normal((2, 3, 70, 16), np.float32) for _ in range(3))
    static = {"causal": True, "scale": 0.25}
    assert attention.kernel is not None and attention_gradient.kernel is not None
    out, total = attention.kernel(q, k, v, **static)
    ct = RNG.standard_normal(out.shape, np.float32)
    delta = (ct * out).sum(-1)
    grads = attention_gradient.kernel(ct, delta, q, k, v, total, **static)
    assert compiled.times == 2
    monkeypatch.delitem(CPU.kernels, "whole")
    plain = attention.kernel(q, k, v, **static)
    for one, other in zip((out, total), plain, strict=True):
        assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    wanted = attention_gradient.kernel(ct, delta, q, k, v, total, **static)
    for one, other in zip(grads, wanted, strict=True):
        assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_small_arrays_are_left_to_numpy(compiled: Counting) -> None:
    for _ in range(4):
        argsort.ref(np.arange(10)[::-1], axis=0)
    assert compiled.times == 0
