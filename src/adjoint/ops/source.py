"""Rows that make values from nothing but their parameters, or from a random key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import DType, uint32
from adjoint.base.shape import Shape
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.rows import no_gradient, op, with_batch


def _iota_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    return with_batch(size, op(**params), False)


iota = op(
    "iota", "source",
    infer=lambda size, dtype: Type((size,), dtype),
    ref=lambda size, dtype: np.arange(size).astype(dtype.numpy),
    vjp=no_gradient,
    vmap=_iota_vmap,
)  # fmt: skip


def _bits_type(key: Node, shape: Shape) -> Type:
    if key.dtype is not uint32 or key.shape[-1:] != (2,):
        raise errors.shape("random_bits", "a key is two uint32 words", key)
    return Type((*key.shape[:-1], *shape), uint32)


def _random_bits(key: Array, shape: Shape) -> Array:
    """Word i is word i % 4 of Philox4x32-10 at counter i // 4. Keys may have leading batch axes.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    count = int(np.prod(shape, dtype=np.int64))
    keys = key.reshape(-1, 2)
    out = np.empty((len(keys), count), np.uint32)
    for row, (first, second) in zip(out, keys, strict=True):
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start)
            row[start : start + size] = philox(start // 4, -(-size // 4), int(first), int(second))[
                :size
            ]
    return out.reshape(*key.shape[:-1], *shape)


_BLOCK = 1 << 15  # words made at a time, so that the eight work arrays stay in the cache
_MUL0, _MUL1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY0, _KEY1 = 0x9E3779B9, 0xBB67AE85
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(first: int, count: int, key0: int, key1: int) -> Array:
    """``4 * count`` words of Philox4x32-10 for the counters ``first .. first + count - 1``."""
    index = np.arange(first, first + count, dtype=np.uint64)
    c0, c1 = index & _LOW, index >> _SHIFT
    c2, c3 = np.zeros_like(c0), np.zeros_like(c0)
    for _ in range(10):
        p0, p1 = c0 * _MUL0, c2 * _MUL1
        c0, c1, c2, c3 = (
            (p1 >> _SHIFT) ^ c1 ^ np.uint64(key0),
            p1 & _LOW,
            (p0 >> _SHIFT) ^ c3 ^ np.uint64(key1),
            p0 & _LOW,
        )
        key0, key1 = (key0 + _KEY0) & 0xFFFFFFFF, (key1 + _KEY1) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3), axis=1).astype(np.uint32).reshape(-1)


def _bits_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    return op(*args, **params)


random_bits = op(
    "random_bits", "source", infer=_bits_type, ref=_random_bits, vjp=no_gradient, vmap=_bits_vmap
)


def arange(size: int, dtype: DType) -> Node:
    """0, 1, ..., size - 1."""
    return iota(size=size, dtype=dtype)
