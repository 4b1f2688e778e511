"""Change the size of a batch of images."""

from __future__ import annotations

from typing import Literal

import numpy as np

from adjoint.base import errors


def resize_images(
    images: np.ndarray, size: int | tuple[int, int], mode: Literal["bilinear", "nearest"]
) -> np.ndarray:
    """Resize (..., height, width) to (..., *size), keeping the dtype of floats.

    Output pixel i samples the input at (i + 1/2) * old / new - 1/2, clamped to the image
    ("bilinear", as align_corners=False in PyTorch) or at floor(i * old / new) ("nearest").
    Raises ShapeError for sizes below one and DTypeError for integer images in bilinear mode.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if images.ndim < 2 or min(height, width, *images.shape[-2:]) < 1:
        what = f"cannot make {height} by {width} images of"
        hint = "give images (..., height, width) with at least one pixel, and sizes of 1 or more"
        raise errors.shape("resize_images", what, images, hint=hint)
    old_height, old_width = images.shape[-2:]
    if mode == "nearest":
        rows = np.arange(height) * old_height // height
        columns = np.arange(width) * old_width // width
        return images[..., rows[:, None], columns]
    if mode != "bilinear":
        raise errors.unknown_name("resize_images", mode, ["bilinear", "nearest"])
    if images.dtype.kind != "f":
        needs, hint = "floats for mode='bilinear'", "images.astype(numpy.float32)"
        raise errors.wrong_dtype("resize_images", images.dtype, needs, hint=hint)
    # Bilinear interpolation is linear and separable: one small matrix for each axis.
    down = _interpolation(old_height, height).astype(images.dtype)
    across = _interpolation(old_width, width).astype(images.dtype)
    return down @ images @ across.T


def _interpolation(old: int, new: int) -> np.ndarray:
    """The (new, old) matrix whose rows hold the two weights of each output pixel."""
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, old - 1)
    fraction = position - low
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    matrix[rows, low] = 1 - fraction
    matrix[rows, high] += fraction
    return matrix
