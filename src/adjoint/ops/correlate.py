"""The NumPy meaning of ``conv``: matrix products, with as little copying as the sizes allow.

NumPy has no convolution of several channels. Each call takes one of five ways:

- gather: copy the windows of the input into a matrix, then one product per image;
- gather for wide kernels: the same with the places in the kernel as the long axis (in a weight
  gradient the kernel is as large as the image, and the output is small);
- scatter: one product per image, then add shifted pieces of it; moves less when there are more
  input than output channels, or when the input is spread by zeros;
- mixed: gather along the first axes, scatter along the last;
- tap by tap: for depthwise kernels, where a product of matrices has nothing to share.

Work is done a few images at a time, so that windows and products stay in the cache, and is shared
between threads. Where the stride is 1, whole rows of the image are copied as one run, past the
right edge of the output; what that computes too much is dropped by the strides of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from adjoint.runtime.device import CPU
from adjoint.runtime.threads import share

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

BUFFER = 1 << 22  # bytes of windows or products made at a time
WASTE = 1.5  # a row may be this many times longer than the part of it that is wanted
NARROW = 64  # matrices with fewer columns than this are set side by side, image by image
LARGE = 1 << 20  # multiply-adds from which a compiled kernel is faster
matmul: Callable[..., Any] = np.matmul  # named here, so that a test can count multiplications


def correlate(
    x: Array, w: Array, stride: Shape, padding: Pads, dilation: Shape, inner: Shape, groups: int
) -> Array:
    """out[n, o, p] = sum_{c, k} w[o, c, k] * xpad[n, c, p * stride + k * dilation] per group.

    A cross-correlation: the kernel is not flipped. ``inner`` spreads the input with zeros.
    16-bit floats are summed in float32.
    """
    dtype = x.dtype
    if dtype.itemsize == 2 and dtype.kind not in "iu":
        x, w = x.astype(np.float32), w.astype(np.float32)
    sizes = tuple(
        max(spread(n, i) + lo + hi, 0)
        for n, i, (lo, hi) in zip(x.shape[2:], inner, padding, strict=True)
    )
    places = tuple(
        max((n - (k - 1) * d - 1) // s + 1, 0)
        for n, k, d, s in zip(sizes, w.shape[2:], dilation, stride, strict=True)
    )
    if 0 in (*x.shape, *w.shape, *places):
        return np.zeros((x.shape[0], w.shape[0], *places), dtype)
    work = x.shape[0] * prod(w.shape) * prod(places)
    fast = CPU.kernels.get("conv") if work >= LARGE else None
    if fast is not None and x.dtype.char in "fd":
        out = fast(x, w, stride, padding, dilation, inner, groups, places)
        if out is not None:
            return out.astype(dtype, copy=False)
    way = _cheapest(x, w, stride, padding, dilation, inner, groups, places)
    if way is _scatter or way is _mixed:
        out = way(x, w, padding, dilation, inner, groups, places)
    else:
        out = way(_prepare(x, padding, inner, sizes), w, stride, dilation, groups, places)
    return out.astype(dtype, copy=False)


def _cheapest(
    x: Array, w: Array, stride: Shape, padding: Pads, dilation: Shape, inner: Shape, groups: int,
    places: Shape,
) -> Callable[..., Array]:  # fmt: skip
    """The way that moves the fewest elements: one gathered is written and read, one scattered is
    written, read, and read and written again where it is added."""
    channels, outs, taps = w.shape[1] * groups, w.shape[0], prod(w.shape[2:])
    rank, width = len(stride), x.shape[-1]
    gathered = 2 * channels * taps * prod(places)
    cost: dict[Callable[..., Array], float] = {_gather: gathered}
    if stride == (1,) * rank:
        _, _, pitch = _canvas(width, w.shape[-1], padding[-1], dilation[-1], 1, places[-1])
        by_rows = rank > 1 and inner == stride and pitch <= WASTE * width
        cost[_scatter] = 4 * outs * taps * prod(x.shape[2:-1]) * (pitch if by_rows else width)
        if by_rows:
            last, run = w.shape[-1], prod(places[:-1]) * pitch
            copied, added = 2 * channels * taps // last, 4 * outs * last
            cost[_mixed] = 1.25 * run * (copied + added)  # it also pads
    best = min(cost, key=lambda way: cost[way])
    if best is not _gather:
        return best
    if taps > prod(places):
        return _gather_wide
    return _tap_by_tap if w.shape[1] == 1 < groups else _gather


def _canvas(n: int, k: int, pad: tuple[int, int], d: int, inner: int, places: int) -> Shape:
    """Along one axis of all shifts of an input: where the shift by nothing begins, where the
    output begins, and how much room all need."""
    reach = (k - 1) * d
    start = reach - pad[0]
    before = max(-start, 0)
    return before, before + start, before + max(spread(n, inner) + reach, start + places)


def spread(n: int, step: int) -> int:
    """The extent of ``n`` elements ``step`` apart."""
    return (n - 1) * step + 1 if n else 0


def _prepare(x: Array, padding: Pads, inner: Shape, sizes: Shape) -> Array:
    """``x`` with its spatial axes spread, padded and cropped to ``sizes``; rows contiguous."""
    if all(i == 1 for i in inner) and all(p == (0, 0) for p in padding):
        is_row_major = x.strides[-1] == x.itemsize
        if x.ndim > 3:
            is_row_major = is_row_major and x.strides[-2] == x.itemsize * x.shape[-1]
        return x if is_row_major else np.ascontiguousarray(x)
    out = np.zeros((*x.shape[:2], *sizes), x.dtype)
    source: list[slice] = []
    target: list[slice] = []
    for n, i, size, (lo, _) in zip(x.shape[2:], inner, sizes, padding, strict=True):
        first = (i - 1 - lo) // i if lo < 0 else 0  # the first element that is not cropped away
        start = lo + first * i
        count = max(min(n - first, (size - start + i - 1) // i), 0)
        source.append(slice(first, first + count))
        target.append(slice(start, start + (count - 1) * i + 1, i) if count else slice(0, 0))
    out[(slice(None), slice(None), *target)] = x[(slice(None), slice(None), *source)]
    return out


def _windows(
    x: Array, lead: tuple[int, ...], shape: Shape, step: Shape, run: Shape, pace: Shape
) -> tuple[Array, int]:
    """A view of ``x`` with axes ``lead``, then ``shape`` taken by ``step``, then ``run`` by
    ``pace``. The last two axes of ``run`` become one where rows are copied whole; the length of
    a row is returned with the view, else 0."""
    spatial = x.strides[x.ndim - len(shape) :]
    strides = [b * s for b, s in zip(spatial, step, strict=True)]
    paces = [b * s for b, s in zip(spatial, pace, strict=True)]
    pitch, rank = x.shape[-1], len(run)
    merged = rank > 1 and pace[-2:] == (1, 1) and pitch <= WASTE * run[-1]
    if merged:
        run = (*run[:-2], (run[-2] - 1) * pitch + run[-1])
        paces = [*paces[:-2], x.itemsize]
    sizes = tuple(x.shape[a] for a in lead)
    view = as_strided(
        x, (*sizes, *shape, *run), (*(x.strides[a] for a in lead), *strides, *paces),
        writeable=False,
    )  # fmt: skip
    return view, pitch if merged else 0


def _by_rows(flat: Array, lead: Shape, run: Shape, pitch: int) -> Array:
    """``flat``, whose last axis holds runs, with the axes ``run`` again."""
    if not pitch:
        return flat.reshape(*lead, *run)
    length = (run[-2] - 1) * pitch + run[-1]
    rows = flat.reshape(*lead, *run[:-2], length)
    step = flat.itemsize
    return as_strided(rows, (*lead, *run), (*rows.strides[:-1], pitch * step, step))


def _images(nbytes: int) -> int:
    """How many images of ``nbytes`` of windows fit into the buffer."""
    return max(BUFFER // max(nbytes, 1), 1)


def _gather(
    x: Array, w: Array, stride: Shape, dilation: Shape, groups: int, places: Shape
) -> Array:
    """Windows as columns: kernel (outs, channels * taps) @ windows (channels * taps, places)."""
    n, outs, shape = x.shape[0], w.shape[0], w.shape[1:]
    rows, size = prod(shape), outs // groups
    x = x.reshape(n, groups, shape[0], *x.shape[2:])
    windows, pitch = _windows(x, (0, 1, 2), shape[1:], dilation, places, stride)
    columns = prod(windows.shape[2 + len(shape) :])
    kernel = np.ascontiguousarray(w).reshape(groups, size, rows)
    flat = np.empty((n, groups, size, columns), x.dtype)
    is_matrix = rows == shape[0] and windows.flags.c_contiguous  # 1 x 1: nothing to copy
    nbytes = groups * rows * columns * x.itemsize
    side_by_side = columns < NARROW and n > 1
    axis = 1 + len(shape) if side_by_side else 0

    def work(begin: int, end: int) -> None:
        step = end - begin if is_matrix else _images(nbytes)
        for first in range(begin, end, step):
            count = min(step, end - first)
            part = np.moveaxis(windows[first : first + count], 0, axis)
            part = np.ascontiguousarray(part)
            target = flat[first : first + count]
            if side_by_side:
                found = matmul(kernel, part.reshape(groups, rows, count * columns))
                target[...] = np.moveaxis(found.reshape(groups, size, count, columns), 2, 0)
            else:
                matmul(kernel, part.reshape(count, groups, rows, columns), out=target)

    share(n, n * nbytes, work)
    return _by_rows(flat, (n, outs), places, pitch)


def _gather_wide(
    x: Array, w: Array, stride: Shape, dilation: Shape, groups: int, places: Shape
) -> Array:
    """Windows as rows: windows (images * places, channels * taps) @ kernel (channels * taps, outs).

    The sum is over the channels too, so they are taken a few at a time and added up.
    """
    n, outs, channels, run = x.shape[0], w.shape[0], w.shape[1], w.shape[2:]
    size, rows = outs // groups, n * prod(places)
    x = x.reshape(n, groups, channels, *x.shape[2:])
    windows, pitch = _windows(x, (2, 1, 0), places, stride, run, dilation)
    columns = prod(windows.shape[3 + len(places) :])
    kernel = np.zeros((channels, groups, size, columns), x.dtype)
    target = _by_rows(kernel, (channels, groups, size), run, pitch)
    target[...] = np.moveaxis(w.reshape(groups, size, channels, *run), 2, 0)
    nbytes = groups * rows * columns * x.itemsize
    end_to_end = columns < NARROW and channels > 1
    axis = 2 + len(places) if end_to_end else 0
    sums: dict[int, Array] = {}

    def work(begin: int, end: int) -> None:
        out = np.zeros((groups, rows, size), x.dtype)
        step = _images(nbytes)
        for first in range(begin, end, step):
            count = min(step, end - first)
            part = np.moveaxis(windows[first : first + count], 0, axis)
            part = np.ascontiguousarray(part)
            piece = kernel[first : first + count]
            if end_to_end:
                long = np.moveaxis(piece, 0, 2).reshape(groups, size, count * columns)
                found = matmul(part.reshape(groups, rows, -1), long.transpose(0, 2, 1))
                out += found
            else:
                part = part.reshape(count, groups, rows, columns)
                out += np.add.reduce(matmul(part, piece.transpose(0, 1, 3, 2)), axis=0)
        sums[begin] = out

    share(channels, channels * nbytes, work)
    first, *rest = (sums[k] for k in sorted(sums))  # in one order, whoever finished first
    out = sum(rest, first).reshape(groups, n, *places, size)
    return np.moveaxis(np.moveaxis(out, -1, 1).reshape(outs, n, *places), 1, 0)


def _tap_by_tap(
    x: Array, w: Array, stride: Shape, dilation: Shape, groups: int, places: Shape
) -> Array:
    """One input channel per group: add up shifted images, each times one number per output."""
    n, size, taps = x.shape[0], w.shape[0] // groups, w.shape[2:]
    x = x.reshape(n, groups, 1, *x.shape[2:])
    windows, pitch = _windows(x, (0, 1, 2), taps, dilation, places, stride)
    run = windows.shape[3 + len(taps) :]
    kernel = w.reshape(groups, size, *taps, *(1,) * len(run))
    out = np.zeros((n, groups, size, *run), x.dtype)
    nbytes = groups * size * prod(run) * x.itemsize
    step = _images(8 * nbytes)

    def work(begin: int, end: int) -> None:
        for first in range(begin, end, step):
            last = min(first + step, end)
            for tap in np.ndindex(*taps):
                shifted = windows[(slice(first, last), slice(None), slice(None), *tap)]
                out[first:last] += shifted * kernel[(slice(None), slice(None), *tap)]

    share(n, n * nbytes * prod(taps), work)
    return _by_rows(out, (n, w.shape[0]), places, pitch)


def _scatter(
    x: Array, w: Array, padding: Pads, dilation: Shape, inner: Shape, groups: int, places: Shape
) -> Array:
    """out[q * inner + lo - k * dilation] += w[k] x[q]: the zeros of spreading and padding are
    never multiplied. The sum is built on a canvas that has room for every shift, then cut out."""
    n, outs, channels, taps = x.shape[0], w.shape[0], w.shape[1], w.shape[2:]
    sizes, count, size = x.shape[2:], prod(taps), outs // groups
    axes = zip(sizes, taps, padding, dilation, inner, places, strict=True)
    before, start, canvas_sizes = zip(*(_canvas(*axis) for axis in axes), strict=True)
    canvas = np.zeros((n, groups, size, *canvas_sizes), x.dtype)
    pitch = canvas_sizes[-1]
    by_rows = len(sizes) > 1 and inner[-2:] == (1, 1) and pitch <= WASTE * sizes[-1]
    x = x.reshape(n, groups, channels, *sizes)
    kernel = np.moveaxis(w.reshape(groups, size, channels, count), 3, 1)
    kernel = np.ascontiguousarray(kernel).reshape(groups, count * size, channels)
    nbytes = groups * count * size * prod(sizes) * x.itemsize
    shifts = _shifts(taps, sizes, dilation, inner, before, pitch if by_rows else 0)
    flat = canvas
    if by_rows:
        flat = canvas.reshape(*canvas.shape[:-2], canvas_sizes[-2] * pitch)

    def work(begin: int, end: int) -> None:
        step = _images(nbytes)
        for first in range(begin, end, step):
            part = x[first : min(first + step, end)]
            if by_rows:
                part = _as_rows(part, pitch)
            product = _products(kernel, part.reshape(*part.shape[:3], -1))
            product = product.reshape(len(part), groups, count, size, *part.shape[3:])
            target = flat[first : first + len(part)]
            for tap, window in enumerate(shifts):
                target[window] += product[:, :, tap]

    share(n, n * nbytes, work)
    cut = (slice(s, s + p) for s, p in zip(start, places, strict=True))
    canvas = canvas.reshape(n, outs, *canvas_sizes)
    return canvas[(slice(None), slice(None), *cut)]


def _mixed(
    x: Array, w: Array, padding: Pads, dilation: Shape, inner: Shape, groups: int, places: Shape
) -> Array:
    """Gather along all axes but the last, scatter along that one: of 5 x 5 taps, 5 are copied
    and 5 are added. For stride 1 and an input that is not spread."""
    n, outs, channels, taps = x.shape[0], w.shape[0], w.shape[1], w.shape[2:]
    size, count, width = outs // groups, taps[-1], x.shape[-1]
    before, start, pitch = _canvas(width, count, padding[-1], dilation[-1], 1, places[-1])
    pads = (*padding[:-1], (0, pitch - width))
    high = (m + lo + hi for m, (lo, hi) in zip(x.shape[2:], pads, strict=True))
    x = _prepare(x, pads, inner, tuple(high))
    run, one = (*places[:-1], width), (1,) * len(taps)
    windows, _ = _windows(
        x.reshape(n, groups, channels, *x.shape[2:]), (0, 1, 2), (*taps[:-1], 1), dilation, run, one
    )
    rows, long = channels * prod(taps[:-1]), windows.shape[3 + len(taps) :]
    columns = prod(long)
    kernel = np.moveaxis(w.reshape(groups, size, channels, *taps), -1, 1)
    kernel = np.ascontiguousarray(kernel).reshape(groups, count * size, rows)
    canvas = np.zeros((n, groups, size, *places[:-2], places[-2] * pitch), x.dtype)
    nbytes = groups * (rows + count * size) * columns * x.itemsize

    def work(begin: int, end: int) -> None:
        step = _images(nbytes)
        for first in range(begin, end, step):
            part = np.ascontiguousarray(windows[first : min(first + step, end)])
            product = _products(kernel, part.reshape(len(part), groups, rows, columns))
            product = product.reshape(len(part), groups, count, size, *long)
            target = canvas[first : first + len(part)]
            for tap in range(count):
                shift = before + (count - 1 - tap) * dilation[-1]
                target[..., shift : shift + long[-1]] += product[:, :, tap]

    share(n, n * nbytes, work)
    canvas = canvas.reshape(n, outs, *places[:-1], pitch)
    return canvas[..., start : start + places[-1]]


def _as_rows(x: Array, pitch: int) -> Array:
    """``x`` with rows of ``pitch``, filled up with zeros, as one run over the last two axes."""
    rows = np.zeros((*x.shape[:-1], pitch), x.dtype)
    rows[..., : x.shape[-1]] = x
    length = (x.shape[-2] - 1) * pitch + x.shape[-1]
    return rows.reshape(*x.shape[:-2], x.shape[-2] * pitch)[..., :length]


def _products(kernel: Array, x: Array) -> Array:
    """kernel @ x per image; narrow images are set side by side."""
    n, groups, channels, columns = x.shape
    if columns >= NARROW or n == 1:
        return matmul(kernel, x)
    side_by_side = np.ascontiguousarray(np.moveaxis(x, 0, 2)).reshape(groups, channels, n * columns)
    found = matmul(kernel, side_by_side)
    return np.moveaxis(found.reshape(groups, -1, n, columns), 2, 0)


def _shifts(
    taps: Shape, sizes: Shape, dilation: Shape, inner: Shape, before: Shape, pitch: int
) -> list[Any]:
    """For every tap k, the place before + (taps - 1 - k) * dilation + q * inner of all q; with a
    ``pitch``, rows are runs and the last two axes are one."""
    if pitch:
        sizes = (*sizes[:-2], (sizes[-2] - 1) * pitch + sizes[-1])
    found: list[Any] = []
    for tap in np.ndindex(*taps):
        first = [
            b + (k - 1 - t) * d for b, k, t, d in zip(before, taps, tap, dilation, strict=True)
        ]
        if pitch:
            first = [*first[:-2], first[-2] * pitch + first[-1]]
        places = zip(first, sizes, inner, strict=False)
        window = (slice(f, f + spread(m, i), i) for f, m, i in places)
        found.append((..., *window))
    return found
