"""The same networks in plain JAX functions, on the same weights by PyTorch's names.

Images are (batch, height, width, channel) here, the order that XLA is fastest with on CPUs; the
batch is turned before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

DIMS = ("NHWC", "OIHW", "NHWC")


class Scope:
    """Weights and running statistics by name; layers are methods that take a name."""

    def __init__(self, params: Any, stats: Any, train: bool, key: Any) -> None:
        self.params, self.stats, self.train, self.key = params, dict(stats), train, key

    def linear(self, name: str, x: Any) -> Any:
        y = x @ self.params[f"{name}.weight"].T
        bias = self.params.get(f"{name}.bias")
        return y if bias is None else y + bias

    def conv(self, name: str, x: Any, stride: int = 1, pad: int = 0, groups: int = 1) -> Any:
        y = lax.conv_general_dilated(
            x, self.params[f"{name}.weight"], (stride, stride), [(pad, pad)] * 2,
            dimension_numbers=DIMS, feature_group_count=groups,
        )  # fmt: skip
        bias = self.params.get(f"{name}.bias")
        return y if bias is None else y + bias

    def conv_transpose(self, name: str, x: Any, stride: int, pad: int = 0) -> Any:
        w = self.params[f"{name}.weight"]  # (inputs, outputs, k, k)
        edge = w.shape[2] - 1 - pad
        return self.params[f"{name}.bias"] + lax.conv_general_dilated(
            x, jnp.flip(w, (2, 3)).transpose(1, 0, 2, 3), (1, 1), [(edge, edge)] * 2,
            lhs_dilation=(stride, stride), dimension_numbers=DIMS,
        )  # fmt: skip

    def batch_norm(self, name: str, x: Any) -> Any:
        mean, var = self.stats[f"{name}.running_mean"], self.stats[f"{name}.running_var"]
        if self.train:
            count = x.size // x.shape[-1]
            now = x.mean((0, 1, 2))
            spread = jnp.square(x - now).mean((0, 1, 2))
            self.stats[f"{name}.running_mean"] = 0.9 * mean + 0.1 * now
            self.stats[f"{name}.running_var"] = 0.9 * var + 0.1 * count / (count - 1) * spread
            self.stats[f"{name}.num_batches_tracked"] += 1
            mean, var = now, spread
        scale = lax.rsqrt(var + 1e-5) * self.params[f"{name}.weight"]
        return (x - mean) * scale + self.params[f"{name}.bias"]

    def conv_norm(
        self, name: str, x: Any, kernel: int = 3, stride: int = 1, groups: int = 1,
        active: bool = True,
    ) -> Any:  # fmt: skip
        x = self.conv(f"{name}.0", x, stride, kernel // 2, groups)
        x = self.batch_norm(f"{name}.1", x)
        return jax.nn.relu(x) if active else x

    def layer_norm(self, name: str, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        y = centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        return y * self.params[f"{name}.weight"] + self.params[f"{name}.bias"]

    def dropout(self, x: Any, rate: float) -> Any:
        if rate == 0.0 or not self.train:
            return x
        self.key, key = jax.random.split(self.key)
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


def max_pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def mlp(at: Scope, x: Any, widths: tuple[int, ...]) -> Any:
    last = len(widths) - 2
    for i in range(last + 1):
        x = at.linear(str(2 * i), x)
        x = x if i == last else jax.nn.relu(x)
    return x


def lenet(at: Scope, x: Any, size: int) -> Any:
    x = max_pool(jax.nn.relu(at.conv("0", x, pad=2)))
    x = max_pool(jax.nn.relu(at.conv("3", x)))
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return at.linear("11", jax.nn.relu(at.linear("9", jax.nn.relu(at.linear("7", x)))))


def resnet(at: Scope, x: Any, widths: tuple[int, ...], blocks: int) -> Any:
    x, place = at.conv_norm("0", x), 1
    for stage, (inputs, outputs) in enumerate(pairwise((widths[0], *widths))):
        for i in range(blocks):
            stride, short = 2 if stage and not i else 1, x
            if stride > 1 or (not i and inputs != outputs):
                short = at.conv_norm(f"{place}.short", x, 1, stride, active=False)
            y = at.conv_norm(f"{place}.first", x, 3, stride)
            x = jax.nn.relu(at.conv_norm(f"{place}.second", y, active=False) + short)
            place += 1
    return at.linear(str(place + 2), x.mean((1, 2)))


def plain(at: Scope, x: Any, widths: tuple[int, ...]) -> Any:
    for i in range(len(widths)):
        x = max_pool(at.conv_norm(str(3 * i + 1), at.conv_norm(str(3 * i), x)))
    return at.linear(str(3 * len(widths) + 2), x.mean((1, 2)))


def separable(at: Scope, x: Any, widths: tuple[int, ...]) -> Any:
    x = at.conv_norm("0", x)
    for i, inputs in enumerate(widths[:-1]):
        x = at.conv_norm(str(2 * i + 1), x, 3, 1 + i % 2, groups=inputs)
        x = at.conv_norm(str(2 * i + 2), x, 1)
    return at.linear(str(2 * len(widths) + 1), x.mean((1, 2)))


def autoencoder(at: Scope, x: Any, widths: tuple[int, ...]) -> Any:
    for i in range(len(widths)):
        x = jax.nn.relu(at.conv(str(2 * i), x, 2, 1))
    for i in range(len(widths), 2 * len(widths)):
        x = at.conv_transpose(str(2 * i), x, 2, 1)
        x = x if i == 2 * len(widths) - 1 else jax.nn.relu(x)
    return x


def unet(at: Scope, x: Any, widths: tuple[int, ...], classes: int) -> Any:
    def double(name: str, x: Any) -> Any:
        return at.conv_norm(f"{name}.1", at.conv_norm(f"{name}.0", x))

    kept = []
    for i in range(len(widths)):
        x = double(f"down.{i}", x if i == 0 else max_pool(x))
        kept.append(x)
    for i, across in enumerate(kept[-2::-1]):
        joined = jnp.concatenate([across, at.conv_transpose(f"up.{i}", x, 2)], -1)
        x = double(f"join.{i}", joined)
    return at.conv("head", x)


def gpt(
    at: Scope, x: Any, vocab: int, width: int, heads: int, layers: int, length: int, dropout: float
) -> Any:
    batch, time = x.shape
    h = at.params["tokens.weight"][x] + at.params["places.weight"]
    h = at.dropout(h, dropout)
    keep = jnp.tril(jnp.ones((time, time), bool))
    for i in range(layers):
        name = f"blocks.{i}"
        qkv = at.linear(f"{name}.attention.qkv", at.layer_norm(f"{name}.norm1", h))
        q, k, v = qkv.reshape(batch, time, 3, heads, -1).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-2, -1) / (width // heads) ** 0.5
        share = at.dropout(jax.nn.softmax(jnp.where(keep, scores, -jnp.inf)), dropout)
        y = (share @ v).transpose(0, 2, 1, 3).reshape(batch, time, width)
        h = h + at.dropout(at.linear(f"{name}.attention.out", y), dropout)
        wide = jax.nn.gelu(
            at.linear(f"{name}.up", at.layer_norm(f"{name}.norm2", h)), approximate=False
        )
        h = h + at.dropout(at.linear(f"{name}.down", wide), dropout)
    return at.linear("head", at.layer_norm("norm", h)).reshape(-1, vocab)


def lstm_cell(given: Any, carry: Any, u: Any, bias: Any) -> Any:
    h, c = carry
    i, f, g, o = jnp.split(given + h @ u.T + bias, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def gru_cell(given: Any, carry: Any, u: Any, bias: Any) -> Any:
    (h,) = carry
    r, z, n = jnp.split(given, 3, axis=1)
    hr, hz, hn = jnp.split(h @ u.T + bias, 3, axis=1)
    z = jax.nn.sigmoid(z + hz)
    n = jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn)
    h = n + z * (h - n)
    return (h,), h


def recurrent(
    at: Scope, x: Any, hidden: int, layers: int, cell: Callable[..., Any], states: int
) -> Any:
    x = x.swapaxes(0, 1)
    for i in range(layers):
        w, u, bw, bu = (
            at.params[f"cells.{name}_l{i}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        start = (jnp.zeros((x.shape[1], hidden)),) * states
        x = lax.scan(lambda carry, g, u=u, b=bu: cell(g, carry, u, b), start, x @ w.T + bw)[1]
    return at.linear("head", x[-1])


def lstm(at: Scope, x: Any, inputs: int, hidden: int, layers: int, classes: int) -> Any:
    return recurrent(at, x, hidden, layers, lstm_cell, 2)


def gru(at: Scope, x: Any, inputs: int, hidden: int, layers: int, classes: int) -> Any:
    return recurrent(at, x, hidden, layers, gru_cell, 1)


def bag(at: Scope, x: Any, vocab: int, width: int, classes: int) -> Any:
    return at.linear("head", at.params["words.weight"][x].mean(1))


def graph(
    at: Scope, x: Any, source: Any, to: Any, weight: Any, inputs: int, hidden: int, classes: int
) -> Any:
    def spread(h: Any) -> Any:
        return jnp.zeros_like(h).at[to].add(h[source] * weight[:, None])

    return spread(at.linear("second", jax.nn.relu(spread(at.linear("first", x)))))
