"""Regions over sliding windows: their maximum and their sum, and the derivatives of both.

All work on the last axes of an array. ``Frame`` says where the windows are: kernel sizes, strides,
padding at both ends (the end may be negative: a rest that no window covers) and dilation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from adjoint import ops
from adjoint.base.dtype import DType, bool_, int64
from adjoint.base.shape import Shape
from adjoint.ir.node import Array, Node, Op, Params, Type, constant
from adjoint.ops.contract import conv_size
from adjoint.ops.movement import narrow
from adjoint.ops.pointwise import BITS
from adjoint.ops.pointwise import select as choose
from adjoint.ops.rows import Wanted, batch_all, full, zeros_like
from adjoint.ops.structure import Region, call
from adjoint.runtime.threads import share
from adjoint.tensors.pointwise import opposite, select
from adjoint.tensors.regions import or_template, region

LARGE = 1 << 14  # elements from which on compiled kernels pay


class Frame(NamedTuple):
    """Where the windows are, per axis."""

    kernel: Shape
    stride: Shape
    pads: tuple[tuple[int, int], ...]
    dilation: Shape

    def places(self, sizes: Shape) -> Shape:
        """How many windows there are along each axis of ``sizes``."""
        axes = zip(sizes, self.kernel, self.stride, self.pads, self.dilation, strict=True)
        return tuple(conv_size(n, k, s, p, d, 1) for n, k, s, p, d in axes)

    def taps(self, places: Shape) -> Iterator[tuple[slice, ...]]:
        """For each place in the kernel, the elements of the padded array it meets."""
        for tap in product(*(range(k) for k in self.kernel)):
            axes = zip(tap, self.dilation, self.stride, places, strict=True)
            yield tuple(slice(t * d, t * d + (p - 1) * s + 1, s) for t, d, s, p in axes)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to pad or to crop."""
        return all(pad == (0, 0) for pad in self.pads)


def lowest(dtype: np.dtype[Any]) -> Any:
    """The smallest value of a NumPy dtype: what padding is for a maximum."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    return False if dtype.kind == "b" else -np.inf


# --- on arrays --------------------------------------------------------------------------------


def _padded(x: Array, frame: Frame, value: Any) -> Array:
    if frame.is_plain:
        return x
    lead = x.ndim - len(frame.kernel)
    sizes = [n + lo + hi for n, (lo, hi) in zip(x.shape[lead:], frame.pads, strict=True)]
    out = np.full((*x.shape[:lead], *sizes), value, x.dtype)
    _inner(out, x.shape[lead:], frame)[...] = _cropped(x, frame)
    return out


def _inner(wide: Array, sizes: Shape, frame: Frame) -> Array:
    """The part of a padded array that is not padding."""
    cut = (slice(lo, lo + n + min(hi, 0)) for n, (lo, hi) in zip(sizes, frame.pads, strict=True))
    return wide[(..., *cut)]


def _cropped(x: Array, frame: Frame) -> Array:
    """``x`` without the rest that no window covers."""
    if all(hi >= 0 for _, hi in frame.pads):
        return x
    lead = x.ndim - len(frame.kernel)
    cut = (slice(n + min(hi, 0)) for n, (_, hi) in zip(x.shape[lead:], frame.pads, strict=True))
    return x[(..., *cut)]


def _along(x: Array, frame: Frame, places: Shape, combine: Callable[..., Array]) -> Array:
    """``combine`` over every window, one axis after the other."""
    count = len(places)
    for axis in range(count):
        k, s, d, p = frame.kernel[axis], frame.stride[axis], frame.dilation[axis], places[axis]
        behind = (slice(None),) * (count - 1 - axis)
        parts = [x[(..., slice(t * d, t * d + (p - 1) * s + 1, s), *behind)] for t in range(k)]
        if k == 1:
            x = parts[0]
            continue
        x = combine(parts[0], parts[1])
        for part in parts[2:]:
            combine(x, part, out=x)
    return x


def _by_rows(count: int, nbytes: int, work: Callable[[slice], None]) -> None:
    share(count, nbytes, lambda first, last: work(slice(first, last)))


def _flat_rows(x: Array, count: int) -> Array:
    """``x`` with all axes but the last ``count`` merged into one."""
    return x.reshape(-1, *x.shape[x.ndim - count :])


def _reduced(x: Array, frame: Frame, combine: Callable[..., Array], padding: Any) -> Array:
    count = len(frame.kernel)
    places = frame.places(x.shape[x.ndim - count :])
    out = np.empty((*x.shape[: x.ndim - count], *places), x.dtype)
    if out.size == 0:
        return out
    source, target = _flat_rows(x, count), _flat_rows(out, count)

    def work(rows: slice) -> None:
        target[rows] = _along(_padded(source[rows], frame, padding), frame, places, combine)

    _by_rows(len(source), 2 * x.nbytes, work)
    return out


def _window_max(x: Array, frame: Frame) -> Array:
    return _reduced(x, frame, np.maximum, lowest(x.dtype))


def _window_sum(x: Array, frame: Frame) -> Array:
    if x.dtype.itemsize == 2:
        return _window_sum(x.astype(np.float32), frame).astype(x.dtype)
    return _reduced(x, frame, np.add, 0)


def _hits(x: Array, out: Array, frame: Frame, places: Shape) -> Iterator[tuple[Any, Array]]:
    """For every place in the kernel, where its element is the first to be the maximum. The last
    place takes all windows that are left: those whose maximum is NaN."""
    free = np.ones(out.shape, np.bool_)
    taps = list(frame.taps(places))
    for tap in taps[:-1]:
        hit = x[(..., *tap)] == out
        hit &= free
        free ^= hit
        yield (..., *tap), hit
    yield (..., *taps[-1]), free


def _to_first(ct: Array, x: Array, out: Array, frame: Frame) -> Array:
    """``ct`` sent to the first largest element of each window, in row-major order."""
    count = len(frame.kernel)
    found = np.zeros(x.shape, x.dtype)
    if out.size == 0:
        return found
    cts, xs, outs, target = (_flat_rows(a, count) for a in (ct, x, out, found))
    taps = [(..., *tap) for tap in frame.taps(out.shape[out.ndim - count :])]
    bits = BITS[x.dtype.itemsize]
    overlap = any(
        s < (k - 1) * d + 1
        for k, s, d in zip(frame.kernel, frame.stride, frame.dilation, strict=True)
    )

    def work(rows: slice) -> None:
        wide = _padded(xs[rows], frame, lowest(x.dtype))
        sums = target[rows] if frame.is_plain else np.zeros(wide.shape, x.dtype)
        as_bits, rest = sums.view(bits), np.array(cts[rows], order="C").view(bits)
        for tap in taps:
            part = rest
            if tap is not taps[-1]:  # what is taken here is no longer there for the next
                part = np.negative((wide[tap] == outs[rows]).view(np.int8)).astype(bits, copy=False)
                part &= rest
                rest ^= part
            if overlap:
                sums[tap] += part.view(x.dtype)
            else:
                as_bits[tap] = part
        if not frame.is_plain:
            inner = _cropped(target[rows], frame)
            inner[...] = _inner(sums, x.shape[x.ndim - count :], frame)

    _by_rows(len(xs), 2 * x.nbytes * prod(frame.kernel), work)
    return found


def _from_first(values: Array, x: Array, out: Array, frame: Frame) -> Array:
    """``values`` at the first largest element of each window."""
    count = len(frame.kernel)
    found = np.zeros(out.shape, x.dtype)
    if out.size:
        wide, padded = _padded(x, frame, lowest(x.dtype)), _padded(values, frame, 0)
        for tap, hit in _hits(wide, out, frame, out.shape[out.ndim - count :]):
            found += choose(hit, padded[tap], np.zeros((), x.dtype))
    return found


def _places_of_max(x: Array, out: Array, frame: Frame) -> Array:
    """The flat place, in the unpadded array, of the first largest element of each window."""
    count = len(frame.kernel)
    sizes = x.shape[x.ndim - count :]
    grid = np.arange(prod(sizes), dtype=np.int64).reshape(sizes)
    places = out.shape[out.ndim - count :]
    found = np.zeros(out.shape, np.int64)
    numbers = _padded(grid, frame, 0)
    if out.size:
        wide = _padded(x, frame, lowest(x.dtype))
        for tap, hit in _hits(wide, out, frame, places):
            found += hit * numbers[tap]
    return found


def _window_spread(ct: Array, frame: Frame, sizes: Shape) -> Array:
    """Every element of ``ct`` added to all elements of its window."""
    if ct.dtype.itemsize == 2:
        return _window_spread(ct.astype(np.float32), frame, sizes).astype(ct.dtype)
    count = len(sizes)
    wide = [n + lo + hi for n, (lo, hi) in zip(sizes, frame.pads, strict=True)]
    lead = ct.shape[: ct.ndim - count]
    out = ct
    for axis in reversed(range(count)):
        k, s, d = frame.kernel[axis], frame.stride[axis], frame.dilation[axis]
        place = len(lead) + axis
        p = out.shape[place]
        spread = np.zeros((*out.shape[:place], wide[axis], *out.shape[place + 1 :]), ct.dtype)
        behind = (slice(None),) * (count - 1 - axis)
        for t in range(k if p else 0):
            spread[(..., slice(t * d, t * d + (p - 1) * s + 1, s), *behind)] += out
        out = spread
    if frame.is_plain:
        return out
    found = np.zeros((*lead, *sizes), ct.dtype)
    _cropped(found, frame)[...] = _inner(out, sizes, frame)
    return found


# --- as ops -----------------------------------------------------------------------------------


def _padded_node(x: Node, frame: Frame, value: float) -> Node:
    lead = x.ndim - len(frame.kernel)
    for axis, (low, high) in enumerate(frame.pads, lead):
        if high < 0:
            x = narrow(x, axis, 0, x.shape[axis] + high)
        if low or high > 0:
            ends = [
                full(value, (*x.shape[:axis], max(n, 0), *x.shape[axis + 1 :]), x.dtype)
                for n in (low, high)
            ]
            x = ops.concat(ends[0], x, ends[1], axis=axis)
    return x


def _tap_nodes(x: Node, frame: Frame, places: Shape) -> Iterator[Node]:
    lead = x.ndim - len(places)
    for tap in frame.taps(places):
        yield ops.slice(
            x, starts=(*(0,) * lead, *(t.start for t in tap)), sizes=(*x.shape[:lead], *places),
            steps=(*(1,) * lead, *frame.stride),
        )  # fmt: skip


def _places(x: Node, frame: Frame) -> Shape:
    return frame.places(x.shape[x.ndim - len(frame.kernel) :])


def _lowest(dtype: DType) -> float:
    return lowest(dtype.numpy) if dtype.name != "bfloat16" else -np.inf


def _folded(x: Node, frame: Frame, value: float, combine: Op) -> Sequence[Node]:
    taps = list(_tap_nodes(_padded_node(x, frame, value), frame, _places(x, frame)))
    out = taps[0]
    for tap in taps[1:]:
        out = combine(out, tap)
    return [out]


def _hit_nodes(x: Node, out: Node, frame: Frame) -> Iterator[Node]:
    wide = _padded_node(x, frame, _lowest(x.dtype))
    free = full(True, out.shape, bool_)
    taps = list(_tap_nodes(wide, frame, out.shape[x.ndim - len(frame.kernel) :]))
    for tap in taps[:-1]:
        hit = ops.bit_and(ops.eq(tap, out), free)
        free = ops.bit_and(free, opposite(hit))
        yield hit
    yield free


def _untap(parts: Iterator[Node], frame: Frame, sizes: Shape, places: Shape) -> Node:
    """The sum of ``parts``, each put back where its tap took it from, on an array of ``sizes``."""
    wide = [n + lo + hi for n, (lo, hi) in zip(sizes, frame.pads, strict=True)]
    total: Node | None = None
    lead = 0
    for tap, part in zip(frame.taps(places), parts, strict=True):
        lead = part.ndim - len(sizes)
        high = (n - t.stop for n, t in zip(wide, tap, strict=True))
        put = ops.pad(
            part, low=(*(0,) * lead, *(t.start for t in tap)), high=(*(0,) * lead, *high),
            interior=(*(0,) * lead, *(s - 1 for s in frame.stride)),
        )  # fmt: skip
        total = put if total is None else total + put
    assert total is not None
    for axis, (n, (low, high)) in enumerate(zip(sizes, frame.pads, strict=True), lead):
        total = narrow(total, axis, low, n + min(high, 0))
        rest = [0] * total.ndim
        rest[axis] = max(-high, 0)
        if any(rest):
            total = ops.pad(
                total, low=(0,) * total.ndim, high=tuple(rest), interior=(0,) * total.ndim
            )
    return total


def _to_first_body(ct: Node, x: Node, out: Node, frame: Frame) -> Sequence[Node]:
    lead = x.ndim - len(frame.kernel)
    parts = (select(hit, ct, 0) for hit in _hit_nodes(x, out, frame))
    return [_untap(parts, frame, x.shape[lead:], out.shape[lead:])]


def _from_first_body(values: Node, x: Node, out: Node, frame: Frame) -> Sequence[Node]:
    taps = _tap_nodes(
        _padded_node(values, frame, 0), frame, out.shape[x.ndim - len(frame.kernel) :]
    )
    found = zeros_like(out)
    for hit, tap in zip(_hit_nodes(x, out, frame), taps, strict=True):
        found = found + select(hit, tap, 0)
    return [found]


def _places_body(x: Node, out: Node, frame: Frame) -> Sequence[Node]:
    lead = x.ndim - len(frame.kernel)
    sizes = x.shape[lead:]
    grid = constant(np.arange(prod(sizes), dtype=np.int64).reshape(sizes))
    taps = _tap_nodes(_padded_node(grid, frame, 0), frame, out.shape[lead:])
    found = full(0, out.shape, int64)
    for hit, tap in zip(_hit_nodes(x, out, frame), taps, strict=True):
        found = found + select(hit, ops.broadcast(tap, shape=out.shape), 0)
    return [found]


def _spread_body(ct: Node, frame: Frame, sizes: Shape) -> Sequence[Node]:
    places = ct.shape[ct.ndim - len(sizes) :]
    return [_untap((ct for _ in range(prod(frame.kernel))), frame, sizes, places)]


# --- the regions ------------------------------------------------------------------------------


def _region(name: str, body: Any, kernel: Any, infer: Any, vjp: Any) -> Region:
    """The windows are along the last axes, so that a batch in front changes nothing."""

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        return batch_all(call, size, batched, args, {**static, "region": made})

    made = region(name, body, kernel=kernel, infer=infer, vjp=vjp, vmap=vmap)
    return made


def _pooled_type(x: Node, frame: Frame) -> Type:
    return Type((*x.shape[: x.ndim - len(frame.kernel)], *_places(x, frame)), x.dtype)


def _max_vjp(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    return [to_first(ct, args[0], out, **static)]


def _to_first_vjp(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    return [from_first(ct, args[1], args[2], **static), None, None]


def _from_first_vjp(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    return [to_first(ct, args[1], args[2], **static), None, None]


def _sum_vjp(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    frame: Frame = static["frame"]
    x = args[0]
    return [window_spread(ct, frame=frame, sizes=x.shape[x.ndim - len(frame.kernel) :])]


def _spread_vjp(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    return [window_sum(ct, frame=static["frame"])]


def _work_apart(ct: Array, x: Array, out: Array, frame: Frame) -> int:
    """Elements, where the order of sums does not matter because there are none."""
    axes = zip(frame.kernel, frame.stride, frame.dilation, strict=True)
    return x.size if all((k - 1) * d + 1 <= s for k, s, d in axes) else 0


def _nothing(*_: Any) -> Sequence[None]:
    return [None, None]


window_max = _region(
    "window_max", lambda x, frame: _folded(x, frame, _lowest(x.dtype), ops.maximum),
    or_template(_window_max, lambda: window_max, lambda x, frame: x.size, LARGE), _pooled_type,
    _max_vjp,
)  # fmt: skip
to_first = _region(
    "to_first_max", _to_first_body,
    or_template(_to_first, lambda: to_first, _work_apart, LARGE),
    lambda ct, x, out, frame: Type(x.shape, x.dtype), _to_first_vjp,
)  # fmt: skip
from_first = _region(
    "from_first_max", _from_first_body, _from_first,
    lambda values, x, out, frame: Type(out.shape, out.dtype), _from_first_vjp,
)  # fmt: skip
place_of_max = _region(
    "place_of_max", _places_body, _places_of_max,
    lambda x, out, frame: Type(out.shape, int64), _nothing,
)  # fmt: skip
window_sum = _region(
    "window_sum", lambda x, frame: _folded(x, frame, 0, ops.add), _window_sum, _pooled_type,
    _sum_vjp,
)  # fmt: skip
window_spread = _region(
    "window_spread", _spread_body, _window_spread,
    lambda ct, frame, sizes: Type((*ct.shape[: ct.ndim - len(sizes)], *sizes), ct.dtype),
    _spread_vjp,
)  # fmt: skip
