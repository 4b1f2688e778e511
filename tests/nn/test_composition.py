"""Parts that are exchanged one by one, and losses that are added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.nn import functional as F

LOSSES = {
    "mse": nn.MSELoss(), "l1": nn.L1Loss(), "huber": nn.HuberLoss(), "smooth": nn.SmoothL1Loss(),
}  # fmt: skip
OPTIMISERS = {
    "sgd": lambda p: ad.optim.SGD(p, lr=0.02), "adam": lambda p: ad.optim.Adam(p, lr=0.02),
    "rmsprop": lambda p: ad.optim.RMSprop(p, lr=0.005),
    "adagrad": lambda p: ad.optim.Adagrad(p, 0.1),
}  # fmt: skip
MODELS = {
    "linear": lambda: nn.Linear(6, 2),
    "mlp": lambda: nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2)),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(48, 2),
    ),
}  # fmt: skip


@pytest.mark.feature("M15")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_optimiser_and_model_are_exchanged_freely(
    loss: str, optimiser: str, model: str
) -> None:
    ad.manual_seed(0)
    net = MODELS[model]()
    steps = OPTIMISERS[optimiser](net.parameters())
    rng = np.random.default_rng(0)
    x = ad.tensor(rng.normal(size=(32, 6)).astype(np.float32))
    y = ad.tensor((x.numpy() @ rng.normal(size=(6, 2))).astype(np.float32))
    values = []
    for _ in range(25):
        steps.zero_grad()
        value = LOSSES[loss](net(x), y)
        value.backward()
        steps.step()
        values.append(value.item())
    assert values[-1] < 0.95 * values[0]


@pytest.mark.feature("M6")
def test_the_gradient_of_a_weighted_sum_is_the_sum_of_gradients() -> None:
    rng = np.random.default_rng(0)
    w = ad.tensor(rng.normal(size=(5, 3)))
    x, y = ad.tensor(rng.normal(size=(4, 5))), ad.tensor(rng.normal(size=(4, 3)))
    parts = [
        lambda w: F.mse_loss(x @ w, y), lambda w: F.l1_loss(x @ w, y),
        lambda w: F.cross_entropy(x @ w, ad.tensor([0, 2, 1, 1])),
    ]  # fmt: skip
    shares = (0.3, 2.0, 1.7)
    whole = ad.grad(lambda w: sum(s * part(w) for s, part in zip(shares, parts, strict=True)))(w)
    alone = sum(s * ad.grad(part)(w).numpy() for s, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(whole.numpy(), alone, rtol=1e-10, atol=1e-12)


@pytest.mark.feature("M6")
def test_boxes_and_classes_are_learned_together() -> None:
    """Two heads on one body, trained on the sum: boxes overlap more, classes are found."""
    ad.manual_seed(0)
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 7, size=(200, 2))
    size = rng.integers(2, 6, size=(200, 2))
    kinds = rng.integers(0, 2, size=200)
    images = np.zeros((200, 12, 12), np.float32)
    for image, (top, left), (high, wide), kind in zip(images, corner, size, kinds, strict=True):
        image[top : top + high, left : left + wide] = 1
        if kind:
            image[top + 1 : top + high - 1, left + 1 : left + wide - 1] = 0.3
            image[top, left] = 0.3
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32) / 12
    body = nn.Sequential(nn.Flatten(), nn.Linear(144, 64), nn.ReLU())
    net = nn.Sequential(body, nn.Linear(64, 6))
    optimiser = ad.optim.Adam(net.parameters(), lr=0.01)
    x, y, z = ad.tensor(images), ad.tensor(boxes), ad.tensor(kinds)
    before = quality(net, x, boxes, kinds)
    for _ in range(60):
        optimiser.zero_grad()
        out = net(x)
        (5 * F.smooth_l1_loss(out[:, :4], y) + F.cross_entropy(out[:, 4:], z)).backward()
        optimiser.step()
    after = quality(net, x, boxes, kinds)
    assert after[0] > before[0] + 0.3 and after[1] > max(before[1], 0.9)


def quality(net: nn.Module, x: Any, boxes: Any, kinds: Any) -> tuple[float, float]:
    """Mean intersection over union, and the share of classes found."""
    out = net(x).detach().numpy()
    low = np.maximum(out[:, :2], boxes[:, :2])
    high = np.minimum(out[:, 2:4], boxes[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), 1)
    areas = [np.prod(np.clip(b[:, 2:4] - b[:, :2], 0, None), 1) for b in (out, boxes)]
    return float((both / (areas[0] + areas[1] - both)).mean()), float(
        (out[:, 4:].argmax(1) == kinds).mean()
    )
