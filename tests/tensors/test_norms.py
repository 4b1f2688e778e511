"""Norms and distances: against PyTorch and NumPy, and their gradients at 0."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import linalg
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from tests.tensors.twins import agree, floats, numbers, smooth

ORDERS = [0.5, 1, 2, 3, inf]


@pytest.mark.feature("O32")
@pytest.mark.parametrize("p", [*ORDERS, 0, 2.5, -1, -inf, -2])
@pytest.mark.parametrize("dim", [None, 0, -1, (0, 1)])
def test_vector_norm(p: float, dim: Any) -> None:
    x = floats(2, 3, 4)
    agree(lambda t: linalg.vector_norm(t, p, dim), lambda t: torch.linalg.vector_norm(t, p, dim), x)
    np.testing.assert_allclose(
        numbers(linalg.vector_norm(ad.tensor(x), p, axis=dim, keepdims=True)),
        torch.linalg.vector_norm(torch.tensor(x), p, dim, keepdim=True).numpy(),
    )
    np.testing.assert_allclose(
        linalg.vector_norm(ad.tensor(x), p).item(), np.linalg.norm(x.ravel(), p)
    )
    if p != 0:
        smooth(lambda t: linalg.vector_norm(t, p, dim), x)


@pytest.mark.feature("O32")
@pytest.mark.parametrize("p", [*ORDERS, 0, 2.5])
def test_the_gradient_of_a_norm_at_zero_is_zero(p: float) -> None:
    for start in (np.zeros(4), np.array([0.0, 3.0, 0.0, -4.0])):
        x = ad.tensor(start, requires_grad=True)
        linalg.vector_norm(x, p).backward()
        assert x.grad is not None
        assert np.isfinite(numbers(x.grad)).all()
        assert not numbers(x.grad)[start == 0].any() or (p == inf and not start.any())
        second = ad.hessian(lambda t: linalg.vector_norm(t, p))(ad.tensor(start))
        assert np.isfinite(numbers(second)).all()
    zero = ad.tensor(np.zeros((2, 2)), requires_grad=True)
    zero.norm().backward()
    assert zero.grad is not None and not numbers(zero.grad).any()


@pytest.mark.feature("O32")
@pytest.mark.parametrize("p", ["fro", "nuc", 0.5, 1, 2, 3, inf])
def test_norm_is_pytorchs(p: Any) -> None:
    x = floats(3, 4)
    agree(lambda t: ad.norm(t, p), lambda t: torch.norm(t, p), x)
    agree(lambda t: t.norm(p), lambda t: t.norm(p), x)
    if p != "nuc":
        agree(lambda t: t.norm(p, 1, True), lambda t: t.norm(p, 1, True), x)
        agree(lambda t: t.norm(p, dim=(0, 1)), lambda t: t.norm(p, dim=(0, 1)), x)


@pytest.mark.parametrize("p", [None, "fro", "nuc", 1, -1, 2, -2, inf, -inf])
def test_matrix_norms(p: Any) -> None:
    x = floats(2, 3, 4)
    if p is not None:
        agree(lambda t: linalg.matrix_norm(t, p), lambda t: torch.linalg.matrix_norm(t, p), x)
        agree(
            lambda t: linalg.norm(t, p, (0, 2), True),
            lambda t: torch.linalg.norm(t, p, (0, 2), True), x,
        )  # fmt: skip
        smooth(lambda t: linalg.matrix_norm(t, p), x)
    agree(lambda t: linalg.norm(t[0], p), lambda t: torch.linalg.norm(t[0], p), x)
    if p not in ("fro", "nuc"):
        agree(lambda t: linalg.norm(t, p, 1), lambda t: torch.linalg.norm(t, p, 1), x)
        agree(lambda t: linalg.norm(t[0, 0], p), lambda t: torch.linalg.norm(t[0, 0], p), x)


def test_norms_of_short_floats_do_not_overflow() -> None:
    assert ad.full((4,), 300.0, dtype=ad.float16).norm().item() == 600
    assert ad.full((4,), 300.0).bfloat16().norm().dtype is ad.bfloat16


def test_norm_errors() -> None:
    with pytest.raises(DTypeError, match="float"):
        ad.norm(ad.tensor([1, 2]))
    assert ad.norm(ad.tensor([3, 4]), dtype=ad.float32).item() == 5
    with pytest.raises(ArgumentError, match="is a number"):
        linalg.vector_norm(ad.ones(2), "fro")
    with pytest.raises(ArgumentError, match="matrix_norm ord"):
        linalg.matrix_norm(ad.ones(2, 2), 3)
    with pytest.raises(ArgumentError, match="two axes"):
        linalg.matrix_norm(ad.ones(2, 2), dim=(0,))
    with pytest.raises(ShapeError, match="vector or a matrix"):
        linalg.norm(ad.ones(2, 2, 2), 2)
    with pytest.raises(ShapeError, match="no elements"):
        linalg.vector_norm(ad.zeros(0), inf)
    assert linalg.vector_norm(ad.zeros(0)).item() == 0


@pytest.mark.parametrize("p", [0.5, 1, 2, 3, inf])
def test_cdist_and_dist(p: float) -> None:
    for rows, others in (
        (floats(4, 3), floats(5, 3, seed=1)),
        (floats(2, 5, 3, seed=1), floats(2, 5, 3)),
    ):
        agree(lambda a, b: ad.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), rows, others)
        agree(lambda a, b: ad.dist(a, b, p), lambda a, b: torch.dist(a, b, p), rows[:2], others[:2])


def test_cdist_by_products() -> None:
    x, y = floats(30, 4), floats(6, 4, seed=1)
    agree(ad.cdist, torch.cdist, x, y)
    exact = ad.cdist(ad.tensor(x), ad.tensor(y), compute_mode="donot_use_mm_for_euclid_dist")
    np.testing.assert_allclose(numbers(ad.cdist(ad.tensor(x), ad.tensor(y))), numbers(exact))
    same = ad.tensor(x[:4], requires_grad=True)
    ad.cdist(same, same).sum().backward()
    assert same.grad is not None and np.isfinite(numbers(same.grad)).all()
    with pytest.raises(ShapeError, match="one length"):
        ad.cdist(ad.ones(2, 3), ad.ones(2, 4))
    with pytest.raises(ArgumentError, match="compute_mode"):
        ad.cdist(ad.ones(2, 3), ad.ones(2, 3), compute_mode="fast")
