"""Random numbers with explicit keys, as in JAX: the same key and shape give the same numbers.

``key(seed)`` makes a key, ``split`` and ``fold_in`` make others from it; use each key once. All
functions can be recorded, mapped over keys by ``vmap``, and differentiated where that has meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.dtype import DType, as_dtype, float32, float64, int64, uint32
from adjoint.base.shape import Shape, as_axis, as_shape, as_size, broadcast_shapes
from adjoint.ir.node import Node, constant
from adjoint.tensors import random as drawn
from adjoint.tensors import sampling
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.generator import as_seed
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import take_axis
from adjoint.tensors.reduction import argmax

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

__all__ = [
    "bernoulli", "bits", "categorical", "exponential", "fold_in", "key", "normal", "permutation",
    "randint", "split", "truncated_normal", "uniform",
]  # fmt: skip


def key(seed: int) -> Tensor:
    """The key of a 64-bit integer seed: two uint32 words. Raises ArgumentError beyond 64 bits."""
    number = as_seed("key", seed)
    return wrap(constant(np.array([number & 0xFFFFFFFF, number >> 32], np.uint32)))


def split(key: Handle, num: Any = 2) -> Tensor:
    """``num`` independent keys (or a shape of them), as rows of two words."""
    return wrap(sampling.split(_key("split", key), _shape("split", num)))


def fold_in(key: Handle, data: Any) -> Tensor:
    """The key that belongs to ``key`` and an integer such as a step number or a layer index."""
    node = _key("fold_in", key)
    if not isinstance(data, Handle):
        number = as_seed("fold_in", data)
        words = [constant(np.array(w, np.uint32)) for w in (number & 0xFFFFFFFF, number >> 32)]
        return wrap(sampling.fold_in(node, *words))
    if data.dtype.kind not in "iu" or data.shape != ():
        raise errors.wrong_dtype(
            "fold_in", errors.describe(data), "one integer", hint="use vmap for many of them"
        )
    number = to_dtype(to_dtype(data.node, int64), as_dtype("uint64"))
    high = ops.shift_right(number, constant(np.array(32, np.uint64)))
    return wrap(
        sampling.fold_in(node, ops.cast(number, dtype=uint32), ops.cast(high, dtype=uint32))
    )


def bits(key: Handle, shape: Any = ()) -> Tensor:
    """uint32 words, all values equally likely (Philox4x32-10, Salmon et al. 2011)."""
    return wrap(ops.random_bits(_key("bits", key), shape=_shape("bits", shape)))


def uniform(
    key: Handle, shape: Any = (), dtype: object = float32, minval: Any = 0.0, maxval: Any = 1.0
) -> Tensor:
    """Uniform numbers in [minval, maxval)."""
    node, wanted, sizes = _floats("uniform", key, shape, dtype)
    low, high, sizes = drawn.parameters("uniform", minval, maxval, sizes, wanted)
    return wrap(sampling.between(node, low, high))


def normal(key: Handle, shape: Any = (), dtype: object = float32) -> Tensor:
    """Standard normal numbers."""
    node, wanted, sizes = _floats("normal", key, shape, dtype)
    return wrap(sampling.normal(node, sizes, wanted))


def truncated_normal(
    key: Handle, lower: float, upper: float, shape: Any = (), dtype: object = float32
) -> Tensor:
    """Standard normal numbers given that they lie in [lower, upper]."""
    op = "truncated_normal"
    node, wanted, sizes = _floats(op, key, shape, dtype)
    limits = as_number(op, "lower", lower), as_number(op, "upper", upper)
    low, high = drawn.standard_limits(op, 0.0, 1.0, limits)
    return wrap(sampling.truncated_normal(node, low, high, sizes, wanted))


def exponential(key: Handle, shape: Any = (), dtype: object = float32) -> Tensor:
    """Waiting times of rate 1."""
    node, wanted, sizes = _floats("exponential", key, shape, dtype)
    return wrap(sampling.exponential(node, sizes, wanted))


def bernoulli(key: Handle, p: Any = 0.5, shape: Any = None) -> Tensor:
    """True with probability ``p``, in ``shape`` (by default that of ``p``)."""
    node, chance = _key("bernoulli", key), node_of(p, "bernoulli")
    sizes = chance.shape if shape is None else _shape("bernoulli", shape)
    return wrap(sampling.bernoulli(node, drawn.probability("bernoulli", chance, sizes)))


def randint(key: Handle, shape: Any, minval: int, maxval: int, dtype: object = int64) -> Tensor:
    """Integers in [minval, maxval)."""
    wanted = as_dtype(dtype)
    first, end = drawn.integer_range("randint", minval, maxval, wanted)
    node = _key("randint", key)
    return wrap(sampling.integers(node, first, end, _shape("randint", shape), wanted))


def permutation(key: Handle, x: Any) -> Tensor:
    """The integers below ``x`` in random order, or the rows of a tensor ``x`` in random order."""
    node = _key("permutation", key)
    if not isinstance(x, Handle) or not x.shape:
        (count,) = drawn.checked("permutation", (as_size("permutation", x),))
        return wrap(sampling.permutation(node, count))
    return wrap(take_axis(x.node, sampling.permutation(node, x.shape[0]), 0))


def categorical(key: Handle, logits: Handle, axis: int = -1, shape: Any = None) -> Tensor:
    """Category numbers along ``axis`` with probabilities softmax(logits), int64, in ``shape`` (by
    default that of ``logits`` without the axis): the largest of logits - log E, E exponential
    (Gumbel 1954), compared in float64."""
    if not isinstance(logits, Handle):
        raise errors.not_a_tensor("categorical", logits)
    place = as_axis("categorical", axis, logits.ndim)
    if not logits.shape or logits.shape[place] == 0:
        raise errors.shape(
            "categorical", "needs an axis of at least one category", logits,
            hint="logits have one entry per category along axis",
        )  # fmt: skip
    node = to_dtype(logits.node, float64)
    node = ops.permute(node, axes=(*(i for i in range(node.ndim) if i != place), place))
    sizes = node.shape[:-1] if shape is None else _shape("categorical", shape)
    if broadcast_shapes("categorical", sizes, node.shape[:-1]) != sizes:
        raise errors.broadcast("categorical", sizes, node.shape[:-1])
    wide = drawn.checked("categorical", (*sizes, node.shape[-1]))
    noise = ops.log(sampling.exponential(_key("categorical", key), wide, float64))
    return argmax(wrap(ops.broadcast(node, shape=wide) - noise), dim=-1)


def _key(op: str, key: Any) -> Node:
    if not isinstance(key, Handle) or key.dtype is not uint32 or key.shape != (2,):
        raise errors.wrong_dtype(
            op, errors.describe(key), "a key: two uint32 words",
            hint="adjoint.random.key(0) makes one, adjoint.random.split(key) makes more",
        )  # fmt: skip
    return key.node


def _shape(op: str, shape: Any) -> Shape:
    return drawn.checked(op, as_shape(op, shape))


def _floats(op: str, key: Any, shape: Any, dtype: object) -> tuple[Node, DType, Shape]:
    wanted = as_dtype(dtype)
    if wanted.kind != "f":
        raise errors.wrong_dtype(op, wanted, "a float dtype", hint="use randint for integers")
    return _key(op, key), wanted, _shape(op, shape)
