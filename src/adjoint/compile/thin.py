"""Which convolutions take the narrow templates, and the kernels that do."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.compile.backends.cpu.target import host
from adjoint.compile.blocks import host_tile
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import buffer
from adjoint.compile.narrow import FEW, INNER, MOST, Few, Inner, few_shape, inner_shape
from adjoint.compile.spread import TURN, turn_text
from adjoint.compile.views import View
from adjoint.ir.node import Node
from adjoint.runtime.threads import get_num_threads

if TYPE_CHECKING:
    from adjoint.compile.frames import Grid, Source
    from adjoint.compile.windows import Windows

Array = np.ndarray[Any, np.dtype[Any]]

USE = 0.5  # of the lanes that must count, with more than ``ALWAYS`` rows
ALWAYS = 2
MUCH_USE = 1.0  # the same with more rows than ``few`` holds at once
SHORT = 24  # rows, or columns, up to which sums across lanes need less than packing
LINES, LONG = 4, 256  # rows of a product that are summed across lanes; more than 2 if long
JOB = 1 << 15  # multiply-adds of a job


def most_rows(conv: Windows) -> int:
    """Rows that ``few`` holds at once: no more than a panel of w is wide."""
    return min(MOST, host_tile(conv.dtype).rows)


def vectors(taps: Array, other: Array, width: int, lanes: int) -> Array | None:
    """The vectors of rows of ``width`` elements, whose offsets are ``taps`` in x and ``other``
    in the second array; None where elements of a row are not side by side in both."""
    rows = taps.reshape(-1, width), other.reshape(-1, width)
    if width > 1 and any((np.diff(r, axis=1) != 1).any() for r in rows):
        return None
    if all((np.diff(r.reshape(-1)) == 1).all() for r in rows):  # all in one piece
        rows = rows[0].reshape(1, -1), rows[1].reshape(1, -1)
    width = rows[0].shape[1]
    starts = np.arange(0, width, lanes)
    counts = np.minimum(width - starts, lanes)
    found = [
        rows[0][:, starts],
        rows[1][:, starts],
        np.broadcast_to(counts, (len(rows[0]), len(starts))),
    ]
    return np.ascontiguousarray(np.stack(found, -1).reshape(-1, 3))


def few_table(conv: Windows, source: Source, width: int, count: int) -> Array | None:
    """The vectors of an image, when few output channels read them; None: not for ``few``."""
    if count < min(width, 4) or (conv.height > most_rows(conv) and count < 2 * width):
        return None
    lanes = host_tile(conv.dtype).lanes
    table = vectors(source.places, np.arange(count), width, lanes)
    if table is None:
        return None
    need = 0.0 if conv.height <= ALWAYS else USE if conv.height <= most_rows(conv) else MUCH_USE
    return table if count >= need * len(table) * lanes else None


def few_kernel(
    conv: Windows, source: Source, panels: Place, table: Array, after: Kernel | None
) -> Kernel:
    """The kernel for w packed into ``panels``."""
    m, groups = conv.height, conv.conv.groups
    tile = host_tile(conv.dtype)
    exact = m <= most_rows(conv)
    rows = m if exact else 6 if tile.rows % 6 == 0 else tile.rows
    places, outs = prod(conv.out.shape[2:]), conv.out.shape[1]
    image, channel = source.view.strides[:2]
    offsets = np.arange(conv.channels)[:, None] * channel + source.taps
    offsets = np.ascontiguousarray(offsets.reshape(-1))
    k, items = offsets.size, conv.images * groups
    tiles = -(-len(table) // few_shape(host(), rows))
    parts = 1 if items >= get_num_threads() or after is not None else get_num_threads()
    parts = min(parts, max(tiles * m * k * tile.columns // JOB, 1))
    chunk = -(-tiles // parts)
    grid = -(-tiles // chunk)
    words = {
        "m": m, "k": k, "vectors": len(table), "groups": groups, "a_step": tile.rows,
        "a_group": -(-m // tile.rows) * tile.rows * k, "b_image": image,
        "b_group": conv.channels * channel, "c_image": outs * places, "c_group": m * places,
        "c_row": places, "rows": offsets.ctypes.data, "table": table.ctypes.data, "places": places,
        "grid": grid, "chunk": chunk,
    }  # fmt: skip
    assert grid == 1 or after is None, "one unit for each image, when another kernel follows"
    dtype = conv.dtype
    work = items * m * places * k
    return Kernel(
        f"conv {conv.name}, few", f"few {rows} {exact} {dtype.name}",
        lambda target: Few(target, dtype, rows, exact).text(), (panels, conv.place_of(source)),
        (Place(conv.out),), tuple(words.get(name, 0) for name in FEW), extent=items * grid,
        grain=max(1, JOB * items * grid // work), flops=2 * work, nbytes=conv.nbytes, after=after,
        after_word=3 if grid == 1 else -1, keeps=(offsets, table),
    )  # fmt: skip


Steps = tuple[int, int, int]


def across_kernel(a: View, b: View, out: Node, lead: tuple[Steps, Steps, Steps]) -> Kernel | None:
    """The kernel of a product whose result has few rows or one column, with vectors along k;
    None where packing is the better, or k is not contiguous."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    dtype, (batch, a_steps, b_steps) = out.dtype, lead
    if n == 1 and m > LINES:  # the transposed product, which lies in memory in the same way
        a, b, m, n, a_steps, b_steps = _turned(b), _turned(a), 1, m, b_steps, a_steps
    if m == 1 and b.strides[-1] == 1 and max(batch) == 1:
        return _row_kernel(a, b, out)
    steps = a.strides[-1], b.strides[-2]
    few = (m <= 2 and k >= 8) or (m <= LINES and k >= LONG)
    if not few or n < 2 or steps != (1, 1) or dtype.bits == 16 or host().bits < 256:
        return None
    if batch[0] * batch[1] > 1:
        return None
    lanes = host_tile(dtype).lanes
    starts = np.arange(0, k, lanes)
    table = np.stack([starts, starts, np.minimum(k - starts, lanes)], -1)
    # without a batch, columns are shared between threads when they lie one after the other
    pieces = get_num_threads() if batch[2] == 1 and m == 1 else 1
    while pieces > 1 and (n % pieces or n * k < pieces * JOB):
        pieces -= 1
    size = n // pieces
    columns = np.arange(size) * b.strides[-1]
    count = batch[2] * pieces
    words = {
        "images": 1, "m": m, "n": size, "vectors": len(table), "groups": 1, "down": 1,
        "a_row": a.strides[-2], "a_image": a_steps[2],
        "b_image": size * b.strides[-1] if pieces > 1 else b_steps[2],
        "columns": columns.ctypes.data, "table": table.ctypes.data,
    }  # fmt: skip
    names = (Place(v.node, v.offset * dtype.itemsize) for v in (a, b))
    return Kernel(
        f"dot {'x'.join(map(str, out.shape))} of {k} {dtype.name}", f"inner {m} {dtype.name}",
        lambda target: Inner(target, dtype, m).text(), tuple(names), (Place(out),),
        tuple(words.get(name, 0) for name in INNER), extent=count,
        grain=max(1, JOB // (m * size * k)), flops=2 * count * m * size * k,
        nbytes=dtype.itemsize * count * (m * size + k * (m + size)), keeps=(columns, table),
    )  # fmt: skip


def _row_kernel(a: View, b: View, out: Node) -> Kernel | None:
    """One row times a matrix whose rows are whole vectors."""
    (k, n), dtype = b.shape[-2:], out.dtype
    lanes = host_tile(dtype).lanes
    if n % lanes or dtype.bits == 16:
        return None
    starts = np.arange(0, n, lanes)
    table = np.stack([starts, starts, np.full_like(starts, lanes)], -1)
    rows = np.arange(k) * b.strides[-2]
    tiles = -(-len(table) // few_shape(host(), 1))
    parts = min(get_num_threads(), tiles, max(n * k // JOB, 1))
    chunk = -(-tiles // parts)
    words = {
        "m": 1, "k": k, "vectors": len(table), "groups": 1, "a_step": a.strides[-1],
        "rows": rows.ctypes.data, "table": table.ctypes.data, "places": n,
        "grid": -(-tiles // chunk), "chunk": chunk,
    }  # fmt: skip
    names = (Place(v.node, v.offset * dtype.itemsize) for v in (a, b))
    return Kernel(
        f"dot 1x{n} of {k} {dtype.name}", f"few 1 True {dtype.name}",
        lambda target: Few(target, dtype, 1).text(), tuple(names), (Place(out),),
        tuple(words.get(name, 0) for name in FEW), extent=words["grid"], flops=2 * n * k,
        nbytes=dtype.itemsize * (n + k + n * k), keeps=(rows, table),
    )  # fmt: skip


def _turned(view: View) -> View:
    """With the last two axes exchanged."""
    (*lead, m, n), (*steps, row, column) = view.shape, view.strides
    return view._replace(shape=(*lead, n, m), strides=(*steps, column, row))


def last_kernel(conv: Windows, source: Source, panels: Place, pieces: int) -> tuple[Kernel, Node]:
    """The kernel that makes ``pieces`` partial results of a kernel's gradient, with vectors along
    the channels of x, which come last in ``source``; and their buffer (pieces, outs, taps,
    channels)."""
    m, dtype, wide = conv.height, conv.dtype, conv.wide
    tile = host_tile(dtype)
    rows = 6 if tile.rows % 6 == 0 else tile.rows
    channels, images = conv.images, conv.channels // pieces
    step = source.view.strides[1]
    offsets = np.arange(images)[:, None] * step + source.taps
    offsets = np.ascontiguousarray(offsets.reshape(-1))
    starts = (source.places[:, None] + np.arange(0, channels, tile.lanes)).reshape(-1)
    columns = channels * source.places.size
    goals = np.arange(0, columns, tile.lanes)
    table = np.ascontiguousarray(np.stack([starts, goals, np.full_like(goals, tile.lanes)], -1))
    partial = buffer((pieces, m, columns), wide)
    k, tiles = offsets.size, -(-len(table) // few_shape(host(), rows))
    parts = min(1 if pieces >= get_num_threads() else 4 * get_num_threads(), tiles)
    chunk = -(-tiles // parts)
    grid = -(-tiles // chunk)
    words = {
        "m": m, "k": k, "vectors": len(table), "groups": pieces, "a_step": tile.rows,
        "a_group": -(-m // tile.rows) * tile.rows * k, "b_group": images * step,
        "c_group": m * columns, "c_row": columns, "rows": offsets.ctypes.data,
        "table": table.ctypes.data, "places": columns, "grid": grid, "chunk": chunk,
    }  # fmt: skip
    kernel = Kernel(
        f"conv {conv.name}, last", f"few {rows} last {dtype.name}",
        lambda target: Few(target, dtype, rows, False, wide).text(),
        (panels, conv.place_of(source)), (Place(partial),),
        tuple(words.get(name, 0) for name in FEW), extent=pieces * grid,
        flops=2 * pieces * m * columns * k, nbytes=conv.nbytes, keeps=(offsets, table),
    )  # fmt: skip
    return kernel, partial


def turned_back(conv: Windows, partial: Node) -> Kernel:
    """The kernel that adds up these partial results, channels first."""
    pieces, m, columns = partial.shape
    dtype, wide, lanes = conv.dtype, conv.wide, host_tile(conv.dtype).lanes
    taps = columns // conv.images
    table = np.arange(m)[:, None] * columns + np.arange(taps) * conv.images
    table = np.ascontiguousarray(table.reshape(-1))
    words = {
        "count": pieces, "size": m * columns, "channels": conv.images, "total": m * taps,
        "table": table.ctypes.data,
    }  # fmt: skip
    size = m * columns
    return Kernel(
        f"add {pieces} parts of {'x'.join(map(str, conv.out.shape))}", f"turn {dtype.name}",
        lambda target: turn_text(target, dtype, wide), (Place(partial),), (Place(conv.out),),
        tuple(words[name] for name in TURN), extent=conv.images // lanes, flops=pieces * size,
        nbytes=(pieces + 1) * size * wide.itemsize, keeps=(table,),
    )  # fmt: skip


def is_last(conv: Windows, grid: Grid) -> bool:
    """Whether a gradient of a kernel is made with vectors along the channels of x."""
    lanes = host_tile(conv.dtype).lanes
    taps, places = prod(map(len, grid.taps)), prod(map(len, grid.places))
    fits = grid.steps[-1] <= 2 and conv.x.strides[-1] == 1 and conv.conv.groups == 1
    fits = fits and conv.images % lanes == 0 and conv.height * places >= lanes
    return fits and taps > places and conv.height > most_rows(conv) and host().bits >= 256


def inner_table(conv: Windows, source: Source, width: int) -> Array | None:
    """The vectors of the taps, when they are many, rows or columns few; None: not for ``inner``."""
    if host().bits < 256:  # masked loads would be made one by one
        return None
    columns = conv.images * source.places.size
    if min(conv.height, columns) > SHORT + 8 or conv.height * columns > 1 << 14:
        return None
    if (conv.height > SHORT and columns > SHORT + 8) or source.taps.size <= 4 * source.places.size:
        return None
    lanes = host_tile(conv.dtype).lanes
    shape, strides = conv.w.shape[2:], conv.w.strides[2:]
    offsets = np.zeros((), np.int64)
    for n, stride in zip(shape, strides, strict=True):
        offsets = offsets[..., None] + np.arange(n) * stride
    table = vectors(source.taps, offsets.reshape(-1), width, lanes)
    if table is None or source.taps.size < (USE + 0.2) * len(table) * lanes:
        return None
    return table


def inner_kernel(conv: Windows, source: Source, table: Array, pieces: int) -> tuple[Kernel, Any]:
    """The kernel that makes ``pieces`` partial results, and their buffer."""
    m, groups, dtype = conv.height, conv.conv.groups, conv.dtype
    image, channel = source.view.strides[:2]
    columns = (np.arange(conv.images)[:, None] * image + source.places).reshape(-1)
    columns = np.ascontiguousarray(columns)
    partial = buffer((pieces, conv.out.shape[1], columns.size), conv.wide)
    down = -(-m // inner_shape(host(), m)[0])
    w = conv.w
    words = {
        "images": conv.channels // pieces, "m": m, "n": columns.size, "vectors": len(table),
        "groups": groups, "down": down, "a_row": w.strides[0], "a_image": w.strides[1],
        "a_group": m * w.strides[0], "b_image": channel, "b_group": conv.channels * channel,
        "columns": columns.ctypes.data, "table": table.ctypes.data,
    }  # fmt: skip
    work = groups * m * columns.size * conv.channels * source.taps.size
    jobs = pieces * groups * down
    shape = inner_shape(host(), m)
    kernel = Kernel(
        f"conv {conv.name}, inner", f"inner {shape[0]} {dtype.name}",
        lambda target: Inner(target, dtype, m).text(),
        (Place(w.node, w.offset * dtype.itemsize), conv.place_of(source)), (Place(partial),),
        tuple(words[name] for name in INNER), extent=jobs, grain=max(1, JOB * jobs // work),
        flops=2 * work, nbytes=conv.nbytes, keeps=(columns, table),
    )  # fmt: skip
    return kernel, partial
