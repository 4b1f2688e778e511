from __future__ import annotations

import numpy as np
import pytest
import torch

from adjoint.base.errors import AdjointError
from adjoint.data import resize_images


@pytest.mark.parametrize("old", [(8, 8), (5, 7), (1, 3)])
@pytest.mark.parametrize("new", [(32, 32), (8, 8), (3, 11), (1, 1)])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_as_torch_resizes(old: tuple[int, int], new: tuple[int, int], mode: str) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, *old))
    corners = {"align_corners": False} if mode == "bilinear" else {}
    expected = torch.nn.functional.interpolate(torch.from_numpy(images), new, mode=mode, **corners)
    np.testing.assert_allclose(resize_images(images, new, mode), expected, atol=1e-13)


def test_dtype_and_range_are_kept() -> None:
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    result = resize_images(images, 32, "bilinear")
    assert result.dtype == np.float32
    assert result.shape == (4, 1, 32, 32)
    assert result.min() >= 0 and result.max() <= 1


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "mode"),
    [
        ((8,), "f4", 32, "bilinear"),
        ((1, 0, 8), "f4", 32, "bilinear"),
        ((1, 8, 8), "f4", 0, "nearest"),
        ((1, 8, 8), "u1", 32, "bilinear"),
        ((1, 8, 8), "f4", 32, "bicubic"),
    ],
)
def test_what_cannot_be_resized(shape: tuple[int, ...], dtype: str, size: int, mode: str) -> None:
    with pytest.raises(AdjointError, match="resize_images"):
        resize_images(np.zeros(shape, dtype), size, mode)
