"""Rows that read and add at computed positions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from adjoint.base import errors
from adjoint.base.shape import Shape
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.rows import each, op, or_compiled, with_batch, zeros_like


def _gather_type(x: Node, index: Node, batch: int) -> Type:
    if index.dtype.kind not in "iu" or x.shape[:batch] != index.shape[:batch] or x.ndim <= batch:
        raise errors.shape(
            "gather", f"index does not fit with {batch} batch axes", x, index,
            hint="an integer index whose first axes are the batch axes of the tensor",
        )  # fmt: skip
    return Type((*index.shape, *x.shape[batch + 1 :]), x.dtype)


def _flat_rows(index: Array, batch: int, n: int) -> Array:
    """Row numbers in ``x`` with its batch axes merged into the indexed one, clipped to range."""
    clipped = np.clip(index, 0, max(n - 1, 0)).astype(np.int64)
    if batch == 0:
        return clipped
    lead: Shape = index.shape[:batch]
    offset = np.arange(prod(lead), dtype=np.int64) * n
    return clipped + offset.reshape(*lead, *(1,) * (index.ndim - batch))


def _gather(x: Array, index: Array, batch: int) -> Array:
    """out[b, i, r] = x[b, index[b, i], r]; an index out of range is clipped."""
    if batch == 0 and index.size:
        return np.take(x, index, axis=0, mode="clip")
    n, rest = x.shape[batch], x.shape[batch + 1 :]
    shape = index.shape + rest
    if index.size == 0 or 0 in rest:
        return np.zeros(shape, x.dtype)
    return x.reshape(-1, *rest)[_flat_rows(index, batch, n)]


def _gather_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    x, index = args
    if not batched[0] and params["batch"] == 0:
        return gather(x, index, batch=0)
    x, index = with_batch(size, x, batched[0]), with_batch(size, index, batched[1])
    return gather(x, index, batch=params["batch"] + 1)


def _gather_back(ct: Node, out: Node, x: Node, index: Node, batch: int) -> Node:
    return scatter_add(zeros_like(x), index, ct, batch=batch)


gather = op(
    "gather", "index",
    infer=_gather_type,
    ref=_gather,
    vjp=each(_gather_back, None),
    vmap=_gather_vmap,
)  # fmt: skip


def _scatter_type(x: Node, index: Node, updates: Node, batch: int) -> Type:
    if index.shape + x.shape[batch + 1 :] != updates.shape or updates.dtype is not x.dtype:
        raise errors.shape(
            "scatter_add", "updates do not fit", x, index, updates,
            hint="updates: the shape of the index, then that of one row, in the tensor's dtype",
        )  # fmt: skip
    return _gather_type(x, index, batch)._replace(shape=x.shape)


def _scatter_add(x: Array, index: Array, updates: Array, batch: int) -> Array:
    """out = x; out[b, index[b, i], r] += updates[b, i, r], in the order of i."""
    if index.size == 0 or updates.size == 0:
        return x.copy()
    n: int = x.shape[batch]
    rest: Shape = x.shape[batch + 1 :]
    rows = _flat_rows(index, batch, n).reshape(-1)
    width = prod(rest)
    cells = rows if width == 1 else (rows[:, None] * width + np.arange(width)).reshape(-1)
    out: Array = np.array(x, order="C").reshape(-1)
    values: Array = updates.reshape(-1)
    if x.dtype.kind in "iub" or x.dtype == np.float64 or _sparse(x, values):
        np.add.at(out, cells, values)
        return out.reshape(x.shape)
    # many float32 or 16-bit values in few places: summed in float64, in the order given
    sums: Array = np.bincount(cells, values.astype(np.float64), out.size)
    return (out + sums).astype(x.dtype).reshape(x.shape)


def _scatter_work(x: Array, index: Array, updates: Array, batch: int) -> int:
    """Elements looked at; 0 for 16-bit floats, whose sums are rounded in another way."""
    return 0 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.size + updates.size


def _sparse(x: Array, values: Array) -> bool:
    """Whether few float32 values meet at a place, so that float32 sums do: 2 to 8 times faster."""
    return x.dtype == np.float32 and x.size > values.size


def _scatter_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    full = [with_batch(size, a, b) for a, b in zip(args, batched, strict=True)]
    return scatter_add(*full, batch=params["batch"] + 1)


def _to_target(ct: Node, out: Node, x: Node, index: Node, updates: Node, batch: int) -> Node:
    return ct


def _to_updates(ct: Node, out: Node, x: Node, index: Node, updates: Node, batch: int) -> Node:
    return gather(ct, index, batch=batch)


scatter_add = op(
    "scatter_add", "index",
    infer=_scatter_type,
    ref=or_compiled(_scatter_add, lambda: scatter_add, _scatter_work, 1 << 13),
    vjp=each(_to_target, None, _to_updates),
    vmap=_scatter_vmap,
    quiet=True,
)  # fmt: skip
