"""Norms of vectors and matrices, and distances. The gradient of a norm at 0 is 0."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import as_dtype, float32
from adjoint.base.shape import Shape, as_axes, broadcast_shapes, drop
from adjoint.ir.node import Node, Op, Params, Type
from adjoint.ops.movement import swap_last
from adjoint.ops.reduce import spread
from adjoint.ops.rows import each, full, with_batch, zeros_like
from adjoint.tensors import arithmetic
from adjoint.tensors.arithmetic import floating, to_dtype
from adjoint.tensors.decompositions import svd
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import absolute, below, equals, root, select
from adjoint.tensors.powers import raised
from adjoint.tensors.reduction import kept, pick
from adjoint.tensors.regions import pointwise, region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def vector_norm(
    x: Handle, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: object = None,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """(sum_i |x_i|^ord)^(1/ord) over ``dim`` (all elements by default); inf: the largest |x_i|,
    -inf: the smallest, 0: how many are not 0. Where a norm has no derivative, its gradient is 0:
    at elements that are 0. Raises DTypeError for integers."""
    node = _float("vector_norm", x, dtype)
    axes = as_axes("vector_norm", pick(dim, axis), node.ndim)
    found = norm_node("vector_norm", node, _order("vector_norm", ord), axes)
    return wrap(kept(found, node.shape, axes, keepdim or keepdims))


def matrix_norm(
    A: Handle, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *,
    dtype: object = None, axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The norm of matrices: "fro" sqrt(sum x^2), "nuc" the sum of singular values, 2 and -2 the
    largest and smallest of them, 1 and -1 the largest and smallest column sum of |x|, inf and
    -inf row sum."""
    node = _float("matrix_norm", A, dtype)
    axes = as_axes("matrix_norm", dim if axis is None else axis, node.ndim)
    if len(axes) != 2:
        raise errors.argument(
            "matrix_norm", f"needs two axes, got {axes}", hint="dim=(-2, -1) are those of a matrix"
        )
    return wrap(kept(_matrix_norm(node, ord, axes), node.shape, axes, keepdim or keepdims))


def linalg_norm(
    A: Handle, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: object = None,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """``matrix_norm`` when ``ord`` is given for a matrix (or two axes), else ``vector_norm``, by
    default the 2-norm of all elements."""
    named = pick(dim, axis)
    options: dict[str, Any] = {"keepdim": keepdim or keepdims, "dtype": dtype}
    if ord is None:
        return vector_norm(A, 2, named, **options)
    rank = node_of(A, "norm").ndim
    if named is None and rank not in (1, 2):
        raise errors.shape(
            "norm", "ord= without dim= needs a vector or a matrix", A, hint="name the axes: dim=-1"
        )
    matrix = rank == 2 if named is None else isinstance(named, (tuple, list)) and len(named) == 2
    if matrix:
        return matrix_norm(A, ord, (-2, -1) if named is None else named, **options)
    return vector_norm(A, ord, named, **options)


def norm(
    input: Handle, p: Any = "fro", dim: Any = None, keepdim: bool = False,
    dtype: object = None, *, axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The p-norm (sum_i |x_i|^p)^(1/p) of all elements, or along ``dim``; "fro" is p = 2, "nuc"
    the sum of the singular values. Gradient 0 at 0."""
    options: dict[str, Any] = {"keepdim": keepdim or keepdims, "dtype": dtype}
    named = pick(dim, axis)
    if isinstance(p, str) and p == "nuc":
        return matrix_norm(input, p, (-2, -1) if named is None else named, **options)
    return vector_norm(input, 2 if isinstance(p, str) and p == "fro" else p, named, **options)


def dist(input: Any, other: Any, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return vector_norm(arithmetic.sub(input, other), p)


_MODES = (
    "use_mm_for_euclid_dist_if_necessary",
    "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)


def cdist(x1: Handle, x2: Handle, p: float = 2.0, compute_mode: str = _MODES[0]) -> Tensor:
    """Distances of all pairs of rows: (..., P, M) and (..., R, M) -> (..., P, R), in the p-norm.

    For p = 2 and more than 25 rows |x - y|^2 is taken as x.x - 2 x.y + y.y, which needs far less
    memory but loses half of the digits for close points;
    compute_mode="donot_use_mm_for_euclid_dist" prevents that. The gradient at distance 0 is 0.
    """
    as_choice("cdist compute_mode", compute_mode, _MODES)
    a, b = arithmetic.pair("cdist", x1, x2)
    a, b = floating(a), floating(b)
    if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-1]:
        raise errors.shape(
            "cdist", "needs rows of one length", a, b, hint="points are rows: (points, coordinates)"
        )
    many = max(a.shape[-2], b.shape[-2]) > 25
    if p == 2 and (compute_mode == _MODES[1] or (compute_mode == _MODES[0] and many)):
        return wrap(_by_products(a, b))
    left = ops.reshape(a, shape=(*a.shape[:-1], 1, a.shape[-1]))
    right = ops.reshape(b, shape=(*b.shape[:-2], 1, *b.shape[-2:]))
    apart = arithmetic.combine(ops.sub, left, right)
    return wrap(norm_node("cdist", apart, _order("cdist", p), (apart.ndim - 1,)))


def norm_node(op: str, node: Node, p: float, axes: Shape) -> Node:
    """The p-norm of a float node over ``axes``; 16-bit floats are computed in float32."""
    if node.dtype.bits == 16:
        return to_dtype(norm_node(op, to_dtype(node, float32), p, axes), node.dtype)
    if p == 2:
        return euclidean(node, axes=axes)
    if p == 0:
        return ops.reduce_sum(is_nonzero(node), axes=axes)
    size = absolute(node)
    if p in (inf, -inf):
        if 0 in [node.shape[a] for a in axes]:
            raise errors.shape(
                op, "the extreme of no elements does not exist", node,
                hint="check for emptiness first: if x.numel()",
            )  # fmt: skip
        return ops.reduce_max(size, axes=axes) if p > 0 else -ops.reduce_max(-size, axes=axes)
    if p == 1:
        return ops.reduce_sum(size, axes=axes)
    return _power(ops.reduce_sum(_power(size, p), axes=axes), 1 / p)


is_nonzero = pointwise(
    "is_nonzero",
    lambda x: (x != 0).astype(x.dtype),
    lambda x: [select(equals(x, 0), zeros_like(x), 1)],
    each(lambda ct, out, x: zeros_like(x)),
)
"""1 for every element that is not 0, with gradient 0."""


def _euclidean_vjp(
    ct: Node, out: Node, wanted: Sequence[bool], args: Sequence[Node], static: Params
) -> Sequence[Node]:
    """ct x / out, and 0 where out is 0."""
    x, zero = args[0], equals(out, 0)
    share = select(zero, zeros_like(ct), ct / select(zero, 1, out))
    return [spread(share, x.shape, static["axes"]) * x]


def _euclidean_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
) -> Node:
    axes = tuple(a + 1 for a in static["axes"])
    return euclidean(with_batch(size, args[0], batched[0]), axes=axes)


euclidean = region(
    "euclidean",
    lambda x, axes: [root(ops.reduce_sum(x * x, axes=axes))],
    kernel=lambda x, axes: np.sqrt(np.add.reduce(x * x, axis=axes)),
    infer=lambda x, axes: Type(drop(x.shape, axes), x.dtype),
    vjp=_euclidean_vjp,
    vmap=_euclidean_vmap,
)
"""sqrt(sum x^2) over ``axes``, with gradient 0 at 0."""


def _power(node: Node, exponent: float) -> Node:
    """x^exponent for x >= 0, with gradient 0 at 0."""
    zero = equals(node, 0)
    found = raised(select(zero, 1, node), exponent)
    return select(zero, 0 if exponent > 0 else inf, found)


def _by_products(a: Node, b: Node) -> Node:
    batch = broadcast_shapes("cdist", a.shape[:-2], b.shape[:-2])
    a = ops.broadcast(a, shape=(*batch, *a.shape[-2:]))
    b = ops.broadcast(b, shape=(*batch, *b.shape[-2:]))
    shape = (*batch, a.shape[-2], b.shape[-2])
    last = (a.ndim - 1,)
    rows = ops.reshape(ops.reduce_sum(a * a, axes=last), shape=(*shape[:-1], 1))
    columns = ops.reshape(ops.reduce_sum(b * b, axes=last), shape=(*batch, 1, shape[-1]))
    squares = ops.broadcast(rows, shape=shape) + ops.broadcast(columns, shape=shape)
    squares = squares - ops.dot(a, swap_last(b)) * 2.0
    return root(select(below(squares, 0), 0, squares))


def _float(op: str, x: Handle, dtype: object) -> Node:
    node = node_of(x, op)
    node = to_dtype(node, as_dtype(dtype)) if dtype is not None else node
    if node.dtype.kind != "f":
        raise errors.wrong_dtype(op, node.dtype, "a float dtype", hint="x.float()")
    return node


def _order(op: str, ord: Any) -> float:
    if isinstance(ord, bool) or not isinstance(ord, (int, float)):
        raise errors.argument(
            op, f"the order of a vector norm is a number, got {errors.clip(ord)}",
            hint="1, 2 or float('inf'), say; 'fro' and 'nuc' are norms of matrices",
        )  # fmt: skip
    return float(as_number(op, "ord", ord))


def _matrix_norm(node: Node, ord: Any, axes: Shape) -> Node:
    if not isinstance(ord, (str, int, float)):
        raise errors.bad_argument("matrix_norm", "ord", ord, "a number, 'fro' or 'nuc'")
    if ord == "fro":
        return norm_node("matrix_norm", node, 2.0, axes)
    if ord not in ("nuc", 1, -1, 2, -2, inf, -inf):
        raise errors.unknown_name("matrix_norm ord", ord, ["fro", "nuc", "1", "2", "inf"])
    rest = tuple(i for i in range(node.ndim) if i not in axes)
    turned = ops.permute(node, axes=(*rest, *axes))
    if ord in ("nuc", 2, -2):
        turned = to_dtype(turned, float32) if node.dtype.bits == 16 else turned
        values = ops.pick(svd(turned, complete=False), index=1)
        found = _of_values(values, ord)
        return to_dtype(found, node.dtype)
    last = turned.ndim - 1
    sums = ops.reduce_sum(absolute(turned), axes=(last - 1 if ord in (1, -1) else last,))
    return _of_values(sums, 2 if ord > 0 else -2)


def _of_values(values: Node, ord: Any) -> Node:
    last = (values.ndim - 1,)
    if ord == "nuc":
        return ops.reduce_sum(values, axes=last)
    if values.shape[-1] == 0:
        return full(0, values.shape[:-1], values.dtype)
    return ops.reduce_max(values, axes=last) if ord == 2 else -ops.reduce_max(-values, axes=last)
