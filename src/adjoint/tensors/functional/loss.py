"""Losses between a prediction and a target of the same shape; reduction none, mean or sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.shape import broadcast_shapes, numel
from adjoint.ir.node import Array, Node
from adjoint.ops.rows import each
from adjoint.tensors.arithmetic import floating, pair
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import above, absolute, number, select, size_of
from adjoint.tensors.regions import pointwise
from adjoint.tensors.transcendental import log1p
from adjoint.tensors.transcendental import sigmoid as logistic

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

REDUCTIONS = ("none", "mean", "sum")


def mse_loss(
    input: Handle, target: Handle, reduction: str = "mean", weight: Handle | None = None
) -> Tensor:
    """(x - y)^2. Raises ShapeError when the shapes differ: nothing is broadcast."""
    x, y = matched("mse_loss", input, target)
    error = x - y
    return _weighted("mse_loss", error * error, weight, reduction)


def half_squared_error(input: Handle, target: Handle, reduction: str = "sum") -> Tensor:
    """(x - y)^2 / 2, by default summed over all elements: its derivative is x - y itself."""
    x, y = matched("half_squared_error", input, target)
    error = x - y
    return reduced("half_squared_error", error * error * 0.5, reduction)


def l1_loss(
    input: Handle, target: Handle, reduction: str = "mean", weight: Handle | None = None
) -> Tensor:
    """|x - y|; the derivative at x = y is 0."""
    x, y = matched("l1_loss", input, target)
    return _weighted("l1_loss", absolute(x - y), weight, reduction)


def smooth_l1_loss(
    input: Handle, target: Handle, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """d^2 / (2 beta) where d = |x - y| < beta, else d - beta / 2; ``beta=0`` is the L1 loss."""
    beta = as_number("smooth_l1_loss", "beta", beta)
    if beta < 0:
        raise errors.argument(
            "smooth_l1_loss", f"beta cannot be negative, got {beta}", hint="beta=0 is the l1 loss"
        )
    if beta == 0:
        return l1_loss(input, target, reduction)
    x, y = matched("smooth_l1_loss", input, target)
    size = absolute(x - y)
    near = ops.minimum(size, number(beta, size))
    return reduced("smooth_l1_loss", near * near * (0.5 / beta) + (size - near), reduction)


def huber_loss(
    input: Handle, target: Handle, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """d^2 / 2 where d = |x - y| <= delta, else delta (d - delta / 2)."""
    delta = as_number("huber_loss", "delta", delta)
    if delta <= 0:
        raise errors.argument(
            "huber_loss",
            f"delta must be positive, got {delta}",
            hint="delta is where squares turn into absolute values",
        )
    x, y = matched("huber_loss", input, target)
    size = absolute(x - y)
    near = ops.minimum(size, number(delta, size))
    return reduced("huber_loss", near * near * 0.5 + (size - near) * delta, reduction)


def binary_cross_entropy(
    input: Handle, target: Handle, weight: Handle | None = None, reduction: str = "mean"
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) for probabilities p.

    The logarithms are not taken below -100, so that p = 0 and p = 1 give a finite loss. Raises
    ArgumentError for a p outside [0, 1].
    """
    p, y = matched("binary_cross_entropy", input, target)
    if not p.is_abstract:
        values = p.array()
        if not ((values >= 0) & (values <= 1)).all():
            raise errors.argument(
                "binary_cross_entropy", "probabilities must be in [0, 1]",
                hint="for raw scores use binary_cross_entropy_with_logits, or sigmoid(x) first",
            )  # fmt: skip
    return _weighted("binary_cross_entropy", _surprise(p, y), weight, reduction)


def binary_cross_entropy_with_logits(
    input: Handle, target: Handle, weight: Handle | None = None, reduction: str = "mean",
    pos_weight: Handle | None = None,
) -> Tensor:  # fmt: skip
    """-(y log s(x) + (1 - y) log(1 - s(x))) with the sigmoid s, exact for large |x|.

    Its derivative is s(x) - y. ``pos_weight`` multiplies the first term.
    """
    op = "binary_cross_entropy_with_logits"
    x, y = matched(op, input, target)
    if pos_weight is None:
        return _weighted(op, _logit_surprise(x, y), weight, reduction)
    factor = _spread(op, pos_weight, x)
    log_share = size_of(x)
    log_share = log1p(ops.exp(-log_share)) + ops.maximum(-x, number(0, x))
    loss = (1.0 - y) * x + ((factor - 1.0) * y + 1.0) * log_share
    return _weighted(op, loss, weight, reduction)


def poisson_nll_loss(
    input: Handle, target: Handle, log_input: bool = True, full: bool = False,
    eps: float = 1e-8, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """exp(x) - y x for a log rate x (or rate - y log(rate + eps)), the negative log-likelihood of
    a Poisson count y; ``full`` adds Stirling's log y! for y > 1."""
    x, y = matched("poisson_nll_loss", input, target)
    loss = ops.exp(x) - y * x if log_input else x - y * ops.log(x + eps)
    if full:
        large = above(y, 1)
        count = select(large, y, 1)
        stirling = count * ops.log(count) - count + ops.log(count * (2 * np.pi)) * 0.5
        loss = loss + select(large, stirling, 0)
    return reduced("poisson_nll_loss", loss, reduction)


def matched(op: str, input: Handle, target: Handle) -> tuple[Node, Node]:
    """Both as floats of one dtype; raises ShapeError unless they have one shape."""
    if not isinstance(input, Handle) or not isinstance(target, Handle):
        raise errors.not_a_tensor(op, target if isinstance(input, Handle) else input)
    if input.shape != target.shape:
        raise errors.shape(
            op, "input and target have different shapes", input, target,
            hint=_alike(input.shape, target.shape),
        )  # fmt: skip
    x, y = pair(op, input, target)
    return floating(x), floating(y)


def reduced(op: str, loss: Node, reduction: str) -> Tensor:
    """The mean or the sum of ``loss``, or all of it. Raises ArgumentError for other words."""
    check_reduction(op, reduction)
    if reduction == "none":
        return wrap(loss)
    total = ops.reduce_sum(loss, axes=tuple(range(loss.ndim)))
    if reduction == "sum":
        return wrap(total)
    return wrap(total / float(numel(loss.shape)))


def check_reduction(op: str, reduction: str) -> None:
    as_choice(f"{op} reduction", reduction, REDUCTIONS)


def _weighted(op: str, loss: Node, weight: Handle | None, reduction: str) -> Tensor:
    return reduced(op, loss if weight is None else loss * _spread(op, weight, loss), reduction)


def _spread(op: str, weight: Handle, like: Node) -> Node:
    w = node_of(weight, op)
    if w.dtype is not like.dtype:
        raise errors.mixed_dtypes(op, w, like)
    if broadcast_shapes(op, w.shape, like.shape) != like.shape:
        raise errors.shape(
            op,
            "the weight does not fit the input",
            w,
            like,
            hint="sizes must be equal or 1, compared from the last axis",
        )
    return w if w.shape == like.shape else ops.broadcast(w, shape=like.shape)


def _alike(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    squeezed = tuple(s for s in a if s != 1), tuple(s for s in b if s != 1)
    if squeezed[0] == squeezed[1]:
        return "make them equal first: pred.squeeze(-1), or target.unsqueeze(-1)"
    return "a broadcast loss is nearly always a mistake; expand one of them if it is meant"


# --- the regions ------------------------------------------------------------------------------


def _surprise_array(p: Array, y: Array) -> Array:
    log_p = np.maximum(np.log(p), -100)
    log_q = np.maximum(np.log1p(-p), -100)
    return -(y * log_p + (1 - y) * log_q)


def _logs(p: Node) -> tuple[Node, Node]:
    floor = number(-100, p)
    return ops.maximum(ops.log(p), floor), ops.maximum(log1p(-p), floor)


def _surprise_body(p: Node, y: Node) -> list[Node]:
    log_p, log_q = _logs(p)
    return [-(y * log_p + (1.0 - y) * log_q)]


def _surprise_slope(ct: Node, out: Node, p: Node, y: Node) -> Node:
    """(p - y) / (p (1 - p)), whose denominator is kept above 1e-12."""
    return ct * ((p - y) / ops.maximum(p * (1.0 - p), number(1e-12, p)))


def _surprise_target_slope(ct: Node, out: Node, p: Node, y: Node) -> Node:
    log_p, log_q = _logs(p)
    return ct * (log_q - log_p)


_surprise = pointwise(
    "binary_cross_entropy", _surprise_array, _surprise_body,
    each(_surprise_slope, _surprise_target_slope),
)  # fmt: skip


def _logit_surprise_array(x: Array, y: Array) -> Array:
    return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))


def _logit_surprise_body(x: Node, y: Node) -> list[Node]:
    return [ops.maximum(x, number(0, x)) - x * y + log1p(ops.exp(-size_of(x)))]


_logit_surprise = pointwise(
    "binary_cross_entropy_with_logits", _logit_surprise_array, _logit_surprise_body,
    each(
        lambda ct, out, x, y: ct * (logistic(x) - y), lambda ct, out, x, y: -(ct * x)
    ),
)  # fmt: skip
