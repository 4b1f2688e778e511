"""Pooling by p-norms, over random windows, and functions that always give the places too."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.shape import Shape
from adjoint.tensors import random
from adjoint.tensors.creation import arange
from adjoint.tensors.elementwise import floor, sign
from adjoint.tensors.functional import pool
from adjoint.tensors.functional.activation import relu
from adjoint.tensors.functional.conv import batched, sizes, unbatched
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.movement import broadcast_to, cat, reshape
from adjoint.tensors.reduction import max as max_along

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def lp_pool1d(
    input: Handle, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p over every window)^(1/p) of (N, C, L), as PyTorch: a negative sum gives 0, not
    NaN, for the powers that allow one."""
    return _power(1, pool.avg_pool1d, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Handle, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """``lp_pool1d`` of (N, C, H, W)."""
    return _power(2, pool.avg_pool2d, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Handle, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """``lp_pool1d`` of (N, C, D, H, W)."""
    return _power(3, pool.avg_pool3d, input, norm_type, kernel_size, stride, ceil_mode)


def fractional_max_pool2d(
    input: Handle, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Handle | None = None,
) -> Any:  # fmt: skip
    """Maxima of windows at random places that make (N, C, H, W) into ``output_size``, or into
    ``output_ratio`` times the sizes.

    Neighbouring windows are a random whole number of pixels apart, the same for all rows of an
    image. ``_random_samples``: the numbers in [0, 1) that choose, (N, C, 2). Source: Graham,
    "Fractional max-pooling", 2014.
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices,
                       _random_samples)  # fmt: skip


def fractional_max_pool3d(
    input: Handle, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Handle | None = None,
) -> Any:  # fmt: skip
    """``fractional_max_pool2d`` of (N, C, D, H, W)."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices,
                       _random_samples)  # fmt: skip


def fractional_max_pool2d_with_indices(
    input: Handle, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = True, _random_samples: Handle | None = None,
) -> Any:  # fmt: skip
    """``fractional_max_pool2d`` with the places of the maxima, whatever ``return_indices`` says."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Handle, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = True, _random_samples: Handle | None = None,
) -> Any:  # fmt: skip
    """``fractional_max_pool3d`` with the places of the maxima, whatever ``return_indices`` says."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, True, _random_samples)


def max_pool1d_with_indices(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = True,
) -> Any:  # fmt: skip
    """``max_pool1d`` with the places of the maxima, whatever ``return_indices`` says."""
    return pool.max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = True,
) -> Any:  # fmt: skip
    """``max_pool2d`` with the places of the maxima, whatever ``return_indices`` says."""
    return pool.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input: Handle, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = True,
) -> Any:  # fmt: skip
    """``max_pool3d`` with the places of the maxima, whatever ``return_indices`` says."""
    return pool.max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def adaptive_max_pool1d_with_indices(input: Handle, output_size: Any) -> Any:
    """``adaptive_max_pool1d`` with the places of the maxima."""
    return pool.adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(input: Handle, output_size: Any) -> Any:
    """``adaptive_max_pool2d`` with the places of the maxima."""
    return pool.adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(input: Handle, output_size: Any) -> Any:
    """``adaptive_max_pool3d`` with the places of the maxima."""
    return pool.adaptive_max_pool3d(input, output_size, True)


def _power(
    count: int, average: Callable[..., Tensor], input: Handle, norm_type: Any, kernel_size: Any,
    stride: Any, ceil_mode: bool,
) -> Tensor:  # fmt: skip
    op = f"lp_pool{count}d"
    p = float(as_number(op, "norm_type", norm_type))
    if not p > 0:
        raise errors.argument(op, f"norm_type must be positive, got {p}", hint="2, say")
    kernel = sizes(op, "kernel_size", kernel_size, count, 1)
    mean = average(wrap(node_of(input, op)) ** p, kernel, stride, 0, ceil_mode)
    return (sign(mean) * relu(mean.abs()) * prod(kernel)) ** (1 / p)


def _fractional(
    count: int, input: Handle, kernel_size: Any, output_size: Any, output_ratio: Any,
    return_indices: bool, samples: Handle | None,
) -> Any:  # fmt: skip
    op = f"fractional_max_pool{count}d"
    node, single = batched(op, node_of(input, op), count)
    kernel = sizes(op, "kernel_size", kernel_size, count, 1)
    wanted = _wanted(op, node.shape[2:], output_size, output_ratio, count)
    for n, k, m in zip(node.shape[2:], kernel, wanted, strict=True):
        if m < 1 or m + k - 1 > n:
            raise errors.shape(
                op, f"{m} windows of {k} do not fit into a size of {n}", node,
                hint="the output size is at most the size less the kernel plus 1",
            )  # fmt: skip
    n, c, *shape = node.shape
    if samples is None:
        chance = random.rand(n, c, count, dtype=node.dtype)
    else:
        chance = wrap(node_of(samples, op))
        if chance.shape != (n, c, count):
            raise errors.shape(
                op, f"_random_samples must be ({n}, {c}, {count})", chance, hint="leave it out"
            )
    order = (1, 0) if count == 2 else (0, 1, 2)  # PyTorch's: the width comes first in images
    places: Any = reshape(arange(1), (1, 1, 1, 1))
    for axis, (size, k, m) in enumerate(zip(shape, kernel, wanted, strict=True)):
        line = _starts(chance[:, :, order[axis]], size, k, m).unsqueeze(-1) + arange(k)
        grid = places[:, :, :, None, :, None] * size + line[:, :, None, :, None, :]
        places = reshape(grid, (n, c, places.shape[2] * m, places.shape[3] * k))
    index = reshape(places, (n, c, -1))
    taken = reshape(reshape(wrap(node), (n, c, -1)).gather(2, index), places.shape)
    best = max_along(taken, -1)
    out = ops.reshape(best.values.node, shape=(n, c, *wanted))
    if not return_indices:
        return unbatched(out, single)
    chosen = places.gather(3, best.indices.unsqueeze(-1))
    return unbatched(out, single), unbatched(reshape(chosen, (n, c, *wanted)).node, single)


def _starts(chance: Tensor, size: int, k: int, m: int) -> Tensor:
    """Where the windows begin, (N, C, m): the last at the end, the others a step apart or two."""
    last = broadcast_to(arange(1) + (size - k), (*chance.shape, 1))
    if m == 1:
        return last
    step = (size - k) / (m - 1)
    u = chance.unsqueeze(-1)
    found = floor((arange(m - 1).to(u.dtype) + u) * step).long() - floor(u * step).long()
    return cat([found, last], 2)


def _wanted(op: str, shape: Shape, output_size: Any, output_ratio: Any, count: int) -> Shape:
    if (output_size is None) == (output_ratio is None):
        raise errors.argument(
            op, "needs either output_size or output_ratio", hint="output_ratio=0.5, say"
        )
    if output_ratio is None:
        return sizes(op, "output_size", output_size, count, 1)
    given = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * count
    ratios = [float(as_number(op, "output_ratio", r)) for r in given]
    if len(ratios) != count or not all(0 < r < 1 for r in ratios):
        raise errors.argument(
            op, f"output_ratio lies between 0 and 1, got {errors.clip(output_ratio)}",
            hint="a number, or one for each axis",
        )  # fmt: skip
    return tuple(int(n * r) for n, r in zip(shape, ratios, strict=True))
