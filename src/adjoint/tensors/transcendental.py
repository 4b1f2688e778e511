"""Exponentials, logarithms, circular and hyperbolic functions, as regions (see pointwise.py)."""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi, sqrt

import numpy as np

from adjoint import ops
from adjoint.base.dtype import finfo
from adjoint.ir.node import Array, Node
from adjoint.ops.rows import each
from adjoint.tensors.pointwise import (
    above,
    below,
    equals,
    is_minus,
    number,
    opposite,
    select,
    size_of,
    with_sign,
)
from adjoint.tensors.regions import pointwise

LN2, LN10 = log(2.0), log(10.0)


# --- exponentials and logarithms --------------------------------------------------------------


def _log1p(x: Node) -> Node:
    """log(u) x / (u - 1) with u = 1 + x rounded: its error cancels. Source: Kahan, HP-15C
    Advanced Functions Handbook, 1982."""
    u = x + 1.0
    corrected = select(equals(u, 1), x, ops.log(u) * (x / (u - 1.0)))
    return select(above(x, 0.7), ops.log(u), corrected)


def _expm1(x: Node) -> Node:
    """(u - 1) x / log(u) with u = exp(x) rounded: its error cancels. Source: as for log1p."""
    u = ops.exp(x)
    v = u - 1.0
    corrected = select(equals(v, 0), x, v * (x / ops.log(u)))
    return select(above(size_of(x), 0.7), v, corrected)


def _exp2(x: Node) -> Node:
    """2^f 2^n with x = n + f: exp(f ln 2) for the fraction, exact powers for the whole number."""
    whole = ops.floor(x)
    size, down = size_of(whole), below(whole, 0)
    bits = _EXPONENT_BITS[x.dtype.name]
    factors: list[Node] = []
    for bit in range(bits, -1, -1):
        power = 2.0 ** -(2**bit)
        factor = select(down, power, number(1 / power if bit < bits else 1, x))
        has_bit = opposite(below(size, 2.0**bit))
        factors.append(select(has_bit, factor, 1))
        size = select(has_bit, size - 2.0**bit, size)
    out = ops.exp((x - whole) * LN2)
    for factor in reversed(factors):
        out = out * factor
    limit = 2.0**bits
    out = select(below(whole, limit), select(below(whole, -2 * limit + 1), 0, out), np.inf)
    return ops.where(ops.eq(x, x), out, x)


_EXPONENT_BITS = {"float16": 4, "bfloat16": 7, "float32": 7, "float64": 10}


def _logaddexp(x: Node, y: Node) -> Node:
    apart = ops.maximum(x, y) + _log1p(ops.exp(-size_of(x - y)))
    return select(ops.eq(x, y), x + LN2, apart)


def _share(ct: Node, mine: Node, other: Node) -> Node:
    """exp(mine) / (exp(mine) + exp(other)) of ``ct``; half each when both are the same infinity."""
    both = ops.bit_and(ops.eq(mine, other), equals(size_of(mine), float("inf")))
    return ct * sigmoid(select(both, 0, mine - other))


def _log1p_gradient(ct: Node, out: Node, x: Node) -> Node:
    return ct / (x + 1.0)


log1p = pointwise("log1p", np.log1p, lambda x: [_log1p(x)], each(_log1p_gradient))
expm1 = pointwise(
    "expm1", np.expm1, lambda x: [_expm1(x)], each(lambda ct, out, x: ct * (out + 1.0))
)
exp2 = pointwise("exp2", np.exp2, lambda x: [_exp2(x)], each(lambda ct, out, x: ct * (out * LN2)))
log2 = pointwise(
    "log2", np.log2, lambda x: [ops.log(x) * (1 / LN2)], each(lambda ct, out, x: ct / (x * LN2))
)
log10 = pointwise(
    "log10", np.log10, lambda x: [ops.log(x) * (1 / LN10)], each(lambda ct, out, x: ct / (x * LN10))
)
logaddexp = pointwise(
    "logaddexp", np.logaddexp, lambda x, y: [_logaddexp(x, y)],
    each(lambda ct, out, x, y: _share(ct, x, y), lambda ct, out, x, y: _share(ct, y, x)),
)  # fmt: skip


def _sigmoid_array(x: Array) -> Array:
    """1 / (1 + exp(-x)); 16-bit floats in float32, whose exp does not overflow so soon."""
    if x.dtype.itemsize == 2:
        return _sigmoid_array(x.astype(np.float32)).astype(x.dtype)
    return np.reciprocal(np.exp(-x) + 1)


def _sigmoid(x: Node) -> Node:
    small = ops.exp(-size_of(x))
    return select(below(x, 0), small, 1) / (small + 1.0)


sigmoid = pointwise(
    "sigmoid", _sigmoid_array, lambda x: [_sigmoid(x)],
    each(lambda ct, out, x: ct * (out * (1.0 - out))),
)  # fmt: skip
rsqrt = pointwise(
    "rsqrt", lambda x: np.reciprocal(np.sqrt(x)), lambda x: [1.0 / ops.sqrt(x)],
    each(lambda ct, out, x: ct * (out / x * -0.5)),
)  # fmt: skip


# --- circular and hyperbolic ------------------------------------------------------------------


def _one_minus_square(x: Node) -> Node:
    """1 - x^2 without cancellation near 1."""
    return (1.0 - x) * (x + 1.0)


def _atan2(y: Node, x: Node) -> Node:
    up, along = size_of(y), size_of(x)
    ratio = select(ops.eq(up, along), select(equals(up, 0), up, 1), up / along)
    angle = ops.atan(ratio)
    return with_sign(ops.where(is_minus(x), pi - angle, angle), y)


def _hypot(x: Node, y: Node) -> Node:
    a, b = size_of(x), size_of(y)
    large = ops.maximum(a, b)
    ratio = ops.minimum(a, b) / select(equals(large, 0), 1, large)
    infinite = ops.bit_or(equals(a, np.inf), equals(b, np.inf))
    return select(infinite, np.inf, large * ops.sqrt(ratio * ratio + 1.0))


def _sinh(x: Node) -> Node:
    size = size_of(x)
    half, grown = ops.exp(size * 0.5), _expm1(size)
    large, small = half * 0.5 * half, (grown + grown / (grown + 1.0)) * 0.5
    return with_sign(select(above(size, 8.0), large - 0.5 / half / half, small), x)


def _cosh(x: Node) -> Node:
    half = ops.exp(size_of(x) * 0.5)
    return half * 0.5 * half + 0.5 / half / half


def _large(x: Node) -> float:
    """Beyond this x, x^2 + 1 = x^2 in the precision of ``x``."""
    return 2.0 / sqrt(finfo(x.dtype).eps)


def _asinh(x: Node) -> Node:
    size = size_of(x)
    square = size * size
    small = _log1p(size + square / (ops.sqrt(square + 1.0) + 1.0))
    return with_sign(select(above(size, _large(x)), ops.log(size) + LN2, small), x)


def _acosh(x: Node) -> Node:
    t = x - 1.0
    return select(
        above(x, _large(x)), ops.log(x) + LN2, _log1p(t + ops.sqrt(t) * ops.sqrt(t + 2.0))
    )


def _atanh(x: Node) -> Node:
    size = size_of(x)
    return with_sign(_log1p((size + size) / (1.0 - size)) * 0.5, x)


def _safe_square_sum(x: Node, y: Node) -> Node:
    """x^2 + y^2, with 1 instead of 0 so that 0 / 0 becomes 0."""
    found = x * x + y * y
    return select(equals(found, 0), 1, found)


def _along(ct: Node, out: Node, side: Node) -> Node:
    """ct * side / out: the direction cosine, 0 at the origin."""
    return ct * (side / select(equals(out, 0), 1, out))


def _unary(name: str, kernel: Callable[..., Array], body: Callable[[Node], Node],
           rule: Callable[[Node, Node, Node], Node]):  # fmt: skip
    return pointwise(name, kernel, lambda x: [body(x)], each(rule))


tan = _unary(
    "tan", np.tan, lambda x: ops.sin(x) / ops.cos(x), lambda ct, out, x: ct * (out * out + 1.0)
)
asin = _unary(
    "asin", np.arcsin, lambda x: ops.atan(x / ops.sqrt(_one_minus_square(x))),
    lambda ct, out, x: ct / ops.sqrt(_one_minus_square(x)),
)  # fmt: skip
acos = _unary(
    "acos", np.arccos, lambda x: ops.atan(ops.sqrt((1.0 - x) / (x + 1.0))) * 2.0,
    lambda ct, out, x: -(ct / ops.sqrt(_one_minus_square(x))),
)  # fmt: skip
sinh = _unary("sinh", np.sinh, _sinh, lambda ct, out, x: ct * cosh(x))
cosh = _unary("cosh", np.cosh, _cosh, lambda ct, out, x: ct * sinh(x))
asinh = _unary("asinh", np.arcsinh, _asinh, lambda ct, out, x: ct / hypot(x, number(1, x)))
acosh = _unary(
    "acosh", np.arccosh, _acosh, lambda ct, out, x: ct / (ops.sqrt(x - 1.0) * ops.sqrt(x + 1.0))
)
atanh = _unary("atanh", np.arctanh, _atanh, lambda ct, out, x: ct / _one_minus_square(x))
atan2 = pointwise(
    "atan2", np.arctan2, lambda y, x: [_atan2(y, x)],
    each(
        lambda ct, out, y, x: ct * (x / _safe_square_sum(x, y)),
        lambda ct, out, y, x: -(ct * (y / _safe_square_sum(x, y))),
    ),
)  # fmt: skip
hypot = pointwise(
    "hypot", np.hypot, lambda x, y: [_hypot(x, y)],
    each(lambda ct, out, x, y: _along(ct, out, x), lambda ct, out, x, y: _along(ct, out, y)),
)  # fmt: skip
