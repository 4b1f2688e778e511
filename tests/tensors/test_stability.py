"""Sums, means and variances keep their digits."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint as ad


@pytest.mark.feature("Z8")
def test_a_variance_far_from_zero() -> None:
    x = (1e4 + np.random.default_rng(0).normal(size=(64, 256))).astype(np.float32)
    true = x.astype(np.float64).var(-1)
    ours = ad.tensor(x).var(-1, correction=0).numpy()
    np.testing.assert_allclose(ours, true, rtol=1e-3)
    one_pass = (x * x).mean(-1) - x.mean(-1) ** 2
    assert np.abs(one_pass / true - 1).max() > 0.1  # the short formula fails here


@pytest.mark.parametrize("dtype", [ad.float16, ad.bfloat16])
def test_sixteen_bit_sums_and_products_accumulate_in_float32(dtype: ad.DType) -> None:
    ones = ad.ones(5000, dtype=dtype)
    assert ones.sum().item() == pytest.approx(5000, rel=4e-3)  # 2048 or 256 if summed in 16 bits
    assert ones.mean().item() == 1.0
    assert (ones[None] @ ones[:, None]).item() == pytest.approx(5000, rel=4e-3)
    assert ones.cumsum(0)[-1].item() == pytest.approx(5000, rel=4e-3)
    grown = ad.ones(5000, 1, dtype=dtype, requires_grad=True)
    row = ad.ones(1, dtype=dtype, requires_grad=True)
    (grown * row).sum().backward()
    assert row.grad.item() == pytest.approx(5000, rel=4e-3) and row.grad.dtype is dtype
