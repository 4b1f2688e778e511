"""Rows that choose between several ways by size: each way against NumPy's or torch's answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adjoint import ops
from adjoint.base.dtype import ALL, DType, float32, float64
from adjoint.ir.node import constant
from adjoint.ops import correlate
from adjoint.transform.grad import Pullback
from tests.ops.op_cases import Array, plain


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
def test_where_on_large_arrays(dtype: DType) -> None:
    """Memory orders, repeated operands and scalars; special floats pass through bit by bit."""
    rng = np.random.default_rng(0)
    shape = (97, 201)
    condition, x, y = (
        rng.uniform(size=shape) < 0.5,
        plain(rng, shape, dtype),
        plain(rng, shape, dtype),
    )
    if dtype.kind == "f":
        x[0, :3], y[1, :3] = [np.nan, np.inf, -0.0], [-0.0, np.nan, -np.inf]
    zero = np.zeros((), dtype.numpy)
    minus_zero = -zero if dtype.kind == "f" else zero
    for c, a, b in [
        (condition, x, y), (condition.T.copy().T, x, y[::-1]), (condition[::-1], x.T.copy().T, y),
        (condition, x, zero), (condition, zero, y), (condition, x, minus_zero),
        (condition[:1], x, y[:, :1]), (condition, x[:1], y[:1]),
    ]:  # fmt: skip
        nodes = [
            n if n.shape == shape else ops.broadcast(n, shape=shape)
            for n in map(constant, (c, a, b))
        ]
        out = ops.where(*nodes).array()
        wanted = np.where(c, a, b)
        assert out.shape == shape
        assert out.tobytes() == np.broadcast_to(wanted, shape).tobytes()


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize(("places", "count"), [(5, 4000), (4000, 5), (4000, 4000), (1, 3)])
def test_scatter_add_of_many_and_of_few(dtype: DType, places: int, count: int) -> None:
    rng = np.random.default_rng(1)
    index = rng.integers(0, places, count)
    for rest in ((), (2,)):
        shapes = (places, *rest), (count, *rest)
        x, updates = (rng.integers(0, 3, s).astype(dtype.numpy) for s in shapes)
        out = ops.scatter_add(constant(x), constant(index), constant(updates), batch=0).array()
        wanted = x.astype(np.float64 if dtype.kind == "f" else object)
        for i, row in zip(index, updates.astype(wanted.dtype), strict=True):
            wanted[i] = wanted[i] + row
        if dtype.kind == "b":
            np.testing.assert_array_equal(out, wanted.astype(bool))
        else:
            span = 1 << dtype.bits
            exact = wanted if dtype.kind == "f" else wanted % span
            got = out.astype(np.float64) if dtype.kind == "f" else out.astype(object) % span
            np.testing.assert_allclose(
                got.astype(np.float64), exact.astype(np.float64), 2.0**-8 if dtype.bits == 16 else 0
            )  # fmt: skip


@st.composite
def convolution(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of input and kernel, and parameters, of a convolution that is not empty."""
    rank = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, size = draw(st.sampled_from([1, 2, 9])), draw(st.sampled_from([1, 2, 8]))
    stride, dilation, inner, padding, sizes, kernel = [], [], [], [], [], []
    for _ in range(rank):
        n, i = draw(st.integers(1, 14)), draw(st.sampled_from([1, 1, 1, 2, 3]))
        extent = (n - 1) * i + 1
        low, high = draw(st.integers(-2, 4)), draw(st.integers(-2, 4))
        if extent + low + high < 1:
            low, high = 0, 0
        d = draw(st.sampled_from([1, 1, 1, 2, 3]))
        k = draw(st.integers(1, (extent + low + high - 1) // d + 1))
        sizes.append(n)
        kernel.append(k)
        stride.append(draw(st.sampled_from([1, 1, 1, 2, 3])))
        dilation.append(d)
        inner.append(i)
        padding.append((low, high))
    params = {
        "stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation),
        "inner": tuple(inner), "groups": groups,
    }  # fmt: skip
    x = (draw(st.sampled_from([1, 2, 5])), channels * groups, *sizes)
    return x, (size * groups, channels, *kernel), params


def torch_conv(x: torch.Tensor, w: torch.Tensor, params: dict[str, Any]) -> torch.Tensor:
    """The input spread and padded by hand, then torch's convolution."""
    for a, (i, (low, high)) in enumerate(zip(params["inner"], params["padding"], strict=True), 2):
        n = x.shape[a]
        wide = x.new_zeros(
            (*x.shape[:a], (n - 1) * i + 1 + max(low, 0) + max(high, 0), *x.shape[a + 1 :])
        )
        index = torch.arange(n) * i + max(low, 0)
        x = wide.index_copy(a, index, x)
        x = x.narrow(a, max(-low, 0), x.shape[a] - max(-low, 0) - max(-high, 0))
    function = torch.conv1d if x.ndim == 3 else torch.conv2d
    return function(x, w, None, params["stride"], 0, params["dilation"], params["groups"])


@pytest.mark.feature("T9")
@settings(max_examples=80)
@given(convolution(), st.sampled_from([float64, float32]), st.booleans())
def test_conv_and_its_gradients_are_torchs(problem: Any, dtype: DType, turned: bool) -> None:
    x_shape, w_shape, params = problem
    rng = np.random.default_rng(2)
    x, w = (rng.standard_normal(s).astype(dtype.numpy) for s in (x_shape, w_shape))
    given_x = np.ascontiguousarray(x.T).T if turned else x
    a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, w))
    theirs = torch_conv(a, b, params)
    pull = Pullback(
        lambda x, w: [ops.conv(x, w, **params)], [constant(given_x), constant(w)], [True] * 2
    )
    mine = pull.outs[0].array()
    close(mine, theirs, dtype)
    ct = rng.standard_normal(mine.shape).astype(dtype.numpy)
    theirs.backward(torch.tensor(ct, dtype=torch.float64))
    for grad, tensor in zip(pull([constant(ct)]), (a, b), strict=True):
        assert grad is not None and tensor.grad is not None
        close(grad.array(), tensor.grad, dtype)


@pytest.mark.feature("T40")
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "pad", "groups"),
    [
        ((8, 3, 9, 9), (4, 3, 3, 3), 1, 1),  # windows as columns
        ((8, 8, 9, 9), (2, 8, 3, 3), 1, 1),  # product, then shifts
        ((3, 16, 9, 9), (4, 16, 8, 8), 0, 1),  # windows as rows
        ((8, 6, 9, 9), (6, 1, 3, 3), 1, 6),  # tap by tap
    ],
)
def test_conv_is_the_same_whichever_thread_is_first(
    x_shape: Any, w_shape: Any, pad: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal(s) for s in (x_shape, w_shape))
    rank = x.ndim - 2
    params: dict[str, Any] = {
        "stride": (1,) * rank, "padding": ((pad, pad),) * rank, "dilation": (1,) * rank,
        "inner": (1,) * rank, "groups": groups,
    }  # fmt: skip
    alone = correlate.correlate(x, w, **params)
    found: set[bytes] = set()
    for seed in range(4):

        def share(count: int, nbytes: int, work: Any, seed: int = seed) -> None:
            ends = [count * i // 3 for i in range(4)]
            for i in np.random.default_rng(seed).permutation(3):
                if ends[i] < ends[i + 1]:
                    work(ends[i], ends[i + 1])

        monkeypatch.setattr(correlate, "share", share)
        out = correlate.correlate(x, w, **params)
        np.testing.assert_allclose(out, alone, 1e-12, 1e-12)
        found.add(out.tobytes())
    assert len(found) == 1


def close(mine: Array, theirs: torch.Tensor, dtype: DType) -> None:
    wanted = theirs.detach().numpy()
    allowed = (1e-12 if dtype is float64 else 1e-5) * max(np.abs(wanted).max(initial=0), 1)
    assert mine.shape == wanted.shape and mine.dtype == dtype.numpy
    assert np.abs(mine - wanted).max(initial=0) <= allowed
