"""The networks that are trained and used: their sizes, data and loss.

Each has a full size, which is measured, and a small one, which the tests use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bench import image_networks, sequence_networks
from bench.kits import Kit

Sizes = dict[str, Any]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """One network. ``data`` gives the arrays of a batch: the inputs in order, then ``target``.

    ``sizes`` are for ``build`` (and its twin in ``jax_networks.py``, of the name ``jax``) and
    ``batch`` for ``data``. ``agree`` replaces some sizes while the losses are compared; ``rate`` is
    Adam's then. Its first steps have the same length for all weights, whichever sign rounding
    gave the smallest gradients, so deep nets need a low one for losses to be comparable.
    """

    title: str
    build: Callable[..., Any]
    jax: str
    data: Callable[..., Arrays]
    sizes: Sizes
    batch: Sizes
    small: Sizes
    small_batch: Sizes
    loss: str = "cross_entropy"
    agree: Sizes = field(default_factory=dict)
    rate: float = 1e-3

    def at(self, small: bool, agreeing: bool = False) -> tuple[Sizes, Sizes]:
        """The sizes of the network and of its batch."""
        sizes = {**self.sizes, **(self.small if small else {}), **(self.agree if agreeing else {})}
        return sizes, {**self.batch, **(self.small_batch if small else {})}

    def network(self, kit: Kit, small: bool, agreeing: bool = False) -> Any:
        return self.build(kit, **self.at(small, agreeing)[0])

    def arrays(self, small: bool, seed: int = 0) -> Arrays:
        """The batch, the same for everybody."""
        return self.data(np.random.default_rng(seed), **self.at(small)[1])


def vectors(rng: np.random.Generator, count: int, width: int, classes: int = 10) -> Arrays:
    x = rng.normal(size=(count, width)).astype(np.float32)
    return {"x": x, "target": rng.integers(0, classes, count)}


def images(
    rng: np.random.Generator, count: int, size: int, channels: int = 3, classes: int = 10,
    target: str = "class",
) -> Arrays:  # fmt: skip
    """``target``: one class an image, one a pixel, or the image itself."""
    x = rng.normal(size=(count, channels, size, size)).astype(np.float32)
    if target == "image":
        return {"x": x, "target": x}
    shape = (count,) if target == "class" else (count, size, size)
    return {"x": x, "target": rng.integers(0, classes, shape)}


def texts(rng: np.random.Generator, count: int, length: int, vocab: int) -> Arrays:
    """Tokens, and the next of each."""
    x = rng.integers(0, vocab, (count, length + 1))
    return {"x": x[:, :-1].copy(), "target": x[:, 1:].reshape(-1).copy()}


def series(
    rng: np.random.Generator, count: int, length: int, width: int, classes: int = 10
) -> Arrays:
    x = rng.normal(size=(count, length, width)).astype(np.float32)
    return {"x": x, "target": rng.integers(0, classes, count)}


def bags(
    rng: np.random.Generator, count: int, length: int, vocab: int, classes: int = 10
) -> Arrays:
    """Words as they come in texts: a few often, most seldom."""
    x = np.minimum(rng.zipf(1.3, (count, length)), vocab) - 1
    return {"x": x, "target": rng.integers(0, classes, count)}


def citations(
    rng: np.random.Generator, nodes: int, edges: int, width: int, classes: int = 7
) -> Arrays:
    """Random pairs, both ways, and every node with itself; weights of Kipf and Welling."""
    pairs = rng.integers(0, nodes, (2, edges))
    own = np.arange(nodes)
    source = np.concatenate([pairs[0], pairs[1], own])
    target = np.concatenate([pairs[1], pairs[0], own])
    root = np.sqrt(np.bincount(target, minlength=nodes))
    x = (rng.random((nodes, width)) < 0.05).astype(np.float32)
    return {
        "x": x, "source": source, "to": target,
        "weight": (1 / (root[source] * root[target])).astype(np.float32),
        "target": rng.integers(0, classes, nodes),
    }  # fmt: skip


GPT = {"vocab": 256, "width": 128, "heads": 4, "layers": 4, "length": 64, "dropout": 0.0}
ODD = {"vocab": 77, "width": 100, "heads": 4, "layers": 3, "length": 37, "dropout": 0.1}

WORKLOADS: dict[str, Workload] = {
    "mlp": Workload(
        "MLP 784-512-512-10, batch 64", image_networks.mlp, "mlp", vectors,
        {"widths": (784, 512, 512, 10)}, {"count": 64, "width": 784},
        {"widths": (30, 16, 16, 10)}, {"count": 8, "width": 30},
    ),
    "mlp-small": Workload(
        "MLP 64-32-10, batch 32", image_networks.mlp, "mlp", vectors,
        {"widths": (64, 32, 10)}, {"count": 32, "width": 64}, {}, {},
    ),
    "lenet": Workload(
        "LeNet-5 28x28, batch 64", image_networks.lenet, "lenet",
        partial(images, channels=1), {"size": 28}, {"count": 64, "size": 28},
        {}, {"count": 4, "size": 28},
    ),
    "resnet": Workload(
        "ResNet-18 32x32, batch 32", image_networks.resnet, "resnet", images,
        {"widths": (64, 128, 256, 512), "blocks": 2}, {"count": 32, "size": 32},
        {"widths": (4, 8), "blocks": 1}, {"count": 4, "size": 8}, rate=1e-5,
    ),
    "gpt": Workload(
        "GPT 4 layers, d 128, T 64, batch 16", sequence_networks.gpt, "gpt", texts,
        GPT, {"count": 16, "length": 64, "vocab": 256},
        {"vocab": 20, "width": 16, "heads": 2, "layers": 2, "length": 9},
        {"count": 3, "length": 9, "vocab": 20},
    ),
    "lstm": Workload(
        "LSTM hidden 128, T 64, batch 32", partial(sequence_networks.recurrent, cell="LSTM"),
        "lstm", series, {"inputs": 128, "hidden": 128, "layers": 1, "classes": 10},
        {"count": 32, "length": 64, "width": 128},
        {"inputs": 7, "hidden": 9}, {"count": 4, "length": 6, "width": 7},
    ),
    "plain": Workload(
        "plain conv net, batch norm, 32x32, batch 32", image_networks.plain, "plain", images,
        {"widths": (32, 64, 128)}, {"count": 32, "size": 32},
        {"widths": (4, 6)}, {"count": 4, "size": 8},
    ),
    "separable": Workload(
        "depthwise-separable net, 32x32, batch 32", image_networks.separable, "separable", images,
        {"widths": (32, 64, 128, 128, 256)}, {"count": 32, "size": 32},
        {"widths": (4, 6, 8)}, {"count": 4, "size": 8},
    ),
    "autoencoder": Workload(
        "conv auto-encoder, transposed convs, 32x32, batch 32", image_networks.autoencoder,
        "autoencoder", partial(images, target="image"), {"widths": (32, 64, 128)},
        {"count": 32, "size": 32}, {"widths": (4, 6)}, {"count": 4, "size": 8}, loss="mse_loss",
    ),
    "unet": Workload(
        "U-Net 3 levels, 64x64, batch 8", image_networks.unet, "unet",
        partial(images, channels=1, classes=4, target="pixel"),
        {"widths": (16, 32, 64), "classes": 4}, {"count": 8, "size": 64},
        {"widths": (3, 4)}, {"count": 2, "size": 8},
    ),
    "transformer-odd": Workload(
        "transformer, dropout 0.1, d 100, T 37, batch 12", sequence_networks.gpt, "gpt", texts,
        ODD, {"count": 12, "length": 37, "vocab": 77},
        {"vocab": 13, "width": 10, "heads": 2, "layers": 1, "length": 7},
        {"count": 3, "length": 7, "vocab": 13}, agree={"dropout": 0.0},
    ),
    "gru": Workload(
        "GRU 2 layers, hidden 96, T 50, batch 24", partial(sequence_networks.recurrent, cell="GRU"),
        "gru", series, {"inputs": 40, "hidden": 96, "layers": 2, "classes": 10},
        {"count": 24, "length": 50, "width": 40},
        {"inputs": 5, "hidden": 6}, {"count": 3, "length": 7, "width": 5},
    ),
    "embedding": Workload(
        "embedding 50,000 x 64, mean of 40, batch 128", sequence_networks.bag, "bag", bags,
        {"vocab": 50_000, "width": 64, "classes": 10},
        {"count": 128, "length": 40, "vocab": 50_000},
        {"vocab": 50, "width": 6}, {"count": 5, "length": 4, "vocab": 50},
    ),
    "graph": Workload(
        "graph convolution, 2,700 nodes, 10,600 edges", sequence_networks.graph, "graph", citations,
        {"inputs": 500, "hidden": 64, "classes": 7}, {"nodes": 2700, "edges": 5300, "width": 500},
        {"inputs": 9, "hidden": 6}, {"nodes": 12, "edges": 20, "width": 9},
    ),
}  # fmt: skip
