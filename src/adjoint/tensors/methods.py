"""The methods of Tensor that are functions of this floor under the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adjoint.tensors import arithmetic, indexing, movement, random, reduction
from adjoint.tensors.handle import Handle

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def in_place(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """The method with a trailing underscore: compute, then make this handle stand for the result."""
    name = f"{function.__name__}_"

    def method(self: Handle, *args: Any, **kwargs: Any) -> Tensor:
        return self.assign(function(self, *args, **kwargs).node, name)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place version of ``{function.__name__}``."
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
    diagonal, diag, diag_embed = movement.diagonal, movement.diag, movement.diag_embed
    tril, triu = movement.tril, movement.triu
    clone, contiguous = movement.clone, movement.contiguous
    tril_, triu_ = in_place(tril), in_place(triu)

    # reduction
    sum, mean, prod = reduction.sum, reduction.mean, reduction.prod
    var, std = reduction.var, reduction.std
    max, min, amax, amin = reduction.max, reduction.min, reduction.amax, reduction.amin
    argmax, argmin = reduction.argmax, reduction.argmin
    any, all, count_nonzero = reduction.any, reduction.all, reduction.count_nonzero
    cumsum = reduction.cumsum

    # indexing
    nonzero = indexing.nonzero

    # random
    uniform_, normal_, exponential_ = random.uniform_, random.normal_, random.exponential_
    bernoulli, bernoulli_, random_ = random.bernoulli, random.bernoulli_, random.random_
    multinomial = random.multinomial
