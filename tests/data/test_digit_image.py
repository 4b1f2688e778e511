"""A picture of a digit comes out like those of the training set, whatever it was drawn on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adjoint.base.errors import ArgumentError, ShapeError
from adjoint.data import load_digits
from adjoint.data.digit_image import _area_matrix, digit_image


def sheet(height: int = 60, width: int = 80) -> np.ndarray:
    """A dark bar on light paper, away from the middle."""
    paper = np.full((height, width), 230, np.uint8)
    paper[10:50, 12:22] = 20
    return paper


def test_ink_is_light_in_the_middle_and_fills_the_box() -> None:
    found = digit_image(sheet(), size=32, box=20)
    assert found.shape == (32, 32)
    assert found.dtype == np.float32
    rows, columns = np.nonzero(found > 0.5)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 25, 13, 17)
    assert found[0].max() == 0
    assert found.max() == 1


def test_the_centre_of_mass_stands_in_the_middle() -> None:
    paper = np.zeros((40, 40), np.uint8)
    paper[5:35, 5:10] = 255
    paper[30:35, 10:35] = 255  # an L: its mass lies low and left
    found = digit_image(paper, size=32, box=20, by_mass=True)
    grid = np.arange(32) + 0.5
    rows, columns = (found.sum(axis) @ grid / found.sum() for axis in (1, 0))
    assert abs(rows - 16) <= 0.5
    assert abs(columns - 16) <= 0.5
    plain = digit_image(paper, size=32, box=20)
    assert abs(plain.sum(0) @ grid / plain.sum() - 16) > 1


def test_light_on_dark_is_the_same_digit() -> None:
    np.testing.assert_allclose(digit_image(255 - sheet()), digit_image(sheet()), atol=1e-6)


def test_size_and_margin_do_not_matter() -> None:
    big = np.kron(np.pad(sheet(), ((30, 5), (0, 90)), constant_values=230), np.ones((3, 3)))
    np.testing.assert_allclose(digit_image(big.astype(np.uint8)), digit_image(sheet()), atol=0.02)


def test_areas_are_those_of_torch() -> None:
    x = np.random.default_rng(0).random((1, 1, 37, 24))
    wanted = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x), (37, 8))[0, 0]
    np.testing.assert_allclose(x[0, 0] @ _area_matrix(24, 8).T, wanted)
    np.testing.assert_allclose(_area_matrix(10, 7).sum(1), 1)


def test_a_scan_of_the_training_set_comes_back_nearly_the_same() -> None:
    images = load_digits("test", size=32)[0][:50, 0]
    errors = []
    for image in images:
        paper = np.kron(255 - np.rint(image * 255), np.ones((6, 6))).astype(np.uint8)
        paper = np.pad(paper, 40, constant_values=255)
        errors.append(np.abs(digit_image(paper, box=32, through=8) - image).mean())
    assert np.mean(errors) < 0.1


def test_a_blank_sheet_is_refused() -> None:
    with pytest.raises(ArgumentError, match="found no ink"):
        digit_image(np.full((20, 20), 200, np.uint8))
    with pytest.raises(ShapeError):
        digit_image(np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ShapeError):
        digit_image(np.zeros((0, 4), np.uint8))
