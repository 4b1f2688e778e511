"""Captured steps: the numbers of eager ones, nothing stale, and every trap raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import AdjointError, GradError, RecordingError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 4)), RNG.normal(size=(16, 3))
W1, W2 = RNG.normal(size=(4, 8)) * 0.5, RNG.normal(size=(8, 3)) * 0.5


class Setup:
    """A two-layer net, its optimiser and its step, eager or captured."""

    def __init__(
        self, wrap: Any, optimiser: str = "SGD", noise: float = 0.0, **options: Any
    ) -> None:
        self.params = [ad.tensor(w, requires_grad=True) for w in (W1, W2)]
        self.bias = ad.zeros(3, dtype=ad.float64, requires_grad=True)
        self.seen = ad.tensor(0)
        self.optimiser = getattr(ad.optim, optimiser)([*self.params, self.bias], **options)
        self.generator = ad.Generator().manual_seed(3)
        self.noise = noise
        self.step = wrap(self._step)

    def _step(self, x: Any, y: Any) -> Any:
        self.optimiser.zero_grad()
        hidden = ad.tanh(x @ self.params[0])
        if self.noise:
            hidden = hidden + self.noise * ad.randn(
                *hidden.shape, dtype=ad.float64, generator=self.generator
            )
        loss = (hidden @ self.params[1] + self.bias - y).square().mean()
        loss.backward()
        self.optimiser.step()
        self.seen += 1
        return loss

    def run(self, steps: int, rows: int = 16) -> list[float]:
        x, y = ad.tensor(X[:rows]), ad.tensor(Y[:rows])
        return [self.step(x, y).item() for _ in range(steps)]

    def state(self) -> list[Any]:
        tensors = [*self.params, self.bias, *(p.grad for p in self.params)]
        return [t.detach().numpy().copy() for t in tensors]


OPTIMISERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "amsgrad": True}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
def test_a_whole_step_equals_an_eager_one(name: str, options: dict[str, Any]) -> None:
    eager, captured = (
        Setup(lambda f: f, name, **options),
        Setup(ad.jit(check=True), name, **options),
    )
    for rate in (options["lr"], 0.03):
        for setup in (eager, captured):
            setup.optimiser.param_groups[0]["lr"] = rate
        np.testing.assert_allclose(captured.run(6), eager.run(6), rtol=1e-13)
    for a, b in zip(captured.state(), eager.state(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    assert captured.seen.item() == 12
    assert captured.step.recordings <= 2  # one more when momentum starts; none for the new rate


def test_random_numbers_differ_each_step_and_equal_eager_ones() -> None:
    eager, captured = Setup(lambda f: f, noise=0.1), Setup(ad.jit, noise=0.1)
    losses = captured.run(5)
    assert losses == pytest.approx(eager.run(5), rel=1e-12) and len(set(losses)) == 5
    assert captured.step.recordings == 1


def test_a_new_shape_records_once_more() -> None:
    setup = Setup(ad.jit, lr=0.0)
    for rows in (16, 7, 16, 7, 16):
        setup.run(1, rows)
    assert setup.step.recordings == 2


def test_plain_arguments_choose_the_recording_and_trees_pass_through() -> None:
    calls: list[Any] = []

    @ad.jit
    def f(tree: Any, power: int, flip: bool = False) -> Any:
        calls.append(power)
        out = tree["x"] ** power
        return {"out": -out if flip else out, "power": power, "pair": (out.sum(), None)}

    x = ad.tensor([1.0, 2.0])
    assert f({"x": x}, 2)["out"].tolist() == [1.0, 4.0]
    assert f({"x": x * 2}, 2)["out"].tolist() == [4.0, 16.0]
    third = f({"x": x}, 3, flip=True)
    assert (
        third["out"].tolist() == [-1.0, -8.0] and third["power"] == 3 and third["pair"][1] is None
    )
    assert calls == [2, 3]
    with pytest.raises(AdjointError, match="hashed"):
        f({"x": x}, {1, 2})


def test_assignments_to_what_is_closed_over_are_written_back() -> None:
    total, history = ad.zeros(2), ad.zeros(3, 2)

    @ad.jit
    def add(x: Any, row: Any) -> Any:
        total.add_(x)
        history[1] = total * 2
        return total * 1.0

    first = add(ad.ones(2), ad.tensor(0))
    second = add(ad.ones(2), ad.tensor(0))
    assert first.tolist() == [1.0, 1.0] and second.tolist() == [2.0, 2.0]
    assert total.tolist() == [2.0, 2.0] and history.tolist()[1] == [4.0, 4.0]
    total.zero_()
    assert add(ad.ones(2), ad.tensor(0)).tolist() == [1.0, 1.0]


def test_values_held_by_others_are_not_overwritten() -> None:
    w = ad.tensor([1.0, 2.0], requires_grad=True)

    @ad.jit
    def step() -> Any:
        with ad.no_grad():
            w.mul_(2.0)
        return w.detach()

    before, array = w.detach(), w.detach().numpy()
    after = step()
    step()
    assert before.tolist() == array.tolist() == [1.0, 2.0] and after.tolist() == [2.0, 4.0]
    assert w.tolist() == [4.0, 8.0] and w.is_leaf and w.requires_grad


def test_gradients_add_up_when_they_are_not_cleared() -> None:
    w = ad.tensor([1.0, 2.0], requires_grad=True)

    @ad.jit
    def accumulate(x: Any) -> None:
        (w * x).sum().backward()

    for count in (1, 2, 3):
        assert accumulate(ad.tensor([1.0, 3.0])) is None
        assert w.grad.tolist() == [count, 3.0 * count]


def test_transforms_inside_and_outside() -> None:
    f = lambda x: (ad.tanh(x) * x).sum()  # noqa: E731
    x = ad.tensor(X)
    for make in (ad.grad(f), ad.vmap(ad.grad(f)), lambda x: ad.jvp(f, (x,), (x,))[1]):
        np.testing.assert_allclose(ad.jit(make)(x).numpy(), make(x).numpy(), rtol=1e-13)
    np.testing.assert_array_equal(ad.grad(ad.jit(f))(x).numpy(), ad.grad(f)(x).numpy())
    np.testing.assert_array_equal(ad.vmap(ad.jit(f))(x).numpy(), ad.vmap(f)(x).numpy())
    nested = ad.jit(lambda x: ad.jit(f)(x) * 2.0)
    assert nested(x).item() == pytest.approx(f(x).item() * 2.0, rel=1e-13)
    carry = ad.jit(lambda x: ad.scan(lambda c, r: (c * 0.5 + r, c.sum()), ad.zeros(4).double(), x))
    for a, b in zip(
        carry(x), ad.scan(lambda c, r: (c * 0.5 + r, c.sum()), ad.zeros(4).double(), x), strict=True
    ):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_modules_and_their_mode() -> None:
    class Noisy(ad.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = ad.nn.Parameter(ad.ones(3))
            self.register_buffer("count", ad.tensor(0))

        def forward(self, x: Any) -> Any:
            if self.training:
                self.count += 1
                return x * self.weight * 2.0
            return x * self.weight

    model = Noisy()
    run = ad.jit(lambda x: model(x).detach())
    x = ad.ones(3)
    assert run(x).tolist() == [2.0] * 3 and model.count.item() == 1
    model.eval()
    assert run(x).tolist() == [1.0] * 3 and model.count.item() == 1
    model.train()
    assert run(x).tolist() == [2.0] * 3 and model.count.item() == 2
    assert run.recordings == 2


def test_the_program_is_simplified_and_prints() -> None:
    @ad.jit
    def f(x: Any) -> Any:
        unused = ad.exp(x)  # noqa: F841
        two = ad.ones(3) + ad.ones(3)
        return (x * two).sum() + (x * two).sum()

    assert f(ad.tensor([1.0, 2.0, 3.0])).item() == 24.0
    names = [n.op.name for n in f.graph.nodes]
    assert names.count("mul") == 1 and "exp" not in names and names.count("add") == 1
    assert "x0: float32[3]" in str(f.graph)


class Trap:
    """What must raise, with part of the message."""

    @staticmethod
    def item(x: Any) -> Any:
        return x * x.sum().item()

    @staticmethod
    def branch(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    @staticmethod
    def loop(x: Any) -> Any:
        while x.sum() > 1:
            x = x * 0.5
        return x

    @staticmethod
    def number(x: Any) -> Any:
        return x * float(x[0])

    @staticmethod
    def array(x: Any) -> Any:
        return ad.tensor(np.asarray(x) * 2)

    @staticmethod
    def nonzero(x: Any) -> Any:
        return x[x > 0]

    @staticmethod
    def outside_item(x: Any) -> Any:
        return x * OUTSIDE.item()

    @staticmethod
    def print_format(x: Any) -> Any:
        return f"{x.sum():.3f}" and x


OUTSIDE = ad.tensor(2.0)
TRAPS = [name for name in vars(Trap) if not name.startswith("_")]


@pytest.mark.feature("T41")
@pytest.mark.parametrize("name", TRAPS)
def test_reading_a_value_raises_with_the_line(name: str) -> None:
    with pytest.raises(RecordingError, match=rf"test_jit.py:\d+ in Trap.{name}"):
        ad.jit(getattr(Trap, name))(ad.tensor([1.0, 2.0]))
    with ad.no_jit():
        if name != "print_format":
            ad.jit(getattr(Trap, name))(ad.tensor([1.0, 2.0]))


def test_a_tensor_that_outlives_the_call_raises_and_leaves_everything_as_it_was() -> None:
    kept: list[Any] = []
    w = ad.tensor([1.0], requires_grad=True)

    @ad.jit
    def leak(x: Any) -> Any:
        kept.append(x * 2.0)
        return (w * x).sum()

    with pytest.raises(RecordingError, match="left over from a recording"):
        leak(ad.ones(1))
    assert w.tolist() == [1.0] and w.grad is None


def test_an_exception_inside_restores_every_handle() -> None:
    w = ad.tensor([1.0], requires_grad=True)

    @ad.jit
    def broken(x: Any) -> Any:
        (w * x).sum().backward()
        with ad.no_grad():
            w.add_(1.0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken(ad.ones(1))
    assert w.tolist() == [1.0] and w.grad is None and w.is_leaf


def test_check_notices_a_python_value_that_changed() -> None:
    factor = [1.0]
    checked = ad.jit(lambda x: x * factor[0], check=True)
    x = ad.ones(2)
    assert checked(x).tolist() == [1.0, 1.0]
    factor[0] = 5.0
    with pytest.raises(RecordingError, match="two programs"):
        checked(x)


def test_history_from_outside_and_vanished_tensors_are_named() -> None:
    w = ad.tensor([1.0], requires_grad=True)
    hidden = w * 2.0
    with pytest.raises(GradError, match="computation outside"):
        ad.jit(lambda x: (hidden * x).sum())(ad.ones(1))
    holder = {"w": ad.ones(1)}
    step = ad.jit(lambda x: x * holder["w"])
    step(ad.ones(1))
    holder["w"] = ad.ones(1) * 3.0
    with pytest.raises(AdjointError, match="no longer exists"):
        step(ad.ones(1))


def test_a_user_written_function_inside() -> None:
    class Cube(ad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            (x,) = ctx.saved_tensors
            return ct * 30.0 * x * x  # ten times the truth, so that it is seen to be used

    w = ad.tensor([1.0, 2.0], requires_grad=True)

    @ad.jit(check=True)
    def step(x: Any) -> Any:
        w.grad = None
        loss = Cube.apply(w * x).sum()
        loss.backward()
        return loss

    for scale in (1.0, 2.0, 3.0):
        assert step(ad.ones(2) * scale).item() == 9.0 * scale**3
        assert w.grad.tolist() == [30.0 * scale**3, 120.0 * scale**3]
