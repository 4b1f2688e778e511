"""Every name that stands directly under ``adjoint``; loaded when the first of them is used."""

# ruff: noqa: I001, RUF022  (names as text, not one a line)

from math import e, inf, nan, pi

from adjoint import autograd, random
from adjoint.base.dtype import (
    DType, bfloat16, bool_, finfo, float16, float32, float64, iinfo, int8, int16, int32, int64,
    promote_types, uint8, uint16, uint32, uint64,
)  # fmt: skip
from adjoint.base.errors import AdjointError
from adjoint.runtime import accelerator, cuda
from adjoint.runtime.device import Device, device
from adjoint.tensors.arithmetic import (
    add, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift,
    bitwise_xor, div, eq, floor_divide, fmod, ge, gt, le, logical_and, logical_not, logical_or,
    logical_xor, lt, maximum, minimum, mul, ne, neg, positive, remainder, sub, where,
)  # fmt: skip
from adjoint.tensors.checkpoint import checkpoint, checkpoint_sequential
from adjoint.tensors.contraction import (
    addmm, addmv, addr, baddbmm, bilinear, bmm, chain_matmul, cross, dot, inner, kron, matmul, mm,
    multi_dot, mv, outer, tensordot, trace, vecdot,
)  # fmt: skip
from adjoint.tensors.control import scan
from adjoint.tensors.creation import (
    arange, as_tensor, empty, empty_like, eye, from_dlpack, from_numpy, full, full_like, linspace,
    logspace, ones, ones_like, tensor, zeros, zeros_like,
)  # fmt: skip
from adjoint.tensors.diagonals import diag, diag_embed, diagonal, tril, triu
from adjoint.tensors.einsum import einsum
from adjoint.tensors.elementwise import (
    abs, absolute, acos, acosh, addcdiv, addcmul, arccos, arccosh, arcsin, arcsinh, arctan, arctan2,
    arctanh, asin, asinh, atan, atan2, atanh, ceil, clamp, clamp_max, clamp_min, clip, copysign,
    cos, cosh, deg2rad, exp, exp2, expm1, fix, floor, fmax, fmin, frac, heaviside, hypot, lerp, log,
    log1p, log2, log10, logaddexp, nan_to_num, nextafter, rad2deg, reciprocal, round, rsqrt, sgn,
    sign, sin, sinh, sqrt, tan, tanh, trunc,
)  # fmt: skip
from adjoint.tensors.generator import (
    Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)  # fmt: skip
from adjoint.tensors.graph_files import load_graph
from adjoint.tensors.graphs import Graph, label, record
from adjoint.tensors.indexing import nonzero
from adjoint.tensors.jit import jit, no_jit
from adjoint.tensors.lazy import lazy
from adjoint.tensors.legacy import (
    BoolTensor, ByteTensor, DoubleTensor, FloatTensor, HalfTensor, IntTensor, LongTensor,
)  # fmt: skip
from adjoint.tensors.linalg import (
    cholesky, cholesky_inverse, cholesky_solve, det, inv, logdet, matrix_power, pinv, slogdet,
)  # fmt: skip
from adjoint.tensors.modes import (
    enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled,
)  # fmt: skip
from adjoint.tensors.movement import (
    broadcast_tensors, broadcast_to, cat, chunk, clone, expand_dims, flatten, flip, fliplr, flipud,
    hstack, matrix_transpose, meshgrid, movedim, narrow, permute, repeat_interleave, reshape, roll,
    select, split, squeeze, stack, t, tile, transpose, unbind, unflatten, unsqueeze, vstack,
)  # fmt: skip
from adjoint.tensors.norms import cdist, dist, norm
from adjoint.tensors.powers import float_power, pow, square
from adjoint.tensors.predicates import (
    allclose, can_cast, equal, is_complex, is_floating_point, is_tensor, isclose, isfinite, isinf,
    isnan, isneginf, isposinf, numel, result_type, signbit,
)  # fmt: skip
from adjoint.tensors.random import (
    bernoulli, exponential, multinomial, normal, poisson, rand, rand_like, randint, randint_like,
    randn, randn_like, randperm, truncated_normal, uniform,
)  # fmt: skip
from adjoint.tensors.reduction import (
    all, amax, amin, any, argmax, argmin, count_nonzero, cumsum, max, mean, min, nanmean, nansum,
    prod, std, std_mean, sum, var, var_mean,
)  # fmt: skip
from adjoint.tensors.scans import cummax, cummin, cumprod, diff, logcumsumexp
from adjoint.tensors.scatter import (
    embedding, gather, index_add, index_copy, index_fill, index_put, index_select, masked_fill,
    masked_scatter, masked_select, one_hot, put, scatter, scatter_add, scatter_reduce, take,
    take_along_dim,
)  # fmt: skip
from adjoint.tensors.segments import (
    segment_max, segment_mean, segment_min, segment_softmax, segment_sum,
)  # fmt: skip
from adjoint.tensors.sets import (
    argwhere, bincount, bucketize, flatnonzero, histc, isin, searchsorted, unique,
    unique_consecutive,
)  # fmt: skip
from adjoint.tensors.sorting import (
    argsort, kthvalue, median, mode, msort, nanmedian, nanquantile, quantile, sort, topk,
)  # fmt: skip
from adjoint.tensors.special import (
    digamma, erf, erfc, erfinv, expit, lgamma, logit, sigmoid, xlogy,
)  # fmt: skip
from adjoint.tensors.sparsity import sparse_jacobian
from adjoint.tensors.tensor import Tensor
from adjoint.tensors.transforms import (
    grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, value_and_grad, vjp, vmap,
)  # fmt: skip

# PyTorch's and NumPy's other names for the same things
bool = bool_  # noqa: A001
float, half, double, long, short = float32, float16, float64, int64, int16  # noqa: A001
Size = tuple
concat = concatenate = cat
swapaxes = transpose
moveaxis = movedim
ger, vdot = outer, dot
inverse, pinverse = inv, pinv
subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
less, less_equal, greater, greater_equal, not_equal = lt, le, gt, ge, ne
newaxis = None

__all__ = [
    "AdjointError", "BoolTensor", "ByteTensor", "DType", "Device", "DoubleTensor", "FloatTensor",
    "Generator", "Graph", "HalfTensor", "IntTensor", "LongTensor", "Size", "Tensor", "abs",
    "absolute", "accelerator", "acos", "acosh", "add", "addcdiv", "addcmul", "addmm", "addmv",
    "addr", "all", "allclose", "amax", "amin", "any", "arange", "arccos", "arccosh", "arcsin",
    "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "argwhere",
    "as_tensor", "asin", "asinh", "atan", "atan2", "atanh", "autograd", "baddbmm", "bernoulli",
    "bfloat16", "bilinear", "bincount", "bitwise_and", "bitwise_left_shift", "bitwise_not",
    "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bmm", "bool", "bool_", "broadcast_tensors",
    "broadcast_to", "bucketize", "can_cast", "cat", "cdist", "ceil", "chain_matmul", "checkpoint",
    "checkpoint_sequential", "cholesky", "cholesky_inverse", "cholesky_solve", "chunk", "clamp",
    "clamp_max", "clamp_min", "clip", "clone", "concat", "concatenate", "copysign", "cos", "cosh",
    "count_nonzero", "cross", "cuda", "cummax", "cummin", "cumprod", "cumsum", "default_generator",
    "deg2rad", "det", "device", "diag", "diag_embed", "diagonal", "diff", "digamma", "dist", "div",
    "divide", "dot", "double", "e", "einsum", "embedding", "empty", "empty_like", "enable_grad",
    "eq", "equal", "erf", "erfc", "erfinv", "exp", "exp2", "expand_dims", "expit", "expm1",
    "exponential", "eye", "finfo", "fix", "flatnonzero", "flatten", "flip", "fliplr", "flipud",
    "float", "float16", "float32", "float64", "float_power", "floor", "floor_divide", "fmax",
    "fmin", "fmod", "frac", "from_dlpack", "from_numpy", "full", "full_like", "gather", "ge", "ger",
    "get_rng_state", "grad", "greater", "greater_equal", "gt", "half", "heaviside", "hessian",
    "histc", "hstack", "hvp", "hypot", "iinfo", "index_add", "index_copy", "index_fill",
    "index_put", "index_select", "inf", "inference_mode", "initial_seed", "inner", "int16", "int32",
    "int64", "int8", "inv", "inverse", "is_complex", "is_floating_point", "is_grad_enabled",
    "is_tensor", "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "jacfwd",
    "jacrev", "jit", "jvp", "kron", "kthvalue", "label", "lazy", "le", "lerp", "less", "less_equal",
    "lgamma", "linearize", "linspace", "load_graph", "log", "log10", "log1p", "log2", "logaddexp",
    "logcumsumexp", "logdet", "logical_and", "logical_not", "logical_or", "logical_xor", "logit",
    "logspace", "long", "lt", "manual_seed", "masked_fill", "masked_scatter", "masked_select",
    "matmul", "matrix_power", "matrix_transpose", "max", "maximum", "mean", "median", "meshgrid",
    "min", "minimum", "mm", "mode", "moveaxis", "movedim", "msort", "mul", "multi_dot",
    "multinomial", "multiply", "mv", "nan", "nan_to_num", "nanmean", "nanmedian", "nanquantile",
    "nansum", "narrow", "ne", "neg", "negative", "newaxis", "nextafter", "no_grad", "no_jit",
    "nonzero", "norm", "normal", "not_equal", "numel", "one_hot", "ones", "ones_like", "outer",
    "permute", "pi", "pinv", "pinverse", "poisson", "positive", "pow", "prod", "promote_types",
    "put", "quantile", "rad2deg", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "random", "randperm", "reciprocal", "record", "remainder", "repeat_interleave",
    "reshape", "result_type", "roll", "round", "rsqrt", "scan", "scatter", "scatter_add",
    "scatter_reduce", "searchsorted", "seed", "segment_max", "segment_mean", "segment_min",
    "segment_softmax", "segment_sum", "select", "set_grad_enabled", "set_rng_state", "sgn", "short",
    "sigmoid", "sign", "signbit", "sin", "sinh", "slogdet", "sort", "sparse_jacobian",
    "split", "sqrt", "square",
    "squeeze", "stack", "std", "std_mean", "sub", "subtract", "sum", "swapaxes", "t", "take",
    "take_along_dim", "tan", "tanh", "tensor", "tensordot", "tile", "topk", "trace", "transpose",
    "tril", "triu", "true_divide", "trunc", "truncated_normal", "uint16", "uint32", "uint64",
    "uint8", "unbind", "unflatten", "uniform", "unique", "unique_consecutive", "unsqueeze",
    "value_and_grad", "var", "var_mean", "vdot", "vecdot", "vjp", "vmap", "vstack", "where",
    "xlogy", "zeros", "zeros_like",
]  # fmt: skip
