"""LeNet: its parameter count, its variants, its training on real digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError
from adjoint.data import load_mnist
from adjoint.models import LeNet, LeNetConfig


@pytest.mark.feature("C6")
def test_sixty_one_thousand_seven_hundred_and_six_parameters() -> None:
    net = LeNet()
    sizes = [p.numel() for p in net.parameters()]
    assert sum(sizes) == 61_706
    assert sizes == [150, 6, 2400, 16, 48_000, 120, 10_080, 84, 840, 10]
    assert net(ad.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.feature("C6")
def test_variants() -> None:
    mnist = LeNet(LeNetConfig.mnist())
    assert sum(p.numel() for p in mnist.parameters()) == 61_706
    assert mnist(ad.zeros(2, 1, 28, 28)).shape == (2, 10)
    paper = LeNet(LeNetConfig.paper())
    assert any(isinstance(m, nn.Tanh) for m in paper.modules())
    assert any(isinstance(m, nn.AvgPool2d) for m in paper.modules())
    colour = LeNet(LeNetConfig(image_size=48, channels=3, classes=7))
    assert colour(ad.zeros(2, 3, 48, 48)).shape == (2, 7)
    for wrong in ({"activation": "rleu"}, {"pooling": "min"}, {"image_size": 12}):
        with pytest.raises(ArgumentError):
            LeNet(LeNetConfig(**wrong))


def test_one_step_lowers_the_loss_and_a_batch_is_learned() -> None:
    ad.manual_seed(0)
    net = LeNet()
    x, y = ad.randn(16, 1, 32, 32), ad.randint(0, 10, (16,))
    optimizer, loss = ad.optim.Adam(net.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    losses: list[float] = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[1] < losses[0] and losses[-1] < 0.1


@pytest.mark.slow
@pytest.mark.feature("C6")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ninety_nine_per_cent_of_mnist_in_ten_epochs(mnist_dir: Path, seed: int) -> None:
    images, labels = load_mnist(mnist_dir, "train")
    test_images, test_labels = load_mnist(mnist_dir, "test")
    ad.manual_seed(seed)
    net = LeNet(LeNetConfig.mnist())
    optimizer, loss = ad.optim.Adam(net.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    rng = np.random.default_rng(seed)
    best = 0.0
    for epoch in range(10):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.7**epoch
        order = rng.permutation(len(images))
        for first in range(0, len(order), 64):
            chosen = order[first : first + 64]
            optimizer.zero_grad()
            loss(net(ad.tensor(images[chosen])), ad.tensor(labels[chosen])).backward()
            optimizer.step()
        best = max(best, accuracy(net, test_images, test_labels))
        if best >= 0.99:
            break
    assert best >= 0.99


@ad.no_grad()
def accuracy(net: LeNet, images: np.ndarray, labels: np.ndarray) -> float:
    hits = 0
    for first in range(0, len(images), 500):
        scores = net(ad.tensor(images[first : first + 500]))
        hits += int((scores.argmax(1).numpy() == labels[first : first + 500]).sum())
    return hits / len(images)
