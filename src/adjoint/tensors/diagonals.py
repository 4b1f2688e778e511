"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_integer
from adjoint.base.shape import as_axis, check_allocation
from adjoint.ir.node import Node, constant
from adjoint.tensors.handle import Handle, view, wrap
from adjoint.tensors.movement import movedim, narrow, reshape

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def diagonal(input: Handle, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements i, i + offset of axes ``dim1``, ``dim2``, as a new last axis."""
    node, offset = _tensor("diagonal", input), as_integer("diagonal", "offset", offset)
    a, b = as_axis("diagonal", dim1, node.ndim), as_axis("diagonal", dim2, node.ndim)
    if a == b:
        raise errors.repeated_axis("diagonal", (a, b))
    moved = movedim(input, (a, b), (-2, -1))
    rows, columns = moved.shape[-2:]
    top, left = max(-offset, 0), max(offset, 0)
    count = max(min(rows - top, columns - left), 0)
    flat = reshape(moved, (*moved.shape[:-2], rows * columns))
    if count == 0:
        return narrow(flat, -1, 0, 0)
    lead = flat.ndim - 1
    return view(
        flat, ops.slice,
        starts=(*(0,) * lead, top * columns + left), sizes=(*flat.shape[:-1], count),
        steps=(*(1,) * lead, columns + 1),
    )  # fmt: skip


def diag(input: Handle, diagonal: int = 0) -> Tensor:
    """A matrix with this vector on a diagonal, or the diagonal of this matrix."""
    node = _tensor("diag", input)
    if node.ndim == 2:
        return globals()["diagonal"](input, diagonal)
    if node.ndim != 1:
        raise errors.shape(
            "diag", "needs 1 or 2 axes", node, hint="use diagonal or diag_embed for more"
        )
    return diag_embed(input, diagonal)


def diag_embed(input: Handle, offset: int = 0) -> Tensor:
    """Matrices with the last axis of ``input`` on a diagonal, zeros elsewhere."""
    node, offset = _tensor("diag_embed", input), as_integer("diag_embed", "offset", offset)
    if not node.ndim:
        raise errors.shape("diag_embed", "needs at least 1 axis", node, hint="add one: x[None]")
    n = node.shape[-1]
    size = n + abs(offset)
    check_allocation("diag_embed", (*node.shape[:-1], size, size), node.dtype.itemsize)
    lead = node.ndim - 1
    first = max(offset, 0) + max(-offset, 0) * size
    room = size * size - first - (max(n - 1, 0) * (size + 1) + min(n, 1))
    flat = ops.pad(
        node, low=(*(0,) * lead, first), high=(*(0,) * lead, room), interior=(*(0,) * lead, size)
    )
    return wrap(ops.reshape(flat, shape=(*node.shape[:-1], size, size)))


def tril(input: Handle, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, zeros above ``diagonal``."""
    return _triangle("tril", input, diagonal, lower=True)


def triu(input: Handle, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, zeros below ``diagonal``."""
    return _triangle("triu", input, diagonal, lower=False)


def _triangle(op: str, input: Handle, diagonal: int, lower: bool) -> Tensor:
    node = _tensor(op, input)
    if node.ndim < 2:
        raise errors.shape(op, "needs at least 2 axes", node, hint="make a matrix: x[None, :]")
    rows, columns = node.shape[-2:]
    shift = as_integer(op, "diagonal", diagonal) - (not lower)
    mask = np.tri(rows, columns, max(min(shift, columns), -rows), dtype=bool)
    keep = ops.broadcast(constant(mask if lower else ~mask), shape=node.shape)
    return wrap(ops.where(keep, node, ops.pointwise.zeros_like(node)))


def _tensor(op: str, value: Any) -> Node:
    if not isinstance(value, Handle):
        raise errors.not_a_tensor(op, value)
    return value.node
