"""What the kernels of products share: sizes, strides, which block makes which tile."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from adjoint.base.dtype import DType
from adjoint.base.shape import Shape
from adjoint.compile.backends.cuda.target import CudaTarget
from adjoint.compile.backends.cuda.threads import block, wide
from adjoint.compile.code import Function, Value

GROUP = 8  # rows of tiles made at about the same time: they share columns of b in the cache


class Side(NamedTuple):
    """How an operand lies: element (r, k) of matrix ``i`` is at ``i * batch + r * row + k * inner``
    elements; r counts the rows of a, or the columns of b."""

    row: int
    inner: int
    batch: Shape
    offset: int = 0


class Product(NamedTuple):
    """A batch of products of m x k with k x n matrices."""

    dtype: DType
    batch: Shape
    m: int
    n: int
    k: int
    left: Side
    right: Side

    def tiles(self, rows: int, columns: int) -> int:
        """How many tiles the results are cut into."""
        return prod(self.batch) * -(-self.m // rows) * -(-self.n // columns)

    def __str__(self) -> str:
        return f"{self.dtype.name} {self.batch} {self.m} {self.n} {self.k} {self.left} {self.right}"


class Recipe(NamedTuple):
    """How to make a product: the tile of a block, its threads, and what it needs.

    shared: bytes of shared memory that are asked for at the launch.
    """

    key: str
    rows: int
    columns: int
    threads: int
    shared: int
    write: Callable[[CudaTarget], str]


class Tile(NamedTuple):
    """Where a block works: its first row and column (i32), and where its matrices begin, in
    elements."""

    row: Value
    column: Value
    a: Value
    b: Value
    out: Value


def tile_of(f: Function, product: Product, rows: int, columns: int) -> Tile:
    """The tile of this block. Neighbours in time are ``GROUP`` tiles below each other."""
    number = block(f)

    def word(n: int) -> Value:
        return f.number(n, number.kind)

    down, across = -(-product.m // rows), -(-product.n // columns)
    matrix = f.two("udiv", number, word(down * across))
    inside = f.two("urem", number, word(down * across))
    group = f.two("udiv", inside, word(GROUP * across))
    inside = f.two("urem", inside, word(GROUP * across))
    first = f.mul(group, word(GROUP))
    left = f.sub(word(down), first)
    high = f.select(f.compare("ult", left, word(GROUP)), left, word(GROUP))
    row = f.add(first, f.two("urem", inside, high))
    column = f.two("udiv", inside, high)
    a = b = f.number(0)
    out = f.mul(wide(f, matrix), f.number(product.m * product.n))
    for axis in reversed(range(len(product.batch))):
        place = matrix
        if axis:
            place = f.two("urem", matrix, word(product.batch[axis]))
            matrix = f.two("udiv", matrix, word(product.batch[axis]))
        a, b = (
            f.add(start, f.mul(wide(f, place), f.number(side.batch[axis])))
            for start, side in ((a, product.left), (b, product.right))
        )
    return Tile(f.mul(row, word(rows)), f.mul(column, word(columns)), a, b, out)


def at_most(f: Function, index: Value, last: int) -> Value:
    """``index``, or ``last`` where it is beyond."""
    limit = f.number(last, index.kind)
    return f.select(f.compare("slt", index, limit), index, limit)
