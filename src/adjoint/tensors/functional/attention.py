"""Scaled dot-product attention, as two regions that need never hold a T x T matrix.

``attention(q, k, v[, mask]; causal, scale) -> (out, log_total)``

    q (N, H, T, E), k (N, H, S, E), v (N, H, S, V) of one float dtype; mask (N|1, H|1, T|1, S),
    either bool (True: attend) or of the dtype of q (added to the scores).
    scores = (q * scale) k^T, then -inf where the mask is False, or + mask; with ``causal`` also
    -inf where key > query (both counted from 0).
    out (N, H, T, V) = softmax(scores) v in the dtype of q; log_total (N, H, T) = log sum
    exp(scores) of each row. A row with no key left (all -inf, or S = 0) has out = 0 and
    log_total = +inf, so that exp(scores - log_total) is its share, 0, without a special case.

``attention_gradient(ct, delta, q, k, v, log_total[, mask]; causal, scale) -> (dq, dk, dv)``

    ct (N, H, T, V): the cotangent of out. delta (N, H, T) = sum(ct * out) - the cotangent of
    log_total. share = exp(scores - log_total) is computed again, then
    dv = share^T ct, ds = share * (ct v^T - delta), dq = ds k * scale, dk = ds^T (q * scale).
    Results have the shapes and dtypes of q, k and v.

Both accumulate in float32 when the dtype has 16 bits; log_total and delta are float32 then.
Source: Vaswani et al., "Attention is all you need", 2017; the recomputation is that of Dao et al.,
"FlashAttention", 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_flag, as_number
from adjoint.base.dtype import DType, bool_, float32, int64
from adjoint.base.shape import Shape, broadcast_shapes, numel
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ir.reverse import Parts
from adjoint.ops.movement import swap_last
from adjoint.ops.reduce import spread
from adjoint.ops.rows import Wanted, full, with_batch, zeros_like
from adjoint.ops.structure import Region, results, together
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.functional.dropout import dropout
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import equals, select
from adjoint.tensors.regions import or_template, region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

NAME = "scaled_dot_product_attention"
BLOCK = 1 << 21  # scores held at a time by the NumPy kernels
LARGE = 1 << 18  # multiply-adds from which on compiled kernels pay


def scaled_dot_product_attention(
    query: Handle, key: Handle, value: Handle, attn_mask: Handle | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k^T scale + mask) v: (..., T, E), (..., S, E), (..., S, V) -> (..., T, V).

    attn_mask: broadcasts to (..., T, S); bool (True: attend) or added to the scores. A query that
    may attend to nothing gives 0. is_causal: query t attends to keys 0 .. t. scale: 1 / sqrt(E)
    by default. enable_gqa: k and v may have fewer heads (third axis from the end), each used by a
    group of query heads. ``dropout_p`` drops weights whenever it is not 0, as in PyTorch.
    Raises ShapeError for sizes that do not fit and ArgumentError for a mask with ``is_causal``.
    """
    q, k, v = (node_of(x, NAME) for x in (query, key, value))
    causal = as_flag(NAME, "is_causal", is_causal)
    if attn_mask is not None and causal:
        raise errors.argument(
            NAME, "attn_mask and is_causal exclude each other",
            hint="put both into the mask: mask & adjoint.ones(T, S).bool().tril()",
        )  # fmt: skip
    if enable_gqa:
        k, v = _repeat_heads(q, k), _repeat_heads(q, v)
    mask = None if attn_mask is None else node_of(attn_mask, NAME)
    folded = Folded(q, k, v, mask, scale)
    return wrap(folded.attend(causal, as_number(NAME, "dropout_p", dropout_p)))


class Folded:
    """Arguments of attention, checked and brought to four axes (N, H, time, size)."""

    def __init__(self, q: Node, k: Node, v: Node, mask: Node | None, scale: float | None) -> None:
        _check(q, k, v)
        self.lead = broadcast_shapes(NAME, q.shape[:-2], k.shape[:-2], v.shape[:-2])
        outer, heads = numel(self.lead[:-1]), numel(self.lead[-1:])
        self.parts = [_fold(x, self.lead, (outer, heads)) for x in (q, k, v)]
        self.masks = () if mask is None else (_mask(mask, self.lead, q, k),)
        size = q.shape[-1]
        self.scale = float(
            1 / sqrt(size or 1) if scale is None else as_number(NAME, "scale", scale)
        )

    def attend(self, causal: bool, drop: float = 0.0) -> Node:
        """The result, in the shape that the arguments had."""
        if drop:
            weights = dropout(wrap(self.weights(causal)), drop).node
            return self.unfold(ops.dot(weights, self.parts[2]))
        out, _ = results(attention(*self.parts, *self.masks, causal=causal, scale=self.scale))
        return self.unfold(out)

    def weights(self, causal: bool) -> Node:
        """The attention weights (N, H, T, S)."""
        q, k, _ = self.parts
        scores = _scores(q, k, self.masks, causal, self.scale)
        raised, total, _ = _raised(scores)
        weights = raised / spread(total, raised.shape, (3,))
        return to_dtype(weights, q.dtype)

    def unfold(self, x: Node) -> Node:
        return ops.reshape(x, shape=(*self.lead, *x.shape[2:]))


def _check(q: Node, k: Node, v: Node) -> None:
    for x in (q, k, v):
        if x.dtype.kind != "f":
            raise errors.wrong_dtype(NAME, x.dtype, "a float dtype", hint="x.float() converts")
        if x.ndim < 2:
            raise errors.shape(
                NAME, "queries, keys and values need axes (..., time, size)", x,
                hint="x[None] adds an axis of one time step",
            )  # fmt: skip
        if x.dtype is not q.dtype:
            raise errors.mixed_dtypes(NAME, q, x)
    if q.shape[-1] != k.shape[-1]:
        raise errors.shape(NAME, "queries and keys differ in their last size", q, k,
                           hint="both are projected to the same size per head")  # fmt: skip
    if k.shape[-2] != v.shape[-2]:
        raise errors.shape(NAME, "there must be one value for each key", k, v,
                           hint="the last axis but one is time in both")  # fmt: skip


def _fold(x: Node, lead: Shape, to: Shape) -> Node:
    if x.shape[:-2] != lead:
        x = ops.broadcast(x, shape=(*lead, *x.shape[-2:]))
    return x if len(lead) == 2 else ops.reshape(x, shape=(*to, *x.shape[-2:]))


def _mask(mask: Node, lead: Shape, q: Node, k: Node) -> Node:
    """The mask with four axes, of which the first three may have size 1."""
    if mask.dtype is not bool_:
        if mask.dtype.kind != "f":
            raise errors.wrong_dtype(
                NAME, mask.dtype, "a mask of bool or float", hint="mask.bool(): True attends"
            )
        mask = to_dtype(mask, q.dtype)
    wanted = (*lead, q.shape[-2], k.shape[-2])
    given = (1,) * (len(wanted) - mask.ndim) + mask.shape
    fits = len(given) == len(wanted) and all(
        a in (1, b) for a, b in zip(given, wanted, strict=True)
    )
    if not fits:
        raise errors.shape(
            NAME, f"the mask does not broadcast to {errors.dims(wanted)}", mask,
            hint="(T, S) for all, or (batch, 1, 1, S) for the keys of each example",
        )  # fmt: skip
    outer, head = given[: len(lead) - 1 if lead else 0], given[-3:-2] if lead else (1,)
    if numel(outer) != 1 and outer != lead[:-1]:
        outer = lead[:-1]
    full_shape = (*outer, *(head if lead else ()), given[-2], k.shape[-2])
    if given != full_shape:
        mask = ops.broadcast(mask, shape=full_shape)
    return ops.reshape(mask, shape=(numel(outer), *head, given[-2], k.shape[-2]))


def _repeat_heads(q: Node, x: Node) -> Node:
    """Each head of ``x`` as often as there are query heads for it."""
    if q.ndim < 3 or x.ndim < 3 or x.shape[-3] == 0 or q.shape[-3] % x.shape[-3]:
        raise errors.shape(
            NAME, "enable_gqa: query heads must be a multiple of the key heads", q, x,
            hint="heads are the third axis from the end",
        )  # fmt: skip
    times = q.shape[-3] // x.shape[-3]
    if times == 1:
        return x
    lead, rest = x.shape[:-2], x.shape[-2:]
    x = ops.reshape(x, shape=(*lead, 1, *rest))
    x = ops.broadcast(x, shape=(*lead, times, *rest))
    return ops.reshape(x, shape=(*lead[:-1], lead[-1] * times, *rest))


# --- the meaning, composed of ops -----------------------------------------------------------------


def _wider(dtype: DType) -> DType:
    return float32 if dtype.bits == 16 else dtype


def _scores(q: Node, k: Node, mask: Sequence[Node], causal: bool, scale: float) -> Node:
    wide = _wider(q.dtype)
    scores = ops.dot(to_dtype(q, wide) * scale, swap_last(to_dtype(k, wide)))
    for m in mask:
        if m.dtype is bool_:
            scores = select(ops.broadcast(m, shape=scores.shape), scores, -np.inf)
        else:
            scores = scores + ops.broadcast(to_dtype(m, wide), shape=scores.shape)
    if causal:
        scores = select(_not_later(scores.shape), scores, -np.inf)
    return scores


def _not_later(shape: Shape) -> Node:
    """Whether the key is not later than the query."""
    rows = ops.reshape(ops.iota(size=shape[-2], dtype=int64), shape=(shape[-2], 1))
    later = ops.lt(
        ops.broadcast(rows, shape=shape),
        ops.broadcast(ops.iota(size=shape[-1], dtype=int64), shape=shape),
    )
    return ops.bit_xor(later, full(True, shape, bool_))


def _raised(scores: Node) -> tuple[Node, Node, Node]:
    """exp(scores - shift), its row sums (1 where nothing is left), and log of the true sums."""
    if scores.shape[-1] == 0:
        rows = scores.shape[:-1]
        return scores, full(1, rows, scores.dtype), full(np.inf, rows, scores.dtype)
    top = ops.reduce_max(scores, axes=(3,))
    shift = select(equals(top, -np.inf), 0, top)
    raised = ops.exp(scores - spread(shift, scores.shape, (3,)))
    total = ops.reduce_sum(raised, axes=(3,))
    empty = equals(total, 0)
    total = select(empty, 1, total)
    return raised, total, select(empty, np.inf, ops.log(total) + shift)


def _body(q: Node, k: Node, v: Node, *mask: Node, causal: bool, scale: float) -> Sequence[Node]:
    raised, total, log_total = _raised(_scores(q, k, mask, causal, scale))
    out = ops.dot(raised, to_dtype(v, raised.dtype))
    return [to_dtype(out / spread(total, out.shape, (3,)), q.dtype), log_total]


def _gradient_body(
    ct: Node, delta: Node, q: Node, k: Node, v: Node, log_total: Node, *mask: Node, causal: bool,
    scale: float,
) -> Sequence[Node]:  # fmt: skip
    wide = log_total.dtype
    share, slope = _slopes(ct, delta, q, k, v, log_total, mask, causal, scale)
    dq = ops.dot(slope, to_dtype(k, wide)) * scale
    dk = ops.dot(swap_last(slope), to_dtype(q, wide) * scale)
    dv = ops.dot(swap_last(share), to_dtype(ct, wide))
    return [to_dtype(d, q.dtype) for d in (dq, dk, dv)]


def _slopes(
    ct: Node, delta: Node, q: Node, k: Node, v: Node, log_total: Node, mask: Sequence[Node],
    causal: bool, scale: float,
) -> tuple[Node, Node]:  # fmt: skip
    """The weights, and the cotangent of the scores."""
    scores = _scores(q, k, mask, causal, scale)
    share = ops.exp(scores - spread(log_total, scores.shape, (3,)))
    to_share = ops.dot(to_dtype(ct, share.dtype), swap_last(to_dtype(v, share.dtype)))
    return share, share * (to_share - spread(delta, scores.shape, (3,)))


def _vjp(
    ct: Parts, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    value, log_total = results(out)
    ct_value, ct_total = ct.items
    if ct_value is None:
        ct_value = zeros_like(value)
    wide = log_total.dtype
    delta = ops.reduce_sum(to_dtype(ct_value, wide) * to_dtype(value, wide), axes=(3,))
    if ct_total is not None:
        delta = delta - ct_total
    q, k, v, *mask = args
    given = (ct_value, delta, q, k, v, log_total)
    found: list[Node | None] = [*results(attention_gradient(*given, *mask, **static))]
    for m, needs in zip(mask, wanted[3:], strict=True):
        if not needs or m.dtype is bool_:
            found.append(None)
            continue
        _, slope = _slopes(*given, mask, **static)
        axes = tuple(i for i, n in enumerate(m.shape) if n == 1 and slope.shape[i] != 1)
        summed = ops.reduce_sum(slope, axes=axes) if axes else slope
        found.append(to_dtype(ops.reshape(summed, shape=m.shape), m.dtype))
    return found


# --- NumPy, some queries at a time ----------------------------------------------------------------


def _wide(*arrays: Array) -> list[Array]:
    half = arrays[0].dtype.itemsize == 2
    return [a.astype(np.float32) if half and a.dtype != np.bool_ else a for a in arrays]


def _blocks(shape: Shape, columns: int, causal: bool) -> Generator[tuple[slice, int]]:
    """Ranges of queries, each with the number of keys to look at."""
    rows = shape[2]
    size = max(BLOCK // max(shape[0] * shape[1] * columns, 1), 16)
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        reach = min(stop, columns) if causal else columns
        if reach:
            yield slice(start, stop), reach


def _block_scores(
    q: Array, k: Array, mask: Sequence[Array], at: slice, reach: int, causal: bool
) -> Array:
    scores = np.matmul(q[:, :, at], k[:, :, :reach].swapaxes(2, 3))
    for m in mask:
        part = (m if m.shape[2] == 1 else m[:, :, at])[..., :reach]
        if m.dtype == np.bool_:
            np.copyto(scores, -np.inf, where=~part)
        else:
            scores += part
    if causal and at.start + 1 < reach:
        later = np.arange(reach) > np.arange(at.start, at.stop)[:, None]
        np.copyto(scores, -np.inf, where=later)
    return scores


def _kernel(
    q: Array, k: Array, v: Array, *mask: Array, causal: bool, scale: float
) -> tuple[Array, Array]:
    dtype = q.dtype
    q, k, v, *masks = _wide(q, k, v, *mask)
    q = q * q.dtype.type(scale)
    out = np.zeros((*q.shape[:3], v.shape[3]), q.dtype)
    log_total = np.full(q.shape[:3], np.inf, q.dtype)
    for at, reach in _blocks(q.shape, k.shape[2], causal):
        scores = _block_scores(q, k, masks, at, reach, causal)
        top = np.maximum.reduce(scores, axis=3, keepdims=True)
        top[top == -np.inf] = 0
        scores -= top
        np.exp(scores, out=scores)
        total = np.add.reduce(scores, axis=3, keepdims=True)
        empty = total == 0
        total[empty] = 1
        part = np.matmul(scores, v[:, :, :reach])
        part /= total
        out[:, :, at] = part
        log_total[:, :, at] = np.where(empty, np.inf, np.log(total) + top)[..., 0]
    return out.astype(dtype, copy=False), log_total


def _gradient_kernel(
    ct: Array, delta: Array, q: Array, k: Array, v: Array, log_total: Array, *mask: Array,
    causal: bool, scale: float,
) -> tuple[Array, ...]:  # fmt: skip
    dtype = q.dtype
    ct, q, k, v, *masks = _wide(ct, q, k, v, *mask)
    factor = q.dtype.type(scale)
    q = q * factor
    dq, dk, dv = (np.zeros(a.shape, a.dtype) for a in (q, k, v))
    for at, reach in _blocks(q.shape, k.shape[2], causal):
        share = _block_scores(q, k, masks, at, reach, causal)
        share -= log_total[:, :, at, None]
        np.exp(share, out=share)
        here = ct[:, :, at]
        dv[:, :, :reach] += np.matmul(share.swapaxes(2, 3), here)
        slope = np.matmul(here, v[:, :, :reach].swapaxes(2, 3))
        slope -= delta[:, :, at, None]
        slope *= share
        dq[:, :, at] = np.matmul(slope, k[:, :, :reach])
        dk[:, :, :reach] += np.matmul(slope.swapaxes(2, 3), q[:, :, at])
    dq *= factor
    return tuple(d.astype(dtype, copy=False) for d in (dq, dk, dv))


# --- the regions ----------------------------------------------------------------------------------


def _type(q: Node, k: Node, v: Node, *mask: Node, causal: bool, scale: float) -> Any:
    rows = q.shape[:3]
    return Type((*rows, v.shape[3]), q.dtype), Type(rows, _wider(q.dtype))


def _gradient_type(
    ct: Node, delta: Node, q: Node, k: Node, v: Node, log_total: Node, *mask: Node, causal: bool,
    scale: float,
) -> Any:  # fmt: skip
    return tuple(Type(x.shape, x.dtype) for x in (q, k, v))


def _vmap(count: int, which: Callable[[], Region]) -> Callable[..., Node]:
    """A batch joins the first axis of the ``count`` arguments before the mask, and of the mask."""

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        first = args[0].shape[1] if batched[0] else args[0].shape[0]
        joined = [
            _join(with_batch(size, a, b))
            for a, b in zip(args[:count], batched[:count], strict=True)
        ]
        for mask, b in zip(args[count:], batched[count:], strict=True):
            joined.append(_join_mask(mask, b, size, first))
        outs = results(which()(*joined, **static))
        return together([ops.reshape(o, shape=(size, first, *o.shape[1:])) for o in outs])

    return vmap


def _join(x: Node) -> Node:
    return ops.reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:]))


def _join_mask(mask: Node, batched: bool, size: int, first: int) -> Node:
    own = mask.shape[1:] if batched else mask.shape
    if not batched and own[0] == 1:
        return mask
    return _join(ops.broadcast(_spaced(mask, batched), shape=(size, first, *own[1:])))


def _spaced(mask: Node, batched: bool) -> Node:
    return mask if batched else ops.reshape(mask, shape=(1, *mask.shape))


def _work(q: Array, k: Array, v: Array, *mask: Array, causal: bool, scale: float) -> int:
    """Multiply-adds, about."""
    return q.size * k.shape[2] + q.shape[0] * q.shape[1] * q.shape[2] * v.shape[2] * v.shape[3]


def _gradient_work(
    ct: Array, delta: Array, q: Array, k: Array, v: Array, log_total: Array, *mask: Array,
    causal: bool, scale: float,
) -> int:  # fmt: skip
    return _work(q, k, v, causal=causal, scale=scale)


attention_gradient = region(
    "attention_gradient", _gradient_body, infer=_gradient_type,
    kernel=or_template(_gradient_kernel, lambda: attention_gradient, _gradient_work, LARGE, 0),
    vmap=_vmap(6, lambda: attention_gradient),
)  # fmt: skip
attention = region(
    "attention", _body, infer=_type, vjp=_vjp, vmap=_vmap(3, lambda: attention),
    kernel=or_template(_kernel, lambda: attention, _work, LARGE, 0),
)  # fmt: skip
