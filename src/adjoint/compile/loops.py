"""Loop kernels as data: an index space, what is computed at each of its points, what is stored.

    for every point of the axes that are not reduced:        (rows; jobs are ranges of them)
        pass 0: over the reduced axes: compute, accumulate
        between: what follows from the sums
        pass 1: ... until every value is stored

A softmax is three passes over a row that stays in the cache, a sum of gradients one, a chain of
pointwise ops has no reduced axes and one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from adjoint.base.dtype import DType
from adjoint.base.shape import Shape

COSTLY = frozenset(
    [
        "exp", "log", "sin", "cos", "tanh", "erf", "atan", "div", "rem", "sqrt", "power", "sigmoid",
        "gelu", "gelu_tanh", "silu", "expm1", "log1p", "power_number", "rsqrt", "exp2", "log2",
    ]
)  # fmt: skip
WIDTH = 1 << 50  # as a stride: as many elements as the vector axis has
WIDE_FROM = 1 << 12  # elements per lane from which a sum of float32 is kept in float64


class Item(NamedTuple):
    """One value of a kernel: ``op`` is load, number, iota, reduce_sum, reduce_max, or pointwise.

    args: the numbers of other items. slot, strides: of a load, which buffer and how far one step
    along each axis goes (for iota: how much the value grows). params: of the op.
    """

    op: str
    dtype: DType
    args: tuple[int, ...] = ()
    slot: int = 0
    strides: Shape = ()
    params: tuple[tuple[str, Any], ...] = ()


class Store(NamedTuple):
    """Item ``item`` goes to buffer ``slot``, along ``strides``."""

    item: int
    slot: int
    strides: Shape


@dataclass(frozen=True)
class Loops:
    """A kernel: ``sizes`` of its axes from the outermost in, the first ``rows`` of them not
    reduced, ``vector`` the one that the lanes are along. ``dtypes``: of each buffer by slot,
    those read before those written. free: the vector axis may have any size, which the record
    tells; a stride of ``WIDTH`` is that size.
    ragged: (axis of pieces, axis, total): the axis is cut in pieces, of which the last is shorter.
    """

    sizes: Shape
    rows: int
    vector: int
    items: tuple[Item, ...]
    stores: tuple[Store, ...]
    dtypes: tuple[DType, ...]
    free: bool = False
    ragged: tuple[int, int, int] | None = None

    @property
    def key(self) -> str:
        """What the machine code depends on."""
        sizes = ("free",) * len(self.sizes) if self.free else self.sizes
        body = [tuple(str(x) for x in item) for item in self.items]
        dtypes = [d.name for d in self.dtypes]
        axes = f"{sizes} {self.rows} {self.vector} {self.ragged}"
        return f"loops {axes} {body} {self.stores} {dtypes}"

    @property
    def is_flat(self) -> bool:
        """Whether lanes are along an axis that is not reduced."""
        return self.vector < self.rows

    @cached_property
    def depends(self) -> tuple[frozenset[int], ...]:
        """For each item, the axes along which its value changes."""
        found: list[frozenset[int]] = []
        reduced = frozenset(range(self.rows, len(self.sizes)))
        for item in self.items:
            axes = {i for i, s in enumerate(item.strides) if s}
            axes.update(*(found[a] for a in item.args))
            if item.op.startswith("reduce_"):
                axes -= reduced
                axes.update([self.vector] if self.is_flat else [])
            found.append(frozenset(axes))
        return tuple(found)

    @cached_property
    def passes(self) -> tuple[int, ...]:
        """For each item, the pass in which it can be computed first (a reduction: is summed)."""
        found: list[int] = []
        for item in self.items:
            ready = (found[a] + self.items[a].op.startswith("reduce_") for a in item.args)
            found.append(max(ready, default=0))
        return tuple(found)

    @cached_property
    def count(self) -> int:
        """How many passes there are."""
        sums = (p + 1 for i, p in zip(self.items, self.passes, strict=True) if _sums(i))
        inner = (self.store_pass(s) + 1 for s in self.stores if self.is_inner_store(s))
        return max([*sums, *inner], default=0)

    def is_inner(self, item: int) -> bool:
        """Whether the item changes along a reduced axis."""
        return any(a >= self.rows for a in self.depends[item])

    def is_inner_store(self, store: Store) -> bool:
        return any(store.strides[self.rows :])

    def needed(self, number: int, kept: Mapping[int, int]) -> set[int]:
        """The inner items of pass ``number``; those ``kept`` in memory since an earlier pass (by
        item: which) are read, and what they are made of is not needed."""
        stack = [i.args[0] for i in self._sums(number)]
        stack += [
            s.item for s in self.stores if self.is_inner_store(s) and self.store_pass(s) == number
        ]
        found: set[int] = set()
        while stack:
            item = stack.pop()
            if item in found or not self.is_inner(item):
                continue
            found.add(item)
            if kept.get(item, number) >= number and not _sums(self.items[item]):
                stack.extend(self.items[item].args)
        return found

    @cached_property
    def kept(self) -> dict[int, int]:
        """Inner items that later passes find in memory, and since which pass: those that are
        stored, and costly ones that are needed again."""
        found: dict[int, int] = {}
        for store in self.stores:
            item = self.items[store.item]
            if self.is_inner_store(store) and item.op not in ("load", "number", "iota"):
                found.setdefault(store.item, self.store_pass(store))
        first: dict[int, int] = {}
        for number in range(self.count):
            for item in sorted(self.needed(number, found)):
                if item in first and self.items[item].op in COSTLY:
                    found.setdefault(item, first[item])
                first.setdefault(item, number)
        return found

    @cached_property
    def saved(self) -> tuple[int, ...]:
        """Kept items that no store leaves in memory: they go to scratch memory."""
        stored = {s.item for s in self.stores if self.is_inner_store(s)}
        return tuple(sorted(set(self.kept) - stored))

    def _sums(self, number: int) -> list[Item]:
        pairs = zip(self.items, self.passes, strict=True)
        return [i for i, p in pairs if _sums(i) and p == number]

    def store_pass(self, store: Store) -> int:
        """The first pass in which what is stored is known."""
        return self.passes[store.item] + _sums(self.items[store.item])

    @property
    def has_sums(self) -> bool:
        return any(_sums(i) for i in self.items)

    @property
    def row(self) -> int:
        """Points of the reduced axes."""
        return prod(self.sizes[self.rows :])

    @property
    def points(self) -> int:
        return prod(self.sizes)


def _sums(item: Item) -> bool:
    return item.op.startswith("reduce_")
