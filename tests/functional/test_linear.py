"""Affine maps and directions against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import DTypeError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5), (0, 5)])
def test_linear(shape: tuple[int, ...]) -> None:
    x, w, b = floats(*shape), floats(4, 5, seed=1), floats(4, seed=2)
    agree(F.linear, TF.linear, x, w, b)
    agree(F.linear, TF.linear, x, w)
    smooth(F.linear, floats(2, 3, 5), w, b)
    maps(F.linear, floats(3, 2, 5), w, b, shared=(1, 2))
    maps(F.linear, floats(3, 2, 5), floats(3, 4, 5), floats(3, 4))


def test_linear_with_a_vector_and_bilinear() -> None:
    agree(F.linear, TF.linear, floats(3, 5), floats(5, seed=1))
    agree(
        F.bilinear, TF.bilinear, floats(3, 4), floats(3, 5, seed=1), floats(2, 4, 5, seed=2),
        floats(2, seed=3),
    )  # fmt: skip


def test_direction_functions() -> None:
    x, y = floats(3, 4, 5), floats(3, 4, 5, seed=1)
    for dim in (0, 1, -1):
        agree(lambda a: F.normalize(a, dim=dim), lambda a: TF.normalize(a, dim=dim), x)  # noqa: B023
        agree(
            lambda a, b: F.cosine_similarity(a, b, dim),  # noqa: B023
            lambda a, b: TF.cosine_similarity(a, b, dim), x, y,  # noqa: B023
        )  # fmt: skip
    agree(lambda a: F.normalize(a, 1.0), lambda a: TF.normalize(a, 1.0), x)
    agree(F.pairwise_distance, TF.pairwise_distance, x, y)
    smooth(F.cosine_similarity, x, y, order=1)
    assert F.normalize(ad.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: F.linear(ad.ones(2, 3), ad.ones(4, 5)),
            ShapeError,
            "3 features, the weight takes 5",
        ),
        (lambda: F.linear(ad.ones(8, 1, 2, 3), ad.ones(4, 6)), ShapeError, r"flatten\(1\)"),
        (lambda: F.linear(ad.ones(5, 2), ad.ones(4, 5)), ShapeError, "transposed"),
        (lambda: F.linear(ad.ones(2, 5), ad.ones(4, 5, dtype=ad.float64)), DTypeError, "x.float"),
        (lambda: F.linear(ad.ones(2, 5), ad.ones(4, 5), ad.ones(3)), ShapeError, "bias needs 4"),
        (lambda: F.linear(ad.tensor(1.0), ad.ones(4, 5)), ShapeError, "at least 1 dimension"),
        (lambda: F.linear(ad.ones(2, 5), ad.ones(4, 5, 1)), ShapeError, "matrix"),
    ],
)
def test_what_does_not_fit_is_explained(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_one_hot_and_embedding_are_here_too() -> None:
    assert F.one_hot(ad.tensor([0, 2]), 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    table = floats(4, 3)
    np.testing.assert_array_equal(
        F.embedding(ad.tensor([3, 0]), ad.tensor(table)).numpy(), table[[3, 0]]
    )
