"""What must be true of optimisers by their formulas: closed forms, equal paths, exact factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import optim
from adjoint.optim import schedules

RNG = np.random.default_rng(0)


def follow(
    make: Any, gradient: Any, start: Any, steps: int, rate: Any = None, ahead: bool = False
) -> np.ndarray:
    """The points an optimiser goes through, fed with ``gradient(point)``."""
    p = ad.tensor(np.asarray(start, dtype=np.float64), requires_grad=True)
    optimiser = make([p])
    seen = [p.detach().numpy().copy()]

    def closure() -> Any:
        p.grad = ad.tensor(np.asarray(gradient(p.detach().numpy()), dtype=np.float64))
        return p.sum()

    for t in range(steps):
        if rate is not None:
            optimiser.param_groups[0]["lr"] = rate(t)
        if ahead:
            optimiser.step(closure)
        else:
            closure()
            optimiser.step()
        seen.append(p.detach().numpy().copy())
    return np.stack(seen)


def quadratic(largest: float = 4.0, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    q, _ = np.linalg.qr(RNG.normal(size=(size, size)))
    return q @ np.diag(np.linspace(0.5, largest, size)) @ q.T, RNG.normal(size=size)


@pytest.mark.feature("P1", "S9")
def test_descent_on_a_quadratic_has_a_closed_form_and_a_limit() -> None:
    matrix, start = quadratic()
    lr = 0.3
    found = follow(lambda p: optim.SGD(p, lr=lr), lambda x: matrix @ x, start, 40)
    values, vectors = np.linalg.eigh(matrix)
    for t in (1, 7, 40):
        exact = vectors @ ((1 - lr * values) ** t * (vectors.T @ start))
        np.testing.assert_allclose(found[t], exact, atol=1e-12)
    for lr, diverges in ((2 / 4 * 0.99, False), (2 / 4 * 1.01, True)):
        path = follow(lambda p, lr=lr: optim.SGD(p, lr=lr), lambda x: matrix @ x, start, 600)
        assert (np.linalg.norm(path[-1]) > np.linalg.norm(start)) == diverges


@pytest.mark.feature("S9")
@pytest.mark.parametrize("curvature", [1.0, 3.0])
def test_step_sizes_creep_bounce_and_diverge(curvature: float) -> None:
    """f = curvature x^2 / 2: the three regimes have their limits at 1 and 2 over the curvature."""

    def path(share: float) -> np.ndarray:
        return follow(
            lambda p: optim.SGD(p, lr=share / curvature), lambda x: curvature * x, [1.0], 30
        )[:, 0]

    creeping, bouncing, leaving = path(0.5), path(1.5), path(2.1)
    assert (np.diff(creeping) < 0).all() and (creeping > 0).all()
    assert (bouncing[1:] * bouncing[:-1] < 0).all() and abs(bouncing[-1]) < 1e-8
    assert (np.abs(leaving[1:]) > np.abs(leaving[:-1])).all()
    np.testing.assert_allclose(path(1.0)[1:], 0.0, atol=1e-15)


@pytest.mark.feature("P2")
def test_the_mean_of_minibatch_gradients_is_the_full_gradient() -> None:
    x, y = ad.tensor(RNG.normal(size=(48, 3))), ad.tensor(RNG.normal(size=48))
    w = ad.tensor(RNG.normal(size=3), requires_grad=True)

    def gradient(rows: slice) -> np.ndarray:
        w.grad = None
        ad.nn.functional.mse_loss(x[rows] @ w, y[rows]).backward()
        return w.grad.numpy()

    parts = [gradient(slice(i, i + 8)) for i in range(0, 48, 8)]
    np.testing.assert_allclose(np.mean(parts, 0), gradient(slice(0, 48)), rtol=1e-12)


@pytest.mark.feature("P4")
def test_the_forms_of_momentum_agree_under_their_maps_and_part_when_lr_changes() -> None:
    """Four conventions are in use; the share of velocity kept is mu, friction is 1 - mu."""
    matrix, start = quadratic()

    def path(form: str, lr: float, rate: Any = None) -> np.ndarray:
        return follow(
            lambda p: optim.Momentum(p, lr=lr, momentum=0.9, form=form), lambda x: matrix @ x,
            start, 60, rate,
        )  # fmt: skip

    lr = 0.02
    outside = path("outside", lr)
    for other in (path("inside", lr), path("signed", lr), path("average", lr / (1 - 0.9))):
        np.testing.assert_allclose(other, outside, atol=1e-12)
    sgd = follow(lambda p: optim.SGD(p, lr=lr, momentum=0.9), lambda x: matrix @ x, start, 60)
    np.testing.assert_allclose(sgd, outside, atol=1e-14)
    falling = [path(form, lr, lambda t: lr * 0.9**t) for form in ("outside", "inside", "signed")]
    np.testing.assert_allclose(falling[1], falling[2], atol=1e-12)
    assert abs(falling[0] - falling[1]).max() > 1e-3


@pytest.mark.feature("P5", "P19", "S7")
def test_bias_correction_of_momentum() -> None:
    """Fed with a constant gradient g, the corrected velocity is g at once; the plain one warms up
    as (1 - mu^t) g."""
    g, mu, lr = 2.0, 0.8, 0.1

    def steps(**options: Any) -> np.ndarray:
        path = follow(
            lambda p: optim.Momentum(p, lr=lr, momentum=mu, **options), lambda x: x * 0 + g, [0.0],
            20,
        )  # fmt: skip
        return -np.diff(path[:, 0]) / lr

    t = np.arange(1, 21)
    np.testing.assert_allclose(steps(form="average", bias_correction=True), g, rtol=1e-12)
    np.testing.assert_allclose(steps(form="average"), (1 - mu**t) * g, rtol=1e-12)
    # absorbing 1 - mu into the step: the unbiased forms have the same path
    np.testing.assert_allclose(steps(form="outside") * (1 - mu), steps(form="average"), rtol=1e-12)
    np.testing.assert_allclose(
        steps(form="outside", bias_correction=True), steps(form="average", bias_correction=True),
        rtol=1e-12,
    )  # fmt: skip


@pytest.mark.feature("P6")
def test_nesterov_takes_the_gradient_at_the_point_ahead() -> None:
    """Not at the present parameters; the form of the libraries follows that point itself."""
    matrix, start = quadratic(largest=50.0)
    mu, lr = 0.9, 0.01

    def look(form: str) -> np.ndarray:
        return follow(
            lambda p: optim.Momentum(p, lr=lr, momentum=mu, form=form, nesterov="look_ahead"),
            lambda x: matrix @ x, start, 40, ahead=True,
        )  # fmt: skip

    by_hand, v = [start.copy()], np.zeros_like(start)
    for _ in range(40):
        v = mu * v - lr * matrix @ (by_hand[-1] + mu * v)
        by_hand.append(by_hand[-1] + v)
    ahead = look("signed")
    np.testing.assert_allclose(ahead, by_hand, atol=1e-12)
    for form in ("inside", "outside"):
        np.testing.assert_allclose(look(form), ahead, atol=1e-12)
    library = follow(
        lambda p: optim.SGD(p, lr=lr, momentum=mu, nesterov=True), lambda x: matrix @ x, start, 40
    )
    moved = ahead[1:] + mu * np.diff(ahead, axis=0)
    np.testing.assert_allclose(library[1:], moved, atol=1e-10)


@pytest.mark.feature("P6")
def test_nesterov_is_faster_than_heavy_ball_on_a_stiff_quadratic() -> None:
    matrix, start = np.diag([1.0, 1000.0]), np.ones(2)

    def needed(**options: Any) -> int:
        path = follow(
            lambda p: optim.SGD(p, lr=1e-3, momentum=0.95, **options), lambda x: matrix @ x,
            start, 2000,
        )  # fmt: skip
        return int(np.argmax(np.linalg.norm(path, axis=1) < 1e-6))

    assert 0 < needed(nesterov=True) < needed()


@pytest.mark.feature("P10", "P11")
def test_adam_with_a_constant_gradient() -> None:
    """Corrected: lr sign(g) at every step. The biases of the two averages do not cancel: without
    correction the first step is 3.16 lr and the longest 6.57 lr, at step 12. Feeding corrected
    averages back into the recursion, as one printed formula has it, makes the steps die out."""
    lr = 0.01

    def sizes(steps: int, **options: Any) -> np.ndarray:
        path = follow(
            lambda p: optim.Adam(p, lr=lr, eps=0.0, **options), lambda x: x * 0 + 3.0, [0.0], steps
        )
        return -np.diff(path[:, 0]) / lr

    np.testing.assert_allclose(sizes(50), 1.0, rtol=1e-6)
    plain = sizes(1000, bias_correction=False)
    assert plain[0] == pytest.approx(0.1 / np.sqrt(0.001), rel=1e-6)  # 3.162
    assert plain.argmax() + 1 == 12 and plain.max() == pytest.approx(6.57, abs=0.005)
    for t, ratio in ((10, 6.53), (100, 3.24), (1000, 1.26)):
        assert plain[t - 1] == pytest.approx(ratio, abs=0.01)
    v = s = 0.0
    dying = []
    for t in range(1, 4):
        v = (0.9 * v + 0.1) / (1 - 0.9**t)
        s = (0.999 * s + 0.001) / (1 - 0.999**t)
        dying.append(v / np.sqrt(s))
    np.testing.assert_allclose(dying, [1.0, 0.235, 0.044], atol=1e-3)


@pytest.mark.feature("P7", "P8")
def test_adagrad_adds_up_and_rmsprop_forgets() -> None:
    """Both divide by the uncentred second moment, not by a variance: steps of Adagrad under a
    constant gradient fall as 1 / sqrt(t), those of RMSprop end at lr."""
    for make, last in (
        (lambda p: optim.Adagrad(p, lr=1.0, eps=0.0), 1 / np.sqrt(400)),
        (lambda p: optim.RMSprop(p, lr=1.0, alpha=0.9, eps=0.0), 1.0),
    ):
        path = follow(make, lambda x: x * 0 + 5.0, [0.0], 400)[:, 0]
        assert path[-2] - path[-1] == pytest.approx(last, rel=1e-6)


@pytest.mark.feature("P15")
def test_weight_decay_in_the_loss_and_in_the_optimiser() -> None:
    """The same for plain SGD; for Adam decoupled decay is another method."""
    matrix, start = quadratic()
    decay, lr = 0.1, 0.05

    def loss_gradient(x: np.ndarray) -> np.ndarray:
        return matrix @ x + decay * x

    def plain(x: np.ndarray) -> np.ndarray:
        return matrix @ x

    in_loss = follow(lambda p: optim.SGD(p, lr=lr), loss_gradient, start, 50)
    inside = follow(lambda p: optim.SGD(p, lr=lr, weight_decay=decay), plain, start, 50)
    np.testing.assert_allclose(inside, in_loss, atol=1e-10)
    decoupled = start.copy()
    for _ in range(50):
        decoupled = decoupled * (1 - lr * decay) - lr * matrix @ decoupled
    np.testing.assert_allclose(inside[-1], decoupled, atol=1e-12)
    adam = follow(lambda p: optim.Adam(p, lr=lr, weight_decay=decay), plain, start, 50)
    adamw = follow(lambda p: optim.AdamW(p, lr=lr, weight_decay=decay), plain, start, 50)
    assert abs(adam - adamw).max() > 0.01
    still = follow(lambda p: optim.AdamW(p, lr=lr, weight_decay=decay), lambda x: x * 0, start, 3)
    np.testing.assert_allclose(still[1:] / still[:-1], 1 - lr * decay, rtol=1e-15)


@pytest.mark.feature("P17")
def test_adaptive_methods_level_the_scales_of_layers() -> None:
    scales = 10.0 ** np.arange(-4, 5)

    def spread(make: Any) -> float:
        path = follow(make, lambda x: scales * np.cos(3 * x), np.zeros(9), 20)
        moved = np.abs(np.diff(path, axis=0))[0]
        return float(moved.max() / moved.min())

    assert spread(lambda p: optim.Adam(p, lr=1e-3)) < 10
    assert spread(lambda p: optim.SGD(p, lr=1e-6)) > 1e6


@pytest.mark.feature("P20")
def test_momentum_is_a_damped_mass_stepped_by_semi_implicit_euler() -> None:
    """m x'' = -gamma x' - x: beta is 1 - gamma dt / m (not dt - gamma / m), alpha is dt^2 / m."""
    mass = gamma = 1.0

    def momentum(dt: float, steps: int, beta: float) -> np.ndarray:
        return follow(
            lambda p: optim.Momentum(p, lr=dt * dt / mass, momentum=beta), lambda x: x, [1.0], steps
        )[:, 0]

    def euler(dt: float, steps: int) -> np.ndarray:
        x, q, seen = 1.0, 0.0, [1.0]
        for _ in range(steps):
            q = q + dt * (-gamma / mass * q - x)
            x = x + dt / mass * q
            seen.append(x)
        return np.asarray(seen)

    found = momentum(0.1, 50, 1 - gamma * 0.1 / mass)
    np.testing.assert_allclose(found, euler(0.1, 50), atol=1e-12)
    root = np.sqrt(3) / 2
    exact = np.exp(-2.5) * (np.cos(root * 5) + np.sin(root * 5) / (2 * root))
    assert found[50] == pytest.approx(-0.058, abs=1e-3) and exact == pytest.approx(-0.075, abs=1e-3)
    errors = [abs(momentum(5 / n, n, 1 - 5 / n)[n] - exact) for n in (100, 200, 400)]
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, atol=0.1)  # first order


@pytest.mark.feature("P21")
def test_noise_carries_descent_out_of_a_bad_minimum() -> None:
    """f = x^4 / 4 - x^2 / 2 + 0.2 x: the minimum on the right is the worse one."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 100)) * 12.0

    def slope(x: np.ndarray) -> np.ndarray:
        return x**3 - x + 0.2

    quiet = follow(lambda p: optim.SGD(p, lr=0.05), slope, np.full(100, 0.9), 400)
    assert (quiet[-1] > 0).all()
    draws = iter(noise)
    cooling = schedules.join([schedules.constant(0.05), schedules.linear(0.05, 0.0, 100)], [300])
    noisy = follow(
        lambda p: optim.SGD(p, lr=cooling), lambda x: slope(x) + next(draws), np.full(100, 0.9), 400
    )
    assert ((noisy < 0).any(0)).sum() >= 80
