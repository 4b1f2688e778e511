"""Inside ``jit`` every optimiser does the same up to rounding, and little is recorded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import AdjointError
from adjoint.optim import schedules
from tests.optim.cases import OWN, TWINS, Training, assert_close, assert_equal

ALL = [*TWINS, *OWN, ("Muon", {"lr": 0.01})]


@pytest.mark.feature("P16", "S6")
@pytest.mark.parametrize(
    ("name", "options", "dtype"),
    [
        *((*case, "float64") for case in ALL),
        *((name, {"lr": 0.01}, "float32") for name in ("SGD", "AdamW", "NAdam", "Muon")),
    ],
    ids=str,
)
def test_captured_equals_eager(name: str, options: dict[str, Any], dtype: str) -> None:
    eager = Training(ad, name, options, dtype).run(6)
    captured = Training(ad, name, options, dtype)
    step = ad.jit(captured.step)
    captured.run(6, step)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    assert_close(captured.values, eager.values, tolerance)
    # the first step is another program only where the first momentum is not damped
    assert step.recordings == (2 if options.get("dampening") else 1)
    saved, other = captured.optimiser.state_dict(), eager.optimiser.state_dict()
    for number, state in other["state"].items():
        for key, value in state.items():
            mine = saved["state"][number][key]
            assert mine.dtype is value.dtype
            np.testing.assert_allclose(mine.numpy(), value.numpy(), tolerance, tolerance, True, key)


def counted(name: str, params: int, **options: Any) -> Counter[str]:
    """What one recorded step of the optimiser alone is made of."""
    tensors = [ad.ones(2, 3).requires_grad_() for _ in range(params)]
    optimiser = getattr(ad.optim, name)(tensors, **options)
    for p in tensors:
        p.grad = ad.ones(2, 3)
    step = ad.jit(optimiser.step)
    step()
    nodes = step.graph.nodes
    return Counter("scalar" if not n.shape else "array" for n in nodes)


@pytest.mark.parametrize(
    ("name", "most"),
    [("SGD", 4), ("Adam", 24), ("AdamW", 28), ("NAdam", 28), ("RAdam", 28), ("RMSprop", 20)],
)
def test_numbers_of_a_group_are_recorded_once(name: str, most: int) -> None:
    """Few scalars for a group, and the same few for 1 parameter as for 20."""
    one, many = counted(name, 1), counted(name, 20)
    assert one["scalar"] == many["scalar"] <= 6
    assert many["array"] <= 20 * one["array"] <= 20 * most


@pytest.mark.feature("S6")
def test_a_schedule_never_records_again() -> None:
    rate, mass = schedules.one_cycle(0.1, 30), schedules.one_cycle_momentum(30)
    for name, options in [
        ("SGD", {"lr": rate, "momentum": mass}), ("AdamW", {"lr": rate, "betas": (mass, 0.99)}),
        ("RMSprop", {"lr": rate, "weight_decay": schedules.linear(0.1, 0.0, 20)}),
    ]:  # fmt: skip
        found = []
        for wrap in (lambda f: f, ad.jit):
            p = ad.tensor([1.0, -2.0], dtype=ad.float64, requires_grad=True)
            optimiser = getattr(ad.optim, name)([p], **options)

            def step(p: Any = p, optimiser: Any = optimiser) -> None:
                optimiser.zero_grad()
                (p * p * p).sum().backward()
                optimiser.step()

            run = wrap(step)
            for _ in range(25):
                run()
            found.append(p.detach().numpy())
            assert optimiser.rates == [rate(25)]
        np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
        assert run.recordings == 1


@pytest.mark.feature("S6")
@pytest.mark.parametrize(("name", "recordings"), [("SGD", 2), ("AdamW", 2)])
def test_a_scheduler_that_cycles_momentum_records_once_more(name: str, recordings: int) -> None:
    """The second recording finds that momentum changes, and takes it as an input from then on."""
    found = []
    for wrap in (lambda f: f, ad.jit):
        p = ad.tensor([1.0, -2.0], dtype=ad.float64, requires_grad=True)
        options = {"momentum": 0.9} if name == "SGD" else {}
        optimiser = getattr(ad.optim, name)([p], lr=0.1, **options)
        scheduler = ad.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=20)

        def step(p: Any = p, optimiser: Any = optimiser) -> None:
            optimiser.zero_grad()
            (p * p * p).sum().backward()
            optimiser.step()

        run = wrap(step)
        for _ in range(15):
            run()
            scheduler.step()
        found.append(p.detach().numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    assert run.recordings == recordings


def test_several_steps_in_one_recording() -> None:
    rate = schedules.cosine(0.1, 30)
    for name in ("Adam", "NAdam", "RAdam", "SGD"):
        found = []
        for wrap in (lambda f: f, ad.jit):
            p = ad.tensor([1.0, -2.0], dtype=ad.float64, requires_grad=True)
            optimiser = getattr(ad.optim, name)([p], lr=rate)

            def steps(p: Any = p, optimiser: Any = optimiser) -> None:
                for _ in range(3):
                    optimiser.zero_grad()
                    ad.sin(p).sum().backward()
                    optimiser.step()

            run = wrap(steps)
            for _ in range(4):
                run()
            found.append(p.detach().numpy())
            assert optimiser.rates == [rate(12)]
        np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
        assert run.recordings == 1


def test_parameters_that_join_or_pause_have_counts_of_their_own() -> None:
    """The bias correction of each parameter follows its own number of steps."""

    def run(wrap: Any) -> list[float]:
        a, b, c = (ad.tensor([1.0], dtype=ad.float64, requires_grad=True) for _ in range(3))
        optimiser = ad.optim.Adam([a, b], lr=0.1)
        both, first = wrap(lambda: turn(a, b)), wrap(lambda: turn(a))

        def turn(*params: Any) -> None:
            optimiser.zero_grad()
            sum(ad.sin(p).sum() for p in params).backward()
            optimiser.step()

        for which in (both, both, first, both, first, first, both):
            which()
        optimiser.add_param_group({"params": [c]})
        last = wrap(lambda: turn(a, b, c))
        last(), last()
        steps = [s["step"] for s in optimiser.state_dict()["state"].values()]
        assert [s.item() for s in steps] == [9.0, 6.0, 2.0]
        return [a.item(), b.item(), c.item()]

    np.testing.assert_allclose(run(ad.jit), run(lambda f: f), rtol=1e-12)


def test_an_option_changed_by_hand_is_noticed() -> None:
    p = ad.tensor([1.0], requires_grad=True)
    q = ad.tensor([1.0], requires_grad=True)
    found = []
    for param, wrap in ((p, ad.jit), (q, lambda f: f)):
        optimiser = ad.optim.SGD([param], lr=0.1, momentum=0.9)

        def step(param: Any = param, optimiser: Any = optimiser) -> None:
            optimiser.zero_grad()
            (param * param).sum().backward()
            optimiser.step()

        run = wrap(step)
        for momentum, decay in [(0.9, 0), (0.5, 0), (0.7, 0), (0.0, 0), (0.9, 0.1), (0.3, 0.1)]:
            optimiser.param_groups[0].update(momentum=momentum, weight_decay=decay)
            run()
        found.append(param.item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_recorded_step_goes_on_after_loading() -> None:
    training = Training(ad, "Adam", {"lr": 0.01})
    step = ad.jit(training.step)
    for _ in range(3):
        step()
    saved, values = training.optimiser.state_dict(), training.values
    for _ in range(4):
        step()
    after = training.values
    for param, value in zip(training.params, values, strict=True):
        param.data = ad.tensor(value)
    training.optimiser.load_state_dict(saved)
    for _ in range(4):
        step()
    assert_equal(training.values, after)
    assert step.recordings == 1


def test_a_later_step_that_leaves_parameters_out_is_refused() -> None:
    a, b = (ad.tensor([1.0], requires_grad=True) for _ in range(2))
    optimiser = ad.optim.Adam([a, b])

    @ad.jit
    def steps() -> None:
        optimiser.zero_grad()
        (a * b).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        (a * 2).sum().backward()
        optimiser.step()

    with pytest.raises(AdjointError, match="two groups"):
        steps()
