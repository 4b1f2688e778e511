"""Losses with a margin, for alignments, masks and pairs: torch's numbers and gradients, and facts
where torch has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import AdjointError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional
REDUCTIONS = ["none", "mean", "sum"]
RNG = np.random.default_rng(0)


def signs(*shape: int, seed: int = 0) -> np.ndarray:
    return np.sign(np.random.default_rng(seed).normal(size=shape))


def both(name: str, *arrays: Any, **options: Any) -> None:
    """Function and module against torch, and the derivatives against differences."""
    agree(
        lambda *a: getattr(F, name)(*a, **options), lambda *a: getattr(TF, name)(*a, **options),
        *arrays,
    )  # fmt: skip


@pytest.mark.feature("M5", "O15")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_margins_between_two(reduction: str, margin: float) -> None:
    x, y, z = floats(5, 3), floats(5, 3, seed=1), signs(5, 3)
    options: dict[str, Any] = {"reduction": reduction}
    both("soft_margin_loss", x * 5, z.astype(np.int64), **options)
    both("hinge_embedding_loss", x, z, margin=margin, **options)
    agree(
        lambda a, b, t: F.margin_ranking_loss(a, b, t, margin, **options),
        lambda a, b, t: TF.margin_ranking_loss(a, b, t, margin, **options), x, y, z,
    )  # fmt: skip
    label = signs(5).astype(np.int64)
    both("cosine_embedding_loss", x, y, label, margin=margin - 0.3, **options)
    both("cosine_embedding_loss", x[0], y[0], label[:1].reshape(()), margin=0.1, **options)
    smooth(lambda a, b: F.soft_margin_loss(a, b, **options), x, z)
    far = F.soft_margin_loss(ad.tensor([1e4, -1e4]), ad.tensor([1.0, 1.0]), "none")
    assert far.tolist() == [0.0, 1e4]


@pytest.mark.feature("M5")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_triplets(reduction: str, swap: bool, p: float) -> None:
    arrays = [floats(6, 4, seed=s) for s in range(3)]
    options: dict[str, Any] = {"margin": 0.7, "swap": swap, "reduction": reduction}
    both("triplet_margin_loss", *arrays, p=p, **options)
    agree(
        lambda *a: F.triplet_margin_with_distance_loss(
            *a, distance_function=lambda x, y: ((x - y) ** 2).sum(-1), **options
        ),
        lambda *a: TF.triplet_margin_with_distance_loss(
            *a, distance_function=lambda x, y: ((x - y) ** 2).sum(-1), **options
        ),
        *arrays,
    )


@pytest.mark.feature("M5")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_margins_between_classes(reduction: str) -> None:
    x, classes, w = floats(5, 4), RNG.integers(0, 4, 5), RNG.uniform(0.1, 2, 4)
    for p in (1, 2):
        both("multi_margin_loss", x, classes, p=p, margin=0.8, reduction=reduction)
    both("multi_margin_loss", x[0], classes[:1].reshape(()), reduction=reduction)
    agree(
        lambda a, t: F.multi_margin_loss(
            a, t, weight=ad.tensor(w, dtype=a.dtype), reduction=reduction
        ),
        lambda a, t: TF.multi_margin_loss(
            a, t, weight=torch.tensor(w, dtype=a.dtype), reduction=reduction
        ),
        x, classes,
    )  # fmt: skip
    labels = np.array([[0, 2, -1, 1], [3, -1, -1, -1], [-1, 0, 1, 2], [1, 0, 3, 2], [2, 2, -1, 0]])
    both("multilabel_margin_loss", x, labels, reduction=reduction)
    both("multilabel_margin_loss", x[0], labels[0], reduction=reduction)
    targets = RNG.uniform(0, 1, (5, 4))
    agree(
        lambda a, t: F.multilabel_soft_margin_loss(
            a, t, ad.tensor(w, dtype=a.dtype), reduction=reduction
        ),
        lambda a, t: TF.multilabel_soft_margin_loss(
            a, t, torch.tensor(w, dtype=a.dtype), reduction=reduction
        ),
        x * 3, targets,
    )  # fmt: skip
    maps(lambda a, t: F.multi_margin_loss(a, t, reduction=reduction), floats(3, 5, 4),
         np.stack([classes] * 3))  # fmt: skip


def ctc(m: Any, x: Any, targets: Any, lengths: Any, sizes: Any, **options: Any) -> Any:
    space = F if m is ad else TF
    return space.ctc_loss(space.log_softmax(x, -1), targets, lengths, sizes, **options)


@pytest.mark.feature("M5")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("blank", [0, 4])
def test_ctc(reduction: str, blank: int) -> None:
    """Gradients compared after log_softmax: torch's own are those of the scores."""
    x = floats(9, 4, 5)
    choices = [c for c in range(5) if c != blank]
    targets = RNG.choice(choices, (4, 3))
    targets[1] = targets[1, 0]  # the same label thrice needs blanks between
    lengths, sizes = np.array([9, 8, 7, 4]), np.array([3, 3, 2, 0])
    options: dict[str, Any] = {"blank": blank, "reduction": reduction}
    agree(
        lambda a, *r: ctc(ad, a, *r, **options), lambda a, *r: ctc(torch, a, *r, **options),
        x, targets, lengths, sizes, single=1e-3,
    )  # fmt: skip
    joined = np.concatenate([t[:s] for t, s in zip(targets, sizes, strict=True)])
    agree(
        lambda a, t: ctc(ad, a, t, (9, 8, 7, 4), (3, 3, 2, 0), **options),
        lambda a, t: ctc(torch, a, t, (9, 8, 7, 4), (3, 3, 2, 0), **options), x, joined,
        single=1e-3,
    )  # fmt: skip
    agree(
        lambda a, t: ctc(ad, a, t, ad.tensor(9), ad.tensor(3), **options),
        lambda a, t: ctc(torch, a, t, torch.tensor(9), torch.tensor(3), **options),
        x[:, 0], targets[0], single=1e-3,
    )  # fmt: skip


@pytest.mark.feature("M5")
def test_ctc_of_what_cannot_be_spelled() -> None:
    x = ad.zeros(2, 1, 3, requires_grad=True)
    target, sizes = ad.tensor([[1, 1]]), ad.tensor([2])
    for zero, want in ((False, np.inf), (True, 0.0)):
        x.grad = None
        loss = ctc(ad, x, target, ad.tensor([2]), sizes, reduction="sum", zero_infinity=zero)
        assert loss.item() == want
        loss.backward()
        assert np.isfinite(x.grad.numpy()).all()
    smooth(
        lambda a: ctc(ad, a, ad.tensor([[1, 2]]), ad.tensor([4]), sizes), floats(4, 1, 3), order=1
    )


def test_ctc_by_counting_every_alignment() -> None:
    x = floats(4, 3)
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    total = 0.0
    for path in np.ndindex(3, 3, 3, 3):
        spelled = [p for p, q in zip(path, (-1, *path), strict=False) if p != q and p != 0]
        if spelled == [1, 2]:
            total += np.exp(sum(logs[t, p] for t, p in enumerate(path)))
    loss = F.ctc_loss(ad.tensor(logs), ad.tensor([1, 2]), ad.tensor(4), ad.tensor(2), 0, "sum")
    assert loss.item() == pytest.approx(-np.log(total), rel=1e-12)


@pytest.mark.feature("M5")
def test_ctc_inside_jit() -> None:
    targets, lengths, sizes = ad.tensor([[1, 2], [2, 0]]), ad.tensor([5, 4]), ad.tensor([2, 1])
    x = ad.tensor(floats(5, 2, 3), requires_grad=True)

    def step() -> Any:
        x.grad = None
        loss = ctc(ad, x, targets, lengths, sizes)
        loss.backward()
        return loss.detach()

    plain = step().item(), x.grad.numpy().copy()
    captured = ad.jit(step)
    assert captured().item() == pytest.approx(plain[0], rel=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), plain[1], rtol=1e-9, atol=1e-12)


@pytest.mark.feature("M5")
def test_focal_loss() -> None:
    """gamma = 0 is the cross-entropy; the binary form equals the formula in torch's operations."""
    x, y = floats(6, 4) * 3, RNG.integers(0, 4, 6)
    w = RNG.uniform(0.5, 2, 4)
    for reduction in REDUCTIONS:
        a = F.focal_loss(ad.tensor(x), ad.tensor(y), 0.0, ad.tensor(w), 2, reduction)
        t = TF.cross_entropy(
            torch.tensor(x), torch.tensor(y), torch.tensor(w), ignore_index=2, reduction=reduction
        )
        np.testing.assert_allclose(a.numpy(), t.numpy(), rtol=1e-12)

    def formula(a: Any, t: Any) -> Any:
        logs = TF.log_softmax(a, 1).gather(1, t[:, None])[:, 0]
        return (-((1 - logs.exp()) ** 2) * logs).mean()

    agree(F.focal_loss, formula, x, y)
    smooth(lambda a: F.focal_loss(a, ad.tensor(y)), x)

    def binary(a: Any, t: Any) -> Any:
        p = a.sigmoid()
        q = p * t + (1 - p) * (1 - t)
        loss = TF.binary_cross_entropy_with_logits(a, t, reduction="none") * (1 - q) ** 1.5
        return (loss * (0.3 * t + 0.7 * (1 - t))).sum()

    targets = (floats(6, 4, seed=3) > 0).astype(float)
    agree(lambda a, t: F.sigmoid_focal_loss(a, t, 0.3, 1.5, "sum"), binary, x, targets)
    plain = F.sigmoid_focal_loss(ad.tensor(x), ad.tensor(targets), alpha=-1, gamma=0)
    same = F.binary_cross_entropy_with_logits(ad.tensor(x), ad.tensor(targets), reduction="none")
    np.testing.assert_allclose(plain.numpy(), same.numpy(), rtol=1e-14)
    sure = F.focal_loss(ad.tensor([[40.0, 0.0]], requires_grad=True), ad.tensor([0]), 0.5)
    assert 0 <= sure.item() < 1e-15


@pytest.mark.feature("M5")
def test_overlap_of_masks() -> None:
    y = (floats(2, 3, 4, 5) > 0).astype(float)
    for loss in (F.dice_loss, F.iou_loss, F.tversky_loss):
        assert loss(ad.tensor(y), ad.tensor(y)).item() == 0.0
        assert loss(ad.tensor(y), ad.tensor(y), smooth=0.0, reduction="none").shape == (2, 3)
        worst = loss(ad.tensor(1 - y), ad.tensor(y), smooth=1e-9)
        assert worst.item() == pytest.approx(1.0, abs=1e-8)
    p = RNG.uniform(size=(2, 3, 4, 5))
    hits = (p * y).sum((2, 3))
    dice = 1 - (2 * hits + 1) / (p.sum((2, 3)) + y.sum((2, 3)) + 1)
    iou = 1 - (hits + 1) / (p.sum((2, 3)) + y.sum((2, 3)) - hits + 1)
    np.testing.assert_allclose(F.dice_loss(ad.tensor(p), ad.tensor(y)).item(), dice.mean())
    np.testing.assert_allclose(F.iou_loss(ad.tensor(p), ad.tensor(y)).item(), iou.mean())
    smooth(lambda a, b: F.dice_loss(a, b), p, y)


@pytest.mark.feature("M5")
def test_info_nce() -> None:
    q, k, n = floats(5, 3), floats(5, 3, seed=1), floats(7, 3, seed=2)

    def formula(a: Any, b: Any, c: Any) -> Any:
        a, b, c = (TF.normalize(x) for x in (a, b, c))
        return TF.cross_entropy(a @ torch.cat([b, c]).T / 0.2, torch.arange(5))

    agree(lambda a, b, c: F.info_nce(a, b, c, 0.2), formula, q, k, n)
    one, other = (F.info_nce(ad.tensor(a), ad.tensor(b)).item() for a, b in ((q, k), (k, q)))
    both_ways = F.info_nce(ad.tensor(q), ad.tensor(k), symmetric=True).item()
    assert both_ways == pytest.approx((one + other) / 2)
    assert F.info_nce(ad.eye(4), ad.eye(4), temperature=0.01).item() < 1e-30


@pytest.mark.feature("M5")
def test_adaptive_softmax_is_torchs() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=True)
    ours = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=True)
    ours.load_state_dict({k: ad.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x, y = floats(20, 8, dtype=np.float32), RNG.integers(0, 12, 20)
    got, want = ours(ad.tensor(x), ad.tensor(y)), theirs(torch.tensor(x), torch.tensor(y))
    np.testing.assert_allclose(got.output.detach().numpy(), want.output.detach(), rtol=1e-5)
    got.loss.backward()
    want.loss.backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(
        ours.log_prob(ad.tensor(x)).detach().numpy(), theirs.log_prob(torch.tensor(x)).detach(),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    np.testing.assert_array_equal(
        ours.predict(ad.tensor(x)).numpy(), theirs.predict(torch.tensor(x)).numpy()
    )
    single = ours(ad.tensor(x[0]), ad.tensor(y[0])).output
    assert single.item() == pytest.approx(got.output[0].item(), rel=1e-5)


MODULES: list[tuple[str, dict[str, Any], list[np.ndarray]]] = [
    ("SoftMarginLoss", {}, [floats(4, 3), signs(4, 3).astype(np.int64)]),
    ("HingeEmbeddingLoss", {"margin": 0.5}, [floats(4, 3), signs(4, 3)]),
    ("MarginRankingLoss", {"margin": 0.5}, [floats(4), floats(4, seed=1), signs(4)]),
    ("CosineEmbeddingLoss", {"margin": 0.1}, [floats(4, 3), floats(4, 3, seed=1), signs(4)]),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5}, [floats(4, 3), np.array([0, 1, 2, 0])]),
    ("MultiLabelMarginLoss", {}, [floats(2, 3), np.array([[0, 2, -1], [1, -1, -1]])]),
    ("MultiLabelSoftMarginLoss", {}, [floats(4, 3), (floats(4, 3) > 0).astype(float)]),
    ("TripletMarginLoss", {"swap": True}, [floats(4, 3, seed=s) for s in range(3)]),
    ("TripletMarginWithDistanceLoss", {}, [floats(4, 3, seed=s) for s in range(3)]),
    ("CTCLoss", {"blank": 2}, [-np.abs(floats(5, 2, 3)), np.array([[0, 1], [1, 1]]),
                               np.array([5, 4]), np.array([2, 1])]),
]  # fmt: skip


@pytest.mark.feature("M5")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "arrays"), MODULES, ids=[m[0] for m in MODULES])
def test_modules_equal_torchs(
    name: str, options: dict[str, Any], arrays: list[np.ndarray], reduction: str
) -> None:
    agree(
        getattr(nn, name)(**options, reduction=reduction),
        getattr(torch.nn, name)(**options, reduction=reduction), *arrays,
        gradient=name != "CTCLoss", single=1e-3,
    )  # fmt: skip


def test_own_modules_call_their_functions() -> None:
    x, y, p = ad.randn(4, 3), ad.tensor([0, 1, 2, 0]), ad.rand(2, 3, 5)
    mask = (p > 0.5).float()
    for module, args, function in [
        (nn.FocalLoss(1.5), (x, y), F.focal_loss(x, y, 1.5)),
        (nn.DiceLoss(0.5), (p, mask), F.dice_loss(p, mask, 0.5)),
        (nn.IoULoss(0.5), (p, mask), F.iou_loss(p, mask, 0.5)),
        (nn.InfoNCE(0.2, True), (x, x + 1), F.info_nce(x, x + 1, None, 0.2, True)),
        (nn.HingeLoss(squared=True), (x, x.sign()), F.hinge_loss(x, x.sign(), squared=True)),
    ]:
        assert module(*args).item() == function.item() and module(*args).shape == ()
    each = F.hinge_loss(ad.tensor([2.0, 0.5]), ad.tensor([1.0, -1.0]), reduction="none")
    assert each.tolist() == [0.0, 1.5]


@pytest.mark.feature("M5")
def test_nothing_is_broadcast_and_mistakes_are_explained() -> None:
    column, row = ad.rand(4, 1), ad.rand(4)
    for name in ("soft_margin_loss", "hinge_embedding_loss", "hinge_loss", "sigmoid_focal_loss",
                 "multilabel_soft_margin_loss", "dice_loss", "info_nce"):  # fmt: skip
        with pytest.raises(ShapeError, match="different shapes"):
            getattr(F, name)(column, row)
    frames, labels = ad.rand(5, 2, 3), ad.tensor([[1, 2], [1, 1]])
    for wrong, message in [
        (lambda: F.margin_ranking_loss(row, row, column), "different shapes"),
        (lambda: F.triplet_margin_loss(row, row, column), "different shapes"),
        (lambda: F.triplet_margin_loss(column, column, column, margin=0), "positive"),
        (lambda: F.cosine_embedding_loss(column, column, column), "a target"),
        (lambda: F.multi_margin_loss(ad.rand(2, 3), ad.tensor([0, 3])), "class 3"),
        (lambda: F.multi_margin_loss(ad.rand(2, 3), ad.tensor([0, 1]), p=3), "p must be"),
        (lambda: F.multilabel_margin_loss(ad.rand(3), ad.tensor([0, 5, -1])), "outside"),
        (lambda: F.multilabel_margin_loss(ad.rand(3), ad.rand(3)), "integer labels"),
        (lambda: F.ctc_loss(frames, labels, (5, 5), (2, 3)), "longer than"),
        (lambda: F.ctc_loss(frames, labels, (6, 5), (2, 2)), "0 .. 5"),
        (lambda: F.ctc_loss(frames, labels, (5,), (2, 2)), "2 integers"),
        (lambda: F.ctc_loss(frames, labels, (5, 5), (2, 2), blank=3), "range"),
        (lambda: F.ctc_loss(frames, labels, (5, 5), (2, 2), blank=1), "label 1"),
        (lambda: F.ctc_loss(frames, labels[:1], (5, 5), (2, 2)), "targets"),
        (lambda: F.ctc_loss(frames, ad.rand(2, 2), (5, 5), (2, 2)), "integers"),
        (lambda: F.focal_loss(ad.rand(2, 3), ad.tensor([0, 1]), gamma=-1), "gamma"),
        (lambda: F.info_nce(ad.rand(2, 3), ad.rand(2, 3), temperature=0), "temperature"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, [3, 2]), "cutoffs"),
        (lambda: nn.HingeLoss(reduction="avg"), "avg"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
