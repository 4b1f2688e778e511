"""Views never become kernels: each is an affine map from an index to a place in a buffer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from adjoint.base.shape import Shape
from adjoint.ir.node import Node


class View(NamedTuple):
    """Element i of the view is element ``offset + sum(i * strides)`` of the buffer of ``node``."""

    node: Node
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether this is the buffer itself, perhaps with another shape."""
        dense = self.strides_that_matter == contiguous(self.shape_that_matters)
        return self.offset == 0 and dense and prod(self.shape) == prod(self.node.shape)

    @property
    def shape_that_matters(self) -> Shape:
        return tuple(n for n in self.shape if n != 1)

    @property
    def strides_that_matter(self) -> Shape:
        return tuple(s for n, s in zip(self.shape, self.strides, strict=True) if n != 1)


def contiguous(shape: Shape) -> Shape:
    """The strides of a row-major buffer, in elements."""
    strides: list[int] = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def whole(node: Node) -> View:
    """All of the buffer of ``node``."""
    return View(node, node.shape, contiguous(node.shape))


def stored(node: Node) -> View:
    """A constant as it lies in memory: one that repeats another is not stored in full."""
    if node.op is None or not node.op.lazy or not node.args:
        return whole(node)
    found = seen_through(node, stored(node.args[0]))
    assert found is not None, "a broadcast is a view"
    return found


def seen_through(node: Node, view: View) -> View | None:
    """What the view op ``node`` shows of its argument, itself seen as ``view``; None where that is
    not affine (pad, concat, a reshape across a permutation)."""
    assert node.op is not None
    match node.op.name:
        case "permute":
            axes: Shape = node.params["axes"]
            shape = tuple(view.shape[a] for a in axes)
            return view._replace(shape=shape, strides=tuple(view.strides[a] for a in axes))
        case "broadcast":
            lead = len(node.shape) - len(view.shape)
            kept = (0 if n == 1 else s for n, s in zip(view.shape, view.strides, strict=True))
            return view._replace(shape=node.shape, strides=(*(0,) * lead, *kept))
        case "slice":
            steps = tuple(s * k for s, k in zip(view.strides, node.params["steps"], strict=True))
            first = sum(s * b for s, b in zip(view.strides, node.params["starts"], strict=True))
            if 0 in node.shape:
                first = 0
            return View(view.node, node.shape, steps, view.offset + first)
        case "reshape":
            strides = reshaped(view.shape, view.strides, node.shape)
            return None if strides is None else view._replace(shape=node.shape, strides=strides)
        case _:
            return None


def reshaped(shape: Shape, strides: Shape, new: Shape) -> Shape | None:
    """The strides of the same elements in ``new`` shape, when there are such."""
    if 0 in shape:
        return contiguous(new)
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    blocks: list[list[int]] = []  # [size, stride of its last element], merged where they touch
    for n, s in old:
        if blocks and blocks[-1][1] == n * s:
            blocks[-1] = [blocks[-1][0] * n, s]
        else:
            blocks.append([n, s])
    found: list[int] = []
    left = list(reversed(blocks))
    size, step = left.pop() if left else (1, 0)
    # walk from the last axis backwards inside each block
    spans: list[tuple[int, int]] = [(size, step), *((b[0], b[1]) for b in reversed(left))]
    place = len(spans) - 1
    size, step = spans[place]
    for n in reversed(new):
        if n == 1:
            found.append(0)
            continue
        if size == 1 and place > 0:
            place -= 1
            size, step = spans[place]
        if size % n:
            return None
        found.append(step)
        size, step = size // n, step * n
    return tuple(reversed(found))


class Axis:
    """One axis of the index space of a kernel; splits when a reshape asks for it."""

    __slots__ = ("parts", "reduced", "size")

    def __init__(self, size: int, reduced: bool = False) -> None:
        self.size = size
        self.reduced = reduced
        self.parts: tuple[Axis, Axis] | None = None

    def leaves(self) -> list[Axis]:
        if self.parts is None:
            return [self]
        return [leaf for part in self.parts for leaf in part.leaves()]

    def split(self, inner: int) -> None:
        """Into an outer axis and one of ``inner`` elements."""
        self.parts = (Axis(self.size // inner, self.reduced), Axis(inner, self.reduced))

    def __repr__(self) -> str:
        return f"{'r' if self.reduced else 'a'}{self.size}"


Map = tuple[tuple[Axis, ...], ...]
"""For each axis of a value, the axes of the index space that it is made of; () for size 1."""


def leaves(axes: Sequence[Axis]) -> list[Axis]:
    return [leaf for axis in axes for leaf in axis.leaves()]


def pulled_back(node: Node, places: Map, shape: Shape) -> Map | None:
    """The map of the argument of the view op ``node``, whose own map is ``places``: where each
    element was taken from. None when it is not one and the same index space."""
    assert node.op is not None
    match node.op.name:
        case "permute":
            found: list[tuple[Axis, ...]] = [()] * len(shape)
            for i, axis in enumerate(node.params["axes"]):
                found[axis] = places[i]
            return tuple(found)
        case "broadcast":
            lead = len(node.shape) - len(shape)
            return tuple(() if n == 1 else places[lead + i] for i, n in enumerate(shape))
        case "reshape":
            return regrouped(places, shape)
        case "copy":
            return places
        case _:
            return None


def regrouped(places: Map, shape: Shape) -> Map | None:
    """The same axes in the same order, cut at the sizes of ``shape``; splits axes where needed."""
    flat = leaves([axis for group in places for axis in group])
    found: list[tuple[Axis, ...]] = []
    queue = list(reversed(flat))
    for n in shape:
        group: list[Axis] = []
        left = n
        while left > 1:
            if not queue:
                return None
            axis = queue.pop()
            if axis.size > left:
                if axis.size % left:
                    return None
                # the first `left` steps of the outer part belong to this axis
                axis.split(axis.size // left)
                assert axis.parts is not None
                outer, inner = axis.parts
                queue.append(inner)
                axis = outer
            if left % axis.size:
                return None
            left //= axis.size
            group.append(axis)
        found.append(tuple(group))
    return None if queue else tuple(found)
