"""Power and fractional pooling, bags of embeddings, weights without sharing, random slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, IndexingError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional
IMAGES = {1: (2, 3, 7), 2: (2, 3, 7, 6), 3: (1, 2, 4, 5, 4)}


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_power_pooling(axes: int, p: float) -> None:
    name, x = f"lp_pool{axes}d", np.abs(floats(*IMAGES[axes])) + 0.1
    for frame in ({}, {"stride": 1, "ceil_mode": True}):
        agree(
            lambda a: getattr(F, name)(a, p, 2, **frame),  # noqa: B023
            lambda a: getattr(TF, name)(a, p, 2, **frame), x,  # noqa: B023
        )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"output_size": (3, 4)}, {"output_ratio": (0.5, 0.6)}, {"output_size": 1}], ids=str
)
def test_fractional_pooling_with_given_chances(options: dict[str, Any]) -> None:
    chance = np.random.default_rng(0).uniform(size=(2, 3, 2))
    agree(
        lambda a: F.fractional_max_pool2d(
            a, 2, _random_samples=ad.tensor(chance).to(a.dtype), return_indices=True, **options
        ),
        lambda a: TF.fractional_max_pool2d(
            a, 2, _random_samples=torch.tensor(chance).to(a.dtype), return_indices=True, **options
        ),
        floats(2, 3, 9, 8),
    )


def test_fractional_windows_are_one_or_two_apart_and_cover_the_image() -> None:
    ad.manual_seed(0)
    x = ad.arange(20 * 12).reshape(1, 1, 20, 12).double()
    seen = set()
    for _ in range(20):
        out, places = F.fractional_max_pool2d(x, 1, (13, 8), return_indices=True)
        assert (out == x.reshape(1, 1, -1).gather(2, places.reshape(1, 1, -1)).view_as(out)).all()
        rows = np.unique(places.numpy() // 12)
        assert rows[-1] == 19 and set(np.diff(rows)) <= {1, 2}
        seen.add(tuple(rows))
    assert len(seen) > 5
    assert F.fractional_max_pool2d_with_indices(x, 2, (3, 3))[1].shape == (1, 1, 3, 3)
    for wrong in ({}, {"output_size": 2, "output_ratio": 0.5}, {"output_ratio": 1.5}):
        with pytest.raises(ArgumentError):
            F.fractional_max_pool2d(x, 2, **wrong)
    with pytest.raises(ShapeError, match="do not fit"):
        F.fractional_max_pool2d(x, 2, (20, 3))


INDEX = np.array([1, 2, 4, 5, 4, 3, 2, 9])
STARTS = np.array([0, 3, 3, 5])


@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode: str, padding: int | None) -> None:
    for last in (False, True):
        starts = np.append(STARTS, 8) if last else STARTS
        options = {"mode": mode, "padding_idx": padding, "include_last_offset": last}
        agree(
            lambda w: F.embedding_bag(ad.tensor(INDEX), w, ad.tensor(starts), **options),  # noqa: B023
            lambda w: TF.embedding_bag(torch.tensor(INDEX), w, torch.tensor(starts), **options),  # noqa: B023
            floats(10, 3),
        )
    rows = INDEX.reshape(2, 4)
    agree(
        lambda w: F.embedding_bag(ad.tensor(rows), w, mode=mode, padding_idx=padding),
        lambda w: TF.embedding_bag(torch.tensor(rows), w, mode=mode, padding_idx=padding),
        floats(10, 3),
    )


def test_bags_with_factors_and_shared_gradients() -> None:
    agree(
        lambda w, s: F.embedding_bag(
            ad.tensor(INDEX), w, ad.tensor(STARTS), mode="sum", per_sample_weights=s
        ),
        lambda w, s: TF.embedding_bag(
            torch.tensor(INDEX), w, torch.tensor(STARTS), mode="sum", per_sample_weights=s
        ),
        floats(10, 3), floats(8, seed=1),
    )  # fmt: skip
    agree(
        lambda w: F.embedding(ad.tensor(INDEX), w, 2, scale_grad_by_freq=True),
        lambda w: TF.embedding(torch.tensor(INDEX), w, 2, scale_grad_by_freq=True),
        floats(10, 3),
    )
    values = floats(10, 3)
    mine, other = ad.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    F.embedding(ad.tensor(INDEX), mine, max_norm=1.0)
    TF.embedding(torch.tensor(INDEX), other, max_norm=1.0)
    np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=1e-12)
    assert (mine.detach().numpy()[0] == values[0]).all()  # not used, so not cut


def test_wrong_bags() -> None:
    w, index = ad.ones(10, 3), ad.tensor(INDEX)
    for wrong in ({}, {"offsets": ad.tensor([0]), "mode": "max", "per_sample_weights": w[:, 0]}):
        with pytest.raises(ArgumentError):
            F.embedding_bag(index, w, **wrong)
    for starts in ([1, 2], [0, 5, 3], [0, 9]):
        with pytest.raises(IndexingError, match="offsets"):
            F.embedding_bag(index, w, ad.tensor(starts))
    with pytest.raises(IndexingError, match="padding_idx"):
        F.embedding_bag(index, w, ad.tensor([0]), padding_idx=10)
    with pytest.raises(ShapeError):
        F.embedding_bag(ad.ones(3), w, ad.tensor([0]))


@pytest.mark.feature("M17")
@pytest.mark.parametrize(("shape", "kernel", "options"), [
    ((2, 3, 6, 5), (4, 3, 2, 2), {}), ((2, 3, 6, 5), (2, 3, 3, 2), {"stride": 2, "padding": 1}),
    ((2, 3, 9), (4, 3, 3), {"dilation": 2, "padding": 1}), ((3, 6, 5), (1, 3, 1, 2), {}),
])  # fmt: skip
def test_equal_kernels_everywhere_are_a_convolution(
    shape: Any, kernel: Any, options: dict[str, Any]
) -> None:
    count = len(kernel) - 2
    k = floats(*kernel)
    conv = getattr(TF, f"conv{count}d")
    places = conv(torch.zeros(shape), torch.zeros(kernel), **options).shape[-count:]
    wide = np.broadcast_to(k, (*places, *kernel)).copy()
    local = getattr(F, f"locally_connected{count}d")
    agree(
        lambda a, b: local(a, ad.tensor(wide).to(a.dtype), b, **options),
        lambda a, b: conv(a, torch.tensor(k).to(a.dtype), **options) + b,
        floats(*shape), floats(kernel[0], *places, seed=2),
    )  # fmt: skip
    smooth(lambda w: local(ad.tensor(floats(*shape)), w, **options), wide, order=1)


def test_relatives() -> None:
    agree(lambda x, w, b: F.conv_tbc(x, w, b, 1), lambda x, w, b: torch.conv_tbc(x, w, b, 1),
          floats(6, 2, 3), floats(3, 3, 4), floats(4))  # fmt: skip
    for p in (1.0, 2.0, 3.0):
        agree(lambda x: F.pdist(x, p), lambda x: TF.pdist(x, p), floats(5, 3))  # noqa: B023
    maps(F.pdist, floats(2, 4, 3))
    for name in ("max_pool2d", "adaptive_max_pool2d"):
        out, places = getattr(F, f"{name}_with_indices")(ad.tensor(floats(1, 2, 4, 4)), 2)
        assert out.shape == places.shape == (1, 2, 2, 2)


def test_random_slopes() -> None:
    ad.manual_seed(0)
    x = ad.full((20_000,), -1.0, requires_grad=True)
    slopes = -F.rrelu(x, 0.1, 0.5, training=True)
    assert slopes.min() >= 0.1 and slopes.max() < 0.5 and abs(slopes.mean() - 0.3) < 0.01
    (-slopes).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), slopes.detach().numpy())
    with pytest.raises(ArgumentError):
        F.rrelu(x, 0.5, 0.1)
    y = ad.tensor([-1.0, 2.0])
    for name in ("relu_", "leaky_relu_", "elu_", "celu_", "selu_", "hardtanh_", "rrelu_"):
        z = y.clone()
        wanted = getattr(F, name[:-1])(y).numpy()
        assert getattr(F, name)(z) is z and (z.numpy() == wanted).all()
    assert (F.threshold_(y, 0.0, 5.0) == ad.tensor([5.0, 2.0])).all()


def test_gumbel_softmax_draws_from_the_softmax() -> None:
    ad.manual_seed(0)
    logits = ad.log(ad.tensor([0.1, 0.2, 0.7])).expand(20_000, 3).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    assert ((hard == 0) | (hard == 1)).all() and (hard.sum(1) == 1).all()
    np.testing.assert_allclose(hard.detach().mean(0).numpy(), [0.1, 0.2, 0.7], atol=0.015)
    (hard * ad.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert np.isfinite(logits.grad.numpy()).all() and (logits.grad != 0).any()
    soft = F.gumbel_softmax(logits.detach(), dim=0)
    np.testing.assert_allclose(soft.sum(0).numpy(), 1, rtol=1e-4)
    with pytest.raises(ArgumentError):
        F.gumbel_softmax(logits, tau=0.0)


@pytest.mark.feature("O9")
def test_gated_units() -> None:
    x = floats(3, 6)
    a, b = torch.tensor(x).chunk(2, -1)
    np.testing.assert_allclose(F.geglu(ad.tensor(x)).numpy(), TF.gelu(a) * b, rtol=1e-12)
    np.testing.assert_allclose(F.reglu(ad.tensor(x)).numpy(), TF.relu(a) * b, rtol=1e-12)
    smooth(F.geglu, x)
    with pytest.raises(ShapeError, match="even size"):
        F.reglu(ad.tensor(x), 0)
