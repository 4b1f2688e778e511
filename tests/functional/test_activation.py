"""Activation functions against PyTorch, finite differences and their special values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional
CASES: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}), ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 1.5}),
    ("threshold", {"threshold": 0.3, "value": -2.0}), ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}), ("relu6", {}), ("hardsigmoid", {}),
    ("hardswish", {}), ("elu", {}), ("elu", {"alpha": 0.7}), ("celu", {"alpha": 0.6}),
    ("selu", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("mish", {}),
    ("softplus", {}), ("softplus", {"beta": 3.0, "threshold": 2.0}), ("softsign", {}),
    ("logsigmoid", {}), ("tanhshrink", {}), ("softshrink", {}), ("hardshrink", {"lambd": 0.3}),
    ("sigmoid", {}), ("tanh", {}), ("glu", {}), ("glu", {"dim": 1}),
]  # fmt: skip
NAMES = [f"{name} {options or ''}".strip() for name, options in CASES]
SIZES = [(7,), (3, 4, 5, 2), (2, 6), (), (0, 4), (1, 2, 3)]
HALVED = {"glu"}
INEXACT = {"celu", "hardsigmoid"}  # PyTorch's own derivative has float32 constants


def pair(name: str, options: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (
        lambda *a: getattr(F, name)(*a, **options),
        lambda *a: getattr(TF, name)(*a, **options),
    )


@pytest.mark.feature("O3", "O5", "O6", "O7", "O9")
@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_values_and_gradients_are_pytorchs(name: str, options: dict[str, Any]) -> None:
    ours, theirs = pair(name, options)
    for seed, shape in enumerate(SIZES):
        if name in HALVED and (not shape or shape[options.get("dim", -1) % len(shape)] % 2):
            continue
        x = floats(*shape, seed=seed) * 3 if shape else np.asarray(0.7)
        agree(ours, theirs, x, tolerance=1e-6 if name in INEXACT else 1e-10)


@pytest.mark.feature("O9")
@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_derivatives_of_both_orders_and_batching(name: str, options: dict[str, Any]) -> None:
    ours, _ = pair(name, options)
    smooth(ours, floats(4, 6, seed=3) * 2)
    if options.get("dim") != 1:
        maps(ours, floats(3, 4, 6, seed=4) * 2)


@pytest.mark.feature("O9")
@pytest.mark.parametrize("dtype", [ad.float16, ad.bfloat16])
@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_sixteen_bits(name: str, options: dict[str, Any], dtype: ad.DType) -> None:
    x = ad.tensor(floats(4, 6) * 3, dtype=dtype)
    out = getattr(F, name)(x, **options)
    wide = getattr(F, name)(x.float(), **options)
    assert out.dtype is dtype
    np.testing.assert_allclose(out.float().numpy(), wide.numpy(), rtol=2e-2, atol=2e-2)


@pytest.mark.feature("O3")
def test_sigmoid_and_its_logarithm_far_out() -> None:
    x = ad.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4], requires_grad=True)
    s = F.sigmoid(x)
    true = torch.sigmoid(torch.tensor(x.tolist(), dtype=torch.float64)).numpy()
    np.testing.assert_allclose(s.detach().numpy(), true, atol=1e-7)
    (gradient,) = ad.autograd.grad(s.sum(), x)
    np.testing.assert_allclose(gradient.numpy(), true * (1 - true), atol=1e-7)
    assert F.logsigmoid(x).tolist()[0] == -1e4
    assert F.softplus(x).tolist()[-1] == 1e4


@pytest.mark.feature("O4")
def test_binary_step() -> None:
    x = ad.tensor([-2.0, -0.0, 0.0, 3.0, np.nan], requires_grad=True)
    np.testing.assert_array_equal(F.step(x).detach().numpy(), [0, 1, 1, 1, np.nan])
    np.testing.assert_array_equal(F.step(x, at_zero=0.5).detach().numpy(), [0, 0.5, 0.5, 1, np.nan])
    F.step(x).sum().backward()
    assert x.grad.tolist() == [0.0] * 5
    x.grad = None
    F.step(x, straight_through=True).sum().backward()
    assert x.grad.tolist() == [1.0] * 5


@pytest.mark.feature("O4")
def test_a_perceptron_learns_with_the_step() -> None:
    """w += (target - step(w x + b)) x separates two clouds that can be separated."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 2)) + np.where(np.arange(60) % 2, 3.0, -3.0)[:, None]
    x, target = ad.tensor(points), ad.tensor((np.arange(60) % 2).astype(float))
    w, b = ad.zeros(2, dtype=ad.float64), ad.zeros((), dtype=ad.float64)
    for _ in range(5):
        for i in range(60):
            error = target[i] - F.step(x[i] @ w + b)
            w, b = w + error * x[i], b + error
    assert (F.step(x @ w + b) == target).all()


@pytest.mark.feature("O6")
def test_relu_at_zero_infinity_and_nan() -> None:
    x = ad.tensor([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan], requires_grad=True)
    out = F.relu(x)
    np.testing.assert_array_equal(out.detach().numpy(), [0, 0, 0, 0, 2, np.inf, np.nan])
    out[:-1].sum().backward()
    assert x.grad.tolist()[:6] == [0, 0, 0, 0, 1, 1]
    y = ad.tensor([-1.0, 0.0], requires_grad=True)
    (F.relu(y) * ad.tensor([np.inf, np.nan])).sum().backward()
    assert y.grad.tolist() == [0.0, 0.0]  # exactly, whatever arrives


@pytest.mark.feature("O6")
def test_half_of_the_units_are_active_at_he_initialisation() -> None:
    ad.manual_seed(0)
    layer = ad.nn.Linear(200, 400)
    ad.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    ad.nn.init.zeros_(layer.bias)
    out = F.relu(layer(ad.randn(500, 200)))
    assert abs((out > 0).float().mean().item() - 0.5) < 0.02


@pytest.mark.feature("O7")
def test_leaky_relu_has_a_positive_slope_below_zero() -> None:
    x = ad.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    out = F.leaky_relu(x)
    np.testing.assert_allclose(out.tolist(), [-0.02, 0.0, 3.0], rtol=1e-6)
    out.sum().backward()
    np.testing.assert_allclose(x.grad.tolist(), [0.01, 0.01, 1.0], rtol=1e-6)
    assert F.leaky_relu(ad.tensor(-1.0), 0.3).item() == pytest.approx(-0.3)


@pytest.mark.feature("O9")
def test_maxout_of_two_pieces_is_the_absolute_value() -> None:
    x = ad.tensor(floats(5, 4))
    both = ad.stack([x, -x], dim=2).flatten(1)  # x0, -x0, x1, -x1, ...
    assert (F.maxout(both, 2) == x.abs()).all()
    smooth(lambda a: F.maxout(a, 3), floats(2, 6, 2))
    maps(lambda a: F.maxout(a, 3, dim=-1), floats(3, 2, 6))
    with pytest.raises(ShapeError, match="does not split into 4 pieces"):
        F.maxout(ad.ones(2, 6), 4)


@pytest.mark.feature("O9")
def test_swiglu() -> None:
    def theirs(x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return TF.silu(a) * b

    agree(F.swiglu, theirs, floats(3, 8))
    smooth(F.swiglu, floats(3, 8))


@pytest.mark.parametrize("slopes", [1, 4])
def test_prelu(slopes: int) -> None:
    agree(F.prelu, TF.prelu, floats(3, 4, 5), floats(slopes, seed=1))
    smooth(F.prelu, floats(3, 4, 5), floats(slopes, seed=1), order=1)
    with pytest.raises(ShapeError, match="needs 1 or 4 elements"):
        F.prelu(ad.ones(3, 4), ad.ones(3))
    with pytest.raises(DTypeError):
        F.prelu(ad.ones(3, 4), ad.ones(1, dtype=ad.float64))


def test_in_place() -> None:
    for name in ("relu", "leaky_relu", "elu", "silu", "hardtanh", "mish", "hardsigmoid"):
        x = ad.tensor([-1.0, 0.5, 2.0])
        wanted = getattr(F, name)(x)
        assert getattr(F, name)(x, inplace=True) is x
        assert (x == wanted).all()
    y = ad.tensor([-1.0, 2.0], requires_grad=True)
    z = y * 3
    F.relu(z, inplace=True).sum().backward()
    assert y.grad.tolist() == [0.0, 3.0]


def test_integers_become_floats() -> None:
    x = ad.tensor([-2, 0, 3])
    assert F.sigmoid(x).dtype is ad.float32 and F.elu(x).dtype is ad.float32
    assert F.relu(x).tolist() == [0, 0, 3] and F.relu(x).dtype is ad.int64


def test_wrong_arguments() -> None:
    x = ad.ones(2, 3)
    with pytest.raises(ShapeError, match="even size"):
        F.glu(x)
    with pytest.raises(ArgumentError, match="tanh"):
        F.gelu(x, approximate="tahn")
    with pytest.raises(ArgumentError, match="larger than max_val"):
        F.hardtanh(x, 1.0, -1.0)
    with pytest.raises(ArgumentError, match="alpha"):
        F.celu(x, 0.0)


def test_methods_and_top_level_names() -> None:
    x = ad.tensor([[-1.0, 2.0, 0.5]])
    for name in ("relu", "softmax", "log_softmax", "logsumexp"):
        options = {} if name == "relu" else {"dim": 1}
        wanted = getattr(F, name)(x, **options)
        assert (getattr(x, name)(**options) == wanted).all()
        assert (getattr(ad, name)(x, **options) == wanted).all()
    y = x.clone()
    assert y.relu_() is y and y.tolist() == [[0.0, 2.0, 0.5]]
    assert ad.conv2d is F.conv2d and ad.dropout is F.dropout and ad.selu is F.selu
