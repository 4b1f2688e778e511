"""Reductions of rows that share a number: the sums, means and extremes of message passing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.dtype import DType, iinfo, int64
from adjoint.base.shape import as_size, numel
from adjoint.ir.node import Array, Node, Type
from adjoint.ops.movement import narrow
from adjoint.ops.rows import full, zeros_like
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.reduction import turned
from adjoint.tensors.regions import index_set, region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def segment_sum(data: Handle, segment_ids: Handle, num_segments: int | None = None) -> Tensor:
    """out[s] = sum of data[e] over the edges e with segment_ids[e] = s; 0 for an empty segment.

    data: (edges, ...), segment_ids: (edges,) integers in any order, result: (num_segments, ...);
    the number of segments is the largest id + 1 by default. Raises IndexingError for an id
    outside, ShapeError when there is not one id per row.
    """
    rows, ids, count = _segments("segment_sum", data, segment_ids, num_segments)
    return wrap(_sum(rows, ids, count))


def segment_mean(data: Handle, segment_ids: Handle, num_segments: int | None = None) -> Tensor:
    """The mean of the rows of each segment; 0 for an empty segment."""
    rows, ids, count = _segments("segment_mean", data, segment_ids, num_segments)
    if rows.dtype.kind != "f":
        raise errors.wrong_dtype("segment_mean", rows.dtype, "a float dtype", hint="x.float()")
    sizes = count_at(full(0, (count,), int64), ids)
    sizes = ops.maximum(sizes, full(1, sizes.shape, int64))
    total = _sum(rows, ids, count)
    return wrap(total / _per_row(to_dtype(sizes, rows.dtype), total))


def segment_max(data: Handle, segment_ids: Handle, num_segments: int | None = None) -> Tensor:
    """The largest of the rows of each segment, element by element; 0 for an empty segment.
    Ties share the gradient."""
    rows, ids, count = _segments("segment_max", data, segment_ids, num_segments)
    return wrap(_extreme(rows, ids, count))


def segment_min(data: Handle, segment_ids: Handle, num_segments: int | None = None) -> Tensor:
    """The smallest of the rows of each segment, element by element; 0 for an empty segment."""
    rows, ids, count = _segments("segment_min", data, segment_ids, num_segments)
    return wrap(_extreme(rows, ids, count, smallest=True))


def segment_softmax(data: Handle, segment_ids: Handle, num_segments: int | None = None) -> Tensor:
    """exp(data[e]) / sum of exp(data[f]) over the f of the same segment: shape of ``data``."""
    rows, ids, count = _segments("segment_softmax", data, segment_ids, num_segments)
    if rows.dtype.kind != "f":
        raise errors.wrong_dtype("segment_softmax", rows.dtype, "a float dtype", hint="x.float()")
    top = ops.copy(_extreme(rows, ids, count), stop=True)  # cancels, so it needs no derivative
    raised = ops.exp(rows - ops.gather(top, ids, batch=0))
    return wrap(raised / ops.gather(_sum(raised, ids, count), ids, batch=0))


def reduced_at(flat: Node, places: Node, updates: Node, reduce: str, include_self: bool) -> Node:
    """``flat`` with ``updates`` reduced into it at ``places``, all 1-D."""
    if reduce == "sum" and include_self:
        return ops.scatter_add(flat, places, updates, batch=0)
    count = count_at(full(0, flat.shape, int64), places)
    if not include_self:
        untouched = ops.eq(count, zeros_like(count))
        start = full(_NEUTRAL[reduce](flat.dtype), flat.shape, flat.dtype)
        flat = ops.where(untouched, flat, start)
    if reduce in ("amax", "amin"):
        return _extreme_into(flat, places, updates, reduce == "amin")
    if reduce == "prod":
        return ops.mul(flat, _product_at(flat, places, updates))
    total = ops.scatter_add(flat, places, updates, batch=0)
    if reduce == "sum":
        return total
    more = full(1, count.shape, int64)
    count = ops.add(count, more) if include_self else ops.maximum(count, more)
    return ops.div(total, to_dtype(count, flat.dtype))


def count_at(zeros: Node, places: Node) -> Node:
    """How often each row of ``zeros`` is named in ``places``."""
    return ops.scatter_add(zeros, places, full(1, places.shape, zeros.dtype), batch=0)


def lowest(dtype: DType) -> float:
    """A value no element is below."""
    if dtype.kind == "f":
        return float("-inf")
    return 0 if dtype.kind == "b" else iinfo(dtype).min


def highest(dtype: DType) -> float:
    """A value no element is above."""
    if dtype.kind == "f":
        return float("inf")
    return 1 if dtype.kind == "b" else iinfo(dtype).max


_NEUTRAL: dict[str, Any] = {
    "sum": lambda dtype: 0,
    "mean": lambda dtype: 0,
    "prod": lambda dtype: 1,
    "amax": lowest,
    "amin": highest,
}


def _segments(
    op: str, data: Any, segment_ids: Any, num_segments: int | None
) -> tuple[Node, Node, int]:
    rows, ids = node_of(data, op), node_of(segment_ids, op)
    if ids.dtype.kind not in "iu":
        raise errors.wrong_dtype(op, ids.dtype, "integer segment ids", hint="ids.long()")
    if ids.ndim != 1 or rows.shape[:1] != ids.shape:
        raise errors.shape(
            op, "needs one segment id per row of data", rows, ids,
            hint="ids is 1-D, and as long as the first axis of data",
        )  # fmt: skip
    if num_segments is None:
        values = ids.array(f"{op} without num_segments")
        count = int(values.max()) + 1 if values.size else 0
    else:
        count = as_size(op, num_segments)
    if not ids.is_abstract and ids.shape[0]:
        low, high = int(ids.array().min()), int(ids.array().max())
        if low < 0 or high >= count:
            raise errors.index(
                f"segment id {low if low < 0 else high} is outside 0 to {count - 1}",
                hint="num_segments= sets how many there are", op=op,
            )  # fmt: skip
    return rows, to_dtype(ids, int64), count


def _sum(rows: Node, ids: Node, count: int) -> Node:
    zeros = full(0, (count, *rows.shape[1:]), rows.dtype)
    return ops.scatter_add(zeros, ids, rows, batch=0)


def _per_row(numbers: Node, like: Node) -> Node:
    """One number per row, repeated over the row."""
    wide = ops.reshape(numbers, shape=(*numbers.shape, *(1,) * (like.ndim - 1)))
    return ops.broadcast(wide, shape=like.shape)


def _extreme(rows: Node, ids: Node, count: int, smallest: bool = False) -> Node:
    shape, width = (count, *rows.shape[1:]), numel(rows.shape[1:])
    places = _cells(ids, width)
    limit = highest(rows.dtype) if smallest else lowest(rows.dtype)
    start = full(limit, (numel(shape),), rows.dtype)
    flat = ops.reshape(rows, shape=(numel(rows.shape),))
    out = ops.reshape(_extreme_into(start, places, flat, smallest), shape=shape)
    empty = ops.eq(count_at(full(0, (count,), int64), ids), full(0, (count,), int64))
    return ops.where(_per_row(empty, out), zeros_like(out), out)


def _cells(ids: Node, width: int) -> Node:
    """The places of all elements of rows ``ids`` of a table ``width`` elements wide."""
    if width == 1:
        return ids
    shape = (*ids.shape, width)
    first = ops.broadcast(ops.reshape(ids * width, shape=(*ids.shape, 1)), shape=shape)
    cells = first + ops.broadcast(ops.iota(size=width, dtype=int64), shape=shape)
    return ops.reshape(cells, shape=(numel(shape),))


def _extreme_into(flat: Node, places: Node, updates: Node, smallest: bool) -> Node:
    if smallest:
        return turned(largest_at(turned(flat), places, turned(updates)))
    return largest_at(flat, places, updates)


def _product_at(flat: Node, places: Node, updates: Node) -> Node:
    """The product of all updates at each place, 1 where there are none.

    The updates are sorted by place and multiplied in a scan that stops at the borders, so that
    derivatives are right where factors are 0.
    """
    count = places.shape[0]
    order = ops.argsort(places, axis=0)
    ordered = ops.gather(places, order, batch=0)
    factors = ops.gather(updates, order, batch=0)
    step = 1
    while step < count:
        same = ops.eq(narrow(ordered, 0, 0, count - step), narrow(ordered, 0, step, count - step))
        before, here = narrow(factors, 0, 0, count - step), narrow(factors, 0, step, count - step)
        joined = ops.where(same, ops.mul(before, here), here)
        factors = ops.concat(narrow(factors, 0, 0, step), joined, axis=0)
        step *= 2
    return index_set(full(1, flat.shape, flat.dtype), ordered, factors)


def _largest_kernel(x: Array, places: Array, updates: Array) -> Array:
    out = x.copy()
    np.maximum.at(out, places, updates)
    return out


def _largest_body(x: Node, places: Node, updates: Node) -> Sequence[Node]:
    """Written in ascending order, the last write to a place is its maximum."""
    order = ops.argsort(updates, axis=0)
    ordered = ops.gather(places, order, batch=0)
    written = index_set(x, ordered, ops.gather(updates, order, batch=0))
    return [ops.maximum(x, written)]


def _largest_vjp(
    ct: Node, out: Node, wanted: tuple[bool, ...], args: tuple[Node, ...], static: dict[str, Any]
) -> Sequence[Node | None]:
    """Equal shares to everything that attains the maximum."""
    x, places, updates = args
    mine = to_dtype(ops.eq(x, out), ct.dtype)
    theirs = to_dtype(ops.eq(updates, ops.gather(out, places, batch=0)), ct.dtype)
    winners = ops.scatter_add(mine, places, theirs, batch=0)
    share = ct / ops.maximum(winners, full(1, winners.shape, winners.dtype))
    return [share * mine, None, ops.gather(share, places, batch=0) * theirs]


largest_at = region(
    "largest_at", _largest_body, kernel=_largest_kernel, vjp=_largest_vjp,
    infer=lambda x, places, updates: Type(x.shape, x.dtype),
)  # fmt: skip
"""The larger of x and every update at its place, all 1-D; NaN wins."""
