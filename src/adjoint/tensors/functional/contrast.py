"""Losses for rare classes, for masks, and for pairs among many: focal, Dice, IoU, InfoNCE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.tensors.creation import arange
from adjoint.tensors.elementwise import expm1
from adjoint.tensors.functional.activation import sigmoid
from adjoint.tensors.functional.likelihood import cross_entropy
from adjoint.tensors.functional.linear import normalize
from adjoint.tensors.functional.loss import binary_cross_entropy_with_logits, matched, reduced
from adjoint.tensors.handle import Handle, wrap
from adjoint.tensors.movement import cat

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def focal_loss(
    input: Handle, target: Handle, gamma: float = 2.0, weight: Handle | None = None,
    ignore_index: int = -100, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-(1 - p)^gamma log p with p = softmax(x)[target], for scores x (N, C, ...): cross-entropy in
    which examples that are right count little. The mean is over all targets (of weight 1, or not
    ignored). ``gamma=0`` is the cross-entropy. Source: Lin et al., ICCV 2017.
    """
    gamma = _at_least("focal_loss", "gamma", gamma, 0.0)
    loss = cross_entropy(input, target, None, ignore_index, "none")
    focus = loss if gamma == 0 else (-expm1(-loss)) ** gamma * loss
    kept = (wrap(target.node) != ignore_index).to(loss.dtype)
    if weight is not None:
        safe = wrap(target.node) * (wrap(target.node) != ignore_index).long()
        if not isinstance(weight, Handle):
            raise errors.not_a_tensor("focal_loss", weight)
        kept = kept * wrap(weight.node)[safe]
    focus = focus * kept
    if reduction != "mean":
        return reduced("focal_loss", focus.node, reduction)
    return focus.sum() / kept.sum()


def sigmoid_focal_loss(
    inputs: Handle, targets: Handle, alpha: float = 0.25, gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:  # fmt: skip
    """a (1 - q)^gamma (-log q), q the probability of the truth: sigmoid(x) for y = 1 (with a =
    alpha), 1 - sigmoid(x) for y = 0 (a = 1 - alpha); a = 1 for a negative ``alpha``. Source: Lin et
    al., ICCV 2017."""
    op = "sigmoid_focal_loss"
    x, y = (wrap(n) for n in matched(op, inputs, targets))
    share = sigmoid(x)
    missed = share * (1 - y) + (1 - share) * y
    loss = binary_cross_entropy_with_logits(x, y, reduction="none")
    loss = loss * missed ** _at_least(op, "gamma", gamma, 0.0)
    if as_number(op, "alpha", alpha) >= 0:
        loss = loss * (alpha * y + (1 - alpha) * (1 - y))
    return reduced(op, loss.node, reduction)


def tversky_loss(
    input: Handle, target: Handle, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - (T + smooth) / (T + alpha F + beta M + smooth) for probabilities and masks of one shape
    (N, C, ...), with the hits T = sum p y, false alarms F = sum p (1 - y) and misses M =
    sum (1 - p) y of each example and channel. Source: Salehi et al., 2017."""
    op = "tversky_loss"
    p, y = (wrap(n) for n in matched(op, input, target))
    if p.ndim < 2:
        raise errors.shape(op, "needs (N, ...) or (N, C, ...)", p, hint="p.unsqueeze(0)")
    axes = tuple(range(min(2, p.ndim - 1), p.ndim))
    hits, alarms, misses = ((a * b).sum(axes) for a, b in ((p, y), (p, 1 - y), (1 - p, y)))
    smooth = _at_least(op, "smooth", smooth, 0.0)
    whole = hits + alarms * _at_least(op, "alpha", alpha, 0.0)
    whole = whole + misses * _at_least(op, "beta", beta, 0.0) + smooth
    return reduced(op, (1 - (hits + smooth) / whole).node, reduction)


def dice_loss(
    input: Handle, target: Handle, smooth: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """1 - (2 sum p y + smooth) / (sum p + sum y + smooth), for probabilities and masks of one shape
    (N, C, ...), over each example and channel. Source: Milletari et al., 3DV 2016."""
    half = _at_least("dice_loss", "smooth", smooth, 0.0) / 2
    return tversky_loss(input, target, 0.5, 0.5, half, reduction)


def iou_loss(input: Handle, target: Handle, smooth: float = 1.0, reduction: str = "mean") -> Tensor:
    """1 - (sum p y + smooth) / (sum p + sum y - sum p y + smooth), the soft Jaccard distance of
    masks; shapes as for ``dice_loss``."""
    return tversky_loss(input, target, 1.0, 1.0, smooth, reduction)


def info_nce(
    query: Handle, key: Handle, negatives: Handle | None = None, temperature: float = 0.1,
    symmetric: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Cross-entropy of picking key i for query i among all keys (and ``negatives`` (M, D)) by the
    cosine similarity over ``temperature``; query and key (N, D). ``symmetric`` adds the same from
    key to query, halved. Source: van den Oord et al., arXiv:1807.03748.
    """
    op = "info_nce"
    a, b = (wrap(n) for n in matched(op, query, key))
    if negatives is not None and not isinstance(negatives, Handle):
        raise errors.not_a_tensor(op, negatives)
    if a.ndim != 2 or (negatives is not None and negatives.shape[1:] != a.shape[1:]):
        others = key if negatives is None else negatives
        raise errors.shape(op, "needs rows (N, D)", query, others, hint="x.flatten(1)")
    scale = as_number(op, "temperature", temperature)
    if scale <= 0:
        raise errors.argument(op, f"temperature must be positive, got {scale}", hint="0.1, say")
    a, b = normalize(a), normalize(b)
    others = b if negatives is None else cat([b, normalize(negatives)], 0)
    place = arange(a.shape[0])
    found = cross_entropy(a @ others.T / scale, place, reduction="none")
    if symmetric:
        found = (found + cross_entropy(b @ a.T / scale, place, reduction="none")) / 2
    return reduced(op, found.node, reduction)


def _at_least(op: str, name: str, value: Any, low: float) -> float:
    number = as_number(op, name, value)
    if not number >= low:
        raise errors.argument(op, f"{name} must be at least {low}, got {number}", hint="2.0, say")
    return number
