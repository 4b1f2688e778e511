"""Classic filters of images: edges and blur, channel by channel, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.shape import numel
from adjoint.ir.node import Array, Node, constant
from adjoint.tensors.elementwise import hypot
from adjoint.tensors.functional.padding import pad
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

MODES = ("replicate", "reflect", "circular", "constant")
DIFFERENCE = (-1.0, 0.0, 1.0)


def sobel(input: Handle, dim: int | None = None, mode: str = "replicate") -> Tensor:
    """Edges of (..., H, W): differences two pixels apart along ``dim`` (-2 or -1), smoothed by
    (1, 2, 1) along the other; without ``dim`` the length of both. ``mode``: what lies outside, as
    for ``pad``."""
    return _edges("sobel", input, dim, mode, (1.0, 2.0, 1.0))


def prewitt(input: Handle, dim: int | None = None, mode: str = "replicate") -> Tensor:
    """``sobel`` smoothed by (1, 1, 1)."""
    return _edges("prewitt", input, dim, mode, (1.0, 1.0, 1.0))


def laplacian(input: Handle, mode: str = "replicate") -> Tensor:
    """The sum of the second differences of (..., H, W): 0 on slopes, large at edges."""
    x = _image("laplacian", input, mode)
    second = (1.0, -2.0, 1.0)
    return _along(x, -2, second, mode) + _along(x, -1, second, mode)


def gaussian_filter(
    input: Handle, sigma: Any, truncate: float = 4.0, mode: str = "replicate"
) -> Tensor:
    """(..., H, W) blurred by a normal distribution of standard deviation ``sigma`` (a number, or
    one for each axis), cut at ``truncate`` sigmas: one axis after the other, which is the same as
    with the kernel ``gaussian_kernel``."""
    x = _image("gaussian_filter", input, mode)
    for axis, line in zip((-2, -1), _lines("gaussian_filter", sigma, truncate), strict=True):
        if len(line) > 1:
            x = _along(x, axis, line, mode)
    return x


def gaussian_kernel(sigma: Any, truncate: float = 4.0) -> Tensor:
    """The kernel (K1, K2) of ``gaussian_filter``, float64: it sums to 1."""
    rows, columns = _lines("gaussian_kernel", sigma, truncate)
    return wrap(constant(np.outer(rows, columns)))


def _edges(op: str, input: Handle, dim: int | None, mode: str, smooth: Sequence[float]) -> Tensor:
    x = _image(op, input, mode)
    if dim is None:
        return hypot(*(_edges(op, input, d, mode, smooth) for d in (-2, -1)))
    dim = dim - x.ndim if isinstance(dim, int) and dim >= 0 else dim
    if dim not in (-2, -1):
        raise errors.argument(
            op,
            f"dim is one of the last two axes, got {dim}",
            hint="-2: along rows, -1: along columns",
        )
    other = -3 - dim
    return _along(_along(x, dim, DIFFERENCE, mode), other, smooth, mode)


def _image(op: str, input: Handle, mode: str) -> Tensor:
    node = node_of(input, op)
    as_choice(f"{op} mode", mode, MODES)
    if node.dtype.kind != "f":
        raise errors.wrong_dtype(op, node.dtype, "a float dtype", hint="x.float()")
    if node.ndim < 2 or 0 in node.shape:
        raise errors.shape(op, "needs images (..., H, W)", node, hint="the last two axes")
    return wrap(node)


def _along(x: Tensor, axis: int, line: Sequence[float] | Array, mode: str) -> Tensor:
    """The cross-correlation of the axis with ``line``, as large as before."""
    reach = len(line) // 2
    amounts = (reach, reach) if axis == -1 else (0, 0, reach, reach)
    node = pad(x, amounts, mode).node
    shape = (1, len(line)) if axis == -1 else (len(line), 1)
    images = ops.reshape(node, shape=(numel(node.shape[:-2]), 1,
                                      *node.shape[-2:]))  # fmt: skip
    kernel = np.asarray(line, node.dtype.numpy).reshape(1, 1, *shape)
    out = _conv(images, constant(kernel))
    return wrap(ops.reshape(out, shape=x.shape))


def _conv(images: Node, kernel: Node) -> Node:
    ones = (1, 1)
    return ops.conv(
        images, kernel, stride=ones, padding=((0, 0), (0, 0)), dilation=ones, inner=ones, groups=1
    )


def _lines(op: str, sigma: Any, truncate: Any) -> list[Array]:
    given = sigma if isinstance(sigma, (tuple, list)) else (sigma, sigma)
    widths = [float(as_number(op, "sigma", s)) for s in given]
    if len(widths) != 2 or min(widths) < 0:
        raise errors.argument(
            op, f"sigma is a positive number or two, got {errors.clip(sigma)}", hint="1.0, say"
        )
    reach = float(as_number(op, "truncate", truncate))
    found = []
    for width in widths:
        half = int(reach * width + 0.5)
        places = np.arange(-half, half + 1)
        line = np.exp(-0.5 * (places / width) ** 2) if half else np.ones(1)
        found.append(line / line.sum())
    return found
