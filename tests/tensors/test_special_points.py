"""Derivatives, first and second, where a formula divides 0 by 0 or subtracts infinities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import adjoint as ad

INF = math.inf
POINTS: list[tuple[str, Callable[..., Any], tuple[float, ...], tuple[float, ...]]] = [
    ("abs at 0", ad.abs, (0.0,), (0.0,)),
    ("x ** 0 at 0", lambda x: x**0, (0.0,), (0.0,)),
    ("x ** 1 at 0", lambda x: x**1, (0.0,), (1.0,)),
    ("x ** 2 at 0", lambda x: x**2, (0.0,), (0.0,)),
    ("x ** 3.0 at 0", lambda x: x**3.0, (0.0,), (0.0,)),
    ("x ** 1.5 at 0", lambda x: x**1.5, (0.0,), (0.0,)),
    ("x ** y at 0, 0", ad.pow, (0.0, 0.0), (0.0, 0.0)),
    ("x ** y at 0, 2", ad.pow, (0.0, 2.0), (0.0, 0.0)),
    ("x ** y at 0, 1", ad.pow, (0.0, 1.0), (1.0, 0.0)),
    ("x ** y at 3, 0", ad.pow, (3.0, 0.0), (0.0, math.log(3.0))),
    ("x ** y at -2, 2", lambda x, y: ad.pow(x, y.detach()), (-2.0, 2.0), (-4.0, 0.0)),
    ("2 ** y at 0", lambda y: 2**y, (0.0,), (math.log(2.0),)),
    ("0 ** y at 2", lambda y: 0.0**y, (2.0,), (0.0,)),
    ("hypot at 0, 0", ad.hypot, (0.0, 0.0), (0.0, 0.0)),
    ("atan2 at 0, 0", ad.atan2, (0.0, 0.0), (0.0, 0.0)),
    ("xlogy at 0, 0", ad.xlogy, (0.0, 0.0), (0.0, 0.0)),
    ("xlogy at 0, 2", ad.xlogy, (0.0, 2.0), (math.log(2.0), 0.0)),
    ("logaddexp at -inf, -inf", ad.logaddexp, (-INF, -INF), (0.5, 0.5)),
    ("logaddexp at inf, 0", ad.logaddexp, (INF, 0.0), (1.0, 0.0)),
    ("logaddexp at 0, -inf", ad.logaddexp, (0.0, -INF), (1.0, 0.0)),
    ("copysign at 0", lambda x: ad.copysign(x, -1.0), (0.0,), (0.0,)),
    ("clamp at its lower bound", lambda x: ad.clamp(x, 0.0, 1.0), (0.0,), (1.0,)),
    ("clamp at its upper bound", lambda x: ad.clamp(x, 0.0, 1.0), (1.0,), (1.0,)),
    ("clamp outside", lambda x: ad.clamp(x, 0.0, 1.0), (2.0,), (0.0,)),
    ("clamp of infinity", lambda x: ad.clamp(x, 0.0, 1.0), (INF,), (0.0,)),
    ("sigmoid far left", ad.sigmoid, (-1e4,), (0.0,)),
    ("sigmoid far right", ad.sigmoid, (1e4,), (0.0,)),
    ("tanh far right", ad.tanh, (1e4,), (0.0,)),
    ("log1p at 0", ad.log1p, (0.0,), (1.0,)),
    ("expm1 at 0", ad.expm1, (0.0,), (1.0,)),
    ("expm1 far left", ad.expm1, (-1e4,), (0.0,)),
    ("sinh at 0", ad.sinh, (0.0,), (1.0,)),
    ("asinh at 0", ad.asinh, (0.0,), (1.0,)),
    ("asinh far right", ad.asinh, (1e200,), (1e-200,)),
    ("atanh at 0", ad.atanh, (0.0,), (1.0,)),
    ("asin at 0", ad.asin, (0.0,), (1.0,)),
    ("erfc far right", ad.erfc, (1e3,), (0.0,)),
    ("erfinv at 0", ad.erfinv, (0.0,), (math.sqrt(math.pi) / 2,)),
    ("lgamma at 1", ad.lgamma, (1.0,), (-0.5772156649015329,)),
    ("nan_to_num of NaN", ad.nan_to_num, (math.nan,), (0.0,)),
    ("nan_to_num of inf", ad.nan_to_num, (INF,), (0.0,)),
    ("fmod", ad.fmod, (-7.5, 2.0), (1.0, 3.0)),
    ("maximum at a tie", ad.maximum, (1.0, 1.0), (0.5, 0.5)),
    ("std of equal values", lambda x: ad.std(ad.stack([x, x, x])), (2.0,), (0.0,)),
]  # fmt: skip


@pytest.mark.feature("Z5")
@pytest.mark.parametrize(
    ("function", "point", "expected"), [p[1:] for p in POINTS], ids=[p[0] for p in POINTS]
)
def test_derivatives_at_special_points(
    function: Callable[..., Any], point: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    xs = [ad.tensor(p, dtype="float64") for p in point]
    places = tuple(range(len(xs)))
    first = ad.grad(lambda *a: function(*a), places)(*xs)
    np.testing.assert_allclose([float(g) for g in first], expected, rtol=1e-12, atol=1e-300)


SECOND: list[tuple[str, Callable[[Any], Any], float, float]] = [
    ("abs", ad.abs, 0.0, 0.0),
    ("square", ad.square, 0.0, 2.0),
    ("x ** 2", lambda x: x**2, 0.0, 2.0),
    ("x ** 2.0 as a tensor power", lambda x: ad.pow(x, ad.tensor(2.0, dtype="float64")), 0.0, 2.0),
    ("x ** 3", lambda x: x**3, 0.0, 0.0),
    ("x ** 5", lambda x: x**5, 0.0, 0.0),
    ("x ** 1", lambda x: x**1, 0.0, 0.0),
    ("x ** 1 as a tensor power", lambda x: ad.pow(x, ad.tensor(1.0, dtype="float64")), 0.0, 0.0),
    ("2 ** y", lambda y: 2**y, 0.0, math.log(2.0) ** 2),
    ("0 ** y", lambda y: 0.0**y, 2.0, 0.0),
    ("exp2", ad.exp2, 0.0, math.log(2.0) ** 2),
    ("log1p", ad.log1p, 0.0, -1.0),
    ("expm1", ad.expm1, 0.0, 1.0),
    ("sinh", ad.sinh, 0.0, 0.0),
    ("cosh", ad.cosh, 0.0, 1.0),
    ("asinh", ad.asinh, 0.0, 0.0),
    ("atanh", ad.atanh, 0.0, 0.0),
    ("asin", ad.asin, 0.0, 0.0),
    ("tan", ad.tan, 0.0, 0.0),
    ("sigmoid", ad.sigmoid, 0.0, 0.0),
    ("sigmoid far left", ad.sigmoid, -1e4, 0.0),
    ("erfinv", ad.erfinv, 0.0, 0.0),
    ("digamma", lambda x: ad.lgamma(x), 1.0, math.pi**2 / 6),
    ("lgamma below 0", ad.lgamma, -1.5, float(scipy.special.polygamma(1, -1.5))),
    ("clamp", lambda x: ad.clamp(x * x, 0.0, 1.0), 0.0, 2.0),
    ("clamp between tensors", lambda x: ad.clamp(x * x, x * 0, x * 0 + 1), 0.0, 2.0),
    ("logaddexp", lambda x: ad.logaddexp(x, -x), 0.0, 1.0),
    ("logaddexp at -inf", lambda x: ad.logaddexp(x, x), -INF, 0.0),
    ("xlogy", lambda x: ad.xlogy(x * x, 2.0), 0.0, 2 * math.log(2.0)),
    ("xlogy at 0, 0", lambda x: ad.xlogy(x, x), 0.0, 0.0),
    ("hypot with 1", lambda x: ad.hypot(x, 1.0), 0.0, 1.0),
    ("atan2 with 1", lambda x: ad.atan2(x, 1.0), 0.0, 0.0),
    ("copysign", lambda x: ad.copysign(x, 1.0), 0.0, 0.0),
    ("frac", lambda x: ad.frac(x) ** 2, 1.0, 2.0),
]  # fmt: skip


@pytest.mark.feature("T16", "Z5")
@pytest.mark.parametrize(
    ("function", "point", "expected"), [p[1:] for p in SECOND], ids=[p[0] for p in SECOND]
)
def test_second_derivatives_at_special_points(
    function: Callable[[Any], Any], point: float, expected: float
) -> None:
    x = ad.tensor(point, dtype="float64")
    found = ad.grad(ad.grad(function))(x)
    np.testing.assert_allclose(float(found), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("function", [ad.hypot, ad.atan2, ad.pow, ad.xlogy, ad.logaddexp])
def test_no_second_derivative_at_the_origin_is_nan(function: Callable[..., Any]) -> None:
    point = ad.tensor([0.0, 0.0], dtype="float64")
    found = ad.hessian(lambda v: function(v[0], v[1]))(point).numpy()
    finite = found if function is not ad.xlogy else found[np.isfinite(found)]
    assert np.isfinite(finite).all()
