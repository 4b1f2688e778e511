"""Split a data set into parts."""

from __future__ import annotations

import numpy as np

from adjoint.base import errors
from adjoint.data.order import shuffled_order


def stratified_split(
    labels: np.ndarray, test_fraction: float = 0.2, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, test), both ascending, with each class shared out in the same proportion.

    Of a class with n members, round(n * test_fraction) go to the test part, at least one and at
    most n - 1 when n > 1. `labels` has the shape (sample,). Raises ShapeError for another rank
    and ArgumentError for a fraction outside (0, 1).
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        hint = "one class number per sample; of one-hot rows take labels.argmax(1)"
        raise errors.shape("stratified_split", "labels must have one axis", labels, hint=hint)
    if not 0 < test_fraction < 1:
        what = f"test_fraction must lie between 0 and 1: {test_fraction}"
        raise errors.argument("stratified_split", what, hint="0.2 keeps a fifth for testing")
    in_test = np.zeros(len(labels), bool)
    order = shuffled_order(len(labels), seed)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        count = round(len(members) * test_fraction)
        if len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        in_test[members[:count]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
