"""The regions behind every normalisation: subtract a mean, divide by a deviation, rescale.

``standardize(x[, weight[, bias]]; axes, features, eps, centred) -> (y, mean, var)``

    mean and var = mean((x - mean)^2) are taken over ``axes`` (two passes, so that a large mean
    costs no digits) and have the other axes of x. Not ``centred``: mean = 0, which makes var the
    mean square. y = (x - mean) / sqrt(var + eps) * weight + bias, where weight and bias have the
    axes ``features`` of x.

``standardize_gradient(ct, x, mean, var[, weight]; axes, features, eps, centred, offset)
    -> (dx[, dweight[, dbias]])``

    with s = (x - mean) / sqrt(var + eps) and g = ct * weight:
    dx = (g - mean(g) - s mean(g s)) / sqrt(var + eps), dweight = sum(ct s), dbias = sum(ct).
    ``offset``: whether there was a bias.

Sums accumulate in float32 when the dtype has 16 bits; mean and var are float32 then.
Layer norm, RMS norm, batch norm, group norm and instance norm differ in the axes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint import ops
from adjoint.base.dtype import DType, float32
from adjoint.base.shape import Shape, drop, keep, numel
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ir.reverse import Parts
from adjoint.ops.reduce import spread
from adjoint.ops.rows import Wanted, full, with_batch, zeros_like
from adjoint.ops.structure import call, results
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.regions import or_template, region

LARGE = 1 << 15  # elements from which compiled kernels are worth their call


def _wider(dtype: DType) -> DType:
    return float32 if dtype.bits == 16 else dtype


def _count(shape: Shape, axes: Shape) -> int:
    return numel([shape[a] for a in axes])


def _others(ndim: int, features: Shape) -> Shape:
    return tuple(a for a in range(ndim) if a not in features)


# --- the meaning ----------------------------------------------------------------------------------


def _mean(x: Node, axes: Shape) -> Node:
    return ops.reduce_sum(x, axes=axes) / float(_count(x.shape, axes))


def _body(
    x: Node, *affine: Node, axes: Shape, features: Shape, eps: float, centred: bool
) -> Sequence[Node]:
    wide = to_dtype(x, _wider(x.dtype))
    mean = _mean(wide, axes) if centred else full(0, drop(x.shape, axes), wide.dtype)
    moved = wide - spread(mean, x.shape, axes) if centred else wide
    var = _mean(moved * moved, axes)
    y = moved * spread(1.0 / ops.sqrt(var + eps), x.shape, axes)
    others = _others(x.ndim, features)
    given = [spread(to_dtype(a, wide.dtype), x.shape, others) for a in affine]
    y = y * given[0] if given else y
    y = y + given[1] if len(given) > 1 else y
    return [to_dtype(y, x.dtype), mean, var]


def _gradient_body(
    ct: Node, x: Node, mean: Node, var: Node, *weight: Node, axes: Shape, features: Shape,
    eps: float, centred: bool, offset: bool,
) -> Sequence[Node]:  # fmt: skip
    wide = mean.dtype
    ct, moved = to_dtype(ct, wide), to_dtype(x, wide)
    if centred:
        moved = moved - spread(mean, x.shape, axes)
    factor = spread(1.0 / ops.sqrt(var + eps), x.shape, axes)
    standard = moved * factor
    others = _others(x.ndim, features)
    g = ct * spread(to_dtype(weight[0], wide), x.shape, others) if weight else ct
    slope = g - standard * spread(_mean(g * standard, axes), x.shape, axes)
    if centred:
        slope = slope - spread(_mean(g, axes), x.shape, axes)
    found = [to_dtype(slope * factor, x.dtype)]
    if weight:
        total = ops.reduce_sum(ct * standard, axes=others)
        found.append(to_dtype(total, weight[0].dtype))
    if offset:
        found.append(to_dtype(ops.reduce_sum(ct, axes=others), weight[0].dtype))
    return found


def _vjp(
    ct: Parts, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    x, *affine = args
    axes: Shape = static["axes"]
    _, mean, var = results(out)
    ct_y, ct_mean, ct_var = ct.items
    found: list[Node] = []
    if ct_y is not None:
        given = (ct_y, x, mean, var, *affine[:1])
        found = results(standardize_gradient(*given, **static, offset=len(affine) > 1))
    else:
        found = [zeros_like(a) for a in args]
    extra: list[Node] = []
    count = float(_count(x.shape, axes))
    if ct_mean is not None and static["centred"]:
        extra.append(spread(ct_mean / count, x.shape, axes))
    if ct_var is not None:
        moved = to_dtype(x, mean.dtype) - spread(mean, x.shape, axes)
        extra.append(moved * spread(ct_var * (2 / count), x.shape, axes))
    for e in extra:
        found[0] = found[0] + to_dtype(e, x.dtype)
    return found


# --- NumPy ----------------------------------------------------------------------------------------


def _wide(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def _mean_array(x: Array, axes: Shape) -> Array:
    """The mean, with axes of size 1; of nothing it is NaN."""
    return np.add.reduce(x, axis=axes, keepdims=True) / x.dtype.type(_count(x.shape, axes))


def _like(a: Array, x: Array, features: Shape) -> Array:
    """Weights seen against the axes of ``x``."""
    return a.astype(x.dtype, copy=False).reshape(keep(x.shape, _others(x.ndim, features)))


def _kernel(
    x: Array, *affine: Array, axes: Shape, features: Shape, eps: float, centred: bool
) -> tuple[Array, Array, Array]:
    wide = _wide(x)
    stats = drop(x.shape, axes)
    mean = np.zeros((), wide.dtype)
    if centred:
        mean = _mean_array(wide, axes)
        wide = wide - mean
    y = wide * wide
    var = _mean_array(y, axes)
    np.multiply(wide, 1 / np.sqrt(var + wide.dtype.type(eps)), out=y)
    if affine:
        y *= _like(affine[0], y, features)
    if len(affine) > 1:
        y += _like(affine[1], y, features)
    mean = mean.reshape(stats) if centred else np.zeros(stats, y.dtype)
    return y.astype(x.dtype, copy=False), mean, var.reshape(stats)


def _gradient_kernel(
    ct: Array, x: Array, mean: Array, var: Array, *weight: Array, axes: Shape, features: Shape,
    eps: float, centred: bool, offset: bool,
) -> Any:  # fmt: skip
    kept, others = keep(x.shape, axes), _others(x.ndim, features)
    wide_ct = _wide(ct)
    factor = (1 / np.sqrt(var + var.dtype.type(eps))).reshape(kept)
    standard = _wide(x) - mean.reshape(kept) if centred else _wide(x) * factor
    if centred:
        standard *= factor
    g = wide_ct * _like(weight[0], wide_ct, features) if weight else wide_ct
    work = g * standard
    share = _mean_array(work, axes)
    found: list[Array] = []
    if weight:
        np.multiply(wide_ct, standard, out=work)
        found.append(np.add.reduce(work, axis=others).astype(weight[0].dtype, copy=False))
    if offset:
        found.append(np.add.reduce(wide_ct, axis=others).astype(weight[0].dtype, copy=False))
    standard *= share
    slope = np.subtract(g, standard, out=work)
    if centred:
        slope -= _mean_array(g, axes)
    slope *= factor
    dx = slope.astype(x.dtype, copy=False)
    return (dx, *found) if found else dx


# --- types, batches, regions ----------------------------------------------------------------------


def _type(
    x: Node, *affine: Node, axes: Shape, features: Shape, eps: float, centred: bool
) -> tuple[Type, ...]:
    stats = Type(drop(x.shape, axes), _wider(x.dtype))
    return Type(x.shape, x.dtype), stats, stats


def _gradient_type(
    ct: Node, x: Node, mean: Node, var: Node, *weight: Node, axes: Shape, features: Shape,
    eps: float, centred: bool, offset: bool,
) -> Any:  # fmt: skip
    found = [Type(n.shape, n.dtype) for n in (x, *weight)]
    found += found[1:] if offset else []
    return tuple(found) if len(found) > 1 else found[0]


def _size(first: Array, *_: Array, **static: Any) -> int:
    return first.size


def _vmap(op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params) -> Node:
    """Every argument gets the batch, so that weights have their own sums for each example."""
    moved = dict(static)
    for name in ("axes", "features"):
        moved[name] = tuple(a + 1 for a in static[name])
    moved["features"] = (0, *moved["features"])
    joined = [with_batch(size, a, b) for a, b in zip(args, batched, strict=True)]
    which = standardize_gradient if "offset" in static else standardize
    return call(*joined, region=which, **moved)


standardize_gradient = region(
    "standardize_gradient", _gradient_body,
    kernel=or_template(_gradient_kernel, lambda: standardize_gradient, _size, LARGE, 0),
    infer=_gradient_type, vmap=_vmap,
)  # fmt: skip
standardize = region(
    "standardize", _body, kernel=or_template(_kernel, lambda: standardize, _size, LARGE, 0),
    infer=_type, vjp=_vjp, vmap=_vmap,
)  # fmt: skip
