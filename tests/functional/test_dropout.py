"""Dropout: how much it drops, what it keeps, and that it can be repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import ArgumentError, ShapeError
from adjoint.nn import functional as F

FUNCTIONS: dict[str, tuple[int, ...]] = {
    "dropout": (200, 300), "dropout1d": (200, 300, 4), "dropout2d": (200, 300, 2, 2),
    "dropout3d": (200, 300, 2, 1, 2),
}  # fmt: skip


@pytest.mark.feature("M7")
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("name", "shape"), FUNCTIONS.items())
def test_share_scale_and_gradient(name: str, shape: tuple[int, ...], p: float) -> None:
    ad.manual_seed(0)
    x = ad.ones(*shape, requires_grad=True)
    out = getattr(F, name)(x, p)
    values = out.detach().numpy()
    kept = values != 0
    np.testing.assert_allclose(values[kept], 1 / (1 - p), rtol=1e-6)
    channels = kept.reshape(200, 300, -1)
    assert (channels == channels[:, :, :1]).all()  # whole channels
    share = 1 - channels[:, :, 0].mean()
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 60_000)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)


@pytest.mark.feature("M7")
@pytest.mark.parametrize("name", [*FUNCTIONS, "alpha_dropout"])
def test_not_training_is_the_identity(name: str) -> None:
    x = ad.randn(*FUNCTIONS.get(name, (3, 4)))
    assert getattr(F, name)(x, 0.5, training=False) is x
    assert getattr(F, name)(x, 0.0, training=True) is x
    dropped = getattr(F, name)(x, 1.0, training=True)
    assert name == "alpha_dropout" or (dropped == 0).all()


def test_the_same_seed_drops_the_same() -> None:
    x = ad.ones(50, 50)
    draws: list[Any] = []
    for _ in range(2):
        ad.manual_seed(3)
        draws.append((F.dropout(x).numpy(), F.dropout(x).numpy()))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0][0] != draws[0][1]).any()
    own = [F.dropout(x, generator=ad.Generator().manual_seed(1)).numpy() for _ in range(2)]
    np.testing.assert_array_equal(own[0], own[1])


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    ad.manual_seed(0)
    out = F.alpha_dropout(ad.randn(500, 500), 0.3, training=True)
    assert abs(out.mean().item()) < 0.01 and abs(out.var().item() - 1) < 0.01


def test_in_place_and_wrong_arguments() -> None:
    ad.manual_seed(0)
    x = ad.ones(10)
    assert F.dropout(x, 0.5, inplace=True) is x and (x == 0).any()
    for p in (-0.1, 1.5, True):
        with pytest.raises(ArgumentError, match="probability"):
            F.dropout(x, p)
        with pytest.raises(ArgumentError, match="probability"):
            ad.nn.Dropout(p)
    with pytest.raises(ShapeError, match="3 or 4 dimensions"):
        F.dropout2d(ad.ones(3, 3))
