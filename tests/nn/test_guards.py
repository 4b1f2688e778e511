"""Classic ways to train silently wrong: each planted one warns or raises, correct code is silent.

Warnings are errors in the tests, so code outside of ``pytest.warns`` shows that nothing is said.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import AdjointError, RecordingError, ShapeError
from adjoint.nn import TrainingWarning
from adjoint.nn import functional as F


def net() -> Any:
    ad.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)
    )


X, Y = ad.randn(6, 3), ad.randn(6)


# --- losses that broadcast --------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits,
        F.poisson_nll_loss, F.soft_margin_loss, nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(),
    ],
    ids=lambda f: getattr(f, "__name__", type(f).__name__),
)  # fmt: skip
def test_losses_refuse_shapes_that_differ(loss: Callable[..., Any]) -> None:
    model = nn.Linear(3, 1)
    for target in (Y, Y.reshape(1, 6)):
        with pytest.raises(ShapeError, match=r"\[6, 1\]"):
            loss(model(X), target)
    loss(model(X), Y[:, None]).backward()


BROADCAST: dict[str, Callable[[Any, Any], Any]] = {
    "mean of squares": lambda p, y: ((p - y) ** 2).mean(),
    "sum of squares, turned": lambda p, y: (y - p).square().sum(),
    "absolute": lambda p, y: (p - y).abs().mean(),
    "sum, then mean": lambda p, y: ((p - y) ** 2).sum(1).mean() * 0.5,
    "root": lambda p, y: ((p - y) ** 2).mean().sqrt(),
    "product": lambda p, y: ((p - y) * (p - y)).mean() + 0.0,
}


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("name", BROADCAST)
def test_losses_written_out_that_broadcast(name: str, captured: bool) -> None:
    model, formula = nn.Linear(3, 1), BROADCAST[name]

    def step(x: Any, y: Any) -> Any:
        model.zero_grad()
        formula(model(x), y).backward()

    run = ad.jit(step) if captured else step
    with pytest.warns(TrainingWarning, match=r"broadcast to \(6, 6\).*y.reshape") as caught:
        run(X, Y)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(TrainingWarning, match=r"broadcast to \(6, 6\)"):
        formula(model(X)[:, 0], Y[:, None]).backward()
    step(X, Y[:, None])


def test_differences_that_are_meant_to_broadcast() -> None:
    model = nn.Linear(3, 1)
    p = model(X)
    kernel = ad.exp(-((p - p[:, 0]) ** 2)).mean()  # all pairs of one thing
    kernel.backward()
    centres = ad.randn(6, requires_grad=True)
    ((X[:, :1] - centres) ** 2).mean().backward()  # a codebook
    ((model(X) - Y.mean()) ** 2).mean().backward()
    ((nn.Linear(3, 6)(X) - Y) ** 2).mean().backward()  # one target row for every sample
    ((model(X) - ad.randn(6, 4)) ** 2).mean().backward()
    (model(X)[:1] - ad.randn(1)).square().mean().backward()


# --- inference in training mode ---------------------------------------------------------------


@pytest.mark.parametrize("captured", [False, True])
def test_inference_in_training_mode_is_said_once(captured: bool) -> None:
    model = net()
    run = ad.jit(lambda x: model(x)) if captured else model
    with ad.no_grad():
        with pytest.warns(TrainingWarning, match=r"Sequential\.1 \(BatchNorm1d\)") as caught:
            run(X)
        assert len(caught) == 1 and "eval_mode()" in str(caught[0].message)
        run(X)  # it was said
    inner = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1)))
    with ad.no_grad(), pytest.warns(TrainingWarning, match=r"Sequential\.1\.1 \(Dropout\)"):
        inner(X)


def test_what_is_no_mistake_about_the_mode() -> None:
    model = net()
    model(X).sum().backward()  # training
    with ad.no_grad():
        with model.eval_mode():
            model(X)
        with model.train_mode():  # declared
            model(X)
        model.eval()(X)
        model[3].train()  # dropout alone: samples of a posterior
        model(X)
        model.train()
        nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0), nn.LayerNorm(3))(X)  # the same in both
        nn.Dropout(0.5)(X)  # the layer itself, by hand
        nn.recompute_bn_stats(model, [X])
        ad.optim.swa_utils.update_bn([X], nn.Sequential(nn.BatchNorm1d(3)))
    ad.utils.checkpoint.checkpoint(model, X).sum().backward()
    ad.grad(lambda x: model(x).sum())(X)


def test_modes_are_put_back_also_after_an_error() -> None:
    model = net()
    model[1].eval()
    before = [m.training for m in model.modules()]
    for block in (model.eval_mode, model.train_mode):
        with pytest.raises(ShapeError), block() as inside:
            assert inside is model and len({m.training for m in model.modules()}) == 1
            model(ad.randn(2, 5))
        assert [m.training for m in model.modules()] == before
    with ad.no_grad(), pytest.warns(TrainingWarning):
        model(X)  # the declaration is over


# --- gradients of earlier steps ---------------------------------------------------------------

Loop = Callable[[Any, Any, Callable[[], Any]], None]


def forgotten(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        backward()
        opt.step()


def once_an_epoch(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(2):
        opt.zero_grad()
        for _ in range(3):
            backward()
            opt.step()


def clipped(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()


def of_another_model(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    other = nn.Linear(2, 2)
    for _ in range(3):
        other.zero_grad()
        backward()
        opt.step()


PLANTED: list[Loop] = [forgotten, once_an_epoch, clipped, of_another_model]


def usual(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        opt.zero_grad()
        backward()
        opt.step()


def cleared_after(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        backward()
        opt.step()
        model.zero_grad(set_to_none=False)


def accumulating(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        for _ in range(4):
            backward()
        nn.utils.clip_grad_value_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad()


def by_hand_none(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        for p in model.parameters():
            p.grad = None
        backward()
        backward()
        opt.step()


def by_hand_zero(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        backward()
        backward()
        opt.step()
        for p in model.parameters():
            p.grad.zero_()


def two_backwards_two_optimisers(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    """As of a generator and a discriminator: one leaves gradients in the other, which clears."""
    other = nn.Linear(3, 3)
    second = ad.optim.SGD(other.parameters(), lr=0.1)
    for _ in range(3):
        opt.zero_grad()
        backward()
        opt.step()
        second.zero_grad()
        model(other(X)).sum().backward()  # also adds to what opt has used
        second.step()


def same_gradient_again(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    backward()
    for _ in range(3):
        opt.step()


def functional(model: Any, opt: Any, backward: Callable[[], Any]) -> None:
    for _ in range(3):
        params = list(model.parameters())
        grads = ad.autograd.grad(model(X).sum(), params, allow_unused=True)
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        opt.step()


CORRECT: list[Loop] = [
    usual, cleared_after, accumulating, by_hand_none, by_hand_zero, two_backwards_two_optimisers,
    same_gradient_again, functional,
]  # fmt: skip


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
@pytest.mark.parametrize("loop", PLANTED, ids=lambda f: f.__name__)
def test_gradients_used_twice_are_said_once(loop: Loop, name: str) -> None:
    model = net()
    opt = getattr(ad.optim, name)(model.parameters(), lr=0.01)
    with pytest.warns(TrainingWarning, match=rf"{name}\.step\(\) uses gradients") as caught:
        loop(model, opt, lambda: model(X).sum().backward())
    assert len(caught) == 1
    assert "zero_grad() once for each step" in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("loop", CORRECT, ids=lambda f: f.__name__)
def test_correct_loops_are_spared(loop: Loop) -> None:
    model = net()
    loop(model, ad.optim.Adam(model.parameters()), lambda: model(X).sum().backward())


def test_gradients_cleared_before_they_were_used() -> None:
    model = net()
    opt = ad.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(TrainingWarning, match="cleared after backward") as caught:
        for _ in range(3):
            model(X).sum().backward()
            opt.zero_grad()
            opt.step()
    assert len(caught) == 1
    frozen = nn.Linear(2, 2)  # steps without gradients are no mistake by themselves
    idle = ad.optim.SGD(frozen.parameters(), lr=0.1)
    idle.step()
    frozen(ad.randn(2, 2)).sum().backward()
    idle.step()
    idle.zero_grad()
    idle.step()


def test_captured_loops() -> None:
    model = nn.Linear(3, 1)
    opt = ad.optim.SGD(model.parameters(), lr=0.01)

    @ad.jit
    def wrong(x: Any) -> None:
        model(x).sum().backward()
        opt.step()

    with pytest.warns(TrainingWarning, match="uses gradients"):
        for _ in range(3):
            wrong(X)
    for order in ("first", "last", "outside"):
        model = nn.Linear(3, 1)
        opt = ad.optim.SGD(model.parameters(), lr=0.01)

        def right(x: Any, model: Any = model, opt: Any = opt, order: str = order) -> None:
            if order == "first":
                opt.zero_grad()
            model(x).sum().backward()
            opt.step()
            if order == "last":
                opt.zero_grad()

        step = ad.jit(right)
        for x in (X, X[:4], X):
            if order == "outside":
                opt.zero_grad()
            step(x)


def test_captured_accumulation_is_no_mistake() -> None:
    model = nn.Linear(3, 1)
    opt = ad.optim.SGD(model.parameters(), lr=0.01)
    add = ad.jit(lambda x: model(x).sum().backward())

    @ad.jit
    def last(x: Any) -> None:
        model(x).sum().backward()
        opt.step()
        opt.zero_grad()

    for _ in range(3):
        add(X)
        add(X)
        last(X)


@pytest.mark.feature("T19")
@pytest.mark.parametrize("detached", [False, True])
def test_a_weight_that_carries_its_history(detached: bool) -> None:
    w = ad.ones(3, requires_grad=True)
    before = w
    with warnings.catch_warnings(record=True) as caught, ad.autograd.detect_leaks() as found:
        warnings.simplefilter("always")
        for _ in range(60):
            (w * w).sum().backward(retain_graph=True)
            w = w - 0.01 * w.grad  # the line
            w = w.detach().requires_grad_() if detached else w
            w.retain_grad()
    assert len(caught) == len(found.reported) == (not detached)
    with open(__file__) as source:
        line = next(i for i, text in enumerate(source, 1) if text.endswith("# the line\n"))
    assert detached or f"test_guards.py:{line} " in found.reported[0]
    assert before.is_leaf


# --- schedules --------------------------------------------------------------------------------


def test_the_order_of_a_scheduler() -> None:
    model = net()
    opt = ad.optim.SGD(model.parameters(), lr=0.1)
    scheduler = ad.optim.lr_scheduler.StepLR(opt, 2)
    with pytest.warns(UserWarning, match=r"before optimizer\.step"):
        scheduler.step()
    opt = ad.optim.SGD(model.parameters(), lr=0.1)
    scheduler = ad.optim.lr_scheduler.StepLR(opt, 2)
    for _ in range(4):
        usual(model, opt, lambda: model(X).sum().backward())
        scheduler.step()


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_schedule_is_the_same_after_a_restart(stop: int) -> None:
    def made() -> Any:
        p = nn.Parameter(ad.ones(3))
        rate = ad.optim.schedules.one_cycle(0.5, 12)
        return p, ad.optim.AdamW([p], lr=rate)

    def steps(p: Any, opt: Any, count: int) -> list[float]:
        rates = []
        for _ in range(count):
            opt.zero_grad()
            (p * p).sum().backward()
            rates += opt.rates
            opt.step()
        return rates

    whole = steps(*made(), 12)
    p, opt = made()
    first = steps(p, opt, stop)
    other, again = made()
    other.data = p.detach()
    again.load_state_dict(opt.state_dict())
    assert first + steps(other, again, 12 - stop) == whole


# --- randomness under jit ---------------------------------------------------------------------


def test_dropout_is_new_in_each_captured_step_and_equals_eager() -> None:
    drop = nn.Dropout(0.5)
    step = ad.jit(lambda x: drop(x))
    ones = ad.ones(50)

    def three(run: Callable[[Any], Any]) -> list[list[float]]:
        ad.manual_seed(3)
        return [run(ones).tolist() for _ in range(3)]

    captured = three(step)
    assert captured[0] != captured[1] != captured[2]
    assert captured == three(step) == three(drop)
    assert step.recordings == 1


@pytest.mark.parametrize(
    ("library", "draw"),
    [("numpy.random", lambda: np.random.rand()), ("random", lambda: random.random())],
    ids=["numpy", "python"],
)
def test_frozen_random_numbers_of_others_are_said(library: str, draw: Callable[[], float]) -> None:
    step = ad.jit(lambda x: x * draw())
    with pytest.warns(TrainingWarning, match=f"numbers from {library}: .*every run gets the same"):
        first = step(ad.ones(2)).tolist()
    assert step(ad.ones(2)).tolist() == first  # it is frozen, and nothing more is said
    fine = ad.jit(lambda x, r: x * r)
    fine(ad.ones(2), ad.tensor(draw()))


def test_frozen_random_numbers_of_a_generator_are_found_by_check() -> None:
    rng = np.random.default_rng(0)
    step = ad.jit(lambda x: x * float(rng.random()), check=True)
    step(ad.ones(2))
    with pytest.raises(RecordingError, match="two programs"):
        step(ad.ones(2))


# --- names of a state_dict --------------------------------------------------------------------


def test_wrapping_does_not_change_names() -> None:
    model = net()
    names = list(model.state_dict())
    opt = ad.optim.SGD(model.parameters(), lr=0.1)
    forward = ad.jit(model)

    @ad.jit
    def step(x: Any) -> None:
        opt.zero_grad()
        forward(x).sum().backward()
        opt.step()

    for _ in range(2):
        step(X)
    assert list(model.state_dict()) == names
    twin = net()
    twin.load_state_dict(model.state_dict())
    with model.eval_mode(), twin.eval_mode():
        out = ad.jit(twin)(X).numpy()
        np.testing.assert_allclose(out, model(X).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_names_that_others_changed_are_explained(prefix: str) -> None:
    model = net()
    saved = {prefix + k: v for k, v in model.state_dict().items()}
    with pytest.raises(AdjointError) as caught:
        model.load_state_dict(saved)
    text = str(caught.value)
    assert f"rename={{'{prefix}': ''}}" in text and "missing (9)" in text
    model.load_state_dict(saved, rename={prefix: ""})
