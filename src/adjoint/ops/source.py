"""Rows that make values from nothing but their parameters, or from a random key."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import DType, uint32
from adjoint.base.shape import Shape
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.rows import no_gradient, op, or_compiled, with_batch


def _iota_type(size: int, dtype: DType) -> Type:
    return Type((size,), dtype)


def _iota(size: int, dtype: DType) -> Array:
    return np.arange(size).astype(dtype.numpy)


def _iota_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    return with_batch(size, op(**params), False)


iota = op(
    "iota", "source",
    infer=_iota_type,
    ref=_iota,
    vjp=no_gradient,
    vmap=_iota_vmap,
)  # fmt: skip


def _bits_type(key: Node, shape: Shape) -> Type:
    if key.dtype is not uint32 or key.shape[-1:] != (2,):
        raise errors.shape(
            "random_bits", "a key is two uint32 words", key, hint="take a key from a Generator"
        )
    return Type((*key.shape[:-1], *shape), uint32)


def _random_bits(key: Array, shape: Shape) -> Array:
    """Word i is word i % 4 of Philox4x32-10 at counter i // 4. Keys may have leading batch axes.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    count = prod(shape)
    keys = key.reshape(-1, 2)
    blocks = -(-count // 4)
    out = np.empty((len(keys), 4 * blocks), np.uint32)
    for row, (first, second) in zip(out, keys, strict=True):
        philox(row, 0, int(first), int(second))
    return out[:, :count].reshape((*key.shape[:-1], *shape))


_BLOCK = 1 << 14  # counters worked on at a time, so that the work arrays stay in the cache
_MUL = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)
_SCHEDULE = np.arange(10, dtype=np.uint32)[:, None] * _WEYL
_LOW, _HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)


def philox(out: Array, first: int, key0: int, key1: int) -> None:
    """Fill ``out`` (4 words per counter) with Philox4x32-10 for the counters from ``first`` on.

    A round is one product of the even words by two constants: its high halves, exchanged, with the
    odd words and the key give the next even words; its low halves, exchanged, the next odd ones.
    """
    keys = (_SCHEDULE + np.array([key0, key1], np.uint32))[:, :, None]
    blocks = out.reshape(-1, 4)
    size = min(_BLOCK, len(blocks))
    products = np.empty((2, 2, size), np.uint64)
    even_words = np.empty((2, size), np.uint32)
    for start in range(0, len(blocks), _BLOCK):
        chunk = blocks[start : start + _BLOCK]
        n = len(chunk)
        counter = np.arange(first + start, first + start + n, dtype=np.uint64).view(np.uint32)
        even, odd = even_words[:, :n], np.zeros((2, n), np.uint32)
        even[0], even[1], odd[0] = counter[_LOW::2], 0, counter[_HIGH::2]
        now, after = _halves(products[0, :, :n]), _halves(products[1, :, :n])
        for key in keys:
            product, high, low = now
            np.multiply(even, _MUL, product)
            np.bitwise_xor(high, odd, even)
            np.bitwise_xor(even, key, even)
            odd, now, after = low, after, now
        chunk[:, 0::2], chunk[:, 1::2] = even.T, odd.T


def _halves(product: Array) -> tuple[Array, Array, Array]:
    """A work array, and views of its high and low 32 bits with the two rows exchanged."""
    words = product.view(np.uint32)[::-1]
    return product, words[:, _HIGH::2], words[:, _LOW::2]


def _bits_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    return op(*args, **params)


def _bits_work(key: Array, shape: Shape) -> int:
    return key.size * prod(shape)


random_bits = op(
    "random_bits", "source",
    infer=_bits_type,
    ref=or_compiled(_random_bits, lambda: random_bits, _bits_work, 1 << 13),
    vjp=no_gradient,
    vmap=_bits_vmap,
)  # fmt: skip


def arange(size: int, dtype: DType) -> Node:
    """0, 1, ..., size - 1."""
    return iota(size=size, dtype=dtype)
