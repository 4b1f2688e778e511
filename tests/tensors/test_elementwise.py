"""Functions of each element: torch forward and backward, NumPy at special values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.testing import gradcheck

Array = np.ndarray[Any, np.dtype[Any]]

UNARY = {
    "abs": "real", "sign": "real", "reciprocal": "positive", "sqrt": "positive",
    "rsqrt": "positive", "square": "real", "exp": "real", "exp2": "real", "expm1": "real",
    "log": "positive", "log2": "positive", "log10": "positive", "log1p": "positive",
    "sin": "real", "cos": "real", "tan": "unit", "asin": "unit", "acos": "unit", "atan": "real",
    "sinh": "real", "cosh": "real", "tanh": "real", "asinh": "real", "acosh": "above one",
    "atanh": "unit", "deg2rad": "real", "rad2deg": "real", "floor": "real", "ceil": "real",
    "trunc": "real", "round": "real", "frac": "real", "sigmoid": "real", "logit": "probability",
    "erf": "real", "erfc": "real", "erfinv": "unit", "lgamma": "positive", "digamma": "positive",
    "nan_to_num": "real",
}  # fmt: skip
BINARY = {
    "atan2": ("real", "real"), "hypot": ("real", "real"), "logaddexp": ("real", "real"),
    "copysign": ("real", "real"), "pow": ("positive", "real"), "fmod": ("real", "positive"),
    "remainder": ("real", "positive"), "xlogy": ("real", "positive"),
    "maximum": ("real", "real"), "minimum": ("real", "real"), "mul": ("real", "real"),
    "div": ("real", "positive"),
}  # fmt: skip
STEPS = {"sign", "floor", "ceil", "trunc", "round"}
DTYPES = ["float64", "float32", "float16", "bfloat16"]
FORWARD = {"float64": 1e-13, "float32": 4e-6, "float16": 3e-3, "bfloat16": 2e-2}
BACKWARD = {"float64": 1e-12, "float32": 2e-5, "float16": 2e-2, "bfloat16": 1e-1}
# torch's own float32 or half formulas are less exact than ours here; float64 is the oracle
COARSE = {"erfinv": 30, "lgamma": 10, "digamma": 10, "atanh": 4, "acosh": 4, "pow": 3, "logit": 10}


def sample(domain: str, seed: int, shape: tuple[int, ...] = (40,)) -> Array:
    rng = np.random.default_rng(seed)
    if domain == "unit":
        return rng.uniform(-0.9, 0.9, shape)
    if domain == "probability":
        return rng.uniform(0.05, 0.95, shape)
    x = rng.normal(size=shape) * 1.5
    if domain == "positive":
        return np.exp(x * 0.5)
    return 1.1 + np.exp(x) if domain == "above one" else x


def as_torch(x: Any) -> torch.Tensor:
    """The same values as a torch tensor that requires grad."""
    wide = torch.tensor(x.detach().numpy().astype(np.float64))
    return wide.to(getattr(torch, x.dtype.name)).requires_grad_()


def compare(ours: Any, oracle: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == tuple(oracle.shape)
    assert f"torch.{ours.dtype.name}" == str(oracle.dtype)
    np.testing.assert_allclose(
        ours.detach().numpy().astype(np.float64), oracle.detach().to(torch.float64).numpy(),
        rtol=tolerance, atol=tolerance,
    )  # fmt: skip


def check_against_torch(name: str, domains: tuple[str, ...], dtype: str) -> None:
    xs = [
        ad.tensor(sample(d, seed), dtype=dtype, requires_grad=True)
        for seed, d in enumerate(domains)
    ]
    ts = [as_torch(x) for x in xs]
    ours, oracle = getattr(ad, name)(*xs), getattr(torch, name)(*ts)
    factor = COARSE.get(name, 1)
    compare(ours, oracle, factor * FORWARD[dtype])
    if not oracle.requires_grad:
        return
    if (name, dtype) == ("digamma", "float64"):
        return  # torch's derivative of it is exact to 1e-9 only; scipy's is compared below
    weight = ad.tensor(sample("real", 9), dtype=dtype)
    (ours * weight).sum().backward()
    (oracle * as_torch(weight).detach()).sum().backward()
    for x, t in zip(xs, ts, strict=True):
        compare(x.grad, t.grad, factor * BACKWARD[dtype])


@pytest.mark.feature("T6", "Z9")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_tensor_match_torch(name: str, dtype: str) -> None:
    check_against_torch(name, (UNARY[name],), dtype)


@pytest.mark.feature("T6", "Z9")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_tensors_match_torch(name: str, dtype: str) -> None:
    check_against_torch(name, BINARY[name], dtype)


@pytest.mark.feature("T16")
@pytest.mark.parametrize("name", sorted({*UNARY, *BINARY} - STEPS - {"digamma"}))
def test_second_derivatives_match_torch(name: str) -> None:
    domains = BINARY.get(name) or (UNARY[name],)
    xs = [ad.tensor(sample(d, 3 + i), dtype="float64") for i, d in enumerate(domains)]
    ts = [as_torch(x) for x in xs]
    oracle = getattr(torch, name)(*ts)
    first = torch.autograd.grad((oracle**2).sum(), ts, create_graph=True)
    second = torch.autograd.grad(sum((g**2).sum() for g in first), ts)

    def norm(*args: Any) -> Any:
        grads = ad.grad(lambda *a: (getattr(ad, name)(*a) ** 2).sum(), tuple(range(len(args))))
        return sum((g**2).sum() for g in grads(*args))

    found = ad.grad(norm, tuple(range(len(xs))))(*xs)
    for ours, theirs in zip(found, second, strict=True):
        compare(ours, theirs, 1e-10 * COARSE.get(name, 1))


@pytest.mark.feature("T21")
@pytest.mark.parametrize("name", sorted({*UNARY, *BINARY} - STEPS))
def test_gradcheck_passes_to_order_two(name: str) -> None:
    domains = BINARY.get(name) or (UNARY[name],)
    xs = [ad.tensor(sample(d, 5 + i, (5,)), dtype="float64") for i, d in enumerate(domains)]
    assert gradcheck(getattr(ad, name), xs, order=2, rtol=1e-5, atol=1e-5)


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, -1.5, 2.5, 1e-8, -1e-8, 1e-30,
     3.0, -3.0, 50.0, -50.0, 1e4, -1e4, 1e30]
)  # fmt: skip
NUMPY_NAMES = {
    **{n: n for n in UNARY if hasattr(np, n)}, "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "isnan": "isnan", "isinf": "isinf",
    "isfinite": "isfinite", "signbit": "signbit", "isposinf": "isposinf", "isneginf": "isneginf",
    "negative": "negative", "absolute": "absolute", "fix": "fix",
}  # fmt: skip


def same(found: Array, expected: Array) -> None:
    """Equal to 2 ulp, with equal NaNs, infinities and signs of zero."""
    assert found.dtype == expected.dtype
    if expected.dtype.kind == "f":
        finite = np.isfinite(expected)
        with np.errstate(over="ignore"):
            np.testing.assert_array_almost_equal_nulp(found[finite], expected[finite], nulp=2)
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(found), ~number)
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))
        np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.feature("O1")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_special_values_of_one_argument_are_numpys(name: str, dtype: str) -> None:
    x = SPECIAL.astype(dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, NUMPY_NAMES[name])(x)
    same(getattr(ad, name)(ad.tensor(x)).numpy(), expected)


@pytest.mark.feature("O1")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name",
    ["arctan2", "hypot", "logaddexp", "copysign", "nextafter", "heaviside", "fmod", "maximum",
     "minimum", "floor_divide", "remainder", "power"],
)  # fmt: skip
def test_special_values_of_two_arguments_are_numpys(name: str, dtype: str) -> None:
    x, y = (a.ravel() for a in np.meshgrid(SPECIAL.astype(dtype), SPECIAL.astype(dtype)))
    if name in ("maximum", "minimum"):
        distinct = ~((x == 0) & (y == 0))  # NumPy itself does not say which zero it takes
        x, y = x[distinct], y[distinct]
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    ours = ad.pow if name == "power" else getattr(ad, name)
    same(ours(ad.tensor(x), ad.tensor(y)).numpy(), expected)


@pytest.mark.feature("O1")
@pytest.mark.parametrize("name", ["erf", "erfc", "erfinv", "lgamma", "digamma", "sigmoid", "logit"])
def test_special_functions_match_scipy(name: str) -> None:
    oracle = {
        "lgamma": scipy.special.gammaln, "sigmoid": scipy.special.expit,
    }.get(name) or getattr(scipy.special, name)  # fmt: skip
    x = np.concatenate(
        [np.linspace(-30, 30, 2001) + 1e-3, np.linspace(-1, 1, 401), [1e-9, 1e9, np.nan, np.inf]]
    )
    found = getattr(ad, name)(ad.tensor(x)).numpy()
    with np.errstate(all="ignore"):
        expected = oracle(x)
    np.testing.assert_allclose(
        found, expected, rtol=1e-12, atol=1e-13 if name in ("lgamma", "digamma") else 1e-300
    )
    narrow = getattr(ad, name)(ad.tensor(x, dtype="float32")).numpy()
    with np.errstate(all="ignore"):
        expected = oracle(x.astype(np.float32).astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(narrow, expected, rtol=2e-6, atol=1e-37)


def test_derivatives_of_lgamma_match_scipy() -> None:
    x = np.concatenate([np.linspace(-5.9, 12, 60), [1e-3, 1e3]])
    third = ad.vmap(ad.grad(ad.grad(ad.grad(ad.lgamma))))(ad.tensor(x))
    np.testing.assert_allclose(
        third.numpy()[x > 0], scipy.special.polygamma(2, x[x > 0]), rtol=1e-9
    )
    second = ad.vmap(ad.grad(ad.digamma))(ad.tensor(x))
    mirrored = np.pi**2 / np.sin(np.pi * x) ** 2 - scipy.special.polygamma(1, 1 - x)
    expected = np.where(x > 0, scipy.special.polygamma(1, np.abs(x)), mirrored)
    np.testing.assert_allclose(second.numpy(), expected, rtol=1e-11)


@pytest.mark.feature("O3")
def test_sigmoid_does_not_overflow_and_is_exact() -> None:
    x = np.concatenate([np.linspace(-40, 40, 4001), [-1e4, 1e4, -88.0, 88.0]]).astype(np.float32)
    t = ad.tensor(x, requires_grad=True)
    out = ad.sigmoid(t)
    wide = scipy.special.expit(x.astype(np.float64))
    assert np.abs(out.detach().numpy() - wide).max() <= 1e-7
    out.sum().backward()
    assert np.abs(t.grad.numpy() - wide * (1 - wide)).max() <= 1e-7
    half = ad.sigmoid(ad.tensor([-1e4, -12.0, 12.0, 6e4], dtype="float16")).numpy()
    np.testing.assert_allclose(half, scipy.special.expit([-1e4, -12.0, 12.0, 6e4]), rtol=3e-2)


@pytest.mark.feature("O5")
def test_tanh_is_exact() -> None:
    x = np.concatenate([np.linspace(-20, 20, 4001), np.logspace(-20, 1, 200)])
    exact = np.tanh(x.astype(np.longdouble)).astype(np.float64)
    assert np.abs(ad.tanh(ad.tensor(x)).numpy() - exact).max() <= 1e-15
    assert np.abs(ad.tanh(ad.tensor(x, dtype="float32")).numpy() - np.tanh(x)).max() <= 1.5e-7


@pytest.mark.feature("O37")
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sine_and_cosine_reduce_large_arguments(name: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-1e4, 1e4, 50_000), np.arange(-6000, 6000) * np.pi / 2])
    x = np.clip(x, -1e4, 1e4).astype(np.float32)
    t = ad.tensor(x, requires_grad=True)
    out = getattr(ad, name)(t)
    out.sum().backward()
    value, slope = (np.sin, np.cos) if name == "sin" else (np.cos, lambda v: -np.sin(v))
    wide = x.astype(np.float64)
    assert np.abs(out.detach().numpy() - value(wide)).max() <= 1e-6
    assert np.abs(t.grad.numpy() - slope(wide)).max() <= 1e-6


@pytest.mark.feature("Z3")
def test_overflow_gives_inf_and_never_nan() -> None:
    assert ad.exp(ad.tensor(100.0)).item() == math.inf
    assert ad.exp(ad.tensor(100.0, dtype="float64")).item() == math.exp(100)
    assert ad.exp(ad.tensor(12.0, dtype="float16")).item() == math.inf
    assert ad.exp2(ad.tensor([-200.0, 128.0])).tolist() == [0.0, math.inf]


# --- powers -------------------------------------------------------------------------------------


@pytest.mark.feature("O1")
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 7, -1, -2, -3, 0.5, -0.5, 1.5, 2.0, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_to_a_number_match_torch(exponent: float, dtype: str) -> None:
    x = ad.tensor(sample("positive", 1), dtype=dtype, requires_grad=True)
    t = as_torch(x)
    ours, oracle = x**exponent, t ** float(exponent)
    compare(ours, oracle, 3 * FORWARD[dtype])
    ours.sum().backward()
    oracle.sum().backward()
    compare(x.grad, t.grad, 3 * BACKWARD[dtype])


@pytest.mark.feature("O1")
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint16"])
def test_integer_powers_are_exact(dtype: str) -> None:
    x = np.array([0, 1, 2, 3, 7, 11] if dtype.startswith("u") else [0, 1, -1, 2, -3, 7], dtype)
    for exponent in (0, 1, 2, 3, 4, 5, 13):
        found = (ad.tensor(x) ** exponent).numpy()
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, x ** np.array(exponent, dtype))
        np.testing.assert_array_equal(
            ad.pow(ad.tensor(x), ad.full((6,), exponent, dtype=dtype)), found
        )
    np.testing.assert_array_equal(
        (2 ** ad.tensor(x[:3])).numpy(), np.array(2, dtype) ** np.abs(x[:3])
    ) if dtype.startswith("u") else None
    assert (ad.tensor(x) ** 2.0).dtype is ad.float32
    with pytest.raises(ArgumentError, match="negative power"):
        ad.tensor(x) ** -1
    if not dtype.startswith("u"):
        with pytest.raises(ArgumentError, match="negative power"):
            ad.tensor(x) ** ad.full((6,), -2, dtype=dtype)
    with pytest.raises(DTypeError):
        ad.pow(ad.tensor([True]), ad.tensor([True]))


def test_powers_of_numbers_and_numpy_scalars() -> None:
    x = ad.tensor([0.0, 1.0, 3.0], requires_grad=True)
    out = 2**x
    np.testing.assert_allclose(out.detach().numpy(), [1, 2, 8])
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.array([1, 2, 8]) * np.log(2), rtol=1e-6)
    assert (x.detach() ** np.float64(2)).dtype is ad.float32
    assert ad.float_power(ad.tensor([2]), 0.5).dtype is ad.float64
    assert ad.float_power(2, ad.tensor([3])).tolist() == [8.0]
    x = ad.tensor([1.0, 4.0])
    x **= 2
    assert x.tolist() == [1.0, 16.0]


# --- bounds, rounding, choices ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high"),
    [(-0.5, 0.5), (None, 0.3), (0.1, None), (1, 2), (0.5, -0.5), (np.float64(-1), np.int64(1))],
)
def test_clamp_to_numbers_matches_torch(low: Any, high: Any) -> None:
    x = ad.tensor([-2.0, -0.5, 0.1, 0.3, 0.5, 1.0, math.inf, -math.inf], requires_grad=True)
    t = as_torch(x)
    bounds = {k: float(v) for k, v in {"min": low, "max": high}.items() if v is not None}
    ours, oracle = ad.clamp(x, low, high), torch.clamp(t, **bounds)
    np.testing.assert_array_equal(ours.detach().numpy(), oracle.detach().numpy())
    ours.sum().backward()
    oracle.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), t.grad.numpy())
    assert math.isnan(ad.clamp(ad.tensor(math.nan), low, high).item())


def test_clamp_to_tensors_matches_torch() -> None:
    arrays = [sample("real", s, (4, 1) if s else (3, 4, 5)) for s in range(3)]
    xs = [ad.tensor(a, requires_grad=True) for a in arrays]
    ts = [as_torch(x) for x in xs]
    for pick in ([0, 1, 2], [0, 1], [0, None, 2]):
        ours = ad.clamp(*(None if i is None else xs[i] for i in pick))
        oracle = torch.clamp(*(None if i is None else ts[i] for i in pick))
        compare(ours, oracle, 0.0)
        ours.sum().backward()
        oracle.sum().backward()
    for x, t in zip(xs, ts, strict=True):
        compare(x.grad, t.grad, 1e-14)


def test_clamp_of_integers() -> None:
    x = ad.tensor([-5, 0, 7, 300])
    assert ad.clamp(x, -1, 10).tolist() == [-1, 0, 7, 10]
    assert ad.clamp(x, max=2.5).dtype is ad.float32
    assert ad.clamp(ad.tensor([1, 250], dtype="uint8"), -3, 1000).tolist() == [1, 250]
    assert ad.clamp(ad.tensor([1, 250], dtype="uint8"), ad.tensor(3, dtype="uint8")).tolist() == [
        3,
        250,
    ]
    with pytest.raises(ArgumentError, match="needs min="):
        ad.clamp(x)
    with pytest.raises(ShapeError):
        ad.clamp(x, ad.tensor([1, 2]))


def test_rounding_of_integers_and_decimals() -> None:
    whole = ad.tensor([1, -2], dtype="int16")
    for name in ("floor", "ceil", "trunc", "round"):
        assert getattr(ad, name)(whole).dtype is ad.int16
    x = np.array([1.2345, -2.5, 123.456, 0.125])
    for decimals in (0, 1, 2, -1, -2):
        found = ad.round(ad.tensor(x), decimals=decimals).numpy()
        np.testing.assert_allclose(
            found, torch.round(torch.tensor(x), decimals=decimals), rtol=1e-15
        )
    assert round(ad.tensor(2.567), 1).item() == pytest.approx(2.6)
    assert abs(ad.tensor(-2.0)).item() == 2.0
    assert ad.floor_divide(ad.tensor(1.0), 0.1).item() == 9.0  # 1 / 0.1 itself rounds to 10


def test_floor_division_and_remainders_match_torch_for_integers() -> None:
    x = np.array([7, -7, 7, -7, 0, -128, 127], np.int8)
    y = np.array([3, 3, -3, -3, 5, 3, -2], np.int8)
    a, b, t, u = ad.tensor(x), ad.tensor(y), torch.tensor(x), torch.tensor(y)
    compare(a // b, t // u, 0)
    compare(a % b, t % u, 0)
    compare(ad.fmod(a, b), torch.fmod(t, u), 0)
    compare(ad.div(a, b, rounding_mode="trunc"), torch.div(t, u, rounding_mode="trunc"), 0)
    for function in (ad.floor_divide, ad.remainder, ad.fmod):
        with pytest.raises(ArgumentError, match="zero"):
            function(a, 0)


def test_choices_match_torch() -> None:
    x, y, w = (ad.tensor(sample("real", s)) for s in range(3))
    t, u, v = (as_torch(a).detach() for a in (x, y, w))
    compare(ad.lerp(x, y, w), torch.lerp(t, u, v), 1e-12)
    compare(ad.lerp(x, y, 0.3), torch.lerp(t, u, 0.3), 1e-12)
    compare(ad.addcmul(x, y, w, value=0.5), torch.addcmul(t, u, v, value=0.5), 1e-12)
    compare(ad.addcdiv(x, y, w, value=-2), torch.addcdiv(t, u, v, value=-2), 1e-12)
    odd = ad.tensor([math.nan, math.inf, -math.inf, 2.0])
    oracle = torch.tensor([math.nan, math.inf, -math.inf, 2.0])
    compare(ad.nan_to_num(odd), torch.nan_to_num(oracle), 0)
    compare(ad.nan_to_num(odd, 1.0, 2.0, 3.0), torch.nan_to_num(oracle, 1.0, 2.0, 3.0), 0)
    assert ad.nan_to_num(ad.tensor([1])).dtype is ad.int64
    step = ad.heaviside(ad.tensor([-1, 0, 3]), ad.tensor([5, 6, 7]))
    assert step.tolist() == [0, 6, 1]
    compare(
        ad.logit(ad.tensor([0.0, 0.5, 1.0]), 1e-3),
        torch.logit(torch.tensor([0.0, 0.5, 1.0]), 1e-3),
        1e-5,
    )


# --- questions ----------------------------------------------------------------------------------


def test_closeness_matches_torch() -> None:
    x = [1.0, 1.0, math.inf, -math.inf, math.inf, math.nan, 1e-9, 0.0]
    y = [1.0, 1.00001, math.inf, math.inf, 1.0, math.nan, 0.0, 1e-7]
    for equal_nan in (False, True):
        ours = ad.isclose(ad.tensor(x), ad.tensor(y), equal_nan=equal_nan)
        oracle = torch.isclose(torch.tensor(x), torch.tensor(y), equal_nan=equal_nan)
        assert ours.tolist() == oracle.tolist()
    assert ad.isclose(ad.tensor([2**60, 5]), ad.tensor([2**60, 6])).tolist() == [True, False]
    assert ad.allclose(ad.ones(3), ad.ones(1)) is True
    assert ad.allclose(ad.ones(3), ad.zeros(3)) is False


def test_equality_of_whole_tensors() -> None:
    assert ad.equal(ad.ones(2), ad.ones(2)) is True
    assert ad.equal(ad.ones(2), ad.ones(1, 2)) is False
    assert ad.equal(ad.tensor([math.nan]), ad.tensor([math.nan])) is False
    assert ad.ones(2).equal(ad.ones(2))


def test_kinds_and_casts() -> None:
    assert ad.is_tensor(ad.ones(1)) and not ad.is_tensor(np.ones(1))
    assert ad.is_floating_point(ad.ones(1)) and not ad.is_floating_point(ad.tensor(1))
    assert ad.numel(ad.ones(2, 3)) == 6
    assert ad.result_type(ad.tensor([1]), 1.0) is ad.float32
    assert ad.result_type(ad.tensor([1.0], dtype="float16"), 2.0) is ad.float16
    assert ad.result_type(ad.int8, ad.uint8) is ad.int16
    assert ad.result_type(1, True) is ad.int64
    for source in ("bool", "uint8", "int32", "float32", "float64"):
        for target in ("bool", "uint8", "int32", "float32", "float64"):
            oracle = torch.can_cast(getattr(torch, source), getattr(torch, target))
            assert ad.can_cast(source, target) == oracle
    whole = ad.tensor([0, 3], dtype="uint8")
    for name, expected in {
        "isnan": False,
        "isinf": False,
        "isfinite": True,
        "signbit": False,
    }.items():
        assert getattr(ad, name)(whole).tolist() == [expected, expected]


@pytest.mark.parametrize("name", ["exp", "sqrt", "sin", "sigmoid", "erf", "log2", "rsqrt", "tan"])
def test_integers_and_bools_become_float32(name: str) -> None:
    for data in ([1, 2], [True, True]):
        found = getattr(ad, name)(ad.tensor(data))
        compare(found, getattr(torch, name)(torch.tensor(data)), 1e-6)
