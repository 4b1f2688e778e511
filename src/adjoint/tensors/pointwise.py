"""Pointwise functions that NumPy has and the op table has not, as regions: signs, rounding, bounds.

Each region gives three things: NumPy's function (what runs eagerly), the same values composed of
ops (what a recording runs), and the derivative, written so that special points give no NaN that
comes only from a branch not taken. Helpers that read as mathematics come first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjoint import ops
from adjoint.base.dtype import bool_
from adjoint.ir.node import Array, Node
from adjoint.ops.rows import each, flat, full, no_gradient, zeros_like
from adjoint.tensors.regions import pointwise


def number(value: float, like: Node) -> Node:
    """``value`` in the type of ``like``."""
    return full(value, like.shape, like.dtype)


def select(condition: Node, x: Node | float, y: Node | float) -> Node:
    """``where`` on nodes of one type, of which one may be a number."""
    like = x if isinstance(x, Node) else y
    assert isinstance(like, Node)
    a = x if isinstance(x, Node) else number(x, like)
    b = y if isinstance(y, Node) else number(y, like)
    return ops.where(condition, a, b)


def below(x: Node, value: float) -> Node:
    """x < value."""
    return ops.lt(x, number(value, x))


def above(x: Node, value: float) -> Node:
    """x > value."""
    return ops.lt(number(value, x), x)


def equals(x: Node, value: float) -> Node:
    """x == value."""
    return ops.eq(x, number(value, x))


def opposite(test: Node) -> Node:
    """Logical not of a bool node."""
    return ops.bit_xor(test, number(True, test))


# --- sign -------------------------------------------------------------------------------------


def size_of(x: Node) -> Node:
    return select(below(x, 0), -x, x + number(0, x))  # -0.0 + 0.0 is 0.0


def _sign(x: Node) -> Node:
    one = number(1, x)
    positive_or_nan = select(above(x, 0), one, x)
    if x.dtype.kind == "u":
        return positive_or_nan
    return select(equals(x, 0), 0, select(below(x, 0), -one, positive_or_nan))


def is_minus(x: Node) -> Node:
    """The sign of a NaN is not seen."""
    return ops.bit_or(below(x, 0), ops.bit_and(equals(x, 0), below(1.0 / x, 0)))


def with_sign(size: Node, x: Node) -> Node:
    """``size``, which is not negative, with the sign of ``x``."""
    return ops.where(is_minus(x), -size, size)


sign = pointwise("sign", np.sign, lambda x: [_sign(x)], flat)
signbit = pointwise("signbit", np.signbit, lambda x: [is_minus(x)], no_gradient, bool_)
absolute = pointwise(
    "abs", np.abs, lambda x: [size_of(x)],
    each(lambda ct, out, x: ct * sign(x)),
)  # fmt: skip
copysign = pointwise(
    "copysign", np.copysign, lambda x, y: [with_sign(size_of(x), y)],
    each(
        lambda ct, out, x, y: ct * (sign(x) * sign(out)), lambda ct, out, x, y: zeros_like(ct)
    ),
)  # fmt: skip


# --- rounding and classes ---------------------------------------------------------------------


def _ceil(x: Node) -> Node:
    return -ops.floor(-x)


def _whole_part(x: Node) -> Node:
    return select(below(x, 0), _ceil(x), ops.floor(x))


def _round(x: Node) -> Node:
    """To nearest, ties to even."""
    size = size_of(x)
    low = ops.floor(size)
    rest = size - low
    odd = equals(low - ops.floor(low * 0.5) * 2.0, 1)
    up = ops.bit_or(above(rest, 0.5), ops.bit_and(equals(rest, 0.5), odd))
    return with_sign(select(up, low + 1.0, low), x)


ceil = pointwise("ceil", np.ceil, lambda x: [_ceil(x)], flat)
trunc = pointwise("trunc", np.trunc, lambda x: [_whole_part(x)], flat)
round = pointwise("round", np.rint, lambda x: [_round(x)], flat)
nextafter = pointwise("nextafter", np.nextafter, None, no_gradient)
isnan = pointwise("isnan", np.isnan, lambda x: [opposite(ops.eq(x, x))], no_gradient, bool_)
isinf = pointwise("isinf", np.isinf, lambda x: [equals(size_of(x), np.inf)], no_gradient, bool_)
isfinite = pointwise(
    "isfinite", np.isfinite, lambda x: [below(size_of(x), np.inf)], no_gradient, bool_
)


# --- division with a remainder ----------------------------------------------------------------


def _fmod(x: Node, y: Node) -> Node:
    """The remainder with the sign of ``x``."""
    if x.dtype.kind == "f":
        return with_sign(ops.rem(size_of(x), size_of(y)), x)
    found = ops.rem(x, y)  # has the sign of y
    crossed = ops.bit_and(ops.bit_xor(below(x, 0), below(y, 0)), opposite(equals(found, 0)))
    return ops.where(crossed, found - y, found) if x.dtype.kind == "i" else found


def _floor_divide(x: Node, y: Node) -> Node:
    """(x - remainder) / y, where x / y itself could round up to the next whole number."""
    rest = _fmod(x, y)
    quotient = round((x - rest) / y)
    crossed = ops.bit_and(ops.bit_xor(below(rest, 0), below(y, 0)), opposite(equals(rest, 0)))
    quotient = select(crossed, quotient - 1.0, quotient)
    signed_zero = ops.where(is_minus(x / y), -size_of(quotient), size_of(quotient))
    quotient = ops.where(equals(quotient, 0), signed_zero, quotient)
    return ops.where(equals(y, 0), x / y, quotient)


fmod = pointwise(
    "fmod", np.fmod, lambda x, y: [_fmod(x, y)],
    each(lambda ct, out, x, y: ct, lambda ct, out, x, y: -(ct * round((x - out) / y))),
)  # fmt: skip
floor_divide = pointwise("floor_divide", np.floor_divide, lambda x, y: [_floor_divide(x, y)], flat)


def _root_gradient(ct: Node, out: Node, x: Node) -> Node:
    zero = equals(out, 0)
    return select(zero, 0, ct * 0.5 / select(zero, 1, out))


root = pointwise("root", np.sqrt, lambda x: [ops.sqrt(x)], each(_root_gradient))
"""sqrt(x) whose derivative at 0 is 0, not infinite: for standard deviations and norms."""


# --- clamping ---------------------------------------------------------------------------------


def _clamp(x: Array, low: float | None, high: float | None) -> Array:
    if low is not None:
        x = np.maximum(x, x.dtype.type(low))
    return x if high is None else np.minimum(x, x.dtype.type(high))


def _clamp_body(x: Node, low: float | None, high: float | None) -> Sequence[Node]:
    if low is not None:
        x = ops.maximum(x, number(low, x))
    return [x if high is None else ops.minimum(x, number(high, x))]


def _inside(ct: Node, out: Node, x: Node, low: float | None, high: float | None) -> Node:
    if low is not None:
        ct = select(below(x, low), 0, ct)
    return ct if high is None else select(above(x, high), 0, ct)


clamp = pointwise("clamp", _clamp, _clamp_body, each(_inside))
"""Bounds that are numbers; a bound itself counts as inside, so the gradient passes there."""


def _at_high(ct: Node, out: Node, x: Node, low: Node, high: Node) -> Node:
    return select(ops.lt(high, ops.maximum(x, low)), ct, 0)


def _at_low(ct: Node, out: Node, x: Node, low: Node, high: Node) -> Node:
    return select(ops.lt(high, ops.maximum(x, low)), 0, select(ops.lt(x, low), ct, 0))


def _between(ct: Node, out: Node, x: Node, low: Node, high: Node) -> Node:
    return select(ops.lt(high, ops.maximum(x, low)), 0, select(ops.lt(x, low), 0, ct))


clamp_between = pointwise(
    "clamp_between",
    lambda x, low, high: np.minimum(np.maximum(x, low), high),
    lambda x, low, high: [ops.minimum(ops.maximum(x, low), high)],
    each(_between, _at_low, _at_high),
)
"""Bounds that are tensors; where low > high the result is high."""
