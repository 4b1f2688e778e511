"""Reductions: sums, means, extremes, norms along axes. ``dim``/``keepdim`` as in PyTorch, or
``axis``/``keepdims`` as in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_flag, as_number
from adjoint.base.dtype import as_dtype, bool_, float32, int64
from adjoint.base.shape import Shape, as_axes, as_axis, drop, keep, numel
from adjoint.ir.node import Array, Node, Type
from adjoint.ops.reduce import spread
from adjoint.ops.rows import full
from adjoint.tensors.arithmetic import floating, negated, to_dtype, truth
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import root, select
from adjoint.tensors.regions import region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


class Extreme(NamedTuple):
    """What ``max``, ``min``, ``median`` … along an axis return."""

    values: Tensor
    indices: Tensor


def pick(dim: Any, axis: Any) -> Any:
    """The axes named by either keyword."""
    if dim is not None and axis is not None:
        raise errors.argument(
            "reduction", "both dim= and axis= are given", hint="they mean the same: drop one"
        )
    return axis if dim is None else dim


def _all_if_empty(dim: Any, axis: Any) -> Any:
    return pick(None if isinstance(dim, tuple) and not dim else dim, axis)


def sum(
    input: Handle, dim: Any = None, keepdim: bool = False, *, dtype: object = None,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The sum along ``dim`` (all axes by default); bools and integers add up as int64."""
    node = summable(node_of(input, "sum"), dtype)
    axes = as_axes("sum", pick(dim, axis), node.ndim)
    return wrap(kept(ops.reduce_sum(node, axes=axes), node.shape, axes, keepdim or keepdims))


def mean(
    input: Handle, dim: Any = None, keepdim: bool = False, *, dtype: object = None,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The mean along ``dim``. Raises DTypeError for integers, as PyTorch; NaN for no elements."""
    node = node_of(input, "mean")
    node = to_dtype(node, as_dtype(dtype)) if dtype is not None else node
    if node.dtype.kind != "f":
        raise errors.wrong_dtype(
            "mean", node.dtype, "a float dtype", hint="convert first: x.float().mean()"
        )
    axes = as_axes("mean", pick(dim, axis), node.ndim)
    return wrap(kept(mean_node(node, axes), node.shape, axes, keepdim or keepdims))


def nansum(
    input: Handle, dim: Any = None, keepdim: bool = False, *, dtype: object = None,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The sum without the NaNs."""
    node = node_of(input, "nansum")
    number = ops.eq(node, node)
    return sum(
        wrap(select(number, node, 0)), dim, keepdim, dtype=dtype, axis=axis, keepdims=keepdims
    )


def nanmean(
    input: Handle, dim: Any = None, keepdim: bool = False, *, axis: Any = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The mean without the NaNs; NaN where nothing else is there."""
    node = node_of(input, "nanmean")
    total = nansum(wrap(node), dim, keepdim, axis=axis, keepdims=keepdims)
    count = sum(wrap(ops.eq(node, node)), dim, keepdim, axis=axis, keepdims=keepdims)
    return wrap(ops.div(total.node, to_dtype(count.node, total.node.dtype)))


def mean_node(node: Node, axes: Shape) -> Node:
    """sum / count over ``axes``; 16-bit floats add up in float32, which the sum does not leave."""
    if node.dtype.bits == 16:
        return to_dtype(mean_node(to_dtype(node, float32), axes), node.dtype)
    return ops.reduce_sum(node, axes=axes) / float(numel([node.shape[a] for a in axes]))


def var(
    input: Handle, dim: Any = None, keepdim: bool = False, *, correction: float = 1,
    unbiased: bool | None = None, axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """sum((x - mean)^2) / (n - correction), in two passes so that a large mean does no harm."""
    node = floating(node_of(input, "var"))
    axes = as_axes("var", pick(dim, axis), node.ndim)
    if unbiased is not None:
        correction = as_flag("var", "unbiased", unbiased)
    correction = as_number("var", "correction", correction)
    return wrap(kept(var_node(node, axes, correction), node.shape, axes, keepdim or keepdims))


def var_node(node: Node, axes: Shape, correction: float) -> Node:
    """The variance over ``axes``; NaN or inf where no degree of freedom is left."""
    if node.dtype.bits == 16:
        return to_dtype(var_node(to_dtype(node, float32), axes, correction), node.dtype)
    left = numel([node.shape[a] for a in axes]) - correction
    centred = node - spread(mean_node(node, axes), node.shape, axes)
    return ops.reduce_sum(centred * centred, axes=axes) / (float(left) if left > 0 else 0.0)


def std(
    input: Handle, dim: Any = None, keepdim: bool = False, *, correction: float = 1,
    unbiased: bool | None = None, axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The square root of ``var``; the derivative is 0 where that is 0."""
    found = var(
        input, dim, keepdim, correction=correction, unbiased=unbiased, axis=axis, keepdims=keepdims
    )
    return wrap(root(found.node))


def var_mean(
    input: Handle, dim: Any = None, keepdim: bool = False, *, correction: float = 1
) -> tuple[Tensor, Tensor]:
    """``var`` and ``mean`` together."""
    return var(input, dim, keepdim, correction=correction), mean(input, dim, keepdim)


def std_mean(
    input: Handle, dim: Any = None, keepdim: bool = False, *, correction: float = 1
) -> tuple[Tensor, Tensor]:
    """``std`` and ``mean`` together."""
    return std(input, dim, keepdim, correction=correction), mean(input, dim, keepdim)


def prod(
    input: Handle, dim: Any = None, keepdim: bool = False, *, dtype: object = None,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The product along ``dim``, multiplied in pairs; bools and integers give int64."""
    node = summable(node_of(input, "prod"), dtype)
    axes = as_axes("prod", pick(dim, axis), node.ndim)
    out = node
    for a in sorted(axes, reverse=True):
        out = _product(out, a)
    return wrap(kept(out, node.shape, axes, keepdim or keepdims))


def amax(
    input: Handle, dim: Any = (), keepdim: bool = False, *, axis: Any = None, keepdims: bool = False
) -> Tensor:
    """The largest value along ``dim``; the gradient is shared equally among ties."""
    node = node_of(input, "amax")
    axes = as_axes("amax", _all_if_empty(dim, axis), node.ndim)
    return wrap(kept(_largest("amax", node, axes), node.shape, axes, keepdim or keepdims))


def amin(
    input: Handle, dim: Any = (), keepdim: bool = False, *, axis: Any = None, keepdims: bool = False
) -> Tensor:
    """The smallest value along ``dim``; the gradient is shared equally among ties."""
    node = node_of(input, "amin")
    axes = as_axes("amin", _all_if_empty(dim, axis), node.ndim)
    return wrap(kept(_smallest("amin", node, axes), node.shape, axes, keepdim or keepdims))


def max(
    input: Handle,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The largest value. ``max(x)`` or ``max(x, axis=…)``: values. ``max(x, dim)``: (values,
    indices), the gradient going to that one index. ``max(x, y)``: element by element."""
    return _extreme("max", input, dim, axis, keepdim or keepdims)


def min(
    input: Handle,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The smallest value; results as for ``max``."""
    return _extreme("min", input, dim, axis, keepdim or keepdims)


def argmax(
    input: Handle, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The index of the first largest value (the first NaN if there is one), int64."""
    return _arg("argmax", input, pick(dim, axis), keepdim or keepdims)


def argmin(
    input: Handle, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The index of the first smallest value (the first NaN if there is one), int64."""
    return _arg("argmin", input, pick(dim, axis), keepdim or keepdims)


def any(
    input: Handle,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Whether any element is nonzero; False for no elements."""
    node = truth(node_of(input, "any"))
    axes = as_axes("any", pick(dim, axis), node.ndim)
    found = ops.reduce_sum(node, axes=axes)  # the sum of bools is their "or"
    return wrap(kept(found, node.shape, axes, keepdim or keepdims))


def all(
    input: Handle,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Whether all elements are nonzero; True for no elements."""
    node = negated(truth(node_of(input, "all")))
    axes = as_axes("all", pick(dim, axis), node.ndim)
    found = negated(ops.reduce_sum(node, axes=axes))
    return wrap(kept(found, node.shape, axes, keepdim or keepdims))


def count_nonzero(input: Handle, dim: Any = None, *, axis: Any = None) -> Tensor:
    """How many elements are nonzero."""
    return sum(wrap(truth(node_of(input, "count_nonzero"))), dim, axis=axis)


def cumsum(
    input: Handle, dim: int | None = None, *, axis: int | None = None, dtype: object = None
) -> Tensor:
    """Running sums along one axis."""
    node = summable(node_of(input, "cumsum"), dtype)
    place = pick(dim, axis)
    if place is None:
        if node.ndim > 1:
            raise errors.argument(
                "cumsum", "needs dim= for more than one axis", hint="cumsum(x, dim=0), say"
            )
        place = 0
    place = as_axis("cumsum", place, node.ndim)
    return wrap(ops.cumsum(node, axis=place) if node.ndim else node)


def kept(node: Node, shape: Shape, axes: Shape, keepdim: bool) -> Node:
    """The reduced ``node``, with the reduced axes put back as size 1 when asked."""
    return ops.reshape(node, shape=keep(shape, axes)) if keepdim else node


def summable(node: Node, dtype: object) -> Node:
    if dtype is not None:
        return to_dtype(node, as_dtype(dtype))
    small = node.dtype.kind in "bi" or (node.dtype.kind == "u" and node.dtype.bits < 64)
    return to_dtype(node, int64) if small else node


def _product(node: Node, axis: int) -> Node:
    """Halve the axis until one element is left: log2(n) multiplications, exact for integers."""
    n = node.shape[axis]
    if n == 0:
        return full(1, node.shape[:axis] + node.shape[axis + 1 :], node.dtype)
    while n > 1:
        half = n // 2
        first, second = _cut(node, axis, 0, half), _cut(node, axis, half, half)
        joined = ops.mul(first, second)
        node = ops.concat(joined, _cut(node, axis, n - 1, 1), axis=axis) if n % 2 else joined
        n = node.shape[axis]
    return ops.reshape(node, shape=node.shape[:axis] + node.shape[axis + 1 :])


def _cut(node: Node, axis: int, start: int, size: int) -> Node:
    from adjoint.ops.movement import narrow

    return narrow(node, axis, start, size)


def _largest(op: str, node: Node, axes: Shape) -> Node:
    _refuse_empty(op, node, axes)
    return ops.reduce_max(node, axes=axes)


def _refuse_empty(op: str, node: Node, axes: Shape) -> None:
    if any_zero([node.shape[a] for a in axes]):
        what = "largest" if op in ("max", "amax", "argmax") else "smallest"
        raise errors.shape(
            op, f"there is no {what} of no elements", node,
            hint="check for emptiness first: if x.numel()",
        )  # fmt: skip


def _smallest(op: str, node: Node, axes: Shape) -> Node:
    return turned(_largest(op, turned(node), axes))


def turned(node: Node) -> Node:
    """A value whose order is reversed: -x for floats, ~x for integers and bools."""
    if node.dtype.kind == "f":
        return ops.neg(node)
    if node.dtype is bool_:
        return negated(node)
    ones = full(-1 if node.dtype.kind == "i" else 2**node.dtype.bits - 1, node.shape, node.dtype)
    return ops.bit_xor(node, ones)


def any_zero(sizes: Any) -> bool:
    return 0 in list(sizes)


def _extreme(op: str, input: Handle, dim: Any, axis: Any, keepdim: bool) -> Any:
    node = node_of(input, op)
    reduce = _largest if op == "max" else _smallest
    if isinstance(dim, Handle):
        from adjoint.tensors import arithmetic

        return (arithmetic.maximum if op == "max" else arithmetic.minimum)(input, dim)
    if dim is None:
        axes = as_axes(op, axis, node.ndim)
        return wrap(kept(reduce(op, node, axes), node.shape, axes, keepdim))
    place = as_axis(op, dim, node.ndim)
    indices = _arg("argmax" if op == "max" else "argmin", input, place, True)
    from adjoint.tensors.indexing import take_along

    values = wrap(take_along(node, indices.node, place)) if node.ndim else wrap(node)
    if not keepdim and node.ndim:
        shape = node.shape[:place] + node.shape[place + 1 :]
        values = wrap(ops.reshape(values.node, shape=shape))
        indices = wrap(ops.reshape(indices.node, shape=shape))
    return Extreme(values, indices)


def _arg(op: str, input: Handle, dim: Any, keepdim: bool) -> Tensor:
    node = node_of(input, op)
    shape = node.shape
    place = 0 if dim is None else as_axis(op, dim, node.ndim)
    if dim is None:
        node = ops.reshape(node, shape=(numel(shape),))
    _refuse_empty(op, node, (place,))
    first = _argmax(node if op == "argmax" else turned(node), axis=place)
    if dim is None:
        return wrap(ops.reshape(first, shape=(1,) * len(shape))) if keepdim else wrap(first)
    return wrap(kept(first, shape, (place,), keepdim))


def _argmax_array(x: Array, axis: int) -> Array:
    wide = x.astype(np.float32) if x.dtype.kind == "V" else x  # NumPy does not see bfloat16's NaN
    return np.asarray(np.argmax(wide, axis=axis), np.int64)


def _argmax_body(x: Node, axis: int) -> list[Node]:
    """min over i of (i where x_i is the largest, else n); a NaN counts as largest."""
    n = x.shape[axis]
    hit = ops.eq(x, spread(ops.reduce_max(x, axes=(axis,)), x.shape, (axis,)))
    if x.dtype.kind == "f":
        hit = ops.maximum(hit, negated(ops.eq(x, x)))
    column = (1,) * axis + (n,) + (1,) * (x.ndim - axis - 1)
    places = ops.reshape(ops.iota(size=n, dtype=int64), shape=column)
    places = ops.broadcast(places, shape=x.shape)
    return [_smallest("argmax", ops.where(hit, places, full(n, x.shape, int64)), (axis,))]


_argmax = region(
    "argmax", _argmax_body, kernel=_argmax_array,
    infer=lambda x, axis: Type(drop(x.shape, (axis,)), int64),
)  # fmt: skip
