"""What a case of the op table is, and all cases together.

A case runs one row on drawn inputs and says, in other words than the row does, what must come out.
Cases stand in files of their own by group; ``CASES`` gathers them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from adjoint.base.dtype import ALL, DType, float64
from adjoint.ir.node import Node, constant

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape, DType], Array]

FLOATS = tuple(d for d in ALL if d.kind == "f")
INTEGERS = tuple(d for d in ALL if d.kind in "iu")
BOOLS = tuple(d for d in ALL if d.kind == "b")
NUMBERS = (*FLOATS, *INTEGERS)


def plain(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """Floats of either sign around 1; integers from the whole range."""
    if dtype.kind == "f":
        return np.asarray(rng.uniform(-2, 2, shape)).astype(dtype.numpy)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(np.bool_)
    info = np.iinfo(dtype.numpy)
    return np.asarray(rng.integers(info.min, info.max, shape, dtype.numpy, endpoint=True))


def positive(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    return np.asarray(rng.uniform(0.3, 3, shape)).astype(dtype.numpy)


def divisor(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """Floats away from zero; any integers, zero too."""
    if dtype.kind != "f":
        return coarse(rng, shape, dtype)
    sign = np.where(rng.uniform(size=shape) < 0.5, -1.0, 1.0)
    return np.asarray(sign * rng.uniform(0.4, 2, shape)).astype(dtype.numpy)


def coarse(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """Few different small values, so that ties are common."""
    low = 0 if dtype.kind in "bu" else -2
    return np.asarray(rng.integers(low, 3, shape)).astype(dtype.numpy)


def spaced(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """All different, by more than any step of a finite difference."""
    size = int(np.prod(shape, dtype=np.int64))
    values = rng.permutation(size) - size // 2
    if dtype.kind == "f":
        return (values * 0.37 + 0.1).astype(dtype.numpy).reshape(shape)
    return (np.abs(values) if dtype.kind != "i" else values).astype(dtype.numpy).reshape(shape)


def below(limit: int) -> Draw:
    """Integers from 0 to ``limit`` - 1."""

    def draw(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
        return np.asarray(rng.integers(0, max(limit, 1), shape)).astype(dtype.numpy)

    return draw


class Input(NamedTuple):
    """One argument: its shape, how to draw it, and its dtype (None: the dtype under test)."""

    shape: Shape
    draw: Draw = plain
    dtype: DType | None = None


@dataclass(frozen=True)
class Case:
    """One use of a row.

    run: nodes -> a node or several. meaning: the same on arrays, written independently; floats
    arrive as float64 and integers as Python's, and the result is rounded or wrapped to the dtype.
    twin: the same on torch tensors. ulps: allowed distance, in units of the dtype's epsilon times
    the largest value. smooth: the derivative exists at the drawn inputs. result: the dtype that
    comes out (None: the one that went in).
    """

    op: str
    name: str
    inputs: tuple[Input, ...]
    run: Callable[..., Any]
    meaning: Callable[..., Any]
    dtypes: tuple[DType, ...] = ALL
    twin: Callable[..., Any] | None = None
    ulps: float = 0
    smooth: bool = True
    result: DType | None = None

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def draw(self, dtype: DType, seed: int = 0) -> list[Array]:
        rng = np.random.default_rng([seed, *(ord(c) for c in str(self))])
        return [i.draw(rng, i.shape, i.dtype or dtype) for i in self.inputs]

    def floats(self) -> list[int]:
        """The arguments a derivative can be taken by."""
        return [k for k, i in enumerate(self.inputs) if i.dtype is None or i.dtype.kind == "f"]

    def nodes_of(self, *nodes: Node) -> list[Node]:
        out = self.run(*nodes)
        return list(out) if isinstance(out, (list, tuple)) else [out]

    def expected(self, arrays: Sequence[Array]) -> list[Array]:
        """The independent meaning on float64 and Python integers, not yet rounded."""
        out = self.meaning(*(_exact(a) for a in arrays))
        return list(out) if isinstance(out, (list, tuple)) else [np.asarray(out)]


def _exact(array: Array) -> Array:
    if array.dtype.kind in "iub":
        return array.astype(object)
    return array.astype(np.float64)


def rounded(values: Any, dtype: DType) -> Array:
    """Exact values in ``dtype``: rounded floats, integers modulo 2^bits, the truth of bools."""
    array = np.asarray(values)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(np.float64).astype(dtype.numpy)
    if dtype.kind == "b":
        return array.astype(bool)
    info = np.iinfo(dtype.numpy)
    lowest, span = int(info.min), 1 << dtype.bits
    wrapped = [(int(v) - lowest) % span + lowest for v in array.reshape(-1)]
    return np.array(wrapped, dtype.numpy).reshape(array.shape)


def elementwise(scalar: Callable[..., Any]) -> Callable[..., Array]:
    """A function of Python numbers, element by element."""

    def meaning(*arrays: Array) -> Array:
        return np.asarray(np.frompyfunc(scalar, len(arrays), 1)(*arrays))

    return meaning


def by_index(shape: Shape, element: Callable[[Shape], Any], like: Array) -> Array:
    """The array whose element at each index is ``element(index)``."""
    out = np.empty(shape, like.dtype)
    for index in np.ndindex(*shape):
        out[index] = element(index)
    return out


def layouts(array: Array) -> dict[str, Array]:
    """Equal arrays that lie differently in memory."""
    flipped = np.flip(np.flip(array).copy()) if array.ndim else array
    spread = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    every_second = spread[(..., *[slice(None, None, 2)] * array.ndim)]
    every_second[...] = array
    return {
        "contiguous": array,
        "backwards": flipped,
        "columns first": np.array(array.T, order="C").T,
        "every second": every_second,
    }


def constants(arrays: Sequence[Array]) -> list[Node]:
    return [constant(a) for a in arrays]


def split(case: Case, seed: int = 0) -> tuple[Callable[..., list[Node]], list[Node]]:
    """The case as a function of its float arguments alone, and these at float64."""
    arrays = case.draw(float64, seed)
    places = case.floats()

    def function(*floats: Node) -> list[Node]:
        nodes = constants(arrays)
        for place, node in zip(places, floats, strict=True):
            nodes[place] = node
        return case.nodes_of(*nodes)

    return function, [constant(arrays[p]) for p in places]


def gather_cases() -> list[Case]:
    from tests.ops import array_cases, pointwise_cases, structure_cases, view_cases

    groups = (pointwise_cases, view_cases, array_cases, structure_cases)
    return [case for group in groups for case in group.cases()]
