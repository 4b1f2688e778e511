"""Methods of Tensor in place: the tensor, its views and its sources change."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint as ad

VALUES = np.random.default_rng(2).uniform(0.05, 0.95, 40)
IN_PLACE = [
    "abs_", "sign_", "reciprocal_", "sqrt_", "rsqrt_", "exp_", "exp2_", "expm1_", "log_", "log2_",
    "log10_", "log1p_", "sin_", "cos_", "tan_", "asin_", "acos_", "atan_", "sinh_", "cosh_",
    "tanh_", "asinh_", "atanh_", "floor_", "ceil_", "trunc_", "round_", "frac_", "square_",
    "sigmoid_", "logit_", "erf_", "erfc_", "erfinv_", "lgamma_", "digamma_", "nan_to_num_", "neg_",
]  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_methods_in_place_change_the_tensor_and_its_views(name: str) -> None:
    x = ad.tensor(VALUES)
    expected = getattr(x, name[:-1])().numpy()
    row = x[3:7]
    assert getattr(x, name)() is x
    np.testing.assert_array_equal(x.numpy(), expected)
    y = ad.tensor(VALUES)
    row = y[3:7]
    getattr(row, name)()
    np.testing.assert_array_equal(y.numpy()[3:7], expected[3:7])


def test_methods_in_place_with_arguments() -> None:
    x = ad.tensor([1.0, -2.0, 3.0])
    assert x.clamp_(-1, 2).tolist() == [1.0, -1.0, 2.0]
    assert x.pow_(2).tolist() == [1.0, 1.0, 4.0]
    assert x.lerp_(ad.zeros(3), 0.5).tolist() == [0.5, 0.5, 2.0]
    assert x.addcmul_(x, x, value=2).tolist() == [1.0, 1.0, 10.0]
    assert x.addcdiv_(x, x).tolist() == [2.0, 2.0, 11.0]
    assert x.copysign_(-1.0).tolist() == [-2.0, -2.0, -11.0]
    assert x.fmod_(3).tolist() == [-2.0, -2.0, -2.0]
    n = ad.tensor([6, 7])
    n //= 2
    n **= 2
    n %= 8
    n <<= 1
    n |= 1
    n &= 7
    n ^= 2
    assert n.tolist() == [1, 1]
    assert ad.tensor([True]).logical_and_(ad.tensor([False])).tolist() == [False]
