"""Contractions: the two rows where the arithmetic is."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from adjoint.base import errors
from adjoint.base.shape import Shape
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.movement import flip, permute, reshape, swap_last
from adjoint.ops.rows import each, op, with_batch

Pads = tuple[tuple[int, int], ...]


def _dot_type(a: Node, b: Node) -> Type:
    fits = a.ndim >= 2 and a.ndim == b.ndim and a.shape[:-2] == b.shape[:-2]
    if not fits or a.shape[-1] != b.shape[-2] or a.dtype is not b.dtype:
        raise errors.inner_sizes("dot", a, b)
    return Type((*a.shape[:-1], b.shape[-1]), a.dtype)


def _dot(a: Array, b: Array) -> Array:
    """Products of matrices, batch by batch; 16-bit floats accumulate in float32."""
    if a.dtype.itemsize == 2 and a.dtype.kind not in "iu":
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return np.matmul(a, b)


def _dot_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    a, b = args
    if batched[0] and not batched[1] and b.ndim == 2:  # one tall product instead of many
        rows = reshape(a, shape=(size * a.shape[1], a.shape[2]))
        return reshape(dot(rows, b), shape=(size, a.shape[1], b.shape[1]))
    return dot(with_batch(size, a, batched[0]), with_batch(size, b, batched[1]))


dot = op(
    "dot", "contract",
    infer=_dot_type,
    ref=_dot,
    vjp=each(
        lambda ct, out, a, b: dot(ct, swap_last(b)), lambda ct, out, a, b: dot(swap_last(a), ct)
    ),
    vmap=_dot_vmap,
    quiet=True,
)  # fmt: skip


def conv_size(n: int, k: int, stride: int, pad: tuple[int, int], dilation: int, inner: int) -> int:
    """Output size of one axis: input spread by ``inner``, padded, window spread by ``dilation``."""
    spread = _spread(n, inner)
    return max((spread + pad[0] + pad[1] - ((k - 1) * dilation + 1)) // stride + 1, 0)


def _spread(n: int, step: int) -> int:
    """The extent of ``n`` elements ``step`` apart."""
    return (n - 1) * step + 1 if n else 0


def _conv_type(
    x: Node, w: Node, stride: Shape, padding: Pads, dilation: Shape, inner: Shape, groups: int
) -> Type:
    fits = x.ndim == w.ndim == len(stride) + 2 and x.dtype is w.dtype
    if not fits or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise errors.shape("conv", f"channels do not fit with groups={groups}", x, w)
    spatial = tuple(
        conv_size(n, k, s, p, d, i)
        for n, k, s, p, d, i in zip(
            x.shape[2:], w.shape[2:], stride, padding, dilation, inner, strict=True
        )
    )
    return Type((x.shape[0], w.shape[0], *spatial), x.dtype)


def _conv(
    x: Array, w: Array, stride: Shape, padding: Pads, dilation: Shape, inner: Shape, groups: int
) -> Array:
    """out[n, o, p] = sum_{c, k} w[o, c, k] * xpad[n, c, p * stride + k * dilation] per group.

    A cross-correlation: the kernel is not flipped. ``inner`` spreads the input with zeros.
    """
    dtype = x.dtype
    if dtype.itemsize == 2 and dtype.kind not in "iu":
        x, w = x.astype(np.float32), w.astype(np.float32)
    x = _prepare(x, padding, inner)
    out_spatial = tuple(
        max((n - (k - 1) * d - 1) // s + 1, 0)
        for n, k, d, s in zip(x.shape[2:], w.shape[2:], dilation, stride, strict=True)
    )
    n, outs = x.shape[0], w.shape[0]
    if 0 in (n, outs, x.shape[1], *out_spatial, *w.shape):
        return np.zeros((n, outs, *out_spatial), dtype)
    size = outs // groups
    pieces = [
        _correlate(
            x[:, g * w.shape[1] : (g + 1) * w.shape[1]], w[g * size : (g + 1) * size],
            stride, dilation, out_spatial,
        )
        for g in range(groups)
    ]  # fmt: skip
    out = pieces[0] if groups == 1 else np.concatenate(pieces, axis=1)
    return out.astype(dtype, copy=False)


def _prepare(x: Array, padding: Pads, inner: Shape) -> Array:
    """Spread, pad and crop the spatial axes."""
    if all(i == 1 for i in inner) and all(p == (0, 0) for p in padding):
        return x
    spread = tuple(_spread(n, i) for n, i in zip(x.shape[2:], inner, strict=True))
    sizes = tuple(max(n + lo + hi, 0) for n, (lo, hi) in zip(spread, padding, strict=True))
    out = np.zeros((*x.shape[:2], *sizes), x.dtype)
    source: list[slice] = []
    target: list[slice] = []
    for n, i, size, (lo, _) in zip(x.shape[2:], inner, sizes, padding, strict=True):
        first = max(-(lo // i), 0) if lo < 0 else 0  # first input element not cropped away
        if lo < 0 and (-lo) % i:
            first = (-lo + i - 1) // i
        start = lo + first * i
        count = max(min(n - first, (size - start + i - 1) // i), 0)
        source.append(slice(first, first + count))
        target.append(slice(start, start + (count - 1) * i + 1, i) if count else slice(0, 0))
    out[(slice(None), slice(None), *target)] = x[(slice(None), slice(None), *source)]
    return out


def _correlate(x: Array, w: Array, stride: Shape, dilation: Shape, out_spatial: Shape) -> Array:
    """One group: gather windows then multiply, or multiply then add shifted, by memory moved."""
    taps = prod(w.shape[2:])
    before = x.shape[1] * taps * prod(out_spatial)  # elements of the window matrix
    after = w.shape[0] * taps * prod(x.shape[2:])  # elements of the product before shifting
    if after < before and all(s == 1 for s in stride):
        return _multiply_then_shift(x, w, dilation, out_spatial)
    return _windows_then_multiply(x, w, stride, dilation, out_spatial)


def _windows_then_multiply(
    x: Array, w: Array, stride: Shape, dilation: Shape, out_spatial: Shape
) -> Array:
    n, c = x.shape[:2]
    taps, pixels = prod(w.shape[2:]), prod(out_spatial)
    steps = tuple(b * s for b, s in zip(x.strides[2:], stride, strict=True))
    reach = tuple(b * d for b, d in zip(x.strides[2:], dilation, strict=True))
    windows = np.lib.stride_tricks.as_strided(
        x, (n, c, *w.shape[2:], *out_spatial), (*x.strides[:2], *reach, *steps), writeable=False
    )
    # a long, thin product is faster turned round: the wide axis must come last for BLAS
    if n * taps * c >= pixels or n == 1:
        columns = np.ascontiguousarray(windows).reshape(n, c * taps, pixels)
        return np.matmul(w.reshape(w.shape[0], -1), columns).reshape(n, w.shape[0], *out_spatial)
    columns = np.ascontiguousarray(np.moveaxis(windows, 0, -1 - len(out_spatial)))
    out = w.reshape(w.shape[0], -1) @ columns.reshape(c * taps, n * pixels)
    return np.moveaxis(out.reshape(w.shape[0], n, *out_spatial), 1, 0)


def _multiply_then_shift(x: Array, w: Array, dilation: Shape, out_spatial: Shape) -> Array:
    n, c = x.shape[:2]
    taps, outs = prod(w.shape[2:]), w.shape[0]
    by_tap = np.moveaxis(w.reshape(outs, c, taps), 2, 0).reshape(taps * outs, c)
    product = np.matmul(by_tap, x.reshape(n, c, -1)).reshape(n, taps, outs, *x.shape[2:])
    out = np.zeros((n, outs, *out_spatial), x.dtype)
    for tap, place in enumerate(np.ndindex(*w.shape[2:])):
        window = tuple(
            slice(k * d, k * d + size)
            for k, d, size in zip(place, dilation, out_spatial, strict=True)
        )
        out += product[(slice(None), tap, slice(None), *window)]
    return out


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
        spread_in, spread_ct = _spread(x.shape[a], inner[i]), _spread(ct.shape[a], stride[i])
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
    n, c, o = x.shape[0], w.shape[1], w.shape[0]
    xs = reshape(x, shape=(n, groups, c, *x.shape[2:]))
    xs = permute(xs, axes=(2, 1, 0, *(a + 1 for a in spatial)))
    xs = reshape(xs, shape=(c, groups * n, *x.shape[2:]))
    kernel = permute(ct, axes=(1, 0, *spatial))
    pads: list[tuple[int, int]] = []
    for a in spatial:
        i = a - 2
        reach = (w.shape[a] - 1) * dilation[i]
        used = _spread(ct.shape[a], stride[i]) + reach
        pads.append((padding[i][0], used - _spread(x.shape[a], inner[i]) - padding[i][0]))
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


conv = op(
    "conv", "contract",
    infer=_conv_type,
    ref=_conv,
    vjp=each(_input_gradient, _kernel_gradient),
    vmap=_conv_vmap,
    quiet=True,
)  # fmt: skip
