"""Images at another size: nearest, linear, cubic and area resampling, and shuffled pixels."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_flag, as_number
from adjoint.base.shape import Shape, as_size, check_allocation, numel
from adjoint.ir.node import Array, Node, constant
from adjoint.tensors.functional import pool
from adjoint.tensors.functional.windows import Frame, window_spread
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_axis

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

MODES = {  # axes of the image that a mode takes
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,),
    "bilinear": (2,), "bicubic": (2,), "trilinear": (3,),
}  # fmt: skip


def interpolate(
    input: Handle, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:  # fmt: skip
    """(N, C, *sizes) resampled to ``size``, or to floor(sizes * scale_factor).

    mode: ``"nearest"`` (PyTorch's, half a pixel off), ``"nearest-exact"``, ``"linear"`` (3-D),
    ``"bilinear"``, ``"bicubic"`` (4-D; Keys 1981 with a = -0.75), ``"trilinear"`` (5-D),
    ``"area"`` (adaptive mean). With ``align_corners`` the centres of the corner pixels stay in
    place, else the corners of the image do. ``antialias`` widens the window of bilinear and bicubic
    when the image shrinks. Raises ArgumentError for options that do not go together.
    """
    x = node_of(input, "interpolate")
    as_choice("interpolate mode", mode, MODES)
    count = x.ndim - 2
    if count not in MODES[mode]:
        raise _rank(x, mode)
    if x.dtype.kind != "f":
        raise errors.wrong_dtype("interpolate", x.dtype, "a float dtype", hint="x.float()")
    aligned = _aligned(mode, align_corners)
    if antialias and mode not in ("bilinear", "bicubic"):
        raise errors.argument(
            "interpolate", f"antialias does not go with mode {mode!r}",
            hint="it is for bilinear and bicubic",
        )  # fmt: skip
    wanted, scales = _sizes(x.shape[2:], size, scale_factor, recompute_scale_factor)
    if min(wanted, default=1) < 1 or 0 in x.shape[2:]:
        raise errors.shape(
            "interpolate", f"cannot resample to {errors.dims(wanted)}", x,
            hint="sizes must be 1 or more, of images with pixels",
        )  # fmt: skip
    check_allocation("interpolate", (*x.shape[:2], *wanted), x.dtype.itemsize)
    if mode == "area":
        area = (pool.adaptive_avg_pool1d, pool.adaptive_avg_pool2d, pool.adaptive_avg_pool3d)
        return area[count - 1](wrap(x), wanted)
    times = tuple(m // n for n, m in zip(x.shape[2:], wanted, strict=True))
    if mode.startswith("nearest") and _repeats(x.shape[2:], wanted, scales):
        frame = Frame(times, times, ((0, 0),) * count, (1,) * count)
        return wrap(window_spread(x, frame=frame, sizes=wanted))
    for axis, (n, m, scale) in enumerate(zip(x.shape[2:], wanted, scales, strict=True), 2):
        if mode.startswith("nearest"):
            x = _nearest(x, axis, m, scale, mode == "nearest-exact")
        elif n != m or scale is not None:
            step = _step(n, m, scale, aligned)
            make = _smoothed if antialias else _weights
            x = by_matrix(x, axis, make(n, m, step, aligned, mode == "bicubic"))
    return wrap(x)


def upsample(
    input: Handle, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """``interpolate`` under its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Handle, size: Any = None, scale_factor: Any = None) -> Tensor:
    """``interpolate`` with mode ``"nearest"``."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Handle, size: Any = None, scale_factor: Any = None) -> Tensor:
    """``interpolate`` with mode ``"bilinear"`` and aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


def pixel_shuffle(input: Handle, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) -> (..., C, H r, W r): groups of r^2 channels become blocks of pixels.
    Source: Shi et al., CVPR 2016. Raises ShapeError unless r^2 divides the channels."""
    x = node_of(input, "pixel_shuffle")
    r = _factor("pixel_shuffle", upscale_factor)
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise errors.shape(
            "pixel_shuffle", f"the channels must be a multiple of {r * r}", x,
            hint="the input is (..., channels * upscale_factor**2, H, W)",
        )  # fmt: skip
    *lead, c, h, w = x.shape
    n = len(lead)
    split = ops.reshape(x, shape=(*lead, c // (r * r), r, r, h, w))
    moved = ops.permute(split, axes=(*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return wrap(ops.reshape(moved, shape=(*lead, c // (r * r), h * r, w * r)))


def pixel_unshuffle(input: Handle, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) -> (..., C r^2, H, W): the inverse of ``pixel_shuffle``."""
    x = node_of(input, "pixel_unshuffle")
    r = _factor("pixel_unshuffle", downscale_factor)
    if x.ndim < 3 or x.shape[-1] % r or x.shape[-2] % r:
        raise errors.shape(
            "pixel_unshuffle", f"height and width must be multiples of {r}", x,
            hint="the input is (..., channels, H * downscale_factor, W * downscale_factor)",
        )  # fmt: skip
    *lead, c, h, w = x.shape
    n = len(lead)
    split = ops.reshape(x, shape=(*lead, c, h // r, r, w // r, r))
    moved = ops.permute(split, axes=(*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return wrap(ops.reshape(moved, shape=(*lead, c * r * r, h // r, w // r)))


def channel_shuffle(input: Handle, groups: int) -> Tensor:
    """(N, C, ...) with the channels dealt out: channel j of group i comes to place j groups + i.
    Source: Zhang et al., "ShuffleNet", CVPR 2018."""
    x = node_of(input, "channel_shuffle")
    g = _factor("channel_shuffle", groups)
    if x.ndim < 3 or x.shape[1] % g:
        raise errors.shape(
            "channel_shuffle", f"{g} groups do not divide the channels", x,
            hint="the input is (N, channels, *sizes)",
        )  # fmt: skip
    n, c, *rest = x.shape
    split = ops.reshape(x, shape=(n, g, c // g, *rest))
    return wrap(
        ops.reshape(ops.permute(split, axes=(0, 2, 1, *range(3, split.ndim))), shape=x.shape)
    )


def by_matrix(x: Node, axis: int, matrix: Array) -> Node:
    """The sums over ``axis`` with the weights (in, out) of ``matrix``."""
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    moved = ops.permute(x, axes=order)
    rows = ops.reshape(moved, shape=(numel(moved.shape[:-1]), x.shape[axis]))
    out = ops.dot(rows, constant(matrix.astype(x.dtype.numpy)))
    out = ops.reshape(out, shape=(*moved.shape[:-1], matrix.shape[1]))
    return ops.permute(out, axes=tuple(int(a) for a in np.argsort(order)))


def _aligned(mode: str, align_corners: Any) -> bool:
    if align_corners is None:
        return False
    if mode in ("nearest", "nearest-exact", "area"):
        raise errors.argument(
            "interpolate", f"align_corners does not go with mode {mode!r}", hint="leave it out"
        )
    return as_flag("interpolate", "align_corners", align_corners)


def _sizes(
    shape: Shape, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[Shape, list[float | None]]:
    """The wanted sizes, and the scales where they were given and count."""
    if (size is None) == (scale_factor is None):
        raise errors.argument(
            "interpolate", "needs either size or scale_factor", hint="scale_factor=2, say"
        )
    given = size if scale_factor is None else scale_factor
    items = list(given) if isinstance(given, (tuple, list)) else [given] * len(shape)
    if len(items) != len(shape):
        raise errors.argument(
            "interpolate", f"needs {len(shape)} numbers, got {errors.clip(given)}",
            hint="one for each axis of the image, or one number",
        )  # fmt: skip
    if scale_factor is None:
        if recompute:
            raise errors.argument(
                "interpolate", "recompute_scale_factor needs a scale_factor", hint="leave it out"
            )
        return tuple(as_size("interpolate", n) for n in items), [None] * len(shape)
    scales = [float(as_number("interpolate", "scale_factor", s)) for s in items]
    wanted = tuple(floor(n * s) for n, s in zip(shape, scales, strict=True))
    return wanted, [None if recompute or s <= 0 else s for s in scales]


def _step(n: int, m: int, scale: float | None, aligned: bool) -> float:
    """How far one pixel of the result goes in the input."""
    if aligned:
        return (n - 1) / (m - 1) if m > 1 else 0.0
    return n / m if scale is None else 1 / scale


def _repeats(shape: Shape, wanted: Shape, scales: list[float | None]) -> bool:
    """Whether every pixel is simply repeated, the same number of times along an axis."""
    sizes = zip(shape, wanted, scales, strict=True)
    return all(m % n == 0 and scale in (None, m // n) for n, m, scale in sizes)


def _nearest(x: Node, axis: int, m: int, scale: float | None, exact: bool) -> Node:
    n = x.shape[axis]
    if m == n and scale is None:
        return x
    half = np.float32(0.5 if exact else 0.0)
    step = np.float32(n / m if scale is None else 1 / scale)  # float32 in PyTorch, whatever x is
    at = np.floor((np.arange(m, dtype=np.float32) + half) * step)
    places = np.minimum(at, n - 1).astype(np.int64)
    return take_axis(x, constant(places), axis)


def _weights(n: int, m: int, step: float, aligned: bool, cubic: bool) -> Array:
    """(n, m): what each input pixel gives to each pixel of the result."""
    at = np.arange(m) * step if aligned else (np.arange(m) + 0.5) * step - 0.5
    found = np.zeros((n, m))
    if not cubic:
        at = np.maximum(at, 0.0)
    first = np.floor(at).astype(np.int64)
    reach, shape = (range(-1, 3), _cubic(-0.75)) if cubic else (range(2), _tent)
    for tap in reach:
        place = np.clip(first + tap, 0, n - 1)
        np.add.at(found, (place, np.arange(m)), shape(at - first - tap))
    return found


def _smoothed(n: int, m: int, step: float, aligned: bool, cubic: bool) -> Array:
    """The same with a window as wide as a pixel of the result; weights sum to 1."""
    width = max(step, 1.0)
    support = (2.0 if cubic else 1.0) * width
    shape = _cubic(-0.5) if cubic else _tent
    found = np.zeros((n, m))
    for j in range(m):
        centre = step * (j + 0.5)
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), n)
        part = shape((np.arange(first, last) - centre + 0.5) / width)
        found[first:last, j] = part / part.sum()
    return found


def _tent(x: Array) -> Array:
    return np.maximum(1 - np.abs(x), 0.0)


def _cubic(a: float) -> Callable[[Array], Array]:
    def weight(x: Array) -> Array:
        d = np.abs(x)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((d - 5) * d + 8) * d * a - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return weight


def _factor(op: str, value: Any) -> int:
    found = as_size(op, value)
    if found < 1:
        raise errors.argument(op, f"the factor must be 1 or more, got {found}", hint="2, say")
    return found


def _rank(x: Node, mode: str) -> errors.AdjointError:
    ranks = " or ".join(f"{c + 2}-D" for c in MODES[mode])
    fit = [m for m, counts in MODES.items() if x.ndim - 2 in counts]
    return errors.shape(
        "interpolate", f"mode {mode!r} takes {ranks} inputs", x,
        hint=f"modes for {x.ndim}-D: {', '.join(fit)}" if fit else "the input is (N, C, *sizes)",
    )  # fmt: skip
