"""Penalties, constraints, noise, mixed examples and adversarial inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import adjoint as ad
from adjoint import nn, optim
from adjoint.base.errors import AdjointError
from adjoint.nn import adversarial, mixing, regularisation

RNG = np.random.default_rng(0)


def weights(*shape: int, dtype: Any = ad.float64) -> Any:
    return ad.tensor(RNG.normal(size=shape), dtype=dtype, requires_grad=True)


@pytest.mark.feature("R1")
def test_the_l2_penalty_is_the_square_of_the_norm() -> None:
    """Not the norm: the square has the gradient 2 strength w, which is finite (0) at 0."""
    a, b = weights(3, 4), ad.zeros(5, dtype=ad.float64, requires_grad=True)
    penalty = regularisation.l2_penalty([a, b], 0.3)
    assert penalty.item() == pytest.approx(0.3 * (a.detach().numpy() ** 2).sum(), rel=1e-12)
    penalty.backward()
    np.testing.assert_allclose(a.grad.numpy(), 0.6 * a.detach().numpy(), rtol=1e-10)
    assert b.grad.tolist() == [0.0] * 5
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    kept = [tuple(w.shape) for w in regularisation.weights_of(net)]
    assert kept == [(4, 3), (2, 4)]  # no biases, no scales
    whole = regularisation.l2_penalty(net).item()
    assert whole == pytest.approx(regularisation.l2_penalty(net.parameters()).item(), abs=9)


@pytest.mark.feature("P15", "R1")
def test_the_penalty_is_weight_decay_for_sgd() -> None:
    """loss + strength |w|^2 (not strength |w|) is decay 2 strength."""
    a = weights(4)
    b = a.detach().clone().requires_grad_()
    (ad.sin(a).sum() + regularisation.l2_penalty(a, 0.05)).backward()
    ad.sin(b).sum().backward()
    optim.SGD([a], lr=0.1).step()
    optim.SGD([b], lr=0.1, weight_decay=0.1).step()
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)


@pytest.mark.feature("R2")
def test_the_proximal_step_finds_exact_zeros_and_the_subgradient_does_not() -> None:
    true = np.zeros(100)
    true[:10] = RNG.normal(size=10) * 3
    x = ad.tensor(RNG.normal(size=(300, 100)))
    y = ad.tensor(x.numpy() @ true + 0.1 * RNG.normal(size=300))

    def zeros(kind: str) -> int:
        w = ad.zeros(100, dtype=ad.float64, requires_grad=True)
        optimiser = optim.SGD([w], lr=0.1)
        if kind == "proximal":
            optimiser.register_step_post_hook(
                lambda o, a, k: regularisation.soft_threshold_(w, o.rates[0] * 0.3)
            )
        for _ in range(200):
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(x @ w, y)
            if kind == "subgradient":
                loss = loss + regularisation.l1_penalty(w, 0.3)
            if kind == "l2":
                loss = loss + regularisation.l2_penalty(w, 0.3)
            loss.backward()
            optimiser.step()
        found = w.detach().numpy()
        if kind == "proximal":
            assert (found[:10] != 0).sum() >= 8
        return int((found == 0).sum())

    assert zeros("proximal") >= 80 and zeros("l2") == 0 and zeros("subgradient") < 20


@pytest.mark.feature("R3")
@pytest.mark.parametrize("p", [0.5, 0.7, 1.0, 1.5, 2.0, 3.0])
def test_lp_penalties(p: float) -> None:
    """(sum |w|^p)^(1/p): absolute values, and the root over the whole sum."""
    values = np.array([1.5, -2.0, 0.0, 0.3])
    w = ad.tensor(values, requires_grad=True)
    found = regularisation.lp_penalty([w], p, 2.0)
    assert found.item() == pytest.approx(2 * (np.abs(values) ** p).sum() ** (1 / p), rel=1e-10)
    found.backward()
    assert np.isfinite(w.grad.numpy()).all() and w.grad.tolist()[2] == 0.0
    t = torch.tensor(values[[0, 1, 3]], requires_grad=True)
    (2 * (t.abs() ** p).sum() ** (1 / p)).backward()
    np.testing.assert_allclose(w.grad.numpy()[[0, 1, 3]], t.grad, rtol=1e-10)
    zero = ad.zeros(3, requires_grad=True)
    regularisation.lp_penalty(zero, p).backward()
    assert zero.grad.tolist() == [0.0] * 3


def test_max_norm() -> None:
    w = weights(5, 4)
    with ad.no_grad():
        w.assign((w * ad.tensor([[10.0], [1.0], [0.1], [0.0], [3.0]]).double()).node, "test")
    before = w.detach().numpy().copy()
    regularisation.max_norm_([w], 1.0)
    want = torch.renorm(torch.tensor(before), 2, 0, 1.0).numpy()
    np.testing.assert_allclose(w.detach().numpy(), want, rtol=1e-6, atol=1e-12)
    assert w.is_leaf and w.requires_grad


@pytest.mark.feature("R6")
@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth(mode: str) -> None:
    ad.manual_seed(0)
    layer = nn.StochasticDepth(0.3, mode)
    x = ad.ones(20000, 2, requires_grad=True)
    out = layer(x)
    values = set(np.unique(out.detach().numpy()).round(5).tolist())
    assert values <= {0.0, np.float32(1 / 0.7).round(5).item()}
    if mode == "row":
        assert out.mean().item() == pytest.approx(1.0, abs=3 * (0.3 / 0.7 / 20000) ** 0.5)
        assert (out[:, 0] == out[:, 1]).all()
        out.sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), out.detach().numpy())
    assert layer.eval()(x) is x
    assert not nn.StochasticDepth(1.0)(x).detach().numpy().any()


def test_gaussian_noise() -> None:
    ad.manual_seed(0)
    x = ad.full((50000,), 2.0)
    added, scaled = nn.GaussianNoise(0.5)(x) - x, nn.GaussianNoise(0.5, relative=True)(x) / x - 1
    for found in (added, scaled):
        assert scipy.stats.kstest(found.numpy() / 0.5, "norm").pvalue > 1e-3
    assert nn.GaussianNoise(0.5).eval()(x) is x
    step = ad.jit(nn.GaussianNoise(0.5))
    assert (step(x) != step(x)).any()


def test_smoothed_labels_are_what_cross_entropy_uses() -> None:
    x, y = ad.randn(5, 4), ad.tensor([0, 3, 1, 2, 0])
    soft = mixing.smooth_labels(y, 4, 0.2)
    np.testing.assert_allclose(soft.sum(1).numpy(), 1.0, rtol=1e-6)
    a = nn.functional.cross_entropy(x, soft).item()
    assert a == pytest.approx(nn.functional.cross_entropy(x, y, label_smoothing=0.2).item())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_share_of_mixtures_comes_from_beta(alpha: float) -> None:
    ad.manual_seed(0)
    shares = [mixing.beta(alpha).item() for _ in range(600)]
    assert scipy.stats.kstest(shares, "beta", args=(alpha, alpha)).pvalue > 1e-3


def test_mixup_and_cutmix() -> None:
    ad.manual_seed(1)
    x, y = ad.tensor(RNG.normal(size=(6, 2, 8, 10))), ad.tensor([0, 1, 2, 0, 1, 2])
    mixed = mixing.mixup(x, y, 1.0, classes=3)
    s = mixed.share.item()
    np.testing.assert_allclose(
        mixed.x.numpy(), s * x.numpy() + (1 - s) * np.roll(x.numpy(), 1, 0), rtol=1e-10
    )
    hot = np.eye(3)[y.numpy()]
    np.testing.assert_allclose(mixed.y.numpy(), s * hot + (1 - s) * np.roll(hot, 1, 0), rtol=1e-5)
    for _ in range(5):
        cut = mixing.cutmix(x, ad.tensor(hot), 1.0)
        from_next = cut.x.numpy() != x.numpy()
        assert (cut.x.numpy()[from_next] == np.roll(x.numpy(), 1, 0)[from_next]).all()
        area = from_next[0, 0].mean()
        assert cut.share.item() == pytest.approx(1 - area)
        rows, columns = from_next[0, 0].any(1), from_next[0, 0].any(0)
        assert (from_next[0, 0] == rows[:, None] & columns).all()  # a box
    step = ad.jit(lambda a: (mixing.cutmix(a, ad.tensor(hot)).x, mixing.mixup(a, y, 1.0, 3).x))
    for one, other in zip(step(x), step(x), strict=True):
        assert (one != other).any()


def trained() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    x = ad.tensor(rng.uniform(size=(200, 2)), dtype=ad.float32)
    y = ad.tensor((x.numpy().sum(1) > 1).astype(np.int64))
    ad.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    optimiser = optim.Adam(net.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    optimiser.zero_grad()
    return net, x, y


@pytest.mark.feature("R11")
def test_attacks_fool_a_net_within_their_limit() -> None:
    net, x, y = trained()
    loss = nn.functional.cross_entropy

    def right(points: Any) -> float:
        return (net(points).argmax(1) == y).float().mean().item()

    clean = right(x)
    assert clean > 0.95
    ad.manual_seed(0)
    fast = adversarial.fgsm(net, loss, x, y, 0.1)
    strong = adversarial.pgd(net, loss, x, y, 0.1, steps=8)
    assert right(fast) < clean - 0.1 and right(strong) <= right(fast) + 0.02
    for found in (fast, strong):
        values, start = found.numpy(), x.numpy()
        low, high = start - np.float32(0.1), start + np.float32(0.1)
        assert (values >= low).all() and (values <= high).all()
        assert values.min() >= 0 and values.max() <= 1
    assert all(p.grad is None for p in net.parameters())
    round_ones = adversarial.pgd(net, loss, x, y, 0.1, norm="l2", bounds=None)
    lengths = np.linalg.norm(round_ones.numpy() - x.numpy(), axis=1)
    assert lengths.max() <= 0.1 * (1 + 1e-5) and right(round_ones) < clean
    same = adversarial.pgd(net, loss, x, y, 0.0, steps=2)
    np.testing.assert_array_equal(same.numpy(), x.numpy())


def test_mistakes() -> None:
    x, y = ad.rand(4, 3), ad.tensor([0, 1, 0, 1])
    for wrong, message in [
        (lambda: regularisation.lp_penalty(x, 0.1), "at least 0.5"),
        (lambda: regularisation.l2_penalty(nn.ReLU()), "a module with weights"),
        (lambda: regularisation.max_norm_(x, 0), "positive"),
        (lambda: nn.GaussianNoise(-1), "negative"),
        (lambda: nn.StochasticDepth(2), r"\[0, 1\]"),
        (lambda: nn.StochasticDepth(0.5, "column"), "column"),
        (lambda: mixing.mixup(x, y), "classes=10"),
        (lambda: mixing.mixup(x, y[:2], classes=2), "one first axis"),
        (lambda: mixing.cutmix(x, y, classes=2), "images"),
        (lambda: mixing.beta(0), "positive"),
        (lambda: mixing.smooth_labels(y, 2, 3.0), "share"),
        (lambda: adversarial.fgsm(abs, abs, x, y, -1), "negative"),
        (lambda: adversarial.pgd(abs, abs, x, y, 0.1, norm="l1"), "l1"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
