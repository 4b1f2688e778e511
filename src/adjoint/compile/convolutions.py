"""Eager convolutions on the compiled template: the tables, and the shape of the result."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from adjoint.compile.products import countable, run_product
from adjoint.compile.windows import Windows

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

# What it costs to pack an element as part of a vector and alone, in multiply-adds.
TOGETHER, ALONE = 4, 32
NARROW = 128  # with fewer places than this, all images are one product


def conv(x: Array, w: Array, stride: Shape, dilation: Shape, groups: int, places: Shape) -> Array:
    """out[n, o, p] = sum_{c, k} w[o, c, k] * x[n, c, p * stride + k * dilation] per group.

    x is padded already, its rows are contiguous. The result may be a view with strides.
    """
    x, size = countable(x), x.itemsize
    n, outs, channels, taps = x.shape[0], w.shape[0], w.shape[1], w.shape[2:]
    height = outs // groups
    image, channel, *spatial = (step // size for step in x.strides)
    pitch = x.shape[-1]
    row_taps, row_steps, tap_pitch = _runs(
        taps, dilation, pitch, height if prod(taps) > prod(places) else 0
    )
    columns, column_steps, pitch = _runs(places, stride, pitch, height)
    in_one = prod(columns) < NARROW and n > 1
    lead = (n,) if in_one else ()
    rows = _table((channels, *row_taps), (channel, *_scaled(spatial, row_steps)))
    table = _table((*lead, *columns), (*(image,) * in_one, *_scaled(spatial, column_steps)))
    if tap_pitch:
        w = _spread(w, row_taps, tap_pitch)
    w = np.ascontiguousarray(w)
    count = prod(columns)
    k, total = channels * prod(row_taps), count * (n if in_one else 1)
    out = np.empty((outs, n, count) if in_one else (n, outs, count), x.dtype)
    starts = [array.__array_interface__["data"][0] for array in (w, x, out, rows, table)]
    for group in range(groups):
        first = group * height
        run_product(
            Windows, size, 1 if in_one else n, height, total, k, starts[0] + first * k * size,
            starts[1] + group * channels * channel * size, starts[2] + first * total * size, k, 1,
            starts[3], starts[4], total, 1, 0, image, outs * total,
        )  # fmt: skip
    if in_one:
        out = out.transpose(1, 0, 2)
    return _by_rows(out, places, pitch)


def _runs(sizes: Shape, steps: Shape, pitch: int, height: int) -> tuple[Shape, Shape, int]:
    """The axes ``sizes``, the last two as one where it pays to read rows whole, past the part of
    them that is wanted; and the length of a row then, else 0.

    Each element is used ``height`` times: with many uses, few elements matter more than vectors.
    """
    rank = len(sizes)  # named, for the type checker's sake
    if rank < 2 or height == 0 or steps[-2:] != (1, 1):
        return sizes, steps, 0
    run = (sizes[-2] - 1) * pitch + sizes[-1]
    if run * (height + TOGETHER) > sizes[-2] * sizes[-1] * (height + ALONE):
        return sizes, steps, 0
    return (*sizes[:-2], run), (*steps[:-2], 1), pitch


def _scaled(spatial: list[int], steps: Shape) -> Shape:
    """Strides of x times steps; where the last two axes are one, it has the stride of the last."""
    strides = spatial if len(steps) == len(spatial) else [*spatial[:-2], spatial[-1]]
    return tuple(a * b for a, b in zip(strides, steps, strict=True))


@lru_cache(256)
def _table(sizes: Shape, steps: Shape) -> Array:
    """Offsets of all elements of an array with these strides, and the length of the run of
    neighbours that starts at each."""
    offsets = np.zeros((), np.int64)
    for size, step in zip(sizes, steps, strict=True):
        offsets = offsets[..., None] + np.arange(size) * step
    flat = offsets.reshape(-1)
    last = np.append(np.flatnonzero(np.diff(flat) != 1), len(flat) - 1)  # of each run
    places = np.arange(len(flat))
    runs = last[np.searchsorted(last, places)] - places + 1
    return np.stack([flat, runs])


def _spread(w: Array, runs: Shape, pitch: int) -> Array:
    """The kernel with rows ``pitch`` apart and zeros in between."""
    out = np.zeros((*w.shape[:2], *runs), w.dtype)
    _by_rows(out.reshape(*w.shape[:2], -1), w.shape[2:], pitch)[...] = w
    return out


def _by_rows(flat: Array, sizes: Shape, pitch: int) -> Array:
    """``flat``, whose last axis holds runs, with the axes ``sizes`` again, as a view."""
    lead, step = flat.shape[:-1], flat.itemsize
    if not pitch:
        return flat.reshape(*lead, *sizes)
    rows = flat.reshape(*lead, *sizes[:-2], (sizes[-2] - 1) * pitch + sizes[-1])
    return as_strided(rows, (*lead, *sizes), (*rows.strides[:-1], pitch * step, step))
