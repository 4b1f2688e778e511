"""Losses: PyTorch, closed forms, extreme inputs, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import agree, floats, maps, smooth

TF = torch.nn.functional
REDUCTIONS = ["none", "mean", "sum"]
SHAPES = [(5,), (3, 4, 2), (), (1, 7)]
RNG = np.random.default_rng(0)


def numbers(*shape: int, seed: int) -> np.ndarray:
    return floats(*shape, seed=seed) * 2 if shape else np.asarray(0.4 + seed)


def shares(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.95, shape)


@pytest.mark.feature("O12", "O15", "M5")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mse_loss", {}), ("l1_loss", {}), ("smooth_l1_loss", {}),
        ("smooth_l1_loss", {"beta": 0.3}), ("huber_loss", {}), ("huber_loss", {"delta": 0.4}),
        ("binary_cross_entropy_with_logits", {}), ("poisson_nll_loss", {}),
    ],
    ids=str,
)  # fmt: skip
def test_losses_of_real_numbers(name: str, options: dict[str, Any], reduction: str) -> None:
    options = {**options, "reduction": reduction}
    for shape in SHAPES:
        x, y = numbers(*shape, seed=0), numbers(*shape, seed=1)
        agree(
            lambda a, b: getattr(F, name)(a, b, **options),
            lambda a, b: getattr(TF, name)(a, b, **options), x, y,
        )  # fmt: skip
    x, y = numbers(3, 4, seed=0), numbers(3, 4, seed=1)
    smooth(lambda a, b: getattr(F, name)(a, b, **options), x, y)
    maps(lambda a, b: getattr(F, name)(a, b, **options), x, y)


@pytest.mark.feature("O12")
def test_both_conventions_of_the_squared_error() -> None:
    x, y = ad.tensor(floats(4, 3), requires_grad=True), ad.tensor(floats(4, 3, seed=1))
    half = F.half_squared_error(x, y)
    assert half.item() == pytest.approx(0.5 * ((x - y) ** 2).sum().item(), rel=1e-14)
    half.backward()
    np.testing.assert_array_equal(x.grad.numpy(), (x - y).detach().numpy())
    x.grad = None
    F.mse_loss(x, y).backward()
    np.testing.assert_allclose(x.grad.numpy(), (x - y).detach().numpy() * 2 / 12, rtol=1e-14)
    assert nn.HalfSquaredError()(x, y).item() == half.item()


@pytest.mark.feature("O15")
def test_the_subgradient_of_l1_at_zero_is_zero() -> None:
    x = ad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    F.l1_loss(x, ad.tensor([1.0, 1.0, 4.0]), reduction="sum").backward()
    assert x.grad.tolist() == [0.0, 1.0, -1.0]


@pytest.mark.feature("O13")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy(reduction: str) -> None:
    p, y, w = shares(4, 3, seed=0), shares(4, 3, seed=1), shares(4, 3, seed=2)
    agree(
        lambda a, b: F.binary_cross_entropy(a, b, ad.tensor(w, dtype=a.dtype), reduction),
        lambda a, b: TF.binary_cross_entropy(
            a, b, torch.tensor(w, dtype=a.dtype), reduction=reduction
        ),
        p, y,
    )  # fmt: skip
    smooth(lambda a, b: F.binary_cross_entropy(a, b, reduction=reduction), p, y, order=1)
    x = floats(4, 3) * 3
    agree(
        lambda a, b: F.binary_cross_entropy_with_logits(
            a, b, pos_weight=ad.tensor(w[0], dtype=a.dtype), reduction=reduction
        ),
        lambda a, b: TF.binary_cross_entropy_with_logits(
            a, b, pos_weight=torch.tensor(w[0], dtype=a.dtype), reduction=reduction
        ),
        x, y,
    )  # fmt: skip


@pytest.mark.feature("O13", "Z4")
def test_binary_cross_entropy_is_finite_at_the_ends() -> None:
    p = ad.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    y = ad.tensor([0.0, 1.0, 1.0, 0.0])
    loss = F.binary_cross_entropy(p, y, reduction="none")
    assert loss.tolist() == [0.0, 0.0, 100.0, 100.0]
    loss.sum().backward()
    assert np.isfinite(p.grad.numpy()).all()
    z = ad.tensor([-1e4, 1e4, -1e4, 1e4, 0.3], requires_grad=True)
    t = ad.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    loss = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    np.testing.assert_allclose(loss.tolist()[:4], [0, 0, 1e4, 1e4])
    loss.sum().backward()
    wanted = torch.sigmoid(torch.tensor(z.tolist(), dtype=torch.float64)).numpy() - t.numpy()
    np.testing.assert_allclose(z.grad.numpy(), wanted, atol=1e-7)
    small = F.binary_cross_entropy_with_logits(ad.tensor([-30.0]), ad.tensor([0.0])).item()
    assert small == pytest.approx(np.exp(-30.0), rel=1e-6)  # log(1 + e^-30), not 0


def class_targets(ignored: int | None = None) -> np.ndarray:
    found = RNG.integers(0, 6, (4, 3))
    if ignored is not None:
        found[0, 0] = ignored
    return found


@pytest.mark.feature("O14", "Z4", "M5")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [-100, 2])
def test_cross_entropy_of_classes(
    reduction: str, smoothing: float, weighted: bool, ignored: int
) -> None:
    x, target, w = floats(4, 6, 3) * 3, class_targets(ignored), shares(6, seed=3)
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignored}
    agree(
        lambda a, t: F.cross_entropy(
            a, t, ad.tensor(w, dtype=a.dtype) if weighted else None, **options
        ),
        lambda a, t: TF.cross_entropy(
            a, t, torch.tensor(w, dtype=a.dtype) if weighted else None, **options
        ),
        x, target,
    )  # fmt: skip


@pytest.mark.feature("O14")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (6,)])
def test_cross_entropy_of_probabilities(
    reduction: str, smoothing: float, shape: tuple[int, ...]
) -> None:
    x, target, w = floats(*shape) * 3, shares(*shape, seed=1), shares(6, seed=3)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    agree(
        lambda a, t: F.cross_entropy(a, t, ad.tensor(w, dtype=a.dtype), **options),
        lambda a, t: TF.cross_entropy(a, t, torch.tensor(w, dtype=a.dtype), **options),
        x, target,
    )  # fmt: skip


@pytest.mark.feature("O14")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_derivatives_and_batching(reduction: str) -> None:
    x, target = floats(4, 5) * 2, np.array([0, 4, -100, 2])
    for smoothing in (0.0, 0.1):
        smooth(
            lambda a: F.cross_entropy(
                a,
                ad.tensor(target),
                reduction=reduction,
                label_smoothing=smoothing,  # noqa: B023
            ),
            x,
        )
    maps(lambda a, t: F.cross_entropy(a, t, reduction=reduction), floats(3, 4, 5),
         np.stack([target] * 3))  # fmt: skip


@pytest.mark.feature("O14", "Z4")
def test_cross_entropy_facts() -> None:
    for classes in (2, 10, 1000):
        loss = F.cross_entropy(ad.zeros(3, classes), ad.zeros(3, dtype=ad.int64))
        assert loss.item() == pytest.approx(np.log(classes), rel=1e-7)
    x = ad.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, ad.tensor([0, 0]), reduction="none")
    assert loss.tolist() == [0.0, 2e4]
    loss.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0, 0], [-1, 1, 0]], atol=1e-7)
    # the chain written out fails where the fused one is finite
    naive = -ad.log(ad.exp(x)[:, 0] / ad.exp(x).sum(1))
    assert not np.isfinite(naive.detach().numpy()).all()
    one = F.cross_entropy(ad.tensor([1.0, 2.0, 3.0]), ad.tensor(2))
    assert one.item() == pytest.approx(0.40760597, rel=1e-6)
    assert np.isnan(F.cross_entropy(ad.zeros(1, 2), ad.tensor([-100])).item())  # as PyTorch


def test_ignored_rows_do_not_spread_nan() -> None:
    x = ad.tensor([[0.0, 1.0], [np.nan, np.inf]], requires_grad=True)
    loss = F.cross_entropy(x, ad.tensor([1, -100]))
    loss.backward()
    assert np.isfinite(loss.item()) and np.isfinite(x.grad.numpy()).all()


@pytest.mark.feature("O14")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll(reduction: str, weighted: bool) -> None:
    x, target, w = floats(4, 6, 3), class_targets(-100), shares(6, seed=3)
    agree(
        lambda a, t: F.nll_loss(
            a, t, ad.tensor(w, dtype=a.dtype) if weighted else None, reduction=reduction
        ),
        lambda a, t: TF.nll_loss(
            a, t, torch.tensor(w, dtype=a.dtype) if weighted else None, reduction=reduction
        ),
        x, target,
    )  # fmt: skip


@pytest.mark.feature("M5")
def test_every_loss_module_gives_rank_zero() -> None:
    x, y, p, c = ad.randn(4, 3), ad.randn(4, 3), ad.rand(4, 3), ad.tensor([0, 1, 2, 0])
    calls: list[tuple[nn.Module, tuple[Any, ...]]] = [
        (nn.MSELoss(), (x, y)), (nn.L1Loss(), (x, y)), (nn.SmoothL1Loss(), (x, y)),
        (nn.HuberLoss(), (x, y)), (nn.BCELoss(), (p, p)), (nn.BCEWithLogitsLoss(), (x, p)),
        (nn.CrossEntropyLoss(), (x, c)), (nn.NLLLoss(), (x, c)), (nn.KLDivLoss(), (x, p)),
        (nn.GaussianNLLLoss(), (x, y, p)), (nn.PoissonNLLLoss(), (x, p)),
        (nn.HalfSquaredError(), (x, y)),
    ]  # fmt: skip
    for module, arguments in calls:
        assert module(*arguments).shape == ()
        module.reduction = "none"
        assert module(*arguments).shape in ((4, 3), (4,))
        module.reduction = "maen"
        with pytest.raises(ArgumentError, match="maen"):
            module(*arguments)
    weighted = nn.CrossEntropyLoss(weight=ad.ones(3))
    assert list(weighted.state_dict()) == ["weight"]


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(reduction: str, log_target: bool) -> None:
    y = floats(4, 3, seed=1) if log_target else shares(4, 3, seed=1)
    theirs = "sum" if reduction == "mean" else reduction  # PyTorch's "mean" warns
    agree(
        lambda a, b: F.kl_div(a, b, reduction=reduction, log_target=log_target),
        lambda a, b: (
            TF.kl_div(a, b, reduction=theirs, log_target=log_target)
            / (12 if reduction == "mean" else 1)
        ),
        floats(4, 3), y,
    )  # fmt: skip
    zero = F.kl_div(ad.tensor([-1.0, -2.0]), ad.tensor([0.0, 1.0]), reduction="none")
    assert zero.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("full", [False, True])
def test_gaussian_and_poisson_likelihood(full: bool) -> None:
    v = shares(4, 3, seed=2)
    agree(
        lambda a, b, c: F.gaussian_nll_loss(a, b, c, full=full),
        lambda a, b, c: TF.gaussian_nll_loss(a, b, c, full=full),
        floats(4, 3), floats(4, 3, seed=1), v,
    )  # fmt: skip
    agree(
        lambda a, b, c: F.gaussian_nll_loss(a, b, c, full=full),
        lambda a, b, c: TF.gaussian_nll_loss(a, b, c, full=full),
        floats(4, 3), floats(4, 3, seed=1), v[:, :1],
    )  # fmt: skip
    agree(
        lambda a, b: F.poisson_nll_loss(a, b, log_input=False, full=full),
        lambda a, b: TF.poisson_nll_loss(a, b, log_input=False, full=full), v, v * 9,
    )  # fmt: skip


@pytest.mark.feature("M5")
@pytest.mark.parametrize(
    "name",
    ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
     "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "half_squared_error"],
)  # fmt: skip
def test_shapes_must_be_equal(name: str) -> None:
    with pytest.raises(ShapeError, match=r"different shapes.*\n(.*\n)*.*squeeze"):
        getattr(F, name)(ad.rand(4, 1), ad.rand(4))
    with pytest.raises(ArgumentError, match="reduction"):
        getattr(F, name)(ad.rand(4), ad.rand(4), reduction="avg")


@pytest.mark.feature("O14")
@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        (ad.tensor([0, 3]), IndexingError, "class 3 for 3 scores"),
        (ad.tensor([1, -1]), IndexingError, "class -1"),
        (ad.tensor([1, 3]), IndexingError, "start at 1"),
        (ad.tensor([0.0, 1.0]), DTypeError, "target.long()"),
        (ad.tensor([0, 1, 2]), ShapeError, "does not fit"),
        (ad.tensor([[0, 1, 0], [1, 0, 0]]), ShapeError, "one-hot"),
        (ad.tensor([[0], [1]]), ShapeError, "reshape"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wrong_targets_are_explained(target: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        F.cross_entropy(ad.zeros(2, 3), target)


def test_other_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match=r"\[0, 1\](.*\n)+.*with_logits"):
        F.binary_cross_entropy(ad.tensor([1.5]), ad.tensor([1.0]))
    with pytest.raises(ArgumentError, match="label_smoothing"):
        F.cross_entropy(ad.zeros(2, 3), ad.tensor([0, 1]), label_smoothing=2.0)
    with pytest.raises(ShapeError, match="each of 3 classes"):
        F.cross_entropy(ad.zeros(2, 3), ad.tensor([0, 1]), weight=ad.ones(2))
    with pytest.raises(DTypeError):
        F.cross_entropy(ad.zeros(2, 3), ad.tensor([0, 1]), weight=ad.ones(3, dtype=ad.float64))
    with pytest.raises(DTypeError):
        F.cross_entropy(ad.zeros(2, 3, dtype=ad.int64), ad.tensor([0, 1]))
    with pytest.raises(ArgumentError, match="negative"):
        F.gaussian_nll_loss(ad.zeros(2), ad.zeros(2), ad.tensor([-1.0, 1.0]))
    with pytest.raises(ArgumentError, match="beta"):
        F.smooth_l1_loss(ad.zeros(2), ad.zeros(2), beta=-1.0)
