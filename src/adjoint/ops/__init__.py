"""Floor 3: the vocabulary. Each op is one row with four rules; at most 48 rows."""

from adjoint.ops.contract import conv, dot
from adjoint.ops.index import gather, scatter_add
from adjoint.ops.movement import broadcast, concat, pad, permute, reshape, slice
from adjoint.ops.pointwise import (
    add,
    atan,
    bit_and,
    bit_or,
    bit_xor,
    cast,
    cos,
    div,
    eq,
    erf,
    exp,
    floor,
    log,
    lt,
    maximum,
    minimum,
    mul,
    neg,
    rem,
    shift_left,
    shift_right,
    sin,
    sqrt,
    sub,
    tanh,
    where,
)  # fmt: skip
from adjoint.ops.reduce import argsort, cumsum, reduce_max, reduce_sum
from adjoint.ops.rows import TABLE
from adjoint.ops.source import iota, random_bits
from adjoint.ops.structure import Region, call, copy, loop, pick

__all__ = [
    "TABLE", "Region", "add", "argsort", "atan", "bit_and", "bit_or", "bit_xor", "broadcast",
    "call", "cast", "concat", "conv", "copy", "cos", "cumsum", "div", "dot", "eq", "erf", "exp",
    "floor", "gather", "iota", "log", "loop", "lt", "maximum", "minimum", "mul", "neg", "pad",
    "permute", "pick", "random_bits", "reduce_max", "reduce_sum", "rem", "reshape", "scatter_add",
    "shift_left", "shift_right", "sin", "slice", "sqrt", "sub", "tanh", "where",
]  # fmt: skip
