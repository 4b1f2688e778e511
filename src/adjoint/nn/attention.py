"""Attention layers: several heads, additive scores, and the memory that decoding keeps."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.dtype import bool_, int64
from adjoint.base.shape import as_size
from adjoint.nn import init
from adjoint.nn.linear import Linear
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import arithmetic, creation
from adjoint.tensors import functional as F
from adjoint.tensors.contraction import matmul
from adjoint.tensors.elementwise import tanh
from adjoint.tensors.functional.attention import Folded
from adjoint.tensors.handle import wrap
from adjoint.tensors.modes import no_grad
from adjoint.tensors.movement import cat
from adjoint.tensors.tensor import Tensor


class KeyValueCache(Module):
    """The keys and values of the steps so far, for decoding step by step.

    Room for ``length`` steps is made once, so that every step has the same shapes. Buffers: keys
    and values (batch, heads, length, size), and used, the number of steps taken; they are not part
    of ``state_dict``.
    """

    def __init__(
        self, batch: int, heads: int, length: int, size: int, value_size: int | None = None,
        dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.length = as_size("KeyValueCache", length)
        for name, width in (("keys", size), ("values", value_size or size)):
            room = creation.zeros((batch, heads, self.length, width), dtype=dtype)
            self.register_buffer(name, room, persistent=False)
        self.register_buffer("used", creation.zeros((), dtype=int64), persistent=False)

    def reset(self) -> None:
        """Forget all steps."""
        with no_grad():
            self.used.zero_()

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Add steps (batch, heads, T, size); gives all keys, all values, and the bool mask
        (T, length) of what each new step may attend to: the steps so far and itself.

        Raises ArgumentError when there is no room left.
        """
        count = keys.shape[-2]
        used = self.used.node
        if not used.is_abstract and int(used.array()) + count > self.length:
            raise errors.argument(
                "KeyValueCache", f"no room for step {int(used.array()) + count} of {self.length}",
                hint="make it with a larger length, or call reset()",
            )  # fmt: skip
        with no_grad():
            places = creation.arange(count) + self.used
            self.keys.copy_(self.keys.index_copy(2, places, keys.detach()))
            self.values.copy_(self.values.index_copy(2, places, values.detach()))
            mask = creation.arange(self.length) <= places[:, None]
            self.used.add_(count)
        return self.keys.clone(), self.values.clone(), mask


class MultiheadAttention(Module):
    """Attention of ``num_heads`` heads between projections of queries, keys and values.

    in_proj_weight (3 E, E), or q_proj_weight, k_proj_weight and v_proj_weight when ``kdim`` or
    ``vdim`` differ from E; in_proj_bias (3 E,); out_proj. Masks are PyTorch's: bool ones are True
    where attention is not allowed, float ones are added to the scores. Source: Vaswani et al.,
    "Attention is all you need", 2017.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: object = "cpu",
        dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = "MultiheadAttention"
        self.embed_dim, self.num_heads = as_size(name, embed_dim), as_size(name, num_heads)
        if self.num_heads < 1 or self.embed_dim < 1 or self.embed_dim % self.num_heads:
            raise errors.argument(
                name, f"{embed_dim} features do not divide into {num_heads} heads",
                hint="num_heads has to divide embed_dim",
            )  # fmt: skip
        self.kdim = self.embed_dim if kdim is None else as_size(name, kdim)
        self.vdim = self.embed_dim if vdim is None else as_size(name, vdim)
        self.dropout = float(as_number(name, "dropout", dropout))
        self.batch_first = batch_first
        self.head_dim = self.embed_dim // self.num_heads
        self.add_zero_attn = add_zero_attn
        size = self.embed_dim
        joined = self.kdim == size and self.vdim == size
        shapes: dict[str, tuple[int, ...] | None] = {
            "in_proj_weight": (3 * size, size) if joined else None,
            "q_proj_weight": None if joined else (size, size),
            "k_proj_weight": None if joined else (size, self.kdim),
            "v_proj_weight": None if joined else (size, self.vdim),
            "in_proj_bias": (3 * size,) if bias else None,
            "bias_k": (1, 1, size) if add_bias_kv else None,
            "bias_v": (1, 1, size) if add_bias_kv else None,
        }
        for key, shape in shapes.items():
            made = None
            if shape is not None:
                made = Parameter(creation.empty(shape, dtype=dtype, device=device))
            self.register_parameter(key, made)
        self.out_proj = Linear(size, size, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new projections, uniform as Glorot; biases 0."""
        for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, key) is not None:
                init.xavier_uniform_(getattr(self, key))
        for key in (self.in_proj_bias, self.out_proj.bias):
            if key is not None:
                init.zeros_(key)
        for key in (self.bias_k, self.bias_v):
            if key is not None:
                init.xavier_normal_(key)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None,
        average_attn_weights: bool = True, is_causal: bool = False, *,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The outputs, of the shape of ``query``, and the weights (N, T, S) averaged over heads,
        or (N, H, T, S), or None.

        query (T, N, E), key (S, N, kdim), value (S, N, vdim), with ``batch_first`` (N, T, E) ...,
        or without N. key_padding_mask (N, S), attn_mask (T, S) or (N H, T, S). ``is_causal``
        without a mask: query t attends to keys 0 .. t; with one it changes nothing. ``cache``:
        where the keys and values of earlier steps are, to which those given are added.
        """
        self._check(query, key, value)
        single = query.ndim == 2
        inputs = self._batched((query, key, value), single)
        q, k, v = self._projected(*inputs)
        n, length = q.shape[:2]
        mask = Mask(self.num_heads, attn_mask, key_padding_mask, n, single)
        if self.bias_k is not None:
            wide = (n, 1, self.embed_dim)
            k, v = cat([k, self.bias_k.expand(wide)], 1), cat([v, self.bias_v.expand(wide)], 1)
            mask.extend(1)
        q, k, v = (self._split(x) for x in (q, k, v))
        if self.add_zero_attn:
            nothing = creation.zeros((n, self.num_heads, 1, self.head_dim), dtype=k.dtype)
            k, v = cat([k, nothing], 2), cat([v, nothing], 2)
            mask.extend(1)
        causal = is_causal and attn_mask is None and cache is None
        if cache is not None:
            k, v, seen = cache(k, v)
            mask.allow(seen[None, None])
        found = mask.joined(q.dtype)
        given = None if found is None else found.node
        folded = Folded(q.node, k.node, v.node, given, None)
        drop = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = wrap(folded.weights(causal))
            weights = F.dropout(weights, drop) if drop else weights
            out = matmul(weights, v)
        else:
            out = wrap(folded.attend(causal, drop))
        out = self.out_proj(out.transpose(1, 2).reshape(n, length, self.embed_dim))
        if single:
            out = out.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        if weights is None:
            return out, None
        weights = weights.mean(1) if average_attn_weights else weights
        return out, weights.squeeze(0) if single else weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        name = "MultiheadAttention"
        if not query.ndim == key.ndim == value.ndim or query.ndim not in (2, 3):
            raise errors.shape(
                name, "needs three tensors (time, batch, features), or all without the batch",
                query, key, value, hint="batch_first=True for (batch, time, features)",
            )  # fmt: skip
        sizes = (self.embed_dim, self.kdim, self.vdim)
        for what, x, size in zip(("query", "key", "value"), (query, key, value), sizes,
                                 strict=True):  # fmt: skip
            if x.shape[-1] != size:
                raise errors.shape(
                    name, f"the {what} has {x.shape[-1]} features, the layer takes {size}", x,
                    hint="kdim= and vdim= allow other sizes for keys and values",
                )  # fmt: skip

    def _batched(self, inputs: tuple[Tensor, ...], single: bool) -> list[Tensor]:
        """The inputs as (N, time, features); equal ones stay the same object."""
        done: dict[int, Tensor] = {}
        for x in inputs:
            if id(x) not in done:
                moved = x if self.batch_first else x.transpose(0, 1)
                done[id(x)] = x.unsqueeze(0) if single else moved
        return [done[id(x)] for x in inputs]

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Queries, keys and values, with one product for those made from the same input."""
        size, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            parts = [None] * 3 if bias is None else bias.chunk(3)
            inputs = zip((query, key, value), weights, parts, strict=True)
            return [F.linear(x, w, b) for x, w, b in inputs]
        runs = [(query, 0, 3)] if query is key is value else [(query, 0, 1), (key, 1, 3)]
        if key is not value:
            runs = [(query, 0, 1), (key, 1, 2), (value, 2, 3)]
        found: list[Tensor] = []
        for x, first, last in runs:
            rows = slice(first * size, last * size)
            whole = last - first == 3
            weight = self.in_proj_weight if whole else self.in_proj_weight[rows]
            part = bias if whole or bias is None else bias[rows]
            found += F.linear(x, weight, part).chunk(last - first, -1)
        return found

    def _split(self, x: Tensor) -> Tensor:
        """(N, T, E) as (N, H, T, E / H)."""
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)


class Mask:
    """The masks of one call, brought to four axes (N, H, T, S): what is allowed, what is added."""

    def __init__(
        self, heads: int, attn_mask: Tensor | None, padding: Tensor | None, n: int, single: bool
    ) -> None:
        self.parts: list[Tensor] = []
        if attn_mask is not None:
            if attn_mask.ndim == 3 and attn_mask.shape[0] != n * heads:
                raise errors.shape(
                    "MultiheadAttention", f"attn_mask needs {n * heads} on its first axis",
                    attn_mask, hint="one for each head of each example: (N H, T, S), or (T, S)",
                )  # fmt: skip
            lead = (n, heads) if attn_mask.ndim == 3 else (1, 1)
            self._add(attn_mask.reshape(*lead, *attn_mask.shape[-2:]))
        if padding is not None:
            padding = padding.unsqueeze(0) if single and padding.ndim == 1 else padding
            if padding.ndim != 2 or padding.shape[0] != n:
                raise errors.shape(
                    "MultiheadAttention", f"key_padding_mask needs ({n}, keys)", padding,
                    hint="True where a key is padding",
                )  # fmt: skip
            self._add(padding[:, None, None])

    def _add(self, mask: Tensor) -> None:
        self.parts.append(~mask if mask.dtype is bool_ else mask)

    def allow(self, allowed: Tensor) -> None:
        """Also allow only what is True here."""
        self.parts.append(allowed)

    def extend(self, count: int) -> None:
        """Allow ``count`` more keys at the end."""
        for i, part in enumerate(self.parts):
            shape = (*part.shape[:-1], count)
            fill = creation.full(shape, 1 if part.dtype is bool_ else 0, dtype=part.dtype)
            self.parts[i] = cat([part, fill], -1)

    def joined(self, dtype: Any) -> Tensor | None:
        """One mask: bool (True: allowed) if all are, else of ``dtype``, to be added."""
        if not self.parts:
            return None
        first, *rest = self.parts
        if all(p.dtype is bool_ for p in self.parts):
            for part in rest:
                first = first & part
            return first
        first, *rest = (self._added(p, dtype) for p in self.parts)
        for part in rest:
            first = first + part
        return first

    @staticmethod
    def _added(part: Tensor, dtype: Any) -> Tensor:
        if part.dtype is not bool_:
            return part.to(dtype)
        zero = creation.zeros((), dtype=dtype)
        return arithmetic.where(part, zero, creation.full((), -np.inf, dtype=dtype))


class AdditiveAttention(Module):
    """Weights softmax(v tanh(W q + U k)) over the keys, as in the first attention.

    query_proj (hidden, query_size), key_proj (hidden, key_size) and v (hidden,). Source: Bahdanau
    et al., "Neural machine translation by jointly learning to align and translate", 2015.
    """

    def __init__(
        self, query_size: int, key_size: int, hidden_size: int, bias: bool = True,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.query_proj = Linear(query_size, hidden_size, False, device, dtype)
        self.key_proj = Linear(key_size, hidden_size, bias, device, dtype)
        self.v = Parameter(creation.empty((hidden_size,), dtype=dtype, device=device))
        bound = 1 / sqrt(hidden_size) if hidden_size else 0.0
        init.uniform_(self.v, -bound, bound)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The weighted values (..., T, V) and the weights (..., T, S).

        query (..., T, query_size), key (..., S, key_size), value (..., S, V), the keys by default.
        mask: bool, broadcast to (..., T, S), True where attention is allowed.
        """
        hidden = tanh(self.query_proj(query).unsqueeze(-2) + self.key_proj(key).unsqueeze(-3))
        scores = (hidden * self.v).sum(-1)
        if mask is not None:
            low = creation.full((), -np.inf, dtype=scores.dtype)
            scores = arithmetic.where(mask, scores, low)
        weights = F.softmax(scores, -1)
        return matmul(weights, key if value is None else value), weights
