"""Pointwise rows, and the arithmetic operators of Node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.config import FLAGS
from adjoint.base.dtype import DType, bool_
from adjoint.base.shape import Shape
from adjoint.ir.node import (
    NO_PARAMS,
    Array,
    Node,
    Op,
    Type,
    apply,
    constant,
    evaluate,
    finish,
    force,
    state,
)  # fmt: skip
from adjoint.ops.rows import (
    TABLE,
    batch_all,
    binary,
    both,
    comparison,
    each,
    no_gradient,
    number,
    op,
    repeated,
    same_type,
    unary,
    zeros_like,
)  # fmt: skip
from adjoint.ops.special import erf_array

TWO_OVER_SQRT_PI = 1.1283791670955126

neg = unary("neg", np.negative, lambda ct, out, x: -ct)
exp = unary("exp", np.exp, lambda ct, out, x: ct * out, quiet=True)
log = unary("log", np.log, lambda ct, out, x: ct / x, quiet=True)
sin: Op = unary("sin", np.sin, lambda ct, out, x: ct * cos(x), quiet=True)
cos: Op = unary("cos", np.cos, lambda ct, out, x: -(ct * sin(x)), quiet=True)
sqrt = unary("sqrt", np.sqrt, lambda ct, out, x: ct * 0.5 / out, quiet=True)
tanh = unary("tanh", np.tanh, lambda ct, out, x: ct * (1.0 - out * out))
erf = unary(
    "erf", erf_array, lambda ct, out, x: ct * (exp(-(x * x)) * TWO_OVER_SQRT_PI), quiet=True
)
atan = unary("atan", np.arctan, lambda ct, out, x: ct / (1.0 + x * x))
floor = unary("floor", np.floor, None)


def _floored(x: Node, y: Node) -> Node:
    return floor(x / y)


def _at_larger(ct: Node, mine: Node, other: Node) -> Node:
    """The share of ``ct`` that goes to ``mine``: all where it is larger, half at a tie."""
    tie = where(eq(mine, other), ct * 0.5, zeros_like(ct))
    return where(lt(other, mine), ct, tie)


def _divide(x: Array, y: Array) -> Array:
    """True division of floats; of integers the floor, and 0 for a zero divisor."""
    return np.divide(x, y) if x.dtype.kind not in "iu" else np.floor_divide(x, y)


def _subtract(x: Array, y: Array) -> Array:
    return np.subtract(x, y) if x.dtype.kind != "b" else np.not_equal(x, y)


add = binary("add", np.add, both(lambda ct, out, x, y: ct, lambda ct, out, x, y: ct), quiet=True)
sub = binary(
    "sub", _subtract, both(lambda ct, out, x, y: ct, lambda ct, out, x, y: -ct), quiet=True
)
mul = binary(
    "mul", np.multiply, both(lambda ct, out, x, y: ct * y, lambda ct, out, x, y: ct * x), quiet=True
)
div = binary(
    "div", _divide,
    both(lambda ct, out, x, y: ct / y, lambda ct, out, x, y: -(ct * out / y)), quiet=True,
)  # fmt: skip
rem = binary(
    "rem", np.remainder,
    both(lambda ct, out, x, y: ct, lambda ct, out, x, y: -(ct * _floored(x, y))), quiet=True,
)  # fmt: skip
maximum = binary(
    "maximum", np.maximum,
    both(lambda ct, out, x, y: _at_larger(ct, x, y), lambda ct, out, x, y: _at_larger(ct, y, x)),
    quiet=True,
)  # fmt: skip
minimum = binary(
    "minimum", np.minimum,
    both(lambda ct, out, x, y: _at_larger(ct, y, x), lambda ct, out, x, y: _at_larger(ct, x, y)),
    quiet=True,
)  # fmt: skip
eq = comparison("eq", np.equal)
lt = comparison("lt", np.less)

bit_and = binary("bit_and", np.bitwise_and, no_gradient)
bit_or = binary("bit_or", np.bitwise_or, no_gradient)
bit_xor = binary("bit_xor", np.bitwise_xor, no_gradient)
shift_left = binary("shift_left", np.left_shift, no_gradient)
shift_right = binary("shift_right", np.right_shift, no_gradient)


def select(condition: Array, x: Array, y: Array) -> Array:
    """``np.where`` without its branches: on large arrays, bits are chosen by a mask, which takes
    a seventh of the time when the condition is as good as random."""
    if condition.size < 8192 or x.dtype != y.dtype:
        return np.where(condition, x, y)
    bits = BITS[x.dtype.itemsize]
    mask = np.negative(condition.view(np.int8)).astype(bits, copy=False)
    first, second = x.view(bits), y.view(bits)
    is_zero = second.ndim == 0 and second == 0
    found = mask & first if is_zero else ((first ^ second) & mask) ^ second
    return found.view(x.dtype)


BITS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def _where_type(condition: Node, x: Node, y: Node) -> Type:
    made = same_type(x, y)
    if condition.dtype is not bool_ or condition.shape != x.shape:
        raise errors.shape(
            "where", "needs a bool condition of the operands' shape", condition, x,
            hint="compare first (condition != 0), and broadcast it",
        )  # fmt: skip
    return made


def _where_true(ct: Node, out: Node, condition: Node, x: Node, y: Node) -> Node:
    return where(condition, ct, zeros_like(ct))


def _where_false(ct: Node, out: Node, condition: Node, x: Node, y: Node) -> Node:
    return where(condition, zeros_like(ct), ct)


where = op(
    "where", "pointwise",
    infer=_where_type,
    ref=select,
    vjp=each(None, _where_true, _where_false),
    vmap=batch_all,
)  # fmt: skip


def _cast_type(x: Node, dtype: DType) -> Type:
    return Type(x.shape, dtype)


def _cast(x: Array, dtype: DType) -> Array:
    return x.astype(dtype.numpy)


def _cast_back(ct: Node, out: Node, x: Node, dtype: DType) -> Node:
    return cast(ct, dtype=x.dtype)


cast = op(
    "cast", "pointwise",
    infer=_cast_type,
    ref=_cast,
    vjp=each(_cast_back),
    vmap=batch_all,
    quiet=True,
)  # fmt: skip


def broadcasting(op: Op, args: tuple[Node, ...], shape: Shape) -> Node:
    """A pointwise ``op`` on ``args`` that broadcast to ``shape``.

    The broadcasts become nodes only where a gradient or a recording needs them.
    """
    values: list[Any] = []
    needs = False
    for a in args:
        value = None
        if state.divert is None:
            value = a.value if a.value is not None else force(a)
        if value is None or FLAGS.verify:
            return apply(op, tuple(_broadcast(a, shape) for a in args), NO_PARAMS)
        values.append(value)
        needs = needs or a.needs_grad
    needs = needs and state.grad
    kept = tuple(a if a.shape == shape else repeated(a, shape) for a in args) if needs else ()
    return finish(op, kept, NO_PARAMS, evaluate(op, values, NO_PARAMS), needs)


def _install(name: str, row: Op) -> None:
    """Let ``Node + Node`` and ``Node + number`` mean the row ``add``, and so on."""

    def forward(self: Node, other: Any) -> Node:
        if isinstance(other, Node):
            return row(self, other)
        return broadcasting(row, (self, _scalar(other, self)), self.shape)

    def reflected(self: Node, other: Any) -> Node:
        return broadcasting(row, (_scalar(other, self), self), self.shape)

    setattr(Node, f"__{name}__", forward)
    setattr(Node, f"__r{name}__", reflected)


def _scalar(value: float, like: Node) -> Node:
    return constant(number(value, like.dtype))


def _broadcast(node: Node, shape: Shape) -> Node:
    return node if node.shape == shape else TABLE["broadcast"](node, shape=shape)


def _negative(self: Node) -> Node:
    return neg(self)


_OPERATORS: dict[str, Callable[..., Any]] = {"add": add, "sub": sub, "mul": mul, "truediv": div}
for _name, _row in _OPERATORS.items():
    _install(_name, _row)  # type: ignore[arg-type]
Node.__neg__ = _negative  # type: ignore[method-assign]
