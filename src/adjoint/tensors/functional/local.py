"""Windows with weights of their own, coordinates as channels, and other neighbours of conv."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.shape import Shape, numel
from adjoint.ir.node import Node, constant
from adjoint.tensors.functional.conv import batched, conv1d, sizes, unbatched
from adjoint.tensors.functional.linear import with_bias
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_axis
from adjoint.tensors.movement import cat, permute
from adjoint.tensors.norms import vector_norm

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def locally_connected1d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """``conv1d`` with a kernel for every place: weight (places, O, C, K), bias (O, places)."""
    return _local(1, input, weight, bias, stride, padding, dilation)


def locally_connected2d(
    input: Handle, weight: Handle, bias: Handle | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """``conv2d`` without shared weights: out[n, o, p] = sum_{c, k} weight[p, o, c, k] x[n, c, p k].

    (N, C, H, W) with weight (H', W', O, C, K1, K2) and bias (O, H', W') -> (N, O, H', W'). With
    equal kernels everywhere this is the convolution. Raises ShapeError when sizes do not fit.
    """
    return _local(2, input, weight, bias, stride, padding, dilation)


def conv_tbc(input: Handle, weight: Handle, bias: Handle, pad: int = 0) -> Tensor:
    """``conv1d`` of (L, N, C) with weight (K, C, O): (L', N, O)."""
    x, w = wrap(node_of(input, "conv_tbc")), wrap(node_of(weight, "conv_tbc"))
    if x.ndim != 3 or w.ndim != 3:
        raise errors.shape(
            "conv_tbc", "input and weight have 3 dimensions", x, w, hint="(L, N, C) and (K, C, O)"
        )
    out = conv1d(permute(x, 1, 2, 0), permute(w, 2, 1, 0), bias, 1, pad)
    return permute(out, 2, 0, 1)


def add_coordinates(input: Handle, radius: bool = False) -> Tensor:
    """(N, C, *sizes) with a channel more per axis: its coordinate, from -1 to 1; with ``radius``
    also the distance from the middle. Source: Liu et al., "An intriguing failing of convolutional
    neural networks and the CoordConv solution", NeurIPS 2018."""
    node = node_of(input, "add_coordinates")
    if node.ndim < 3 or node.dtype.kind != "f":
        raise errors.shape(
            "add_coordinates", "the input is (N, C, *sizes) of floats", node, hint="x.unsqueeze(0)"
        )
    n, _, *shape = node.shape
    lines = [np.linspace(-1, 1, m) if m > 1 else np.zeros(m) for m in shape]
    maps = list(np.meshgrid(*lines, indexing="ij"))
    if radius:
        maps.append(np.sqrt(sum(m * m for m in maps)))
    stacked = constant(np.stack(maps).astype(node.dtype.numpy))
    return cat([input, wrap(ops.broadcast(stacked, shape=(n, *stacked.shape)))], 1)


def pdist(input: Handle, p: float = 2.0) -> Tensor:
    """The ``p``-norms of the differences of all pairs of rows i < j of (N, D): (N (N - 1) / 2,)."""
    x = wrap(node_of(input, "pdist"))
    if x.ndim != 2:
        raise errors.shape("pdist", "the input is a matrix", x, hint="one row per point")
    first, second = np.triu_indices(x.shape[0], 1)
    rows = [wrap(take_axis(x.node, constant(i.astype(np.int64)), 0)) for i in (first, second)]
    return vector_norm(rows[0] - rows[1], p, -1, False)


def windows_of(
    op: str, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Shape:
    """How many places there are along every axis."""
    counts = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    )
    if min(counts) < 1:
        raise errors.argument(
            op, f"a kernel of {errors.dims(kernel)} does not fit into {errors.dims(shape)}",
            hint="use padding, or a smaller kernel or dilation",
        )  # fmt: skip
    return counts


def _local(
    count: int, input: Handle, weight: Handle, bias: Any, stride: Any, padding: Any, dilation: Any
) -> Tensor:
    op = f"locally_connected{count}d"
    x, single = batched(op, node_of(input, op), count)
    w = node_of(weight, op)
    if x.dtype is not w.dtype:
        raise errors.mixed_dtypes(op, x, w)
    if w.ndim != 2 * count + 2:
        raise errors.shape(op, "the weight does not fit", w, hint="(*places, O, C, *kernel)")
    kernel = w.shape[count + 2 :]
    steps, edge = sizes(op, "stride", stride, count, 1), sizes(op, "padding", padding, count)
    spacing = sizes(op, "dilation", dilation, count, 1)
    places = windows_of(op, x.shape[2:], kernel, steps, edge, spacing)
    out, channels = w.shape[count], w.shape[count + 1]
    if w.shape[:count] != places or x.shape[1] != channels:
        raise errors.shape(
            op, f"needs {channels} channels and {errors.dims(w.shape[:count])} places, "
            f"the image has {errors.dims(places)}", x, w,
            hint="the layer is made for one size of images",
        )  # fmt: skip
    columns = _columns(x, kernel, steps, edge, spacing, places)  # (places, N, C K)
    matrix = ops.reshape(w, shape=(prod(places), out, channels * prod(kernel)))
    found = ops.dot(columns, ops.permute(matrix, axes=(0, 2, 1)))  # (places, N, O)
    found = ops.reshape(ops.permute(found, axes=(1, 2, 0)), shape=(x.shape[0], out, *places))
    if bias is not None:
        b = node_of(bias, op)
        flat = ops.reshape(b, shape=(numel(b.shape),))
        found = with_bias(op, found, wrap(flat), (out, *places))
    return unbatched(found, single)


def _columns(
    x: Node, kernel: Shape, steps: Shape, edge: Shape, spacing: Shape, places: Shape
) -> Node:
    zero = (0,) * x.ndim
    padded = ops.pad(x, low=(0, 0, *edge), high=(0, 0, *edge), interior=zero)
    flat: Any = np.zeros((1, 1), np.int64)  # (places, taps)
    for n, k, s, d, m in zip(padded.shape[2:], kernel, steps, spacing, places, strict=True):
        line = np.arange(m)[:, None] * s + np.arange(k)[None, :] * d
        grid = flat[:, None, :, None] * n + line[None, :, None, :]
        flat = grid.reshape(len(flat) * m, -1)
    n, c = padded.shape[:2]
    image = ops.reshape(padded, shape=(n, c, prod(padded.shape[2:])))
    taken = take_axis(image, constant(flat), 2)  # (N, C, places, taps)
    taken = ops.permute(taken, axes=(2, 0, 1, 3))
    return ops.reshape(taken, shape=(flat.shape[0], n, c * flat.shape[1]))
