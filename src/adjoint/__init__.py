"""Adjoint: tensors with automatic differentiation, a compiler, and deep learning on top."""

from importlib import import_module
from math import e, inf, nan, pi
from typing import TYPE_CHECKING

from adjoint import random
from adjoint.base.dtype import (
    DType, bfloat16, bool_, finfo, float16, float32, float64, iinfo, int8, int16, int32, int64,
    promote_types, uint8, uint16, uint32, uint64,
)  # fmt: skip
from adjoint.base.errors import AdjointError, nearest
from adjoint.compile import register as _use_compiled_kernels
from adjoint.runtime import accelerator, cuda
from adjoint.runtime.device import Device, device
from adjoint.tensors.arithmetic import (
    add, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift,
    bitwise_xor, div, eq, floor_divide, fmod, ge, gt, le, logical_and, logical_not, logical_or,
    logical_xor, lt, maximum, minimum, mul, ne, neg, positive, remainder, sub, where,
)  # fmt: skip
from adjoint.tensors import autograd
from adjoint.tensors.control import scan
from adjoint.tensors.contraction import (
    addmm, addmv, addr, baddbmm, bilinear, bmm, chain_matmul, cross, dot, inner, kron, matmul, mm,
    multi_dot, mv, outer, tensordot, trace, vecdot,
)  # fmt: skip
from adjoint.tensors.creation import (
    arange, as_tensor, empty, empty_like, eye, from_dlpack, from_numpy, full, full_like, linspace,
    logspace, ones, ones_like, tensor, zeros, zeros_like,
)  # fmt: skip
from adjoint.tensors.einsum import einsum
from adjoint.tensors.elementwise import (
    abs, absolute, acos, acosh, addcdiv, addcmul, arccos, arccosh, arcsin, arcsinh, arctan,
    arctan2, arctanh, asin, asinh, atan, atan2, atanh, ceil, clamp, clamp_max, clamp_min, clip,
    copysign, cos, cosh, deg2rad, exp, exp2, expm1, fix, floor, frac, heaviside, hypot, lerp, log,
    log1p, log2, log10, logaddexp, nan_to_num, nextafter, rad2deg, reciprocal, round, rsqrt, sgn,
    sign, sin, sinh, sqrt, tan, tanh, trunc,
)  # fmt: skip
from adjoint.tensors.generator import (
    Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)  # fmt: skip
from adjoint.tensors.indexing import nonzero
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
    broadcast_tensors, broadcast_to, cat, chunk, clone, diag, diag_embed, diagonal, expand_dims,
    flatten, flip, fliplr, flipud, hstack, matrix_transpose, meshgrid, movedim, narrow, permute,
    repeat_interleave, reshape, roll, select, split, squeeze, stack, t, tile, transpose, tril,
    triu, unbind, unflatten, unsqueeze, vstack,
)  # fmt: skip
from adjoint.tensors.norms import cdist, dist, norm
from adjoint.tensors.powers import float_power, pow, square
from adjoint.tensors.predicates import (
    allclose, can_cast, equal, is_floating_point, is_tensor, isclose, isfinite, isinf, isnan,
    isneginf, isposinf, numel, result_type, signbit,
)  # fmt: skip
from adjoint.tensors.random import (
    bernoulli, exponential, multinomial, normal, poisson, rand, rand_like, randint, randint_like,
    randn, randn_like, randperm, uniform,
)  # fmt: skip
from adjoint.tensors.reduction import (
    all, amax, amin, any, argmax, argmin, count_nonzero, cumsum, max, mean, min, prod, std,
    std_mean, sum, var, var_mean,
)  # fmt: skip
from adjoint.tensors.special import (
    digamma, erf, erfc, erfinv, expit, lgamma, logit, sigmoid, xlogy,
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
from adjoint.tensors.tensor import Tensor
from adjoint.tensors.transforms import (
    grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, value_and_grad, vjp, vmap,
)  # fmt: skip

if TYPE_CHECKING:
    from adjoint import array_api, data, interop, linalg, models, nn, optim, testing, train
    from adjoint.interop.safetensors import load, save

__version__ = "0.1.0"

# PyTorch's and NumPy's other names for the same things
bool = bool_
float, half, double, long, short = float32, float16, float64, int64, int16
Size = tuple
concat = concatenate = cat
swapaxes = transpose
moveaxis = movedim
ger, vdot = outer, dot
inverse, pinverse = inv, pinv
subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
newaxis = None

_use_compiled_kernels()

_SUBMODULES = (
    "array_api", "data", "interop", "linalg", "models", "nn", "optim", "testing", "train",
)  # fmt: skip
_ELSEWHERE = {"load": "adjoint.interop.safetensors", "save": "adjoint.interop.safetensors"}


def __getattr__(name: str) -> object:
    """Import sub-packages when they are first used: ``import adjoint`` stays quick."""
    if name in _SUBMODULES:
        return import_module(f"adjoint.{name}")
    if name in _ELSEWHERE:
        return getattr(import_module(_ELSEWHERE[name]), name)
    raise AttributeError(f"module 'adjoint' has no attribute {name!r}. {nearest(name, __dir__())}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_ELSEWHERE})
