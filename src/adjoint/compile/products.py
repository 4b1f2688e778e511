"""Eager matrix products: which go to the compiled template, in what blocks, on which threads."""

from __future__ import annotations

from ctypes import addressof, create_string_buffer
from functools import cache, lru_cache
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from adjoint.compile.backends.cpu import pool
from adjoint.compile.backends.cpu.link import address
from adjoint.compile.backends.cpu.target import host
from adjoint.compile.gemm import RECORD_FORMAT, Template, Tile, module_text, scratch_size, tile_for
from adjoint.runtime.threads import get_num_threads

Array = np.ndarray[Any, np.dtype[Any]]

DEPTH = 384  # steps of k at a time: a panel of b and one of a stay near the first-level cache
HEIGHT = 120  # rows of a at a time: they stay in the second-level cache
WIDEST = 2048  # columns of b at a time
NARROWEST = 8  # rows and columns; below, most of a tile would be thrown away
GRAIN = 1 << 18  # multiply-adds that a thread should have at least


PACK, PACK_SIZE = Struct(RECORD_FORMAT).pack_into, Struct(RECORD_FORMAT).size


class Kernel(NamedTuple):
    """The compiled product of one element type."""

    start: int
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
    if not (a.flags.c_contiguous and b.flags.c_contiguous):
        a, b = countable(a), countable(b)
    size = a.itemsize
    a_start, a_batch, a_row, a_column = layout(a, size)
    b_start, b_batch, b_row, b_column = layout(b, size)
    batch = len(a) if a.ndim == 3 else 1
    run_product(
        Template, size, batch, m, n, k, a_start, b_start, out.__array_interface__["data"][0],
        a_row, a_column, b_row, b_column, n, 1, a_batch, b_batch, m * n,
    )  # fmt: skip
    return out


def run_product(
    kind: type[Template], size: int, batch: int, m: int, n: int, k: int, *layout: int
) -> None:
    """``batch`` products of ``kind`` and elements of ``size`` bytes; ``layout``: the record from
    the addresses on, up to the strides of the batch."""
    a, b, c, *steps = layout
    plan = plan_for(kind, size * 8, batch, m, n, k, get_num_threads())
    space = FREE.pop() if FREE else Workspace()  # one list step: safe between threads
    memory = space.reserve(plan.parts * plan.size * size)
    PACK(space.record, 0, a, b, c, m, n, k, *steps, *plan.blocks, memory, plan.size, 0)
    pool.run(plan.start, space.address, plan.parts)
    FREE.append(space)


def countable(array: Array) -> Array:
    """The array itself, or a copy when its elements are not whole elements apart."""
    size = array.itemsize
    odd = array.__array_interface__["data"][0]
    for step in array.strides:
        odd |= step
    return array if odd & (size - 1) == 0 else np.ascontiguousarray(array)


def layout(array: Array, size: int) -> tuple[int, int, int, int]:
    """Address, and strides of batch, rows and columns in elements."""
    *batch, row, column = array.strides
    start = array.__array_interface__["data"][0]
    return start, batch[0] // size if batch else 0, row // size, column // size


class Workspace:
    """The record of one call, and memory for panels; taken for a call and kept for the next."""

    def __init__(self) -> None:
        self.record = create_string_buffer(PACK_SIZE)
        self.address = addressof(self.record)
        self.memory = np.empty(0, np.uint8)
        self.start = 0

    def reserve(self, nbytes: int) -> int:
        """The address of ``nbytes`` at least, at the start of a page."""
        if self.memory.size < nbytes + 4096:
            self.memory = np.empty(nbytes + 4096, np.uint8)
            self.start = -(-self.memory.__array_interface__["data"][0] // 4096) * 4096
        return self.start


FREE: list[Workspace] = []


class Plan(NamedTuple):
    """How one product is done: the kernel's address, threads, scratch memory of each, blocks."""

    start: int
    parts: int
    size: int
    blocks: tuple[int, ...]


@lru_cache(4096)
def plan_for(
    kind: type[Template], bits: int, batch: int, m: int, n: int, k: int, threads: int
) -> Plan:
    """The plan for ``batch`` products of m by k with k by n."""
    start, tile = compiled(kind, bits)
    # a batch that goes up evenly, or nearly, needs no smaller jobs
    wanted = 1 if batch % threads == 0 or batch >= 4 * threads else threads
    rows, columns = blocks(m, n, wanted, tile)
    down, across = -(-m // rows), -(-n // columns)
    depth = -(-k // -(-k // DEPTH))
    jobs = batch * down * across
    parts = min(threads, jobs, max(batch * m * n * k // GRAIN, 1))
    size = scratch_size(tile, columns, depth, min(rows, HEIGHT))
    return Plan(start, parts, size, (rows, columns, across, down * across, jobs, depth, HEIGHT))


def blocks(m: int, n: int, wanted: int, tile: Tile) -> tuple[int, int]:
    """Rows and columns of a job: one for each of ``wanted`` threads, with little packed twice."""
    best = (m, n)
    least = None
    for down in range(1, wanted + 1):
        rows = part(m, down, tile.rows)
        columns = min(part(n, wanted // down, tile.columns), WIDEST)
        down_jobs, across_jobs = -(-m // rows), -(-n // columns)
        longest = rows * columns * -(-down_jobs * across_jobs // wanted)
        cost = (longest, down_jobs * n + across_jobs * m)
        if least is None or cost < least:
            best, least = (rows, columns), cost
    return best


def part(size: int, count: int, unit: int) -> int:
    """The length of each of ``count`` parts of ``size``, in whole units."""
    return -(-size // (count * unit)) * unit


@cache
def compiled(kind: type[Template], bits: int) -> Kernel:
    """The product of floats with ``bits``, compiled or from the cache on disk."""
    target = host()
    start = address(module_text(target, bits, kind), "gemm")
    return Kernel(start, tile_for(target, bits))
