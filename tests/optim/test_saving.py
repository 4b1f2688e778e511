"""State saved and resumed to the last bit, the counts that parameters share, hooks and names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn, optim
from adjoint.base.errors import AdjointError
from tests.optim.cases import OWN, TWINS, Training, assert_equal

ALL = [*TWINS, *OWN, ("Muon", {"lr": 0.01})]


@pytest.mark.feature("P16")
@pytest.mark.parametrize(("name", "options"), ALL, ids=str)
def test_resumed_in_the_middle_it_goes_on_bit_for_bit(name: str, options: dict[str, Any]) -> None:
    whole = Training(ad, name, options).run(12)
    first = Training(ad, name, options).run(5)
    second = Training(ad, name, options)
    for mine, other in zip(second.params, first.params, strict=True):
        mine.data = other.detach().clone()
    second.optimiser.load_state_dict(first.optimiser.state_dict())
    first.run(3, start=5)  # what was saved is not changed by going on
    assert_equal(second.run(7, start=5).values, whole.values)


@pytest.mark.feature("P16")
def test_state_goes_through_a_file() -> None:
    training = Training(ad, "AdamW", {"lr": 0.01}, "float32").run(3)
    saved = training.optimiser.state_dict()
    flat = {f"{n}.{k}": v for n, s in saved["state"].items() for k, v in s.items()}
    assert sorted(flat)[:3] == ["0.exp_avg", "0.exp_avg_sq", "0.step"]
    assert all(isinstance(v, ad.Tensor) and not v.requires_grad for v in flat.values())


@pytest.mark.feature("P16")
def test_a_count_loaded_with_different_values_is_kept_apart() -> None:
    a, b = (ad.tensor([1.0], dtype=ad.float64, requires_grad=True) for _ in range(2))
    optimiser = optim.Adam([a, b], lr=0.1)
    a.grad = b.grad = ad.ones(1, dtype=ad.float64)
    optimiser.step()
    saved = optimiser.state_dict()
    saved["state"][1]["step"] = ad.tensor(50.0)
    optimiser.load_state_dict(saved)
    optimiser.step()
    steps = [s["step"].item() for s in optimiser.state_dict()["state"].values()]
    assert steps == [2.0, 51.0]


def test_groups_of_different_sizes_are_refused() -> None:
    a, b = (ad.tensor([1.0], requires_grad=True) for _ in range(2))
    with pytest.raises(AdjointError, match="build the optimiser from the same model"):
        optim.SGD([a, b]).load_state_dict(optim.SGD([a]).state_dict())


def test_named_parameters_hooks_and_printing() -> None:
    net = nn.Linear(3, 2)
    optimiser = optim.SGD(net.named_parameters(), lr=0.1)
    assert optimiser.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    seen: list[str] = []
    before = optimiser.register_step_pre_hook(lambda o, a, k: seen.append("before"))
    optimiser.register_step_post_hook(lambda o, a, k: seen.append("after"))
    optimiser.step()
    before.remove()
    optimiser.step()
    assert seen == ["before", "after", "after"]
    assert "Parameter Group 0" in repr(optimiser) and "momentum: 0" in repr(optimiser)


def test_steps_do_not_touch_graphs_or_views_of_values_taken_before() -> None:
    p = ad.tensor([1.0, 2.0], requires_grad=True)
    kept = p.detach().numpy().copy()
    loss = (p * p).sum()
    loss.backward(retain_graph=True)
    optimiser = optim.SGD([p], lr=0.1)
    optimiser.step()
    assert p.is_leaf and p.requires_grad
    p.grad = None
    loss.backward()
    np.testing.assert_array_equal(p.grad.numpy(), 2 * kept)


def test_switches_of_torch_are_taken_and_differentiable_is_not() -> None:
    p = ad.tensor([1.0], requires_grad=True)
    for name in ("SGD", "Adam", "AdamW", "Adagrad"):
        getattr(optim, name)([p], foreach=True, fused=None).step()
    for name in ("Adam", "NAdam", "RAdam", "Adamax", "Adadelta", "RMSprop", "Rprop"):
        getattr(optim, name)([p], capturable=True).step()
        with pytest.raises(AdjointError, match="differentiable"):
            getattr(optim, name)([p], differentiable=True)


def test_mistakes() -> None:
    p = ad.tensor([1.0], requires_grad=True)
    for wrong, message in [
        (lambda: optim.Adam([p], betas=0.9), "a pair of numbers"),
        (lambda: optim.RMSprop([p], alpha=-1), "alpha must be at least 0"),
        (lambda: optim.Muon([p]), "no matrix"),
        (lambda: optim.Muon([ad.ones(2, 2)], ns_steps=200), "ns_steps"),
        (lambda: optim.Muon([ad.ones(2, 2)], adjust_lr_fn="adam"), "adam"),
        (lambda: optim.Momentum([p], form="ema"), "ema"),
        (lambda: optim.Momentum([p], nesterov=True, bias_correction=True), "plain momentum"),
        (lambda: optim.Momentum([p], nesterov="look_ahead").step(), "closure"),
        (lambda: optim.Rprop([p], etas=(1.0, 2.0)), "below and above 1"),
        (lambda: optim.Lion([p], lr=-1), "lr must be"),
        (lambda: optim.LBFGS([{"params": [p]}, {"params": [ad.ones(1)]}]), "one group"),
        (lambda: optim.LBFGS([p]).step(), "closure"),
        (lambda: optim.LBFGS([p], line_search_fn="wolfe"), "wolfe"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
