"""Contractions: the two rows where the arithmetic is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjoint.base import errors
from adjoint.base.shape import Shape
from adjoint.ir.node import Array, Node, Op, Params, Type, abstract
from adjoint.ops.correlate import Pads, correlate, spread
from adjoint.ops.movement import flip, permute, reshape, swap_last
from adjoint.ops.rows import both, each, full, op, with_batch
from adjoint.runtime.device import CPU

LARGE = 1 << 20  # multiply-adds from which a compiled product is faster than NumPy's


def _dot_type(a: Node, b: Node) -> Type:
    fits = a.ndim >= 2 and a.ndim == b.ndim and a.shape[:-2] == b.shape[:-2]
    if not fits or a.shape[-1] != b.shape[-2] or a.dtype is not b.dtype:
        raise errors.inner_sizes("dot", a, b)
    return Type((*a.shape[:-1], b.shape[-1]), a.dtype)


def _dot(a: Array, b: Array) -> Array:
    """Products of matrices, batch by batch; 16-bit floats accumulate in float32."""
    if a.dtype.itemsize == 2 and a.dtype.kind not in "iu":
        return _dot(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    if a.size * b.shape[-1] < LARGE:
        return np.matmul(a, b)
    return CPU.kernels.get("dot", np.matmul)(a, b)


def _dot_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    a, b = args
    if batched[0] and not batched[1] and b.ndim == 2:  # one tall product instead of many
        rows = reshape(a, shape=(size * a.shape[1], a.shape[2]))
        return reshape(dot(rows, b), shape=(size, a.shape[1], b.shape[1]))
    return dot(with_batch(size, a, batched[0]), with_batch(size, b, batched[1]))


dot: Op = op(
    "dot", "contract",
    infer=_dot_type,
    ref=_dot,
    vjp=both(
        lambda ct, out, a, b: dot(ct, swap_last(b)), lambda ct, out, a, b: dot(swap_last(a), ct)
    ),
    vmap=_dot_vmap,
    quiet=True,
)  # fmt: skip


def conv_size(n: int, k: int, stride: int, pad: tuple[int, int], dilation: int, inner: int) -> int:
    """Output size of one axis: input spread by ``inner``, padded, window spread by ``dilation``."""
    extent = spread(n, inner)
    return max((extent + pad[0] + pad[1] - ((k - 1) * dilation + 1)) // stride + 1, 0)


def _conv_type(
    x: Node, w: Node, stride: Shape, padding: Pads, dilation: Shape, inner: Shape, groups: int
) -> Type:
    fits = x.ndim == w.ndim == len(stride) + 2 and x.dtype is w.dtype
    if not fits or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise errors.shape(
            "conv", f"channels do not fit with groups={groups}", x, w,
            hint="input (batch, channels, ...), kernel (out channels, channels / groups, ...)",
        )  # fmt: skip
    spatial = tuple(
        conv_size(n, k, s, p, d, i)
        for n, k, s, p, d, i in zip(
            x.shape[2:], w.shape[2:], stride, padding, dilation, inner, strict=True
        )
    )
    return Type((x.shape[0], w.shape[0], *spatial), x.dtype)


def _input_gradient(
    ct: Node, out: Node, x: Node, w: Node, stride: Shape, padding: Pads, dilation: Shape,
    inner: Shape, groups: int,
) -> Node:  # fmt: skip
    """ct spread by the stride, correlated with the flipped kernel, roles of channels exchanged."""
    spatial = tuple(range(2, x.ndim))
    o, c = w.shape[0] // groups, w.shape[1]
    k = reshape(w, shape=(groups, o, c, *w.shape[2:]))
    k = permute(k, axes=(0, 2, 1, *(a + 1 for a in spatial)))
    k = flip(reshape(k, shape=(groups * c, o, *w.shape[2:])), spatial)
    pads: list[tuple[int, int]] = []
    for a in spatial:
        i = a - 2
        reach = (w.shape[a] - 1) * dilation[i]
        spread_in, spread_ct = spread(x.shape[a], inner[i]), spread(ct.shape[a], stride[i])
        low = reach - padding[i][0]
        pads.append((low, spread_in - (spread_ct + low - reach)))
    return conv(
        ct, k, stride=inner, padding=tuple(pads), dilation=dilation, inner=stride, groups=groups
    )


def _kernel_gradient(
    ct: Node, out: Node, x: Node, w: Node, stride: Shape, padding: Pads, dilation: Shape,
    inner: Shape, groups: int,
) -> Node:  # fmt: skip
    """x correlated with ct over the batch: channels become the batch, stride becomes dilation."""
    spatial = tuple(range(2, x.ndim))
    n, c = x.shape[0], w.shape[1]
    xs = reshape(x, shape=(n, groups, c, *x.shape[2:]))
    xs = permute(xs, axes=(2, 1, 0, *(a + 1 for a in spatial)))
    xs = reshape(xs, shape=(c, groups * n, *x.shape[2:]))
    kernel = permute(ct, axes=(1, 0, *spatial))
    pads: list[tuple[int, int]] = []
    for a in spatial:
        i = a - 2
        reach = (w.shape[a] - 1) * dilation[i]
        used = spread(ct.shape[a], stride[i]) + reach
        pads.append((padding[i][0], used - spread(x.shape[a], inner[i]) - padding[i][0]))
    found = conv(
        xs, kernel, stride=dilation, padding=tuple(pads), dilation=stride, inner=inner,
        groups=groups,
    )  # fmt: skip
    return permute(found, axes=(1, 0, *spatial))


def _conv_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    """A batch of inputs joins the batch; a batch of kernels joins the output channels or groups."""
    (x, w), groups = args, params["groups"]
    if size == 0:
        single = _conv_type(_example(x, batched[0]), _example(w, batched[1]), **params)
        return full(0, (0, *single.shape), single.dtype)
    if not batched[1]:
        out = conv(reshape(x, shape=(size * x.shape[1], *x.shape[2:])), w, **params)
        return reshape(out, shape=(size, x.shape[1], *out.shape[1:]))
    o, c = w.shape[1] // groups, w.shape[2]
    if batched[0]:  # both: every example is a set of groups of its own
        n = x.shape[1]
        xs = permute(x, axes=(1, 0, *range(2, x.ndim)))
        xs = reshape(xs, shape=(n, size * x.shape[2], *x.shape[3:]))
        ks = reshape(w, shape=(size * w.shape[1], *w.shape[2:]))
        out = conv(xs, ks, **{**params, "groups": groups * size})
        out = reshape(out, shape=(n, size, w.shape[1], *out.shape[2:]))
        return permute(out, axes=(1, 0, *range(2, out.ndim)))
    ks = reshape(w, shape=(size, groups, o, c, *w.shape[3:]))
    ks = permute(ks, axes=(1, 0, *range(2, ks.ndim)))
    ks = reshape(ks, shape=(groups * size * o, c, *w.shape[3:]))
    out = conv(x, ks, **params)
    out = reshape(out, shape=(x.shape[0], groups, size, o, *out.shape[2:]))
    out = permute(out, axes=(2, 0, 1, 3, *range(4, out.ndim)))
    return reshape(out, shape=(size, x.shape[0], groups * o, *out.shape[4:]))


def _example(node: Node, batched: bool) -> Node:
    """One example of a batch, as a type."""
    return abstract(Type(node.shape[1:], node.dtype)) if batched else node


conv = op(
    "conv", "contract",
    infer=_conv_type,
    ref=correlate,
    vjp=each(_input_gradient, _kernel_gradient),
    vmap=_conv_vmap,
    quiet=True,
)  # fmt: skip
