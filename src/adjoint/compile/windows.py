"""Convolutions as products: tables of offsets, the room around images, the kernels in order.

    out[n, o, p] = sum_{c, t} w[o, c, t] * x[n, c, p * stride + t * dilation - padding]

is a product for each image and group, of w (o by (c, t)) with the windows of x, which are read
through two tables: the offset of (c, t) plus that of p. With few places (deep layers, gradients of
kernels) all images are one product. A long k with a small result is cut into pieces, summed in
their order. An input spread by ``inner`` zeros (the gradient of a strided convolution) falls apart
into phases of the output, each of which meets only some of the taps: no zero is multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as all_of
from math import prod
from typing import Any, NamedTuple

import numpy as np

from adjoint.base.dtype import DType, float32
from adjoint.base.shape import Shape
from adjoint.compile.blocks import (
    Operand,
    key_of,
    packed_size,
    packing_plan,
    plan_for,
    writer_of,
)
from adjoint.compile.frames import (
    Grid,
    Source,
    arranged,
    by,
    channels_last,
    in_place,
    part_of,
    woven,
)
from adjoint.compile.gemm import AFTER
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import buffer
from adjoint.compile.offsets import (
    all_offsets,
    offsets_of,
    one_stride,
    repeated,
    with_runs,
)
from adjoint.compile.spread import FOLD, fold_text
from adjoint.compile.thin import (
    few_kernel,
    few_table,
    inner_kernel,
    inner_table,
    is_last,
    last_kernel,
    turned_back,
)
from adjoint.compile.views import View
from adjoint.ir.node import Node
from adjoint.runtime.threads import get_num_threads

Array = np.ndarray[Any, np.dtype[Any]]
Pads = tuple[tuple[int, int], ...]

NARROW = 128  # with fewer places than this, all images are one product
PIECES = 16  # of k, at most
PIECE = 512  # steps of k that a piece should have
PARTIAL = 1 << 22  # bytes of all partial sums
REPEATS = 2  # products from which on w is packed once for all


class Conv(NamedTuple):
    """The parameters of a ``conv``."""

    stride: Shape
    padding: Pads
    dilation: Shape
    inner: Shape
    groups: int


def conv_kernels(
    x: View, w: View, out: Node, conv: Conv, after: Kernel | None = None
) -> list[Kernel] | None:
    """The kernels of a convolution of views, in order; None when a size is 0, the dtype is not a
    float, or a spread input comes with a stride."""
    if 0 in (*x.shape, *w.shape, *out.shape) or out.dtype.kind != "f":
        return None
    if all(i == 1 for i in conv.inner):
        return Windows(x, w, out, conv).kernels(whole_grid(w, out, conv), after)
    if any(i > 1 and s > 1 for i, s in zip(conv.inner, conv.stride, strict=True)):
        return None
    return _by_phases(x, w, out, conv)


def whole_grid(w: View, out: Node, conv: Conv) -> Grid:
    """All taps and all places."""
    taps = tuple(
        tuple(t * d - pad[0] for t in range(n))
        for n, d, pad in zip(w.shape[2:], conv.dilation, conv.padding, strict=True)
    )
    places = tuple(
        tuple(p * s for p in range(n)) for n, s in zip(out.shape[2:], conv.stride, strict=True)
    )
    steps = tuple(
        s if s > 1 else (d if n > m else 1)
        for s, d, n, m in zip(conv.stride, conv.dilation, w.shape[2:], out.shape[2:], strict=True)
    )
    return Grid(taps, places, steps)


class Windows:
    """The kernels of one convolution."""

    def __init__(self, x: View, w: View, out: Node, conv: Conv) -> None:
        self.x, self.w, self.out, self.conv = x, w, out, conv
        self.dtype = out.dtype
        self.wide = float32 if out.dtype.bits == 16 else out.dtype
        self.images, self.channels = x.shape[0], w.shape[1]
        self.height = out.shape[1] // conv.groups

    @property
    def name(self) -> str:
        return f"{by(self.x.shape)} * {by(self.w.shape)} {self.dtype.name}"

    @property
    def nbytes(self) -> int:
        """What it reads and writes at least."""
        sizes = prod(self.x.shape) + prod(self.w.shape) + prod(self.out.shape)
        return self.dtype.itemsize * sizes

    def place_of(self, source: Source) -> Place:
        return Place(source.view.node, source.view.offset * self.dtype.itemsize)

    def kernels(self, grid: Grid, after: Kernel | None) -> list[Kernel]:
        """All of them."""
        if after is None and is_last(self, grid):
            return self._channels_last(grid)
        found: list[Kernel] = []
        source = in_place(self.x, grid)
        if source is not None and self._is_few(source, grid):
            source = None  # the last vector may reach behind the image
        if source is None:
            kernel, source = arranged(self.x, grid)
            found.append(kernel)
        return [*found, *self.products(grid, source, None, after)]

    def _channels_last(self, grid: Grid) -> list[Kernel]:
        """The gradient of a kernel: x turned once, instead of once per place."""
        kernel, source = channels_last(self.x, grid, self.wide)
        k, count = self.channels * source.taps.size, source.places.size * self.images
        pieces = self._pieces(k, self.height * count)
        a, packing = self._weights(_Product(k // pieces, count, pieces, True), None, True)
        main, partial = last_kernel(self, source, a.place, pieces)
        return [kernel, *packing, main, turned_back(self, partial)]

    def _is_few(self, source: Source, grid: Grid) -> bool:
        """Whether the template for few rows takes it, with vectors that are not full."""
        table = few_table(self, source, len(grid.places[-1]), source.places.size)
        return table is not None and bool(
            (table[:, 2] < table[:, 2].max()).any() or len(table) == 1
        )

    def products(
        self, grid: Grid, source: Source, taps: Array | None, after: Kernel | None
    ) -> list[Kernel]:  # fmt: skip
        """The kernels after the input is arranged. taps: offsets of the taps in w, all of them
        when None."""
        count = source.places.size
        k = self.channels * source.taps.size
        found = self._narrow(grid, source, taps, after)
        if found is not None:
            return found
        in_one = count < NARROW and self.images > 1
        pieces = self._pieces(k, self.height * count * self.images) if in_one else 1
        rows = with_runs(repeated(self.channels // pieces, source.view.strides[1], source.taps))
        columns = source.places
        if in_one:
            columns = repeated(self.images, source.view.strides[0], columns)
        shape = _Product(k // pieces, columns.size, pieces, in_one)
        a, packing = self._weights(shape, taps)
        b = self._windows(source, shape, rows, with_runs(columns))
        if pieces > 1:
            return [*packing, *self._in_pieces(shape, a, b)]
        return [*packing, self._main(shape, a, b, after)]

    def _narrow(
        self, grid: Grid, source: Source, taps: Array | None, after: Kernel | None
    ) -> list[Kernel] | None:
        """The kernels when one of the templates for few rows is the better."""
        count = source.places.size
        k = self.channels * source.taps.size
        table = inner_table(self, source, len(grid.taps[-1])) if taps is None else None
        if table is not None:
            pieces = self._pieces(k, self.height * count * self.images)
            kernel, partial = inner_kernel(self, source, table, pieces)
            return [kernel, self._fold(partial, pieces, count * self.images)]
        table = few_table(self, source, len(grid.places[-1]), count)
        if table is None:
            return None
        a, packing = self._weights(_Product(k, count, 1, False), taps, True)
        return [*packing, few_kernel(self, source, a.place, table, after)]

    def _pieces(self, k: int, size: int) -> int:
        """Into how many pieces k is cut: of whole channels, and whatever the threads are."""
        for count in range(min(PIECES, k // PIECE, PARTIAL // (size * self.wide.itemsize)), 1, -1):
            if self.channels % count == 0:
                return count
        return 2 if self.dtype.bits == 16 and self.channels % 2 == 0 and k > 4 * PIECE else 1

    def _weights(
        self, shape: _Product, taps: Array | None, always: bool = False
    ) -> tuple[_Bound, list[Kernel]]:
        """w as the left operand, packed first when it is read often."""
        w, groups = self.w, self.conv.groups
        step = self.channels // shape.pieces * w.strides[1]
        row, along = w.strides[0], one_stride(w.shape[2:], w.strides[2:])
        keeps: list[object] = []
        if taps is None and along is not None:
            size = prod(w.shape[2:])
            found = Operand((step, 0, self.height * row), row, along, size, w.strides[1])
        else:
            if taps is None:
                taps = all_offsets(w.shape[2:], w.strides[2:])
            table = repeated(self.channels // shape.pieces, w.strides[1], taps)
            keeps.append(table)
            found = Operand((step, 0, self.height * row), row, 1, 0, table.ctypes.data)
        batch = (shape.pieces, 1, groups)
        where = Place(w.node, w.offset * self.dtype.itemsize)
        repeats = 1 if shape.in_one else self.images
        if repeats < REPEATS and not always:
            return _Bound(where, self._in_order(found, shape, True), tuple(keeps)), []
        size = packed_size(self.dtype, self.height, shape.k, True)
        panels = buffer((prod(batch) * size,), self.wide)
        plan = packing_plan(self.dtype, batch, self.height, shape.k, found, True)
        kernel = Kernel(
            f"pack {'x'.join(map(str, w.shape))} {self.dtype.name}",
            key_of(self.dtype, self.dtype), writer_of(self.dtype, self.dtype), (where, where),
            (Place(panels),), plan.words, extent=plan.jobs, keeps=tuple(keeps),
            nbytes=2 * self.dtype.itemsize * prod(w.shape),
        )  # fmt: skip
        packed = Operand((groups * size, 0, size), 0, 0, packed=True)
        return _Bound(Place(panels), self._in_order(packed, shape, True), ()), [kernel]

    def _in_order(self, operand: Operand, shape: _Product, is_a: bool) -> Operand:
        """Strides of the batch for (pieces, 1, groups), or (1, images, groups)."""
        piece, image, group = operand.batch
        batch = (piece, 0, group) if shape.in_one else (0, 0 if is_a else image, group)
        return operand._replace(batch=batch)

    def _windows(self, source: Source, shape: _Product, rows: Array, columns: Array) -> _Bound:
        """The windows of x as the right operand."""
        image, channel = source.view.strides[:2]
        piece = self.channels // shape.pieces * channel
        found = Operand(
            (piece, image, self.channels * channel), 0, 0, rows=rows.ctypes.data,
            columns=columns.ctypes.data,
        )  # fmt: skip
        return _Bound(self.place_of(source), self._in_order(found, shape, False), (rows, columns))

    def _main(self, shape: _Product, a: _Bound, b: _Bound, after: Kernel | None) -> Kernel:
        """The product, written into the result."""
        image = prod(self.out.shape[2:])
        height, outs = self.height, self.out.shape[1]
        runs: Array | None = None
        if shape.in_one:
            runs = with_runs(repeated(self.images, outs * image, np.arange(image)))
        address = 0 if runs is None else runs.ctypes.data
        batch = (0, 0 if shape.in_one else outs * image, height * image)
        c = Operand(batch, image, 1, columns=address)
        return self._kernel(shape, (a, b, _Bound(Place(self.out), c, (runs,))), self.dtype, after)

    def _kernel(
        self, shape: _Product, bound: tuple[_Bound, _Bound, _Bound], out: DType,
        after: Kernel | None = None,
    ) -> Kernel:  # fmt: skip
        a, b, c = bound
        batch = (shape.pieces, 1 if shape.in_one else self.images, self.conv.groups)
        sizes = (self.height, shape.columns, shape.k)
        plan = plan_for(
            self.dtype, out, batch, *sizes, a.operand, b.operand, c.operand, get_num_threads()
        )
        takes_after = c.operand.columns == 0
        return Kernel(
            f"conv {self.name}",
            key_of(self.dtype, out), writer_of(self.dtype, out), (a.place, b.place),
            (c.place,), plan.words, extent=plan.jobs, scratch=plan.scratch,
            flops=2 * prod(batch) * prod(sizes), after=after if takes_after else None,
            nbytes=self.nbytes,
            after_word=AFTER if takes_after else -1, keeps=(*a.keeps, *b.keeps, *c.keeps),
        )  # fmt: skip

    def _in_pieces(self, shape: _Product, a: _Bound, b: _Bound) -> list[Kernel]:
        """Partial results, one after the other in memory, and the kernel that adds them up."""
        columns, outs = shape.columns, self.out.shape[1]
        partial = buffer((shape.pieces, outs, columns), self.wide)
        c = Operand((outs * columns, 0, self.height * columns), columns, 1)
        main = self._kernel(shape, (a, b, _Bound(Place(partial), c, ())), self.wide)
        return [main, self._fold(partial, shape.pieces, columns)]

    def _fold(self, partial: Node, pieces: int, columns: int) -> Kernel:
        """The kernel that adds up partial results."""
        outs, image = self.out.shape[1], prod(self.out.shape[2:])
        size = outs * columns
        table = repeated(self.images, outs * image, np.arange(image))
        assert columns == table.size
        words = {
            "count": pieces, "columns": columns, "size": size, "row": image,
            "table": table.ctypes.data,
        }  # fmt: skip
        dtype, wide = self.dtype, self.wide
        return Kernel(
            f"add {pieces} parts of {by(self.out.shape)}", f"fold {dtype.name}",
            lambda target: fold_text(target, dtype, wide), (Place(partial),), (Place(self.out),),
            tuple(words[name] for name in FOLD), extent=outs, grain=max(1, 4096 // columns),
            flops=pieces * size, nbytes=(pieces + 1) * size * wide.itemsize, keeps=(table,),
        )  # fmt: skip


class _Product(NamedTuple):
    k: int
    columns: int
    pieces: int
    in_one: bool


class _Bound(NamedTuple):
    """An operand and where it is."""

    place: Place
    operand: Operand
    keeps: tuple[object, ...]


class _Phase(NamedTuple):
    """A part of the places, which meets a part of the taps. weights: the offsets of these taps in
    w; out: where its results go."""

    grid: Grid
    weights: Array
    out: Node


def _by_phases(x: View, w: View, out: Node, conv: Conv) -> list[Kernel]:
    """One product per phase of the output, then all woven together."""
    rank = len(conv.inner)
    phases = {
        phase: _phase(phase, w, out, conv)
        for phase in all_of(*(range(i) for i in conv.inner))
        if all(p < n for p, n in zip(phase, out.shape[2:], strict=True))
    }
    used = [phase for phase in phases.values() if phase.weights.size]
    results = {p: phase.out for p, phase in phases.items() if phase.weights.size}
    if not used:
        return [woven(x.node, results, out, conv.inner)]
    every = Grid(
        tuple(tuple(sorted({t for p in used for t in p.grid.taps[a]})) for a in range(rank)),
        tuple(max((p.grid.places[a] for p in used), key=len) for a in range(rank)),
        (1,) * rank,
    )
    found: list[Kernel] = []
    kernel, whole = arranged(x, every)
    found.append(kernel)
    for phase in used:
        source = part_of(whole, every, phase.grid)
        windows = Windows(x, w, phase.out, conv)
        found += windows.products(phase.grid, source, phase.weights, None)
    return [*found, woven(x.node, results, out, conv.inner)]


def _phase(phase: Sequence[int], w: View, out: Node, conv: Conv) -> _Phase:
    """The taps that meet elements of x, and not zeros between them, at the places ``phase + i *
    inner``."""
    taps: list[tuple[int, ...]] = []
    kept: list[list[int]] = []
    places: list[tuple[int, ...]] = []
    for a, (first, i) in enumerate(zip(phase, conv.inner, strict=True)):
        start = first * conv.stride[a] - conv.padding[a][0]
        reads = [start + t * conv.dilation[a] for t in range(w.shape[2 + a])]
        kept.append([t for t, read in enumerate(reads) if read % i == 0])
        taps.append(tuple(read // i for read in reads if read % i == 0))
        places.append(tuple(range(len(range(first, out.shape[2 + a], i)))))
    grid = Grid(tuple(taps), tuple(places), (1,) * len(places))
    part = buffer((*out.shape[:2], *(len(p) for p in places)), out.dtype)
    return _Phase(grid, offsets_of(kept, w.strides[2:]), part)
