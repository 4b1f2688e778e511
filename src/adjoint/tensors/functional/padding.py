"""Padding at the ends of axes, and windows laid out as columns."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import int64
from adjoint.base.shape import Shape, as_shape, check_allocation
from adjoint.ir.node import Node, constant
from adjoint.ops.movement import narrow
from adjoint.ops.rows import full
from adjoint.tensors.creation import scalar_array
from adjoint.tensors.functional.conv import batched, sizes, unbatched
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_axis

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

MODES = ("constant", "reflect", "replicate", "circular")


def pad(
    input: Handle, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """``input`` made longer at the ends of its last axes.

    pad: (before, after) of the last axis, then of the one before, and so on; negative amounts cut
    (``"constant"`` only). mode: ``"constant"`` puts ``value`` (0), ``"reflect"`` mirrors without
    the edge, ``"replicate"`` repeats the edge, ``"circular"`` continues at the other end.
    """
    node = node_of(input, "pad")
    amounts = list(as_shape("pad", pad))
    if len(amounts) % 2 or len(amounts) > 2 * node.ndim:
        raise errors.argument(
            "pad",
            f"needs two amounts per axis for at most {node.ndim} axes, got {amounts}",
            hint="pad(x, (left, right, top, bottom)): the last axis comes first",
        )
    as_choice("pad mode", mode, MODES)
    if value is not None:
        value = as_number("pad", "value", value)
        scalar_array(value, node.dtype, "pad")
    ends = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)]
    axes = [node.ndim - 1 - i for i in range(len(ends))]
    wide = [max(node.shape[a] + sum(e), 0) for a, e in zip(axes, ends, strict=True)]
    check_allocation("pad", (*node.shape[: node.ndim - len(axes)], *wide), node.dtype.itemsize)
    check_allocation("pad", tuple(wide), 8)  # the places to read, also of nothing
    if mode == "constant":
        return wrap(_constant(node, axes, ends, value or 0))
    if value not in (None, 0):
        raise errors.argument(
            "pad", f"a value belongs to mode='constant', not to {mode!r}", hint="leave value out"
        )
    for axis, (low, high) in zip(axes, ends, strict=True):
        if low or high:
            places = _places(mode, node, axis, low, high)
            node = take_axis(node, constant(places), axis)
    return wrap(node)


def unfold(
    input: Handle, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Every window as a column: (N, C, H, W) -> (N, C K1 K2, windows)."""
    x, single = batched("unfold", node_of(input, "unfold"), 2)
    kernel = sizes("unfold", "kernel_size", kernel_size, 2, 1)
    edge = sizes("unfold", "padding", padding, 2)
    padded = ops.pad(x, low=(0, 0, *edge), high=(0, 0, *edge), interior=(0,) * 4)
    places = _columns("unfold", padded.shape[2:], kernel, dilation, stride)
    n, c, h, w = padded.shape
    flat = ops.reshape(padded, shape=(n, c, h * w))
    out = take_axis(flat, constant(places), 2)
    return unbatched(ops.reshape(out, shape=(n, c * places.shape[0], places.shape[1])), single)


def fold(
    input: Handle, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of ``unfold``: columns put back where they came from, overlaps added up."""
    x = node_of(input, "fold")
    if x.ndim not in (2, 3):
        raise errors.shape(
            "fold", "the input is (N, C K1 K2, windows)", x, hint="unfold gives such an input"
        )
    single = x.ndim == 2
    x = ops.reshape(x, shape=(1, *x.shape)) if single else x
    kernel = sizes("fold", "kernel_size", kernel_size, 2, 1)
    edge = sizes("fold", "padding", padding, 2)
    out = sizes("fold", "output_size", output_size, 2, 1)
    wide = tuple(s + 2 * e for s, e in zip(out, edge, strict=True))
    places = _columns("fold", wide, kernel, dilation, stride)
    n, rows, windows = x.shape
    if rows % prod(kernel) or windows != places.shape[1]:
        raise errors.shape(
            "fold",
            f"needs a multiple of {prod(kernel)} rows and {places.shape[1]} windows",
            x,
            hint="output_size, kernel_size and stride must be those of unfold",
        )
    c = rows // prod(kernel)
    index = np.ascontiguousarray(np.broadcast_to(places.reshape(-1), (n, c, places.size)))
    values = ops.reshape(x, shape=(n, c, places.size))
    empty = full(0, (n, c, prod(wide)), x.dtype)
    summed = ops.reshape(
        ops.scatter_add(empty, constant(index), values, batch=2), shape=(n, c, *wide)
    )
    for axis, size, start in zip((2, 3), out, edge, strict=True):
        summed = narrow(summed, axis, start, size)
    return unbatched(summed, single)


def _constant(node: Node, axes: list[int], ends: list[tuple[int, int]], value: float) -> Node:
    low, high = [0] * node.ndim, [0] * node.ndim
    for axis, (before, after) in zip(axes, ends, strict=True):
        cut = max(-before, 0), max(-after, 0)
        left = node.shape[axis] - sum(cut)
        if left < 0:
            raise errors.shape(
                "pad",
                f"{ends} cuts more than axis {axis} has",
                node,
                hint="negative amounts remove elements",
            )
        if any(cut):
            node = narrow(node, axis, cut[0], left)
        low[axis], high[axis] = max(before, 0), max(after, 0)
    if value == 0:
        return ops.pad(node, low=tuple(low), high=tuple(high), interior=(0,) * node.ndim)
    for axis in axes:
        parts = [
            full(value, (*node.shape[:axis], size, *node.shape[axis + 1 :]), node.dtype)
            for size in (low[axis], high[axis])
        ]
        node = ops.concat(parts[0], node, parts[1], axis=axis)
    return node


def _places(mode: str, node: Node, axis: int, low: int, high: int) -> Any:
    n = node.shape[axis]
    limit = {"reflect": n - 1, "circular": n}.get(mode)
    if min(low, high) < 0 or n == 0 or (limit is not None and max(low, high) > limit):
        raise errors.shape(
            "pad",
            f"mode {mode!r} cannot add ({low}, {high}) to axis {axis} of size {n}",
            node,
            hint="reflect needs a pad below the size, circular at most the size",
        )
    places = np.arange(-low, n + high, dtype=np.int64)
    if mode == "replicate":
        return np.clip(places, 0, n - 1)
    if mode == "circular":
        return places % n
    return np.abs((places + n - 1) % max(2 * n - 2, 1) - (n - 1))


def _columns(op: str, shape: Shape, kernel: Shape, dilation: Any, stride: Any) -> Any:
    """The flat places of every window, (taps, windows)."""
    spacing = sizes(op, "dilation", dilation, 2, 1)
    steps = sizes(op, "stride", stride, 2, 1)
    check_allocation(op, kernel, 8)
    taps = [np.arange(k) * d for k, d in zip(kernel, spacing, strict=True)]
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, d, s in zip(shape, kernel, spacing, steps, strict=True)
    ]
    if min(counts) < 1:
        raise errors.argument(
            op,
            f"a kernel of {kernel} does not fit into {shape}",
            hint="use padding, or a smaller kernel or dilation",
        )
    check_allocation(op, (*kernel, *counts), 8)
    starts = [np.arange(c) * s for c, s in zip(counts, steps, strict=True)]
    rows = taps[0][:, None, None, None] + starts[0][None, None, :, None]
    columns = taps[1][None, :, None, None] + starts[1][None, None, None, :]
    return (rows * shape[1] + columns).reshape(prod(kernel), -1).astype(int64.numpy)
