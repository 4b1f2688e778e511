"""Losses that ask for a margin: between scores, between classes, between distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adjoint.base import errors
from adjoint.base.arguments import as_function, as_number
from adjoint.tensors.arithmetic import minimum, where
from adjoint.tensors.creation import arange
from adjoint.tensors.elementwise import clamp, sqrt
from adjoint.tensors.functional.activation import logsigmoid, softplus
from adjoint.tensors.functional.linear import pairwise_distance
from adjoint.tensors.functional.loss import matched, reduced
from adjoint.tensors.handle import Handle, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def hinge_loss(
    input: Handle, target: Handle, margin: float = 1.0, squared: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin - y x) for scores x and labels y of -1 or 1, or its square: the loss of a
    support vector machine. Raises ShapeError when the shapes differ."""
    x, y = _pair("hinge_loss", input, target)
    short = clamp(_number("hinge_loss", "margin", margin) - y * x, min=0)
    return reduced("hinge_loss", (short * short if squared else short).node, reduction)


def soft_margin_loss(input: Handle, target: Handle, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-y x)) for labels y of -1 or 1, exact for large |x|."""
    x, y = _pair("soft_margin_loss", input, target)
    return reduced("soft_margin_loss", softplus(-(y * x), threshold=1e30).node, reduction)


def hinge_embedding_loss(
    input: Handle, target: Handle, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """x where y = 1, max(0, margin - x) where y = -1: x is the distance of a pair that belongs
    together, or not."""
    x, y = _pair("hinge_embedding_loss", input, target)
    apart = clamp(_number("hinge_embedding_loss", "margin", margin) - x, min=0)
    zero = x * 0.0
    found = where(y != 1, apart, zero) + where(y != -1, x, zero)
    return reduced("hinge_embedding_loss", found.node, reduction)


def margin_ranking_loss(
    input1: Handle, input2: Handle, target: Handle, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin - y (x1 - x2)): x1 should rank higher where y = 1, lower where y = -1."""
    op = "margin_ranking_loss"
    first, second = _pair(op, input1, input2)
    _, y = _pair(op, input1, target)
    short = clamp(_number(op, "margin", margin) - y * (first - second), min=0)
    return reduced(op, short.node, reduction)


def cosine_embedding_loss(
    input1: Handle, input2: Handle, target: Handle, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos(x1, x2) where y = 1, max(0, cos(x1, x2) - margin) where y = -1, along the last axis.

    Inputs (N, D) and target (N,), or (D,) and a 0-d target. Raises ShapeError otherwise.
    """
    op = "cosine_embedding_loss"
    a, b = _pair(op, input1, input2)
    if not isinstance(target, Handle) or a.ndim not in (1, 2) or target.shape != a.shape[:-1]:
        raise errors.shape(
            op, "inputs (N, D) need a target (N,)", input1, target,
            hint="one label of -1 or 1 for each row",
        )  # fmt: skip
    sizes = ((a * a).sum(-1) + 1e-12) * ((b * b).sum(-1) + 1e-12)
    cosine = (a * b).sum(-1) / sqrt(sizes)
    zero = cosine * 0.0
    apart = clamp(cosine - _number(op, "margin", margin), min=0)
    found = where(_label(target, 1), 1 - cosine, zero) + where(_label(target, -1), apart, zero)
    return reduced(op, found.node, reduction)


def triplet_margin_loss(
    anchor: Handle, positive: Handle, negative: Handle, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) with the ``p``-norm distance along
    the last axis; ``swap`` uses d(positive, negative) where that is smaller. Source: Balntas et
    al., BMVC 2016."""
    return triplet_margin_with_distance_loss(
        anchor, positive, negative,
        distance_function=lambda a, b: pairwise_distance(a, b, p, eps),
        margin=margin, swap=swap, reduction=reduction,
    )  # fmt: skip


def triplet_margin_with_distance_loss(
    anchor: Handle, positive: Handle, negative: Handle, *,
    distance_function: Callable[[Any, Any], Any] | None = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``triplet_margin_loss`` with any distance of two tensors (by default the Euclidean one)."""
    op = "triplet_margin_loss"
    a, same = _pair(op, anchor, positive)
    _, other = _pair(op, anchor, negative)
    if _number(op, "margin", margin) <= 0:
        raise errors.argument(op, f"margin must be positive, got {margin}", hint="1.0, say")
    distance = (
        pairwise_distance if distance_function is None else as_function(op, distance_function)
    )
    near, far = distance(a, same), distance(a, other)
    if swap:
        far = minimum(far, distance(same, other))
    return reduced(op, clamp(near - far + margin, min=0).node, reduction)


def multi_margin_loss(
    input: Handle, target: Handle, p: int = 1, margin: float = 1.0,
    weight: Handle | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """sum over classes i != y of max(0, margin - x[y] + x[i])^p / C for scores x (N, C) and class
    numbers y (N,), times ``weight[y]``. Source: Crammer and Singer, JMLR 2001."""
    from adjoint.tensors.functional.likelihood import check_classes

    op = "multi_margin_loss"
    if p not in (1, 2):
        raise errors.argument(op, f"p must be 1 or 2, got {p}", hint="p=2 squares the margins")
    rows, classes = (wrap(n) for n in check_classes(op, input, target))
    count = rows.shape[1]
    columns = classes.unsqueeze(1)
    short = clamp(_number(op, "margin", margin) - rows.gather(1, columns) + rows, min=0)
    short = short * short if p == 2 else short
    if weight is not None:
        factors = _tensor(op, weight)
        if factors.shape != (count,):
            raise errors.shape(
                op, f"the weight needs one element for each of {count} classes", factors,
                hint="one factor per class",
            )  # fmt: skip
        short = short * factors[columns]
    others = arange(count) != columns
    found = where(others, short, short * 0.0).sum(1) / count
    return reduced(op, found.reshape(*target.shape).node, reduction)


def multilabel_margin_loss(input: Handle, target: Handle, reduction: str = "mean") -> Tensor:
    """sum over labels j and classes i that are none of max(0, 1 - x[j] + x[i]) / C, for scores x
    (N, C) or (C,) and labels of the same shape: class numbers, ended by the first -1."""
    op = "multilabel_margin_loss"
    if not isinstance(input, Handle) or not isinstance(target, Handle):
        raise errors.not_a_tensor(op, target if isinstance(input, Handle) else input)
    if input.shape != target.shape or input.ndim not in (1, 2) or target.dtype.kind not in "iu":
        raise errors.shape(
            op, "scores (N, C) need integer labels (N, C)", input, target,
            hint="fill each row with the numbers of its classes, then -1",
        )  # fmt: skip
    x, y = wrap(input.node), wrap(target.node).long()
    x, y = (x, y) if x.ndim == 2 else (x.unsqueeze(0), y.unsqueeze(0))
    count = x.shape[1]
    if not y.node.is_abstract and ((y.node.array() < -1) | (y.node.array() >= count)).any():
        raise errors.index(
            f"a label is outside of -1 .. {count - 1}", op=op, hint="classes begin at 0"
        )
    given = (y >= 0).long().cumprod(1) > 0
    place = where(given, y, y * 0)
    hits = (place.unsqueeze(2) == arange(count)) & given.unsqueeze(2)
    is_label = hits.any(1)
    short = clamp(1 - x.gather(1, place).unsqueeze(2) + x.unsqueeze(1), min=0)
    counts = given.unsqueeze(2) & ~is_label.unsqueeze(1)
    found = where(counts, short, short * 0.0).sum((1, 2)) / count
    return reduced(op, (found if input.ndim == 2 else found[0]).node, reduction)


def multilabel_soft_margin_loss(
    input: Handle, target: Handle, weight: Handle | None = None, reduction: str = "mean"
) -> Tensor:
    """The mean over classes of -(y log s(x) + (1 - y) log s(-x)), s the sigmoid; x and y (N, C)."""
    op = "multilabel_soft_margin_loss"
    x, y = _pair(op, input, target)
    loss = -(y * logsigmoid(x) + (1 - y) * logsigmoid(-x))
    if weight is not None:
        loss = loss * _tensor(op, weight)
    return reduced(op, loss.mean(-1).node, reduction)


def _pair(op: str, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    a, b = matched(op, x, y)
    return wrap(a), wrap(b)


def _tensor(op: str, value: Any) -> Tensor:
    if not isinstance(value, Handle):
        raise errors.not_a_tensor(op, value)
    return wrap(value.node)


def _number(op: str, name: str, value: Any) -> float:
    return as_number(op, name, value)


def _label(target: Handle, value: int) -> Any:
    return wrap(target.node) == value
