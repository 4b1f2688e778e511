"""The input of a convolution, arranged so that every element it asks for is there.

Either the input where it is, or a copy with room around it; where every s-th element is taken,
these lie side by side in the copy, phase after phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product as all_of
from math import prod
from typing import Any, NamedTuple

import numpy as np

from adjoint.base.dtype import DType
from adjoint.base.shape import Shape
from adjoint.compile.backends.cpu.target import host
from adjoint.compile.gemm import SLACK
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import buffer
from adjoint.compile.offsets import offsets_of, strides_of
from adjoint.compile.spread import ARRANGE, LAST, WEAVE, arrange_text, last_text, weave_text
from adjoint.compile.views import View
from adjoint.ir.node import Node

Array = np.ndarray[Any, np.dtype[Any]]

NOWHERE = 1 << 62


class Grid(NamedTuple):
    """Which taps meet which places: along each axis, tap t and place p read element
    ``taps[t] + places[p]`` of x, which may be outside. ``step``: what all places or all taps are
    multiples of."""

    taps: tuple[tuple[int, ...], ...]
    places: tuple[tuple[int, ...], ...]
    steps: Shape


class Source(NamedTuple):
    """An input that can be read: every element that a grid asks for is there.

    strides: of images and channels; taps, places: the offsets of both, the sum is what is read.
    """

    view: View
    taps: Array
    places: Array


def in_place(x: View, grid: Grid) -> Source | None:
    """The input where it is: when nothing outside is asked for, and rows are in one piece."""
    fits = all(
        min(t) + min(p) >= 0 and max(t) + max(p) < n
        for t, p, n in zip(grid.taps, grid.places, x.shape[2:], strict=True)
    )
    if not fits or any(s > 1 for s in grid.steps) or (x.strides[-1] != 1 and x.shape[-1] > 1):
        return None
    taps = offsets_of(grid.taps, x.strides[2:])
    places = offsets_of(grid.places, x.strides[2:])
    return Source(x, taps, places)


def arranged(x: View, grid: Grid) -> tuple[Kernel, Source]:
    """A kernel that copies the input so that the grid is inside, and what it makes."""
    rank, dtype = len(grid.steps), x.node.dtype
    axes = [_Axis(grid.taps[a], grid.places[a], grid.steps[a]) for a in range(rank)]
    sizes = tuple(len(axis.phases) * axis.length for axis in axes)
    strides = strides_of(sizes)
    planes = prod(sizes)
    # whole vectors may be read from the last element on
    node = buffer((x.shape[0] * x.shape[1] * planes + SLACK,), dtype)
    view = View(node, (*x.shape[:2], *sizes), (x.shape[1] * planes, planes, *strides))
    taps = offsets_of([axis.tap_places for axis in axes], strides)
    places = offsets_of([axis.spots for axis in axes], strides)
    table = _row_table(tuple(axes), x.shape[2:], x.strides[2:])
    words = dict(
        rows=len(table), width=axes[-1].length, step=axes[-1].step * x.strides[-1],
        inner=x.shape[1], outer_stride=x.strides[0], inner_stride=x.strides[1],
        table=table.ctypes.data,
    )  # fmt: skip
    kernel = Kernel(
        f"arrange {by(x.shape)} {dtype.name}", f"arrange {dtype.name}",
        lambda target: arrange_text(target, dtype),
        (Place(x.node, x.offset * dtype.itemsize),), (Place(node),),
        tuple(words[name] for name in ARRANGE), extent=x.shape[0] * x.shape[1],
        grain=max(1, (1 << 14) // planes),
        nbytes=dtype.itemsize * (prod(x.shape) + prod(node.shape)), keeps=(table,),
    )  # fmt: skip
    return kernel, Source(view, taps, places)


def channels_last(x: View, grid: Grid, wide: DType) -> tuple[Kernel, Source]:
    """The same with the first axis of x as the last: x (C, N, ...) becomes (N, ..., C)."""
    dtype, channels, step = x.node.dtype, x.shape[0], grid.steps[-1]
    axes = [_Axis(t, p, s) for t, p, s in zip(grid.taps, grid.places, grid.steps, strict=True)]
    sizes = tuple(len(axis.phases) * axis.length for axis in axes)
    strides = tuple(s * channels for s in strides_of(sizes))
    table = _row_table(tuple(axes), x.shape[2:], x.strides[2:])
    node = buffer((x.shape[1] * prod(sizes) * channels,), dtype)
    view = View(node, (channels, x.shape[1], *sizes), (1, prod(sizes) * channels, *strides))
    taps = offsets_of([axis.tap_places for axis in axes], strides)
    places = offsets_of([axis.spots for axis in axes], strides)
    words = {
        "rows": len(table), "width": axes[-1].length, "channels": channels,
        "image_stride": x.strides[1], "channel_stride": x.strides[0],
        "table": table.ctypes.data,
    }  # fmt: skip
    kernel = Kernel(
        f"turn {by(x.shape)} {dtype.name}", f"last {step} {dtype.name}",
        lambda target: last_text(target, dtype, wide, step),
        (Place(x.node, x.offset * dtype.itemsize),), (Place(node),),
        tuple(words[name] for name in LAST), scratch=4096,
        extent=x.shape[1] * channels // (host().bits // wide.bits),
        nbytes=dtype.itemsize * (prod(x.shape) + prod(node.shape)), keeps=(table,),
    )  # fmt: skip
    return kernel, Source(view, taps, places)


def part_of(source: Source, grid: Grid, part: Grid) -> Source:
    """What the grid ``part``, whose taps and places are some of those of ``grid``, reads."""
    taps = source.taps.reshape([len(t) for t in grid.taps])
    chosen = [
        [every.index(t) for t in some] for every, some in zip(grid.taps, part.taps, strict=True)
    ]
    places = source.places.reshape([len(p) for p in grid.places])
    first = tuple(slice(len(p)) for p in part.places)
    return Source(source.view, taps[np.ix_(*chosen)].reshape(-1), places[first].reshape(-1))


class _Axis:
    """One axis of an arranged input: elements ``first + phase + i * step`` for some phases and
    i < length, phase after phase."""

    def __init__(self, taps: Sequence[int], places: Sequence[int], step: int) -> None:
        self.step = step
        self.first = min(taps) + min(places)
        base = min(places)
        reach = [t + p - self.first for t in taps for p in places] if step > 1 else None
        if reach is None:
            self.phases = [0]
            self.length = max(taps) + max(places) - self.first + 1
        else:
            self.phases = sorted({r % step for r in reach})
            self.length = max(reach) // step + 1
        number = {phase: i for i, phase in enumerate(self.phases)}
        shifts = [t + base - self.first for t in taps]
        steps = [p - base for p in places]
        if all(p % step == 0 for p in steps):
            self.tap_places = [number[t % step] * self.length + t // step for t in shifts]
            self.spots = [p // step for p in steps]
        else:  # all taps are multiples of the step
            self.spots = [number[p % step] * self.length + p // step for p in steps]
            self.tap_places = [t // step for t in shifts]


def _row_table(axes: tuple[_Axis, ...], sizes: Shape, strides: Shape) -> Array:
    """For every row of an arranged plane: where it begins, and which elements exist."""
    lead: list[list[int]] = []  # offsets of the rows along the other axes, -1: outside
    for axis, n, stride in zip(axes[:-1], sizes[:-1], strides[:-1], strict=True):
        found = [axis.first + phase + i * axis.step for phase in axis.phases
                 for i in range(axis.length)]  # fmt: skip
        lead.append([x * stride if 0 <= x < n else NOWHERE for x in found])
    axis, n, stride = axes[-1], sizes[-1], strides[-1]
    rows: list[tuple[int, int, int]] = []
    for places in all_of(*lead):
        for phase in axis.phases:
            start = axis.first + phase
            low = max(-(start // axis.step), 0)
            high = min(-((start - n) // axis.step), axis.length)
            if NOWHERE in places or high <= low:
                rows.append((0, 0, 0))
            else:
                rows.append((sum(places) + start * stride, low, high))
    return np.array(rows, np.int64)


def woven(x: Node, parts: Mapping[Shape, Node], out: Node, steps: Shape) -> Kernel:
    """The kernel that puts phases of the result together; those not among ``parts`` are zero.

    x: some buffer to name where there are none.
    """
    nodes = list(parts.values()) or [x]
    number = {phase: i for i, phase in enumerate(parts)}
    *sizes, width = out.shape[2:]
    rows: list[list[tuple[int, int, int]]] = []
    for place in all_of(*(range(n) for n in sizes)):
        lead = tuple(p % s for p, s in zip(place, steps, strict=False))
        row: list[tuple[int, int, int]] = []
        for last in range(steps[-1]):
            node = parts.get((*lead, last))
            if node is None:
                row.append((-1, 0, 0))
                continue
            inside = tuple(p // s for p, s in zip(place, steps, strict=False))
            shape = node.shape[2:]
            offset = sum(p * s for p, s in zip(inside, strides_of(shape), strict=False))
            row.append((number[*lead, last], offset, prod(shape)))
        rows.append(row)
    table = np.ascontiguousarray(np.array(rows, np.int64))
    words = {"rows": len(rows), "width": width, "table": table.ctypes.data}
    dtype, count, step = out.dtype, len(nodes), steps[-1]
    size = prod(out.shape)
    return Kernel(
        f"weave {by(out.shape)} {dtype.name}", f"weave {count} {step} {dtype.name}",
        lambda target: weave_text(target, dtype, count, step), tuple(Place(n) for n in nodes),
        (Place(out),), tuple(words[name] for name in WEAVE), extent=prod(out.shape[:2]),
        grain=max(1, (1 << 14) * prod(out.shape[:2]) // size),
        nbytes=dtype.itemsize * (size + sum(prod(n.shape) for n in parts.values())), keeps=(table,),
    )  # fmt: skip


def by(shape: Sequence[int]) -> str:
    """A shape in a name."""
    return "x".join(map(str, shape))
