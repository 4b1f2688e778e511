"""Attention whose cost grows linearly with the length: in a window, and without softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adjoint.base import errors
from adjoint.base.arguments import as_flag, as_number
from adjoint.tensors import creation
from adjoint.tensors.contraction import matmul
from adjoint.tensors.control import scan
from adjoint.tensors.functional.activation import elu
from adjoint.tensors.functional.attention import scaled_dot_product_attention
from adjoint.tensors.functional.padding import pad
from adjoint.tensors.functional.positions import _window, sliding_window_mask
from adjoint.tensors.handle import Handle
from adjoint.tensors.movement import cat, narrow

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

CHUNK = 64  # steps that causal linear attention treats at a time


def sliding_window_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int, is_causal: bool = True,
    scale: float | None = None,
) -> Tensor:  # fmt: skip
    """``scaled_dot_product_attention`` with ``sliding_window_mask``, in O(T window).

    (..., T, E), (..., T, E), (..., T, V) -> (..., T, V). Queries are taken ``window`` at a time,
    each group against the keys of its own group and of its neighbours. Source: Beltagy et al.,
    "Longformer", 2020.
    """
    op = "sliding_window_attention"
    causal = as_flag(op, "is_causal", is_causal)
    width = _window(op, window)
    _same_length(op, query, key, value)
    length = query.shape[-2]
    groups = -(-length // width)
    if groups < 2:
        mask = sliding_window_mask(length, length, width, causal)
        return scaled_dot_product_attention(query, key, value, mask, scale=scale)
    more = groups * width - length
    q = _grouped(query, more, width)
    k, v = (_with_neighbours(x, more, width, causal) for x in (key, value))
    reach = k.shape[-2]
    mask = sliding_window_mask(width, reach, width, causal, start=width)
    places = creation.arange(groups)[:, None] * width + creation.arange(reach) - width
    exists = (places >= 0) & (places < length)
    out = scaled_dot_product_attention(q, k, v, mask & exists[:, None], scale=scale)
    return narrow(out.flatten(-3, -2), -2, 0, length)


def linear_attention(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool = False, eps: float = 1e-6
) -> Tensor:
    """f(q) (sum f(k)^T v) / (f(q) sum f(k) + eps) with f(x) = elu(x) + 1, in O(T).

    (..., T, E), (..., S, E), (..., S, V) -> (..., T, V). ``is_causal``: the sums run to the query
    (T = S), carried from chunk to chunk. Source: Katharopoulos et al., "Transformers are RNNs",
    2020.
    """
    op = "linear_attention"
    q, k = elu(query) + 1.0, elu(key) + 1.0
    small = as_number(op, "eps", eps)
    if not as_flag(op, "is_causal", is_causal):
        total = matmul(k.transpose(-2, -1), value)
        return matmul(q, total) / ((q * k.sum(-2, keepdim=True)).sum(-1, keepdim=True) + small)
    _same_length(op, query, key, value)
    length = q.shape[-2]
    chunk = max(min(CHUNK, length), 1)
    more = -length % chunk
    parts = [_grouped(x, more, chunk).movedim(-3, 0) for x in (q, k, value)]
    seen = creation.ones(chunk, chunk, dtype=q.dtype).tril()
    lead = q.shape[:-2]
    start = (
        creation.zeros((*lead, q.shape[-1], value.shape[-1]), dtype=q.dtype),
        creation.zeros((*lead, 1, q.shape[-1]), dtype=q.dtype),
    )

    def step(
        carry: tuple[Tensor, Tensor], now: list[Tensor]
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        total, norm = carry
        a, b, c = now
        inside = matmul(a, b.transpose(-2, -1)) * seen
        above = matmul(inside, c) + matmul(a, total)
        below = inside.sum(-1, keepdim=True) + (a * norm).sum(-1, keepdim=True)
        after = (total + matmul(b.transpose(-2, -1), c), norm + b.sum(-2, keepdim=True))
        return after, above / (below + small)

    _, found = scan(step, start, parts)
    return narrow(found.movedim(0, -3).flatten(-3, -2), -2, 0, length)


def _same_length(op: str, query: Tensor, key: Tensor, value: Tensor) -> None:
    for x in (query, key, value):
        if not isinstance(x, Handle):
            raise errors.not_a_tensor(op, x)
    if not query.ndim == key.ndim == value.ndim or query.ndim < 2:
        raise errors.shape(op, "needs three tensors (..., time, size)", query, key, value,
                           hint="x[None] adds an axis")  # fmt: skip
    if not query.shape[-2] == key.shape[-2] == value.shape[-2]:
        raise errors.shape(op, "queries, keys and values must be of one length", query, key, value,
                           hint="it is meant for attention of a sequence to itself")  # fmt: skip


def _grouped(x: Tensor, more: int, size: int) -> Tensor:
    """(..., T, E) as (..., groups, size, E), filled up with ``more`` zeros."""
    x = pad(x, (0, 0, 0, more)) if more else x
    return x.reshape(*x.shape[:-2], x.shape[-2] // size, size, x.shape[-1])


def _with_neighbours(x: Tensor, more: int, size: int, causal: bool) -> Tensor:
    """Each group of ``size`` with the group before it and, unless ``causal``, the one after it."""
    whole = _grouped(pad(x, (0, 0, size, size + more)), 0, size)
    groups = whole.shape[-3] - 2
    return cat([narrow(whole, -3, i, groups) for i in range(2 if causal else 3)], -2)
