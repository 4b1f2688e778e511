"""Few rows of many elements are summed in pieces, so that all threads have something to do.

The pieces do not depend on the number of threads, and their sums are added up in one order (in
float64 for floats of 32 bits or fewer).
"""

from __future__ import annotations

from adjoint.base.dtype import DType, float64
from adjoint.base.shape import Shape
from adjoint.compile.loops import Item, Loops, Store

FEW, LONG, PIECES = 8, 1 << 15, 64


def in_pieces(loops: Loops, units: int) -> bool:
    """Whether there are few ``units`` of work and long rows, and nothing but the end needs the
    whole sums."""
    if not loops.has_sums or loops.count != 1 or units >= FEW:
        return False
    return loops.row >= LONG or (loops.points >= 8 * LONG and loops.row >= 1024)


def cut_in_two(loops: Loops) -> tuple[Loops, Loops, list[tuple[Shape, DType]]]:
    """The kernel that sums pieces, the one that adds them up, and the buffers between them."""
    axis = max(range(loops.rows, len(loops.sizes)), key=lambda i: loops.sizes[i])
    total = loops.sizes[axis]
    length = -(-total // min(PIECES, total))
    length = min(-(-length // 64) * 64, total)
    pieces = -(-total // length)
    # the axis of pieces stands behind the rows, before the lanes of a flat kernel
    place = loops.rows - 1 if loops.is_flat else loops.rows
    sums = [i for i, item in enumerate(loops.items) if item.op.startswith("reduce_")]
    partial = [_partial(loops.items[i]) for i in sums]
    rows = loops.sizes[: loops.rows]
    shapes = [((*rows, pieces), dtype) for dtype in partial]
    first = _first(loops, axis, place, pieces, length, sums, partial)
    return first, _second(loops, pieces, sums, partial), shapes


def _partial(item: Item) -> DType:
    narrow = item.op == "reduce_sum" and item.dtype.kind == "f"
    return float64 if narrow else item.dtype


def _steps(sizes: Shape) -> list[int]:
    steps = [1] * len(sizes)
    for i in reversed(range(len(sizes) - 1)):
        steps[i] = steps[i + 1] * sizes[i + 1]
    return steps


def _first(
    loops: Loops, axis: int, place: int, pieces: int, length: int, sums: list[int],
    partial: list[DType],
) -> Loops:  # fmt: skip
    def spread(strides: Shape) -> Shape:
        """With the stride of the axis of pieces among the others."""
        if not strides:
            return strides
        return (*strides[:place], strides[axis] * length, *strides[place:])

    sizes = (*loops.sizes[:place], pieces, *loops.sizes[place:])
    sizes = (*sizes[: axis + 1], length, *sizes[axis + 2 :])
    items: list[Item] = []
    number: dict[int, int] = {}
    for i, item in enumerate(loops.items):
        if loops.passes[i] > 0:
            continue
        number[i] = len(items)
        dtype = partial[sums.index(i)] if i in sums else item.dtype
        args = tuple(number[a] for a in item.args)
        items.append(item._replace(dtype=dtype, args=args, strides=spread(item.strides)))
    stores = [s for s in loops.stores if loops.is_inner_store(s)]
    reads = len(loops.dtypes) - len(loops.stores)
    kept: list[Store] = []
    for store in stores:
        slot = reads + len(kept)
        kept.append(Store(number[store.item], slot, spread(store.strides)))
    # the partial sums: rows, then pieces
    row_steps = _steps((*loops.sizes[: loops.rows], pieces))
    for i in sums:
        strides = [*row_steps[:-1]]
        strides.insert(place, row_steps[-1])
        strides += [0] * (len(sizes) - len(strides))
        kept.append(Store(number[i], reads + len(kept), tuple(strides)))
    dtypes = (*loops.dtypes[:reads], *(loops.dtypes[s.slot] for s in stores), *partial)
    vector = loops.vector + 1
    ragged = (place, axis + 1, loops.sizes[axis])
    return Loops(sizes, loops.rows + 1, vector, tuple(items), tuple(kept), dtypes, ragged=ragged)


def _second(loops: Loops, pieces: int, sums: list[int], partial: list[DType]) -> Loops:
    """Adds the pieces up, then does what comes after the sums."""
    rows = loops.rows
    sizes = (*loops.sizes[:rows], pieces)
    reads = len(loops.dtypes) - len(loops.stores)
    steps = tuple(_steps(sizes))
    items: list[Item] = []
    number: dict[int, int] = {}
    for i, item in enumerate(loops.items):
        if i in sums:
            dtype = partial[sums.index(i)]
            items.append(Item("load", dtype, slot=reads + sums.index(i), strides=steps))
            items.append(Item(item.op, dtype, (len(items) - 1,)))
            if dtype is not item.dtype:
                items.append(Item("cast", item.dtype, (len(items) - 1,)))
        elif loops.is_inner(i):
            continue
        else:
            strides = (*item.strides[:rows], 0) if item.strides else ()
            args = tuple(number[a] for a in item.args)
            items.append(item._replace(args=args, strides=strides))
        number[i] = len(items) - 1
    outer = [s for s in loops.stores if not loops.is_inner_store(s)]
    first = reads + len(sums)
    stores = tuple(
        Store(number[s.item], first + i, (*s.strides[:rows], 0)) for i, s in enumerate(outer)
    )
    dtypes = (*loops.dtypes[:reads], *partial, *(loops.dtypes[s.slot] for s in outer))
    vector = loops.vector if loops.is_flat else rows
    return Loops(sizes, rows, vector, tuple(items), stores, dtypes)
