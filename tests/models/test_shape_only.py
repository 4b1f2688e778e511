"""The meta device: a 540-billion-parameter decoder built and shape-checked without its memory."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

import adjoint as ad
from adjoint.base.errors import RecordingError, ShapeError
from adjoint.nn import Module, ModuleList, Parameter
from adjoint.tensors import functional as F

WIDTH, LAYERS, HEADS, HEAD, VOCABULARY = 18_432, 118, 48, 256, 256_000


def weight(*shape: int) -> Parameter:
    return Parameter(ad.empty(*shape, device="meta"))


class Norm(Module):
    """Layer norm without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = weight(WIDTH)

    def forward(self, x: Any) -> Any:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.scale


class Block(Module):
    """Multi-query attention and SwiGLU side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = Norm()
        self.query, self.key, self.value = (
            weight(WIDTH, HEADS * HEAD), weight(WIDTH, HEAD), weight(WIDTH, HEAD),
        )  # fmt: skip
        self.out = weight(HEADS * HEAD, WIDTH)
        self.up, self.gate = weight(WIDTH, 4 * WIDTH), weight(WIDTH, 4 * WIDTH)
        self.down = weight(4 * WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        batch, time, _ = x.shape
        h = self.norm(x)
        q = (h @ self.query).reshape(batch, time, HEADS, HEAD).transpose(1, 2)
        k, v = (h @ self.key)[:, None], (h @ self.value)[:, None]
        scores = q @ k.transpose(-1, -2) / HEAD**0.5
        causal = ad.ones(time, time, dtype=ad.bool).tril()
        attended = F.softmax(ad.where(causal, scores, float("-inf")), dim=-1) @ v
        mixed = attended.transpose(1, 2).reshape(batch, time, HEADS * HEAD) @ self.out
        return x + mixed + (F.silu(h @ self.gate) * (h @ self.up)) @ self.down


class Decoder(Module):
    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.embedding = weight(VOCABULARY, WIDTH)
        self.blocks = ModuleList(Block() for _ in range(layers))
        self.norm = Norm()

    def forward(self, tokens: Any) -> Any:
        x = F.embedding(tokens, self.embedding)
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.embedding.T


@pytest.mark.feature("T42")
def test_a_540_billion_parameter_model_is_built_and_checked() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    model = Decoder()
    assert sum(p.numel() for p in model.parameters()) == 540_356_474_880
    tokens = ad.empty(2, 2048, dtype=ad.int64, device="meta")
    with ad.no_grad():
        logits = model(tokens)
    assert logits.shape == (2, 2048, VOCABULARY) and logits.dtype is ad.float32
    assert process.memory_info().rss - before < 1 << 30
    with pytest.raises(RecordingError, match="meta"):
        logits.sum().item()


@pytest.mark.feature("T42")
def test_shape_errors_and_gradient_shapes_come_without_memory() -> None:
    model = Decoder(layers=1)
    with pytest.raises(ShapeError, match=r"in Block.norm: Norm"):
        model.blocks[0](ad.empty(1, 8, WIDTH + 1, device="meta"))
    loss = model(ad.empty(1, 8, dtype=ad.int64, device="meta")).sum()
    loss.backward()
    for param in model.parameters():
        assert param.grad is not None and param.grad.shape == param.shape
        assert str(param.grad.device) == "meta"
