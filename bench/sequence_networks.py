"""Networks on sequences, tokens and graphs, written once for Adjoint and PyTorch."""

from __future__ import annotations

from typing import Any

from bench.kits import Kit


def gpt(
    kit: Kit, vocab: int, width: int, heads: int, layers: int, length: int, dropout: float
) -> Any:
    """A decoder: learned positions, norm before, GELU, a head of its own."""
    nn = kit.nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            batch, time, _ = x.shape
            split = self.qkv(x).reshape(batch, time, 3, heads, width // heads)
            q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
            p = dropout if self.training else 0.0
            y = kit.F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
            return self.out(y.transpose(1, 2).reshape(batch, time, width))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.attention = nn.LayerNorm(width), Attention()
            self.norm2 = nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.drop = nn.Dropout(dropout)

        def forward(self, x: Any) -> Any:
            x = x + self.drop(self.attention(self.norm1(x)))
            return x + self.drop(self.down(kit.F.gelu(self.up(self.norm2(x)))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocab, width), nn.Embedding(length, width)
            self.drop = nn.Dropout(dropout)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)

        def forward(self, x: Any) -> Any:
            h = self.drop(self.tokens(x) + self.places.weight)
            for block in self.blocks:
                h = block(h)
            return self.head(self.norm(h)).reshape(-1, vocab)

    return GPT()


def recurrent(kit: Kit, cell: str, inputs: int, hidden: int, layers: int, classes: int) -> Any:
    """``cell`` is LSTM or GRU; the class is read from the last state."""
    nn = kit.nn

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            make = getattr(nn, cell)
            self.cells = make(inputs, hidden, num_layers=layers, batch_first=True)
            self.head = nn.Linear(hidden, classes)

        def forward(self, x: Any) -> Any:
            return self.head(self.cells(x)[0][:, -1])

    return Reader()


def bag(kit: Kit, vocab: int, width: int, classes: int) -> Any:
    """The mean of the vectors of some words, then a linear layer."""
    nn = kit.nn

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(vocab, width), nn.Linear(width, classes)

        def forward(self, x: Any) -> Any:
            return self.head(self.words(x).mean(1))

    return Bag()


def graph(kit: Kit, inputs: int, hidden: int, classes: int) -> Any:
    """Two graph convolutions (Kipf and Welling, ICLR 2017); edges as pairs with a weight."""
    nn = kit.nn

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(inputs, hidden), nn.Linear(hidden, classes)

        def spread(self, h: Any, source: Any, target: Any, weight: Any) -> Any:
            sent = h.index_select(0, source) * weight.unsqueeze(1)
            return kit.lib.zeros_like(h).index_add(0, target, sent)

        def forward(self, x: Any, source: Any, target: Any, weight: Any) -> Any:
            h = kit.F.relu(self.spread(self.first(x), source, target, weight))
            return self.spread(self.second(h), source, target, weight)

    return Graph()
