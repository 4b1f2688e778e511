"""Vectorise a function of nodes: record it on one example, rewrite the graph for the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.base import errors
from adjoint.base.shape import as_axis
from adjoint.ir.batch import batch
from adjoint.ir.graph import record
from adjoint.ir.node import Node, Type
from adjoint.ops.movement import permute
from adjoint.ops.rows import with_batch

Nodes = Sequence[Node]


def vmap(
    function: Callable[..., Nodes],
    size: int,
    args: Nodes,
    in_axes: Sequence[int | None],
    out_axes: Callable[[int], Sequence[int | None]],
) -> list[Node]:
    """``function`` mapped over axis ``in_axes[i]`` of each argument (None: the same for all).

    ``out_axes(n)`` gives the place of the batch axis in each of the n results; None asks for a
    result that does not depend on the batch.
    """
    moved = [
        a if axis is None else to_front(a, axis) for a, axis in zip(args, in_axes, strict=True)
    ]
    batched = [axis is not None for axis in in_axes]
    singles = [
        Type(a.shape[1:] if b else a.shape, a.dtype) for a, b in zip(moved, batched, strict=True)
    ]
    graph = record(function, singles, name="vmap")
    outs = batch(graph, size, moved, batched)
    found: list[Node] = []
    for (node, is_batched), axis in zip(outs, out_axes(len(outs)), strict=True):
        if axis is None:
            if is_batched:
                raise errors.argument(
                    "vmap", "a result with out_axes=None depends on the batch",
                    hint="out_axes=0 gives it a batch axis",
                )  # fmt: skip
            found.append(node)
        else:
            wide = with_batch(size, node, is_batched)
            found.append(from_front(wide, as_axis("vmap out_axes", axis, wide.ndim)))
    return found


def to_front(node: Node, axis: int) -> Node:
    """``node`` with ``axis`` moved to the front."""
    if axis == 0:
        return node
    return permute(node, axes=(axis, *(i for i in range(node.ndim) if i != axis)))


def from_front(node: Node, axis: int) -> Node:
    """``node`` with its first axis moved to ``axis``."""
    if axis == 0:
        return node
    order = list(range(1, node.ndim))
    order.insert(axis, 0)
    return permute(node, axes=tuple(order))
