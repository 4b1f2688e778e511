"""Rows of a table by index, and sums, means and maxima of bags of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import int64
from adjoint.base.shape import numel
from adjoint.ir.node import constant
from adjoint.ops.rows import full
from adjoint.tensors.arithmetic import logical_and, to_dtype, where
from adjoint.tensors.creation import arange, zeros
from adjoint.tensors.elementwise import clamp
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.modes import no_grad
from adjoint.tensors.movement import reshape
from adjoint.tensors.norms import vector_norm
from adjoint.tensors.regions import replaced
from adjoint.tensors.scatter import embedding as rows_of
from adjoint.tensors.segments import count_at, segment_max, segment_sum
from adjoint.tensors.sets import searchsorted

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def embedding(
    input: Handle, weight: Handle, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Rows of ``weight`` (V, D) for every index: (...) -> (..., D). A row used k times gets the
    sum of k gradients (with ``scale_grad_by_freq`` their mean), the row ``padding_idx`` none.

    ``max_norm``: rows that are used and longer (in ``norm_type``) are first cut to it, in
    ``weight`` itself. ``sparse`` changes nothing: gradients are dense. Raises IndexingError out of
    range.
    """
    out = rows_of(input, weight, padding_idx)
    if max_norm is not None:
        _shorten(input, weight, max_norm, norm_type)
        out = rows_of(input, weight, padding_idx)
    if not scale_grad_by_freq or (not out.requires_grad and not out.node.is_abstract):
        return out
    index = to_dtype(node_of(input, "embedding"), int64)
    flat = ops.reshape(index, shape=(numel(index.shape),))
    counts = count_at(full(0, (weight.shape[0],), int64), flat)
    share = 1.0 / wrap(ops.gather(counts, index, batch=0)).to(out.dtype)
    return wrap(replaced((out * share.unsqueeze(-1)).node, ops.copy(out.node, stop=True)))


def embedding_bag(
    input: Handle, weight: Handle, offsets: Handle | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
    sparse: bool = False, per_sample_weights: Handle | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean or maximum (``mode``) of the rows of ``weight`` (V, D) that each bag names.

    ``input`` (B, N): B bags of N indices; or (N,) with ``offsets`` (B,), where each bag begins
    (and, with ``include_last_offset``, where the last one ends). The result is (B, D), 0 for an
    empty bag. ``per_sample_weights``: factors of the rows, for sums. The row ``padding_idx`` counts
    as absent. Other arguments as for ``embedding``.
    """
    as_choice("embedding_bag mode", mode, ["sum", "mean", "max"])
    index, bags, count = _bags(input, offsets, include_last_offset)
    if per_sample_weights is not None:
        _check_weights(mode, input, per_sample_weights)
    rows = embedding(index, weight, None, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * reshape(per_sample_weights, (-1, 1))
    kept: Any = None
    if padding_idx is not None:
        kept = index != _row("embedding_bag", padding_idx, weight.shape[0])
    if mode == "max":
        return _largest(rows, bags, count, kept)
    if kept is not None:
        rows = where(kept.unsqueeze(1), rows, 0.0)
    total = segment_sum(rows, bags, count)
    if mode == "sum":
        return total
    ones = zeros(index.shape[0], dtype=rows.dtype) + 1 if kept is None else kept.to(rows.dtype)
    return total / clamp(segment_sum(ones, bags, count), min=1.0).unsqueeze(1)


def _largest(rows: Tensor, bags: Tensor, count: int, kept: Any) -> Tensor:
    """The maximum of each bag; rows that do not count go to a bag of their own."""
    if kept is not None:
        bags = where(kept, bags, count)
        return segment_max(rows, bags, count + 1)[:count]
    return segment_max(rows, bags, count)


def _bags(input: Handle, offsets: Any, include_last: bool) -> tuple[Tensor, Tensor, int]:
    """Flat indices, the bag of each, and how many bags there are."""
    index = node_of(input, "embedding_bag")
    if index.dtype.kind not in "iu" or index.ndim not in (1, 2):
        raise errors.shape(
            "embedding_bag", "the input is a vector or a matrix of integers", index,
            hint="(bags, indices), or (indices,) with offsets",
        )  # fmt: skip
    if index.ndim == 2:
        if offsets is not None:
            raise errors.argument(
                "embedding_bag", "offsets do not go with a matrix of indices",
                hint="each row is a bag; flatten the input to use offsets",
            )  # fmt: skip
        bags = np.repeat(np.arange(index.shape[0], dtype=np.int64), index.shape[1])
        flat = ops.reshape(index, shape=(numel(index.shape),))
        return wrap(flat), wrap(constant(bags)), index.shape[0]
    if offsets is None:
        raise errors.argument(
            "embedding_bag", "a vector of indices needs offsets",
            hint="offsets=tensor([0, ...]): where each bag begins",
        )  # fmt: skip
    starts = wrap(node_of(offsets, "embedding_bag"))
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or not starts.shape[0]:
        raise errors.shape(
            "embedding_bag", "offsets is a vector of integers", starts, hint="one for each bag"
        )
    if not starts.node.is_abstract:
        values = starts.numpy()
        if values[0] != 0 or (np.diff(values) < 0).any() or values[-1] > index.shape[0]:
            raise errors.index(
                "offsets must begin at 0, grow, and stay within the indices", op="embedding_bag",
                hint=f"there are {index.shape[0]} indices",
            )  # fmt: skip
    count = starts.shape[0] - bool(include_last)
    bags = searchsorted(starts[:count], arange(index.shape[0]).to(starts.dtype), right=True) - 1
    return wrap(index), bags, count


def _check_weights(mode: str, input: Handle, weights: Handle) -> None:
    if mode != "sum":
        raise errors.argument(
            "embedding_bag", f"per_sample_weights do not go with mode {mode!r}", hint='mode="sum"'
        )
    if weights.shape != input.shape:
        raise errors.shape(
            "embedding_bag", "per_sample_weights must have the shape of the input", input, weights,
            hint="one factor per index",
        )  # fmt: skip


def _row(op: str, row: int, count: int) -> int:
    if not -count <= row < count:
        raise errors.index(
            f"padding_idx {row} is outside a table of {count} rows", op=op,
            hint=f"allowed: {-count} to {count - 1}, or None",
        )  # fmt: skip
    return row % count


def _shorten(input: Handle, weight: Handle, max_norm: Any, norm_type: Any) -> None:
    limit = as_number("embedding", "max_norm", max_norm)
    with no_grad():
        used = count_at(
            full(0, (weight.shape[0],), int64),
            reshape(_indices(input), (-1,)).node,
        )
        table = wrap(weight.node).detach()
        norm = vector_norm(table, norm_type, 1, True)
        long = logical_and(wrap(used).unsqueeze(1) > 0, norm > limit)
        weight.assign(where(long, table * (limit / (norm + 1e-7)), table).node, "embedding")


def _indices(input: Handle) -> Tensor:
    return wrap(to_dtype(node_of(input, "embedding"), int64))
