"""Functions of each element by itself: exponentials, circular functions, rounding, bounds."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_number
from adjoint.base.dtype import DType, bool_, finfo, iinfo
from adjoint.ir.node import Node
from adjoint.ops.structure import Region
from adjoint.tensors import arithmetic, pointwise, transcendental
from adjoint.tensors.arithmetic import Operand, aligned, floating, pair, to_dtype
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def abs(input: Operand) -> Tensor:
    """|input|. The derivative at 0 is 0."""
    return wrap(arithmetic.absolute(node_of(input, "abs")))


def sign(input: Operand) -> Tensor:
    """-1, 0 or 1; NaN for NaN."""
    node = node_of(input, "sign")
    return wrap(node if node.dtype is bool_ else pointwise.sign(node))


def reciprocal(input: Operand) -> Tensor:
    """1 / input."""
    return wrap(1.0 / _real("reciprocal", input))


def sqrt(input: Operand) -> Tensor:
    """The square root; NaN below 0."""
    return wrap(ops.sqrt(_real("sqrt", input)))


def rsqrt(input: Operand) -> Tensor:
    """1 / sqrt(input)."""
    return wrap(transcendental.rsqrt(_real("rsqrt", input)))


# --- exponentials and logarithms --------------------------------------------------------------


def exp(input: Operand) -> Tensor:
    """e ** input."""
    return wrap(ops.exp(_real("exp", input)))


def exp2(input: Operand) -> Tensor:
    """2 ** input."""
    return wrap(transcendental.exp2(_real("exp2", input)))


def expm1(input: Operand) -> Tensor:
    """e ** input - 1, exact near 0."""
    return wrap(transcendental.expm1(_real("expm1", input)))


def log(input: Operand) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below."""
    return wrap(ops.log(_real("log", input)))


def log2(input: Operand) -> Tensor:
    """The logarithm to base 2."""
    return wrap(transcendental.log2(_real("log2", input)))


def log10(input: Operand) -> Tensor:
    """The logarithm to base 10."""
    return wrap(transcendental.log10(_real("log10", input)))


def log1p(input: Operand) -> Tensor:
    """log(1 + input), exact near 0."""
    return wrap(transcendental.log1p(_real("log1p", input)))


def logaddexp(input: Operand, other: Operand) -> Tensor:
    """log(exp(input) + exp(other)) without overflow."""
    return _two("logaddexp", transcendental.logaddexp, input, other)


# --- circular and hyperbolic functions --------------------------------------------------------


def sin(input: Operand) -> Tensor:
    """The sine of an angle in radians."""
    return wrap(ops.sin(_real("sin", input)))


def cos(input: Operand) -> Tensor:
    """The cosine of an angle in radians."""
    return wrap(ops.cos(_real("cos", input)))


def tan(input: Operand) -> Tensor:
    """The tangent of an angle in radians."""
    return wrap(transcendental.tan(_real("tan", input)))


def asin(input: Operand) -> Tensor:
    """The angle in [-pi/2, pi/2] whose sine is input; NaN outside [-1, 1]."""
    return wrap(transcendental.asin(_real("asin", input)))


def acos(input: Operand) -> Tensor:
    """The angle in [0, pi] whose cosine is input; NaN outside [-1, 1]."""
    return wrap(transcendental.acos(_real("acos", input)))


def atan(input: Operand) -> Tensor:
    """The angle in [-pi/2, pi/2] whose tangent is input."""
    return wrap(ops.atan(_real("atan", input)))


def atan2(input: Operand, other: Operand) -> Tensor:
    """The angle in [-pi, pi] of the point (x, y) = (other, input). The derivative at 0, 0 is 0."""
    return _two("atan2", transcendental.atan2, input, other)


def hypot(input: Operand, other: Operand) -> Tensor:
    """sqrt(input^2 + other^2) without overflow. The derivative at 0, 0 is 0."""
    return _two("hypot", transcendental.hypot, input, other)


def sinh(input: Operand) -> Tensor:
    """(e^x - e^-x) / 2."""
    return wrap(transcendental.sinh(_real("sinh", input)))


def cosh(input: Operand) -> Tensor:
    """(e^x + e^-x) / 2."""
    return wrap(transcendental.cosh(_real("cosh", input)))


def tanh(input: Operand) -> Tensor:
    """sinh(x) / cosh(x)."""
    return wrap(ops.tanh(_real("tanh", input)))


def asinh(input: Operand) -> Tensor:
    """The inverse of sinh."""
    return wrap(transcendental.asinh(_real("asinh", input)))


def acosh(input: Operand) -> Tensor:
    """The inverse of cosh on [1, inf]; NaN below 1."""
    return wrap(transcendental.acosh(_real("acosh", input)))


def atanh(input: Operand) -> Tensor:
    """The inverse of tanh; NaN outside [-1, 1]."""
    return wrap(transcendental.atanh(_real("atanh", input)))


def deg2rad(input: Operand) -> Tensor:
    """Degrees to radians."""
    return wrap(_real("deg2rad", input) * (pi / 180.0))


def rad2deg(input: Operand) -> Tensor:
    """Radians to degrees."""
    return wrap(_real("rad2deg", input) * (180.0 / pi))


# --- rounding ---------------------------------------------------------------------------------


def floor(input: Operand) -> Tensor:
    """The largest whole number not above input. The derivative is 0."""
    return _rounded("floor", ops.floor, input)


def ceil(input: Operand) -> Tensor:
    """The smallest whole number not below input. The derivative is 0."""
    return _rounded("ceil", pointwise.ceil, input)


def trunc(input: Operand) -> Tensor:
    """The whole number next to input on the side of 0. The derivative is 0."""
    return _rounded("trunc", pointwise.trunc, input)


def round(input: Operand, *, decimals: int = 0) -> Tensor:
    """The nearest whole number (or multiple of 10**-decimals), ties to even; derivative 0."""
    node, decimals = node_of(input, "round"), as_integer("round", "decimals", decimals)
    decimals = max(min(decimals, 300), -300)  # beyond that, a float has no digits to round
    if node.dtype.kind != "f" and decimals >= 0:
        return wrap(node)
    if decimals == 0:
        return wrap(pointwise.round(node))
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    if node.dtype.kind != "f":
        raise errors.wrong_dtype(
            "round", node.dtype, "a float for decimals < 0", hint="convert first: x.float()"
        )
    if decimals > 0:
        return wrap(pointwise.round(node * scale) / scale)
    return wrap(pointwise.round(node / scale) * scale)


def frac(input: Operand) -> Tensor:
    """input - trunc(input); its derivative is 1."""
    node = node_of(input, "frac")
    return wrap(node - _rounded("frac", pointwise.trunc, input).node)


# --- bounds and choices -----------------------------------------------------------------------


def clamp(input: Operand, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """input, but at least ``min`` and at most ``max`` (numbers or tensors; max wins over min).

    The gradient passes where input lies within the bounds, bounds included.
    Raises ArgumentError without any bound.
    """
    if min is None and max is None:
        raise errors.argument("clamp", "needs min=, max=, or both", hint="x.clamp(min=0) is relu")
    if isinstance(min, Handle) or isinstance(max, Handle):
        return _clamp_between(input, min, max)
    node, low, high = node_of(input, "clamp"), _bound("min", min), _bound("max", max)
    if node.dtype.kind != "f" and (isinstance(low, float) or isinstance(high, float)):
        node = floating(node)
    low, high = _within(low, node.dtype), _within(high, node.dtype)
    return wrap(pointwise.clamp(node, low=low, high=high))


def clamp_min(input: Operand, min: Operand) -> Tensor:
    """input, but at least ``min``."""
    return clamp(input, min)


def clamp_max(input: Operand, max: Operand) -> Tensor:
    """input, but at most ``max``."""
    return clamp(input, None, max)


def fmax(input: Operand, other: Operand) -> Tensor:
    """The larger of each pair; where one is NaN, the other."""
    return _without_nan(arithmetic.maximum, input, other)


def fmin(input: Operand, other: Operand) -> Tensor:
    """The smaller of each pair; where one is NaN, the other."""
    return _without_nan(arithmetic.minimum, input, other)


def copysign(input: Operand, other: Operand) -> Tensor:
    """|input| with the sign of ``other`` (-0.0 and NaN have a sign too)."""
    return _two("copysign", pointwise.copysign, input, other)


def nextafter(input: Operand, other: Operand) -> Tensor:
    """The float next to input on the way to ``other``."""
    return _two("nextafter", pointwise.nextafter, input, other)


def heaviside(input: Operand, values: Operand) -> Tensor:
    """0 below 0, 1 above 0, ``values`` at 0; NaN for NaN."""
    a, b = pair("heaviside", input, values)
    x, at_zero = aligned("heaviside", a, b)
    step = pointwise.select(pointwise.above(x, 0), pointwise.number(1, x), 0)
    if x.dtype.kind == "f":
        step = pointwise.select(ops.eq(x, x), step, float("nan"))
    return wrap(ops.where(pointwise.equals(x, 0), at_zero, step))


def nan_to_num(
    input: Operand, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """input with NaN, inf and -inf replaced (the infinities by the largest numbers by default)."""
    node = node_of(input, "nan_to_num")
    if node.dtype.kind != "f":
        return wrap(node)
    limits = finfo(node.dtype)
    nan = as_number("nan_to_num", "nan", nan)
    high = limits.max if posinf is None else as_number("nan_to_num", "posinf", posinf)
    low = limits.min if neginf is None else as_number("nan_to_num", "neginf", neginf)
    out = pointwise.select(pointwise.isnan(node), nan, node)
    out = pointwise.select(pointwise.equals(node, float("inf")), high, out)
    return wrap(pointwise.select(pointwise.equals(node, -float("inf")), low, out))


def lerp(input: Operand, end: Operand, weight: Operand) -> Tensor:
    """input + weight * (end - input)."""
    return arithmetic.add(input, arithmetic.mul(arithmetic.sub(end, input), weight))


def addcmul(input: Operand, tensor1: Operand, tensor2: Operand, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return arithmetic.add(input, arithmetic.mul(tensor1, tensor2), alpha=value)


def addcdiv(input: Operand, tensor1: Operand, tensor2: Operand, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return arithmetic.add(input, arithmetic.div(tensor1, tensor2), alpha=value)


def _real(op: str, input: Operand) -> Node:
    """The node of an operand, as a float."""
    return floating(node_of(input, op))


def _rounded(op: str, rule: Any, input: Operand) -> Tensor:
    """Whole numbers round to themselves."""
    node = node_of(input, op)
    return wrap(rule(node) if node.dtype.kind == "f" else node)


def _two(op: str, region: Region, x: Operand, y: Operand) -> Tensor:
    a, b = pair(op, x, y)
    return wrap(region(*aligned(op, floating(a), floating(b))))


def _without_nan(choose: Any, input: Operand, other: Operand) -> Tensor:
    a, b = aligned(choose.__name__, *pair(choose.__name__, input, other))
    found = ops.where(ops.eq(b, b), choose(wrap(a), wrap(b)).node, a)
    return wrap(ops.where(ops.eq(a, a), found, b))


def _bound(name: str, bound: Any) -> Any:
    """A Python number, or None for no bound."""
    return None if bound is None else as_number("clamp", name, bound)


def _within(bound: Any, dtype: DType) -> Any:
    """A whole bound, moved into the range of an integer ``dtype``."""
    if type(bound) is int and dtype.kind == "f":
        return float(bound)
    if type(bound) is not int or dtype.kind not in "iu":
        return bound
    limits = iinfo(dtype)
    return sorted((limits.min, bound, limits.max))[1]


def _clamp_between(input: Operand, low: Any, high: Any) -> Tensor:
    """With tensors for bounds: a missing one lies at the end of the dtype's range."""
    node = node_of(input, "clamp")
    for bound in (low, high):
        if bound is not None:
            node = pair("clamp", wrap(node), bound)[0]
    if node.dtype.kind == "f":
        ends: tuple[float, float] = (-float("inf"), float("inf"))
    else:
        ends = (iinfo(node.dtype).min, iinfo(node.dtype).max)
    bounds = [
        to_dtype(node_of(end if b is None else _within(b, node.dtype), "clamp", node), node.dtype)
        for b, end in zip((low, high), ends, strict=True)
    ]
    return wrap(pointwise.clamp_between(*aligned("clamp", node, *bounds)))


absolute, negative, sgn, fix, clip = abs, arithmetic.neg, sign, trunc, clamp
arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh
