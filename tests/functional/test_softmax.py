"""Softmax and its logarithms: PyTorch, extended precision, extreme inputs, Jacobian."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import IndexingError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional


@pytest.mark.feature("O8", "Z1", "Z2")
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_any_axis_is_pytorchs(name: str, dim: int) -> None:
    x = floats(3, 5, 4) * 4
    agree(lambda a: getattr(F, name)(a, dim), lambda a: getattr(TF, name)(a, dim), x)
    smooth(lambda a: getattr(F, name)(a, axis=dim), x)
    if dim == -1:
        maps(lambda a: getattr(F, name)(a, -1), x)


@pytest.mark.feature("Z2")
@pytest.mark.parametrize("dim", [0, -1, (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_logsumexp_is_pytorchs(dim: Any, keepdim: bool) -> None:
    x = floats(3, 5, 4) * 4
    agree(lambda a: F.logsumexp(a, dim, keepdim), lambda a: torch.logsumexp(a, dim, keepdim), x)
    smooth(lambda a: F.logsumexp(a, dim, keepdims=keepdim), x)
    if dim == -1:
        maps(lambda a: F.logsumexp(a, -1), x)


@pytest.mark.feature("O8")
def test_the_jacobian_is_diag_minus_outer_product() -> None:
    z = ad.tensor(floats(6) * 2)
    s = F.softmax(z, 0)
    wanted = np.diag(s.numpy()) - np.outer(s.numpy(), s.numpy())
    for jacobian in (
        ad.jacrev(lambda a: F.softmax(a, 0))(z),
        ad.jacfwd(lambda a: F.softmax(a, 0))(z),
    ):
        np.testing.assert_allclose(jacobian.numpy(), wanted, atol=1e-10)
    assert s.shape == z.shape


@pytest.mark.feature("O8", "Z1")
@pytest.mark.parametrize("size", [1e4, 1e38, 3.4e38])
def test_extreme_inputs_sum_to_one(size: float) -> None:
    rng = np.random.default_rng(0)
    x = ad.tensor(rng.uniform(-size, size, (20, 9)).astype(np.float32), requires_grad=True)
    for axis in (0, 1):
        s = F.softmax(x, axis)
        assert np.isfinite(s.detach().numpy()).all()
        np.testing.assert_allclose(s.detach().numpy().sum(axis), 1, atol=1e-6)
    (F.softmax(x, 1) * ad.arange(9)).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.feature("Z1")
def test_a_shift_changes_nothing() -> None:
    x = floats(4, 7)
    a, b = F.softmax(ad.tensor(x), 1), F.softmax(ad.tensor(x + 1000.0), 1)
    np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-12)


@pytest.mark.feature("Z1", "Z2")
def test_rows_with_infinities() -> None:
    row = ad.tensor([[0.0, -np.inf, 1.0], [-np.inf, -np.inf, 5.0]], requires_grad=True)
    np.testing.assert_allclose(
        F.softmax(row, 1).detach().numpy(),
        torch.softmax(torch.tensor(row.tolist()), 1), rtol=1e-6,
    )  # fmt: skip
    F.softmax(row, 1)[:, 2].sum().backward()
    assert np.isfinite(row.grad.numpy()).all() and row.grad.numpy()[1].tolist() == [0, 0, 0]
    # documented: a slice that is -inf throughout has no softmax
    nothing = ad.full((1, 3), -np.inf)
    for name in ("softmax", "log_softmax"):
        ours, theirs = (
            getattr(F, name)(nothing, 1),
            getattr(TF, name)(torch.full((1, 3), -np.inf), 1),
        )
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.feature("Z2")
def test_logsumexp_of_infinities() -> None:
    x = ad.tensor([[-np.inf] * 3, [np.inf, 0.0, -np.inf], [0.0, 1.0, -np.inf]], requires_grad=True)
    out = F.logsumexp(x, 1)
    assert out.tolist()[:2] == [-np.inf, np.inf]
    out.sum().backward()
    share = np.exp([0, 1]) / np.exp([0, 1]).sum()
    np.testing.assert_allclose(x.grad.numpy(), [[0] * 3, [1, 0, 0], [*share, 0]], rtol=1e-6)
    assert F.logsumexp(ad.zeros(2, 0), 1).tolist() == [-np.inf] * 2


@pytest.mark.feature("Z2")
@pytest.mark.parametrize("span", [1.0, 100.0, 1e4])
def test_accuracy_against_extended_precision(span: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-span, span, (200, 30)).astype(np.float32)
    wide = x.astype(np.longdouble)
    top = wide.max(1, keepdims=True)
    true = np.log(np.exp(wide - top).sum(1)) + top[:, 0]
    scale = np.maximum(np.abs(true), 1)
    ours = F.logsumexp(ad.tensor(x), 1).numpy()
    assert (np.abs(ours - true) / scale).max() < 1e-6
    logs = F.log_softmax(ad.tensor(x), 1).numpy()
    assert (np.abs(logs - (wide - true[:, None])) / np.maximum(np.abs(logs), 1)).max() < 1e-6
    z = ad.tensor(x, requires_grad=True)
    F.logsumexp(z, 1).sum().backward()
    np.testing.assert_allclose(
        z.grad.numpy(), np.exp(wide - true[:, None]).astype(float), atol=1e-6
    )


@pytest.mark.feature("Z3")
def test_overflow_facts() -> None:
    assert ad.exp(ad.tensor(100.0)).item() == np.inf
    assert ad.exp(ad.tensor(100.0, dtype=ad.float64)).item() == pytest.approx(2.688e43, rel=1e-3)
    assert ad.exp(ad.tensor(12.0, dtype=ad.float16)).item() == np.inf


@pytest.mark.parametrize("dtype", [ad.float16, ad.bfloat16])
def test_sixteen_bits_sum_in_float32(dtype: ad.DType) -> None:
    x = ad.zeros(1, 5000, dtype=dtype)
    assert F.softmax(x, 1).dtype is dtype
    assert F.logsumexp(x, 1).item() == pytest.approx(np.log(5000), rel=4e-3)


def test_numbers_integers_empty_and_default_axes() -> None:
    assert F.softmax(ad.tensor(3.0), 0).item() == 1.0
    assert F.log_softmax(ad.tensor(3.0), -1).item() == 0.0
    assert F.softmax(ad.tensor([1, 1]), 0).tolist() == [0.5, 0.5]
    assert F.softmax(ad.zeros(0, 3), 1).shape == (0, 3)
    assert F.softmax(ad.zeros(3, 0), 1).shape == (3, 0)
    with pytest.warns(UserWarning):
        for shape in ((4,), (4, 3), (4, 3, 2), (4, 3, 2, 2)):
            x = floats(*shape)
            theirs = TF.softmax(torch.tensor(x), dim=None).numpy()
            np.testing.assert_allclose(F.softmax(ad.tensor(x)).numpy(), theirs)
    assert F.softmax(ad.tensor([1.0, 2.0]), 0, dtype=ad.float64).dtype is ad.float64
    with pytest.raises(IndexingError):
        F.softmax(ad.zeros(2, 3), 2)
