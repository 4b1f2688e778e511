"""Attention layers and transformers beyond their twins: decoding, sizes, what reaches what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, ShapeError


@pytest.mark.feature("A5")
@pytest.mark.parametrize("chunks", [[1] * 6, [3, 1, 2]])
def test_cached_decoding_is_the_full_forward(chunks: list[int]) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).double().eval()
    x = ad.tensor(np.random.default_rng(0).normal(size=(3, 6, 8)))
    whole, _ = layer(x, x, x, is_causal=True, need_weights=False)
    cache = nn.KeyValueCache(3, 2, 8, 4, dtype="float64")
    assert not cache.state_dict()
    for _ in range(2):  # and again after reset
        start = 0
        for count in chunks:
            part = x[:, start : start + count]
            out, _ = layer(part, part, part, need_weights=False, cache=cache)
            assert (out - whole[:, start : start + count]).abs().max() < 1e-12
            start += count
        assert cache.used.item() == 6
        cache.reset()
    with pytest.raises(ArgumentError, match="no room for step 9 of 8"):
        layer(*[ad.zeros(3, 9, 8, dtype="float64")] * 3, cache=cache)


@pytest.mark.feature("A5")
def test_a_captured_decoding_step_is_recorded_once() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    stack = nn.TransformerEncoder(layer, 2)
    caches = [nn.KeyValueCache(1, 2, 8, 4) for _ in range(2)]
    x = ad.randn(1, 5, 8)
    with ad.no_grad():
        whole = stack(x, is_causal=True)
        step = ad.jit(lambda token: stack(token, caches=caches))
        for t in range(5):
            assert (step(x[:, t : t + 1]) - whole[:, t : t + 1]).abs().max() < 1e-5
    assert step.recordings == 1
    with pytest.raises(ArgumentError, match="needs 2 caches"):
        stack(x, caches=caches[:1])


@pytest.mark.feature("A2")
def test_causal_without_a_mask() -> None:
    layer = nn.MultiheadAttention(6, 2).double()
    x = ad.tensor(np.random.default_rng(0).normal(size=(4, 2, 6)))
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    for options in ({"need_weights": True}, {"need_weights": False}):
        one, weights = layer(x, x, x, is_causal=True, **options)
        two, others = layer(x, x, x, attn_mask=mask, **options)
        assert (one - two).abs().max() < 1e-12
        if weights is not None:
            assert (weights - others).abs().max() < 1e-12
            assert (weights.triu(1) == 0).all() and (weights.sum(-1) - 1).abs().max() < 1e-12


@pytest.mark.feature("A2")
def test_dropout_of_weights_while_training() -> None:
    layer = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = ad.randn(6, 2, 8)
    for light in (True, False):
        layer.train()
        outs = [layer(x, x, x, need_weights=light)[0] for _ in range(2)]
        assert (outs[0] != outs[1]).any()
        layer.eval()
        outs = [layer(x, x, x, need_weights=light)[0] for _ in range(2)]
        assert (outs[0] == outs[1]).all()


@pytest.mark.feature("A1")
def test_additive_attention_written_out() -> None:
    layer = nn.AdditiveAttention(3, 4, 5).double()
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(2, 3)), rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    mask = np.array([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1]]) > 0
    w, u, b, a = (
        p.detach().numpy()
        for p in (layer.query_proj.weight, layer.key_proj.weight, layer.key_proj.bias, layer.v)
    )
    out, weights = layer(*(ad.tensor(x) for x in (q, k, v, mask)))
    for t in range(2):
        scores = np.array([a @ np.tanh(w @ q[t] + u @ k[s] + b) for s in range(6)])
        shares = np.where(mask[t], np.exp(scores), 0)
        shares /= shares.sum()
        np.testing.assert_allclose(weights[t].detach().numpy(), shares, atol=1e-12)
        np.testing.assert_allclose(out[t].detach().numpy(), shares @ v, atol=1e-12)
    batched, _ = layer(ad.tensor(q[None]), ad.tensor(k[None]))
    assert batched.shape == (1, 2, 4)


@pytest.mark.feature("A4")
def test_the_base_transformer_has_the_parameters_of_the_paper() -> None:
    model = nn.Transformer(device="meta")
    assert sum(p.numel() for p in model.parameters()) == 44_140_544
    twin = torch.nn.Transformer(device="meta", batch_first=True)
    shapes = {k: tuple(v.shape) for k, v in twin.state_dict().items()}
    assert {k: v.shape for k, v in model.state_dict().items()} == shapes
    assert list(model.state_dict()) == list(shapes)


@pytest.mark.feature("A4")
def test_the_decoder_reads_the_encoder() -> None:
    model = nn.Transformer(8, 2, 1, 2, 16, dropout=0.0).eval()
    src, tgt = ad.randn(4, 2, 8), ad.randn(3, 2, 8)
    memory = model.encoder(src)
    assert (model.decoder(tgt, memory) == model(src, tgt)).all()
    assert (model.decoder(tgt, memory * 0.0) - model(src, tgt)).abs().max() > 1e-3


@pytest.mark.feature("A3")
def test_layers_of_a_stack_are_copies() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    stack = nn.TransformerEncoder(layer, 3, nn.LayerNorm(8))
    assert len({id(p) for p in stack.parameters()}) == 3 * len(list(layer.parameters())) + 2
    assert (stack.layers[0].linear1.weight == layer.linear1.weight).all()
    activated = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.GELU())
    assert "activation" in dict(activated.named_modules())


def test_wrong_arguments() -> None:
    layer = nn.MultiheadAttention(8, 2)
    x: Any = ad.zeros(4, 2, 8)
    with pytest.raises(ArgumentError, match="do not divide into 3 heads"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(ShapeError, match="the key has 7 features, the layer takes 8"):
        layer(x, x[..., :7], x)
    with pytest.raises(ShapeError, match="needs three tensors"):
        layer(x, x[0], x)
    with pytest.raises(ShapeError, match="attn_mask needs 4 on its first axis"):
        layer(x, x, x, attn_mask=ad.ones(3, 4, 4).bool())
    with pytest.raises(ShapeError, match="key_padding_mask needs"):
        layer(x, x, x, key_padding_mask=ad.ones(4, 2).bool())
    with pytest.raises(ShapeError, match="needs 8 features"):
        nn.Transformer(8, 2, 1, 1, 8)(ad.zeros(3, 1, 4), x)
    with pytest.raises(ArgumentError, match="relu"):
        nn.TransformerEncoderLayer(8, 2, activation="rely")
