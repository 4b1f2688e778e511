"""Padding, unfolding and folding against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional


@pytest.mark.parametrize(
    ("pad", "mode", "value"),
    [
        ((1, 2), "constant", None), ((1, 2, 0, 3, 1, 1), "constant", 2.5),
        ((-1, 2, -2, -1), "constant", None), ((0, -3), "constant", -np.inf), ((), "constant", None),
        ((1, 2, 3, 0), "reflect", None), ((5, 5, 0, 4), "reflect", None),
        ((1, 12, 3, 0), "replicate", None),
        ((1, 2, 3, 0), "circular", None), ((6, 6, 5, 5), "circular", None),
    ],
)  # fmt: skip
def test_pad(pad: Any, mode: str, value: float | None) -> None:
    x = floats(2, 3, 5, 6)
    agree(lambda a: F.pad(a, pad, mode, value), lambda a: TF.pad(a, pad, mode, value), x)
    if value is None:
        smooth(lambda a: F.pad(a, pad, mode, value), x[:1, :2])
        maps(lambda a: F.pad(a, pad, mode, value), x)


def test_more_axes_than_pytorch_mirrors() -> None:
    x = floats(3, 4)
    ours = F.pad(ad.tensor(x), (1, 1, 1, 1), "reflect").numpy()
    np.testing.assert_array_equal(ours, np.pad(x, 1, "reflect"))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2}, {"kernel_size": (2, 3), "dilation": 2, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": (1, 0), "stride": (1, 2)},
    ],
    ids=str,
)  # fmt: skip
def test_unfold_and_fold(options: dict[str, Any]) -> None:
    x = floats(2, 3, 6, 7)
    agree(lambda a: F.unfold(a, **options), lambda a: TF.unfold(a, **options), x)
    agree(lambda a: F.unfold(a, **options), lambda a: TF.unfold(a, **options), x[0])
    columns = F.unfold(ad.tensor(x), **options).numpy()
    agree(lambda a: F.fold(a, (6, 7), **options), lambda a: TF.fold(a, (6, 7), **options), columns)
    smooth(lambda a: F.unfold(a, **options), x)
    smooth(lambda a: F.fold(a, (6, 7), **options), columns)
    maps(lambda a: F.fold(a, (6, 7), **options), columns)


@pytest.mark.feature("O18")
def test_a_convolution_is_a_product_with_the_unfolded_image() -> None:
    x, w = floats(2, 3, 6, 7), floats(4, 3, 3, 2, seed=1)
    columns = F.unfold(ad.tensor(x), (3, 2), stride=2)
    product = (ad.tensor(w).reshape(4, -1) @ columns).numpy()
    wanted = F.conv2d(ad.tensor(x), ad.tensor(w), stride=2).numpy()
    np.testing.assert_allclose(product.reshape(wanted.shape), wanted, atol=1e-12)


def test_wrong_arguments() -> None:
    x = ad.ones(1, 1, 3, 3)
    with pytest.raises(ArgumentError, match="two amounts per axis"):
        F.pad(x, (1,))
    with pytest.raises(ArgumentError, match="reflect"):
        F.pad(x, (1, 1), "refelct")
    with pytest.raises(ShapeError, match="cannot add"):
        F.pad(x, (3, 0), "reflect")
    with pytest.raises(ShapeError, match="cuts more"):
        F.pad(x, (-2, -2))
    with pytest.raises(ArgumentError, match="constant"):
        F.pad(x, (1, 1), "reflect", 2.0)
    with pytest.raises(ArgumentError, match="does not fit"):
        F.unfold(x, 4)
    with pytest.raises(ShapeError, match="multiple of 4"):
        F.fold(ad.ones(1, 3, 4), (3, 3), 2)
