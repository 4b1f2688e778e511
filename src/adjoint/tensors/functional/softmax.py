"""Softmax and its logarithms, shifted by the largest element so that nothing overflows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.dtype import as_dtype
from adjoint.base.shape import Shape, as_axes, as_axis, drop
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.reduce import spread
from adjoint.ops.rows import Wanted, batch_all
from adjoint.ops.structure import Region, call
from adjoint.tensors.arithmetic import floating, to_dtype
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import equals, select
from adjoint.tensors.reduction import kept, pick
from adjoint.tensors.regions import region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def softmax(
    input: Handle, dim: int | None = None, *, dtype: object = None, axis: int | None = None
) -> Tensor:
    """exp(x - max x) / sum exp(x - max x) along ``dim``: positive, and sums to 1.

    -inf gives 0. A slice that is -inf throughout, or holds +inf or NaN, has no softmax: NaN, as
    in PyTorch. Without ``dim``: the channel axis as PyTorch guesses it (0 below 4 dimensions, but
    1 for matrices, else 1).
    """
    return _along("softmax", softmax_rows, input, dim, axis, dtype)


def log_softmax(
    input: Handle, dim: int | None = None, *, dtype: object = None, axis: int | None = None
) -> Tensor:
    """x - logsumexp(x) along ``dim``; special values as for ``softmax``."""
    return _along("log_softmax", log_softmax_rows, input, dim, axis, dtype)


def softmin(
    input: Handle, dim: int | None = None, *, dtype: object = None, axis: int | None = None
) -> Tensor:
    """softmax(-x)."""
    node = floating(node_of(input, "softmin"))
    return softmax(wrap(ops.neg(node)), dim, dtype=dtype, axis=axis)


def logsumexp(
    input: Handle, dim: Any = None, keepdim: bool = False, *, axis: Any = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """log(sum(exp(x))) along ``dim`` (one axis, several, or all).

    A slice of -inf throughout (or an empty one) gives -inf, one with +inf gives +inf.
    """
    node = floating(node_of(input, "logsumexp"))
    axes = as_axes("logsumexp", pick(dim, axis), node.ndim)
    found = logsumexp_rows(node, axes=axes)
    return wrap(kept(found, node.shape, axes, keepdim or keepdims))


def _along(
    op: str, rows: Region, input: Handle, dim: int | None, axis: int | None, dtype: object
) -> Tensor:
    node = node_of(input, op)
    node = to_dtype(node, as_dtype(dtype)) if dtype is not None else floating(node)
    if node.dtype.kind != "f":
        raise errors.wrong_dtype(op, node.dtype, "a float dtype", hint="leave dtype= out")
    if node.ndim == 0:
        one = rows(ops.reshape(node, shape=(1,)), axis=0)
        return wrap(ops.reshape(one, shape=()))
    place = pick(dim, axis)
    if place is None:
        place = 0 if node.ndim in (1, 3) else 1
    return wrap(rows(node, axis=as_axis(op, place, node.ndim)))


# --- the regions: NumPy's way, the meaning, the derivative ---------------------------------------


def _wide(x: Array) -> Array:
    """16-bit floats in float32, where sums lose nothing."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def _softmax(x: Array, axis: int) -> Array:
    wide = _wide(x)
    if wide.size == 0:
        return x
    out = wide - np.maximum.reduce(wide, axis=axis, keepdims=True)
    np.exp(out, out=out)
    out /= np.add.reduce(out, axis=axis, keepdims=True)
    return out.astype(x.dtype, copy=False)


def _softmax_body(x: Node, axis: int) -> Sequence[Node]:
    if 0 in x.shape:
        return [x]
    raised = ops.exp(x - spread(ops.reduce_max(x, axes=(axis,)), x.shape, (axis,)))
    return [raised / spread(ops.reduce_sum(raised, axes=(axis,)), x.shape, (axis,))]


def _softmax_gradient(ct: Array, out: Array, axis: int) -> Array:
    wide_ct, wide_out = _wide(ct), _wide(out)
    found = wide_ct * wide_out
    found -= wide_out * np.add.reduce(found, axis=axis, keepdims=True)
    return found.astype(out.dtype, copy=False)


def _softmax_gradient_body(ct: Node, out: Node, axis: int) -> Sequence[Node]:
    mean = ops.reduce_sum(ct * out, axes=(axis,))
    return [out * (ct - spread(mean, out.shape, (axis,)))]


def _log_softmax(x: Array, axis: int) -> Array:
    wide = _wide(x)
    if wide.size == 0:
        return x
    out = wide - np.maximum.reduce(wide, axis=axis, keepdims=True)
    out -= np.log(np.add.reduce(np.exp(out), axis=axis, keepdims=True))
    return out.astype(x.dtype, copy=False)


def _log_softmax_body(x: Node, axis: int) -> Sequence[Node]:
    if 0 in x.shape:
        return [x]
    out = x - spread(ops.reduce_max(x, axes=(axis,)), x.shape, (axis,))
    total = ops.log(ops.reduce_sum(ops.exp(out), axes=(axis,)))
    return [out - spread(total, x.shape, (axis,))]


def _log_softmax_gradient(ct: Array, out: Array, axis: int) -> Array:
    wide = _wide(ct)
    found = np.exp(_wide(out))
    found *= np.add.reduce(wide, axis=axis, keepdims=True)
    return np.subtract(wide, found, out=found).astype(out.dtype, copy=False)


def _log_softmax_gradient_body(ct: Node, out: Node, axis: int) -> Sequence[Node]:
    total = ops.reduce_sum(ct, axes=(axis,))
    return [ct - ops.exp(out) * spread(total, out.shape, (axis,))]


def _logsumexp(x: Array, axes: Shape) -> Array:
    wide = _wide(x)
    largest = np.maximum.reduce(wide, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isinf(largest), 0, largest)
    found = np.log(np.add.reduce(np.exp(wide - shift), axis=axes, keepdims=True)) + shift
    return np.asarray(found.reshape(drop(x.shape, axes))).astype(x.dtype, copy=False)


def _logsumexp_body(x: Node, axes: Shape) -> Sequence[Node]:
    if any(x.shape[a] == 0 for a in axes):
        return [ops.log(ops.reduce_sum(x, axes=axes))]
    largest = ops.reduce_max(x, axes=axes)
    infinite = ops.bit_or(equals(largest, np.inf), equals(largest, -np.inf))
    shift = select(infinite, 0, largest)
    raised = ops.exp(x - spread(shift, x.shape, axes))
    return [ops.log(ops.reduce_sum(raised, axes=axes)) + shift]


def _to_share(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    """ct * softmax(x), not ct * exp(x - out): out has lost the digits of small x. An infinite
    element of an infinite sum takes all, -inf takes nothing."""
    x, axes = args[0], static["axes"]
    if any(x.shape[a] == 0 for a in axes):
        return [x]
    top = spread(ops.reduce_max(x, axes=axes), x.shape, axes)
    raised = ops.exp(select(ops.eq(x, top), 0, x - top))
    share = raised / spread(ops.reduce_sum(raised, axes=axes), x.shape, axes)
    return [spread(ct, x.shape, axes) * select(equals(x, -np.inf), 0, share)]


def _same_type(*args: Node, **_: Any) -> Type:
    return Type(args[-1].shape, args[-1].dtype)


def _rows(
    name: str, body: Callable[..., Sequence[Node]], kernel: Callable[..., Array],
    vjp: Callable[..., Sequence[Node | None]] | None = None,
    infer: Callable[..., Type] = _same_type,
) -> Region:  # fmt: skip
    """A region along ``axis`` or ``axes``, which a batch in front moves by one."""

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        moved = {k: v + 1 if k == "axis" else tuple(a + 1 for a in v) for k, v in static.items()}
        return batch_all(call, size, batched, args, {**moved, "region": made})

    made = region(name, body, kernel=kernel, infer=infer, vjp=vjp, vmap=vmap)
    return made


softmax_gradient = _rows("softmax_gradient", _softmax_gradient_body, _softmax_gradient)
softmax_rows = _rows(
    "softmax", _softmax_body, _softmax,
    lambda ct, out, wanted, args, static: [softmax_gradient(ct, out, **static)],
)  # fmt: skip
log_softmax_gradient = _rows(
    "log_softmax_gradient", _log_softmax_gradient_body, _log_softmax_gradient
)
log_softmax_rows = _rows(
    "log_softmax", _log_softmax_body, _log_softmax,
    lambda ct, out, wanted, args, static: [log_softmax_gradient(ct, out, **static)],
)  # fmt: skip
logsumexp_rows = _rows(
    "logsumexp", _logsumexp_body, _logsumexp, _to_share,
    infer=lambda x, axes: Type(drop(x.shape, axes), x.dtype),
)  # fmt: skip
