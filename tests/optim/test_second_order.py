"""Newton, Gauss-Newton, L-BFGS, K-FAC and preconditioning against closed forms, scipy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch

import adjoint as ad
from adjoint import nn, optim
from adjoint.base.errors import AdjointError
from adjoint.optim import curvature
from adjoint.optim.kfac import kronecker_factors

RNG = np.random.default_rng(0)


def convex(size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    root = RNG.normal(size=(size, size))
    return root @ root.T + np.eye(size), RNG.normal(size=size)


def bowl(matrix: np.ndarray, linear: np.ndarray, *parts: Any) -> Any:
    x = ad.cat(list(parts))
    return 0.5 * (x @ (ad.tensor(matrix) @ x)) - ad.tensor(linear) @ x


def halves(start: np.ndarray) -> list[Any]:
    return [ad.tensor(part, requires_grad=True) for part in np.split(start, 2)]


def whole(parts: list[Any]) -> np.ndarray:
    return np.concatenate([p.detach().numpy() for p in parts])


@pytest.mark.feature("P12")
def test_newton_solves_a_convex_quadratic_in_one_step() -> None:
    matrix, linear = convex()
    parts = halves(RNG.normal(size=6))
    optim.Newton(parts).step(lambda: bowl(matrix, linear, *parts))
    np.testing.assert_allclose(whole(parts), np.linalg.solve(matrix, linear), atol=1e-10)


@pytest.mark.feature("P13")
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_damped_newton_shrinks_the_error_by_its_share(share: float) -> None:
    matrix, linear = convex()
    parts = halves(RNG.normal(size=6))
    best = np.linalg.solve(matrix, linear)
    optimiser = optim.Newton(parts, lr=share)
    error = whole(parts) - best
    for _ in range(5):
        optimiser.step(lambda: bowl(matrix, linear, *parts))
        error = (1 - share) * error
        np.testing.assert_allclose(whole(parts) - best, error, atol=1e-12)


@pytest.mark.feature("P12")
def test_newton_on_logistic_regression() -> None:
    x, y = ad.tensor(RNG.normal(size=(80, 4))), ad.tensor(RNG.integers(0, 2, 80).astype(float))
    w = ad.zeros(4, dtype=ad.float64, requires_grad=True)

    def loss() -> Any:
        return nn.functional.binary_cross_entropy_with_logits(x @ w, y)

    optimiser = optim.Newton([w])
    for _ in range(10):
        optimiser.step(loss)
    assert abs(curvature.flat_gradient(loss(), [w]).detach().numpy()).max() < 1e-10


@pytest.mark.feature("P12", "P13")
def test_an_indefinite_hessian_is_reported_or_flipped_not_followed_uphill() -> None:
    """A full step goes to the stationary point of the local model: here a saddle, above."""

    def saddle(p: Any) -> Any:
        return p[0] ** 2 - p[1] ** 2 + 0.1 * p[1] ** 4

    p = ad.tensor([1.0, 0.5], dtype=ad.float64, requires_grad=True)
    with pytest.raises(AdjointError, match="uphill"):
        optim.Newton([p]).step(lambda: saddle(p))
    before = saddle(p).item()
    optimiser = optim.Newton([p], indefinite="flip", line_search=True)
    optimiser.step(lambda: saddle(p))
    assert saddle(p).item() < before
    for _ in range(20):
        optimiser.step(lambda: saddle(p))
    np.testing.assert_allclose(p.detach().numpy(), [0, 5**0.5], atol=1e-8)


@pytest.mark.feature("P13")
def test_full_steps_may_diverge_where_a_line_search_does_not() -> None:
    """Newton's step points to the minimum of its own quadratic model, also for a convex loss."""

    def run(**options: Any) -> float:
        p = ad.tensor([3.0], dtype=ad.float64, requires_grad=True)
        optimiser = optim.Newton([p], **options)
        for _ in range(6):
            if abs(p.item()) < 1e6:
                optimiser.step(lambda: ad.sqrt(1 + p * p).sum())
        return abs(p.item())

    assert run() > 1e3 and run(line_search=True) < 1e-6


def test_newton_works_inside_jit() -> None:
    matrix, linear = convex()
    found = []
    for wrap in (lambda f: f, ad.jit):
        parts = halves(np.ones(6))
        optimiser = optim.Newton(parts, lr=0.5, indefinite="flip")
        step = wrap(lambda p=parts, o=optimiser: o.step(lambda: bowl(matrix, linear, *p)))
        for _ in range(3):
            step()
        found.append(whole(parts))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


@pytest.mark.feature("P14")
def test_gauss_newton_is_the_hessian_of_linear_least_squares() -> None:
    x, y = RNG.normal(size=(20, 4)), RNG.normal(size=20)
    w = ad.tensor(RNG.normal(size=4), requires_grad=True)

    def residuals() -> Any:
        return ad.tensor(x) @ w - ad.tensor(y)

    product = curvature.gauss_newton(residuals(), [w])
    hessian = curvature.hessian(0.5 * (residuals() ** 2).sum(), [w])
    np.testing.assert_allclose(product.detach().numpy(), hessian.detach().numpy(), atol=1e-10)
    optim.GaussNewton([w]).step(residuals)
    np.testing.assert_allclose(w.detach().numpy(), np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-10)


@pytest.mark.feature("P14")
def test_levenberg_marquardt_fits_a_curve_as_scipy_does() -> None:
    t = np.linspace(0, 3, 30)
    y = 2.0 * np.exp(-1.3 * t) + 0.01 * RNG.normal(size=30)
    p = ad.tensor([1.0, -0.3], dtype=ad.float64, requires_grad=True)
    optimiser = optim.GaussNewton([p], damping=1e-3)
    for _ in range(30):
        optimiser.step(lambda: p[0] * ad.exp(p[1] * ad.tensor(t)) - ad.tensor(y))
    want = scipy.optimize.curve_fit(lambda t, a, b: a * np.exp(b * t), t, y, p0=[1, -0.3])[0]
    np.testing.assert_allclose(p.detach().numpy(), want, atol=1e-6)


@pytest.mark.feature("P14")
def test_the_diagonal_of_the_hessian_exactly_and_by_sampling() -> None:
    p = ad.tensor(RNG.normal(size=5), requires_grad=True)
    q = ad.tensor(RNG.normal(size=2), requires_grad=True)

    def loss() -> Any:
        return ad.sin(p).sum() * ad.exp(q).sum() + (p[:2] * q).sum() ** 2

    full = curvature.hessian(loss(), [p, q]).detach().numpy()
    np.testing.assert_allclose(full, full.T, atol=1e-12)
    exact = curvature.hessian_diagonal(loss(), [p, q]).detach().numpy()
    np.testing.assert_array_equal(exact, np.diag(full))
    ad.manual_seed(0)
    sampled = curvature.hessian_diagonal(loss(), [p, q], samples=400).detach().numpy()
    np.testing.assert_allclose(sampled, exact, atol=4 * abs(full).sum() / 400**0.5 / 3)
    flat = curvature.hessian((p * 2).sum() + (q * 1).sum(), [p, q])
    assert not flat.detach().numpy().any()


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def minimise(m: Any, loss: Any, start: np.ndarray, calls: int, wrap: Any = None, **options: Any):
    x = m.tensor(start).requires_grad_()
    optimiser = m.optim.LBFGS([x], **options)

    def closure() -> Any:
        optimiser.zero_grad()
        value = loss(x)
        value.backward()
        return value.detach()

    run = wrap(closure) if wrap else closure
    for _ in range(calls):
        optimiser.step(run)
    return x.detach().numpy(), optimiser


@pytest.mark.feature("P14")
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_goes_the_way_of_torch(search: str | None) -> None:
    matrix, linear = convex(12)

    def loss(m: Any) -> Any:
        a, b = m.tensor(matrix), m.tensor(linear)
        return lambda x: 0.5 * (x @ (a @ x)) - b @ x + 0.1 * m.cos(x).sum()

    options = {"line_search_fn": search, "lr": 1.0 if search else 0.02, "history_size": 4}
    for calls in (1, 2):
        ours, mine = minimise(ad, loss(ad), np.ones(12), calls, max_iter=6, **options)
        theirs, other = minimise(torch, loss(torch), np.ones(12), calls, max_iter=6, **options)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
        state, twin = (o.state_dict()["state"][0] for o in (mine, other))
        for key in ("func_evals", "n_iter"):
            assert state[key] == twin[key]
        np.testing.assert_allclose(state["d"].numpy(), twin["d"].numpy(), rtol=1e-6, atol=1e-12)


@pytest.mark.slow
@pytest.mark.feature("P14")
def test_lbfgs_solves_rosenbrock_in_a_hundred_dimensions() -> None:
    found, _ = minimise(
        ad, rosenbrock, np.full(100, -0.5), 25, wrap=ad.jit, line_search_fn="strong_wolfe",
        tolerance_grad=1e-11, tolerance_change=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose(found, 1.0, atol=1e-8)


@pytest.mark.feature("P16")
def test_lbfgs_resumes() -> None:
    start = np.linspace(-1, 1, 6)
    twice, _ = minimise(ad, rosenbrock, start, 2, max_iter=4, line_search_fn="strong_wolfe")
    once, optimiser = minimise(ad, rosenbrock, start, 1, max_iter=4, line_search_fn="strong_wolfe")
    x = ad.tensor(once.copy(), requires_grad=True)
    fresh = optim.LBFGS([x], max_iter=4, line_search_fn="strong_wolfe")
    fresh.load_state_dict(optimiser.state_dict())

    def closure() -> Any:
        fresh.zero_grad()
        (value := rosenbrock(x)).backward()
        return value

    fresh.step(closure)
    assert x.detach().numpy().tobytes() == twice.tobytes()


@pytest.mark.feature("P18")
def test_preconditioning() -> None:
    matrix, linear = convex()
    inverse = np.linalg.inv(matrix)
    best = inverse @ linear
    diagonal = 1 / np.diag(matrix)
    for how, want in [
        (ad.tensor(inverse), best),
        (lambda g: [ad.tensor(d) * x for d, x in zip(np.split(diagonal, 2), g, strict=True)], None),
        (ad.tensor(diagonal), None),
    ]:
        parts = halves(np.ones(6))
        bowl(matrix, linear, *parts).backward()
        optim.Preconditioned(parts, how).step()
        if want is None:
            want = np.ones(6) - diagonal * (matrix @ np.ones(6) - linear)
        np.testing.assert_allclose(whole(parts), want, atol=1e-10)
    parts = halves(np.ones(6))
    with pytest.raises(AdjointError, match="no gradient"):
        optim.Preconditioned(parts, ad.ones(6)).step()
    bowl(matrix, linear, *parts).backward()
    with pytest.raises(AdjointError, match="6 numbers"):
        optim.Preconditioned(parts, ad.ones(5)).step()


@pytest.mark.feature("P14")
@pytest.mark.parametrize("loss", ["gaussian", "categorical"])
def test_kfac_is_exact_for_the_blocks_of_a_linear_net(loss: str) -> None:
    """kron(G, A) is the block of the generalised Gauss-Newton matrix; for the squared error, where
    G is the same for all examples, also with many of them."""
    count = 7 if loss == "gaussian" else 1
    ad.manual_seed(0)
    first, second = (nn.Linear(4, 3, dtype=ad.float64), nn.Linear(3, 2, dtype=ad.float64))
    x = ad.tensor(RNG.normal(size=(count, 4)))
    hidden = first(x)
    out = second(hidden)
    factors = kronecker_factors([(x, hidden), (hidden.detach(), out)], out, loss, [False, False])
    if loss == "gaussian":
        value = 0.5 * ((out - 1.0) ** 2).sum() / count
    else:
        value = nn.functional.cross_entropy(out, ad.zeros(count, dtype=ad.int64))
    for layer, (a, g) in zip((first, second), factors, strict=True):
        block = curvature.hessian(value, [layer.weight]).detach().numpy()
        np.testing.assert_allclose(np.kron(g.numpy(), a.detach().numpy()), block, atol=1e-12)


@pytest.mark.feature("P14")
def test_kfac_trains_in_fewer_steps_and_inside_jit() -> None:
    rng = np.random.default_rng(0)
    x = ad.tensor(rng.normal(size=(64, 5)) * np.array([10, 1, 1, 0.1, 0.1]))
    target = (np.arange(64) % 3).astype(np.int64)
    y = ad.tensor(target)

    def run(wrap: Any, make: Any) -> list[float]:
        ad.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        optimiser = make(net)

        def step() -> Any:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimiser.step()
            return loss.detach()

        go = wrap(step)
        return [go().item() for _ in range(40)]

    def same(f: Any) -> Any:
        return f

    eager = run(same, lambda net: optim.KFAC(net, lr=0.3, damping=1e-3, momentum=0.5))
    plain = run(same, lambda net: optim.SGD(net.parameters(), lr=0.3, momentum=0.5))
    assert eager[-1] < 0.9 * plain[-1]
    captured = run(ad.jit, lambda net: optim.KFAC(net, lr=0.3, damping=1e-3, momentum=0.5))
    np.testing.assert_allclose(captured, eager, rtol=1e-8)


@pytest.mark.feature("P14", "T7")
def test_second_derivatives_of_parameters_inside_jit() -> None:
    p = ad.tensor(RNG.normal(size=4), requires_grad=True)

    def step() -> Any:
        value = (ad.sin(p) * p.sum()).sum()
        slope = curvature.flat_gradient(value, [p])
        return value.detach(), slope.detach(), curvature.hessian(value, [p]).detach()

    for mine, plain in zip(ad.jit(step)(), step(), strict=True):
        np.testing.assert_allclose(mine.numpy(), plain.numpy(), rtol=1e-12)
