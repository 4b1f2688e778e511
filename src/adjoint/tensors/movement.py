"""Functions that only move elements: shapes, axes, joining, splitting, repeating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.dtype import promote_types
from adjoint.base.shape import (
    Shape,
    as_axes,
    as_axis,
    as_shape,
    as_size,
    broadcast_shapes,
    check_allocation,
    numel,
)  # fmt: skip
from adjoint.ir.node import Node, constant
from adjoint.ops.movement import flip as flip_node
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.creation import to_array
from adjoint.tensors.handle import Handle, node_of, view, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def reshape(input: Handle, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1. Raises ShapeError."""
    node = _tensor("reshape", input)
    sizes = as_shape("reshape", shape[0] if len(shape) == 1 else shape)
    return view(input, ops.reshape, shape=_fill_in(node.shape, sizes))


def view_as(input: Handle, other: Handle) -> Tensor:
    """``input`` in the shape of ``other``."""
    return reshape(input, _tensor("view_as", other).shape)


def flatten(input: Handle, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the axes from ``start_dim`` to ``end_dim`` into one."""
    shape = _tensor("flatten", input).shape
    if not shape:
        return reshape(input, (1,))
    first, last = as_axis("flatten", start_dim, len(shape)), as_axis("flatten", end_dim, len(shape))
    if first > last:
        raise errors.argument(
            "flatten", f"start_dim {start_dim} comes after end_dim {end_dim}",
            hint="name the first axis first: flatten(1, -1), say",
        )  # fmt: skip
    return reshape(input, (*shape[:first], numel(shape[first : last + 1]), *shape[last + 1 :]))


def unflatten(input: Handle, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split axis ``dim`` into ``sizes`` (one may be -1)."""
    shape = _tensor("unflatten", input).shape
    axis = as_axis("unflatten", dim, len(shape))
    inner = _fill_in((shape[axis],), as_shape("unflatten", sizes))
    return reshape(input, (*shape[:axis], *inner, *shape[axis + 1 :]))


def permute(input: Handle, *dims: Any) -> Tensor:
    """The axes in another order: axis i of the result is axis ``dims[i]`` of the input."""
    node = _tensor("permute", input)
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    axes = as_axes("permute", tuple(order), node.ndim)
    if len(axes) != node.ndim:
        raise errors.shape(
            "permute", f"{len(axes)} axes are named, the tensor has {node.ndim}", node,
            hint=f"name each axis once: permute{errors.dims(tuple(range(node.ndim))[::-1])}, say",
        )  # fmt: skip
    return view(input, ops.permute, axes=axes)


def transpose(input: Handle, dim0: int, dim1: int) -> Tensor:
    """Exchange two axes."""
    node = _tensor("transpose", input)
    a, b = as_axis("transpose", dim0, node.ndim), as_axis("transpose", dim1, node.ndim)
    order = list(range(node.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return view(input, ops.permute, axes=tuple(order))


def t(input: Handle) -> Tensor:
    """The transpose of a matrix; a vector or a number stays as it is."""
    node = _tensor("t", input)
    if node.ndim > 2:
        raise errors.shape("t", "needs at most 2 axes", node, hint="use transpose(-2, -1)")
    return view(input, ops.permute, axes=tuple(reversed(range(node.ndim))))


def matrix_transpose(input: Handle) -> Tensor:
    """Exchange the last two axes."""
    if _tensor("matrix_transpose", input).ndim < 2:
        raise errors.shape(
            "matrix_transpose", "needs at least 2 axes", input, hint="make a column: x[:, None]"
        )
    return transpose(input, -2, -1)


def movedim(input: Handle, source: Any, destination: Any) -> Tensor:
    """Move axes ``source`` to the places ``destination``; the others keep their order."""
    n = _tensor("movedim", input).ndim
    source, destination = as_axes("movedim", source, n), as_axes("movedim", destination, n)
    if len(source) != len(destination):
        raise errors.argument(
            "movedim", f"{len(source)} axes cannot go to {len(destination)} places",
            hint="give one place per axis: movedim((0, 1), (2, 3)), say",
        )  # fmt: skip
    order = [i for i in range(n) if i not in source]
    for to, axis in sorted(zip(destination, source, strict=True)):
        order.insert(to, axis)
    return view(input, ops.permute, axes=tuple(order))


def squeeze(input: Handle, dim: Any = None, *, axis: Any = None) -> Tensor:
    """Drop axes of size 1: all of them, or those named (others are left alone)."""
    node = _tensor("squeeze", input)
    named = as_axes("squeeze", axis if dim is None else dim, node.ndim)
    keep = tuple(s for i, s in enumerate(node.shape) if s != 1 or i not in named)
    return view(input, ops.reshape, shape=keep)


def unsqueeze(input: Handle, dim: int) -> Tensor:
    """Insert an axis of size 1 at ``dim``."""
    node = _tensor("unsqueeze", input)
    axis = as_axis("unsqueeze", dim, node.ndim + 1, "a result")
    return view(input, ops.reshape, shape=(*node.shape[:axis], 1, *node.shape[axis:]))


def expand_dims(input: Handle, axis: int = 0) -> Tensor:
    """``unsqueeze`` under NumPy's name."""
    return unsqueeze(input, axis)


def expand(input: Handle, *sizes: Any) -> Tensor:
    """Repeat axes of size 1 (and new leading axes) without copying; -1 keeps a size."""
    node = _tensor("expand", input)
    wanted = as_shape("expand", sizes[0] if len(sizes) == 1 else sizes)
    lead = len(wanted) - node.ndim
    same = zip(node.shape, wanted[max(lead, 0) :], strict=False)
    if lead < 0 or any(n != 1 and s not in (n, -1) for n, s in same):
        raise errors.expand(node.shape, wanted)
    full = tuple(node.shape[i - lead] if s == -1 and i >= lead else s for i, s in enumerate(wanted))
    if any(s < 0 for s in full):
        raise errors.negative_size("expand", full)
    return view(input, ops.broadcast, shape=full)


def expand_as(input: Handle, other: Handle) -> Tensor:
    """``input`` expanded to the shape of ``other``."""
    return expand(input, _tensor("expand_as", other).shape)


def broadcast_to(input: Handle, shape: Any) -> Tensor:
    """``input`` repeated to ``shape`` under the broadcasting rule."""
    return expand(input, shape)


def broadcast_tensors(*tensors: Handle) -> list[Tensor]:
    """All ``tensors`` expanded to their common shape."""
    nodes = [_tensor("broadcast_tensors", t) for t in tensors]
    shape = broadcast_shapes("broadcast_tensors", *(n.shape for n in nodes))
    return [expand(t, shape) for t in tensors]


def cat(tensors: Sequence[Handle], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join tensors along an existing axis. All other sizes must agree; dtypes are promoted."""
    nodes = _nodes("cat", tensors)
    place = as_axis("cat", dim if axis is None else axis, nodes[0].ndim)
    first = nodes[0]
    for i, node in enumerate(nodes):
        rest = node.shape[:place] + node.shape[place + 1 :]
        if node.ndim != first.ndim or rest != first.shape[:place] + first.shape[place + 1 :]:
            raise errors.shape(
                "cat", f"tensor {i} differs from tensor 0 outside axis {place}", first, node,
                hint=_other_axis(first.shape, node.shape),
            )  # fmt: skip
    return wrap(ops.concat(*nodes, axis=place))


def stack(tensors: Sequence[Handle], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join tensors of one shape along a new axis."""
    nodes = _nodes("stack", tensors)
    place = as_axis("stack", dim if axis is None else axis, nodes[0].ndim + 1, "a result")
    for i, node in enumerate(nodes):
        if node.shape != nodes[0].shape:
            raise errors.shape(
                "stack", f"tensor {i} has another shape than tensor 0", nodes[0], node,
                hint="pad them to one size first, or keep a list",
            )  # fmt: skip
    shape = nodes[0].shape
    wide = (*shape[:place], 1, *shape[place:])
    return wrap(ops.concat(*(ops.reshape(n, shape=wide) for n in nodes), axis=place))


def hstack(tensors: Sequence[Handle]) -> Tensor:
    """Join along axis 1 (axis 0 for vectors)."""
    nodes = _nodes("hstack", tensors)
    return cat([wrap(n) for n in nodes], 0 if nodes[0].ndim < 2 else 1)


def vstack(tensors: Sequence[Handle]) -> Tensor:
    """Join along axis 0, vectors becoming rows."""
    rows = [wrap(n) for n in _nodes("vstack", tensors)]
    return cat([r if r.ndim > 1 else reshape(r, (1, -1)) for r in rows], 0)


def split(input: Handle, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one size (the last may be smaller), or of the sizes given."""
    node = _tensor("split", input)
    axis = as_axis("split", dim, node.ndim)
    n = node.shape[axis]
    if isinstance(split_size_or_sections, (tuple, list)):
        sizes = [as_size("split", s) for s in split_size_or_sections]
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise errors.argument(
                "split", f"the sections {sizes} add up to {sum(sizes)}, not to the size {n}",
                hint="give sections that fill the axis, or one size for all pieces: split(3)",
            )  # fmt: skip
    else:
        size = as_size("split", split_size_or_sections)
        if size <= 0:
            raise errors.argument(
                "split", f"the size of a piece must be positive, got {size}",
                hint="x.chunk(n) makes n pieces",
            )  # fmt: skip
        sizes = [min(size, n - i) for i in range(0, n, size)] or [0]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    return tuple(narrow(input, axis, int(b), s) for b, s in zip(starts[:-1], sizes, strict=True))


def chunk(input: Handle, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of equal size, the last one smaller if need be."""
    node = _tensor("chunk", input)
    count = as_size("chunk", chunks)
    if count <= 0:
        raise errors.argument(
            "chunk", f"the number of chunks must be positive, got {count}",
            hint="x.split(n) makes pieces of size n",
        )  # fmt: skip
    n = node.shape[as_axis("chunk", dim, node.ndim)]
    return split(input, max(-(-n // count), 1), dim)


def unbind(input: Handle, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along one axis, which disappears."""
    n = _tensor("unbind", input).shape[as_axis("unbind", dim, input.ndim)]
    return tuple(select(input, dim, i) for i in range(n))


def narrow(input: Handle, dim: int, start: int, length: int) -> Tensor:
    """``length`` elements of axis ``dim`` from ``start``."""
    node = _tensor("narrow", input)
    axis, size = as_axis("narrow", dim, node.ndim), as_size("narrow", length)
    first = as_size("narrow", start)
    first = first + node.shape[axis] if first < 0 else first
    if not 0 <= first <= first + size <= node.shape[axis]:
        raise errors.index(
            f"{size} elements from {start} on are not all inside axis {axis}: "
            f"{errors.describe(node)}",
            op="narrow", hint="narrow(axis, start, length) takes a length, not an end",
        )  # fmt: skip
    return view(
        input, ops.slice,
        starts=tuple(first if i == axis and size else 0 for i in range(node.ndim)),
        sizes=tuple(size if i == axis else n for i, n in enumerate(node.shape)),
        steps=(1,) * node.ndim,
    )  # fmt: skip


def select(input: Handle, dim: int, index: int) -> Tensor:
    """The slice ``index`` of axis ``dim``, without that axis."""
    node = _tensor("select", input)
    axis, place = as_axis("select", dim, node.ndim), as_size("select", index)
    if not -node.shape[axis] <= place < node.shape[axis]:
        raise errors.out_of_range("select", place, axis, node.shape[axis], node)
    return squeeze(narrow(input, axis, place % node.shape[axis], 1), axis)


def flip(input: Handle, *dims: Any, axis: Any = None) -> Tensor:
    """Backwards along ``dims``."""
    node = _tensor("flip", input)
    named = axis if axis is not None else dims[0] if len(dims) == 1 else dims if dims else None
    return wrap(flip_node(node, as_axes("flip", named, node.ndim)))


def fliplr(input: Handle) -> Tensor:
    """Backwards along axis 1."""
    return flip(input, 1)


def flipud(input: Handle) -> Tensor:
    """Backwards along axis 0."""
    return flip(input, 0)


def roll(input: Handle, shifts: Any, dims: Any = None, *, axis: Any = None) -> Tensor:
    """Move elements by ``shifts`` along ``dims``, round the end; over all elements without dims."""
    node = _tensor("roll", input)
    dims = axis if dims is None else dims
    if dims is None:
        return reshape(roll(reshape(input, -1), shifts, 0), node.shape)
    moves = shifts if isinstance(shifts, (tuple, list)) else (shifts,)
    axes = dims if isinstance(dims, (tuple, list)) else (dims,)
    if len(moves) != len(axes):
        raise errors.argument(
            "roll", f"{len(moves)} shifts for {len(axes)} axes", hint="give one shift per axis"
        )
    out: Any = input
    for move, place in zip(moves, axes, strict=True):
        place = as_axis("roll", place, out.ndim)
        n = out.shape[place]
        cut = (-as_size("roll", move)) % n if n else 0
        if cut:
            out = cat([narrow(out, place, cut, n - cut), narrow(out, place, 0, cut)], place)
    return wrap(out.node)


def repeat(input: Handle, *repeats: Any) -> Tensor:
    """Tile the tensor ``repeats[i]`` times along axis i (new leading axes allowed)."""
    node = _tensor("repeat", input)
    times = as_shape("repeat", repeats[0] if len(repeats) == 1 else repeats)
    if len(times) < node.ndim:
        raise errors.argument(
            "repeat", f"{len(times)} repeats for {node.ndim} axes",
            hint="give one repeat per axis, 1 to leave it; new axes come first",
        )  # fmt: skip
    return tile(input, times)


def tile(input: Handle, *dims: Any) -> Tensor:
    """Repeat the whole tensor, as ``numpy.tile``."""
    node = _tensor("tile", input)
    times = as_shape("tile", dims[0] if len(dims) == 1 else dims)
    if any(r < 0 for r in times):
        raise errors.negative_size("tile", times)
    rank = max(len(times), node.ndim)
    check_allocation("tile", times, numel(node.shape) * node.dtype.itemsize)
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - node.ndim) + node.shape
    spread = ops.reshape(node, shape=tuple(v for n in shape for v in (1, n)))
    spread = ops.broadcast(
        spread, shape=tuple(v for r, n in zip(times, shape, strict=True) for v in (r, n))
    )
    return wrap(ops.reshape(spread, shape=tuple(r * n for r, n in zip(times, shape, strict=True))))


def repeat_interleave(input: Handle, repeats: Any, dim: int | None = None) -> Tensor:
    """Repeat each element ``repeats`` times (one number, or one per element of the axis)."""
    node = _tensor("repeat_interleave", input)
    if dim is None:
        return repeat_interleave(reshape(input, -1), repeats, 0)
    axis = as_axis("repeat_interleave", dim, node.ndim)
    counts = to_array(repeats, "repeat_interleave").reshape(-1)
    whole = counts.dtype.kind in "iu" and counts.size in (1, node.shape[axis])
    if not whole or (counts < 0).any():
        raise errors.argument(
            "repeat_interleave", f"repeats must be 1 or {node.shape[axis]} non-negative integers",
            hint="one count for all elements, or one per element of the axis",
        )  # fmt: skip
    total = sum(counts.tolist()) * (node.shape[axis] if counts.size == 1 else 1)
    shape = (*node.shape[:axis], total, *node.shape[axis + 1 :])
    check_allocation("repeat_interleave", shape, max(node.dtype.itemsize, 8))
    places = np.repeat(np.arange(node.shape[axis]), counts)
    from adjoint.tensors.indexing import take_axis

    return wrap(take_axis(node, constant(places), axis))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinate grids of 1-D tensors; indexing ``"ij"`` (rows first) or ``"xy"``."""
    items = (
        list(tensors[0])
        if len(tensors) == 1 and isinstance(tensors[0], (tuple, list))
        else list(tensors)
    )
    as_choice("meshgrid indexing", indexing, ["ij", "xy"])
    flat = [reshape(wrap(_tensor("meshgrid", x)), -1) for x in items]
    turn = indexing == "xy" and len(flat) > 1
    if turn:
        flat[0], flat[1] = flat[1], flat[0]
    shape = tuple(x.shape[0] for x in flat)
    grids = [
        expand(reshape(x, (1,) * i + (-1,) + (1,) * (len(flat) - i - 1)), shape)
        for i, x in enumerate(flat)
    ]
    if turn:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def clone(input: Handle) -> Tensor:
    """A tensor of its own with the same value and history."""
    return wrap(ops.copy(_tensor("clone", input)))


def contiguous(input: Handle) -> Tensor:
    """The tensor itself: layout is the library's business."""
    return input  # type: ignore[return-value]


def _tensor(op: str, value: Any) -> Node:
    if not isinstance(value, Handle):
        raise errors.not_a_tensor(op, value)
    return value.node


def _nodes(op: str, tensors: Any) -> list[Node]:
    if isinstance(tensors, Handle) or not isinstance(tensors, (tuple, list)) or not tensors:
        got = "an empty list" if isinstance(tensors, (tuple, list)) else errors.describe(tensors)
        raise errors.argument(
            op, f"needs a list of tensors, got {got}", hint=f"put them in brackets: {op}([a, b])"
        )
    nodes = [node_of(x, op) for x in tensors]
    dtype = nodes[0].dtype
    for node in nodes[1:]:
        dtype = promote_types(dtype, node.dtype)
    return [to_dtype(n, dtype) for n in nodes]


def _other_axis(first: Shape, other: Shape) -> str:
    """How two tensors that cannot be joined along an axis could be."""
    differ = [i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b]
    if len(first) != len(other):
        return "add the missing axis first: x[None] or x.unsqueeze(0)"
    if len(differ) == 1:
        return f"they differ along axis {differ[0]} only: dim={differ[0]} would join them"
    return "all sizes but one must agree: slice, pad or transpose one of them first"


def _fill_in(old: Shape, new: Shape) -> Shape:
    """``new`` with its -1 worked out; raises ShapeError when it does not fit ``old``."""
    count = numel(old)
    if numel(new) == count and min(new, default=0) >= 0:
        return new
    known = numel([s for s in new if s != -1])
    if new.count(-1) > 1 or any(s < -1 for s in new):
        raise errors.reshape(old, new, count)
    if -1 in new:
        if known == 0 or count % known:
            raise errors.reshape(old, new, count)
        return tuple(count // known if s == -1 else s for s in new)
    if known != count:
        raise errors.reshape(old, new, count)
    return new
