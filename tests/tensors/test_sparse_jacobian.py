"""Sparse Jacobians equal dense ones, with few passes however large the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError
from adjoint.nn import functional as F

RNG = np.random.default_rng(0)


def band(x: Any) -> Any:
    """Each result depends on its argument and two on either side."""
    p = F.pad(x, (2, 2))
    n = x.shape[0]
    terms = (ad.sin(p[k : k + n]) * (k + 1) + p[k : k + n] * x for k in range(1, 5))
    return sum(terms, ad.exp(p[:n]))


@pytest.mark.feature("T12")
def test_a_band_of_ten_thousand() -> None:
    found = ad.sparse_jacobian(band, ad.tensor(RNG.normal(size=10_000)))
    assert found.passes <= 5 and found.nnz <= 50_000 and found.shape == (10_000, 10_000)
    assert np.abs(found.rows - found.columns).max() == 2


@pytest.mark.feature("T12")
def test_the_band_equals_the_dense_jacobian() -> None:
    x = ad.tensor(RNG.normal(size=200))
    found = ad.sparse_jacobian(band, x)
    np.testing.assert_allclose(found.to_dense().numpy(), ad.jacrev(band)(x).numpy(), rtol=1e-12)
    assert found.passes == 5


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], int]] = {
    "each by itself": (lambda x: x**3 + 1, (6,), 1),
    "reversed and rolled": (lambda x: ad.roll(ad.flip(x, (0,)), 2) * x, (7,), 7),
    "sums of rows": (lambda x: (x * x).sum(1), (4, 3), 3),
    "differences": (lambda x: x[1:] - x[:-1], (9,), 2),
    "transposed and joined": (lambda x: ad.cat([x.T, ad.ones(2, 3)]).tanh(), (3, 2), 1),
    "chosen": (lambda x: x[ad.tensor([3, 3, 0, 5])] * 2.0, (6,), 1),
    "by value": (lambda x: ad.where(x > 0, x, x * x).relu(), (8,), 1),
    "mixed": (lambda x: x @ ad.ones(4, 2, dtype="float64"), (3, 4), 12),
    "regions": (lambda x: F.gelu(x) + F.softplus(x.flip(0)), (8,), 2),
    "softmax of rows": (lambda x: F.softmax(x, 1), (3, 4), 4),
    "constant": (lambda x: ad.ones(3, dtype="float64") + (x * 0).detach()[:3], (5,), 1),
}


@pytest.mark.feature("T12")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_patterns(name: str) -> None:
    function, shape, most = FUNCTIONS[name]
    x = ad.tensor(RNG.normal(size=shape))
    found = ad.sparse_jacobian(function, x)
    dense = ad.jacrev(function)(x).numpy().reshape(found.shape)
    np.testing.assert_allclose(found.to_dense().numpy(), dense, rtol=1e-12, atol=1e-14)
    assert found.passes <= most


def test_what_is_not_sparse() -> None:
    with pytest.raises(ArgumentError, match="not sparse"):
        ad.sparse_jacobian(lambda x: x * x.sum(), ad.zeros(20_000))
    with pytest.raises(DTypeError):
        ad.sparse_jacobian(lambda x: 3, ad.zeros(2))
