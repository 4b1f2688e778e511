"""Activations that are learned, and layers whose units have activations of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.dtype import int64
from adjoint.base.shape import as_axis
from adjoint.ir.node import constant
from adjoint.tensors.elementwise import clamp, floor
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_axis
from adjoint.tensors.movement import cat, select

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def spline(input: Handle, knots: Handle, low: float = -3.0, high: float = 3.0) -> Tensor:
    """The piecewise linear function through (x_k, knots[k]), x_k evenly spaced over [low, high];
    outside, the first and last pieces go on straight.

    ``knots`` has shape (count,), count >= 2; gradients flow to it and to ``input``. Source:
    Agostinelli et al., "Learning activation functions", ICLR 2015 workshop, with fixed places.
    """
    x, k = node_of(input, "spline"), node_of(knots, "spline")
    if k.ndim != 1 or k.shape[0] < 2 or k.dtype is not x.dtype:
        raise errors.shape(
            "spline",
            "knots must be a vector of at least 2, of the input's dtype",
            x,
            k,
            hint="one value per knot, evenly spaced from low to high",
        )
    low, high = as_number("spline", "low", low), as_number("spline", "high", high)
    if not low < high:
        raise errors.argument(
            "spline",
            f"low must be below high, got {low} and {high}",
            hint="they are the ends of the interval with knots",
        )
    pieces = k.shape[0] - 1
    place = (wrap(x) - low) * (pieces / (high - low))
    left = clamp(floor(place.detach()), 0, pieces - 1)
    index = ops.cast(left.node, dtype=int64)
    start, end = (wrap(ops.gather(k, i, batch=0)) for i in (index, index + 1))
    return start + (place - left) * (end - start)


def rational(input: Handle, numerator: Handle, denominator: Handle) -> Tensor:
    """(sum_i a_i x^i) / (1 + |sum_j b_j x^(j+1)|): never divides by zero.

    Source: Molina et al., "Padé activation units", ICLR 2020.
    """
    top, bottom = (_polynomial("rational", input, c) for c in (numerator, denominator))
    return top / (1.0 + (bottom * wrap(node_of(input, "rational"))).abs())


def mixed(input: Handle, functions: Sequence[Callable[[Any], Any]], dim: int = 1) -> Tensor:
    """Unit i along ``dim`` goes through ``functions[i]``; each distinct function runs once, on all
    its units together. Raises ArgumentError unless there is one function per unit."""
    node = node_of(input, "mixed")
    axis = as_axis("mixed", dim, node.ndim)
    if not isinstance(functions, (list, tuple)) or not all(callable(f) for f in functions):
        raise errors.bad_argument("mixed", "functions", functions, "a list of functions")
    if len(functions) != node.shape[axis]:
        raise errors.argument(
            "mixed",
            f"{len(functions)} functions for {node.shape[axis]} units along axis {axis}",
            hint="give one function per unit",
        )
    groups: dict[int, list[int]] = {}
    for unit, function in enumerate(functions):
        groups.setdefault(id(function), []).append(unit)
    order = [unit for units in groups.values() for unit in units]
    parts = [
        functions[units[0]](wrap(take_axis(node, constant(np.asarray(units)), axis)))
        for units in groups.values()
    ]
    back = constant(np.argsort(order).astype(np.int64))
    return wrap(take_axis(cat(parts, axis).node, back, axis))


def _polynomial(op: str, x: Handle, coefficients: Handle) -> Tensor:
    """Horner's rule."""
    factors, x = node_of(coefficients, op), wrap(node_of(x, op))
    if factors.ndim != 1 or factors.shape[0] == 0:
        raise errors.shape(
            op,
            "coefficients must be a non-empty vector",
            factors,
            hint="the constant first, then the factors of x, x**2, ...",
        )
    items = [select(coefficients, 0, i) for i in range(factors.shape[0])]
    out = items[-1] + x * 0.0
    for item in reversed(items[:-1]):
        out = out * x + item
    return out
