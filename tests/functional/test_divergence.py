"""Closed forms of the Kullback-Leibler divergence against quadrature and sums."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

import adjoint as ad
from adjoint.nn import functional as F
from tests.tensors.twins import floats, maps, smooth

RNG = np.random.default_rng(0)


def quadrature(m1: float, s1: float, m2: float, s2: float) -> float:
    p, q = stats.norm(m1, s1), stats.norm(m2, s2)

    def gap(x: float) -> float:
        return p.pdf(x) * (p.logpdf(x) - q.logpdf(x))

    return integrate.quad(gap, m1 - 12 * s1, m1 + 12 * s1, epsabs=1e-12, limit=200)[0]


@pytest.mark.feature("O16")
def test_gaussians_against_quadrature() -> None:
    for _ in range(20):
        m1, m2 = RNG.normal(size=2) * 2
        s1, s2 = RNG.uniform(0.2, 3, 2)
        ours = F.gaussian_kl(*(ad.tensor(float(v), dtype=ad.float64) for v in (m1, s1, m2, s2)))
        assert ours.item() == pytest.approx(quadrature(m1, s1, m2, s2), abs=1e-6)
        v = 2 * np.log(s1)
        standard = F.standard_gaussian_kl(ad.tensor(m1), ad.tensor(v))
        assert standard.item() == pytest.approx(quadrature(m1, s1, 0, 1), abs=1e-6)


@pytest.mark.feature("O16")
def test_categorical_and_bernoulli_against_sums() -> None:
    x, y = floats(6, 5) * 2, floats(6, 5, seed=1) * 2
    p, q = (np.exp(v) / np.exp(v).sum(1, keepdims=True) for v in (x, y))
    wanted = (p * np.log(p / q)).sum(1)
    ours = F.categorical_kl(ad.tensor(x), ad.tensor(y))
    np.testing.assert_allclose(ours.numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(
        F.categorical_kl(ad.tensor(x.T), ad.tensor(y.T), dim=0).numpy(), wanted, atol=1e-12
    )
    a, b = RNG.uniform(0.01, 0.99, (2, 50))
    wanted = a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))
    np.testing.assert_allclose(
        F.bernoulli_kl(ad.tensor(a), ad.tensor(b)).numpy(), wanted, atol=1e-12
    )


@pytest.mark.feature("O16")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_never_negative_and_zero_for_equals(dtype: type) -> None:
    rng = np.random.default_rng(1)
    m = rng.normal(size=5000).astype(dtype)
    s = rng.uniform(0.5, 2, 5000).astype(dtype)
    near = (1 + rng.normal(size=5000) * 1e-6).astype(dtype)
    g = F.gaussian_kl(ad.tensor(m), ad.tensor(s), ad.tensor(m * near), ad.tensor(s * near)).numpy()
    assert (g >= 0).all()
    assert (
        F.gaussian_kl(ad.tensor(m), ad.tensor(s), ad.tensor(m), ad.tensor(s)).numpy() == 0
    ).all()
    v = (rng.normal(size=5000) * 1e-4).astype(dtype)
    assert (F.standard_gaussian_kl(ad.tensor(v * 0), ad.tensor(v)).numpy() >= 0).all()
    x = rng.normal(size=(500, 6)).astype(dtype)
    c = F.categorical_kl(ad.tensor(x), ad.tensor(x * near[:500, None])).numpy()
    assert (c >= 0).all() and (F.categorical_kl(ad.tensor(x), ad.tensor(x)).numpy() == 0).all()
    p = rng.uniform(0, 1, 5000).astype(dtype)
    q = np.clip(p * near, 0, 1).astype(dtype)
    assert (F.bernoulli_kl(ad.tensor(p), ad.tensor(q)).numpy() >= 0).all()


@pytest.mark.feature("O16")
def test_infinite_where_it_should_be() -> None:
    one, zero = ad.tensor(1.0), ad.tensor(0.0)
    assert F.gaussian_kl(zero, one, zero, zero).item() == np.inf
    assert F.gaussian_kl(zero, zero, zero, one).item() == np.inf
    assert F.gaussian_kl(zero, zero, zero, zero).item() == 0
    assert F.gaussian_kl(one, zero, zero, zero).item() == np.inf
    assert F.standard_gaussian_kl(zero, ad.tensor(-np.inf)).item() == np.inf
    assert F.bernoulli_kl(ad.tensor([0.5, 0.5, 0.0, 1.0, 0.0]), ad.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
                          ).tolist() == [np.inf, np.inf, 0, 0, np.inf]  # fmt: skip
    some, none = ad.tensor([0.0, 0.0]), ad.tensor([0.0, -np.inf])
    assert F.categorical_kl(some, none).item() == np.inf
    assert F.categorical_kl(none, some).item() == pytest.approx(np.log(2))
    assert F.categorical_kl(none, none).item() == 0


@pytest.mark.feature("O16")
def test_derivatives() -> None:
    s = RNG.uniform(0.5, 2, (2, 3, 4))
    m = floats(2, 3, 4)
    smooth(F.gaussian_kl, m[0], s[0], m[1], s[1])
    smooth(F.standard_gaussian_kl, m[0], m[1])
    smooth(F.categorical_kl, m[0], m[1])
    p = RNG.uniform(0.1, 0.9, (2, 3, 4))
    smooth(F.bernoulli_kl, p[0], p[1])
    maps(F.gaussian_kl, m[0], s[0], m[1], s[1])
    maps(F.categorical_kl, m[0], m[1])
    assert (
        F.gaussian_kl(*(ad.tensor(v) for v in (m[0], s[0], m[1], s[1])), reduction="sum").ndim == 0
    )
    # the curvature at p = q is the Fisher information, 1 / s^2 for the mean
    curve = ad.hessian(lambda a: F.gaussian_kl(a, 2.0, ad.tensor(0.0, dtype=ad.float64), 2.0))
    assert curve(ad.tensor(0.0, dtype=ad.float64)).item() == pytest.approx(0.25)
