"""Losses that pick the probability of a class, and distances between distributions."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_number
from adjoint.base.dtype import int64
from adjoint.base.shape import Shape, numel
from adjoint.ir.node import Array, Node, Params, Type
from adjoint.ops.reduce import spread
from adjoint.ops.rows import Wanted, full
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.functional.loss import check_reduction, matched, reduced
from adjoint.tensors.functional.softmax import log_softmax_rows
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import above, equals, number, opposite, select
from adjoint.tensors.regions import region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

IGNORED = -100
Nodes = tuple[Node, Node]


def cross_entropy(
    input: Handle, target: Handle, weight: Handle | None = None, ignore_index: int = IGNORED,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """-log softmax(x)[target] for scores x (N, C, ...) and class numbers (N, ...).

    ``target`` may also hold probabilities, of the shape of ``input``. The mean is over the
    targets that are not ``ignore_index``, weighted by ``weight`` (C,). Raises IndexingError for a
    class outside 0 .. C - 1 and ShapeError for sizes that do not fit.
    """
    check_reduction("cross_entropy", reduction)
    label_smoothing = as_number("cross_entropy", "label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise errors.argument(
            "cross_entropy",
            f"label_smoothing is a share in [0, 1], got {label_smoothing}",
            hint="0.1, say",
        )
    scores = _scores("cross_entropy", input)
    goal = node_of(target, "cross_entropy")
    if goal.dtype.kind == "f" and goal.shape == scores.shape:
        return _soft(scores, goal, weight, reduction, label_smoothing)
    rows, classes = _classes("cross_entropy", scores, goal, ignore_index)
    if weight is None and label_smoothing == 0:
        out = _fused(rows, classes, ignore=ignore_index, reduction=reduction)
        return wrap(out if reduction != "none" else ops.reshape(out, shape=goal.shape))
    log_share = log_softmax_rows(rows, axis=1)
    weights = _weights("cross_entropy", weight, rows)
    kept, picked_weight = _kept(classes, weights, rows, ignore_index)
    picked = _picked(log_share, classes)
    loss = -(picked * picked_weight)
    if label_smoothing:
        total = ops.reduce_sum(log_share * spread(weights, rows.shape, (0,)), axes=(1,))
        blurred = -select(kept, total, 0)
        loss = loss * (1 - label_smoothing) + blurred * (label_smoothing / rows.shape[1])
    return _averaged(loss, picked_weight, reduction, goal.shape)


def nll_loss(
    input: Handle, target: Handle, weight: Handle | None = None, ignore_index: int = IGNORED,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-x[target] for log-probabilities x (N, C, ...) and class numbers (N, ...).

    Reduction and errors as for ``cross_entropy``.
    """
    check_reduction("nll_loss", reduction)
    scores, goal = _scores("nll_loss", input), node_of(target, "nll_loss")
    rows, classes = _classes("nll_loss", scores, goal, ignore_index)
    weights = _weights("nll_loss", weight, rows)
    _, picked_weight = _kept(classes, weights, rows, ignore_index)
    loss = -(_picked(rows, classes) * picked_weight)
    return _averaged(loss, picked_weight, reduction, goal.shape)


def kl_div(
    input: Handle, target: Handle, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """y (log y - x) for log-probabilities x and probabilities y (or their logarithms).

    ``"batchmean"`` divides the sum by the first axis: the divergence itself; ``"mean"`` divides
    by the number of elements, as PyTorch. Where y is 0 the term is 0.
    """
    x, y = matched("kl_div", input, target)
    if log_target:
        loss = ops.exp(y) * (y - x)
    else:
        zero = equals(y, 0)
        loss = y * ops.log(select(zero, 1, y)) - select(zero, 0, y * x)
    if not isinstance(reduction, str) or reduction != "batchmean":
        return reduced("kl_div", loss, reduction)
    total = ops.reduce_sum(loss, axes=tuple(range(loss.ndim)))
    return wrap(total / float(loss.shape[0] if loss.ndim else 1))


def gaussian_nll_loss(
    input: Handle, target: Handle, var: Any, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """(log v + (x - y)^2 / v) / 2 with v = max(var, eps); ``full`` adds log(2 pi) / 2."""
    x, y = matched("gaussian_nll_loss", input, target)
    eps = as_number("gaussian_nll_loss", "eps", eps)
    v = to_dtype(node_of(var, "gaussian_nll_loss", x), x.dtype)
    if v.shape != x.shape and v.shape in ((), x.shape[:-1]):
        v = ops.reshape(v, shape=(*v.shape, 1)) if v.ndim else v
    if v.shape != x.shape and v.shape not in ((), (*x.shape[:-1], 1)):
        raise errors.shape(
            "gaussian_nll_loss",
            "the variance does not fit the input",
            v,
            x,
            hint="the shape of the input, or 1 as its last size",
        )
    if not v.is_abstract and (v.array() < 0).any():
        raise errors.argument(
            "gaussian_nll_loss",
            "a variance cannot be negative",
            hint="predict its logarithm and take exp of it",
        )
    v = v if v.shape == x.shape else ops.broadcast(v, shape=x.shape)
    v = ops.where(above(v, eps), v, ops.copy(number(eps, v), stop=True))
    error = x - y
    loss = (ops.log(v) + error * error / v) * 0.5
    return reduced("gaussian_nll_loss", loss + 0.5 * np.log(2 * pi) if full else loss, reduction)


def check_classes(op: str, input: Handle, target: Handle, ignored: int = IGNORED) -> Nodes:
    """Scores as (rows, C) and class numbers as (rows,), checked as for ``cross_entropy``."""
    scores = _scores(op, input)
    return _classes(op, scores, node_of(target, op), ignored)


# --- targets --------------------------------------------------------------------------------------


def _scores(op: str, input: Handle) -> Node:
    if not isinstance(input, Handle):
        raise errors.not_a_tensor(op, input)
    scores = input.node
    if scores.dtype.kind != "f":
        raise errors.wrong_dtype(op, scores.dtype, "scores of a float dtype", hint="x.float()")
    if not scores.shape:
        raise errors.shape(
            op,
            "scores need an axis of classes: (N, C, ...) or (C,)",
            scores,
            hint="a layer with one output per class gives such scores",
        )
    return scores


def _classes(op: str, scores: Node, goal: Node, ignored: int) -> tuple[Node, Node]:
    """Scores as (rows, C) and class numbers as (rows,), checked."""
    axis = 1 if scores.ndim > 1 else 0
    wanted = scores.shape[:axis] + scores.shape[axis + 1 :]
    if goal.dtype.kind not in "iu":
        hint = "class numbers are integers: target.long()"
        if goal.dtype.kind == "f":
            hint += f"; probabilities have the shape {errors.dims(scores.shape)}"
        raise errors.wrong_dtype(op, goal.dtype, "targets of an integer dtype", hint=hint)
    if goal.shape != wanted:
        hint = f"the target needs the shape {errors.dims(wanted)}"
        if goal.shape == scores.shape:
            hint += ": class numbers, not one-hot rows; target.argmax(1), or target.float()"
        elif numel(goal.shape) == numel(wanted):
            hint += ": target.reshape" + errors.dims(wanted)
        raise errors.shape(op, "the target does not fit the scores", scores, goal, hint=hint)
    ignored = as_integer(op, "ignore_index", ignored)
    goal = to_dtype(goal, int64)
    _check_range(op, goal, scores.shape[axis], ignored)
    rows = scores
    if scores.ndim == 1:
        rows = ops.reshape(scores, shape=(1, *scores.shape))
    elif scores.ndim > 2:
        rows = ops.permute(scores, axes=(0, *range(2, scores.ndim), 1))
        rows = ops.reshape(rows, shape=(numel(wanted), scores.shape[1]))
    return rows, goal if goal.ndim == 1 else ops.reshape(goal, shape=(numel(wanted),))


def _check_range(op: str, goal: Node, count: int, ignored: int) -> None:
    if goal.is_abstract:
        return
    values = goal.array()
    wrong = (values < 0) | (values >= count)
    if wrong.any() and (wrong := wrong & (values != ignored)).any():
        first = values[wrong].reshape(-1)[0]
        hint = f"classes are numbered 0 .. {count - 1}"
        if values.min() == 1 and values.max() == count:
            hint += "; these start at 1: use target - 1"
        else:
            hint += "; should the last layer have more outputs?"
        raise errors.index(f"class {first} for {count} scores per example", hint=hint, op=op)


def _weights(op: str, weight: Handle | None, rows: Node) -> Node:
    if weight is None:
        return full(1, rows.shape[1:], rows.dtype)
    node = node_of(weight, op)
    if node.dtype is not rows.dtype:
        raise errors.mixed_dtypes(op, node, rows)
    if node.shape != rows.shape[1:]:
        raise errors.shape(op, f"the weight needs one element for each of {rows.shape[1]} classes",
                           node, hint="one factor per class")  # fmt: skip
    return node


def _kept(classes: Node, weights: Node, rows: Node, ignored: int) -> tuple[Node, Node]:
    """Which targets count, and the weight of each."""
    kept = opposite(equals(classes, ignored))
    return kept, select(kept, ops.gather(weights, classes, batch=0), 0)


def _picked(rows: Node, classes: Node) -> Node:
    """rows[i, classes[i]]."""
    return ops.gather(rows, classes, batch=1)


def _averaged(loss: Node, weight: Node, reduction: str, shape: Shape) -> Tensor:
    if reduction == "none":
        return wrap(ops.reshape(loss, shape=shape))
    total = ops.reduce_sum(loss, axes=(0,))
    return wrap(total if reduction == "sum" else total / ops.reduce_sum(weight, axes=(0,)))


def _soft(
    scores: Node, goal: Node, weight: Handle | None, reduction: str, smoothing: float
) -> Tensor:
    axis = 1 if scores.ndim > 1 else 0
    count = scores.shape[axis]
    goal = to_dtype(goal, scores.dtype)
    if smoothing:
        goal = goal * (1 - smoothing) + smoothing / count
    terms = log_softmax_rows(scores, axis=axis) * goal
    if weight is not None:
        node = _weights("cross_entropy", weight, full(0, (1, count), scores.dtype))
        others = tuple(a for a in range(scores.ndim) if a != axis)
        terms = terms * spread(node, scores.shape, others)
    if reduction == "none":
        return wrap(-ops.reduce_sum(terms, axes=(axis,)))
    total = -ops.reduce_sum(terms, axes=tuple(range(scores.ndim)))
    rows = float(numel(scores.shape) // max(count, 1))
    return wrap(total if reduction == "sum" else total / rows)


# --- cross-entropy in one pass ----------------------------------------------------------------


def _fused_array(x: Array, classes: Array, ignore: int, reduction: str) -> Array:
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    shifted = wide - np.maximum.reduce(wide, axis=1, keepdims=True, initial=-np.inf)
    total = np.log(np.add.reduce(np.exp(shifted), axis=1))
    kept = classes != ignore
    loss = total - shifted[np.arange(len(x)), np.where(kept, classes, 0)] if x.size else total
    loss = np.where(kept, loss, 0)
    if reduction == "none":
        return loss.astype(x.dtype, copy=False)
    found = np.add.reduce(loss, dtype=loss.dtype)
    if reduction == "mean":
        found = found / loss.dtype.type(np.count_nonzero(kept))
    return np.asarray(found, x.dtype)


def _fused_body(x: Node, classes: Node, ignore: int, reduction: str) -> Sequence[Node]:
    kept = opposite(equals(classes, ignore))
    loss = select(kept, -_picked(log_softmax_rows(x, axis=1), classes), 0)
    if reduction == "none":
        return [loss]
    total = ops.reduce_sum(loss, axes=(0,))
    if reduction == "mean":
        total = total / ops.reduce_sum(ops.cast(kept, dtype=x.dtype), axes=(0,))
    return [total]


def _fused_type(x: Node, classes: Node, ignore: int, reduction: str) -> Type:
    return Type(classes.shape if reduction == "none" else (), x.dtype)


def _slope_array(ct: Array, x: Array, classes: Array, ignore: int, reduction: str) -> Array:
    """(softmax(x) - one_hot(classes)) * ct for the rows that count."""
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    kept = classes != ignore
    scale = np.where(kept, ct, 0).astype(wide.dtype, copy=False)
    if reduction == "mean":
        scale = scale / wide.dtype.type(np.count_nonzero(kept))
    found = wide - np.maximum.reduce(wide, axis=1, keepdims=True, initial=-np.inf)
    np.exp(found, out=found)
    found *= (scale / np.add.reduce(found, axis=1))[:, None]
    rows = np.flatnonzero(kept)
    found[rows, classes[rows]] -= scale[rows]
    found[~kept] = 0  # also where such a row holds no finite number
    return found.astype(x.dtype, copy=False)


def _slope_body(ct: Node, x: Node, classes: Node, ignore: int, reduction: str) -> Sequence[Node]:
    kept = opposite(equals(classes, ignore))
    ct = ct if reduction == "none" else ops.broadcast(ct, shape=classes.shape)
    if reduction == "mean":
        count = ops.reduce_sum(ops.cast(kept, dtype=x.dtype), axes=(0,))
        ct = ct / ops.broadcast(count, shape=classes.shape)
    scale = select(kept, ct, 0)
    numbers = ops.broadcast(ops.iota(size=x.shape[1], dtype=int64), shape=x.shape)
    hot = ops.eq(numbers, spread(classes, x.shape, (1,)))
    share = ops.exp(log_softmax_rows(x, axis=1))
    found = (share - select(hot, number(1, x), 0)) * spread(scale, x.shape, (1,))
    return [select(spread(kept, x.shape, (1,)), found, 0)]


def _fused_vjp(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    return [_slope(ct, *args, **static), None]


_slope = region(
    "cross_entropy_slope", _slope_body, kernel=_slope_array,
    infer=lambda ct, x, classes, ignore, reduction: Type(x.shape, x.dtype),
)  # fmt: skip
_fused = region(
    "cross_entropy", _fused_body, kernel=_fused_array, infer=_fused_type, vjp=_fused_vjp
)
