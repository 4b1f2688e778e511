"""Square brackets: reading and assigning by integers, slices, None, ``...``, and index arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.dtype import bool_, int64
from adjoint.base.shape import broadcast_shapes, numel
from adjoint.ir.node import Array, Node, constant
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.creation import to_array
from adjoint.tensors.handle import Handle, node_of, view, wrap
from adjoint.tensors.regions import index_set

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def getitem(input: Handle, index: Any) -> Tensor:
    """``input[index]`` with NumPy's meaning: integers drop an axis, slices keep it (negative steps
    too), None adds one, ``...`` stands for the rest, bool and integer arrays select.
    Raises IndexingError."""
    items = _complete(index, input.node)
    arrays = [i for i in items if isinstance(i, _Pick)]
    if arrays:  # next to index arrays an integer is an index array too, as in NumPy
        items = [_Pick(constant(np.asarray(i))) if isinstance(i, int) else i for i in items]
    out = _basic(input, items)
    picks = [(at, i.rows) for at, i in enumerate(_kept(items)) if isinstance(i, _Pick)]
    return wrap(_advanced(out.node, picks)) if picks else out


def setitem(input: Handle, index: Any, value: Any) -> None:
    """``input[index] = value``: the elements named change, ``value`` is broadcast to them."""
    node = input.node
    places = np.arange(numel(node.shape), dtype=np.int64).reshape(node.shape)
    chosen = _numpy_index(places, index, node)
    new = node_of(value, "setitem", node)
    if new.dtype is not node.dtype:
        if new.dtype.kind == "f" and node.dtype.kind != "f":
            raise errors.wrong_dtype(
                "setitem", new.dtype, f"values that {node.dtype.name} holds",
                hint="convert the tensor first: x = x.float()",
            )  # fmt: skip
        new = to_dtype(new, node.dtype)
    lead = new.ndim - chosen.ndim
    if lead > 0 and all(s == 1 for s in new.shape[:lead]):
        new = ops.reshape(new, shape=new.shape[lead:])
    lead = chosen.ndim - new.ndim
    if lead < 0 or any(
        n not in (1, s) for n, s in zip(new.shape, chosen.shape[lead:], strict=True)
    ):
        raise errors.shape(
            "setitem", f"the value does not fit the selection {errors.dims(chosen.shape)}", new,
            hint="sizes must be equal or 1, compared from the last axis",
        )  # fmt: skip
    if new.shape != chosen.shape:
        new = ops.broadcast(new, shape=chosen.shape)
    input.assign(index_set(node, constant(chosen.reshape(-1)), new), "setitem")


def take_axis(node: Node, index: Node, axis: int) -> Node:
    """Rows ``index`` (any shape, in range) of one axis; the index shape replaces that axis."""
    return _moved_back(_gather_front(node, axis, index), index.ndim, axis)


def take_along(node: Node, index: Node, axis: int) -> Node:
    """out[.., i, ..] = node[.., index[.., i, ..], ..]: ranks agree, other sizes are equal."""
    order = (*(i for i in range(node.ndim) if i != axis), axis)
    back = tuple(int(i) for i in np.argsort(order))
    found = ops.gather(
        ops.permute(node, axes=order), ops.permute(index, axes=order), batch=node.ndim - 1
    )
    return ops.permute(found, axes=back)


def nonzero(input: Handle, *, as_tuple: bool = False) -> Any:
    """The places of nonzero elements: a (count, ndim) int64 tensor, or one tensor per axis."""
    values = node_of(input, "nonzero").array("nonzero")
    found = np.nonzero(np.atleast_1d(values))
    if as_tuple:
        return tuple(wrap(constant(f.astype(np.int64))) for f in found)
    stacked = np.stack(found, axis=1)[:, : values.ndim]  # a number has no axis to name
    return wrap(constant(stacked.astype(np.int64)))


def in_range(
    index: Node, size: int, op: str, axis: int | None = None, of: Node | None = None,
    least: int | None = None,
) -> Node:  # fmt: skip
    """``index`` with negative entries counted from the end; raises IndexingError outside."""
    if index.dtype.kind not in "iu":
        raise errors.wrong_dtype(
            op, index.dtype, "an integer index", hint="convert it: index.long()"
        )
    if index.is_abstract:
        index = to_dtype(index, int64)
        return ops.where(ops.lt(index, index * 0), index + size, index)
    values = index.array()
    if values.size:
        low, high = int(values.min()), int(values.max())
        if low < -size or high >= size:
            bad = low if low < -size else high
            raise errors.out_of_range(op, bad, axis, size, of, least)
        if low < 0:
            values = values.astype(np.int64)
            return constant(np.where(values < 0, values + size, values))
    return to_dtype(index, int64)


class _Pick(NamedTuple):
    """An index array for one axis."""

    rows: Node


def _complete(index: Any, node: Node) -> list[Any]:
    """One entry per axis of ``node`` (int, slice or _Pick), with None for new axes."""
    raw = list(index) if isinstance(index, tuple) else [index]
    items: list[Any] = []
    for item in raw:
        items.extend(_entry(item))
    dots = [at for at, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise errors.index("only one ... is allowed", hint="write : for each of the other axes")
    used = sum(_width(i) for i in items)
    if used > node.ndim:
        raise errors.index(
            f"{used} indices for {node.ndim} axes: {errors.describe(node)}",
            hint="an index takes one axis each; x.shape shows them",
        )
    at = dots[0] if dots else len(items)
    fill = [slice(None)] * (node.ndim - used)
    items[at : at + 1 if dots else at] = fill
    return _checked(items, node)


def _entry(item: Any) -> list[Any]:
    """One or more canonical entries for what a user wrote."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return [item]
    if isinstance(item, (bool, np.bool_)):
        raise errors.index(
            f"a bare {item} selects nothing useful", hint="use a bool tensor with one entry per row"
        )
    if isinstance(item, (int, np.integer)):
        return [int(item)]
    if isinstance(item, (list, tuple, range, np.ndarray)):
        empty = not isinstance(item, np.ndarray) and not len(item)  # no float32
        array = np.zeros(0, np.int64) if empty else to_array(item, "indexing")
        if array.dtype.kind not in "biu":
            raise errors.index(
                f"an index array must hold integers or bools, got {array.dtype}",
                kind=errors.DTypeError,
                hint="convert it: array.astype(int)",
            )
        item = wrap(constant(array))
    if not isinstance(item, Handle):
        raise errors.index(
            f"cannot index with a {type(item).__name__}: {errors.clip(item)}",
            hint="use // for whole division, or int(index)" if isinstance(item, float)
            else "use integers, slices, None, ..., or index tensors",
            kind=errors.DTypeError,
        )  # fmt: skip
    node = item.node
    if node.dtype is bool_:
        if node.ndim == 0:
            raise errors.index(
                "a 0-d bool selects nothing useful", hint="use a bool tensor with one entry per row"
            )
        return [_Mask(node)]
    if node.dtype.kind == "f":
        raise errors.wrong_dtype(
            "indexing", node.dtype, "integers or bools", hint="convert it: index.long()"
        )
    if node.ndim == 0 and not node.is_abstract:
        return [int(node.array())]
    return [_Pick(node)]


class _Mask(NamedTuple):
    """A bool array that covers as many axes as it has."""

    mask: Node


def _width(item: Any) -> int:
    """How many axes an entry uses."""
    if item is None or item is Ellipsis:
        return 0
    return item.mask.ndim if isinstance(item, _Mask) else 1


def _checked(items: list[Any], node: Node) -> list[Any]:
    """Masks become index arrays; integers and slices are checked against the sizes."""
    out: list[Any] = []
    axis = 0
    for item in items:
        if item is None:
            out.append(None)
            continue
        if isinstance(item, _Mask):
            covered = node.shape[axis : axis + item.mask.ndim]
            if covered != item.mask.shape:
                raise errors.index(
                    f"a bool index of shape {errors.dims(item.mask.shape)} for axes of size "
                    f"{errors.dims(covered)}: {errors.describe(node)}",
                    hint="a mask has the sizes of the axes it selects on; x[:, mask] skips one",
                )
            found = np.nonzero(item.mask.array("indexing with a bool tensor"))
            out.extend(_Pick(constant(f.astype(np.int64))) for f in found)
            axis += item.mask.ndim
            continue
        n = node.shape[axis]
        if isinstance(item, int):
            if not -n <= item < n:
                raise errors.out_of_range("indexing", item, axis, n, node)
            item = item % n
        elif isinstance(item, _Pick):
            item = _Pick(in_range(item.rows, n, "indexing", axis, node))
        out.append(item)
        axis += 1
    return out


def _kept(items: list[Any]) -> list[Any]:
    """The entries that are an axis of the result of ``_basic``."""
    return [i for i in items if not isinstance(i, int)]


def _basic(input: Handle, items: list[Any]) -> Tensor:
    """Slices, integers and new axes: one slice op and one reshape, both only when needed."""
    starts: list[int] = []
    sizes: list[int] = []
    steps: list[int] = []
    shape: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        n = input.node.shape[axis]
        first, size, step = _range_of(item, n)
        starts.append(first)
        sizes.append(size)
        steps.append(step)
        if not isinstance(item, int):
            shape.append(size)
        axis += 1
    out: Any = input
    if tuple(sizes) != input.node.shape or any(s != 1 for s in steps):
        out = view(input, ops.slice, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))
    if tuple(shape) != out.node.shape:
        out = view(out, ops.reshape, shape=tuple(shape))
    return view(out, ops.reshape, shape=tuple(shape)) if out is input else out


def _range_of(item: Any, n: int) -> tuple[int, int, int]:
    if isinstance(item, int):
        return item, 1, 1
    if isinstance(item, _Pick):
        return 0, n, 1
    try:
        first, stop, step = item.indices(n)
    except (TypeError, ValueError):
        bounds = [b for b in (item.start, item.stop, item.step) if b is not None]
        shown = ", ".join(errors.clip(b) for b in bounds)
        raise errors.index(
            f"a slice needs integers, and a step other than 0, got {shown}",
            hint="use // for whole division, or int(bound)",
        ) from None
    size = len(range(first, stop, step))
    return (first if size else 0), size, (step if size > 1 else 1)


def _advanced(node: Node, picks: list[tuple[int, Node]]) -> Node:
    """Index arrays: merge their axes into one, gather rows, put the result axes in place."""
    axes = [at for at, _ in picks]
    shape = broadcast_shapes("indexing", *(i.shape for _, i in picks))
    rows: Node | None = None
    for at, index in picks:
        spread = index if index.shape == shape else ops.broadcast(index, shape=shape)
        rows = spread if rows is None else rows * node.shape[at] + spread
    assert rows is not None
    rest = [i for i in range(node.ndim) if i not in axes]
    front = ops.permute(node, axes=(*axes, *rest)) if axes != list(range(len(axes))) else node
    merged = numel([node.shape[a] for a in axes])
    flat = ops.reshape(front, shape=(merged, *(node.shape[i] for i in rest)))
    found = ops.gather(flat, rows, batch=0)
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    return _moved_back(found, len(shape), axes[0] if together else 0)


def _gather_front(node: Node, axis: int, index: Node) -> Node:
    order = (axis, *(i for i in range(node.ndim) if i != axis))
    return ops.gather(ops.permute(node, axes=order) if axis else node, index, batch=0)


def _moved_back(node: Node, width: int, axis: int) -> Node:
    """Move the first ``width`` axes behind the next ``axis`` ones."""
    if axis == 0 or width == 0:
        return node
    order = (*range(width, width + axis), *range(width), *range(width + axis, node.ndim))
    return ops.permute(node, axes=order)


def _numpy_index(places: Array, index: Any, node: Node) -> Array:
    """The flat places that ``index`` names, by NumPy's own rule."""
    _complete(index, node)  # our checks and messages first
    raw = index if isinstance(index, tuple) else (index,)
    plain = tuple(_plain(i) for i in raw)
    try:
        return np.asarray(places[plain])
    except IndexError as problem:
        raise errors.index(str(problem), hint="index arrays must broadcast together") from None


def _plain(item: Any) -> Any:
    """An index entry as NumPy takes it."""
    if isinstance(item, Handle):
        return item.node.array("assignment by index")
    if isinstance(item, (list, tuple, range)):
        return to_array(item, "indexing") if len(item) else np.zeros(0, np.int64)
    return item
