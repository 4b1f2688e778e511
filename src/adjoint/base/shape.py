"""Shapes and axes: pure functions on tuples of integers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import cast

from adjoint.base import errors

Shape = tuple[int, ...]
MAX_BYTES = 2**46  # more than any machine has: a larger request is a mistake, not a plan


def numel(shape: Sequence[int]) -> int:
    return prod(shape)


def as_shape(op: str, sizes: object) -> Shape:
    """The shape meant by an int, a sequence of ints, or ``((2, 3),)``. Raises for anything else."""
    items = _items(sizes)
    if items is None:
        return (as_size(op, sizes),)
    if type(sizes) is tuple:  # the usual case, without a call per size
        for size in items:
            if type(size) is not int:
                break
        else:
            return cast(Shape, items)
    inner = _items(items[0]) if len(items) == 1 else None
    return tuple(as_size(op, s) for s in (items if inner is None else inner))


def _items(value: object) -> Sequence[object] | None:
    """A tuple or list as it is, else None."""
    return cast("Sequence[object]", value) if isinstance(value, (tuple, list)) else None


def as_size(op: str, value: object) -> int:
    """A Python int from anything that is an exact integer (NumPy ints and 0-d tensors too)."""
    if isinstance(value, bool):
        raise errors.bad_size(op, value)
    try:
        size = operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise errors.bad_size(op, value) from None
    if not -(2**63) <= size < 2**63:
        raise errors.does_not_fit(op, size, "int64", 64, "i")
    return size


def check_allocation(op: str, shape: Shape, itemsize: int) -> None:
    """Refuse negative sizes and requests no machine can hold."""
    if any(s < 0 for s in shape):
        raise errors.negative_size(op, shape)
    extent = prod([s or 1 for s in shape]) * itemsize
    if prod(shape) * itemsize > MAX_BYTES or extent >= 2**62:  # NumPy counts empty axes as 1
        raise errors.too_large(op, shape, extent)


def broadcast_shapes(op: str, *shapes: Shape) -> Shape:
    """The common shape under NumPy's rule: sizes equal or 1, compared from the last axis."""
    if len(shapes) == 2:  # the usual cases: a number, or a row against rows
        a, b = shapes
        if not b or (b == a[-len(b) :]):
            return a
        if not a or (a == b[-len(a) :]):
            return b
    rank = max((len(s) for s in shapes), default=0)
    out: list[int] = []
    for back in range(rank, 0, -1):
        size = 1
        for s in shapes:
            if len(s) >= back and s[-back] != 1:
                if size not in (1, s[-back]):
                    raise errors.broadcast(op, *shapes)
                size = s[-back]
        out.append(size)
    return tuple(out)


def as_axis(op: str, axis: object, ndim: int, of: str = "a tensor") -> int:
    """A non-negative axis from a possibly negative one; raises when out of range."""
    if isinstance(axis, bool):
        raise errors.axis(op, axis, ndim)
    try:
        value = operator.index(axis)  # type: ignore[arg-type]
    except TypeError:
        raise errors.axis(op, axis, ndim) from None
    if not -ndim <= value < ndim:
        raise errors.axis(op, value, ndim, of)
    return value % ndim if ndim else 0


def as_axes(op: str, axes: object, ndim: int) -> tuple[int, ...]:
    """Axes from None (all), an int or a sequence; sorted order is the caller's. No repeats."""
    if axes is None:
        return tuple(range(ndim))
    items = _items(axes)
    if items is None:
        return (as_axis(op, axes, ndim),)
    out = tuple(as_axis(op, a, ndim) for a in items)
    if len(set(out)) != len(out):
        raise errors.repeated_axis(op, out)
    return out


def drop(shape: Shape, axes: Sequence[int]) -> Shape:
    """``shape`` without ``axes``."""
    return tuple(s for i, s in enumerate(shape) if i not in axes)


def keep(shape: Shape, axes: Sequence[int]) -> Shape:
    """``shape`` with ``axes`` set to 1."""
    return tuple(1 if i in axes else s for i, s in enumerate(shape))
