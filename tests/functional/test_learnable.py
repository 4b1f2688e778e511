"""Learned and mixed activations, convolution as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.interpolate
import scipy.linalg

import adjoint as ad
from adjoint.base.errors import AdjointError
from adjoint.tensors import functional as F


def random(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.feature("O10")
def test_a_spline_is_linear_interpolation_with_straight_ends() -> None:
    x, knots = random(50) * 3, random(7, seed=1)
    ours = F.spline(ad.tensor(x), ad.tensor(knots), -2.0, 2.0).numpy()
    oracle = scipy.interpolate.interp1d(
        np.linspace(-2, 2, 7), knots, fill_value="extrapolate", kind="linear"
    )
    np.testing.assert_allclose(ours, oracle(x), rtol=1e-10, atol=1e-12)
    ad.testing.gradcheck(lambda x, k: F.spline(x, k), [ad.tensor(x), ad.tensor(knots)], order=2)
    ad.testing.gradcheck(
        F.rational, [ad.tensor(random(6)), ad.tensor(random(4)), ad.tensor(random(3))], order=2
    )


def train(forward: Any, params: list[Any], x: Any, y: Any, steps: int) -> float:
    optimiser = ad.optim.Adam(params, lr=0.03)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
        optimiser.zero_grad()
        (forward(x) - y).square().mean().backward()
        optimiser.step()
    return (forward(x) - y).square().mean().item() ** 0.5


@pytest.mark.feature("O10")
def test_a_learned_activation_finds_the_sine_that_relu_units_of_equal_size_cannot() -> None:
    x = ad.linspace(-3.0, 3.0, 200)[:, None]
    y = ad.sin(x)
    knots = ad.zeros(19, requires_grad=True)
    learned = train(lambda v: F.spline(v, knots), [knots], x, y, 600)
    rng = np.random.default_rng(0)
    w1, b1, w2 = (ad.tensor(rng.normal(size=s), dtype=ad.float32, requires_grad=True)
                  for s in ((1, 6), (6,), (6, 1)))  # fmt: skip
    bias = ad.zeros(1, requires_grad=True)
    relu = train(lambda v: F.relu(v @ w1 + b1) @ w2 + bias, [w1, b1, w2, bias], x, y, 600)
    assert sum(p.numel() for p in (w1, b1, w2, bias)) == knots.numel() == 19
    assert learned <= 0.01 < relu


@pytest.mark.feature("O9", "O11")
def test_mixed_units_equal_each_unit_alone() -> None:
    x = random(5, 6)
    functions = [ad.tanh, F.relu, ad.sigmoid, F.relu, ad.tanh, ad.sin]
    calls: list[int] = []

    def counted(v: Any) -> Any:
        calls.append(v.shape[1])
        return F.relu(v)

    functions = [counted if f is F.relu else f for f in functions]
    ours = F.mixed(ad.tensor(x), functions).numpy()
    assert calls == [2]
    for i, f in enumerate(functions):
        np.testing.assert_allclose(
            ours[:, i], f(ad.tensor(x[:, i : i + 1])).numpy()[:, 0], rtol=1e-7
        )
    smooth = [ad.tanh, ad.sin, ad.tanh]
    ad.testing.gradcheck(lambda v: F.mixed(v, smooth), [ad.tensor(random(4, 3))])
    with pytest.raises(AdjointError, match="2 functions for 6 units"):
        F.mixed(ad.tensor(x), [ad.tanh, ad.sin])


CONVS = [
    ((2, 3, 3, 3), (3, 5, 6), {}),
    ((2, 3, 3, 2), (3, 5, 6), {"stride": 2, "padding": 1}),
    ((4, 1, 2, 2), (2, 4, 4), {"groups": 2, "dilation": 2, "padding": 1}),
    ((3, 2, 4), (2, 9), {"stride": 1, "padding": 2}),
]


@pytest.mark.feature("O23")
@pytest.mark.parametrize(("kernel", "shape", "options"), CONVS)
def test_convolution_is_a_matrix_and_its_transpose_the_transposed_one(
    kernel: Any, shape: Any, options: Any
) -> None:
    k, x = ad.tensor(random(*kernel)), ad.tensor(random(*shape, seed=1))
    conv = F.conv2d if len(kernel) == 4 else F.conv1d
    back = F.conv_transpose2d if len(kernel) == 4 else F.conv_transpose1d
    matrix = F.conv_matrix(k, shape, **options)
    out = conv(x[None], k, **options)
    np.testing.assert_allclose(
        (matrix @ x.reshape(-1)).numpy(), out.numpy().reshape(-1), rtol=1e-12, atol=1e-12
    )
    ct = ad.tensor(random(*out.shape, seed=2))
    _, pull = ad.vjp(lambda v: conv(v[None], k, **options), x)
    through = (matrix.T @ ct.reshape(-1)).numpy()
    np.testing.assert_allclose(through, pull(ct)[0].numpy().reshape(-1), rtol=1e-12, atol=1e-12)
    if options.get("stride", 1) == 1 and options.get("groups", 1) == 1:
        twin = back(ct, k, **options).numpy().reshape(-1)
        np.testing.assert_allclose(through, twin, rtol=1e-12, atol=1e-12)


@pytest.mark.feature("O23")
def test_the_matrix_is_block_toeplitz() -> None:
    """For one pair of channels: Toeplitz blocks of rows, equal along block diagonals."""
    k = ad.tensor(random(2, 3, 3, 2))
    rows, columns = 6, 5
    full = F.conv_matrix(k, (3, rows, columns), padding=(2, 1)).numpy()
    high, wide = rows + 4 - 2, columns + 2 - 1
    blocks = full.reshape(2, high, wide, 3, rows, columns)
    for o in range(2):
        for c in range(3):
            pair = blocks[o, :, :, c]
            for i in range(high):
                for j in range(rows):
                    inner = pair[i, :, j]
                    np.testing.assert_array_equal(
                        inner, scipy.linalg.toeplitz(inner[:, 0], inner[0])
                    )
                    if i and j:
                        np.testing.assert_array_equal(inner, pair[i - 1, :, j - 1])
