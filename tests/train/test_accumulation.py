"""Accumulated gradients are those of the full batch, however it is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError
from adjoint.nn import functional as F
from adjoint.train import Accumulation, train_epoch

RNG = np.random.default_rng(0)
X = ad.tensor(RNG.normal(size=(23, 5)))
Y = ad.tensor(RNG.integers(0, 4, 23))


def made(rate: float = 0.1) -> tuple[Any, Any]:
    ad.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    return net, ad.optim.SGD(net.parameters(), lr=rate)


def gradients(net: Any) -> list[np.ndarray]:
    return [p.grad.numpy() for p in net.parameters()]


def cut(count: int, size: int) -> list[slice]:
    return [slice(a, min(a + size, count)) for a in range(0, count, size)]


@given(st.integers(1, 23), st.booleans())
@settings(max_examples=12)
def test_ragged_windows_equal_the_full_batch(size: int, masked: bool) -> None:
    y = ad.where(ad.tensor(RNG.random(23) < 0.3), -100, Y) if masked else Y
    net, _ = made()
    whole = F.cross_entropy(net(X), y)
    whole.backward()
    wanted = gradients(net)
    net, optimizer = made()
    window = Accumulation(optimizer)
    for part in cut(23, size):
        count = (y[part] != -100).sum()
        if count.item():
            window.backward(F.cross_entropy(net(X[part]), y[part]), count)
    window.divide()
    window.divide()  # once is enough
    assert window.loss.item() == pytest.approx(whole.item(), rel=1e-12)
    for a, b in zip(gradients(net), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_mean_of_means_is_not_the_mean() -> None:
    """What the loop everybody writes does instead: the planted mistake, for comparison."""
    net, _ = made()
    F.cross_entropy(net(X), Y).backward()
    wanted = gradients(net)
    net, _ = made()
    parts = cut(23, 10)  # 10, 10 and 3
    for part in parts:
        (F.cross_entropy(net(X[part]), Y[part]) / len(parts)).backward()
    assert max(np.abs(a - b).max() for a, b in zip(gradients(net), wanted, strict=True)) > 1e-3


@pytest.mark.parametrize("captured", [False, True])
def test_steps_equal_those_of_full_batches(captured: bool) -> None:
    net, optimizer = made()
    twin, other = made()
    window = Accumulation(optimizer, max_norm=0.3)

    def step() -> Any:
        for part in cut(23, 12):
            window.backward(F.cross_entropy(net(X[part]), Y[part]), len(Y[part]))
        return window.step()

    run = ad.jit(step) if captured else step
    for _ in range(4):
        other.zero_grad()
        loss = F.cross_entropy(twin(X), Y)
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        other.step()
        assert run().item() == pytest.approx(loss.item(), rel=1e-10)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9)
        assert a.grad is None


def test_old_gradients_and_empty_windows() -> None:
    net, optimizer = made()
    F.cross_entropy(net(X), Y).backward()  # left over from something else
    window = Accumulation(optimizer)
    assert window.step() is None
    with pytest.raises(ArgumentError, match="no batch"):
        window.divide()
    with pytest.raises(ArgumentError, match="no batch"):
        _ = window.loss
    window.backward(F.cross_entropy(net(X), Y), 23)
    mine = gradients(net)[0] / 23
    with pytest.raises(ArgumentError, match="-1"):
        window.backward(F.cross_entropy(net(X), Y), -1)
    window.divide()
    np.testing.assert_allclose(gradients(net)[0], mine)
    with pytest.raises(ArgumentError, match="after divide"):
        window.backward(F.cross_entropy(net(X), Y), 23)
    window.step()
    window.backward(F.cross_entropy(net(X), Y), 23)


def test_the_loop_accumulates_to_the_same_epoch() -> None:
    found = []
    for size, accumulate in ((12, 1), (4, 3), (3, 4)):  # the last step has fewer samples
        net, optimizer = made()
        parts = [(X[part], Y[part]) for part in cut(23, size)]
        scores = train_epoch(
            net, parts, optimizer, F.cross_entropy, progress=False, accumulate=accumulate
        )
        assert scores is not None
        found.append(np.concatenate([p.detach().numpy().ravel() for p in net.parameters()]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-9)
