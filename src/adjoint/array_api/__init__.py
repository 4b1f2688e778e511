"""The Python Array API standard, version 2023.12, on Adjoint's tensors.

``x.__array_namespace__()`` gives this module, so that libraries written against the standard run
on tensors, with gradients. There are no complex dtypes; where PyTorch and the standard disagree
about a tensor's own attributes, PyTorch wins: see docs/differences.md.
"""

# ruff: noqa: I001 - the names in rows, not one to a line
from math import e, inf, nan, pi

from adjoint.array_api.creation import (
    arange, asarray, empty, eye, from_dlpack, full, linspace, meshgrid, ones, tril, triu, zeros,
)  # fmt: skip
from adjoint.array_api.dtypes import (
    __array_namespace_info__, astype, can_cast, isdtype, result_type,
)  # fmt: skip
from adjoint.array_api.functions import (
    all, any, argmax, argmin, argsort, broadcast_arrays, clip, concat, conj, cumulative_sum, flip,
    imag, max, mean, min, nonzero, permute_dims, prod, real, repeat, reshape, roll, searchsorted,
    sort, squeeze, stack, std, sum, take, tensordot, tile, unique_all, unique_counts,
    unique_inverse, unique_values, unstack, var, vecdot,
)  # fmt: skip
from adjoint.base.dtype import (
    bool_, finfo, float32, float64, iinfo, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
)  # fmt: skip
from adjoint.tensors.arithmetic import (
    add, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift, bitwise_xor,
    div, eq, floor_divide, ge, gt, le, logical_and, logical_not, logical_or, logical_xor, lt,
    maximum, minimum, mul, ne, neg, positive, remainder, sub, where,
)  # fmt: skip
from adjoint.tensors.contraction import matmul
from adjoint.tensors.creation import empty_like, full_like, ones_like, zeros_like
from adjoint.tensors.elementwise import (
    abs, acos, acosh, asin, asinh, atan, atan2, atanh, ceil, copysign, cos, cosh, exp, expm1, floor,
    hypot, log, log1p, log2, log10, logaddexp, round, sign, sin, sinh, sqrt, tan, tanh, trunc,
)  # fmt: skip
from adjoint.tensors.movement import broadcast_to, expand_dims, matrix_transpose
from adjoint.tensors.movement import movedim as moveaxis
from adjoint.tensors.powers import pow, square
from adjoint.tensors.predicates import isfinite, isinf, isnan, signbit

subtract, multiply, divide, negative = sub, mul, div, neg
equal, not_equal, less, less_equal, greater, greater_equal = eq, ne, lt, le, gt, ge
bitwise_invert = bitwise_not
newaxis = None
bool = bool_  # noqa: A001 - the standard's name

VERSIONS = ("2021.12", "2022.12", "2023.12")
"""The versions of the standard whose functions are all here."""
__array_api_version__ = VERSIONS[-1]

__all__ = [  # noqa: RUF022 - in the order of the standard
    # constants, dtypes, inspection
    "e", "inf", "nan", "newaxis", "pi", "bool", "float32", "float64", "int8", "int16", "int32",
    "int64", "uint8", "uint16", "uint32", "uint64", "__array_namespace_info__",
    # data type functions
    "astype", "broadcast_arrays", "broadcast_to", "can_cast", "finfo", "iinfo", "isdtype",
    "result_type",
    # creation
    "arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like",
    "linspace", "meshgrid", "ones", "ones_like", "tril", "triu", "zeros", "zeros_like",
    # elementwise
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "ceil", "clip", "conj", "copysign", "cos", "cosh", "divide", "equal", "exp", "expm1", "floor",
    "floor_divide", "greater", "greater_equal", "hypot", "imag", "isfinite", "isinf", "isnan",
    "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative",
    "not_equal", "positive", "pow", "real", "remainder", "round", "sign", "signbit", "sin", "sinh",
    "sqrt", "square", "subtract", "tan", "tanh", "trunc",
    # indexing, searching, sets, sorting
    "take", "argmax", "argmin", "nonzero", "searchsorted", "where", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "argsort", "sort",
    # linear algebra, manipulation
    "matmul", "matrix_transpose", "tensordot", "vecdot", "concat", "expand_dims", "flip",
    "moveaxis", "permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "tile", "unstack",
    # statistics, utility
    "cumulative_sum", "max", "mean", "min", "prod", "std", "sum", "var", "all", "any",
]  # fmt: skip
