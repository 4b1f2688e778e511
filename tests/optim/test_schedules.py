"""Schedules as functions of the step: torch's numbers, exact ends, saved with the optimiser."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import optim
from adjoint.base.errors import AdjointError
from adjoint.optim import schedules


def torchs(name: str, steps: int, lr: float = 1.0, **options: Any) -> list[float]:
    """The rates of torch's scheduler, one for each step of the optimiser."""
    opt = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=lr, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(opt, **options)
    found = []
    for _ in range(steps):
        found.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    return found


PAIRS: list[tuple[Any, str, dict[str, Any]]] = [
    (schedules.one_cycle(0.5, 40), "OneCycleLR", {"max_lr": 0.5, "total_steps": 40}),
    (schedules.one_cycle(0.5, 40, 0.2, 10, 100, "linear", True), "OneCycleLR",
     {"max_lr": 0.5, "total_steps": 40, "pct_start": 0.2, "div_factor": 10,
      "final_div_factor": 100, "anneal_strategy": "linear", "three_phase": True}),
    (schedules.cosine_restarts(1.0, 7, 2, 0.1), "CosineAnnealingWarmRestarts",
     {"T_0": 7, "T_mult": 2, "eta_min": 0.1}),
    (schedules.cosine(1.0, 40, 0.01), "CosineAnnealingLR", {"T_max": 40, "eta_min": 0.01}),
    (schedules.step_decay(1.0, 6, 0.5), "StepLR", {"step_size": 6, "gamma": 0.5}),
    (schedules.multi_step(1.0, [3, 9, 9], 0.5), "MultiStepLR",
     {"milestones": [3, 9, 9], "gamma": 0.5}),
    (schedules.linear(0.1, 0.8, 15), "LinearLR",
     {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 15}),
    (schedules.polynomial(1.0, 20, 2.0), "PolynomialLR", {"total_iters": 20, "power": 2.0}),
    (schedules.exponential(1.0, 0.9), "ExponentialLR", {"gamma": 0.9}),
    (schedules.cyclic(0.1, 0.9, 4, 6, "triangular2"), "CyclicLR",
     {"base_lr": 0.1, "max_lr": 0.9, "step_size_up": 4, "step_size_down": 6,
      "mode": "triangular2"}),
    (schedules.cyclic(0.1, 0.9, 5, mode="exp_range", factor=0.95), "CyclicLR",
     {"base_lr": 0.1, "max_lr": 0.9, "step_size_up": 5, "mode": "exp_range", "gamma": 0.95}),
]  # fmt: skip


@pytest.mark.feature("S2", "S3", "S4", "S6")
@pytest.mark.parametrize(
    ("schedule", "name", "options"), PAIRS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_the_numbers_are_torchs(schedule: Any, name: str, options: dict[str, Any]) -> None:
    np.testing.assert_allclose(
        [schedule(t) for t in range(40)], torchs(name, 40, **options), rtol=1e-9, atol=1e-15
    )


@pytest.mark.feature("S2")
def test_the_momentum_of_one_cycle_is_its_inverse() -> None:
    for three in (False, True):
        opt = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
        cycle = torch.optim.lr_scheduler.OneCycleLR(opt, 1.0, total_steps=30, three_phase=three)
        mine = schedules.one_cycle_momentum(30, three_phase=three)
        for t in range(30):
            assert mine(t) == pytest.approx(opt.param_groups[0]["momentum"], rel=1e-12)
            opt.step()
            cycle.step()


@pytest.mark.feature("S3", "S4")
def test_annealing_only_falls_and_the_jump_back_is_the_restart() -> None:
    """Cosine annealing by itself never rises; rising again is a separate thing."""
    falling = [schedules.cosine(2.0, 50, 0.1)(t) for t in range(80)]
    assert falling[0] == 2.0 and set(falling[50:]) == {0.1}
    assert (np.diff(falling[:51]) < 0).all()
    for t in (7, 25, 49):
        assert falling[t] == pytest.approx(0.1 + 1.9 * (1 + cos(pi * t / 50)) / 2, rel=1e-12)
    jumping = [schedules.cosine_restarts(2.0, 10, 2)(t) for t in range(70)]
    assert [t for t in range(1, 70) if jumping[t] > jumping[t - 1]] == [10, 30]
    assert jumping[0] == jumping[10] == jumping[30] == 2.0
    place = schedules.cycles(10, 2)
    lowest = [t for t in range(70) if place(t)[0] == place(t)[1] - 1]
    assert lowest == [9, 29, 69]


@pytest.mark.feature("S4")
def test_a_warm_restart_leaves_the_weights_alone() -> None:
    p = ad.tensor([1.0, 2.0], requires_grad=True)
    optimiser = optim.SGD([p], lr=schedules.cosine_restarts(0.1, 5))
    for t in range(11):
        before = p.detach().numpy().copy()
        p.grad = ad.zeros(2)
        optimiser.step()
        assert p.detach().numpy().tobytes() == before.tobytes(), t


@pytest.mark.feature("S5", "S7")
def test_inverse_square_root_and_warm_up_are_exact() -> None:
    decay = schedules.inverse_sqrt(0.5)
    assert [decay(t) for t in (0, 3, 99)] == [0.5, 0.25, 0.05]
    assert schedules.inverse_sqrt(0.5, 10)(30) == 0.25
    rising = schedules.warm_up(0.4, 8)
    assert [rising(t) for t in range(9)] == [0.4 * t / 8 for t in range(9)] and rising(99) == 0.4
    after = schedules.warm_up(schedules.cosine(1.0, 10), 4, start=0.1)
    assert after(0) == 0.1 and after(4) == 1.0 and after(14) == 0.0
    assert after(9) == pytest.approx(0.5)


@pytest.mark.feature("S5")
def test_decay_beats_a_constant_rate_on_a_noisy_convex_problem() -> None:
    """f = |x|^2 / 2 with noisy gradients, 2000 steps, ten seeds side by side."""
    rng = np.random.default_rng(0)
    last = []
    for lr in (0.5, schedules.inverse_sqrt(0.5)):
        p = ad.tensor(np.full((10, 4), 3.0), requires_grad=True)
        optimiser = optim.SGD([p], lr=lr)
        for _ in range(2000):
            p.grad = ad.tensor(p.detach().numpy() + rng.normal(size=(10, 4)))
            optimiser.step()
        last.append((p.detach().numpy() ** 2).sum(1))
    assert (last[1] < last[0]).sum() >= 9


@pytest.mark.feature("S6")
def test_joining_multiplying_and_epochs() -> None:
    joined = schedules.join([schedules.linear(0.0, 1.0, 5), schedules.constant(1.0),
                             schedules.cosine(1.0, 10)], [5, 8])  # fmt: skip
    assert [joined(t) for t in (0, 4, 5, 8, 18)] == [0.0, 0.8, 1.0, 1.0, 0.0]
    both = schedules.product(schedules.linear(0.0, 1.0, 4), schedules.exponential(2.0, 0.5))
    assert [both(t) for t in (0, 2, 5)] == [0.0, 0.25, 2 * 0.5**5]
    epochs = schedules.per_epoch(schedules.step_decay(1.0, 1, 0.5), 3)
    assert [epochs(t) for t in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.feature("S6")
def test_plateau_as_a_rate() -> None:
    plateau = schedules.Plateau(1.0, factor=0.5, patience=1, least=0.3)
    p = ad.tensor([1.0], requires_grad=True)
    optimiser = optim.SGD([p], lr=plateau)
    seen = []
    for loss in (3.0, 2.0, 2.0, 2.0, 1.9, 2.0, 2.0, 2.0, 2.0):
        p.grad = ad.zeros(1)
        optimiser.step()
        plateau.report(loss)
        seen.append(optimiser.rates[0])
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]
    saved = optimiser.state_dict()
    assert saved["param_groups"][0]["lr"] == 0.3
    fresh = optim.SGD([p], lr=schedules.Plateau(1.0, factor=0.5, patience=1, least=0.3))
    fresh.load_state_dict(saved)
    assert fresh.rates == [0.3]


@pytest.mark.feature("S6", "P16")
@pytest.mark.parametrize("stop", range(1, 12))
def test_a_restart_at_any_step_gives_the_same_rates_and_weights(stop: int) -> None:
    def start() -> tuple[Any, Any]:
        p = ad.tensor([1.0, 2.0], dtype=ad.float64, requires_grad=True)
        rate = schedules.warm_up(schedules.one_cycle(0.1, 20), 3)
        groups = [{"params": [p], "weight_decay": schedules.linear(0.1, 0.0, 9)}]
        return p, optim.AdamW(groups, lr=rate, betas=(schedules.one_cycle_momentum(20), 0.99))

    def steps(p: Any, optimiser: Any, count: int) -> list[float]:
        seen = []
        for _ in range(count):
            seen += optimiser.rates
            optimiser.zero_grad()
            ad.sin(p).sum().backward()
            optimiser.step()
        return seen

    p, whole = start()
    rates = steps(p, whole, 12)
    q, first = start()
    before = steps(q, first, stop)
    r, second = start()
    r.data = q.detach().clone()
    second.load_state_dict(first.state_dict())
    assert [*before, *steps(r, second, 12 - stop)] == rates
    assert r.detach().numpy().tobytes() == p.detach().numpy().tobytes()
    saved = second.state_dict()["param_groups"][0]
    assert saved["schedules"]["step"] == 12 and saved["lr"] == whole.rates[0]


def test_mistakes() -> None:
    for wrong, message in [
        (lambda: schedules.cosine(1.0, 0), "at least 1"),
        (lambda: schedules.cosine(1.0, 2.5), "an integer"),
        (lambda: schedules.one_cycle(1.0, 10, rise=3), "share"),
        (lambda: schedules.one_cycle(1.0, 10, anneal="cosine"), "cosine"),
        (lambda: schedules.one_cycle(1.0, 10)(11), "cycle of 10 steps"),
        (lambda: schedules.join([schedules.constant(1.0)], [3]), "0 growing boundaries"),
        (lambda: schedules.constant("a"), "a number"),
        (lambda: schedules.cyclic(0.0, 1.0, 5, mode="square"), "square"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
