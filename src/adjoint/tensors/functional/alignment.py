"""Connectionist temporal classification: the loss of a label sequence whose places are unknown."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_integer
from adjoint.base.dtype import int64
from adjoint.tensors.arithmetic import logical_and, maximum, where
from adjoint.tensors.control import scan
from adjoint.tensors.creation import arange, full, full_like, tensor
from adjoint.tensors.functional.loss import check_reduction, reduced
from adjoint.tensors.functional.softmax import logsumexp
from adjoint.tensors.handle import Handle, wrap
from adjoint.tensors.movement import cat, stack

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def ctc_loss(
    log_probs: Handle, targets: Handle, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """-log of the probability that frames spell a label sequence, summed over all alignments: a
    label may be repeated, and ``blank`` stands between.

    log_probs: (T, N, C) or (T, C), logarithms of probabilities; targets: (N, S), or all in one row.
    "mean" divides by the lengths of the targets first. A sequence too long for its frames has an
    infinite loss, or 0 with ``zero_infinity``. Raises ShapeError and IndexingError for sizes and
    labels that do not fit. Source: Graves et al., ICML 2006.
    """
    check_reduction("ctc_loss", reduction)
    frames = _frames(log_probs)
    steps, count, classes = frames.shape
    blank = as_integer("ctc_loss", "blank", blank)
    if not 0 <= blank < classes:
        raise errors.out_of_range("ctc_loss", blank, 2, classes, least=0)
    lengths = _lengths("input_lengths", input_lengths, count, steps)
    sizes = _lengths("target_lengths", target_lengths, count, None)
    labels = _labels(targets, count, sizes, classes, blank)
    loss = -_forward(frames, labels, lengths, sizes, blank)
    if zero_infinity:
        loss = where(loss == inf, full_like(loss, 0.0), loss)
    if reduction == "mean":
        loss = loss / maximum(sizes, 1).to(loss.dtype)
    found = loss if log_probs.ndim == 3 else loss[0]
    return reduced("ctc_loss", found.node, reduction)


def _forward(frames: Tensor, labels: Tensor, lengths: Tensor, sizes: Tensor, blank: int) -> Tensor:
    """The log-probability of each label sequence by the forward recursion, one row of states
    blank, label, blank, label, ..., blank."""
    steps, count, _ = frames.shape
    width = 2 * labels.shape[1] + 1
    blanks = full((count, labels.shape[1]), blank, dtype=int64)
    states = stack([blanks, labels], 2).reshape(count, width - 1)
    states = cat([states, full((count, 1), blank, dtype=int64)], 1)
    emitted = frames.gather(2, states.unsqueeze(0).expand(steps, count, width))
    nothing = full((count, 2), -inf, dtype=frames.dtype)
    skips = logical_and(
        states != blank, cat([full((count, 2), blank, dtype=int64), states[:, :-2]], 1) != states
    )
    start = where(arange(width) < 2, emitted[0], full_like(emitted[0], -inf))

    def step(before: Tensor, now: Any) -> tuple[Tensor, None]:
        emission, running = now
        shifted = cat([nothing, before], 1)
        skipped = where(skips, shifted[:, :-2], full_like(before, -inf))
        reached = logsumexp(stack([before, shifted[:, 1:-1], skipped]), 0) + emission
        return where(running.unsqueeze(1), reached, before), None

    last = start
    if steps > 1:
        running = arange(1, steps).unsqueeze(1) < lengths
        last, _ = scan(step, start, (emitted[1:], running))
    ends = stack([2 * sizes, maximum(2 * sizes - 1, 0)], 1)
    final = last.gather(1, ends)
    first_only = logical_and((sizes == 0).unsqueeze(1), arange(2) == 1)
    return logsumexp(where(first_only, full_like(final, -inf), final), 1)


def _frames(log_probs: Any) -> Tensor:
    if not isinstance(log_probs, Handle):
        raise errors.not_a_tensor("ctc_loss", log_probs)
    if log_probs.ndim not in (2, 3) or log_probs.shape[0] == 0 or log_probs.dtype.kind != "f":
        raise errors.shape(
            "ctc_loss", "needs log-probabilities (T, N, C) or (T, C)", log_probs,
            hint="time comes first: x.transpose(0, 1).log_softmax(-1)",
        )  # fmt: skip
    found = wrap(log_probs.node)
    return found if found.ndim == 3 else found.unsqueeze(1)


def _lengths(name: str, value: Any, count: int, most: int | None) -> Tensor:
    found = wrap(value.node) if isinstance(value, Handle) else tensor(value)
    if found.dtype.kind not in "iu" or found.numel() != count:
        raise errors.shape(
            "ctc_loss", f"{name} needs {count} integers", found, hint="one for each sequence"
        )
    found = found.reshape(count).long()
    if not found.node.is_abstract:
        values = found.node.array()
        if (values < 0).any() or (most is not None and (values > most).any()):
            raise errors.argument(
                "ctc_loss", f"{name} must be in 0 .. {most or 'S'}, got {errors.clip(values)}",
                hint="lengths are counted in frames and in labels",
            )  # fmt: skip
    return found


def _labels(targets: Any, count: int, sizes: Tensor, classes: int, blank: int) -> Tensor:
    """Targets as (N, S), padded with a label that is not looked at."""
    if not isinstance(targets, Handle) or targets.dtype.kind not in "iu":
        raise errors.bad_argument("ctc_loss", "targets", targets, "a tensor of integers")
    rows = wrap(targets.node).long()
    if rows.ndim == 1 and not (count == 1 and rows.shape[0] >= 0 and _whole(rows, sizes)):
        rows = _padded(rows, sizes)
    elif rows.ndim == 1:
        rows = rows.unsqueeze(0)
    if rows.ndim != 2 or rows.shape[0] != count:
        raise errors.shape(
            "ctc_loss", f"{count} sequences need targets ({count}, S)", targets,
            hint="pad the rows, or join them into one",
        )  # fmt: skip
    if not rows.node.is_abstract and not sizes.node.is_abstract:
        _check_labels(rows.node.array(), sizes.node.array(), classes, blank)
    inside = arange(rows.shape[1]) < sizes.unsqueeze(1)
    return where(inside, rows, rows * 0)


def _whole(row: Tensor, sizes: Tensor) -> bool:
    return sizes.node.is_abstract or row.shape[0] >= int(sizes.node.array()[0])


def _padded(row: Tensor, sizes: Tensor) -> Tensor:
    """One row of joined targets cut by ``sizes``, which have to be known."""
    lengths = sizes.node.array("ctc_loss: target_lengths")
    if lengths.sum() > row.shape[0]:
        raise errors.shape(
            "ctc_loss", f"the targets should hold {lengths.sum()} labels", row,
            hint="they are joined: their number is the sum of target_lengths",
        )  # fmt: skip
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    width = int(lengths.max(initial=0))
    places = starts[:, None] + np.arange(width)
    places = np.minimum(places, max(row.shape[0] - 1, 0))
    return row[tensor(places)] if width else row[:0].reshape(len(lengths), 0)


def _check_labels(rows: Any, sizes: Any, classes: int, blank: int) -> None:
    if (sizes > rows.shape[1]).any():
        raise errors.argument(
            "ctc_loss", f"a target is longer than the {rows.shape[1]} labels given",
            hint="target_lengths counts labels without padding",
        )  # fmt: skip
    used = rows[np.arange(rows.shape[1]) < sizes[:, None]]
    wrong = (used < 0) | (used >= classes) | (used == blank)
    if wrong.any():
        raise errors.index(
            f"label {used[wrong][0]} with {classes} classes, blank {blank}", op="ctc_loss",
            hint="labels are class numbers other than blank",
        )  # fmt: skip
