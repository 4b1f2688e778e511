"""Loops as one operation: ``scan``, differentiable without unrolling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_function
from adjoint.base.tree import flatten
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import Node, Type
from adjoint.ops.movement import flip
from adjoint.ops.structure import results
from adjoint.tensors.handle import node_of, wrap


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """``carry, y = function(carry, x)`` for each x along the first axis of ``xs``; gives the last
    carry and the stacked ys.

    All are trees of tensors; a carry keeps its shapes and dtypes. ``length`` is needed without
    ``xs``. The function is recorded once, and what it closes over is differentiated too. Memory
    for the derivative grows with the carries, not with what happens inside a step.
    """
    as_function("scan", function)
    carry_leaves, carry_tree = flatten(init)
    x_leaves, x_tree = flatten(xs)
    starts = [node_of(c, "scan") for c in carry_leaves]
    slices = [node_of(x, "scan") for x in x_leaves]
    steps = _steps(slices, length)
    if reverse:
        slices = [flip(x, (0,)) for x in slices]
    trees: list[Any] = []

    def body(*nodes: Node) -> list[Node]:
        tensors = [wrap(n) for n in nodes]
        out = function(carry_tree(tensors[: len(starts)]), x_tree(tensors[len(starts) :]))
        if not isinstance(out, tuple) or len(out) != 2:
            raise errors.argument(
                "scan",
                "the function must return a pair (carry, y)",
                hint="return carry, None when there is nothing to collect",
            )
        new, y = (flatten(part) for part in out)
        trees[:] = [new[1], y[1]]
        carries = [node_of(c, "scan", s) for c, s in zip(new[0], nodes, strict=False)]
        _check_carry(starts, carries)
        return [*carries, *(node_of(v, "scan") for v in y[0])]

    types = [Type(s.shape, s.dtype) for s in starts]
    types += [Type(x.shape[1:], x.dtype) for x in slices]
    inner = record(body, types, name="scan_body")
    closed = [c for c in inner.constants if c.needs_grad or c.is_abstract or c.ndim]
    graph = Graph([*inner.inputs, *closed], inner.outputs, name="scan_body")
    out = ops.loop(
        *starts, *slices, *closed,
        body=graph, carries=len(starts), scanned=len(slices), length=steps,
    )  # fmt: skip
    found = results(out)
    ys = found[len(starts) :]
    if reverse:
        ys = [flip(y, (0,)) for y in ys]
    last = [wrap(n) for n in found[: len(starts)]]
    return trees[0](last), trees[1]([wrap(y) for y in ys])


def _steps(slices: list[Node], length: int | None) -> int:
    sizes = {x.shape[0] if x.ndim else None for x in slices}
    if None in sizes or len(sizes) > 1:
        raise errors.shape(
            "scan",
            "all xs need a first axis of one length",
            *slices,
            hint="the first axis of every x is the steps",
        )
    steps = sizes.pop() if sizes else length
    if steps is None or (length is not None and steps != length):
        raise errors.argument(
            "scan",
            f"length={length} does not fit xs of {steps} steps",
            hint="leave length= out when there are xs",
        )
    return steps


def _check_carry(starts: list[Node], carries: list[Node]) -> None:
    if len(starts) != len(carries):
        raise errors.argument(
            "scan",
            f"the carry had {len(starts)} tensors, now {len(carries)}",
            hint="return as many tensors as there are in init",
        )
    for before, after in zip(starts, carries, strict=True):
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise errors.shape(
                "scan",
                "a carry must keep its shape and dtype",
                before,
                after,
                hint="start with the shape and dtype that the function returns",
            )
