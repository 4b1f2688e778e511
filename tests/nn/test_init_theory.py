"""What initialisation is for: moments through depth, data-driven scaling, nets that grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import AdjointError
from adjoint.nn import growing, init


@pytest.mark.feature("I1", "I4", "I15")
def test_variances_and_fans() -> None:
    """Fans of a convolution count its area; Xavier has a uniform form too."""
    ad.manual_seed(0)
    shape = (60, 20, 5, 5)
    fan_in, fan_out = 20 * 25, 60 * 25
    assert init.fans(ad.zeros(*shape)) == (fan_in, fan_out)
    assert init.fans(nn.Conv2d(12, 6, 3, groups=3).weight) == (12 * 9 // 3, 6 * 9)
    count = np.prod(shape)
    for fill, variance in (
        (init.xavier_normal_, 2 / (fan_in + fan_out)),
        (init.xavier_uniform_, 2 / (fan_in + fan_out)),
        (lambda w: init.kaiming_normal_(w, nonlinearity="relu"), 2 / fan_in),
        (lambda w: init.kaiming_uniform_(w, nonlinearity="relu"), 2 / fan_in),
        (lambda w: init.normal_(w, 0.0, 0.3), 0.09),
    ):  # fmt: skip
        w = fill(ad.zeros(*shape, dtype=ad.float64)).numpy()
        assert abs(w.mean()) < 3 * (variance / count) ** 0.5
        kurtosis = (w**4).mean() / (w**2).mean() ** 2
        error = variance * ((kurtosis - 1) / count) ** 0.5
        assert w.var() == pytest.approx(variance, abs=3 * error)
    assert init.calculate_gain("tanh") == 5 / 3 and init.calculate_gain("relu") == 2**0.5


@pytest.mark.feature("I5")
def test_moments_after_a_kaiming_layer() -> None:
    """Pre-activations have mean 0 and variance 2. After ReLU the second moment is 1; mean and
    variance are 1/sqrt(pi) and 1 - 1/pi: neither 0 and 1, nor n s^2 / 4 for the variance."""
    rng = np.random.default_rng(0)
    ad.manual_seed(0)
    layer = ad.zeros(4000, 500, dtype=ad.float64)
    init.kaiming_normal_(layer, nonlinearity="relu")
    x = rng.normal(size=(20, 500))
    x /= np.sqrt((x * x).mean(1, keepdims=True))
    pre = (ad.tensor(x) @ layer.T).numpy()
    post = np.maximum(pre, 0)
    assert pre.mean() == pytest.approx(0, abs=0.02) and pre.var() == pytest.approx(2, abs=0.05)
    assert post.mean() == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)
    assert (post**2).mean() == pytest.approx(1.0, abs=0.03)
    assert post.var() == pytest.approx(1 - 1 / np.pi, abs=0.03)
    # the mean of ReLU of N(0, s^2) is s / sqrt(2 pi), its second moment s^2 / 2
    s = pre.std()
    assert post.mean() == pytest.approx(s / np.sqrt(2 * np.pi), rel=0.02)
    assert (post**2).mean() == pytest.approx(s * s / 2, rel=0.03)


@pytest.mark.feature("I10", "I11")
def test_norms_grow_geometrically_with_depth() -> None:
    """A straight line only on a log axis: a factor sqrt(c / 2) per layer for variance c / n."""
    rng = np.random.default_rng(0)
    for c in (1.0, 2.0, 3.0):
        h = ad.tensor(rng.normal(size=(1, 768)))
        sizes = []
        for seed in range(12):
            ad.manual_seed(seed)
            w = init.normal_(ad.zeros(768, 768, dtype=ad.float64), 0.0, (c / 768) ** 0.5)
            h = ad.relu(h @ w)
            sizes.append(np.log(np.linalg.norm(h.numpy())))
        slope = np.polyfit(np.arange(12), sizes, 1)[0]
        assert slope == pytest.approx(0.5 * np.log(c / 2), abs=0.04)


@pytest.mark.feature("I6")
def test_orthogonal_matrices_keep_the_covariance() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 16))
    h = ad.tensor(x)
    for seed in range(50):
        ad.manual_seed(seed)
        h = h @ init.orthogonal_(ad.zeros(16, 16, dtype=ad.float64)).T
    np.testing.assert_allclose(np.cov(h.numpy().T), np.eye(16), atol=0.12)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(np.cov(h.numpy().T)), np.linalg.eigvalsh(np.cov(x.T)), rtol=1e-9
    )


def filled(value: float | None, steps: int = 100) -> tuple[Any, Any]:
    """A net of two hidden layers whose weights all start at ``value``, after some steps."""
    ad.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    if value is not None:
        for p in net.parameters():
            init.constant_(p, value)
    optimiser = ad.optim.SGD(net.parameters(), lr=0.5)
    x, y = ad.randn(32, 4), ad.randint(0, 3, (32,))
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net, x


@pytest.mark.feature("I2")
def test_weights_that_start_at_zero_do_not_train() -> None:
    """A stationary point of all weights, in general a saddle; the last bias still learns."""
    net, _ = filled(0.0)
    moved = [name for name, p in net.named_parameters() if (p.detach().numpy() != 0).any()]
    assert moved == ["4.bias"]
    assert all((p.grad.numpy() == 0).all() for p in net.parameters() if p.ndim > 1)


@pytest.mark.feature("I3")
def test_weights_that_start_equal_keep_units_identical() -> None:
    """Equal weights are a subspace that descent does not leave, stationary or not."""
    for value, equal in ((0.1, True), (None, False)):
        net, x = filled(value)
        hidden = net[:2](x).detach().numpy()
        spread = np.abs(hidden - hidden[:, :1]).max()
        assert (spread < 1e-12) if equal else (spread > 1e-2)
    assert np.abs(filled(0.1)[0][0].weight.detach().numpy() - 0.1).max() > 1e-3


class Recurrent(nn.Module):
    """A hand-made recurrent net: the same two layers at every time step."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.keep = nn.Linear(5, 32), nn.Linear(32, 32)
        self.leave = nn.Linear(32, 3)

    def forward(self, x: Any) -> Any:
        h = ad.zeros(x.shape[0], 32)
        for t in range(x.shape[1]):
            h = ad.tanh(self.enter(x[:, t]) + self.keep(h))
        return self.leave(h)


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ELU(), nn.Flatten(),
        nn.Linear(8 * 3 * 3, 10),
    )  # fmt: skip


def deep() -> nn.Module:
    layers: list[nn.Module] = []
    for kind in (nn.Tanh, nn.ReLU, nn.Sigmoid, nn.Softplus, nn.SiLU):
        layers += [nn.Linear(20, 20), kind(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(20, 4))


@pytest.mark.feature("I9")
@pytest.mark.parametrize(
    ("make", "shape"),
    [(deep, (64, 20)), (convolutions, (16, 3, 12, 12)), (Recurrent, (32, 7, 5))],
)
def test_one_call_brings_every_layer_to_variance_one(make: Any, shape: tuple[int, ...]) -> None:
    ad.manual_seed(0)
    net = make()
    found = init.lsuv_(net, ad.randn(*shape), tolerance=0.02)
    assert len(found) == sum(p.ndim > 1 for p in net.parameters()) and net.training
    for name, variance in found.items():
        assert variance == pytest.approx(1.0, abs=0.05), name
    outputs: dict[str, list[Any]] = {}
    for name, module in net.named_modules():
        if name in found:
            module.register_forward_hook(
                lambda m, a, out, name=name: outputs.setdefault(name, []).append(out)
            )
    ad.manual_seed(0)
    make()  # the same numbers were drawn before the batch
    net.eval()(ad.randn(*shape))
    for name, parts in outputs.items():
        whole = np.concatenate([p.detach().numpy().reshape(-1) for p in parts])
        assert whole.var() == pytest.approx(1.0, abs=0.05), name


@pytest.mark.feature("I7")
def test_a_branch_that_starts_at_zero_makes_the_block_the_identity() -> None:
    x = ad.randn(4, 6)
    for branch in (
        nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)),
        nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)),
    ):
        assert init.zero_last_(branch) is branch
        out = x + branch(x)
        assert out.detach().numpy().tobytes() == x.numpy().tobytes()
        (out * out).sum().backward()
        assert any((p.grad.numpy() != 0).any() for p in branch.parameters() if p.grad is not None)


@pytest.mark.feature("I8")
def test_wider_layers_compute_the_same() -> None:
    ad.manual_seed(0)
    x = ad.randn(5, 4, dtype=ad.float64)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    before = net(x).detach().numpy()
    source = growing.wider_(net[0], net[2], 15)
    assert net[0].weight.shape == (15, 4) and net[2].weight.shape == (3, 15)
    assert source.tolist()[:6] == list(range(6)) and net[0].out_features == net[2].in_features == 15
    np.testing.assert_allclose(net(x).detach().numpy(), before, atol=1e-12)
    images = ad.randn(2, 3, 8, 8, dtype=ad.float64)
    conv = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(5 * 16, 2),
    ).double()  # fmt: skip
    conv(images)  # running statistics that are not trivial
    conv.eval()
    before = conv(images).detach().numpy()
    growing.wider_(conv[0], conv[3], 9, norm=conv[1])
    growing.wider_(conv[3], conv[6], 8)
    np.testing.assert_allclose(conv(images).detach().numpy(), before, atol=1e-12)
    conv.train()(images).sum().backward()
    assert all(p.grad is not None for p in conv.parameters())


@pytest.mark.feature("I8")
def test_a_deeper_net_computes_the_same() -> None:
    ad.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(20):
        layers += [nn.Linear(8, 8), nn.ReLU()]
    x = ad.randn(5, 8)
    before = nn.Sequential(*layers, nn.Linear(8, 3))
    out = before(x).detach().numpy()
    grown: list[nn.Module] = []
    for layer in layers[::2]:
        grown += [layer, nn.ReLU()]
        for _ in range(2):
            grown += [growing.doing_nothing(layer), nn.ReLU()]
    after = nn.Sequential(*grown, before[-1])
    assert len(list(after.parameters())) == 2 * 61
    np.testing.assert_allclose(after(x).detach().numpy(), out, atol=1e-6)
    conv = nn.Conv2d(3, 4, (3, 5), padding=1, bias=False)
    images = ad.randn(2, 3, 8, 8)
    same = growing.doing_nothing(conv)
    np.testing.assert_array_equal(
        same(ad.relu(conv(images))).detach().numpy(), ad.relu(conv(images)).detach().numpy()
    )


def test_mistakes() -> None:
    for wrong, message in [
        (lambda: init.lsuv_(nn.ReLU(), ad.ones(2)), "no weights"),
        (lambda: init.lsuv_(nn.Linear(2, 1, bias=False), ad.zeros(4, 2)), "constant"),
        (lambda: init.zero_last_(nn.ReLU()), "no parameters"),
        (lambda: growing.wider_(nn.Linear(2, 3), nn.Linear(3, 2), 2), "cannot widen"),
        (lambda: growing.wider_(nn.Linear(2, 3), nn.Linear(4, 2), 5), "cannot widen"),
        (lambda: growing.doing_nothing(nn.Conv1d(2, 2, 4)), "no middle"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
