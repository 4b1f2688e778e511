"""A picture of one handwritten digit, made to look like those a network was trained on."""

from __future__ import annotations

import numpy as np

from adjoint.base import errors
from adjoint.data.resize import resize_images

INK = 0.3  # of the strongest contrast: what counts as ink when its extent is measured


def digit_image(
    gray: np.ndarray,
    size: int = 32,
    box: int = 20,
    through: int | None = None,
    by_mass: bool = False,
) -> np.ndarray:
    """A uint8 picture (H, W) as float32 (size, size) in [0, 1]: light ink, black background.

    A light background is inverted, the ink cut out, scaled so that its longer side is ``box``, and
    put in the middle: its bounding box or, as in MNIST, its centre of mass. ``through`` averages
    over a coarser grid of that many pixels a side and scales up again. Raises ArgumentError for a
    picture without contrast.
    """
    ink = _on_black(gray)
    rows, columns = (np.flatnonzero((ink > INK).any(axis=axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = box / max(cut.shape)
    height, width = (max(round(n * scale), 1) for n in cut.shape)
    small = np.clip(_area_matrix(cut.shape[0], height) @ cut @ _area_matrix(cut.shape[1], width).T,
                    0, 1)  # fmt: skip
    out = np.zeros((size, size), np.float32)
    top, left = (_start(small, axis, size, by_mass) for axis in (0, 1))
    out[top : top + height, left : left + width] = small
    if through is not None:
        step = size // through
        coarse = out.reshape(through, step, through, step).mean(axis=(1, 3))
        out = resize_images(coarse, size, "bilinear")
    return out.astype(np.float32)


def _start(ink: np.ndarray, axis: int, size: int, by_mass: bool) -> int:
    """Where along ``axis`` the ink begins, so that it stands in the middle and inside."""
    extent = ink.shape[axis]
    if not by_mass:
        return (size - extent) // 2
    weight = ink.sum(axis=1 - axis)
    centre = float((weight * (np.arange(extent) + 0.5)).sum() / weight.sum())
    return min(max(round(size / 2 - centre), 0), size - extent)


def _on_black(gray: np.ndarray) -> np.ndarray:
    """Contrast from 0 (the border's typical level) to 1 (what differs most from it)."""
    if gray.ndim != 2 or 0 in gray.shape:
        hint = "read_image(path, mode='gray').numpy()[0]"
        raise errors.shape("digit_image", "needs one gray picture (H, W)", gray, hint=hint)
    x = gray.astype(np.float64)
    border = np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]])
    background = float(np.median(border))
    ink = x - background if background < 127.5 else background - x
    if ink.max() < 26:  # a tenth of the full range
        what = "found no ink: the picture has nearly the same brightness everywhere"
        raise errors.argument("digit_image", what, hint="one dark digit on white, or the reverse")
    return np.clip(ink / ink.max(), 0, 1)


def _area_matrix(old: int, new: int) -> np.ndarray:
    """The (new, old) matrix that averages over the part of the old pixels a new one covers."""
    edges = np.arange(new + 1) * old / new
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)
    covered = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    return covered / (high - low)
