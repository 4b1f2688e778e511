"""Pictures of a run. matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.train.loop import History

TRAIN, TEST = "#3b6ea5", "#d1603d"  # also apart for colour-blind readers, and in gray


def save_training_figure(
    history: History, matrix: np.ndarray, path: str | os.PathLike[str], title: str = ""
) -> None:
    """Draw loss, accuracy and confusion matrix side by side into one PNG file.

    ``matrix`` holds counts, (true class, predicted class). Raises MissingExtraError without
    matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise errors.missing_extra("matplotlib", "plot", "drawing curves") from error
    figure = Figure(figsize=(15, 4.8), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a window
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    numbers = [epoch.number for epoch in history.epochs]
    _curves(left, numbers, "loss",
            train=[e.train_loss for e in history.epochs],
            test=[e.test_loss for e in history.epochs])  # fmt: skip
    left.set_title("Loss")
    left.set_ylim(bottom=0)
    _curves(middle, numbers, "accuracy (%)",
            train=[100 * e.train_accuracy for e in history.epochs],
            test=[100 * e.test_accuracy for e in history.epochs])  # fmt: skip
    middle.set_title("Accuracy")
    _confusion(figure, right, np.asarray(matrix))
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=120, format="png")


def _curves(axes: Any, numbers: list[int], unit: str, **series: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    for (name, values), colour, mark in zip(series.items(), (TRAIN, TEST), "os", strict=True):
        axes.plot(numbers, values, color=colour, marker=mark, markersize=4, label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if numbers:
        axes.legend()


def _confusion(figure: Any, axes: Any, matrix: np.ndarray) -> None:
    """Colours show shares of each row, so that rare classes show too; the text shows counts."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    ticks = range(len(matrix))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title("Confusion matrix (test set)")
    figure.colorbar(image, ax=axes, label="share of the true class")
