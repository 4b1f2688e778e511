"""The picture of a run can be drawn for any run, in one file, without a window."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adjoint.base.errors import MissingExtraError
from adjoint.train import Epoch, History, save_training_figure


def history(*losses: float) -> History:
    return History([Epoch(i, x, 0.5, x, 0.5, 1.0) for i, x in enumerate(losses, 1)])


@pytest.mark.parametrize(
    ("run", "classes"),
    [
        (history(2.3, 1.0, 0.5), 10),
        (history(2.3), 2),
        (history(), 3),
        (history(1.0, math.nan, math.inf), 3),
    ],
    ids=["usual", "one epoch", "stopped at once", "diverged"],
)
def test_any_run_can_be_drawn(run: History, classes: int, tmp_path: Path) -> None:
    matrix = np.eye(classes, dtype=np.int64) * 7
    matrix[0] = 0
    save_training_figure(run, matrix, tmp_path / "a.png", "a title")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_texts_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    real = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), real(self, *a, **k))[1]
    )
    matrix = np.full((10, 10), 1000)
    run = history(*np.linspace(2, 0.01, 30))
    save_training_figure(run, matrix, tmp_path / "a.png", "LeNet on mnist, seed 0: 99.05%")
    figures[0].canvas.draw()  # labels are placed when they are drawn
    renderer = figures[0].canvas.get_renderer()  # type: ignore[attr-defined]
    panels = figures[0].axes
    texts = [
        text.get_window_extent(renderer)
        for axes in panels
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label)
        if text.get_text()
    ]
    texts += [t.get_window_extent(renderer) for t in panels[2].texts]
    texts.append(figures[0]._suptitle.get_window_extent(renderer))  # type: ignore[attr-defined]
    assert len(texts) > 100
    clashes = [(a, b) for i, a in enumerate(texts) for b in texts[i + 1 :] if a.overlaps(b)]
    assert clashes == []


def test_without_matplotlib_the_command_to_type_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'adjoint\[plot\]'"):
        save_training_figure(history(1.0), np.eye(2), tmp_path / "a.png")
