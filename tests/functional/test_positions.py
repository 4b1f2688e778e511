"""Positions: formulas written out, and what each of them promises."""

from __future__ import annotations

from math import cos, log, sin

import numpy as np
import pytest

import adjoint as ad
import adjoint.nn.functional as F
from adjoint import nn
from adjoint.base.errors import ArgumentError, ShapeError


@pytest.mark.feature("A6")
def test_sinusoidal_positions() -> None:
    found = F.sinusoidal_positions(6, 5).numpy()
    for t in range(6):
        for i in range(5):
            angle = t / 10000 ** ((i - i % 2) / 6)
            assert found[t, i] == pytest.approx((cos if i % 2 else sin)(angle), abs=1e-6)
    even = F.sinusoidal_positions(9, 8).numpy()
    x = ad.randn(2, 3, 8)
    layer = nn.SinusoidalPositions(8)
    np.testing.assert_allclose((layer(x) - x).numpy()[0], even[:3], atol=1e-6)
    np.testing.assert_allclose((layer(x, start=4) - x).numpy()[0], even[4:7], atol=1e-6)


@pytest.mark.feature("A6")
def test_a_shift_of_sinusoidal_positions_is_a_rotation() -> None:
    """One matrix takes every row t to row t + 3."""
    found = F.sinusoidal_positions(40, 8).numpy().astype(np.float64)
    turn = np.zeros((8, 8))
    for i in range(0, 8, 2):
        angle = 3 / 10000 ** (i / 8)
        turn[i : i + 2, i : i + 2] = [[cos(angle), sin(angle)], [-sin(angle), cos(angle)]]
    np.testing.assert_allclose(found[:-3] @ turn.T, found[3:], atol=1e-5)


@pytest.mark.feature("A7")
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_positions(interleaved: bool) -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 6))
    found = F.rotary(ad.tensor(x), interleaved=interleaved, start=2).numpy()
    for t in range(5):
        for i in range(3):
            a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + 3)
            angle = (t + 2) / 10000 ** (2 * i / 6)
            pair = x[:, t, a] + 1j * x[:, t, b]
            turned = pair * np.exp(1j * angle)
            np.testing.assert_allclose(found[:, t, a], turned.real, atol=1e-6)
            np.testing.assert_allclose(found[:, t, b], turned.imag, atol=1e-6)
    layer = nn.RotaryPositions(interleaved=interleaved)
    np.testing.assert_allclose(layer(ad.tensor(x), start=2).numpy(), found)


@pytest.mark.feature("A7")
def test_rotary_products_depend_on_the_distance_alone() -> None:
    q, k = (ad.tensor(np.random.default_rng(s).normal(size=(1, 8))) for s in range(2))
    products = [(F.rotary(q, start=t + 5) * F.rotary(k, start=t)).sum().item() for t in (0, 7, 100)]
    assert products == pytest.approx([products[0]] * 3, rel=1e-4)
    given = F.rotary(q.expand(3, 8), positions=ad.tensor([4, 0, 9]))
    assert (given[1] - q[0]).abs().max() < 1e-6
    assert (given[2] - F.rotary(q, start=9)[0]).abs().max() < 1e-6


@pytest.mark.feature("A7")
def test_alibi() -> None:
    assert F.alibi_slopes(8).tolist() == [2.0**-k for k in range(1, 9)]
    twelve = F.alibi_slopes(12).tolist()  # as the paper's code interpolates
    wanted = [2.0**-k for k in range(1, 9)] + [2 ** -(k + 0.5) for k in range(4)]
    assert twelve == pytest.approx(wanted)
    bias = F.alibi_bias(2, 3, 5, start=2).numpy()
    for h in range(2):
        for t in range(3):
            for s in range(5):
                assert bias[h, t, s] == pytest.approx(-(2.0 ** (-4 * (h + 1))) * abs(t + 2 - s))
    with pytest.raises(ArgumentError, match="at least one head"):
        F.alibi_slopes(0)


def bucket(distance: int, count: int, furthest: int, both: bool) -> int:
    """The rule of T5, for key - query."""
    found = 0
    if both:
        count //= 2
        found = count if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = count // 2
    if distance < exact:
        return found + distance
    far = exact + int(log(distance / exact) / log(furthest / exact) * (count - exact))
    return found + min(far, count - 1)


@pytest.mark.feature("A7")
@pytest.mark.parametrize("both", [True, False])
def test_relative_buckets(both: bool) -> None:
    found = F.relative_buckets(40, 50, 16, 30, both, start=3).numpy()
    wanted = [[bucket(s - t - 3, 16, 30, both) for s in range(50)] for t in range(40)]
    different = np.argwhere(found != np.array(wanted))
    assert len(different) == 0 or np.abs(found - np.array(wanted)).max() <= 1  # a float32 edge
    assert len(different) < 40


@pytest.mark.feature("A7")
def test_relative_position_bias_is_a_mask_that_learns() -> None:
    layer = nn.RelativePositionBias(3, buckets=8, max_distance=20)
    assert list(layer.state_dict()) == ["relative_attention_bias.weight"]
    bias = layer(5, 7)
    assert bias.shape == (3, 5, 7) and (bias[:, 0, 1] == bias[:, 3, 4]).all()
    x = ad.randn(2, 3, 5, 4)
    F.scaled_dot_product_attention(x, x, x, layer(5)).square().sum().backward()
    assert (layer.relative_attention_bias.weight.grad != 0).any()


@pytest.mark.feature("A6")
def test_learned_positions() -> None:
    layer = nn.LearnedPositions(6, 4)
    x = ad.zeros(2, 3, 4)
    assert (layer(x)[1] == layer.weight[:3]).all() and (layer(x, 2)[0] == layer.weight[2:5]).all()
    with pytest.raises(ShapeError, match="7 steps, and there are 6 places"):
        layer(ad.zeros(7, 4))
    with pytest.raises(ShapeError, match="even size"):
        F.rotary(ad.zeros(2, 3))


@pytest.mark.feature("A6")
def test_a_start_that_is_a_tensor_needs_no_new_recording() -> None:
    run = ad.jit(lambda x, t: F.rotary(x, start=t) + F.sinusoidal_positions(1, 4, start=t))
    x = ad.randn(1, 4)
    for t in range(3):
        wanted = F.rotary(x, start=t) + F.sinusoidal_positions(1, 4, start=t)
        assert (run(x, ad.tensor(t)) - wanted).abs().max() < 1e-6
    assert run.recordings == 1
