"""Images read at places that are computed: affine grids and sampling on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.shape import as_shape
from adjoint.ir.node import constant
from adjoint.tensors.arithmetic import logical_and, where
from adjoint.tensors.elementwise import clamp, floor
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.movement import broadcast_to, reshape

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def affine_grid(theta: Handle, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Where an affine map (N, 2, 3) takes each pixel of an image of ``size`` (N, C, H, W): (N, H,
    W, 2) with x before y, both in [-1, 1]; or (N, 3, 4) and five sizes. See ``grid_sample``."""
    node = node_of(theta, "affine_grid")
    shape = as_shape("affine_grid", size)
    count = len(shape) - 2
    if count not in (2, 3) or node.shape != (shape[0], count, count + 1):
        raise errors.shape(
            "affine_grid", f"theta does not fit size {errors.clip(size)}", node,
            hint="(N, 2, 3) with size (N, C, H, W), or (N, 3, 4) with (N, C, D, H, W)",
        )  # fmt: skip
    lines = []
    for n in shape[2:]:
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        lines.append(line if align_corners else line * ((n - 1) / n))
    grid = np.meshgrid(*lines, indexing="ij")[::-1]
    base = np.stack([*grid, np.ones(shape[2:])], -1).reshape(-1, count + 1)
    places = wrap(constant(base.astype(node.dtype.numpy)))
    return reshape(places @ wrap(node).transpose(1, 2), (shape[0], *shape[2:], count))


def grid_sample(
    input: Handle, grid: Handle, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """Values of an image (N, C, H, W) at the places (N, H', W', 2) of ``grid``: (N, C, H', W').

    -1 and 1 are the centres of the corner pixels with ``align_corners``, else the corners of the
    image. mode: ``"bilinear"`` or ``"nearest"``. padding_mode: outside the image are ``"zeros"``,
    the ``"border"``, or the image again by ``"reflection"``. Volumes (N, C, D, H, W) too.
    Gradients flow to both. Source: Jaderberg et al., NeurIPS 2015.
    """
    x, g = node_of(input, "grid_sample"), node_of(grid, "grid_sample")
    as_choice("grid_sample mode", mode, ["bilinear", "nearest"])
    as_choice("grid_sample padding_mode", padding_mode, ["zeros", "border", "reflection"])
    count = x.ndim - 2
    if count not in (2, 3) or g.shape != (x.shape[0], *g.shape[1:-1], count) or g.ndim != x.ndim:
        raise errors.shape(
            "grid_sample", "input and grid do not fit", x, g,
            hint="(N, C, H, W) with a grid (N, H', W', 2)",
        )  # fmt: skip
    if x.dtype is not g.dtype:
        raise errors.mixed_dtypes("grid_sample", x, g)
    sizes = x.shape[2:]
    places = [
        _place(wrap(g)[..., count - 1 - axis], n, padding_mode, bool(align_corners))
        for axis, n in enumerate(sizes)
    ]
    if mode == "nearest":
        return _read(wrap(x), [p.detach().round() for p in places])
    lows = [floor(p.detach()) for p in places]
    total: Any = None
    for corner in product((0, 1), repeat=count):
        weight: Any = 1.0
        for up, low, place in zip(corner, lows, places, strict=True):
            share = place - low
            weight = weight * (share if up else 1 - share)
        value = _read(wrap(x), [low + up for up, low in zip(corner, lows, strict=True)])
        part = value * weight.unsqueeze(1)
        total = part if total is None else total + part
    return total


def _place(g: Tensor, n: int, padding_mode: str, aligned: bool) -> Tensor:
    """Pixel coordinates, brought back into the image where the padding says so."""
    place = (g + 1) * ((n - 1) / 2) if aligned else ((g + 1) * n - 1) / 2
    if padding_mode == "reflection":
        place = _reflected(place, 0.0, n - 1.0) if aligned else _reflected(place, -0.5, n - 0.5)
    return place if padding_mode == "zeros" else clamp(place, 0, n - 1)


def _reflected(place: Tensor, low: float, high: float) -> Tensor:
    span = high - low
    if span == 0:
        return place * 0
    away = (place - low).abs()
    flips = floor((away / span).detach())
    extra = away - flips * span
    return where((flips % 2) == 0, extra + low, span - extra + low)


def _read(x: Tensor, places: list[Tensor]) -> Tensor:
    """The pixels at whole places, (N, C, ...); 0 outside."""
    n, c, *sizes = x.shape
    flat: Any = 0
    inside: Any = None
    for place, size in zip(places, sizes, strict=True):
        good = logical_and(place >= 0, place <= size - 1)
        inside = good if inside is None else logical_and(inside, good)
        flat = flat * size + clamp(place, 0, size - 1).long()
    shape = flat.shape[1:]
    index = broadcast_to(reshape(flat, (n, 1, -1)), (n, c, flat[0].numel()))
    found = reshape(reshape(x, (n, c, -1)).gather(2, index), (n, c, *shape))
    return where(inside.unsqueeze(1), found, 0.0)
