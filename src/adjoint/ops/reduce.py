"""Rows that combine elements along axes, scan along one, or rank them."""

from __future__ import annotations

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import int64
from adjoint.base.shape import Shape, drop, keep
from adjoint.ir.node import Array, Node, Type
from adjoint.ops.movement import broadcast, flip, reshape
from adjoint.ops.pointwise import cast, eq, where
from adjoint.ops.rows import each, no_gradient, op, or_compiled, same_type, shift_axes, zeros_like

_shifted = shift_axes(axes=lambda size, axes: tuple(a + 1 for a in axes))
_shifted_one = shift_axes(axis=lambda size, axis: axis + 1)


def spread(x: Node, shape: Shape, axes: Shape) -> Node:
    """The reverse of a reduction: repeat ``x`` along ``axes`` to get ``shape``."""
    return broadcast(reshape(x, shape=keep(shape, axes)), shape=shape)


def _sum_type(x: Node, axes: Shape) -> Type:
    return Type(drop(x.shape, axes), x.dtype)


def _sum(x: Array, axes: Shape) -> Array:
    """Sums accumulate in float32 when the dtype has 16 bits."""
    if (x.dtype.kind == "f" and x.dtype.itemsize > 2) or x.dtype.kind in "iu":
        return np.add.reduce(x, axis=axes, dtype=x.dtype)
    if x.dtype.kind == "b":
        return np.logical_or.reduce(x, axis=axes)
    return np.add.reduce(x.astype(np.float32), axis=axes).astype(x.dtype)


def _sum_back(ct: Node, out: Node, x: Node, axes: Shape) -> Node:
    return spread(ct, x.shape, axes)


reduce_sum = op(
    "reduce_sum", "reduce",
    infer=_sum_type,
    ref=_sum,
    vjp=each(_sum_back),
    vmap=_shifted,
    quiet=True,
)  # fmt: skip


def _max_type(x: Node, axes: Shape) -> Type:
    if any(x.shape[a] == 0 for a in axes):
        raise errors.shape(
            "max", "the maximum of no elements does not exist", x,
            hint="reduce along an axis that is not empty",
        )  # fmt: skip
    return _sum_type(x, axes)


def _max(x: Array, axes: Shape) -> Array:
    return np.maximum.reduce(x, axis=axes)


def _to_largest(ct: Node, out: Node, x: Node, axes: Shape) -> Node:
    """Equal shares of ``ct`` to every element that attains the maximum."""
    largest = eq(x, spread(out, x.shape, axes))
    count = reduce_sum(cast(largest, dtype=x.dtype), axes=axes)
    return where(largest, spread(ct / count, x.shape, axes), zeros_like(x))


reduce_max = op(
    "reduce_max", "reduce",
    infer=_max_type,
    ref=_max,
    vjp=each(_to_largest),
    vmap=_shifted,
    quiet=True,
)  # fmt: skip


def _cumsum(x: Array, axis: int) -> Array:
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iu":
        return np.cumsum(x.astype(np.float32), axis=axis).astype(x.dtype)
    return np.cumsum(x, axis=axis, dtype=x.dtype)


def _cumsum_back(ct: Node, out: Node, x: Node, axis: int) -> Node:
    return flip(cumsum(flip(ct, (axis,)), axis=axis), (axis,))


cumsum = op(
    "cumsum", "reduce",
    infer=same_type,
    ref=_cumsum,
    vjp=each(_cumsum_back),
    vmap=_shifted_one,
    quiet=True,
)  # fmt: skip


def _argsort_type(x: Node, axis: int) -> Type:
    return Type(x.shape, int64)


def _argsort(x: Array, axis: int) -> Array:
    """Stable order, NaN last; int64."""
    if x.dtype.kind == "V":  # bfloat16 has no order that puts NaN last
        x = x.astype(np.float32)
    return np.argsort(x, axis=axis, kind="stable").astype(np.int64)


def _argsort_work(x: Array, axis: int) -> int:
    return x.size


argsort = op(
    "argsort", "reduce",
    infer=_argsort_type,
    ref=or_compiled(_argsort, lambda: argsort, _argsort_work, 1 << 11),
    vjp=no_gradient,
    vmap=_shifted_one,
)  # fmt: skip
