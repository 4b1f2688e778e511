from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn import datasets

from adjoint.base.errors import ArgumentError, MissingExtraError
from adjoint.data import load_digits


def test_all_of_them() -> None:
    images, labels = load_digits()
    expected = datasets.load_digits()
    assert images.dtype == np.float32
    assert images.shape == (1797, 1, 8, 8)
    np.testing.assert_array_equal(images[:, 0] * 16, expected.images)
    np.testing.assert_array_equal(labels, expected.target)
    assert labels.dtype == np.int64


def test_the_parts_make_the_whole() -> None:
    whole = load_digits()[0]
    train, test = (load_digits(kind, test_fraction=0.25, seed=3)[0] for kind in ("train", "test"))
    assert len(test) == pytest.approx(0.25 * len(whole), abs=5)
    rows = [
        np.sort(x.reshape(-1, 64).view("V256").ravel()) for x in (whole, np.append(train, test, 0))
    ]
    assert rows[0].tobytes() == rows[1].tobytes()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_larger_images(mode: str) -> None:
    images, labels = load_digits("test", size=32, mode=mode)
    assert images.shape == (len(labels), 1, 32, 32)
    assert images.dtype == np.float32
    assert images.min() == 0 and images.max() == 1


def test_an_unknown_part() -> None:
    with pytest.raises(ArgumentError, match="'validation' is not known"):
        load_digits("validation")


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'adjoint\[data\]'"):
        load_digits()
