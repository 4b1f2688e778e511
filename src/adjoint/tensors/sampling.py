"""From a key to numbers: each distribution as a composition over nodes.

Every function draws its words with ``ops.random_bits`` from an explicit key, so that it can be
recorded, mapped and repeated; a key must be used once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from adjoint import ops
from adjoint.base.dtype import DType, float32, float64, int64, uint32, uint64
from adjoint.base.shape import Shape, numel
from adjoint.ir.node import Array, Node, Type, constant
from adjoint.ops.movement import narrow
from adjoint.ops.rows import full
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.handle import wrap
from adjoint.tensors.regions import region
from adjoint.tensors.special import erfinv

_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
_SPLIT = (0x53504C49, 0x54204B45)  # turn a key into the keys of other streams
_FOLD = (0x464F4C44, 0x20494E20)


def uniform(key: Node, shape: Shape, dtype: DType) -> Node:
    """k / 2**d with k uniform in 0 .. 2**d - 1: every multiple of 2**-d in [0, 1), d being the
    digits of the dtype (float64 53, float32 24, float16 11, bfloat16 8)."""
    if dtype is float64:
        return _uniform(ops.random_bits(key, shape=(*shape, 2)), dtype=dtype)
    return _uniform(ops.random_bits(key, shape=shape), dtype=dtype)


def between(key: Node, low: Node, high: Node) -> Node:
    """low + (high - low) u, of the shape and dtype of ``low``, and below ``high`` even where
    rounding would reach it."""
    value = low + (high - low) * uniform(key, low.shape, low.dtype)
    return ops.where(ops.lt(value, high), value, low)


def normal(key: Node, shape: Shape, dtype: DType) -> Node:
    """Standard normal numbers by the transform of Box and Muller (1958).

    sqrt(-2 log u) cos(2 pi v) and the same with sin, u from 32 bits (64 for float64), so that
    values reach 6.7 (9.4); computed in float32 for 16-bit dtypes.
    """
    wide = float64 if dtype is float64 else float32
    pairs = -(-numel(shape) // 2)
    words = (2, pairs, 2) if wide is float64 else (2, pairs)
    return to_dtype(_normal(ops.random_bits(key, shape=words), shape=shape, dtype=wide), dtype)


def truncated_normal(key: Node, low: float, high: float, shape: Shape, dtype: DType) -> Node:
    """Standard normal numbers given that they lie in [low, high]: sqrt(2) erfinv(2u - 1), u
    uniform between the chances below either end, in float64."""
    low, high = max(low, -8.0), min(high, 8.0)  # beyond, float64 has no chances left
    start, end = (math.erf(limit / math.sqrt(2)) for limit in (low, high))
    u = uniform(key, shape, float64) * (end - start) + start
    found = erfinv(wrap(u)).node * math.sqrt(2)
    found = ops.minimum(ops.maximum(found, full(low, shape, float64)), full(high, shape, float64))
    return to_dtype(found, dtype)


def exponential(key: Node, shape: Shape, dtype: DType) -> Node:
    """-log u with u in (0, 1] from 32 bits (64 for float64)."""
    wide = float64 if dtype is float64 else float32
    words = ops.random_bits(key, shape=(*shape, 2) if wide is float64 else shape)
    return to_dtype(ops.neg(ops.log(_positive(words, wide))), dtype)


def integers(key: Node, low: int, high: int, shape: Shape, dtype: DType) -> Node:
    """low + (64 random bits mod (high - low)): no value is likelier than another by more than a
    factor of 1 + (high - low) / 2**64."""
    value = _long_words(key, shape)
    if high - low < 2**64:
        value = ops.rem(value, full(high - low, shape, uint64))
    value = ops.add(value, full(low % 2**64, shape, uint64))  # wraps as two's complement does
    return to_dtype(value if dtype is uint64 else ops.cast(value, dtype=int64), dtype)


def permutation(key: Node, count: int) -> Node:
    """The integers below ``count`` in random order: the ranks of 64-bit random words."""
    return ops.argsort(_long_words(key, (count,)), axis=0)


def bernoulli(key: Node, p: Node) -> Node:
    """True with probability ``p``: u < p, u having the digits of the dtype of p."""
    return ops.lt(uniform(key, p.shape, p.dtype), p)


def chosen(key: Node, weights: Node, count: int) -> Node:
    """``count`` categories per row of ``weights`` (rows, n) in float64, with replacement: where
    u * total falls in the running sums."""
    sums = ops.cumsum(weights, axis=1)
    return _chosen(sums, uniform(key, (weights.shape[0], count), float64))


def race(key: Node, weights: Node) -> Node:
    """Arrival times E / w of ``weights``, E exponential: in ascending order they are a sample
    without replacement (Efraimidis and Spirakis 2006); a weight of 0 arrives at infinity."""
    return ops.div(exponential(key, weights.shape, weights.dtype), weights)


def split(key: Node, shape: Shape) -> Node:
    """Fresh keys (*shape, 2) from one."""
    return ops.random_bits(_xor(key, _SPLIT), shape=(*shape, 2))


def fold_in(key: Node, low: Node, high: Node) -> Node:
    """The key that belongs to ``key`` and a 64-bit number of two uint32 words."""
    mixed = ops.random_bits(_xor(key, _FOLD), shape=(2,))
    number = ops.concat(ops.reshape(low, shape=(1,)), ops.reshape(high, shape=(1,)), axis=0)
    return ops.random_bits(ops.bit_xor(mixed, number), shape=(2,))


def _xor(key: Node, words: tuple[int, int]) -> Node:
    mask = constant(np.array(words, np.uint32))
    return ops.bit_xor(key, mask if key.ndim == 1 else ops.broadcast(mask, shape=key.shape))


def _halves(words: Node) -> tuple[Node, Node]:
    """The two words of the last axis."""
    last = words.ndim - 1
    shape = words.shape[:-1]
    first, second = narrow(words, last, 0, 1), narrow(words, last, 1, 1)
    return ops.reshape(first, shape=shape), ops.reshape(second, shape=shape)


def _long_words(key: Node, shape: Shape) -> Node:
    high, low = _halves(ops.random_bits(key, shape=(*shape, 2)))
    return ops.add(ops.cast(high, dtype=uint64) * 2**32, ops.cast(low, dtype=uint64))


def _positive(words: Node, dtype: DType) -> Node:
    """(k + 1/2) / 2**32 (or 2**64), rounded: in (0, 1], fine-grained near 0."""
    if dtype is float64:
        high, low = (ops.cast(half, dtype=float64) for half in _halves(words))
        return (high * 2.0**32 + low + 0.5) * 2.0**-64
    return ops.cast(words, dtype=float32) * 2.0**-32 + 2.0**-33


def _below(words: Node, bits: int) -> Node:
    """The highest ``bits`` of each word."""
    return ops.shift_right(words, full(32 - bits, words.shape, uint32))


def _uniform_type(words: Node, dtype: DType) -> Type:
    return Type(words.shape[:-1] if dtype is float64 else words.shape, dtype)


def _uniform_body(words: Node, dtype: DType) -> Sequence[Node]:
    if dtype is float64:
        high, low = _halves(words)
        top = ops.cast(_below(high, 27), dtype=float64) * 2.0**26
        return [(top + ops.cast(_below(low, 26), dtype=float64)) * 2.0**-53]
    digits = _DIGITS[dtype.name]
    return [to_dtype(ops.cast(_below(words, digits), dtype=float32) * 2.0**-digits, dtype)]


def _uniform_kernel(words: Array, dtype: DType) -> Array:
    if dtype is float64:
        out = (words[..., 0] >> 5).astype(np.float64)
        out *= 2.0**26
        out += words[..., 1] >> 6
        out *= 2.0**-53
        return out
    digits = _DIGITS[dtype.name]
    out = (words >> (32 - digits)).astype(np.float32)
    out *= 2.0**-digits
    return out.astype(dtype.numpy, copy=False)


_uniform = region("uniform", _uniform_body, kernel=_uniform_kernel, infer=_uniform_type)


def _normal_body(words: Node, shape: Shape, dtype: DType) -> Sequence[Node]:
    inner = words.shape[1:]
    first, second = (ops.reshape(narrow(words, 0, i, 1), shape=inner) for i in (0, 1))
    radius = ops.sqrt(ops.log(_positive(first, dtype)) * -2.0)
    if dtype is float64:
        angle = _uniform(second, dtype=dtype) * (2 * math.pi)
    else:
        angle = ops.cast(_below(second, 24), dtype=float32) * (2 * math.pi * 2.0**-24)
    flat = ops.concat(radius * ops.cos(angle), radius * ops.sin(angle), axis=0)
    return [ops.reshape(narrow(flat, 0, 0, numel(shape)), shape=shape)]


def _normal_kernel(words: Array, shape: Shape, dtype: DType) -> Array:
    if dtype is float64:
        radius = words[0, :, 0] * 2.0**32
        radius += words[0, :, 1]
        radius += 0.5
        radius *= 2.0**-64
        angle = _uniform_kernel(words[1], dtype)
        angle *= 2 * math.pi
    else:
        radius = words[0].astype(np.float32)
        radius *= 2.0**-32
        radius += 2.0**-33
        angle = (words[1] >> 8).astype(np.float32)
        angle *= 2 * math.pi * 2.0**-24
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    flat = np.empty(2 * len(radius), dtype.numpy)
    np.multiply(radius, np.cos(angle), out=flat[: len(radius)])
    np.multiply(radius, np.sin(angle), out=flat[len(radius) :])
    return flat[: numel(shape)].reshape(shape)


_normal = region(
    "normal", _normal_body, kernel=_normal_kernel,
    infer=lambda words, shape, dtype: Type(shape, dtype),
)  # fmt: skip


def _chosen_body(sums: Node, u: Node) -> Sequence[Node]:
    """How many running sums are at most u * total; never beyond the last positive weight."""
    rows, n = sums.shape
    total = narrow(sums, 1, n - 1, 1)
    wide = (rows, u.shape[1], n)
    grid = ops.broadcast(ops.reshape(sums, shape=(rows, 1, n)), shape=wide)
    target = ops.mul(u, ops.broadcast(total, shape=u.shape))
    target = ops.broadcast(ops.reshape(target, shape=(*u.shape, 1)), shape=wide)
    passed = _count(ops.lt(target, grid), n)
    last = _count(ops.lt(sums, ops.broadcast(total, shape=sums.shape)), None)
    last = ops.broadcast(ops.reshape(last, shape=(rows, 1)), shape=u.shape)
    return [ops.minimum(passed, last)]


def _count(hits: Node, total: int | None) -> Node:
    """How many along the last axis hold; with ``total``, how many do not."""
    found = ops.reduce_sum(ops.cast(hits, dtype=int64), axes=(hits.ndim - 1,))
    return found if total is None else ops.sub(full(total, found.shape, int64), found)


def _chosen_kernel(sums: Array, u: Array) -> Array:
    out = np.empty(u.shape, np.int64)
    for i, running in enumerate(sums):
        last = np.searchsorted(running, running[-1], side="left")
        passed = np.searchsorted(running, u[i] * running[-1], side="right")
        out[i] = np.minimum(passed, last)
    return out


def _chosen_type(sums: Node, u: Node) -> Type:
    return Type(u.shape, int64)


_chosen = region("chosen", _chosen_body, kernel=_chosen_kernel, infer=_chosen_type)
