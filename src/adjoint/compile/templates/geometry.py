"""Where windows are, with what the templates of pooling derive from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

from adjoint.base.dtype import DType
from adjoint.base.shape import Shape
from adjoint.compile.code import Function, Value

MOST_TAPS = 256  # places in a kernel that are written out one by one
WIDEST_STRIDE = 4  # beyond, columns are worked on one by one


class Geometry(NamedTuple):
    """``planes`` arrays of ``sizes`` with ``places`` windows each; the last axis is the row.

    Window p meets elements p * stride - low + tap * dilation, on each axis.
    """

    planes: int
    sizes: Shape
    places: Shape
    kernel: Shape
    stride: Shape
    low: Shape
    dilation: Shape

    @property
    def width(self) -> int:
        return self.sizes[-1]

    @property
    def columns(self) -> int:
        """Windows in a row."""
        return self.places[-1]

    @property
    def outer_taps(self) -> list[Shape]:
        """The places in the kernel along all axes but the last."""
        return list(product(*(range(k) for k in self.kernel[:-1])))

    @property
    def groups(self) -> int:
        """How many strides lie between the first and the last element of a window in a row."""
        return (self.kernel[-1] - 1) * self.dilation[-1] // self.stride[-1]

    def reach(self, axis: int) -> int:
        """The element behind the last one that a window meets; it may be padding."""
        span = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (self.places[axis] - 1) * self.stride[axis] - self.low[axis] + span

    def is_cells(self, axis: int) -> bool:
        """Whether each window has ``stride`` elements of its own, and all have one."""
        span = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        stride = self.stride[axis]
        fits = self.sizes[axis] == self.places[axis] * stride
        return self.low[axis] == 0 and span <= stride and fits

    @property
    def is_apart(self) -> bool:
        """Whether no two windows have an element in common."""
        axes = zip(self.kernel, self.dilation, self.stride, strict=True)
        return all((k - 1) * d + 1 <= s for k, d, s in axes)

    def is_padded(self, axis: int) -> bool:
        return self.low[axis] > 0 or self.reach(axis) > self.sizes[axis]

    def merged(self) -> Geometry:
        """The same with the planes joined to one where windows do not cross them."""
        if len(self.sizes) != 2 or not self.is_cells(0):
            return self
        (high, width), (down, across) = self.sizes, self.places
        sizes, places = (self.planes * high, width), (self.planes * down, across)
        return self._replace(planes=1, sizes=sizes, places=places)


def geometry(planes: int, sizes: Shape, frame: Any) -> Geometry | None:
    """The geometry of a ``Frame``, with two axes at least; None where it is too much to write."""
    places: Shape = frame.places(sizes)
    low = tuple(lo for lo, _ in frame.pads)
    axes = (sizes, places, frame.kernel, frame.stride, low, frame.dilation)
    if len(sizes) == 1:
        axes = tuple((first, *own) for first, own in zip((1, 1, 1, 1, 0, 1), axes, strict=True))
    made = Geometry(planes, *axes)
    if min(low) < 0 or prod(made.kernel) > MOST_TAPS or not prod(made.places) * planes:
        return None
    return made


def lowest(dtype: DType) -> float | int:
    """The smallest value of a dtype: what padding is for a maximum."""
    if dtype.kind == "f":
        return float("-inf")
    return -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0


def decoded(f: Function, index: Value, sizes: Sequence[int]) -> list[Value]:
    """The coordinates of ``index`` in a grid of ``sizes``."""
    found: list[Value] = []
    for size in reversed(sizes[1:]):
        if size == 1:
            found.append(f.number(0))
            continue
        many = f.number(size)
        found.append(f.two("urem", index, many))
        index = f.two("udiv", index, many)
    return [index, *reversed(found)]


def scaled(f: Function, value: Value, factor: int, shift: int = 0) -> Value:
    """value * factor + shift"""
    if factor != 1:
        value = f.mul(value, f.number(factor))
    return f.add(value, f.number(shift)) if shift else value


def inside(f: Function, g: Geometry, places: Sequence[Value], tap: Sequence[int]) -> Value | None:
    """Whether the row that a tap meets exists; None when it always does."""
    found: Value | None = None
    for axis, (p, t) in enumerate(zip(places, tap, strict=True)):
        if g.is_padded(axis):
            row = scaled(f, p, g.stride[axis], t * g.dilation[axis] - g.low[axis])
            fits = f.compare("ult", row, f.number(g.sizes[axis]))
            found = fits if found is None else f.two("and", found, fits)
    return found


def row_of(
    f: Function, g: Geometry, plane: Value, places: Sequence[Value], tap: Sequence[int]
) -> Value:
    """The element at which the row begins that a tap of the windows at ``places`` meets."""
    index = plane
    for axis, (p, t) in enumerate(zip(places, tap, strict=True)):
        row = scaled(f, p, g.stride[axis], t * g.dilation[axis] - g.low[axis])
        index = f.add(f.mul(index, f.number(g.sizes[axis])), row)
    return f.mul(index, f.number(g.width))


def picked(f: Function, kernel: int, dilation: int, stride: int, lanes: int,
           load: Callable[[int, int], Value]) -> Iterator[Value]:  # fmt: skip
    """What each tap along a row sees of ``lanes`` windows; ``load(offset, count)`` gives ``count``
    elements, which serve all taps whose first elements are less than a stride apart."""
    if lanes == 1:
        for t in range(kernel):
            yield load(t * dilation, 1)
        return
    groups: dict[int, Value] = {}
    for t in range(kernel):
        group, phase = divmod(t * dilation, stride)
        if group not in groups:
            groups[group] = load(group * stride, lanes * stride)
        many = groups[group]
        order = [phase + i * stride for i in range(lanes)]
        yield many if stride == 1 else f.shuffle(many, many, order)
