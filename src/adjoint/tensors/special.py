"""Special functions: the logistic function, the error function and its kin, the log of gamma.

Those without a NumPy function run as their body, in float64 whatever the dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, pi, sqrt
from typing import TYPE_CHECKING

from adjoint import ops
from adjoint.base.arguments import as_number
from adjoint.base.dtype import float32, float64
from adjoint.ir.node import Node
from adjoint.ops.rows import each
from adjoint.ops.special import ERX, FAR, MIDDLE, TAIL, Rational
from adjoint.tensors import transcendental
from adjoint.tensors.arithmetic import Operand, aligned, floating, pair, to_dtype
from adjoint.tensors.elementwise import clamp
from adjoint.tensors.handle import node_of, wrap
from adjoint.tensors.pointwise import (
    above,
    below,
    equals,
    number,
    opposite,
    select,
    size_of,
    with_sign,
)
from adjoint.tensors.regions import region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

ROOT_PI = sqrt(pi)
INF, NAN = float("inf"), float("nan")


def sigmoid(input: Operand) -> Tensor:
    """1 / (1 + exp(-x)), the logistic function; no overflow for any x."""
    return wrap(transcendental.sigmoid(floating(node_of(input, "sigmoid"))))


def logit(input: Operand, eps: float | None = None) -> Tensor:
    """log(p / (1 - p)), the inverse of sigmoid; p is clamped to [eps, 1 - eps] first if given."""
    node = floating(node_of(input, "logit"))
    if eps is not None:
        eps = as_number("logit", "eps", eps)
        node = clamp(wrap(node), eps, 1.0 - eps).node
    return wrap(ops.log(node) - transcendental.log1p(-node))


def xlogy(input: Operand, other: Operand) -> Tensor:
    """input * log(other), and 0 where input is 0 (unless other is NaN)."""
    a, b = pair("xlogy", input, other)
    x, y = aligned("xlogy", floating(a), floating(b))
    ordinary = ops.bit_and(above(y, 0), below(y, INF))
    limit = ops.bit_and(ops.bit_and(equals(x, 0), opposite(ordinary)), ops.eq(y, y))
    return wrap(x * ops.log(select(limit, 1, y)))


def erf(input: Operand) -> Tensor:
    """2 / sqrt(pi) * the integral of exp(-t^2) from 0 to x."""
    return wrap(ops.erf(floating(node_of(input, "erf"))))


def erfc(input: Operand) -> Tensor:
    """1 - erf(x), with full relative precision for large x."""
    return wrap(_erfc_region(floating(node_of(input, "erfc"))))


def erfinv(input: Operand) -> Tensor:
    """The inverse of erf; infinite at -1 and 1, NaN outside."""
    return wrap(_erfinv_region(floating(node_of(input, "erfinv"))))


def lgamma(input: Operand) -> Tensor:
    """log|gamma(x)|; inf at 0, -1, -2, ..."""
    return wrap(_lgamma_region(floating(node_of(input, "lgamma"))))


def digamma(input: Operand) -> Tensor:
    """The derivative of lgamma; NaN at -1, -2, ..., and -inf at 0."""
    return wrap(_digamma_region(floating(node_of(input, "digamma"))))


def _ratio(x: Node, rational: Rational) -> Node:
    """A quotient of polynomials, by Horner's rule."""
    return _polynomial(x, rational[0]) / _polynomial(x, rational[1])


def _polynomial(x: Node, coefficients: Sequence[float]) -> Node:
    out = number(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        out = out * x + c
    return out


def _erfc(x: Node) -> Node:
    """Source: s_erf.c of FreeBSD's msun (Sun Microsystems, 1993)."""
    x = to_dtype(x, float64)
    size = size_of(x)
    near = 1.0 - ops.erf(x)
    middle = (1.0 - ERX) - _ratio(size - 1.0, MIDDLE)
    inverse = 1.0 / (size * size)
    ratio = select(below(size, 1 / 0.35), _ratio(inverse, FAR), _ratio(inverse, TAIL))
    high = to_dtype(to_dtype(size, float32), float64)  # its square is exact
    tail = ops.exp(-(high * high) - 0.5625) * ops.exp((high - size) * (high + size) + ratio) / size
    tail = select(above(size, 28), 0, tail)
    right = select(below(size, 1.25), middle, tail)
    far = ops.where(below(x, 0), 2.0 - right, right)
    return select(below(size, 0.84375), near, ops.where(ops.eq(x, x), far, x))


def _erfinv(x: Node) -> Node:
    """Winitzki's estimate (2008), then two steps of Halley's method on erf or, near 1, on erfc."""
    x = to_dtype(x, float64)
    size = size_of(x)
    rest = 1.0 - size
    logarithm = ops.log(rest * (1.0 + size))
    half = logarithm * 0.5 + 2 / (pi * 0.147)
    y = ops.sqrt(ops.sqrt(half * half - logarithm * (1 / 0.147)) - half)
    for _ in range(2):
        error = ops.where(below(size, 0.5), ops.erf(y) - size, rest - _erfc(y))
        y = y - error / (ops.exp(-(y * y)) * (2 / ROOT_PI) + y * error)
    return with_sign(select(equals(size, 1), INF, y), x)


_STIRLING = (
    1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156,
)  # fmt: skip
_SHIFT = 8  # Stirling's series is used for z >= 8


def _lgamma(x: Node) -> Node:
    """Stirling's series after moving x up by 8; below 0 the reflection formula.

    Source: Abramowitz and Stegun, 6.1.17, 6.1.41.
    """
    x = to_dtype(x, float64)
    mirrored, y, small, z = _moved(x)
    product = number(1, x)
    for i in range(_SHIFT):
        product = product * (small + float(i))
    product = select(below(y, _SHIFT), product, 1)
    series = _polynomial(1.0 / (z * z), _STIRLING) / z
    found = (z - 0.5) * (ops.log(z) - 1.0) + (0.5 * log(2 * pi) - 0.5) + series - ops.log(product)
    mirror = ops.log(pi / ops.sin(_fraction(x, mirrored) * pi)) - found
    found = ops.where(mirrored, mirror, found)
    return select(equals(size_of(x), INF), INF, found)


def _digamma(x: Node) -> Node:
    """The derivative of ``_lgamma``, term by term. Source: Abramowitz and Stegun, 6.3.7, 6.3.18."""
    x = to_dtype(x, float64)
    mirrored, y, small, z = _moved(x)
    inverse = 1.0 / (z * z)
    series = [c * (2 * k + 1) for k, c in enumerate(_STIRLING)]
    found = ops.log(z) - 0.5 / z - _polynomial(inverse, series) * inverse
    steps = number(0, x)
    for i in range(_SHIFT):
        steps = steps + 1.0 / (small + float(i))
    found = found - select(below(y, _SHIFT), steps, 0)
    angle = _fraction(x, mirrored) * pi
    found = select(mirrored, found - pi * ops.cos(angle) / ops.sin(angle), found)
    pole = ops.bit_and(below(x, 0), ops.eq(ops.floor(x), x))
    return select(pole, NAN, found)


def _moved(x: Node) -> tuple[Node, Node, Node, Node]:
    """Whether x <= 0; y = x or 1 - x, positive; y where it is small (else 1); y + 8 there."""
    mirrored = opposite(above(x, 0))
    y = ops.where(mirrored, 1.0 - x, x)
    small = select(below(y, _SHIFT), y, 1)
    return mirrored, y, small, select(below(y, _SHIFT), y + float(_SHIFT), y)


def _fraction(x: Node, mirrored: Node) -> Node:
    """x - floor(x), exactly, where it is needed; elsewhere 1/2, harmless to sin and cos."""
    return select(mirrored, x - ops.floor(x), 0.5)


def _narrowed(body: Callable[[Node], Node]) -> Callable[[Node], Sequence[Node]]:
    """``body``, with its result in the dtype of its argument."""
    return lambda x: [to_dtype(body(x), x.dtype)]


_erfc_region = region(
    "erfc", _narrowed(_erfc),
    vjp=each(lambda ct, out, x: ct * (ops.exp(-(x * x)) * (-2 / ROOT_PI))),
)  # fmt: skip
_erfinv_region = region(
    "erfinv", _narrowed(_erfinv),
    vjp=each(lambda ct, out, x: ct * (ops.exp(out * out) * (ROOT_PI / 2))),
)  # fmt: skip
_digamma_region = region("digamma", _narrowed(_digamma))
_lgamma_region = region(
    "lgamma", _narrowed(_lgamma), vjp=each(lambda ct, out, x: ct * _digamma_region(x))
)
expit = sigmoid
