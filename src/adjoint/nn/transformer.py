"""Transformer layers, stacks of them, and the encoder-decoder of the paper."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.shape import as_size
from adjoint.nn import init
from adjoint.nn.attention import KeyValueCache, MultiheadAttention
from adjoint.nn.containers import ModuleList
from adjoint.nn.dropout import Dropout
from adjoint.nn.linear import Linear
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor

Activation = str | Callable[[Tensor], Tensor]
Caches = list[KeyValueCache] | None


class _Layer(Module):
    """What both layers share: self-attention, and two linear maps with an activation between."""

    norms = 2

    def _build(
        self, attentions: tuple[str, ...], d_model: int, nhead: int, dim_feedforward: int,
        dropout: float, activation: Activation, layer_norm_eps: float, batch_first: bool,
        norm_first: bool, bias: bool, device: object, dtype: object,
    ) -> None:  # fmt: skip
        for name in attentions:
            made = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
            )
            self.add_module(name, made)
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        for k in range(1, self.norms + 1):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
            self.add_module(f"norm{k}", norm)
        for k in range(1, self.norms + 1):
            self.add_module(f"dropout{k}", Dropout(dropout))
        self.activation = _activation(activation)

    def _attend(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, causal: bool,
        cache: KeyValueCache | None,
    ) -> Tensor:  # fmt: skip
        found = self.self_attn(
            x, x, x, attn_mask=mask, key_padding_mask=padding, is_causal=causal,
            need_weights=False, cache=cache,
        )  # fmt: skip
        return self.dropout1(found[0])

    def _feed_forward(self, x: Tensor, last: Dropout) -> Tensor:
        return last(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear maps; each added to its input and normalised.

    norm(x + f(x)), or x + f(norm(x)) with ``norm_first``. Source: Vaswani et al., "Attention is
    all you need", 2017; for ``norm_first`` Xiong et al., 2020.
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._build(
            ("self_attn",), d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
            batch_first, norm_first, bias, device, dtype,
        )  # fmt: skip

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, is_causal: bool = False, *,
        cache: KeyValueCache | None = None,
    ) -> Tensor:  # fmt: skip
        """(T, N, d_model), or (N, T, d_model) with ``batch_first``; masks and ``cache`` as for
        ``MultiheadAttention``."""
        given = (src_mask, src_key_padding_mask, is_causal, cache)
        x = src
        if self.norm_first:
            x = x + self._attend(self.norm1(x), *given)
            return x + self._feed_forward(self.norm2(x), self.dropout2)
        x = self.norm1(x + self._attend(x, *given))
        return self.norm2(x + self._feed_forward(x, self.dropout2))


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to ``memory``, then two linear maps; see
    ``TransformerEncoderLayer``."""

    norms = 3

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._build(
            ("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, dropout, activation,
            layer_norm_eps, batch_first, norm_first, bias, device, dtype,
        )  # fmt: skip

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False, *, cache: KeyValueCache | None = None,
    ) -> Tensor:  # fmt: skip
        """(T, N, d_model), or (N, T, d_model) with ``batch_first``; ``memory`` is what the encoder
        gives. Masks and ``cache`` (of the self-attention) as for ``MultiheadAttention``."""
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal, cache)
        other = (memory, memory_mask, memory_key_padding_mask, memory_is_causal)
        x = tgt
        if self.norm_first:
            x = x + self._attend(self.norm1(x), *own)
            x = x + self._look(self.norm2(x), *other)
            return x + self._feed_forward(self.norm3(x), self.dropout3)
        x = self.norm1(x + self._attend(x, *own))
        x = self.norm2(x + self._look(x, *other))
        return self.norm3(x + self._feed_forward(x, self.dropout3))

    def _look(
        self, x: Tensor, memory: Tensor, mask: Tensor | None, padding: Tensor | None, causal: bool
    ) -> Tensor:
        found = self.multihead_attn(
            x, memory, memory, attn_mask=mask, key_padding_mask=padding, is_causal=causal,
            need_weights=False,
        )  # fmt: skip
        return self.dropout2(found[0])


class TransformerEncoder(Module):
    """``num_layers`` copies of ``encoder_layer`` one after another, then ``norm``.

    The copies start with equal weights, as in PyTorch; draw new ones for each where that matters.
    ``enable_nested_tensor`` and ``mask_check`` are taken and not used.
    """

    def __init__(
        self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None,
        enable_nested_tensor: bool = True, mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers, self.num_layers = _copies("TransformerEncoder", encoder_layer, num_layers)
        self.register_module("norm", norm)

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None, *, caches: Caches = None,
    ) -> Tensor:  # fmt: skip
        """``caches``: one KeyValueCache for each layer, to go on from earlier steps."""
        x = src
        for layer, cache in zip(self.layers, _each(caches, self.num_layers), strict=True):
            x = layer(x, mask, src_key_padding_mask, bool(is_causal), cache=cache)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """``num_layers`` copies of ``decoder_layer`` one after another, then ``norm``."""

    def __init__(
        self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        super().__init__()
        self.layers, self.num_layers = _copies("TransformerDecoder", decoder_layer, num_layers)
        self.register_module("norm", norm)

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False, *, caches: Caches = None,
    ) -> Tensor:  # fmt: skip
        """``caches``: one KeyValueCache for each layer, to go on from earlier steps."""
        x = tgt
        for layer, cache in zip(self.layers, _each(caches, self.num_layers), strict=True):
            x = layer(
                x, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                bool(tgt_is_causal), memory_is_causal, cache=cache,
            )  # fmt: skip
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder and a decoder, each with a LayerNorm at its end; all matrices start Glorot
    uniform. Source: Vaswani et al., "Attention is all you need", 2017."""

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
        num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = F.relu, custom_encoder: Any = None, custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        given: Any = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, device, dtype,
        )  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*given), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*given), num_decoder_layers, norm()
        )
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values for every matrix, uniform as Glorot."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """src (S, N, d_model) and tgt (T, N, d_model), or (N, S, d_model) ... with ``batch_first``
        -> the shape of tgt. Raises ShapeError for other numbers of features."""
        for x in (src, tgt):
            if x.shape[-1] != self.d_model:
                raise errors.shape(
                    "Transformer", f"needs {self.d_model} features (d_model)", x,
                    hint="embed the tokens first",
                )  # fmt: skip
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal, memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: object = "cpu", dtype: object = None
    ) -> Tensor:
        """(sz, sz): 0 where key <= query, else -inf; a float mask for causal attention."""
        low = creation.full((sz, sz), -np.inf, dtype=dtype, device=device)
        return low.triu(1)


def _copies(op: str, layer: Any, count: int) -> tuple[ModuleList, int]:
    if not isinstance(layer, Module):
        raise errors.bad_argument(op, "the layer", layer, f"a module, {op}Layer(...) say")
    number = as_size(op, count)
    return ModuleList(copy.deepcopy(layer) for _ in range(number)), number


def _activation(given: Activation) -> Any:
    if not isinstance(given, str):
        return given
    known = {"relu": F.relu, "gelu": F.gelu}
    if given not in known:
        raise errors.unknown_name("transformer activation", given, known)
    return known[given]


def _each(caches: Caches, count: int) -> list[Any]:
    if caches is None:
        return [None] * count
    if len(caches) != count:
        raise errors.argument(
            "transformer", f"needs {count} caches, one for each layer, got {len(caches)}",
            hint="[nn.KeyValueCache(batch, heads, length, size) for _ in model.layers]",
        )  # fmt: skip
    return [*caches]
