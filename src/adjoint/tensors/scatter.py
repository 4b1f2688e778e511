"""Reading and writing at positions given by index tensors: gather, scatter, select, fill, embed.

Where several entries write to one place, the last one wins; where they add, all count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.dtype import bool_, int64
from adjoint.base.shape import Shape, as_axis, as_size, broadcast_shapes, check_allocation, numel
from adjoint.ir.node import Node, constant
from adjoint.ops.movement import narrow
from adjoint.ops.pointwise import broadcasting
from adjoint.ops.rows import full
from adjoint.tensors.arithmetic import mul, to_dtype
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import getitem, in_range, setitem, take_along, take_axis
from adjoint.tensors.regions import index_set
from adjoint.tensors.segments import reduced_at

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def gather(input: Handle, dim: int, index: Handle, *, axis: int | None = None) -> Tensor:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim=0, and so on for other axes.

    ``index`` has as many axes as ``input`` and may be smaller along the others. Negative entries
    count from the end. Raises IndexingError outside the axis.
    """
    node, places, place = _along("gather", input, dim if axis is None else axis, index)
    return wrap(
        ops.reshape(take_along(_cut(node, places, place), places, place), shape=index.shape)
    )


def take_along_dim(
    input: Handle, indices: Handle, dim: int | None = None, *, axis: int | None = None
) -> Tensor:
    """``gather`` whose operands broadcast along the other axes; without dim, on flat tensors."""
    named = axis if dim is None else dim
    node, index = node_of(input, "take_along_dim"), node_of(indices, "take_along_dim")
    if named is None:
        node, index = _flat(node), _flat(index)
        return wrap(take_along(node, in_range(index, node.shape[0], "take_along_dim"), 0))
    place = as_axis("take_along_dim", named, node.ndim)
    if index.ndim != node.ndim:
        raise errors.shape(
            "take_along_dim", "needs as many axes in both", node, index,
            hint="give the index axes of size 1: index[:, None]",
        )  # fmt: skip
    n, k = node.shape[place], index.shape[place]
    others = [s[:place] + s[place + 1 :] for s in (node.shape, index.shape)]
    rest = broadcast_shapes("take_along_dim", *others)
    index = in_range(index, n, "take_along_dim")
    wide = ops.broadcast(node, shape=(*rest[:place], n, *rest[place:]))
    spread = ops.broadcast(index, shape=(*rest[:place], k, *rest[place:]))
    return wrap(take_along(wide, spread, place))


def take(input: Handle, index: Handle) -> Tensor:
    """The elements at ``index`` of the flattened input, in the shape of ``index``."""
    node = _flat(node_of(input, "take"))
    found = in_range(node_of(index, "take"), node.shape[0], "take")
    return wrap(ops.gather(node, found, batch=0))


def index_select(input: Handle, dim: int, index: Handle, *, axis: int | None = None) -> Tensor:
    """The slices of one axis that a 1-D ``index`` names, in its order."""
    node, rows, place = _rows("index_select", input, dim if axis is None else axis, index)
    return wrap(take_axis(node, rows, place))


def masked_select(input: Handle, mask: Handle) -> Tensor:
    """The elements where ``mask`` is True, as a 1-D tensor; the operands broadcast."""
    node, test = node_of(input, "masked_select"), _mask("masked_select", mask)
    shape = broadcast_shapes("masked_select", node.shape, test.shape)
    places = np.flatnonzero(np.broadcast_to(test.array("masked_select"), shape))
    flat = _flat(_to_shape(node, shape))
    return wrap(ops.gather(flat, constant(places.astype(np.int64)), batch=0))


def scatter(
    input: Handle, dim: int, index: Handle, src: Any = None, *, value: float | None = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """A copy of ``input`` with out[index[i][j][k]][j][k] = src[i][j][k] for dim=0, and so on.

    ``src`` is a tensor at least as large as ``index``, or one number. reduce: None to overwrite
    (the last entry wins), "add" or "multiply" to combine with what is there.
    """
    if reduce is not None:
        method = as_choice("scatter reduce", reduce, ["add", "multiply"])
        method = "sum" if method == "add" else "prod"
        return scatter_reduce(input, dim, index, src if value is None else value, method)
    node, places, updates = _targets("scatter", input, dim, index, src if value is None else value)
    return wrap(index_set(node, places, updates))


def scatter_add(input: Handle, dim: int, index: Handle, src: Any) -> Tensor:
    """A copy of ``input`` with src[i][j][k] added at [index[i][j][k]][j][k] for dim=0."""
    return scatter_reduce(input, dim, index, src, "sum")


def scatter_reduce(
    input: Handle, dim: int, index: Handle, src: Any, reduce: str, *, include_self: bool = True
) -> Tensor:
    """As ``scatter``, with all values that meet at one place reduced: sum, prod, mean, amax or
    amin, and the element of ``input`` among them unless ``include_self=False``. Places that
    nothing is written to keep their element. Ties of amax and amin share the gradient."""
    as_choice("scatter_reduce", reduce, REDUCTIONS)
    node, places, updates = _targets("scatter_reduce", input, dim, index, src)
    out = reduced_at(_flat(node), places, updates, reduce, include_self)
    return wrap(ops.reshape(out, shape=node.shape))


def index_add(
    input: Handle, dim: int, index: Handle, source: Handle, *, alpha: float = 1
) -> Tensor:
    """A copy of ``input`` with ``alpha * source`` added to the slices of one axis that the 1-D
    ``index`` names; repeated ones add up."""
    node, rows, place = _rows("index_add", input, dim, index)
    scaled = source if alpha == 1 else mul(source, alpha)
    updates = _slices("index_add", node, rows, place, node_of(scaled, "index_add"))
    order = (place, *(i for i in range(node.ndim) if i != place))
    out = ops.scatter_add(
        ops.permute(node, axes=order), rows, ops.permute(updates, axes=order), batch=0
    )
    return wrap(ops.permute(out, axes=tuple(int(i) for i in np.argsort(order))))


def index_copy(input: Handle, dim: int, index: Handle, source: Handle) -> Tensor:
    """A copy of ``input`` whose slices ``index`` of one axis are those of ``source``."""
    node, rows, place = _rows("index_copy", input, dim, index)
    updates = _slices("index_copy", node, rows, place, node_of(source, "index_copy"))
    return wrap(index_set(node, _flat(_slice_places(node, rows, place)), _flat(updates)))


def index_fill(input: Handle, dim: int, index: Handle, value: Any) -> Tensor:
    """A copy of ``input`` whose slices ``index`` of one axis hold ``value``."""
    node, rows, place = _rows("index_fill", input, dim, index)
    places = _slice_places(node, rows, place)
    filling = _number("index_fill", value, node)
    return wrap(index_set(node, _flat(places), _to_shape(filling, (numel(places.shape),))))


def index_put(
    input: Handle, indices: Sequence[Any], values: Any, accumulate: bool = False
) -> Tensor:
    """A copy of ``input`` after ``copy[indices] = values`` (or, with accumulate, after adding
    every one of ``values``, also where an index is repeated)."""
    node = node_of(input, "index_put")
    if not isinstance(indices, (tuple, list)):
        raise errors.bad_argument("index_put", "indices", indices, "a tuple of index tensors")
    if not accumulate:
        out = wrap(ops.copy(node))
        setitem(out, tuple(indices), values)
        return out
    places = getitem(wrap(_all_places(node.shape)), tuple(indices)).node
    updates = _to_shape(to_dtype(node_of(values, "index_put", node), node.dtype), places.shape)
    out = ops.scatter_add(_flat(node), _flat(places), _flat(updates), batch=0)
    return wrap(ops.reshape(out, shape=node.shape))


def put(input: Handle, index: Handle, source: Handle, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``source`` written at places ``index`` of the flattened tensor."""
    node, updates = node_of(input, "put"), node_of(source, "put")
    places = in_range(node_of(index, "put"), numel(node.shape), "put")
    if numel(places.shape) != numel(updates.shape) or updates.dtype is not node.dtype:
        raise errors.shape(
            "put", "source needs a value of the same dtype per index", index, source,
            hint="index_put broadcasts its values",
        )  # fmt: skip
    if not accumulate:
        return wrap(index_set(node, _flat(places), _flat(updates)))
    out = ops.scatter_add(_flat(node), _flat(places), _flat(updates), batch=0)
    return wrap(ops.reshape(out, shape=node.shape))


def masked_fill(input: Handle, mask: Handle, value: Any) -> Tensor:
    """``value`` (one number) where ``mask`` is True, the input elsewhere; the mask broadcasts."""
    node, test = node_of(input, "masked_fill"), _mask("masked_fill", mask)
    filling = _number("masked_fill", value, node)
    shape = broadcast_shapes("masked_fill", node.shape, test.shape)
    return wrap(broadcasting(ops.where, (test, filling, node), shape))


def masked_scatter(input: Handle, mask: Handle, source: Handle) -> Tensor:
    """A copy of ``input`` whose elements where ``mask`` is True are the first of ``source``."""
    node, test = node_of(input, "masked_scatter"), _mask("masked_scatter", mask)
    updates = _flat(node_of(source, "masked_scatter"))
    shape = broadcast_shapes("masked_scatter", node.shape, test.shape)
    places = np.flatnonzero(np.broadcast_to(test.array("masked_scatter"), shape))
    if updates.dtype is not node.dtype:
        raise errors.mixed_dtypes("masked_scatter", node, updates)
    if updates.shape[0] < len(places):
        raise errors.shape(
            "masked_scatter", f"the mask selects {len(places)} elements", source,
            hint="source must have at least that many; masked_fill writes one number",
        )  # fmt: skip
    first = narrow(updates, 0, 0, len(places))
    return wrap(index_set(_to_shape(node, shape), constant(places.astype(np.int64)), first))


def one_hot(tensor: Handle, num_classes: int = -1) -> Tensor:
    """int64 zeros with a 1 at the class: shape (..., num_classes), the largest class + 1 by
    default. Raises IndexingError for a class out of range."""
    node = node_of(tensor, "one_hot")
    if node.dtype.kind not in "iu":
        raise errors.wrong_dtype("one_hot", node.dtype, "an integer dtype", hint="labels.long()")
    count = as_size("one_hot", num_classes)
    if count < 0:
        values = node.array("one_hot without num_classes")
        if not values.size:
            raise errors.argument("one_hot", "no classes to count", hint="give num_classes=")
        count = int(values.max()) + 1
    _refuse_negative("one_hot", node, "class")
    check_allocation("one_hot", (*node.shape, count), 8)
    node = in_range(node, count, "one_hot", least=0)
    hit = broadcasting(
        ops.eq,
        (
            ops.reshape(node, shape=(*node.shape, 1)),
            ops.reshape(ops.iota(size=count, dtype=int64), shape=(1,) * node.ndim + (count,)),
        ),
        (*node.shape, count),
    )
    return wrap(to_dtype(hit, int64))


def embedding(input: Handle, weight: Handle, padding_idx: int | None = None) -> Tensor:
    """Rows of ``weight`` (V, D) for every index: (...) -> (..., D). A row used k times gets the
    sum of k gradients, the row ``padding_idx`` none. Raises IndexingError out of range."""
    table = node_of(weight, "embedding")
    if table.ndim != 2:
        raise errors.shape(
            "embedding", "the weight needs 2 dimensions", table,
            hint="it holds one row per word: (words, features)",
        )  # fmt: skip
    index = node_of(input, "embedding")
    _refuse_negative("embedding", index, "index")
    index = in_range(index, table.shape[0], "embedding", 0, table, least=0)
    out = ops.gather(table, index, batch=0)
    if padding_idx is None or not (table.needs_grad or table.is_abstract):
        return wrap(out)
    size = table.shape[0]
    if not -size <= padding_idx < size:
        raise errors.index(
            f"padding_idx {padding_idx} is outside a table of {size} rows",
            hint=f"allowed: {-size} to {size - 1}, or None", op="embedding",
        )  # fmt: skip
    padded = ops.eq(index, full(padding_idx % size, index.shape, int64))
    padded = ops.reshape(padded, shape=(*index.shape, 1))
    return wrap(broadcasting(ops.where, (padded, ops.copy(out, stop=True), out), out.shape))


def _flat(node: Node) -> Node:
    return ops.reshape(node, shape=(numel(node.shape),)) if node.ndim != 1 else node


def _to_shape(node: Node, shape: Shape) -> Node:
    return node if node.shape == shape else ops.broadcast(node, shape=shape)


def _mask(op: str, mask: Any) -> Node:
    node = node_of(mask, op)
    if node.dtype is not bool_:
        raise errors.wrong_dtype(op, node.dtype, "a bool mask", hint="compare first: x > 0")
    return node


def _number(op: str, value: Any, like: Node) -> Node:
    """One number in the dtype of ``like``; raises when it is no number, or a fraction for ints."""
    node = node_of(value, op, like)
    if node.ndim:
        raise errors.shape(op, "value must be a number or a 0-d tensor", node, hint="use where")
    if node.dtype.kind == "f" and like.dtype.kind != "f":
        raise errors.wrong_dtype(
            op, node.dtype, f"a value for {like.dtype.name}",
            hint="convert the tensor first: x.float()",
        )  # fmt: skip
    return to_dtype(node, like.dtype)


def _refuse_negative(op: str, index: Node, what: str) -> None:
    if index.dtype.kind == "i" and not index.is_abstract:
        values = index.array()
        if values.size and values.min() < 0:
            raise errors.index(
                f"a {what} cannot be negative, got {values.min()}",
                hint="mask such entries first: x[x >= 0], or clamp(min=0)", op=op,
            )  # fmt: skip


def _along(op: str, input: Handle, dim: int, index: Any) -> tuple[Node, Node, int]:
    """Input, index and axis of a function in the manner of ``gather``; numbers become vectors."""
    node, places = node_of(input, op), node_of(index, op)
    if not node.ndim and places.ndim <= 1:
        node, places = _flat(node), _flat(places)
    place = as_axis(op, dim, node.ndim)
    fits = node.ndim == places.ndim and all(
        k <= n for i, (k, n) in enumerate(zip(places.shape, node.shape, strict=True)) if i != place
    )
    if not fits and not numel(places.shape):
        places, fits = ops.reshape(places, shape=(0,) * node.ndim), True
    if not fits:
        raise errors.shape(
            op, f"index needs the axes of input, none longer except axis {place}", node, places,
            hint="index_select takes a 1-D index, take_along_dim broadcasts",
        )  # fmt: skip
    return node, in_range(places, node.shape[place], op), place


def _cut(node: Node, index: Node, axis: int) -> Node:
    """The corner of ``node`` that an index smaller along the other axes reaches."""
    pairs = enumerate(zip(node.shape, index.shape, strict=True))
    shape = tuple(n if i == axis else k for i, (n, k) in pairs)
    if shape == node.shape:
        return node
    zeros, ones = (0,) * node.ndim, (1,) * node.ndim
    return ops.slice(node, starts=zeros, sizes=shape, steps=ones)


def _targets(op: str, input: Handle, dim: int, index: Any, src: Any) -> tuple[Node, Node, Node]:
    """Input, flat places written to, and the value for each."""
    if src is None:
        raise errors.argument(
            op, "needs src=, or value=", hint="src is a tensor as large as index, value a number"
        )
    node, rows, place = _along(op, input, dim, index)
    updates = node_of(src, op, node)
    if isinstance(src, Handle) and updates.dtype is not node.dtype:
        raise errors.mixed_dtypes(op, node, updates)
    if isinstance(src, Handle) and updates.ndim:
        if updates.ndim != rows.ndim or any(
            n < k for n, k in zip(updates.shape, rows.shape, strict=True)
        ):
            raise errors.shape(
                op, "src must be at least as large as index", updates, rows,
                hint="it needs the axes of index; one number fits any index",
            )  # fmt: skip
        zeros, ones = (0,) * rows.ndim, (1,) * rows.ndim
        updates = ops.slice(updates, starts=zeros, sizes=rows.shape, steps=ones)
    else:
        updates = _to_shape(_number(op, src, node), rows.shape)
    strides = _strides(node.shape)
    offsets = np.zeros((1,) * rows.ndim, np.int64)
    for i, k in enumerate(rows.shape):
        if i != place:
            column = (1,) * i + (k,) + (1,) * (rows.ndim - i - 1)
            offsets = offsets + np.arange(k, dtype=np.int64).reshape(column) * strides[i]
    places = rows * strides[place] + _to_shape(constant(offsets), rows.shape)
    return (node if input.ndim else node_of(input, op)), _flat(places), _flat(updates)


def _rows(op: str, input: Handle, dim: int, index: Any) -> tuple[Node, Node, int]:
    """Input, a 1-D index in range of the axis, and the axis."""
    node, rows = node_of(input, op), node_of(index, op)
    place = as_axis(op, dim, node.ndim)
    if rows.ndim > 1 or not node.ndim:
        raise errors.shape(
            op, "needs a 1-D index and an input with axes", node, rows,
            hint="gather takes an index with the axes of the input",
        )  # fmt: skip
    return node, in_range(_flat(rows), node.shape[place], op), place


def _slices(op: str, node: Node, rows: Node, axis: int, source: Node) -> Node:
    """``source`` when it has one slice of ``node`` for every row."""
    wanted = (*node.shape[:axis], rows.shape[0], *node.shape[axis + 1 :])
    if source.dtype is not node.dtype:
        raise errors.mixed_dtypes(op, node, source)
    if source.shape != wanted and numel(source.shape) != numel(wanted):
        raise errors.shape(
            op, f"source must have shape {errors.dims(wanted)}", source,
            hint="one slice of the input for each entry of index",
        )  # fmt: skip
    return ops.reshape(source, shape=wanted)


def _slice_places(node: Node, rows: Node, axis: int) -> Node:
    """The flat places of the slices ``rows`` of one axis."""
    return take_axis(_all_places(node.shape), rows, axis)


def _all_places(shape: Shape) -> Node:
    return ops.reshape(ops.iota(size=numel(shape), dtype=int64), shape=shape)


def _strides(shape: Shape) -> list[int]:
    return [numel(shape[i + 1 :]) for i in range(len(shape))]
