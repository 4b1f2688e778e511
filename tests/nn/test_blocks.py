"""Layers of layers, learned activations, and relatives of the convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, ShapeError
from adjoint.nn import functional as F

Array = np.ndarray[Any, Any]


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def like(ours: nn.Module, theirs: torch.nn.Module) -> None:
    """Give ``ours`` the values of ``theirs``; names must be the same."""
    theirs.double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.double().load_state_dict(state)


def agree(ours: Any, theirs: Any, *arrays: Array) -> None:
    xs = [ad.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    out, twin = ours(*xs), theirs(*ts)
    np.testing.assert_allclose(out.detach().numpy(), twin.detach().numpy(), rtol=1e-9, atol=1e-9)
    weight = floats(*twin.shape, seed=9)
    (out * ad.tensor(weight)).sum().backward()
    (twin * torch.tensor(weight)).sum().backward()
    for x, t in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-8, atol=1e-9)
    if isinstance(ours, nn.Module):
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        for mine, other in pairs:
            np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-8, atol=1e-9)


class TorchConv(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(inputs, outputs, bias=False, **options)
        self.bn = torch.nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.bn(self.conv(x)))


class TorchInception(torch.nn.Module):
    """The block of torchvision's GoogLeNet, written out."""

    def __init__(self, i: int, a: int, b: int, c: int, d: int, e: int, f: int) -> None:
        super().__init__()
        self.branch1 = TorchConv(i, a, kernel_size=1)
        self.branch2 = torch.nn.Sequential(
            TorchConv(i, b, kernel_size=1), TorchConv(b, c, kernel_size=3, padding=1)
        )
        self.branch3 = torch.nn.Sequential(
            TorchConv(i, d, kernel_size=1), TorchConv(d, e, kernel_size=3, padding=1)
        )
        self.branch4 = torch.nn.Sequential(
            torch.nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
            TorchConv(i, f, kernel_size=1),
        )

    def forward(self, x: Any) -> Any:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


@pytest.mark.feature("M11")
def test_inception_is_torchvisions() -> None:
    sizes = (5, 2, 3, 4, 2, 3, 2)
    ours, theirs = nn.Inception(*sizes), TorchInception(*sizes)
    like(ours, theirs)
    agree(ours, theirs, floats(2, 5, 6, 7))
    assert nn.Inception(*sizes, kernel5=5).branch3[1].conv.kernel_size == (5, 5)


class TorchBottleneck(torch.nn.Module):
    def __init__(self, inputs: int, planes: int, stride: int, downsample: Any) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(planes)
        self.conv2 = torch.nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(planes)
        self.conv3 = torch.nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = torch.nn.BatchNorm2d(4 * planes)
        self.downsample = downsample

    def forward(self, x: Any) -> Any:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(out)))))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


def test_bottleneck_is_torchvisions() -> None:
    ours, theirs = nn.Bottleneck(8, 2), TorchBottleneck(8, 2, 1, None)
    like(ours, theirs)
    agree(ours, theirs, floats(2, 8, 5, 4))
    shortcut = nn.Sequential(nn.Conv2d(3, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1, 2, bias=False), torch.nn.BatchNorm2d(8))
    ours, theirs = nn.Bottleneck(3, 2, 2, shortcut), TorchBottleneck(3, 2, 2, twin)
    like(ours, theirs)
    agree(ours, theirs, floats(2, 3, 5, 6))
    with pytest.raises(ShapeError, match="shortcut"):
        nn.Bottleneck(3, 2)(ad.ones(1, 3, 4, 4))


@pytest.mark.feature("M8")
def test_residual_adds_its_input() -> None:
    branch = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    block = nn.Residual(branch)
    x = ad.tensor(floats(4))
    whole, part = ad.jacrev(block)(x), ad.jacrev(branch)(x)
    whole, part = whole.detach().numpy(), part.detach().numpy()
    np.testing.assert_allclose(whole, np.eye(4) + part, atol=1e-12)
    nn.init.zeros_(branch[2].weight)
    nn.init.zeros_(branch[2].bias)
    assert (block(x) == x).all()
    wide = nn.Residual(nn.Linear(4, 6), nn.Linear(4, 6), F.relu)
    assert (wide(ad.ones(2, 4)) >= 0).all() and "branch.weight" in wide.state_dict()
    with pytest.raises(ShapeError, match="changes the shape"):
        nn.Residual(nn.Linear(4, 6))(ad.ones(2, 4))


@pytest.mark.feature("M12")
def test_siamese_branches_share_their_parameters() -> None:
    net, head = nn.Linear(3, 2).double(), nn.PairwiseDistance()
    both = nn.Siamese(net, head)
    assert len(list(both.parameters())) == 2
    x1, x2 = ad.tensor(floats(4, 3)), ad.tensor(floats(4, 3, seed=1))
    both(x1, x2).sum().backward()
    total = net.weight.grad.numpy()
    parts = []
    for first in (True, False):
        net.zero_grad()
        a, b = net(x1), net(x2)
        head(a if first else a.detach(), b.detach() if first else b).sum().backward()
        parts.append(net.weight.grad.numpy())
    np.testing.assert_allclose(total, parts[0] + parts[1], atol=1e-7)
    a, b = nn.Siamese(net)(x1, x2)
    assert (a == net(x1)).all() and (b == net(x2)).all()
    with pytest.raises(ArgumentError, match="one tensor for each branch"):
        both()


@pytest.mark.feature("M18")
def test_a_linear_bottleneck_has_the_rank_of_its_width() -> None:
    layer = nn.LinearBottleneck(20, 3, 15).double()
    matrix = ad.jacrev(layer)(ad.zeros(20, dtype=ad.float64)).detach().numpy()
    assert matrix.shape == (15, 20) and np.linalg.matrix_rank(matrix) == 3
    assert list(layer.state_dict()) == ["down.weight", "up.weight", "up.bias"]


def test_parallel_branches() -> None:
    x = ad.randn(2, 3)
    a, b = nn.Linear(3, 4), nn.Linear(3, 4)
    assert (nn.Parallel(a, b)(x) == ad.cat([a(x), b(x)], 1)).all()
    assert (nn.Parallel(a, b, join="sum")(x) == a(x) + b(x)).all()
    with pytest.raises(ArgumentError):
        nn.Parallel(a, join="product")


@pytest.mark.feature("M17")
def test_local_layers_have_weights_for_every_place() -> None:
    ad.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    local = nn.LocallyConnected2d(3, 4, (6, 5), 3, padding=1)
    assert local.weight.numel() == 6 * 5 * conv.weight.numel()
    assert np.abs(local.weight.detach().numpy()).max() <= 1 / np.sqrt(27)
    with ad.no_grad():
        local.weight.copy_(conv.weight.expand(6, 5, 4, 3, 3, 3))
        local.bias.copy_(conv.bias.reshape(4, 1, 1).expand(4, 6, 5))
    x = ad.randn(2, 3, 6, 5)
    np.testing.assert_allclose(local(x).detach().numpy(), conv(x).detach().numpy(), atol=1e-6)
    line = nn.LocallyConnected1d(2, 3, 7, 3, bias=False, stride=2)
    assert line(ad.randn(4, 2, 7)).shape == (4, 3, 3) and list(line.state_dict()) == ["weight"]
    with pytest.raises(ShapeError, match="one size of images"):
        local(ad.randn(2, 3, 6, 6))
    with pytest.raises(ArgumentError, match="does not fit"):
        nn.LocallyConnected1d(2, 3, 2, 3)


def test_separable_convolution_is_two_of_pytorchs() -> None:
    ours = nn.SeparableConv2d(3, 5, 3, 2, 1, depth_multiplier=2)
    theirs = torch.nn.Sequential()
    theirs.add_module("depthwise", torch.nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False))
    theirs.add_module("pointwise", torch.nn.Conv2d(6, 5, 1))
    like(ours, theirs)
    agree(ours, theirs, floats(2, 3, 6, 5))
    assert nn.SeparableConv1d(3, 5, 3)(ad.ones(2, 3, 7)).shape == (2, 5, 5)


@pytest.mark.feature("M10")
def test_coordinates_as_channels() -> None:
    x = floats(2, 3, 4, 5)
    rows, columns = np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 5), indexing="ij")
    maps = np.broadcast_to(np.stack([rows, columns, np.hypot(rows, columns)]), (2, 3, 4, 5))
    wide = nn.AddCoordinates(radius=True)(ad.tensor(x)).numpy()
    np.testing.assert_allclose(wide, np.concatenate([x, maps], 1), atol=1e-12)
    ours = nn.CoordConv2d(3, 4, 3, padding=1, radius=True).double()
    assert ours.weight.shape == (4, 6, 3, 3)

    def theirs(t: Any) -> Any:
        both = torch.cat([t, torch.tensor(maps.copy())], 1)
        weight, bias = (torch.tensor(p.detach().numpy()) for p in (ours.weight, ours.bias))
        return torch.nn.functional.conv2d(both, weight, bias, padding=1)

    agree(lambda t: ours(t), theirs, x)
    assert ours(ad.tensor(x[0])).shape == (4, 4, 5)


@pytest.mark.slow
@pytest.mark.feature("M10")
def test_only_with_coordinates_a_place_is_learned_where_none_was_seen() -> None:
    """One lit pixel of 16 x 16, its place wanted; the lower right quarter is never shown."""
    size = 16
    images = np.eye(size * size, dtype=np.float32).reshape(-1, 1, size, size)
    places = np.stack(np.divmod(np.arange(size * size), size), 1).astype(np.float32)
    seen = ~((places[:, 0] >= 8) & (places[:, 1] >= 8))
    errors = []
    for layer in (nn.CoordConv2d, nn.Conv2d):
        ad.manual_seed(0)
        net = nn.Sequential(
            layer(1, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 2),
        )  # fmt: skip
        error = place_error(net, images, places / 8 - 1, seen)
        errors.append(error * 8)
    assert errors[0] <= 0.5 and errors[1] > 5


def place_error(net: nn.Module, images: Array, places: Array, seen: Array) -> float:
    """The mean distance where nothing was shown, after training elsewhere."""
    steps = 600
    optimiser = ad.optim.Adam(net.parameters(), lr=ad.optim.schedules.cosine(0.02, steps))
    x, y = ad.tensor(images[seen]), ad.tensor(places[seen])

    @ad.jit
    def step() -> Any:
        optimiser.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimiser.step()
        return loss.detach()

    for _ in range(steps):
        step()
    found = net(ad.tensor(images[~seen])).detach().numpy()
    return float(np.linalg.norm(found - places[~seen], axis=1).mean())


@pytest.mark.feature("O10", "O11")
def test_learned_and_mixed_activations() -> None:
    x = ad.tensor(floats(5, 4))
    spline = nn.Spline(count=9).double()
    np.testing.assert_allclose(
        spline(ad.linspace(-3, 3, 9).double()).detach().numpy(),
        np.maximum(np.linspace(-3, 3, 9), 0), atol=1e-12,
    )  # fmt: skip
    start = nn.Rational(dtype=ad.float64)
    leaky = np.where(x.numpy() > 0, x.numpy(), 0.01 * x.numpy())
    assert np.abs(start(x).detach().numpy() - leaky).max() < 0.15
    tanh = nn.Tanh()
    mixed = nn.MixedActivation([tanh, spline, tanh, ad.sin])
    assert list(mixed.state_dict()) == ["learned.1.weight"]
    out = mixed(x).detach().numpy()
    for unit, function in enumerate([ad.tanh, spline, ad.tanh, ad.sin]):
        np.testing.assert_allclose(out[:, unit], function(x)[:, unit].detach().numpy(), rtol=1e-7)
    mixed(x).sum().backward()
    assert spline.weight.grad is not None
    slope = ad.grad(lambda m: m(x).sum())(mixed)
    np.testing.assert_allclose(
        next(iter(slope.parameters())).numpy(), spline.weight.grad.numpy(), atol=1e-12
    )
    with pytest.raises(ArgumentError):
        nn.Spline(1)


def test_dropout_that_is_compensated_at_inference() -> None:
    ad.manual_seed(0)
    x = ad.ones(100, 200)
    for layer in (nn.Dropout(0.3, compensate="inference"),
                  nn.Dropout1d(0.3, compensate="inference")):  # fmt: skip
        shaped = x if isinstance(layer, nn.Dropout) else x.unsqueeze(-1)
        out = layer(shaped).numpy()
        assert set(np.unique(out)) == {0.0, 1.0} and abs(out.mean() - 0.7) < 0.01
        layer.eval()
        np.testing.assert_allclose(layer(shaped).numpy(), 0.7, rtol=1e-6)
    with pytest.raises(ArgumentError, match="compensate"):
        nn.Dropout(0.3, compensate="never")
    whole = nn.FeatureAlphaDropout(0.4)(ad.randn(50, 60, 5)).numpy()
    scale = (0.6 * (1 + 0.4 * 1.7580993408473766**2)) ** -0.5
    low = np.isclose(whole, -1.7580993408473766 * 0.6 * scale, rtol=1e-4).sum(2)
    assert set(np.unique(low)) == {0, 5} and abs((low == 5).mean() - 0.4) < 0.05
