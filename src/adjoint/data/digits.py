"""The 1797 handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import Literal

import numpy as np

from adjoint.base import errors
from adjoint.data.resize import resize_images
from adjoint.data.split import stratified_split


def load_digits(
    kind: Literal["train", "test", "all"] = "all",
    *,
    size: int = 8,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 (sample, 1, size, size) in [0, 1], and labels, int64 (sample,).

    The split is stratified and depends on `test_fraction` and `seed` alone. Raises
    MissingExtraError without scikit-learn. Source: "Optical Recognition of Handwritten Digits",
    the test part, UCI Machine Learning Repository (Alpaydin and Kaynak, 1998).
    """
    if kind not in ("train", "test", "all"):
        raise errors.unknown_name("load_digits", kind, ["train", "test", "all"])
    images, labels = _read()
    if kind != "all":
        train, test = stratified_split(labels, test_fraction, seed=seed)
        chosen = train if kind == "train" else test
        images, labels = images[chosen], labels[chosen]
    if size != images.shape[-1]:
        images = resize_images(images, size, mode)
    return images, labels


def _read() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise errors.missing_extra("scikit-learn", "data", "load_digits") from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    # Pixels count dark cells of a 4x4 block: 0 to 16, so the division is exact.
    images = (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    return images, labels.astype(np.int64)
