"""PyTorch's scheduler classes: the same numbers at every step, alone, chained, resumed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError

ONE: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": lambda t: 0.95**t}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.9**t, lambda t: 1 / (1 + t)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 0.9 + 0.01 * (t % 3)}),
    ("StepLR", {"step_size": 4}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 11], "gamma": 0.5}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.2, "total_iters": 7}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 9}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {"total_iters": 8, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 6}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.001}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": [0.1, 0.3], "step_size_up": 3,
                  "step_size_down": 5, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "mode": "exp_range", "gamma": 0.97,
                  "step_size_up": 6, "base_momentum": 0.7}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "cycle_momentum": False,
                  "scale_fn": lambda x: 0.8**x, "scale_mode": "iterations"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25}),
    ("OneCycleLR", {"max_lr": [0.5, 0.1], "epochs": 5, "steps_per_epoch": 6, "three_phase": True,
                    "anneal_strategy": "linear", "pct_start": 0.2}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25, "cycle_momentum": False}),
]  # fmt: skip


def optimiser(m: Any, name: str = "SGD", **options: Any) -> Any:
    a, b = (m.ones(3).requires_grad_() for _ in range(2))
    options = {"momentum": 0.9, **options} if name == "SGD" else options
    return getattr(m.optim, name)([{"params": [a]}, {"params": [b], "lr": 0.3}], lr=0.1, **options)


def numbers(opt: Any) -> list[float]:
    found = [float(g["lr"]) for g in opt.param_groups]
    for group in opt.param_groups:
        found.append(group["momentum"] if "momentum" in group else group["betas"][0])
    return found


def follow(m: Any, make: Any, steps: int = 24, kind: str = "SGD") -> list[list[float]]:
    opt = optimiser(m, kind)
    scheduler = make(m.optim.lr_scheduler, opt)
    seen = [numbers(opt)]
    for _ in range(steps):
        opt.step()
        scheduler.step()
        seen.append(numbers(opt))
        assert [float(x) for x in scheduler.get_last_lr()] == seen[-1][:2]
    return seen


def same(make: Any, **options: Any) -> None:
    np.testing.assert_allclose(
        follow(ad, make, **options), follow(torch, make, **options), rtol=1e-12, atol=1e-15
    )


@pytest.mark.feature("S2", "S3", "S4", "S6", "S7")
@pytest.mark.parametrize(("name", "options"), ONE, ids=lambda v: v if isinstance(v, str) else "")
def test_the_numbers_are_torchs(name: str, options: dict[str, Any]) -> None:
    same(lambda s, o: getattr(s, name)(o, **options))


@pytest.mark.feature("S2", "S6")
@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
def test_beta1_is_cycled_where_there_is_no_momentum(name: str) -> None:
    options: dict[str, Any] = {"max_lr": 0.1, "total_steps": 25}
    if name == "CyclicLR":
        options = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5}
    same(lambda s, o: getattr(s, name)(o, **options), kind="AdamW")


def warm_then_cosine(s: Any, o: Any) -> Any:
    first, then = s.LinearLR(o, start_factor=0.1, total_iters=5), s.CosineAnnealingLR(o, T_max=10)
    return s.SequentialLR(o, [first, then, s.ExponentialLR(o, gamma=0.5)], milestones=[5, 16])


def chained(s: Any, o: Any) -> Any:
    return s.ChainedScheduler([s.ConstantLR(o, 0.1, total_iters=4), s.ExponentialLR(o, gamma=0.9)])


def mixed(s: Any, o: Any) -> Any:
    start, then = chained(s, o), s.CosineAnnealingWarmRestarts(o, 4)
    return s.SequentialLR(o, [s.LambdaLR(o, lambda t: 0.5), then], milestones=[6]) if start else 0


@pytest.mark.feature("S6", "S7")
@pytest.mark.parametrize("make", [warm_then_cosine, chained, mixed])
def test_schedulers_made_of_others(make: Any) -> None:
    same(make)


@pytest.mark.feature("S6")
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau(mode: str, threshold_mode: str) -> None:
    losses = np.abs(np.random.default_rng(0).normal(size=40)) + np.linspace(2, 1, 40)

    def run(m: Any) -> list[list[float]]:
        opt = optimiser(m)
        scheduler = m.optim.lr_scheduler.ReduceLROnPlateau(
            opt, mode, 0.5, patience=1, threshold=0.05, threshold_mode=threshold_mode, cooldown=2,
            min_lr=[0.01, 0.02],
        )  # fmt: skip
        seen = []
        for loss in losses:
            opt.step()
            scheduler.step(loss)
            seen.append([*numbers(opt), scheduler.best, scheduler.num_bad_epochs])
        return seen

    np.testing.assert_allclose(run(ad), run(torch), rtol=1e-13)


@pytest.mark.feature("S6")
@pytest.mark.parametrize("stop", [1, 6, 13])
@pytest.mark.parametrize(("name", "options"), ONE, ids=lambda v: v if isinstance(v, str) else "")
def test_resumed_at_any_step_it_goes_on_bit_for_bit(
    name: str, options: dict[str, Any], stop: int
) -> None:
    whole = follow(ad, lambda s, o: getattr(s, name)(o, **options), 20)
    opt = optimiser(ad)
    scheduler = getattr(ad.optim.lr_scheduler, name)(opt, **options)
    for _ in range(stop):
        opt.step()
        scheduler.step()
    saved, kept = scheduler.state_dict(), opt.state_dict()
    fresh = optimiser(ad)
    again = getattr(ad.optim.lr_scheduler, name)(fresh, **options)
    fresh.load_state_dict(kept)
    again.load_state_dict(saved)
    assert numbers(fresh) == whole[stop]
    for step in range(stop, 20):
        fresh.step()
        again.step()
        assert numbers(fresh) == whole[step + 1]


@pytest.mark.feature("S6")
def test_combined_schedulers_and_plateaus_resume_too() -> None:
    for make in (warm_then_cosine, chained):
        whole = follow(ad, make, 20)
        opt = optimiser(ad)
        scheduler = make(ad.optim.lr_scheduler, opt)
        for _ in range(8):
            opt.step()
            scheduler.step()
        fresh = optimiser(ad)
        again = make(ad.optim.lr_scheduler, fresh)
        fresh.load_state_dict(opt.state_dict())
        again.load_state_dict(scheduler.state_dict())
        for step in range(8, 20):
            fresh.step()
            again.step()
            assert numbers(fresh) == whole[step + 1]
    opt = optimiser(ad)
    plateau = ad.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=2, cooldown=1)
    for loss in (3.0, 2.0, 2.5, 2.5):
        plateau.step(loss)
    again = ad.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=2, cooldown=1)
    again.load_state_dict(plateau.state_dict())
    assert (again.best, again.num_bad_epochs, again.last_epoch) == (2.0, 2, 4)


def test_torchs_saved_scheduler_can_be_loaded() -> None:
    theirs = optimiser(torch)
    scheduler = torch.optim.lr_scheduler.StepLR(theirs, 3, gamma=0.7)
    for _ in range(5):
        theirs.step()
        scheduler.step()
    ours = optimiser(ad)
    mine = ad.optim.lr_scheduler.StepLR(ours, 30, gamma=0.1)
    mine.load_state_dict(scheduler.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for _ in range(8):
        for opt, schedule in ((theirs, scheduler), (ours, mine)):
            opt.step()
            schedule.step()
        np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol=1e-12)


@pytest.mark.feature("S6")
def test_a_step_too_early_warns_once_and_the_right_order_does_not() -> None:
    opt = optimiser(ad)
    scheduler = ad.optim.lr_scheduler.StepLR(opt, 3)
    with pytest.warns(UserWarning, match="before"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
        opt = optimiser(ad)
        (scheduler := ad.optim.lr_scheduler.StepLR(opt, 3)).optimizer.step()
        scheduler.step()


@pytest.mark.feature("S6")
def test_no_false_alarm_for_a_recorded_step() -> None:
    opt = optimiser(ad)
    step = ad.jit(opt.step)
    step()
    scheduler = ad.optim.lr_scheduler.ExponentialLR(opt, 0.9)
    step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


def test_changes_by_hand_and_a_tensor_as_rate_survive() -> None:
    found = []
    for m in (ad, torch):
        opt = m.optim.SGD([m.ones(2).requires_grad_()], lr=m.tensor(0.5, dtype=m.float64))
        held = opt.param_groups[0]["lr"]
        scheduler = m.optim.lr_scheduler.ExponentialLR(opt, 0.5)
        opt.step()
        scheduler.step()
        assert opt.param_groups[0]["lr"] is held
        other = optimiser(m)
        scheduler = m.optim.lr_scheduler.StepLR(other, 2)
        other.param_groups[0]["lr"] = 7.0
        for _ in range(3):
            other.step()
            scheduler.step()
        found.append([held.item(), *numbers(other)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_mistakes() -> None:
    s, opt = ad.optim.lr_scheduler, optimiser(ad)
    scheduled = ad.optim.SGD([ad.ones(1).requires_grad_()], lr=ad.optim.schedules.constant(0.1))
    plateau = s.ReduceLROnPlateau(opt)
    step = s.StepLR(opt, 2)
    for wrong, message in [
        (lambda: s.StepLR(3, 2), "must be an Optimizer"),
        (lambda: s.StepLR(scheduled, 2), "has a schedule already"),
        (lambda: s.StepLR(optimiser(ad), 2, last_epoch=4), "initial_lr"),
        (lambda: s.LambdaLR(opt, [abs]), "2 groups need 2 functions"),
        (lambda: s.LambdaLR(opt, 3), "a function of the step"),
        (lambda: s.LinearLR(opt, start_factor=0), "above 0"),
        (lambda: s.ConstantLR(opt, factor=2), "at most 1"),
        (lambda: s.OneCycleLR(opt, 0.1), "length of the cycle"),
        (lambda: s.OneCycleLR(opt, 0.1, 10, anneal_strategy="cosine"), "cosine"),
        (lambda: s.CyclicLR(opt, [0.1], 0.2), "2 groups need 2 values"),
        (lambda: s.CyclicLR(optimiser(ad, "Adagrad"), 0.1, 0.2), "no momentum"),
        (lambda: s.SequentialLR(opt, [step, step], [1, 2]), "milestones"),
        (lambda: s.ChainedScheduler([]), "no schedulers"),
        (lambda: s.ChainedScheduler([plateau]), "needs a loss"),
        (lambda: s.ChainedScheduler([step, s.StepLR(optimiser(ad), 2)]), "different optimisers"),
        (lambda: s.ReduceLROnPlateau(opt, factor=1.5), "below 1"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
    cycle = s.OneCycleLR(opt, 0.1, total_steps=2)
    opt.step()
    cycle.step()
    cycle.step()
    with pytest.raises(AdjointError, match="cycle of 2 steps"):
        cycle.step()
