"""How a product is cut into blocks of work, and the record that says so to the template."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from adjoint.base.dtype import DType
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.gemm import (
    PACK_A,
    PACK_B,
    WORDS,
    Tile,
    module_text,
    scratch_size,
    tile_for,
)

DEPTH = 384  # steps of k at a time: a panel of b and one of a stay near the first-level cache
HEIGHT = 120  # rows of a at a time: they stay in the second-level cache
WIDEST = 2048  # columns of b at a time
PANELS = 3 << 20  # bytes of b that are packed at a time
GRAIN = 1 << 18  # multiply-adds that a thread should have at least
FEW_COLUMNS = 128  # up to here a row of a is read where it is: packing would not be paid back
FEW_ROWS = 24  # up to here b is
ALIAS = 4096  # bytes: rows so far apart share a place in the first-level cache


class Operand(NamedTuple):
    """How a matrix lies in memory, in elements: three strides of the batch, rows, columns.

    k of a may come in pieces of ``run``, ``jump`` apart. rows, columns: addresses of tables
    instead of strides; for a, ``jump`` is one with ``run`` 0. packed: as a packing kernel left it.
    """

    batch: tuple[int, int, int]
    row: int
    column: int
    run: int = 0
    jump: int = 0
    rows: int = 0
    columns: int = 0
    packed: bool = False


class Plan(NamedTuple):
    """The words of the record after its three addresses, jobs, and bytes of scratch memory."""

    words: tuple[int, ...]
    jobs: int
    scratch: int


def key_of(dtype: DType, out: DType) -> str:
    """What determines the machine code of the template."""
    return f"product {dtype.name} {out.name}"


def writer_of(dtype: DType, out: DType) -> Callable[[Target], str]:
    """Writes the template for the elements ``dtype`` and results ``out``."""
    return lambda target: module_text(target, dtype, out)


def host_tile(dtype: DType) -> Tile:
    """The tile for ``dtype`` on this machine."""
    return tile_for(host(), max(dtype.bits, 32))


@lru_cache(4096)
def plan_for(
    dtype: DType, out: DType, batch: tuple[int, int, int], m: int, n: int, k: int, a: Operand,
    b: Operand, c: Operand, threads: int,
) -> Plan:  # fmt: skip
    """The plan for ``batch`` products of m by k with k by n."""
    tile = host_tile(dtype)
    count = batch[0] * batch[1] * batch[2]
    # a batch that goes up evenly, or nearly, needs no smaller jobs
    work = m * n * k
    wanted = 1 if count % threads == 0 or count >= 4 * threads else threads
    # sums of 16-bit floats are kept wide, so they are finished in one go
    depth = k if out.bits == 16 else -(-k // -(-k // DEPTH))
    widest = max(min(WIDEST, PANELS // (depth * tile.nbytes)), tile.columns)
    rows, columns = blocks(m, n, min(wanted, max(work // GRAIN, 1)), tile, widest)
    down, across = -(-m // rows), -(-n // columns)
    height = HEIGHT // tile.rows * tile.rows
    words = record_words(
        m=m, n=n, k=k, depth=depth, rows=rows, columns=columns, across=across,
        grid=down * across, height=height, middle=batch[1], inner=batch[2],
        **_a_words(dtype, tile, a, min(columns, n), k), **_b_words(dtype, tile, b, min(rows, m), k),
        c_batch=c.batch[0], c_batch_1=c.batch[1], c_batch_2=c.batch[2], c_row=c.row,
        c_columns=c.columns,
    )  # fmt: skip
    size = scratch_size(tile, min(columns, n), depth, min(rows, m, height)) * tile.nbytes
    return Plan(words, count * down * across, size)


def packing_plan(
    dtype: DType, batch: tuple[int, int, int], lines: int, k: int, operand: Operand, is_a: bool
) -> Plan:
    """The plan for packing all lines of an operand (rows of a, columns of b) into panels."""
    tile = host_tile(dtype)
    width = tile.rows if is_a else tile.columns
    panels = -(-lines // width)
    task = {"task": PACK_A, "m": lines} if is_a else {"task": PACK_B, "n": lines}
    layout = _a_words if is_a else _b_words
    words = record_words(
        k=k, grid=panels, middle=batch[1], inner=batch[2], **task,
        **layout(dtype, tile, operand, 1, k),
    )  # fmt: skip
    return Plan(words, batch[0] * batch[1] * batch[2] * panels, 0)


def packed_size(dtype: DType, lines: int, k: int, is_a: bool) -> int:
    """Elements of the panels of one matrix; they are of the wide type."""
    tile = host_tile(dtype)
    width = tile.rows if is_a else tile.columns
    return -(-lines // width) * width * k


def record_words(**fields: int) -> tuple[int, ...]:
    """The words of a record; those not named are 0."""
    assert fields.keys() <= set(WORDS)
    return tuple(fields.get(name, 0) for name in WORDS)


def _a_words(dtype: DType, tile: Tile, a: Operand, columns: int, k: int) -> dict[str, int]:
    scale = 2 if a.packed and dtype.bits == 16 else 1  # offsets count what memory holds
    found = {
        "a_batch": a.batch[0] * scale, "a_batch_1": a.batch[1] * scale,
        "a_batch_2": a.batch[2] * scale, "a_row": a.row, "a_column": a.column,
        "a_run": a.run if a.run or a.jump else k, "a_jump": a.jump,
    }  # fmt: skip
    if a.packed:
        return found | {"a_placed": 1, "a_tile": k, "a_lane": 1, "a_step": tile.rows}
    is_plain = dtype.bits != 16 and not a.jump
    near = a.column == 1 and (a.row * dtype.itemsize % ALIAS or k * dtype.itemsize < ALIAS // 16)
    if is_plain and columns <= FEW_COLUMNS and (near or a.row == 1):
        found |= {"a_placed": 1, "a_tile": a.row, "a_lane": a.row, "a_step": a.column}
    return found


def _b_words(dtype: DType, tile: Tile, b: Operand, rows: int, k: int) -> dict[str, int]:
    scale = 2 if b.packed and dtype.bits == 16 else 1
    found = {
        "b_batch": b.batch[0] * scale, "b_batch_1": b.batch[1] * scale,
        "b_batch_2": b.batch[2] * scale, "b_row": b.row, "b_column": b.column,
        "b_rows": b.rows, "b_columns": b.columns,
    }  # fmt: skip
    if b.packed:
        return found | {"b_placed": 2, "b_tile": k, "b_step": tile.columns}
    if dtype.bits != 16 and not b.rows and b.column == 1 and rows <= FEW_ROWS:
        found |= {"b_placed": 1, "b_tile": 1, "b_step": b.row}
    return found


@lru_cache(4096)
def blocks(m: int, n: int, wanted: int, tile: Tile, widest: int) -> tuple[int, int]:
    """Rows and columns of a job: one for each of ``wanted`` threads, with little packed twice."""
    best = (m, part(n, -(-n // widest), tile.columns))
    least: tuple[int, int] | None = None
    for down in range(1, wanted + 1):
        rows = part(m, down, tile.rows)
        columns = part(n, wanted // down, tile.columns)
        columns = part(columns, -(-columns // widest), tile.columns)
        down_jobs, across_jobs = -(-m // rows), -(-n // columns)
        longest = rows * columns * -(-down_jobs * across_jobs // wanted)
        cost = (longest, down_jobs * n + across_jobs * m)
        if least is None or cost < least:
            best, least = (rows, columns), cost
    return best


def part(size: int, count: int, unit: int) -> int:
    """The length of each of ``count`` parts of ``size``, in whole units."""
    return -(-size // (count * unit)) * unit
