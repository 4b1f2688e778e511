"""The methods of Tensor that are functions of this floor under the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adjoint.tensors import (
    arithmetic,
    contraction,
    diagonals,
    elementwise,
    indexing,
    linalg,
    movement,
    norms,
    powers,
    predicates,
    random,
    reduction,
    scans,
    sets,
    sorting,
    special,
)  # fmt: skip
from adjoint.tensors import scatter as positions
from adjoint.tensors.handle import Handle

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def in_place(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """The method with a trailing underscore: compute, then let this handle be the result."""
    name = f"{function.__name__}_"

    def method(self: Handle, *args: Any, **kwargs: Any) -> Tensor:
        return self.assign(function(self, *args, **kwargs).node, name)

    method.__wrapped__ = function  # type: ignore[attr-defined]  # help() shows its arguments
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place version of ``{function.__name__}``."
    return method


def later(name: str) -> Callable[..., Any]:
    """A method that is a function of ``tensors.functional``, which is loaded when first used."""

    def method(self: Handle, *args: Any, **kwargs: Any) -> Any:
        from adjoint.tensors import functional

        return getattr(functional, name)(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``adjoint.nn.functional.{name}`` of this tensor."
    return method


class Methods(Handle):
    """One line per method; the functions hold the documentation."""

    __slots__ = ()

    # arithmetic
    add, sub, mul, div = arithmetic.add, arithmetic.sub, arithmetic.mul, arithmetic.div
    subtract, multiply, divide, true_divide = sub, mul, div, div
    floor_divide, remainder, fmod = arithmetic.floor_divide, arithmetic.remainder, arithmetic.fmod
    neg = negative = arithmetic.neg
    positive = arithmetic.positive
    maximum, minimum = arithmetic.maximum, arithmetic.minimum
    eq, ne, lt, le, gt, ge = (
        arithmetic.eq, arithmetic.ne, arithmetic.lt, arithmetic.le, arithmetic.gt, arithmetic.ge,
    )  # fmt: skip
    bitwise_and, bitwise_or = arithmetic.bitwise_and, arithmetic.bitwise_or
    bitwise_xor, bitwise_not = arithmetic.bitwise_xor, arithmetic.bitwise_not
    logical_and, logical_or = arithmetic.logical_and, arithmetic.logical_or
    logical_xor, logical_not = arithmetic.logical_xor, arithmetic.logical_not
    add_, sub_, mul_, div_ = in_place(add), in_place(sub), in_place(mul), in_place(div)
    neg_, floor_divide_, remainder_ = in_place(neg), in_place(floor_divide), in_place(remainder)

    # elementwise
    abs = absolute = elementwise.abs
    sign, sgn, reciprocal = elementwise.sign, elementwise.sign, elementwise.reciprocal
    sqrt, rsqrt, exp, exp2 = elementwise.sqrt, elementwise.rsqrt, elementwise.exp, elementwise.exp2
    expm1, log, log2 = elementwise.expm1, elementwise.log, elementwise.log2
    log10, log1p = elementwise.log10, elementwise.log1p
    logaddexp, sin, cos = elementwise.logaddexp, elementwise.sin, elementwise.cos
    tan, asin, acos = elementwise.tan, elementwise.asin, elementwise.acos
    atan, atan2, hypot = elementwise.atan, elementwise.atan2, elementwise.hypot
    arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
    sinh, cosh, tanh = elementwise.sinh, elementwise.cosh, elementwise.tanh
    asinh, acosh, atanh = elementwise.asinh, elementwise.acosh, elementwise.atanh
    arcsinh, arccosh, arctanh = asinh, acosh, atanh
    deg2rad, rad2deg = elementwise.deg2rad, elementwise.rad2deg
    floor, ceil, trunc = elementwise.floor, elementwise.ceil, elementwise.trunc
    fix, round, frac = elementwise.trunc, elementwise.round, elementwise.frac
    clamp = clip = elementwise.clamp
    clamp_min, clamp_max = elementwise.clamp_min, elementwise.clamp_max
    copysign, nextafter = elementwise.copysign, elementwise.nextafter
    fmax, fmin = elementwise.fmax, elementwise.fmin
    heaviside, nan_to_num = elementwise.heaviside, elementwise.nan_to_num
    lerp, addcmul, addcdiv = elementwise.lerp, elementwise.addcmul, elementwise.addcdiv
    pow, float_power, square = powers.pow, powers.float_power, powers.square
    sigmoid, logit, xlogy = special.sigmoid, special.logit, special.xlogy
    erf, erfc, erfinv = special.erf, special.erfc, special.erfinv
    lgamma, digamma = special.lgamma, special.digamma
    isnan, isinf, isfinite = predicates.isnan, predicates.isinf, predicates.isfinite
    isposinf, isneginf, signbit = predicates.isposinf, predicates.isneginf, predicates.signbit
    isclose, allclose, equal = predicates.isclose, predicates.allclose, predicates.equal
    abs_, sign_, reciprocal_ = in_place(abs), in_place(sign), in_place(reciprocal)
    sqrt_, rsqrt_, exp_, exp2_ = in_place(sqrt), in_place(rsqrt), in_place(exp), in_place(exp2)
    expm1_, log_, log2_, log10_ = in_place(expm1), in_place(log), in_place(log2), in_place(log10)
    log1p_, sin_, cos_, tan_ = in_place(log1p), in_place(sin), in_place(cos), in_place(tan)
    asin_, acos_, atan_, sinh_ = in_place(asin), in_place(acos), in_place(atan), in_place(sinh)
    cosh_, tanh_, asinh_ = in_place(cosh), in_place(tanh), in_place(asinh)
    acosh_, atanh_, floor_ = in_place(acosh), in_place(atanh), in_place(floor)
    ceil_, trunc_, fix_, round_ = in_place(ceil), in_place(trunc), in_place(fix), in_place(round)
    frac_, clamp_, clip_ = in_place(frac), in_place(clamp), in_place(clamp)
    clamp_min_, clamp_max_, pow_ = in_place(clamp_min), in_place(clamp_max), in_place(pow)
    square_, sigmoid_, logit_ = in_place(square), in_place(sigmoid), in_place(logit)
    erf_, erfc_, erfinv_ = in_place(erf), in_place(erfc), in_place(erfinv)
    lgamma_, digamma_, xlogy_ = in_place(lgamma), in_place(digamma), in_place(xlogy)
    nan_to_num_, copysign_, fmod_ = in_place(nan_to_num), in_place(copysign), in_place(fmod)
    lerp_, addcmul_, addcdiv_ = in_place(lerp), in_place(addcmul), in_place(addcdiv)
    absolute_, negative_, atan2_ = abs_, neg_, in_place(atan2)
    subtract_, multiply_, divide_, true_divide_ = sub_, mul_, div_, div_
    less, less_equal, greater, greater_equal, not_equal = lt, le, gt, ge, ne
    bitwise_left_shift = arithmetic.bitwise_left_shift
    bitwise_right_shift = arithmetic.bitwise_right_shift
    bitwise_left_shift_ = in_place(bitwise_left_shift)
    bitwise_right_shift_ = in_place(bitwise_right_shift)
    bitwise_and_, bitwise_or_ = in_place(bitwise_and), in_place(bitwise_or)
    bitwise_xor_, bitwise_not_ = in_place(bitwise_xor), in_place(bitwise_not)
    logical_and_, logical_or_ = in_place(logical_and), in_place(logical_or)
    logical_xor_, logical_not_ = in_place(logical_xor), in_place(logical_not)

    # activations
    relu, prelu, hardshrink = later("relu"), later("prelu"), later("hardshrink")
    softmax, log_softmax, logsumexp = later("softmax"), later("log_softmax"), later("logsumexp")
    relu_ = in_place(relu)

    # movement
    reshape = view = movement.reshape
    view_as = reshape_as = movement.view_as
    flatten, unflatten, ravel = movement.flatten, movement.unflatten, movement.flatten
    permute, transpose, t = movement.permute, movement.transpose, movement.t
    swapaxes = swapdims = movement.transpose
    movedim = moveaxis = movement.movedim
    squeeze, unsqueeze = movement.squeeze, movement.unsqueeze
    expand, expand_as, broadcast_to = movement.expand, movement.expand_as, movement.broadcast_to
    split, chunk, unbind = movement.split, movement.chunk, movement.unbind
    narrow, select = movement.narrow, movement.select
    flip, fliplr, flipud, roll = movement.flip, movement.fliplr, movement.flipud, movement.roll
    repeat, tile, repeat_interleave = movement.repeat, movement.tile, movement.repeat_interleave
    diagonal, diag, diag_embed = diagonals.diagonal, diagonals.diag, diagonals.diag_embed
    tril, triu = diagonals.tril, diagonals.triu
    clone, contiguous = movement.clone, movement.contiguous
    tril_, triu_ = in_place(tril), in_place(triu)

    # reduction
    sum, mean, prod = reduction.sum, reduction.mean, reduction.prod
    var, std = reduction.var, reduction.std
    max, min, amax, amin = reduction.max, reduction.min, reduction.amax, reduction.amin
    argmax, argmin = reduction.argmax, reduction.argmin
    nansum, nanmean = reduction.nansum, reduction.nanmean
    any, all, count_nonzero = reduction.any, reduction.all, reduction.count_nonzero
    cumsum = reduction.cumsum

    # contraction
    matmul, mm, bmm, mv = contraction.matmul, contraction.mm, contraction.bmm, contraction.mv
    dot = vdot = contraction.dot
    outer = ger = contraction.outer
    inner, kron, cross = contraction.inner, contraction.kron, contraction.cross
    addmm, addmv, addr = contraction.addmm, contraction.addmv, contraction.addr
    baddbmm, trace = contraction.baddbmm, contraction.trace
    addmm_, addmv_, addr_ = in_place(addmm), in_place(addmv), in_place(addr)
    baddbmm_ = in_place(baddbmm)

    # linear algebra
    norm, dist = norms.norm, norms.dist
    inverse, det, logdet, slogdet = linalg.inv, linalg.det, linalg.logdet, linalg.slogdet
    pinverse, matrix_power = linalg.pinv, linalg.matrix_power
    cholesky, cholesky_solve = linalg.cholesky, linalg.cholesky_solve
    cholesky_inverse = linalg.cholesky_inverse

    # order, scans, sets
    sort, argsort, msort = sorting.sort, sorting.argsort, sorting.msort
    topk, kthvalue, mode = sorting.topk, sorting.kthvalue, sorting.mode
    median, nanmedian = sorting.median, sorting.nanmedian
    quantile, nanquantile = sorting.quantile, sorting.nanquantile
    cumprod, cummax, cummin = scans.cumprod, scans.cummax, scans.cummin
    logcumsumexp, diff = scans.logcumsumexp, scans.diff
    cumprod_, cumsum_ = in_place(cumprod), in_place(cumsum)
    unique, unique_consecutive = sets.unique, sets.unique_consecutive
    bincount, histc, argwhere = sets.bincount, sets.histc, sets.argwhere

    # indexing
    nonzero = indexing.nonzero
    gather, scatter, take = positions.gather, positions.scatter, positions.take
    scatter_add, scatter_reduce = positions.scatter_add, positions.scatter_reduce
    index_select, index_add = positions.index_select, positions.index_add
    index_copy, index_fill = positions.index_copy, positions.index_fill
    index_put, put = positions.index_put, positions.put
    masked_fill, masked_select = positions.masked_fill, positions.masked_select
    masked_scatter, take_along_dim = positions.masked_scatter, positions.take_along_dim
    scatter_, scatter_add_ = in_place(scatter), in_place(scatter_add)
    scatter_reduce_ = in_place(scatter_reduce)
    index_add_, index_copy_ = in_place(index_add), in_place(index_copy)
    index_fill_, index_put_ = in_place(index_fill), in_place(index_put)
    masked_fill_, masked_scatter_ = in_place(masked_fill), in_place(masked_scatter)
    put_ = in_place(put)

    # random
    uniform_, normal_, exponential_ = random.uniform_, random.normal_, random.exponential_
    bernoulli, bernoulli_, random_ = random.bernoulli, random.bernoulli_, random.random_
    multinomial = random.multinomial
