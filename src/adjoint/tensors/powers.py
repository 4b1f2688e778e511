"""Powers: x to a number by multiplications and roots where possible, else by one region."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.dtype import bool_, float64, int64
from adjoint.ir.node import Node
from adjoint.ops.rows import each, zeros_like
from adjoint.tensors.arithmetic import Operand, aligned, floating, pair, to_dtype
from adjoint.tensors.creation import scalar_array
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import (
    below,
    equals,
    is_minus,
    number,
    opposite,
    select,
    size_of,
)
from adjoint.tensors.regions import pointwise
from adjoint.tensors.transcendental import rsqrt

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent, element by element. The derivative at 0 is 0 where it has a limit.

    Raises ArgumentError for negative integer powers of integers (use a float exponent).
    """
    if isinstance(exponent, np.generic):
        exponent = exponent.item()
    if isinstance(input, Handle) and type(exponent) in (bool, int, float):
        return wrap(_to_number(input.node, as_number("pow", "exponent", exponent)))
    a, b = pair("pow", input, exponent)
    if a.dtype is bool_:
        raise errors.wrong_dtype("pow", "bool", "numbers", hint="use & for bools, or x.int()")
    if b.dtype.kind == "i" and not b.is_abstract and (b.array() < 0).any():
        raise _no_negative()
    return wrap(power(*aligned("pow", a, b)))


def float_power(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent in float64."""
    if not isinstance(exponent, Handle):
        return pow(wrap(to_dtype(node_of(input, "float_power"), float64)), exponent)
    wide = wrap(to_dtype(exponent.node, float64))
    return pow(wrap(to_dtype(node_of(input, "float_power"), float64)), wide)


def square(input: Operand) -> Tensor:
    """input * input."""
    return pow(wrap(node_of(input, "square")), 2)


def raised(x: Node, exponent: float) -> Node:
    """``x`` to a constant power, by multiplications and roots where that is exact and faster."""
    by_hand = _BY_HAND.get(exponent)
    if by_hand is not None and (x.dtype.kind == "f" or exponent in (1, 2, 3, 4)):
        return by_hand(x)
    return power_number(x, exponent=exponent)


_BY_HAND: dict[float, Callable[[Node], Node]] = {
    1: lambda x: ops.copy(x),
    2: lambda x: x * x,
    3: lambda x: x * x * x,
    4: lambda x: raised(x * x, 2),
    0.5: lambda x: ops.sqrt(x),
    -0.5: lambda x: rsqrt(x),
    -1: lambda x: 1.0 / x,
    -2: lambda x: 1.0 / (x * x),
}


def _to_number(node: Node, exponent: float) -> Node:
    if isinstance(exponent, float):
        node = floating(node)
    elif node.dtype.kind != "f" and exponent < 0:
        raise _no_negative()
    elif node.dtype.kind == "f":
        exponent = float(exponent)
    elif exponent > 127:  # which every integer dtype holds
        scalar_array(exponent, node.dtype, "pow")
    return raised(to_dtype(node, int64) if node.dtype is bool_ else node, exponent)


def _no_negative() -> errors.AdjointError:
    return errors.argument(
        "pow", "integers to negative powers are not integers", hint="x.float() ** -1, say"
    )


def _power(x: Node, y: Node) -> Node:
    """exp(y log|x|), in float64 so that float32 is right to a few ulp, and the special cases."""
    if x.dtype.kind != "f":
        return _integer_power(x, y)
    size, infinity = size_of(x), float("inf")
    exponent = to_dtype(y, float64) * ops.log(to_dtype(size, float64))
    found = to_dtype(ops.exp(exponent), x.dtype)
    whole = ops.eq(ops.floor(y), y)
    odd = ops.bit_and(whole, equals(y - ops.floor(y * 0.5) * 2.0, 1))
    found = ops.where(ops.bit_and(odd, is_minus(x)), -found, found)
    imaginary = ops.bit_and(ops.bit_and(below(x, 0), below(size, infinity)), opposite(whole))
    found = select(imaginary, float("nan"), found)
    ends = ops.bit_and(equals(size, 1), equals(size_of(y), infinity))
    return select(ops.bit_or(ops.bit_or(equals(y, 0), equals(x, 1)), ends), 1, found)


def _integer_power(x: Node, y: Node) -> Node:
    """Square and multiply, by the bits of ``y``."""
    out, one = number(1, x), number(1, y)
    for bit in range(y.dtype.bits - (y.dtype.kind == "i")):
        has_bit = equals(ops.bit_and(ops.shift_right(y, number(bit, y)), one), 1)
        out = ops.where(has_bit, out * x, out)
        x = x * x
    return out


def _base_gradient(ct: Node, out: Node, x: Node, y: Node) -> Node:
    """y x^(y - 1), and 0 (not 0 * inf) where both are 0."""
    both = ops.bit_and(equals(x, 0), equals(y, 0))
    return ct * (y * power(select(both, 1, x), y - 1.0))


def _exponent_gradient(ct: Node, out: Node, x: Node, y: Node) -> Node:
    """x^y log(x), and its limit 0 where x is 0 and y is not negative."""
    limit = ops.bit_and(equals(x, 0), opposite(below(y, 0)))
    return ct * (out * ops.log(select(limit, 1, x)))


def _number_gradient(ct: Node, out: Node, x: Node, exponent: float) -> Node:
    return zeros_like(ct) if exponent == 0 else ct * (raised(x, exponent - 1) * exponent)


power = pointwise(
    "power", np.power, lambda x, y: [_power(x, y)], each(_base_gradient, _exponent_gradient)
)
power_number = pointwise(
    "power_number",
    lambda x, exponent: np.power(x, x.dtype.type(exponent)),
    lambda x, exponent: [_power(x, number(exponent, x))],
    each(_number_gradient),
)
