"""Clipping against PyTorch, and the monitor on nets whose gradients vanish, explode, or do not."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, GradError, ShapeError
from adjoint.nn.gradients import GradientMonitor


def pairs(scale: float) -> tuple[list[Any], list[torch.Tensor]]:
    rng = np.random.default_rng(0)
    ours: list[Any] = []
    theirs: list[torch.Tensor] = []
    for shape in ((3, 4), (5,), ()):
        values, grads = rng.normal(size=shape), rng.normal(size=shape) * scale
        p, t = nn.Parameter(ad.tensor(values)), torch.nn.Parameter(torch.tensor(values))
        p.grad, t.grad = ad.tensor(grads), torch.tensor(grads)
        ours.append(p)
        theirs.append(t)
    return [*ours, nn.Parameter(ad.zeros(2))], theirs  # the last has no gradient


@pytest.mark.feature("Z7")
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.5, inf])
@pytest.mark.parametrize("scale", [0.01, 1.0, 1e3])
def test_clipping_by_the_global_norm(norm: float, scale: float) -> None:
    ours, theirs = pairs(scale)
    before = [p.grad.numpy().copy() for p in ours[:3]]
    total = nn.utils.clip_grad_norm_(ours, 1.5, norm)
    wanted = torch.nn.utils.clip_grad_norm_(theirs, 1.5, norm)
    assert total.item() == pytest.approx(wanted.item(), rel=1e-12)
    for p, t, old in zip(ours, theirs, before, strict=False):
        np.testing.assert_allclose(p.grad.numpy(), t.grad.numpy(), rtol=1e-12)
        if wanted < 1.4:
            np.testing.assert_array_equal(p.grad.numpy(), old)  # left alone, exactly
    clipped = nn.utils.get_total_norm([p.grad for p in ours], norm).item()
    assert clipped <= 1.5 * (1 + 1e-6)


@pytest.mark.feature("Z7")
def test_clipping_by_value() -> None:
    ours, theirs = pairs(2.0)
    nn.utils.clip_grad_value_(ours, 0.7)
    torch.nn.utils.clip_grad_value_(theirs, 0.7)
    for p, t in zip(ours, theirs, strict=False):
        np.testing.assert_array_equal(p.grad.numpy(), t.grad.numpy())
    single = ours[0]
    nn.utils.clip_grad_value_(single, 0.1)
    assert np.abs(single.grad.numpy()).max() == 0.1
    with pytest.raises(ArgumentError, match="negative"):
        nn.utils.clip_grad_value_(ours, -1.0)


@pytest.mark.feature("Z7")
def test_no_gradient_and_no_number() -> None:
    p = nn.Parameter(ad.ones(2))
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == 0
    p.grad = ad.tensor([inf, 1.0])
    with pytest.raises(GradError, match="inf"):
        nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


def recurrent(gain: float, steps: int, monitor: GradientMonitor | None = None) -> tuple[Any, Any]:
    """h <- W h + x_t: the state after ``steps``, and W."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    w = nn.Parameter(ad.tensor(q * gain, dtype=ad.float64))
    h = ad.tensor(rng.normal(size=(1, 8)), requires_grad=True)
    for step in range(steps):
        if monitor is not None:
            monitor.watch(f"h{step}", h)
        h = h @ w + 0.01
    return h, w


@pytest.mark.feature("Z7")
def test_a_recurrent_net_of_five_hundred_steps_stays_finite() -> None:
    h, w = recurrent(1.05, 500)
    for _ in range(5):
        loss = (h * h).mean()
        w.grad = None
        loss.backward()
        assert nn.utils.clip_grad_norm_([w], 1.0).item() > 1e6
        with ad.no_grad():
            w -= 0.02 * w.grad
        assert np.isfinite(w.detach().numpy()).all()
        assert np.linalg.norm(w.grad.numpy()) <= 1 + 1e-6
        state = ad.ones(1, 8, dtype=ad.float64)
        for _ in range(500):
            state = state @ w + 0.01
        h = state
        assert np.isfinite(h.detach().numpy()).all()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))

    def forward(self, x: Any) -> Any:
        return x + 0.2 * self.inner(x)


def trained_once(net: nn.Module) -> GradientMonitor:
    ad.manual_seed(1)
    net(ad.randn(32, 16)).square().mean().backward()
    return GradientMonitor.of(net)


@pytest.mark.feature("Z6")
def test_the_monitor_flags_a_deep_sigmoid_net_and_no_residual_net() -> None:
    ad.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(30):
        layers += [nn.Linear(16, 16), nn.Sigmoid()]
    deep = trained_once(nn.Sequential(*layers))
    assert deep.verdict == "vanishing" and deep.ratio < 1e-4
    assert len(deep.norms) == 30 and next(iter(deep.norms)) == "0.weight"
    residual = trained_once(nn.Sequential(nn.Linear(16, 16), *(Residual() for _ in range(15))))
    assert residual.verdict is None and 1e-4 < residual.ratio < 1e4


@pytest.mark.feature("Z6")
@pytest.mark.parametrize(("gain", "verdict"), [(0.9, "vanishing"), (1.1, "exploding"), (1.0, None)])
def test_the_monitor_on_a_recurrent_net(gain: float, verdict: str | None) -> None:
    monitor = GradientMonitor()
    h, _ = recurrent(gain, 500, monitor)
    h.sum().backward()
    assert monitor.verdict == verdict
    assert len(monitor.norms) == 500 and next(iter(monitor.norms)) == "h0"


def test_the_monitor_on_nothing_and_on_nan() -> None:
    monitor = GradientMonitor()
    assert monitor.verdict is None and monitor.norms == {}
    x = ad.ones(2, requires_grad=True)
    (monitor.watch("x", x * 1.0) * float("nan")).sum().backward()
    assert monitor.verdict == "exploding"


def test_parameters_as_one_vector() -> None:
    net = nn.Linear(3, 2)
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (8,)
    nn.utils.vector_to_parameters(ad.arange(8.0), net.parameters())
    assert net.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and net.bias.tolist() == [6, 7]
    assert net.weight.requires_grad
    with pytest.raises(ShapeError, match="8 elements"):
        nn.utils.vector_to_parameters(ad.zeros(7), net.parameters())


def test_clipping_by_a_norm_that_is_known_already() -> None:
    values = np.array([[3.0, -4.0], [12.0, 0.0]])
    found = []
    for m in (ad, torch):
        utils = (nn if m is ad else torch.nn).utils
        p = m.tensor(values, requires_grad=True)
        (p * p).sum().backward()
        total = utils.get_total_norm([p.grad])
        utils.clip_grads_with_norm_([p], 2.0, total, foreach=False)
        found.append([float(total), *p.grad.reshape(-1).tolist()])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
