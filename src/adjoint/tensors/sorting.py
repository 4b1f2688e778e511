"""Order: sorting, the largest, middles and quantiles. Gradients go back to the chosen elements.

NaN counts as larger than every number, so it comes last (first when descending). With ``dim=`` a
function returns values and indices as PyTorch does; with NumPy's ``axis=`` the values alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.dtype import DType, bool_, int64
from adjoint.base.shape import Shape, as_axis, as_size, numel
from adjoint.ir.node import Array, Node, Op, Params, Type, constant
from adjoint.ops.movement import flip, narrow
from adjoint.ops.rows import full, with_batch, zeros_like
from adjoint.tensors.arithmetic import negated, to_dtype
from adjoint.tensors.creation import to_array
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_along
from adjoint.tensors.reduction import pick
from adjoint.tensors.regions import region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


class Sorted(NamedTuple):
    """Values along an axis, and where each stood."""

    values: Tensor
    indices: Tensor


def sort(
    input: Handle, dim: int = -1, descending: bool = False, stable: bool = False, *,
    axis: int | None = None,
) -> Any:  # fmt: skip
    """The elements along one axis in order: (values, indices), or values alone with ``axis=``.
    Equal elements keep their order whether or not ``stable`` is set."""
    node, place = _line("sort", input, dim if axis is None else axis)
    order = order_of(node, place, descending)
    return _answer(node_of(input, "sort"), node, order, place, axis is not None)


def argsort(
    input: Handle, dim: int = -1, descending: bool = False, stable: bool = False, *,
    axis: int | None = None,
) -> Tensor:  # fmt: skip
    """The indices that sort one axis; equal elements keep their order."""
    node, place = _line("argsort", input, dim if axis is None else axis)
    order = order_of(node, place, descending)
    return wrap(ops.reshape(order, shape=node_of(input, "argsort").shape))


def msort(input: Handle) -> Tensor:
    """The values sorted along the first axis."""
    return sort(input, axis=0)


def order_of(node: Node, axis: int, descending: bool = False) -> Node:
    """Indices of a stable sort; descending is the same with the axis read backwards twice."""
    if not descending:
        return ops.argsort(node, axis=axis)
    found = flip(ops.argsort(flip(node, (axis,)), axis=axis), (axis,))
    return full(node.shape[axis] - 1, node.shape, int64) - found


def topk(
    input: Handle, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *,
    axis: int | None = None,
) -> Any:  # fmt: skip
    """The ``k`` largest (or smallest) along one axis, best first: (values, indices).
    Raises ArgumentError when the axis has fewer elements."""
    node, place = _line("topk", input, dim if axis is None else axis)
    count, n = as_size("topk", k), node.shape[place]
    if not 0 <= count <= n:
        raise errors.argument(
            "topk", f"cannot take the best {count} of {n} elements along axis {place}",
            hint=f"k is 0 to {n} here; dim= names another axis",
        )  # fmt: skip
    order = top_indices(node, axis=place, k=count, largest=bool(largest))
    out = _values(node, order, place)
    if not node_of(input, "topk").ndim and count == 1:
        out, order = ops.reshape(out, shape=()), ops.reshape(order, shape=())
    return wrap(out) if axis is not None else Sorted(wrap(out), wrap(order))


def kthvalue(
    input: Handle, k: int, dim: int = -1, keepdim: bool = False, *, axis: int | None = None
) -> Any:
    """The k-th smallest along one axis, counted from 1: (value, index)."""
    node, place = _line("kthvalue", input, dim if axis is None else axis)
    at, n = as_size("kthvalue", k), node.shape[place]
    if not 1 <= at <= n:
        raise errors.argument("kthvalue", f"k={at} for an axis of size {n}", hint="k counts from 1")
    order = narrow(order_of(node, place), place, at - 1, 1)
    return _chosen(input, node, order, place, keepdim, axis is not None)


def median(
    input: Handle, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
    keepdims: bool = False,
) -> Any:  # fmt: skip
    """The middle element, the lower one of two; NaN if there is one. ``median(x)`` and ``axis=``
    give the value, ``dim=`` (value, index). ``quantile(x, 0.5)`` takes the mean of two middles."""
    return _middle("median", input, dim, axis, keepdim or keepdims, skip_nan=False)


def nanmedian(
    input: Handle, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
    keepdims: bool = False,
) -> Any:  # fmt: skip
    """``median`` of the elements that are not NaN; NaN where none is left."""
    return _middle("nanmedian", input, dim, axis, keepdim or keepdims, skip_nan=True)


def quantile(
    input: Handle, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear", axis: int | None = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The value below which a share ``q`` of the elements lies: element q (n - 1) of the sorted
    axis, counted from 0 and interpolated. Several ``q`` give a new first axis. NaN wins.
    interpolation: linear, lower, higher, nearest or midpoint."""
    place = pick(dim, axis)
    return _quantile("quantile", input, q, place, keepdim or keepdims, interpolation, False)


def nanquantile(
    input: Handle, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear", axis: int | None = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """``quantile`` of the elements that are not NaN."""
    place = pick(dim, axis)
    return _quantile("nanquantile", input, q, place, keepdim or keepdims, interpolation, True)


def mode(input: Handle, dim: int = -1, keepdim: bool = False, *, axis: int | None = None) -> Any:
    """The most frequent value along one axis, the smallest of several: (value, last index)."""
    node, place = _line("mode", input, dim if axis is None else axis)
    if node.shape[place] == 0:
        raise errors.shape(
            "mode", "an empty axis has no most frequent value", node,
            hint="check for emptiness first: if x.numel()",
        )  # fmt: skip
    rows, back = _to_last(node, place)
    order = ops.argsort(rows, axis=rows.ndim - 1)
    values = take_along(rows, order, rows.ndim - 1)
    lead, n = rows.ndim - 1, rows.shape[-1]
    changed = negated(ops.eq(narrow(values, lead, 1, n - 1), narrow(values, lead, 0, n - 1)))
    zero = full(0, (*rows.shape[:-1], 1), int64)
    run = ops.cumsum(ops.concat(zero, to_dtype(changed, int64), axis=lead), axis=lead)
    ones = full(1, run.shape, int64)
    counts = ops.gather(ops.scatter_add(zeros_like(run), run, ones, batch=lead), run, batch=lead)
    # the last place of the first run that is longest: rank by (count, earlier run, place)
    score = (counts * n + (n - 1) - run) * n + _places(rows.shape, lead)
    best = narrow(order_of(score, lead, descending=True), lead, 0, 1)
    order = ops.permute(ops.gather(order, best, batch=lead), axes=back)
    return _chosen(input, node, order, place, keepdim, axis is not None)


def isnan(node: Node) -> Node:
    """Where ``node`` is not equal to itself."""
    return negated(ops.eq(node, node)) if node.dtype.kind == "f" else full(False, node.shape, bool_)


def _line(op: str, input: Handle, dim: Any) -> tuple[Node, int]:
    """The node with at least one axis (a number counts as one element), and the axis meant."""
    node = node_of(input, op)
    if not node.ndim:
        as_axis(op, dim, 1)
        return ops.reshape(node, shape=(1,)), 0
    return node, as_axis(op, dim, node.ndim)


def _values(node: Node, order: Node, axis: int) -> Node:
    return take_along(node, order, axis)


def _answer(input: Node, node: Node, order: Node, axis: int, only_values: bool) -> Any:
    """Values in the order found, in the shape of ``input``."""
    values = wrap(ops.reshape(_values(node, order, axis), shape=input.shape))
    return values if only_values else Sorted(values, wrap(ops.reshape(order, shape=input.shape)))


def _chosen(
    input: Handle, node: Node, order: Node, axis: int, keepdim: bool, only_values: bool
) -> Any:
    """The one element along ``axis`` that ``order`` names, with or without that axis."""
    values = _values(node, order, axis)
    if not keepdim or not node_of(input, "sorting").ndim:
        shape = (*values.shape[:axis], *values.shape[axis + 1 :])
        values, order = ops.reshape(values, shape=shape), ops.reshape(order, shape=shape)
    return wrap(values) if only_values else Sorted(wrap(values), wrap(order))


def _middle(op: str, input: Handle, dim: Any, axis: Any, keepdim: bool, skip_nan: bool) -> Any:
    place = pick(dim, axis)
    node = node_of(input, op)
    if place is None:
        flat = ops.reshape(node, shape=(numel(node.shape),))
        out = _middle(op, wrap(flat), None, 0, False, skip_nan)
        return wrap(ops.reshape(out.node, shape=(1,) * node.ndim)) if keepdim else out
    node, place = _line(op, input, place)
    n = node.shape[place]
    if n == 0:
        raise errors.shape(
            op, "an empty axis has no middle", node,
            hint="check for emptiness first: if x.numel()",
        )  # fmt: skip
    order = ops.argsort(node, axis=place)
    if node.dtype.kind != "f":
        at = full((n - 1) // 2, _kept_shape(node.shape, place), int64)
    else:
        missing = ops.reduce_sum(to_dtype(isnan(node), int64), axes=(place,))
        missing = ops.reshape(missing, shape=_kept_shape(node.shape, place))
        at = _middle_place(missing, n, skip_nan)
    order = take_along(order, at, place)
    return _chosen(input, node, order, place, keepdim, axis is not None)


def _middle_place(missing: Node, n: int, skip_nan: bool) -> Node:
    """The place among the sorted: (count - 1) // 2 of the numbers, or the last if NaN wins."""
    zero = zeros_like(missing)
    if skip_nan:
        count = full(n - 1, missing.shape, int64) - missing
        return ops.maximum(ops.div(count, full(2, count.shape, int64)), zero)
    last, middle = full(n - 1, zero.shape, int64), full((n - 1) // 2, zero.shape, int64)
    return ops.where(ops.lt(zero, missing), last, middle)


def _kept_shape(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _top_kernel(x: Array, axis: int, k: int, largest: bool) -> Array:
    """A partition finds the k-th value; the ties at it are taken from the front."""
    rows = np.moveaxis(x.astype(np.float32) if x.dtype.kind == "V" else x, axis, -1)
    n = rows.shape[-1]
    flat = np.ascontiguousarray(rows).reshape(numel(rows.shape[:-1]), n)
    if 8 * k > n or k == 0 or np.isnan(flat).any():
        places = np.broadcast_to(np.arange(n), flat.shape)
    else:
        at = n - k if largest else k - 1
        limit = np.partition(flat, at, axis=1)[:, at : at + 1]
        chosen = flat > limit if largest else flat < limit
        ties = flat == limit
        room = k - np.count_nonzero(chosen, axis=1, keepdims=True)
        chosen |= ties & (np.cumsum(ties, axis=1, dtype=np.int32) <= room)
        places = np.nonzero(chosen)[1].reshape(-1, k)
        flat = np.take_along_axis(flat, places, axis=1)
    if largest:
        order = flat.shape[1] - 1 - np.argsort(flat[:, ::-1], axis=1, kind="stable")[:, ::-1]
    else:
        order = np.argsort(flat, axis=1, kind="stable")
    found = np.take_along_axis(places, order[:, :k], axis=1).astype(np.int64)
    return np.moveaxis(found.reshape(*rows.shape[:-1], k), -1, axis)


def _top_body(x: Node, axis: int, k: int, largest: bool) -> Sequence[Node]:
    return [narrow(order_of(x, axis, descending=largest), axis, 0, k)]


def _top_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
) -> Node:
    x = with_batch(size, args[0], batched[0])
    return top_indices(x, **{**static, "axis": static["axis"] + 1})


top_indices = region(
    "top_indices", _top_body, kernel=_top_kernel, vmap=_top_vmap,
    infer=lambda x, axis, k, largest: Type((*x.shape[:axis], k, *x.shape[axis + 1 :]), int64),
)  # fmt: skip
"""Where the k largest (or smallest) stand along an axis, best first, ties from the front."""


_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def _quantile(
    op: str, input: Handle, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool
) -> Tensor:
    node = node_of(input, op)
    if node.dtype.kind != "f":
        raise errors.wrong_dtype(op, node.dtype, "a float dtype", hint="x.float()")
    as_choice(f"{op} interpolation", interpolation, _INTERPOLATIONS)
    shares = to_array(q, op, keep_double=True).astype(np.float64)
    if shares.ndim > 1 or not ((shares >= 0) & (shares <= 1)).all():
        raise errors.argument(
            op, f"q must be one number, or a list, from 0 to 1, got {errors.clip(q)}",
            hint="the median is q=0.5; percentages are divided by 100",
        )  # fmt: skip
    rank = node.ndim
    if dim is None:
        node = ops.reshape(node, shape=(numel(node.shape),))
    place = as_axis(op, 0 if dim is None else dim, node.ndim)
    rows, _ = _to_last(node, place)
    if rows.shape[-1] == 0:
        raise errors.shape(
            op, "an empty axis has no quantile", node,
            hint="check for emptiness first: if x.numel()",
        )  # fmt: skip
    found = _interpolated(rows, shares.reshape(-1), interpolation, skip_nan)
    lead = found.ndim - 1
    out = ops.permute(found, axes=(lead, *range(lead)))  # (q, ...)
    rest = out.shape[1:]
    if keepdim:
        rest = (1,) * rank if dim is None else (*rest[:place], 1, *rest[place:])
    return wrap(ops.reshape(out, shape=(*shares.shape, *rest)))


def _interpolated(rows: Node, q: np.ndarray, interpolation: str, skip_nan: bool) -> Node:
    """Quantiles of the last axis: (..., n) -> (..., len(q))."""
    lead, n = rows.ndim - 1, rows.shape[-1]
    shape = (*rows.shape[:-1], len(q))
    ordered = take_along(rows, ops.argsort(rows, axis=lead), lead)
    missing = ops.reduce_sum(to_dtype(isnan(rows), int64), axes=(lead,))
    missing = ops.broadcast(ops.reshape(missing, shape=(*rows.shape[:-1], 1)), shape=shape)
    zero = full(0, shape, int64)
    last = full(n - 1, shape, int64)
    if skip_nan:
        last = ops.maximum(last - missing, zero)
    share = ops.broadcast(constant(q), shape=shape)
    position = share * to_dtype(last, share.dtype)
    if interpolation == "nearest":
        position = _half_to_even(position)
    low = ops.floor(position)
    exact = ops.eq(low, position)
    below, above = to_dtype(low, int64), to_dtype(ops.where(exact, low, low + 1.0), int64)
    first, second = take_along(ordered, below, lead), take_along(ordered, above, lead)
    weight = _weight(position - low, interpolation, rows.dtype)
    out = ops.where(exact, first, first + weight * (second - first))
    if interpolation in ("lower", "higher"):
        out = first if interpolation == "lower" else second
    if skip_nan:
        return out
    nan = take_along(ordered, full(n - 1, shape, int64), lead)  # NaN, if any, is sorted last
    return ops.where(ops.lt(zero, missing), nan, out)


def _half_to_even(position: Node) -> Node:
    low = ops.floor(position)
    part = position - low
    half = full(0.5, part.shape, part.dtype)
    odd = ops.eq(ops.rem(low, full(2, low.shape, low.dtype)), full(1, low.shape, low.dtype))
    up = ops.maximum(ops.lt(half, part), ops.minimum(ops.eq(half, part), odd))
    return ops.where(up, low + 1.0, low)


def _weight(part: Node, interpolation: str, dtype: DType) -> Node:
    if interpolation == "midpoint":
        return full(0.5, part.shape, dtype)
    return to_dtype(part, dtype)


def _to_last(node: Node, axis: int) -> tuple[Node, tuple[int, ...]]:
    """``node`` with ``axis`` moved to the end, and the permutation that moves it back."""
    order = (*(i for i in range(node.ndim) if i != axis), axis)
    return ops.permute(node, axes=order), tuple(int(i) for i in np.argsort(order))


def _places(shape: Shape, axis: int) -> Node:
    """The index along ``axis``, in every element of ``shape``."""
    column = (1,) * axis + (shape[axis],) + (1,) * (len(shape) - axis - 1)
    found = ops.reshape(ops.iota(size=shape[axis], dtype=int64), shape=column)
    return ops.broadcast(found, shape=shape)
