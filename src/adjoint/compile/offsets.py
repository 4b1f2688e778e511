"""Offsets of elements in memory: what the tables of a convolution hold."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from adjoint.base.shape import Shape

Array = np.ndarray[Any, np.dtype[Any]]


def strides_of(shape: Sequence[int]) -> Shape:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def offsets_of(indices: Sequence[Sequence[int]], strides: Sequence[int]) -> Array:
    """The offsets of all elements with these indices along the axes."""
    found = np.zeros((), np.int64)
    for index, stride in zip(indices, strides, strict=True):
        found = found[..., None] + np.asarray(index, np.int64) * stride
    return found.reshape(-1)


def all_offsets(shape: Sequence[int], strides: Sequence[int]) -> Array:
    return offsets_of([range(n) for n in shape], strides)


def repeated(count: int, step: int, offsets: Array) -> Array:
    """The offsets ``count`` times, ``step`` apart."""
    return np.ascontiguousarray((np.arange(count)[:, None] * step + offsets).reshape(-1))


def one_stride(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """The one stride of several axes, when they have one."""
    found: int | None = None
    size = 1
    for n, stride in reversed(list(zip(shape, strides, strict=True))):
        if n == 1:
            continue
        if found is not None and stride != found * size:
            return None
        if found is None:
            found, size = stride, n
        else:
            size *= n
    return 1 if found is None else found


def with_runs(offsets: Array) -> Array:
    """The offsets, and how many neighbours follow in memory from each on."""
    last = np.append(np.flatnonzero(np.diff(offsets) != 1), offsets.size - 1)  # of each run
    places = np.arange(offsets.size)
    return np.stack([offsets, last[np.searchsorted(last, places)] - places + 1])
