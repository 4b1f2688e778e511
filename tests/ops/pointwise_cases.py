"""Cases of the pointwise rows; their meaning in Python's own arithmetic."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from adjoint import ops
from adjoint.base.dtype import ALL, DType, bool_
from adjoint.ir.node import Node
from tests.ops.op_cases import (
    BOOLS,
    FLOATS,
    INTEGERS,
    NUMBERS,
    Array,
    Case,
    Draw,
    Input,
    Shape,
    below,
    coarse,
    divisor,
    elementwise,
    plain,
    positive,
)  # fmt: skip

SHAPES: tuple[Shape, ...] = ((), (1,), (5,), (0,), (2, 0, 3), (3, 5), (2, 3, 4))
BROADCASTS: tuple[tuple[Shape, Shape], ...] = (
    ((3, 1), (1, 4)), ((2, 3, 2), (2,)), ((), (2, 3)), ((0, 1), (1, 3)), ((1, 1), (1,)),
)  # fmt: skip


def cases() -> Iterator[Case]:
    yield from unary("neg", operator.neg, plain, NUMBERS, torch.neg)
    yield from unary("exp", math.exp, plain, FLOATS, torch.exp, 2)
    yield from unary("log", math.log, positive, FLOATS, torch.log, 2)
    yield from unary("sin", math.sin, plain, FLOATS, torch.sin, 2)
    yield from unary("cos", math.cos, plain, FLOATS, torch.cos, 2)
    yield from unary("sqrt", math.sqrt, positive, FLOATS, torch.sqrt, 1)
    yield from unary("tanh", math.tanh, plain, FLOATS, torch.tanh, 2)
    yield from unary("erf", math.erf, plain, FLOATS, torch.erf, 2)
    yield from unary("atan", math.atan, plain, FLOATS, torch.atan, 2)
    yield from unary("floor", math.floor, plain, FLOATS, torch.floor)
    yield from binary("add", operator.add, plain, plain, ALL, torch.add, 1)
    yield from binary("sub", operator.sub, plain, plain, ALL, torch.sub, 1)
    yield from binary("mul", operator.mul, plain, plain, ALL, torch.mul, 1)
    yield from binary("div", quotient, plain, divisor, FLOATS, torch.div, 1)
    yield from binary("div", whole_quotient, plain, divisor, INTEGERS, None, name="whole ")
    yield from binary("rem", remainder, plain, divisor, NUMBERS, torch.remainder, 2)
    yield from binary("maximum", max, plain, plain, ALL, torch.maximum)
    yield from binary("minimum", min, plain, plain, ALL, torch.minimum)
    yield from ties("maximum", max, torch.maximum)
    yield from ties("minimum", min, torch.minimum)
    yield from binary("eq", operator.eq, coarse, coarse, ALL, torch.eq, result=bool_)
    yield from binary("lt", operator.lt, coarse, coarse, ALL, torch.lt, result=bool_)
    yield from binary("bit_and", operator.and_, plain, plain, (*INTEGERS, *BOOLS))
    yield from binary("bit_or", operator.or_, plain, plain, (*INTEGERS, *BOOLS))
    yield from binary("bit_xor", operator.xor, plain, plain, (*INTEGERS, *BOOLS))
    yield from binary("shift_left", operator.lshift, plain, below(8), INTEGERS)
    yield from binary("shift_right", operator.rshift, plain, below(8), INTEGERS)
    yield from wheres()
    yield from casts()


def quotient(x: float, y: float) -> float:
    return x / y


def whole_quotient(x: int, y: int) -> int:
    return 0 if y == 0 else x // y


def remainder(x: Any, y: Any) -> Any:
    return 0 if y == 0 else x % y


def unary(
    op: str, scalar: Callable[..., Any], draw: Draw, dtypes: tuple[DType, ...],
    twin: Callable[..., Any], ulps: float = 0,
) -> Iterator[Case]:  # fmt: skip
    row = ops.TABLE[op]
    for shape in SHAPES:
        given = (Input(shape, draw),)
        yield Case(op, f"{shape}", given, row, elementwise(scalar), dtypes, twin, ulps)
    given = (Input((2, 1), draw),)
    yield Case(
        op, "of a broadcast", given,
        run=lambda x: row(ops.broadcast(x, shape=(2, 2, 3))),
        meaning=lambda x: elementwise(scalar)(x + np.zeros((2, 2, 3), x.dtype)),
        dtypes=dtypes, ulps=ulps, twin=lambda x: twin(x.expand(2, 2, 3)),
    )  # fmt: skip


def binary(
    op: str, scalar: Callable[..., Any], left: Draw, right: Draw, dtypes: tuple[DType, ...],
    twin: Callable[..., Any] | None = None, ulps: float = 0, result: DType | None = None,
    name: str = "",
) -> Iterator[Case]:  # fmt: skip
    row, meaning = ops.TABLE[op], elementwise(scalar)
    for shape in SHAPES:
        given = (Input(shape, left), Input(shape, right))
        yield Case(
            op, f"{name}{shape}", given, row, meaning, dtypes, twin, ulps, result=result,
            smooth=result is None,
        )  # fmt: skip
    for a, b in BROADCASTS:
        given = (Input(a, left), Input(b, right))
        shape = np.broadcast_shapes(a, b)
        yield Case(
            op, f"{name}{a} with {b}", given, spread(row, shape), meaning, dtypes, twin, ulps,
            result=result, smooth=result is None,
        )  # fmt: skip
    smooth = op != "rem" and result is None  # x % x jumps at every x
    yield Case(
        op, f"{name}x with x", (Input((4,), right),),
        run=lambda x: row(x, x), meaning=lambda x: meaning(x, x), dtypes=dtypes,
        ulps=ulps, result=result, smooth=smooth,
    )  # fmt: skip


def spread(row: Any, shape: Shape) -> Callable[[Node, Node], Node]:
    return lambda x, y: row(ops.broadcast(x, shape=shape), ops.broadcast(y, shape=shape))


def ties(op: str, scalar: Callable[..., Any], twin: Callable[..., Any]) -> Iterator[Case]:
    """Equal operands: no derivative exists, torch and we give each side half."""
    given = (Input((6,), coarse), Input((6,), coarse))
    yield Case(op, "ties", given, ops.TABLE[op], elementwise(scalar), ALL, twin, smooth=False)


def choose(condition: bool, x: Any, y: Any) -> Any:
    return x if condition else y


def wheres() -> Iterator[Case]:
    for shape in SHAPES:
        given = (Input(shape, plain, bool_), Input(shape), Input(shape))
        yield Case("where", f"{shape}", given, ops.where, elementwise(choose), ALL, torch.where)
    given = (Input((3, 1), plain, bool_), Input(()), Input((3, 2)))
    yield Case(
        "where", "broadcast", given,
        run=lambda c, x, y: ops.where(
            ops.broadcast(c, shape=(3, 2)), ops.broadcast(x, shape=(3, 2)), y
        ),
        meaning=elementwise(choose), twin=torch.where,
    )  # fmt: skip
    yield Case(
        "where", "x with x", (Input((4,), plain, bool_), Input((4,))),
        run=lambda c, x: ops.where(c, x, x), meaning=lambda c, x: x,
    )  # fmt: skip


def casts() -> Iterator[Case]:
    for target in ALL:
        draw = small if target.kind == "f" or target.kind == "i" else small_natural
        for shape in ((), (0, 2), (7,), (2, 3)):
            yield Case(
                "cast", f"to {target.name} {shape}", (Input(shape, draw),),
                run=caster(target), meaning=converter(target), ulps=0, result=target,
                smooth=target.kind == "f" and target.bits == 64,
            )  # fmt: skip
    yield Case(
        "cast", "through integers", (Input((5,), small),),
        run=lambda x: ops.cast(ops.cast(x, dtype=bool_), dtype=x.dtype),
        meaning=elementwise(lambda v: float(v != 0)), smooth=False,
    )  # fmt: skip


def small(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """Numbers that fit every signed or float dtype; fractions for floats."""
    if dtype.kind == "f":
        return np.asarray(rng.uniform(-100, 100, shape)).astype(dtype.numpy)
    low = -100 if dtype.kind == "i" else 0
    return np.asarray(rng.integers(low, 100, shape)).astype(dtype.numpy)


def small_natural(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    values = np.abs(small(rng, shape, dtype).astype(np.float64)) * (rng.uniform(size=shape) < 0.8)
    return np.asarray(values).astype(dtype.numpy)


def caster(target: DType) -> Callable[[Node], Node]:
    return lambda x: ops.cast(x, dtype=target)


def converter(target: DType) -> Callable[[Array], Array]:
    if target.kind == "b":
        return elementwise(bool)
    return elementwise(float if target.kind == "f" else math.trunc)
