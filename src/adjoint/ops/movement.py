"""View rows: no arithmetic, only where elements stand."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

import numpy as np

from adjoint.base import errors
from adjoint.base.shape import Shape, numel
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.rows import TABLE, each, op, shift_axes


def _reshape_type(x: Node, shape: Shape) -> Type:
    if numel(x.shape) != numel(shape):
        raise errors.reshape(x.shape, shape, numel(x.shape))
    return Type(shape, x.dtype)


def _reshape(x: Array, shape: Shape) -> Array:
    return x.reshape(shape)


def _reshape_back(ct: Node, out: Node, x: Node, shape: Shape) -> Node:
    return reshape(ct, shape=x.shape)


reshape = op(
    "reshape", "view",
    infer=_reshape_type,
    ref=_reshape,
    vjp=each(_reshape_back),
    vmap=shift_axes(shape=lambda size, shape: (size, *shape)),
)  # fmt: skip


def _permute_type(x: Node, axes: Shape) -> Type:
    if sorted(axes) != list(range(x.ndim)):
        raise errors.shape(
            "permute", f"axes {axes} do not name each axis once", x,
            hint=f"a new order of {tuple(range(x.ndim))}",
        )  # fmt: skip
    return Type(tuple(x.shape[a] for a in axes), x.dtype)


def _permute(x: Array, axes: Shape) -> Array:
    return x.transpose(axes)


def _permute_back(ct: Node, out: Node, x: Node, axes: Shape) -> Node:
    return permute(ct, axes=tuple(int(i) for i in np.argsort(axes)))


permute = op(
    "permute", "view",
    infer=_permute_type,
    ref=_permute,
    vjp=each(_permute_back),
    vmap=shift_axes(axes=lambda size, axes: (0, *(a + 1 for a in axes))),
)  # fmt: skip


def _broadcast_type(x: Node, shape: Shape) -> Type:
    lead = len(shape) - x.ndim
    if lead < 0 or any(s not in (1, n) for s, n in zip(x.shape, shape[lead:], strict=True)):
        raise errors.broadcast("broadcast", x.shape, shape)
    return Type(shape, x.dtype)


def _unbroadcast(ct: Node, out: Node, x: Node, shape: Shape) -> Node:
    """Sum over the axes along which ``x`` was repeated."""
    lead = len(shape) - x.ndim
    axes = (
        *range(lead),
        *(i + lead for i, s in enumerate(x.shape) if s == 1 and shape[i + lead] != 1),
    )
    if axes:
        ct = TABLE["reduce_sum"](ct, axes=axes)
    return ct if ct.shape == x.shape else reshape(ct, shape=x.shape)


def _broadcast_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    x, shape = args[0], params["shape"]
    ones = (1,) * (len(shape) - (x.ndim - 1))
    return broadcast(reshape(x, shape=(size, *ones, *x.shape[1:])), shape=(size, *shape))


def _broadcast(x: Array, shape: Shape) -> Array:
    return np.broadcast_to(x, shape)


broadcast = op(
    "broadcast", "view",
    infer=_broadcast_type,
    ref=_broadcast,
    vjp=each(_unbroadcast),
    vmap=_broadcast_vmap,
    lazy=True,
)  # fmt: skip


def _slice_type(x: Node, starts: Shape, sizes: Shape, steps: Shape) -> Type:
    for n, start, size, step in zip(x.shape, starts, sizes, steps, strict=True):
        last = start + (size - 1) * step
        if size < 0 or step == 0 or (size and not (0 <= start < n and 0 <= last < n)):
            raise errors.shape(
                "slice", f"{start}:{last} step {step} is outside", x,
                hint="the first and the last place taken must be inside",
            )  # fmt: skip
    return Type(sizes, x.dtype)


def _slice(x: Array, starts: Shape, sizes: Shape, steps: Shape) -> Array:
    index: list[builtins.slice] = []
    for start, size, step in zip(starts, sizes, steps, strict=True):
        stop = start + size * step
        index.append(
            builtins.slice(0, 0) if size == 0
            else builtins.slice(start, stop if stop >= 0 else None, step)
        )  # fmt: skip
    return x[tuple(index)]


def _unslice(ct: Node, out: Node, x: Node, starts: Shape, sizes: Shape, steps: Shape) -> Node:
    """Put ``ct`` back where it was taken from, zeros elsewhere; a negative step is a flip first."""
    if any(s < 0 for s in steps):
        ends = tuple(b + (n - 1) * s for b, n, s in zip(starts, sizes, steps, strict=True))
        ct = flip(ct, tuple(i for i, s in enumerate(steps) if s < 0))
        starts = tuple(e if s < 0 else b for b, e, s in zip(starts, ends, steps, strict=True))
        steps = tuple(abs(s) for s in steps)
    low: list[int] = []
    high: list[int] = []
    for n, start, size, step in zip(x.shape, starts, sizes, steps, strict=True):
        start = start if size else 0
        low.append(start)
        high.append(n - start - ((size - 1) * step + 1 if size else 0))
    return pad(ct, low=tuple(low), high=tuple(high), interior=tuple(s - 1 for s in steps))


slice = op(
    "slice", "view",
    infer=_slice_type,
    ref=_slice,
    vjp=each(_unslice),
    vmap=shift_axes(
        starts=lambda size, starts: (0, *starts),
        sizes=lambda size, sizes: (size, *sizes),
        steps=lambda size, steps: (1, *steps),
    ),
)  # fmt: skip


def _pad_type(x: Node, low: Shape, high: Shape, interior: Shape) -> Type:
    if min((*low, *high, *interior), default=0) < 0:
        raise errors.shape(
            "pad", f"amounts cannot be negative: {low}, {high}, {interior}", x,
            hint="take a slice to make it smaller",
        )  # fmt: skip
    return Type(_padded(x.shape, low, high, interior), x.dtype)


def _padded(shape: Shape, low: Shape, high: Shape, interior: Shape) -> Shape:
    return tuple(
        b + n + max(n - 1, 0) * k + e for n, b, e, k in zip(shape, low, high, interior, strict=True)
    )


def _pad(x: Array, low: Shape, high: Shape, interior: Shape) -> Array:
    out = np.zeros(_padded(x.shape, low, high, interior), x.dtype)
    index = tuple(
        builtins.slice(b, b + (n - 1) * (k + 1) + 1 if n else b, k + 1)
        for n, b, k in zip(x.shape, low, interior, strict=True)
    )
    out[index] = x
    return out


def _unpad(ct: Node, out: Node, x: Node, low: Shape, high: Shape, interior: Shape) -> Node:
    return slice(ct, starts=low, sizes=x.shape, steps=tuple(k + 1 for k in interior))


pad = op(
    "pad", "view",
    infer=_pad_type,
    ref=_pad,
    vjp=each(_unpad),
    vmap=shift_axes(
        low=lambda size, low: (0, *low),
        high=lambda size, high: (0, *high),
        interior=lambda size, interior: (0, *interior),
    ),
)  # fmt: skip


def _concat_type(*xs: Node, axis: int) -> Type:
    first = xs[0]
    for x in xs[1:]:
        same = (
            x.shape[:axis] == first.shape[:axis] and x.shape[axis + 1 :] == first.shape[axis + 1 :]
        )
        if x.ndim != first.ndim or not same or x.dtype is not first.dtype:
            raise errors.shape(
                "concat", f"all sizes but that of axis {axis} must agree", *xs,
                hint="dtypes must agree too; convert or reshape first",
            )  # fmt: skip
    total = sum(x.shape[axis] for x in xs)
    return Type((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _unconcat(
    ct: Node, out: Node, wanted: tuple[bool, ...], args: tuple[Node, ...], params: Params
) -> tuple[Node | None, ...]:
    axis: int = params["axis"]
    start = 0
    found: list[Node | None] = []
    for x, needs in zip(args, wanted, strict=True):
        found.append(narrow(ct, axis, start, x.shape[axis]) if needs else None)
        start += x.shape[axis]
    return tuple(found)


def _concat(*xs: Array, axis: int) -> Array:
    return np.concatenate(xs, axis=axis)


concat = op(
    "concat", "view",
    infer=_concat_type,
    ref=_concat,
    vjp=_unconcat,
    vmap=shift_axes(axis=lambda size, axis: axis + 1),
)  # fmt: skip


def narrow(x: Node, axis: int, start: int, size: int, step: int = 1) -> Node:
    """``size`` elements of one axis from ``start``."""
    starts = tuple(start if i == axis else 0 for i in range(x.ndim))
    sizes = tuple(size if i == axis else n for i, n in enumerate(x.shape))
    steps = tuple(step if i == axis else 1 for i in range(x.ndim))
    return slice(x, starts=starts, sizes=sizes, steps=steps)


def flip(x: Node, axes: Sequence[int]) -> Node:
    """``x`` backwards along ``axes``: a slice with negative steps."""
    turned = set(a for a in axes if x.shape[a] > 0)
    if not turned:
        return x
    starts = tuple(n - 1 if i in turned else 0 for i, n in enumerate(x.shape))
    steps = tuple(-1 if i in turned else 1 for i in range(x.ndim))
    return slice(x, starts=starts, sizes=x.shape, steps=steps)


def swap_last(x: Node) -> Node:
    """``x`` with its last two axes exchanged."""
    return permute(x, axes=(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


__all__ = [
    "broadcast", "concat", "flip", "narrow", "pad", "permute", "reshape", "slice", "swap_last",
]  # fmt: skip
