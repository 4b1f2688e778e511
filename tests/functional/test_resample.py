"""Resampling, shuffled pixels, sampling on grids: PyTorch, and what goes wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.nn import functional as F
from adjoint.tensors.functional.resample import MODES
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional
SHAPES = {1: (2, 3, 5), 2: (2, 3, 5, 4), 3: (1, 2, 3, 4, 2)}
SIZES: list[dict[str, Any]] = [
    {"size": 7}, {"size": 2}, {"scale_factor": 2}, {"scale_factor": 1.7}, {"scale_factor": 0.6},
    {"scale_factor": 2.3, "recompute_scale_factor": True},
]  # fmt: skip


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_interpolate(mode: str, sizes: dict[str, Any]) -> None:
    for count in MODES[mode]:
        corners = [None] if mode.startswith(("nearest", "area")) else [None, True]
        for aligned in corners:
            options = {**sizes, "mode": mode, "align_corners": aligned}
            agree(
                lambda a: F.interpolate(a, **options),  # noqa: B023
                lambda a: TF.interpolate(a, **options),  # noqa: B023
                floats(*SHAPES[count]),
            )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [{"size": (3, 2)}, {"scale_factor": 0.4}, {"size": (8, 3)}],
                         ids=str)  # fmt: skip
def test_antialias(mode: str, sizes: dict[str, Any]) -> None:
    options = {**sizes, "mode": mode, "antialias": True}
    agree(
        lambda a: F.interpolate(a, **options), lambda a: TF.interpolate(a, **options),
        floats(2, 1, 7, 9),
    )  # fmt: skip


def test_older_names() -> None:
    x = floats(2, 3, 4, 5)
    for name in ("upsample", "upsample_nearest", "upsample_bilinear"):
        with pytest.warns(UserWarning, match="deprecated"):
            agree(lambda a: getattr(F, name)(a, scale_factor=2),  # noqa: B023
                  lambda a: getattr(TF, name)(a, scale_factor=2), x)  # noqa: B023  # fmt: skip


def test_derivatives_and_batching() -> None:
    for options in ({"mode": "bicubic", "size": (3, 5)}, {"mode": "nearest", "size": (5, 8)}):
        smooth(lambda a: F.interpolate(a, **options), floats(1, 2, 4, 3))  # noqa: B023
        maps(lambda a: F.interpolate(a, **options), floats(2, 1, 2, 4, 3))  # noqa: B023


def test_shuffles() -> None:
    agree(lambda a: F.pixel_shuffle(a, 2), lambda a: TF.pixel_shuffle(a, 2), floats(2, 12, 3, 4))
    agree(lambda a: F.pixel_shuffle(a, 3), lambda a: TF.pixel_shuffle(a, 3), floats(9, 1, 2))
    agree(lambda a: F.pixel_unshuffle(a, 2), lambda a: TF.pixel_unshuffle(a, 2), floats(2, 3, 4, 6))
    agree(lambda a: F.channel_shuffle(a, 3), lambda a: TF.channel_shuffle(a, 3), floats(2, 6, 4, 5))
    x = ad.tensor(floats(2, 8, 3, 5))
    assert (F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2) == x).all()
    assert (F.channel_shuffle(F.channel_shuffle(x, 2), 4) == x).all()


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(padding: str, aligned: bool) -> None:
    for shape, grid in (((2, 3, 4, 5), (2, 3, 6, 2)), ((2, 2, 3, 4, 2), (2, 3, 2, 2, 3))):
        options = {"padding_mode": padding, "align_corners": aligned}
        agree(
            lambda a, g: F.grid_sample(a, g, **options),  # noqa: B023
            lambda a, g: TF.grid_sample(a, g, **options),  # noqa: B023
            floats(*shape), floats(*grid, seed=1),
        )  # fmt: skip
        places = ad.tensor(floats(*grid, seed=1))
        agree(
            lambda a: F.grid_sample(a, places.to(a.dtype), "nearest", **options),  # noqa: B023
            lambda a: TF.grid_sample(
                a, torch.tensor(places.numpy()).to(a.dtype), "nearest", **options  # noqa: B023
            ),
            floats(*shape),
        )  # fmt: skip


@pytest.mark.parametrize("aligned", [False, True])
def test_affine_grid(aligned: bool) -> None:
    for theta, size in (((2, 2, 3), (2, 3, 4, 5)), ((2, 3, 4), (2, 3, 4, 3, 2))):
        agree(
            lambda a: F.affine_grid(a, size, aligned),  # noqa: B023
            lambda a: TF.affine_grid(a, size, aligned), floats(*theta),  # noqa: B023
        )  # fmt: skip
    identity = ad.tensor(np.eye(2, 3)[None])
    x = ad.tensor(floats(1, 2, 5, 4))
    same = F.grid_sample(x, F.affine_grid(identity, x.shape, aligned), align_corners=aligned)
    np.testing.assert_allclose(same.numpy(), x.numpy(), atol=1e-12)


def test_wrong_arguments() -> None:
    x = ad.ones(1, 4, 3, 3)
    for options, message in [
        ({}, "either size or scale_factor"), ({"size": 2, "scale_factor": 2}, "either"),
        ({"size": (2, 2, 2)}, "needs 2 numbers"), ({"size": 2, "mode": "cubic"}, "bicubic"),
        ({"size": 2, "align_corners": True}, "does not go with"),
        ({"size": 2, "antialias": True}, "does not go with"),
        ({"size": 2, "recompute_scale_factor": True}, "needs a scale_factor"),
    ]:  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            F.interpolate(x, **options)
    for wrong in (
        lambda: F.interpolate(x, 2, mode="linear"), lambda: F.interpolate(x, scale_factor=0.1),
        lambda: F.pixel_shuffle(x, 3), lambda: F.pixel_unshuffle(x, 2),
        lambda: F.channel_shuffle(x, 3), lambda: F.grid_sample(x, ad.ones(1, 2, 2, 3)),
        lambda: F.affine_grid(ad.ones(1, 2, 2), (1, 1, 2, 2)),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            wrong()
    with pytest.raises(DTypeError):
        F.interpolate(ad.ones(1, 1, 2, 2).long(), 3)
