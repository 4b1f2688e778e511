"""Optimisers against torch: trajectories on a non-convex net, state, options, mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.01, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
]


def weights() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=s) * 0.5 for s in ((4, 16), (16,), (16, 3), ())]


def net(m: Any, params: list[Any], x: Any, y: Any) -> Any:
    w1, b1, w2, scale = params
    out = m.tanh(x @ w1 + b1) @ w2 * scale
    return ((out - y) * (out - y)).mean()


def run(m: Any, name: str, options: dict[str, Any], dtype: Any, steps: int) -> list[Any]:
    rng = np.random.default_rng(1)
    params = [m.tensor(w, dtype=dtype).requires_grad_() for w in weights()]
    optimiser = getattr(m.optim, name)(params, **options)
    x = m.tensor(rng.normal(size=(32, 4)), dtype=dtype)
    y = m.tensor(rng.normal(size=(32, 3)), dtype=dtype)
    for step in range(steps):
        if step == steps // 2:
            optimiser.param_groups[0]["lr"] *= 0.3
        optimiser.zero_grad()
        net(m, params, x, y).backward()
        optimiser.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.feature("L1")
@pytest.mark.parametrize(("name", "options"), CASES)
def test_two_hundred_steps_equal_torchs(name: str, options: dict[str, Any]) -> None:
    ours = run(ad, name, options, ad.float64, 200)
    oracle = run(torch, name, options, torch.float64, 200)
    for a, t in zip(ours, oracle, strict=True):
        np.testing.assert_allclose(a, t, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_float32_stays_float32_and_close(name: str) -> None:
    ours = run(ad, name, {"lr": 0.01}, ad.float32, 50)
    oracle = run(torch, name, {"lr": 0.01}, torch.float32, 50)
    for a, t in zip(ours, oracle, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, t, rtol=2e-4, atol=2e-5)


def test_groups_have_options_of_their_own() -> None:
    found = []
    for m in (ad, torch):
        a, b = (m.tensor([1.0, 2.0]).requires_grad_() for _ in range(2))
        optimiser = m.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
        optimiser.add_param_group({"params": (c := m.tensor([3.0]).requires_grad_()), "lr": 1.0})
        ((a * a).sum() + (b * b).sum() + (c * c).sum()).backward()
        optimiser.step()
        found.append([p.tolist() for p in (a, b, c)])
    np.testing.assert_allclose(
        found[0][0] + found[0][1] + found[0][2], found[1][0] + found[1][1] + found[1][2]
    )


@pytest.mark.parametrize(("name", "options"), [CASES[1], CASES[5], CASES[7]])
def test_state_saved_and_loaded_continues_bit_for_bit(name: str, options: dict[str, Any]) -> None:
    def start() -> tuple[Any, Any]:
        p = ad.tensor(weights()[0], requires_grad=True)
        return p, getattr(ad.optim, name)([p], **options)

    def steps(p: Any, optimiser: Any, count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            ad.sin(p).sum().backward()
            optimiser.step()

    p, optimiser = start()
    steps(p, optimiser, 7)
    saved, value = optimiser.state_dict(), p.detach().numpy().copy()
    steps(p, optimiser, 5)
    q, fresh = start()
    q.data = ad.tensor(value)
    fresh.load_state_dict(saved)
    steps(q, fresh, 5)
    assert q.detach().numpy().tobytes() == p.detach().numpy().tobytes()
    names = torch.optim.SGD if name == "SGD" else torch.optim.Adam
    twin = names([torch.ones(2, requires_grad=True)], **options)
    torch.ones(1, requires_grad=True)
    twin.param_groups[0]["params"][0].sum().backward()
    twin.step()
    assert set(saved["state"][0]) == set(twin.state_dict()["state"][0])


def test_parameters_without_gradient_are_left_alone_and_closures_run() -> None:
    a, b = (ad.tensor([1.0], requires_grad=True) for _ in range(2))
    optimiser = ad.optim.SGD([a, b], lr=0.1)

    def closure() -> Any:
        optimiser.zero_grad()
        loss = (a * 3.0).sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 3.0
    assert b.item() == 1.0 and a.item() == pytest.approx(0.7)
    optimiser.zero_grad(set_to_none=False)
    assert a.grad.item() == 0.0
    optimiser.zero_grad()
    assert a.grad is None


def test_mistakes() -> None:
    x = ad.tensor([1.0], requires_grad=True)
    for wrong, message in [
        (lambda: ad.optim.SGD([]), "no parameters"),
        (lambda: ad.optim.SGD(x), "list of tensors"),
        (lambda: ad.optim.SGD([x, x]), "named twice"),
        (lambda: ad.optim.SGD([x * 2.0]), "result of a computation"),
        (lambda: ad.optim.SGD([x], lr=-1.0), "lr must be at least 0"),
        (lambda: ad.optim.Adam([x], betas=(1.0, 0.9)), r"betas\[0\] must be in"),
        (lambda: ad.optim.SGD([x], nesterov=True), "nesterov needs momentum"),
        (lambda: ad.optim.SGD([{"params": [x], "learning_rate": 1}]), "learning_rate"),
        (lambda: ad.optim.Adam([3.0]), "float"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
