"""Pooling: PyTorch, exact shares of the gradient, ties, borders, unpooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional
FRAMES: list[dict[str, Any]] = [
    {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3}, {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": 3, "stride": 1, "padding": 1}, {"kernel_size": 1},
    {"kernel_size": 4, "stride": 2},
]  # fmt: skip
IMAGES = {1: (13,), 2: (9, 8), 3: (5, 6, 7)}


@pytest.mark.feature("O24")
@pytest.mark.parametrize("frame", [*FRAMES, {"kernel_size": 2, "stride": 1, "dilation": 3},
                                   {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_max_pool(frame: dict[str, Any], axes: int) -> None:
    name, x = f"max_pool{axes}d", floats(2, 3, *IMAGES[axes])
    for indices in (False, True):
        agree(
            lambda a: getattr(F, name)(a, **frame, return_indices=indices),  # noqa: B023
            lambda a: getattr(TF, name)(a, **frame, return_indices=indices),  # noqa: B023
            x,
        )
    agree(lambda a: getattr(F, name)(a, **frame), lambda a: getattr(TF, name)(a, **frame), x[0])


@pytest.mark.feature("O25")
@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_avg_pool(frame: dict[str, Any], counted: bool, axes: int) -> None:
    name, x = f"avg_pool{axes}d", floats(2, 3, *IMAGES[axes])
    options = {**frame, "count_include_pad": counted}
    agree(lambda a: getattr(F, name)(a, **options), lambda a: getattr(TF, name)(a, **options), x)
    if axes == 2:
        options["divisor_override"] = 5
        agree(lambda a: F.avg_pool2d(a, **options), lambda a: TF.avg_pool2d(a, **options), x)


def test_sizes_per_axis() -> None:
    x = floats(2, 3, 9, 8)
    agree(
        lambda a: F.max_pool2d(a, (2, 3), (1, 2), (1, 0), (2, 1)),
        lambda a: TF.max_pool2d(a, (2, 3), (1, 2), (1, 0), (2, 1)), x,
    )  # fmt: skip
    agree(
        lambda a: F.avg_pool2d(a, (2, 3), (1, 2), (1, 0)),
        lambda a: TF.avg_pool2d(a, (2, 3), (1, 2), (1, 0)), x,
    )  # fmt: skip


@pytest.mark.feature("O24", "O25")
@pytest.mark.parametrize("frame", FRAMES[:6], ids=str)
def test_derivatives_of_both_orders_and_batching(frame: dict[str, Any]) -> None:
    x = floats(2, 2, 6, 5)
    for name in ("max_pool2d", "avg_pool2d"):
        smooth(lambda a: getattr(F, name)(a, **frame), x)  # noqa: B023
        maps(lambda a: getattr(F, name)(a, **frame), x)  # noqa: B023


@pytest.mark.feature("O24")
def test_the_gradient_goes_to_the_first_maximum() -> None:
    x = ad.tensor([[[[1.0, 5.0, 0.0, 0.0], [5.0, 2.0, 0.0, 0.0]]]], requires_grad=True)
    F.max_pool2d(x, 2).backward(ad.tensor([[[[3.0, 4.0]]]]))
    assert x.grad.tolist() == [[[[0, 3, 4, 0], [0, 0, 0, 0]]]]


@pytest.mark.feature("O24")
@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_each_window_sends_its_gradient_to_one_element(frame: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (4, 5, 8, 7)).astype(np.float64)  # many ties
    x = ad.tensor(values, requires_grad=True)
    out = F.max_pool2d(x, **frame)
    ct = rng.normal(size=out.shape)
    out.backward(ad.tensor(ct))
    np.testing.assert_allclose(x.grad.numpy().sum((2, 3)), ct.sum((2, 3)), atol=1e-12)  # preserved
    t = torch.tensor(values, requires_grad=True)
    TF.max_pool2d(t, **frame).backward(torch.tensor(ct))
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), atol=1e-12)  # also at ties
    x.grad = None
    only = ad.zeros_like(out)
    only[1, 2] = 1.0
    F.max_pool2d(x, **frame).backward(only)
    touched = (x.grad != 0).numpy().any((2, 3))
    assert touched.sum() == 1 and touched[1, 2]  # channels are independent


@pytest.mark.feature("O25")
def test_averages_split_equally() -> None:
    x = ad.ones(1, 1, 4, 4, requires_grad=True)
    F.avg_pool2d(x, 2).sum().backward()
    assert (x.grad == 0.25).all()
    y = ad.ones(1, 1, 2, 2, requires_grad=True)
    assert F.avg_pool2d(y, 2, padding=1).tolist() == [[[[0.25, 0.25], [0.25, 0.25]]]]
    out = F.avg_pool2d(y, 2, padding=1, count_include_pad=False)
    assert out.tolist() == [[[[1.0, 1.0], [1.0, 1.0]]]]


@pytest.mark.feature("O26")
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 3)])
def test_global_average(size: tuple[int, int]) -> None:
    x = ad.tensor(floats(2, 3, *size), requires_grad=True)
    out = F.adaptive_avg_pool2d(x, 1)
    assert out.shape == (2, 3, 1, 1)
    np.testing.assert_allclose(out.detach().numpy()[:, :, 0, 0], x.detach().numpy().mean((2, 3)))
    assert x.mean((2, 3)).shape == (2, 3)
    out.sum().backward()
    assert (x.grad == 1 / (size[0] * size[1])).all()


@pytest.mark.feature("O27")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 12, 31, 64])
def test_adaptive_pooling(size: int) -> None:
    x = floats(1, 2, size, 65 - size)
    for wanted in ((1, 1), (3, 5), (7, 7), (None, 4)):
        for kind in ("avg", "max"):
            name = f"adaptive_{kind}_pool2d"
            agree(
                lambda a: getattr(F, name)(a, wanted),  # noqa: B023
                lambda a: getattr(TF, name)(a, wanted),  # noqa: B023
                x, tolerance=1e-9,
            )  # fmt: skip


@pytest.mark.feature("O27")
def test_adaptive_pooling_windows_derivatives_and_indices() -> None:
    n, m = 7, 3
    x = floats(1, 1, n)
    starts = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
    ours = F.adaptive_avg_pool1d(ad.tensor(x), m).numpy()[0, 0]
    np.testing.assert_allclose(ours, [x[0, 0, a:b].mean() for a, b in starts], atol=1e-12)
    for axes in (1, 2, 3):
        image = floats(2, 2, *(5, 4, 6)[:axes])
        for kind in ("avg", "max"):
            function = getattr(F, f"adaptive_{kind}_pool{axes}d")
            theirs = getattr(TF, f"adaptive_{kind}_pool{axes}d")
            agree(lambda a: function(a, 3), lambda a: theirs(a, 3), image)  # noqa: B023
            smooth(lambda a: function(a, 3), image)  # noqa: B023
            maps(lambda a: function(a, 3), image)  # noqa: B023
    agree(
        lambda a: F.adaptive_max_pool2d(a, (3, 2), True),
        lambda a: TF.adaptive_max_pool2d(a, (3, 2), True), floats(2, 3, 7, 5),
    )  # fmt: skip


@pytest.mark.feature("O29")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_puts_maxima_back(axes: int) -> None:
    x = ad.tensor(np.abs(floats(2, 3, *(8, 6, 4)[:axes])) + 1)
    pool, unpool = getattr(F, f"max_pool{axes}d"), getattr(F, f"max_unpool{axes}d")
    out, places = pool(x, 2, return_indices=True)
    back = unpool(out, places, 2).numpy()
    kept = back != 0
    np.testing.assert_array_equal(back[kept], x.numpy()[kept])
    assert kept.sum() == out.numel()
    theirs = getattr(TF, f"max_unpool{axes}d")(
        torch.tensor(out.numpy()), torch.tensor(places.numpy()), 2
    )
    np.testing.assert_array_equal(back, theirs.numpy())


@pytest.mark.feature("O29")
def test_unpooling_of_overlapping_windows_and_odd_sizes() -> None:
    x = ad.tensor(np.abs(floats(2, 3, 7, 7)) + 1)
    out, places = F.max_pool2d(x, 3, 2, return_indices=True)
    back = F.max_unpool2d(out, places, 3, 2, output_size=x.shape).numpy()
    chosen = np.zeros((2, 3, 49), bool)
    np.put_along_axis(chosen, places.numpy().reshape(2, 3, -1), True, 2)
    np.testing.assert_array_equal(back, np.where(chosen.reshape(x.shape), x.numpy(), 0))
    smooth(lambda a: F.max_unpool2d(a, places, 3, 2, output_size=(7, 7)) ** 2, out.numpy(), order=1)
    with pytest.raises(IndexingError, match="outside an image"):
        F.max_unpool2d(out, places + 40, 3, 2)
    with pytest.raises(ShapeError, match="different shapes"):
        F.max_unpool2d(out[:1], places, 3, 2)
    with pytest.raises(DTypeError):
        F.max_unpool2d(out, places.float(), 3, 2)


def test_dtypes_nan_and_layouts() -> None:
    assert F.max_pool1d(ad.tensor([[[3, 1, 2, 5]]]), 2).tolist() == [[[3, 5]]]
    assert F.max_pool1d(ad.tensor([[[-3, -1]]], dtype=ad.int8), 2, 2, 1).tolist() == [[[-3, -1]]]
    for dtype in (ad.float16, ad.bfloat16):
        x = ad.tensor(floats(1, 2, 6, 6), dtype=dtype)
        for function in (F.max_pool2d, F.avg_pool2d):
            out = function(x, 3, 2, 1)
            assert out.dtype is dtype
            wide = function(x.float(), 3, 2, 1)
            np.testing.assert_allclose(out.float().numpy(), wide.numpy(), rtol=1e-2, atol=1e-2)
    x = ad.tensor([[[1.0, np.nan, -np.inf, -np.inf]]])
    np.testing.assert_array_equal(F.max_pool1d(x, 2).numpy(), [[[np.nan, -np.inf]]])
    turned = floats(2, 6, 5, 3)
    agree(
        lambda a: F.max_pool2d(a.permute(0, 3, 1, 2), 2),
        lambda a: TF.max_pool2d(a.permute(0, 3, 1, 2), 2), turned,
    )  # fmt: skip
    assert F.max_pool2d(ad.zeros(0, 3, 4, 4), 2).shape == (0, 3, 2, 2)
    assert F.max_pool2d(ad.empty(2, 3, 5, 5, device="meta"), 2, ceil_mode=True).shape == (
        2,
        3,
        3,
        3,
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: F.max_pool2d(ad.ones(1, 1, 3, 3), 5), ShapeError, "does not fit"),
        (lambda: F.max_pool2d(ad.ones(3, 3), 2), ShapeError, "unsqueeze"),
        (lambda: F.max_pool2d(ad.ones(1, 1, 3, 3), 2, padding=2), ArgumentError, "more than half"),
        (lambda: F.max_pool2d(ad.ones(1, 1, 3, 3), 0), ArgumentError, "kernel_size"),
        (lambda: F.avg_pool2d(ad.ones(1, 1, 3, 3, dtype=ad.int64), 2), DTypeError, "float"),
        (lambda: F.avg_pool2d(ad.ones(1, 1, 3, 3), 2, divisor_override=0), ArgumentError, "0"),
        (lambda: F.adaptive_avg_pool2d(ad.ones(1, 1, 3, 3), 0), ShapeError, "cannot pool"),
        (lambda: F.adaptive_avg_pool2d(ad.ones(1, 1, 3, 3), (1, 2, 3)), ArgumentError, "2 sizes"),
    ],
)
def test_what_does_not_fit_is_explained(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
