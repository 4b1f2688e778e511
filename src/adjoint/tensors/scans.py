"""Running products, extremes and log-sums along one axis, and differences.

The meaning of each scan is log2(n) steps that combine every element with the one 1, 2, 4, ...
places before it (Hillis and Steele, "Data parallel algorithms", 1986); NumPy's loop is the fast
path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.dtype import bool_, int64
from adjoint.base.shape import as_axis, as_size
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.movement import narrow
from adjoint.ops.rows import full, with_batch
from adjoint.ops.structure import Region
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_along
from adjoint.tensors.movement import cat
from adjoint.tensors.pointwise import equals, select
from adjoint.tensors.reduction import Extreme, pick, summable, turned
from adjoint.tensors.regions import region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def cumprod(
    input: Handle, dim: int | None = None, *, dtype: object = None, axis: int | None = None
) -> Tensor:
    """Running products along one axis; bools and integers give int64."""
    node = summable(node_of(input, "cumprod"), dtype)
    return _along("cumprod", node, pick(dim, axis), lambda x, a: running_product(x, axis=a))


def cummax(input: Handle, dim: int | None = None, *, axis: int | None = None) -> Any:
    """The largest so far along one axis: (values, indices), the last index of a tie; values alone
    with ``axis=``. From the first NaN on, NaN."""
    return _running_extreme("cummax", input, dim, axis)


def cummin(input: Handle, dim: int | None = None, *, axis: int | None = None) -> Any:
    """The smallest so far along one axis; results as for ``cummax``."""
    return _running_extreme("cummin", input, dim, axis)


def logcumsumexp(input: Handle, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """out_i = log(sum_{j <= i} exp(input_j)), without overflow."""
    node = node_of(input, "logcumsumexp")
    if node.dtype.kind != "f":
        raise errors.wrong_dtype("logcumsumexp", node.dtype, "a float dtype", hint="x.float()")
    return _along("logcumsumexp", node, pick(dim, axis), lambda x, a: running_logsumexp(x, axis=a))


def diff(
    input: Handle, n: int = 1, dim: int = -1, prepend: Handle | None = None,
    append: Handle | None = None, *, axis: int | None = None,
) -> Tensor:  # fmt: skip
    """Differences of neighbours, ``n`` times over: out_i = input_{i+1} - input_i (xor of bools)."""
    times = as_size("diff", n)
    place = as_axis("diff", dim if axis is None else axis, node_of(input, "diff").ndim)
    if times < 0:
        raise errors.argument(
            "diff", f"cannot take {times} differences", hint="n=0 leaves the input as it is"
        )
    parts = [x for x in (prepend, input, append) if x is not None]
    node = cat(parts, place).node if len(parts) > 1 else node_of(input, "diff")
    for _ in range(min(times, node.shape[place] + 1)):  # then the axis is empty
        count = max(node.shape[place] - 1, 0)
        first = narrow(node, place, 0, count)
        node = ops.sub(narrow(node, place, min(1, node.shape[place]), count), first)
    return wrap(node)


def scan(node: Node, axis: int, combine: Callable[[Node, Node], Node]) -> Node:
    """Element i combined with all before it; ``combine(earlier, later)`` is associative."""
    n, step = node.shape[axis], 1
    while step < n:
        joined = combine(narrow(node, axis, 0, n - step), narrow(node, axis, step, n - step))
        node = ops.concat(narrow(node, axis, 0, step), joined, axis=axis)
        step *= 2
    return node


def log_add(a: Node, b: Node) -> Node:
    """log(exp(a) + exp(b)) around the larger one, which is a constant for the derivative."""
    top = ops.copy(ops.maximum(a, b), stop=True)
    infinite = ops.maximum(equals(top, inf), equals(top, -inf))
    first, second = select(infinite, 0, a - top), select(infinite, 0, b - top)
    return ops.where(infinite, top, top + ops.log(ops.exp(first) + ops.exp(second)))


def _along(op: str, node: Node, dim: Any, function: Callable[[Node, int], Node]) -> Tensor:
    """``function`` along the axis meant; a number stays itself."""
    if dim is None and node.ndim > 1:
        raise errors.argument(op, "needs dim= for more than one axis", hint=f"{op}(x, dim=0), say")
    place = as_axis(op, 0 if dim is None else dim, max(node.ndim, 1))
    return wrap(function(node, place) if node.ndim else node)


def _running_extreme(op: str, input: Handle, dim: Any, axis: Any) -> Any:
    node = node_of(input, op)
    place = pick(dim, axis)
    if place is None:
        if node.ndim > 1:
            raise errors.argument(
                op, "needs dim= for more than one axis", hint=f"{op}(x, dim=0), say"
            )
        place = 0
    at = as_axis(op, place, max(node.ndim, 1))
    if not node.ndim:
        values, indices = wrap(node), wrap(full(0, (), int64))
    else:
        found = running_argmax(node if op == "cummax" else turned(node), axis=at)
        values, indices = wrap(take_along(node, found, at)), wrap(found)
    return values if axis is not None else Extreme(values, indices)


def _wide(x: Array) -> Array:
    """16-bit floats accumulate in float32."""
    small = x.dtype.itemsize == 2 and x.dtype.kind not in "iu"
    return x.astype(np.float32) if small else x


def _product_kernel(x: Array, axis: int) -> Array:
    wide = _wide(x)
    return np.cumprod(wide, axis=axis, dtype=wide.dtype).astype(x.dtype, copy=False)


def _logsumexp_kernel(x: Array, axis: int) -> Array:
    return np.logaddexp.accumulate(_wide(x), axis=axis).astype(x.dtype, copy=False)


def _argmax_kernel(x: Array, axis: int) -> Array:
    """The last place so far where the running maximum was attained, or a NaN was met."""
    wide = _wide(x)
    best = np.maximum.accumulate(wide, axis=axis)
    hit = (wide == best) | (wide != wide)
    column = [1] * x.ndim
    column[axis] = -1
    places = np.arange(x.shape[axis], dtype=np.int64).reshape(column)
    return np.maximum.accumulate(np.where(hit, places, 0), axis=axis)


def _argmax_body(x: Node, axis: int) -> Sequence[Node]:
    best = scan(x, axis, ops.maximum)
    hit = ops.eq(x, best)
    if x.dtype.kind == "f":
        odd = ops.bit_xor(ops.eq(x, x), full(True, x.shape, bool_))
        hit = ops.maximum(hit, odd)
    column = (1,) * axis + (x.shape[axis],) + (1,) * (x.ndim - axis - 1)
    places = ops.reshape(ops.iota(size=x.shape[axis], dtype=int64), shape=column)
    places = ops.broadcast(places, shape=x.shape)
    return [scan(ops.where(hit, places, full(0, x.shape, int64)), axis, ops.maximum)]


def _scan_region(
    name: str, body: Callable[..., Sequence[Node]], kernel: Callable[..., Array], index: bool
) -> Region:
    """A region along ``axis`` whose result has the shape of its argument."""

    def infer(x: Node, axis: int) -> Type:
        return Type(x.shape, int64 if index else x.dtype)

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        return made(with_batch(size, args[0], batched[0]), axis=static["axis"] + 1)

    made = region(name, body, kernel=kernel, infer=infer, vmap=vmap)
    return made


running_product = _scan_region(
    "running_product", lambda x, axis: [scan(x, axis, ops.mul)], _product_kernel, index=False
)
running_logsumexp = _scan_region(
    "running_logsumexp", lambda x, axis: [scan(x, axis, log_add)], _logsumexp_kernel, index=False
)
running_argmax = _scan_region("running_argmax", _argmax_body, _argmax_kernel, index=True)
