"""Eager matrix products: which go to the compiled template, in what blocks, on which threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_void_p
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adjoint.compile.backends.cpu.link import address
from adjoint.compile.backends.cpu.target import host
from adjoint.compile.gemm import Record, Tile, module_text, scratch_size, tile_for
from adjoint.runtime.threads import get_num_threads, share

Array = np.ndarray[Any, np.dtype[Any]]

DEPTH = 192  # steps of k at a time: a panel of b stays in the first-level cache
HEIGHT = 240  # rows of a at a time: they stay in the second-level cache
WIDEST = 2048  # columns of b at a time
NARROWEST = 8  # rows and columns; below, most of a tile would be thrown away
WORK = 8  # multiply-adds that weigh as much as one byte moved, when threads are shared out


class Kernel(NamedTuple):
    """The compiled product of one element type."""

    call: Callable[[Any, int], None]
    tile: Tile


def dot(a: Array, b: Array) -> Array:
    """a @ b, batch by batch, for operands of equal batch shape; NumPy's where it is the better."""
    is_ours = a.dtype == b.dtype and a.dtype.char in "fd"
    if not is_ours or min(a.shape[-2], b.shape[-1]) < NARROWEST or 0 in (*a.shape, *b.shape):
        return np.matmul(a, b)
    return product(a, b)


def product(a: Array, b: Array) -> Array:
    """a @ b of floats by the compiled template, whatever the size."""
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    out = np.empty((*a.shape[:-1], n), a.dtype)
    if a.ndim > 3:
        a, b = a.reshape(-1, m, k), b.reshape(-1, k, n)
    a, b = countable(a), countable(b)
    kernel = compiled(a.itemsize * 8)
    tile = kernel.tile
    batch = len(a) if a.ndim == 3 else 1
    rows, columns = blocks(m, n, batch, tile)
    down, across = -(-m // rows), -(-n // columns)
    depth = -(-k // -(-k // DEPTH))
    a_steps, b_steps = steps(a), steps(b)
    jobs = batch * down * across
    record = Record(
        a.ctypes.data, b.ctypes.data, out.ctypes.data, m, n, k, *a_steps[1:], *b_steps[1:], n, 1,
        a_steps[0], b_steps[0], m * n, rows, columns, across, down * across, jobs, depth, HEIGHT,
        0,
    )  # fmt: skip
    size = scratch_size(tile, columns, depth, min(rows, HEIGHT)) * a.itemsize

    def work(first: int, last: int) -> None:  # the record's counter says which job is next
        kernel.call(record, scratch(size))

    share(jobs, batch * m * n * k // WORK, work)
    return out


def blocks(m: int, n: int, batch: int, tile: Tile) -> tuple[int, int]:
    """Rows and columns of a job: enough jobs for all threads, with little packed twice."""
    wanted = max(get_num_threads() // batch, 1)
    best = (m, n)
    least = None
    for down in range(1, wanted + 1):
        across = -(-wanted // down)
        rows, columns = part(m, down, tile.rows), part(n, across, tile.columns)
        columns = min(columns, WIDEST)
        longest = rows * columns * -(-(-(-m // rows) * -(-n // columns)) // wanted)
        cost = (longest, -(-m // rows) * n + -(-n // columns) * m)
        if least is None or cost < least:
            best, least = (rows, columns), cost
    return best


def part(size: int, count: int, unit: int) -> int:
    """The length of each of ``count`` parts of ``size``, in whole units."""
    return -(-size // (count * unit)) * unit


def countable(array: Array) -> Array:
    """The array itself, or a copy when its elements are not whole elements apart."""
    size = array.itemsize
    fits = array.flags.aligned and all(s % size == 0 for s in array.strides)
    return array if fits else np.ascontiguousarray(array)


def steps(array: Array) -> tuple[int, int, int]:
    """Strides of batch, rows and columns, in elements."""
    size = array.itemsize
    *batch, row, column = array.strides
    return (batch[0] // size if batch else 0, row // size, column // size)


@cache
def compiled(bits: int) -> Kernel:
    """The product of floats with ``bits``, compiled or from the cache on disk."""
    target = host()
    start = address(module_text(target, bits), "gemm")
    return Kernel(CFUNCTYPE(None, c_void_p, c_void_p)(start), tile_for(target, bits))


class _Scratch(threading.local):
    """Memory for panels; each thread has its own and keeps it."""

    held: Array | None = None
    start: int = 0


_SCRATCH = _Scratch()


def scratch(nbytes: int) -> int:
    """The address of this thread's scratch memory: ``nbytes`` at least, at the start of a page."""
    held = _SCRATCH.held
    if held is None or held.nbytes < nbytes + 4096:
        held = _SCRATCH.held = np.empty(nbytes + 4096, np.uint8)
        _SCRATCH.start = -(-held.ctypes.data // 4096) * 4096
    return _SCRATCH.start
