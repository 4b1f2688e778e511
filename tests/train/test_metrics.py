"""Metrics equal scikit-learn's on the whole set, however it was cut into batches and parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from adjoint.base.errors import IndexingError, ShapeError
from adjoint.tensors.creation import from_numpy
from adjoint.train import Accuracy, ConfusionMatrix, Mean


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_batches_and_parts_add_up(count: int, batch: int, parts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, 5)).astype(np.float32)
    labels = rng.integers(0, 5, count)
    losses = rng.normal(size=count)
    total = Mean(), Accuracy(), ConfusionMatrix(5)
    for part in range(parts):
        mine = Mean(), Accuracy(), ConfusionMatrix(5)
        rows = np.arange(count)[part::parts]
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            mine[0].update(losses[chosen].mean(), len(chosen))
            mine[1].update(from_numpy(scores[chosen]), from_numpy(labels[chosen]))
            mine[2].update(scores[chosen], labels[chosen])
        total[0].merge(mine[0])
        total[1].merge(mine[1])
        total[2].merge(mine[2])
    predicted = scores.argmax(1)
    assert total[0].compute() == pytest.approx(losses.mean(), abs=1e-12)
    assert total[1].compute() == reference.accuracy_score(labels, predicted)
    assert total[2].accuracy() == pytest.approx(total[1].compute())
    wanted = reference.confusion_matrix(labels, predicted, labels=range(5))
    np.testing.assert_array_equal(total[2].compute(), wanted)


def test_classes_instead_of_scores() -> None:
    accuracy = Accuracy()
    accuracy.update(np.array([1, 2, 3]), np.array([1, 2, 0]))
    assert accuracy.compute() == pytest.approx(2 / 3)


def test_nothing_seen_is_not_a_number() -> None:
    found = Mean().compute(), Accuracy().compute(), ConfusionMatrix(3).accuracy()
    assert all(math.isnan(value) for value in found)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="needs scores"):
        Accuracy().update(np.zeros((3, 2)), np.zeros((3, 1), int))
    with pytest.raises(ShapeError, match="needs scores"):
        Accuracy().update(np.zeros((3, 2)), np.zeros(4, int))
    matrix = ConfusionMatrix(3)
    for bad in (3, -1):
        with pytest.raises(IndexingError, match=f"class {bad} "):
            matrix.update(np.array([0]), np.array([bad]))
    assert matrix.compute().sum() == 0
    with pytest.raises(ShapeError, match="sizes differ"):
        matrix.merge(ConfusionMatrix(4))
