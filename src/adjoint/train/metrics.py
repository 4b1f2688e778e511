"""Metrics as sums and counts, so that a ragged last batch and merged parts come out right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.tensors.tensor import Tensor


class Mean:
    """The mean of numbers, each of which stands for ``count`` samples: sum(value * count) / n."""

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def update(self, value: float, count: int) -> None:
        """Add a mean over ``count`` samples, such as the loss of a batch: a mean of the means of
        batches, the last of which may be smaller, would not be that of the samples."""
        self.total += float(value) * count
        self.count += count

    def merge(self, other: Mean) -> None:
        """Add what ``other`` has seen."""
        self.total += other.total
        self.count += other.count

    def compute(self) -> float:
        """The mean so far; NaN before the first sample."""
        return self.total / self.count if self.count else math.nan


class Accuracy:
    """The share of samples whose largest score stands at the label: correct / count."""

    def __init__(self) -> None:
        self.correct = 0
        self.count = 0

    def update(self, scores: Any, labels: Any) -> None:
        """Add a batch: scores (sample, class), or classes (sample,), and labels (sample,)."""
        predicted, wanted = _classes("Accuracy", scores, labels)
        self.correct += int((predicted == wanted).sum())
        self.count += len(wanted)

    def merge(self, other: Accuracy) -> None:
        """Add what ``other`` has seen."""
        self.correct += other.correct
        self.count += other.count

    def compute(self) -> float:
        """The accuracy so far, from 0 to 1; NaN before the first sample."""
        return self.correct / self.count if self.count else math.nan


class ConfusionMatrix:
    """How often each class (row) was taken for each class (column): int64 (class, class)."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, scores: Any, labels: Any) -> None:
        """Add a batch: scores (sample, class), or classes (sample,), and labels (sample,)."""
        predicted, wanted = _classes("ConfusionMatrix", scores, labels)
        for what in (predicted, wanted):
            if len(what) and not 0 <= what.min() <= what.max() < len(self.counts):
                bad = what.min() if what.min() < 0 else what.max()
                hint = f"classes go from 0 to {len(self.counts) - 1}: ConfusionMatrix(classes)"
                what = f"class {bad} in a confusion matrix of {len(self.counts)}"
                raise errors.index(what, hint=hint)
        np.add.at(self.counts, (wanted, predicted), 1)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add what ``other`` has seen. Raises ShapeError for another number of classes."""
        if other.counts.shape != self.counts.shape:
            hint = "merge only matrices of the same classes"
            raise errors.shape(
                "ConfusionMatrix", "sizes differ", self.counts, other.counts, hint=hint
            )
        self.counts += other.counts

    def compute(self) -> np.ndarray:
        """The counts so far."""
        return self.counts.copy()

    def accuracy(self) -> float:
        """The share of samples on the diagonal; NaN before the first sample."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else math.nan


def _classes(op: str, scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    predicted, wanted = (
        x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in (scores, labels)
    )
    if predicted.ndim == 2:
        predicted = predicted.argmax(1)
    if predicted.shape != wanted.shape or wanted.ndim != 1:
        hint = "one label per row of scores; of one-hot labels take labels.argmax(1)"
        what = "needs scores (sample, class) and labels (sample,)"
        raise errors.shape(op, what, scores, labels, hint=hint)
    return predicted, wanted
