"""Pooling: the maximum or the mean of windows, at a stride or for a wanted output size."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_integer
from adjoint.base.dtype import int64
from adjoint.base.shape import Shape, as_size, check_allocation, numel
from adjoint.ir.node import Node, constant
from adjoint.ops.rows import full
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.functional.conv import batched, sizes, unbatched
from adjoint.tensors.functional.windows import Frame, place_of_max, window_max, window_sum
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_along
from adjoint.tensors.reduction import max as max_along
from adjoint.tensors.reduction import mean_node
from adjoint.tensors.regions import index_set

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def max_pool1d(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest of every window of (N, C, L); see ``max_pool2d``."""
    return _max(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest of every window of (N, C, H, W); channels are independent.

    The gradient goes to exactly one element per window: the first largest in row-major order.
    Padding counts as -inf. ``stride`` is the kernel size by default; ``ceil_mode`` keeps a last
    window that starts inside. With ``return_indices`` also the flat place of each maximum in its
    image, int64.
    """
    return _max(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest of every window of (N, C, D, H, W); see ``max_pool2d``."""
    return _max(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool1d(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of every window of (N, C, L); see ``avg_pool2d``."""
    return _average(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of every window of (N, C, H, W); the gradient is split equally.

    ``count_include_pad``: whether the zeros of the padding count as elements. Otherwise the sum
    is divided by the elements inside (or by ``divisor_override``).
    """
    return _average(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of every window of (N, C, D, H, W); see ``avg_pool2d``."""
    return _average(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def adaptive_avg_pool1d(input: Handle, output_size: Any) -> Tensor:
    """Means that make (N, C, L) into (N, C, output_size); see ``adaptive_avg_pool2d``."""
    return _adaptive_average(1, input, output_size)


def adaptive_avg_pool2d(input: Handle, output_size: Any) -> Tensor:
    """Means that make (N, C, H, W) into (N, C, *output_size), for any H and W.

    Window i of an axis runs from floor(i n / m) to ceil((i + 1) n / m) for n elements and m
    windows. None keeps a size.
    """
    return _adaptive_average(2, input, output_size)


def adaptive_avg_pool3d(input: Handle, output_size: Any) -> Tensor:
    """Means that make (N, C, D, H, W) into (N, C, *output_size); see ``adaptive_avg_pool2d``."""
    return _adaptive_average(3, input, output_size)


def adaptive_max_pool1d(input: Handle, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima that make (N, C, L) into (N, C, output_size); windows as for averages."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Handle, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima that make (N, C, H, W) into (N, C, *output_size); windows as for averages."""
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Handle, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima that make (N, C, D, H, W) into (N, C, *output_size); windows as for averages."""
    return _adaptive_max(3, input, output_size, return_indices)


def max_unpool1d(
    input: Handle, indices: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Each maximum back in its place in (N, C, L); see ``max_unpool2d``."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Handle, indices: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Each maximum back in the place that ``max_pool2d(return_indices=True)`` gave, zeros
    elsewhere. Where overlapping windows share a maximum it is written once. ``output_size`` is
    needed when the pooled size does not tell it. Raises IndexingError for a place outside.
    """
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Handle, indices: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Each maximum back in its place in (N, C, D, H, W); see ``max_unpool2d``."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _frame(
    op: str, x: Node, count: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool,
) -> tuple[Frame, tuple[tuple[int, int], ...]]:  # fmt: skip
    """The windows, and the padding the user asked for."""
    kernel = sizes(op, "kernel_size", kernel_size, count, 1)
    empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    steps = kernel if empty else sizes(op, "stride", stride, count, 1)
    edge = sizes(op, "padding", padding, count)
    spacing = sizes(op, "dilation", dilation, count, 1)
    pads: list[tuple[int, int]] = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, steps, edge, spacing, strict=True):
        reach = (k - 1) * d + 1
        if p > reach // 2:
            raise errors.argument(
                op,
                f"padding {p} is more than half of the kernel of {reach}",
                hint="a window may not lie in the padding alone",
            )
        room = n + 2 * p - reach
        places = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (places - 1) * s >= n + p:  # the last window would start in the padding
            places -= 1
        if places < 1:
            raise errors.shape(
                op, f"a window of {reach} does not fit into a size of {n + 2 * p}", x,
                hint="the image is too small here: pool less often, or use padding",
            )  # fmt: skip
        pads.append((p, (places - 1) * s + reach - n - p))
    return Frame(kernel, steps, tuple(pads), spacing), tuple((p, p) for p in edge)


def _max(
    count: int, input: Handle, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    op = f"max_pool{count}d"
    x, single = batched(op, node_of(input, op), count)
    frame, _ = _frame(op, x, count, kernel_size, stride, padding, dilation, ceil_mode)
    out = window_max(x, frame=frame)
    if not return_indices:
        return unbatched(out, single)
    return unbatched(out, single), unbatched(place_of_max(x, out, frame=frame), single)


def _average(
    count: int, input: Handle, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor: int | None,
) -> Tensor:  # fmt: skip
    op = f"avg_pool{count}d"
    x, single = batched(op, node_of(input, op), count)
    if x.dtype.kind != "f":
        raise errors.wrong_dtype(op, x.dtype, "a float dtype", hint="x.float()")
    frame, pads = _frame(op, x, count, kernel_size, stride, padding, 1, ceil_mode)
    divisor = None if divisor is None else as_integer(op, "divisor_override", divisor)
    if divisor == 0:
        raise errors.argument(
            op,
            "divisor_override cannot be 0",
            hint="leave it out to divide by the size of the window",
        )
    total = window_sum(x, frame=frame)
    if divisor is not None:
        return unbatched(total / float(divisor), single)
    counts = _counts(frame, x.shape[2:], pads if count_include_pad else ((0, 0),) * count)
    if (counts == prod(frame.kernel)).all():
        return unbatched(total / float(prod(frame.kernel)), single)
    node = constant(counts.astype(x.dtype.numpy))
    return unbatched(total / ops.broadcast(node, shape=total.shape), single)


def _counts(frame: Frame, shape: Shape, pads: tuple[tuple[int, int], ...]) -> Any:
    """How many elements each window has, those in ``pads`` included."""
    found = np.ones(())
    places = frame.places(shape)
    for n, k, s, p, (start, _), (low, high) in zip(
        shape, frame.kernel, frame.stride, places, frame.pads, pads, strict=True
    ):
        first = np.arange(p) * s - start
        inside = np.minimum(first + k, n + high) - np.maximum(first, -low)
        found = found[..., None] * inside
    return found


def _windows(n: int, m: int) -> list[tuple[int, int]]:
    return [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]


def _wanted(op: str, x: Node, output_size: Any, count: int) -> Shape:
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * count
    if len(given) != count:
        raise errors.argument(
            op,
            f"output_size needs {count} sizes, got {errors.clip(output_size)}",
            hint="one size for each axis of the image",
        )
    found = tuple(
        n if m is None else as_size(op, m) for n, m in zip(x.shape[2:], given, strict=True)
    )
    if min(found) < 1 or 0 in x.shape[2:]:
        raise errors.shape(
            op,
            f"cannot pool to {errors.dims(found)}",
            x,
            hint="sizes must be 1 or more, of images with pixels",
        )
    check_allocation(op, found, 8 * max(x.shape[2:]))
    return found


def _adaptive_average(count: int, input: Handle, output_size: Any) -> Tensor:
    op = f"adaptive_avg_pool{count}d"
    x, single = batched(op, node_of(input, op), count)
    if x.dtype.kind != "f":
        raise errors.wrong_dtype(op, x.dtype, "a float dtype", hint="x.float()")
    wanted, shape = _wanted(op, x, output_size, count), x.shape[2:]
    if prod(wanted) == 1:
        axes = tuple(range(2, x.ndim))
        mean = mean_node(x, axes)
        return unbatched(ops.reshape(mean, shape=(*x.shape[:2], *wanted)), single)
    if all(n % m == 0 for n, m in zip(shape, wanted, strict=True)):
        kernel = tuple(n // m for n, m in zip(shape, wanted, strict=True))
        frame = Frame(kernel, kernel, ((0, 0),) * count, (1,) * count)
        return unbatched(window_sum(x, frame=frame) / float(prod(kernel)), single)
    for axis, (n, m) in enumerate(zip(shape, wanted, strict=True), 2):
        x = _mean_along(x, axis, n, m)
    return unbatched(x, single)


def _mean_along(x: Node, axis: int, n: int, m: int) -> Node:
    """One axis at a time, as a product with the matrix of shares."""
    shares = np.zeros((n, m), x.dtype.numpy)
    for i, (first, last) in enumerate(_windows(n, m)):
        shares[first:last, i] = 1 / (last - first)
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    moved = ops.permute(x, axes=order)
    rows = ops.reshape(moved, shape=(numel(moved.shape[:-1]), n))
    out = ops.reshape(ops.dot(rows, constant(shares)), shape=(*moved.shape[:-1], m))
    return ops.permute(out, axes=tuple(int(a) for a in np.argsort(order)))


def _adaptive_max(count: int, input: Handle, output_size: Any, return_indices: bool) -> Any:
    """Every window laid out in full (edges repeated to one width), then the first maximum."""
    op = f"adaptive_max_pool{count}d"
    x, single = batched(op, node_of(input, op), count)
    wanted, shape = _wanted(op, x, output_size, count), x.shape[2:]
    places = np.zeros((1, 1), np.int64)  # (windows, elements)
    for n, m in zip(shape, wanted, strict=True):
        windows = _windows(n, m)
        width = max(last - first for first, last in windows)
        line = np.array([[min(b + t, e - 1) for t in range(width)] for b, e in windows])
        grid = places[:, None, :, None] * n + line[None, :, None, :]
        places = grid.reshape(len(places) * m, -1)
    flat = ops.reshape(x, shape=(*x.shape[:2], prod(shape)))
    index = np.ascontiguousarray(np.broadcast_to(places.reshape(-1), (*x.shape[:2], places.size)))
    taken = take_along(flat, constant(index), 2)
    best = max_along(wrap(ops.reshape(taken, shape=(*x.shape[:2], *places.shape))), -1)
    out = ops.reshape(best.values.node, shape=(*x.shape[:2], *wanted))
    if not return_indices:
        return unbatched(out, single)
    table = ops.broadcast(constant(places), shape=(*x.shape[:2], *places.shape))
    chosen = ops.reshape(best.indices.node, shape=(*best.indices.shape, 1))
    found = ops.reshape(take_along(table, chosen, 3), shape=out.shape)
    return unbatched(out, single), unbatched(found, single)


def _unpool(
    count: int, input: Handle, indices: Handle, kernel_size: Any, stride: Any, padding: Any,
    output_size: Any,
) -> Tensor:  # fmt: skip
    op = f"max_unpool{count}d"
    x, single = batched(op, node_of(input, op), count)
    index, _ = batched(op, node_of(indices, op), count)
    if index.dtype.kind not in "iu":
        raise errors.wrong_dtype(
            op,
            index.dtype,
            "indices of an integer dtype",
            hint="return_indices=True of the pooling gives them",
        )
    if index.shape != x.shape:
        raise errors.shape(
            op,
            "input and indices have different shapes",
            x,
            index,
            hint="return_indices=True of the pooling gives them",
        )
    kernel = sizes(op, "kernel_size", kernel_size, count, 1)
    steps = kernel if stride is None else sizes(op, "stride", stride, count, 1)
    edge = sizes(op, "padding", padding, count)
    shape = tuple(
        (n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], steps, edge, kernel, strict=True)
    )
    if output_size is not None:
        given = tuple(as_size(op, n) for n in output_size)
        shape = given[-count:] if len(given) in (count, count + 1, count + 2) else given
        if len(shape) != count:
            raise errors.argument(
                op,
                f"output_size needs {count} sizes, got {errors.clip(output_size)}",
                hint="give the size of the image before pooling",
            )
    area = prod(shape)
    index = to_dtype(index, int64)
    if not index.is_abstract:
        values = index.array()
        if values.size and not 0 <= values.min() <= values.max() < area:
            raise errors.index(
                f"a place is outside an image of {errors.dims(shape)}",
                hint="give the size of the image before pooling as output_size",
                op=op,
            )
    rows = x.shape[0] * x.shape[1]
    start = (np.arange(rows, dtype=np.int64) * area).reshape(*x.shape[:2], *(1,) * count)
    flat = index + ops.broadcast(constant(start), shape=index.shape)
    empty = full(0, (rows * area,), x.dtype)
    out = index_set(empty, ops.reshape(flat, shape=(numel(x.shape),)), x)
    return unbatched(ops.reshape(out, shape=(*x.shape[:2], *shape)), single)
