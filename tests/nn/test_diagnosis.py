"""``diagnose`` names what was planted, says nothing about sound models, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, DTypeError
from adjoint.nn import functional as F


class Net(nn.Module):
    """Convolutions with batch normalisation, a residual branch, dropout and a head."""

    def __init__(self, zero_branch: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 4, 1),
        )  # fmt: skip
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 36, 5)
        if zero_branch:
            nn.init.zero_last_(self.branch)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = F.relu(x + self.branch(x))
        return self.head(self.drop(x.flatten(1)))


def images(count: int = 24) -> Any:
    return ad.randn(count, 1, 6, 6)


def trained(steps: int, **options: Any) -> Net:
    ad.manual_seed(0)
    net = Net(**options)
    optimizer = ad.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(images()), ad.randint(0, 5, (24,))).backward()
        optimizer.step()
    return net


def scaled(net: Any, name: str, factor: float) -> None:
    buffer = net.get_submodule(name).running_var
    buffer.mul_(factor)


def shifted(net: Any, name: str, by: float) -> None:
    net.get_submodule(name).running_mean.add_(by)


@pytest.mark.parametrize("name", ["stem.1", "branch.1"])
@pytest.mark.parametrize(
    "plant",
    [
        lambda net, name: scaled(net, name, 100.0),
        lambda net, name: scaled(net, name, 0.01),
        lambda net, name: shifted(net, name, 10.0),
        lambda net, name: scaled(net, name, -1.0),
        lambda net, name: scaled(net, name, float("nan")),
        lambda net, name: net.get_submodule(name).running_mean[1:2].add_(50.0),  # one channel
    ],
    ids=["large", "small", "shifted", "negative", "nan", "one channel"],
)
def test_bad_running_statistics_are_named(plant: Callable[..., Any], name: str) -> None:
    net = trained(12)
    plant(net, name)
    found = nn.diagnose(net, images())
    assert found.about("running statistics") == [name]
    assert f"running statistics: {name}: " in str(found)


@pytest.mark.parametrize("steps", [0, 1, 5, 40])
@pytest.mark.parametrize("zero_branch", [False, True])
def test_sound_models_are_spared_at_every_age(steps: int, zero_branch: bool) -> None:
    net = trained(steps, zero_branch=zero_branch)
    batch = images(), ad.randint(0, 5, (24,))
    optimizer = ad.optim.Adam(net.parameters())
    found = nn.diagnose(net, batch, F.cross_entropy, optimizer=optimizer)
    assert str(found) == "Net: nothing found"
    assert nn.diagnose(net, images()).healthy


def test_other_sound_models_are_spared() -> None:
    ad.manual_seed(1)
    x = ad.randn(16, 5, 8)
    zero_head = nn.Sequential(nn.Flatten(), nn.Linear(40, 8), nn.Tanh(), nn.Linear(8, 3))
    nn.init.zeros_(zero_head[3].weight)
    regression = nn.Linear(8, 3)
    nn.init.zeros_(regression.weight)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for model in (zero_head, regression, encoder, nn.LSTM(8, 6, batch_first=True)):
        found = nn.diagnose(model, x)
        assert found.healthy, found


def test_nothing_is_changed() -> None:
    net = trained(3)
    net.stem.eval()  # a mode of its own
    (net(images()) ** 2).mean().backward()
    state = {k: v.numpy().tobytes() for k, v in net.state_dict().items()}
    grads = [p.grad for p in net.parameters()]
    modes = [m.training for m in net.modules()]
    net.stem[1].running_var.mul_(100.0)
    state["stem.1.running_var"] = net.stem[1].running_var.numpy().tobytes()
    batch = images()
    stream = ad.get_rng_state().tolist()
    assert not nn.diagnose(net, batch).healthy
    assert state == {k: v.numpy().tobytes() for k, v in net.state_dict().items()}
    assert all(a is p.grad for a, p in zip(grads, net.parameters(), strict=True))
    assert modes == [m.training for m in net.modules()]
    assert ad.get_rng_state().tolist() == stream
    assert not any(m._hooks or m._pre_hooks for m in net.modules())


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU) -> Any:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("act", [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_all_zero_and_constant_initialisation(act: Callable[[], nn.Module], value: float) -> None:
    net = mlp(4, 8, 8, 3, act=act)
    for p in net.parameters():
        nn.init.constant_(p, value)
    names = nn.diagnose(net, ad.randn(32, 4)).about("identical units")
    assert "0.weight" in names and "2.weight" in names
    assert nn.lint_init(net) == ["0.weight", "2.weight", "4.weight"]
    assert nn.lint_init(mlp(4, 8, 3)) == []


def test_one_constant_layer_among_good_ones() -> None:
    ad.manual_seed(0)
    net = mlp(4, 8, 8, 3)
    nn.init.constant_(net[2].weight, 0.3)
    nn.init.zeros_(net[2].bias)
    assert nn.lint_init(net) == ["2.weight"]
    assert nn.diagnose(net, ad.randn(32, 4)).about("identical units") == []  # it will recover
    nn.init.constant_(net[4].weight, 0.3)  # and now not: what reads the copies is equal, too
    assert "2.weight" in nn.diagnose(net, ad.randn(32, 4)).about("identical units")


class Forgetful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.cut = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.frozen(self.used(x)) + self.cut(x).detach()


def test_parameters_that_never_receive_a_gradient() -> None:
    names = ["unused.weight", "unused.bias", "cut.weight", "cut.bias"]
    assert nn.diagnose(Forgetful(), ad.randn(8, 4)).about("no gradient") == names
    with pytest.raises(ArgumentError, match="needs a gradient"):
        nn.diagnose(Forgetful().requires_grad_(False), ad.randn(8, 4))


def test_parameters_the_optimiser_does_not_hold() -> None:
    net = mlp(4, 8, 3)
    optimizer = ad.optim.SGD(net.parameters(), lr=0.1)
    net[2] = nn.Linear(8, 5)  # a new head, after the optimiser was built
    found = nn.diagnose(net, ad.randn(8, 4), optimizer=optimizer)
    assert found.about("not optimised") == ["2.weight", "2.bias"]


def test_dead_units_of_modules_and_of_functions() -> None:
    ad.manual_seed(0)
    net = trained(0)
    assert nn.diagnose(net, images()).about("dead units") == []
    net.stem[1].bias.data = net.stem[1].bias.detach() - 30.0
    found = nn.diagnose(net, images())
    assert found.about("dead units")[0] == "stem.2"

    class ByFunction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 6)
            nn.init.constant_(self.inner.bias, -50.0)

        def forward(self, x: Any) -> Any:
            return F.relu(self.inner(x)).sum(1) + x.sum(1)

    (finding,) = nn.diagnose(ByFunction(), ad.randn(16, 4))
    assert finding.kind == "dead units" and "100%" in finding.what
    assert "tests/nn/test_diagnosis.py:" in finding.what


def test_the_dead_unit_monitor_follows_a_training_run() -> None:
    ad.manual_seed(0)
    x, y = ad.randn(64, 4), ad.randn(64, 1)

    def run(lr: float) -> nn.DeadUnitMonitor:
        ad.manual_seed(0)
        net = mlp(4, 16, 16, 1)
        optimizer = ad.optim.SGD(net.parameters(), lr=lr)
        for _ in range(5):
            optimizer.zero_grad()
            F.mse_loss(net(x), y).backward()
            optimizer.step()
        with nn.DeadUnitMonitor(net) as monitor:
            for start in range(0, 64, 16):
                net(x[start : start + 16])
        assert not any(m._hooks for m in net.modules())
        return monitor

    good = run(0.05)
    assert good.dead == [] and set(good.shares) == {"1", "3"} and max(good.shares.values()) < 0.5
    assert run(30.0).dead  # the rate that killed them
    with pytest.raises(ArgumentError, match="no ReLU"):
        nn.DeadUnitMonitor(nn.Linear(2, 2))


@pytest.mark.feature("Z6")
def test_vanishing_and_exploding_gradients() -> None:
    ad.manual_seed(0)
    x = ad.randn(32, 16)
    deep = nn.diagnose(mlp(*[16] * 31, act=nn.Sigmoid), x)
    assert deep.about("vanishing gradient") == ["0.weight"]
    assert len(deep.gradients) == 30
    wide = mlp(*[16] * 31, act=nn.Identity)
    for p in wide.parameters():
        p.data = p.detach() * (0.0 if p.ndim == 1 else 6.0)
    wide[0].weight.data = wide[0].weight.detach() * 1e-8
    assert nn.diagnose(wide, x).about("exploding gradient") == ["0.weight"]
    blocks = [Residual() for _ in range(15)]
    assert nn.diagnose(nn.Sequential(nn.Linear(16, 16), *blocks), x).healthy


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))

    def forward(self, x: Any) -> Any:
        return x + 0.2 * self.inner(x)


class Logarithm(nn.Module):
    def forward(self, x: Any) -> Any:
        return ad.log(x - x.amax()) if self.where == "forward" else ad.sqrt(ad.relu(x))

    where = "forward"


@pytest.mark.feature("Z3")
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_the_first_infinity_is_named_with_its_module(where: str) -> None:
    ad.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), Logarithm(), nn.Linear(4, 2))
    net[1].where = where
    (finding,) = (f for f in nn.diagnose(net, ad.randn(8, 4)) if f.kind == "not finite")
    assert finding.where == ("1" if where == "forward" else "backward")
    assert finding.what.startswith("log " if where == "forward" else "div ")
    if where == "forward":
        assert "test_diagnosis.py:" in finding.what


def test_a_batch_of_one() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    assert nn.diagnose(net, ad.randn(1, 4)).about("small batch") == ["1"]
    assert nn.diagnose(net, ad.randn(8, 4)).healthy


def test_statistics_of_a_layer_somebody_else_wrote() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("moving_mean", ad.zeros(3))
            self.register_buffer("moving_var", ad.full((3,), 49.0))

        def forward(self, x: Any) -> Any:
            if self.training:
                return (x - x.mean(0)) / x.std(0)
            return (x - self.moving_mean) / self.moving_var.sqrt()

    ad.manual_seed(0)
    net = nn.Sequential(Own(), nn.Linear(3, 2))
    assert nn.diagnose(net, ad.randn(64, 3)).about("running statistics") == ["0"]
    assert nn.diagnose(net, 7 * ad.randn(64, 3)).healthy


def test_statistics_collected_anew() -> None:
    net = trained(12)
    good = net.stem[1].running_var.numpy().copy()
    scaled(net, "stem.1", 100.0)
    batches = [(images(), None) for _ in range(6)]
    modes = [m.training for m in net.modules()]
    nn.recompute_bn_stats(net, batches)  # warns of nothing
    assert modes == [m.training for m in net.modules()] and net.stem[1].momentum == 0.1
    np.testing.assert_allclose(net.stem[1].running_var.numpy(), good, rtol=0.5)
    assert nn.diagnose(net, images()).healthy
    stacked = ad.cat([b[0] for b in batches])
    inner = net.stem[0](stacked).detach().numpy()
    np.testing.assert_allclose(net.stem[1].running_mean.numpy(), inner.mean((0, 2, 3)), atol=1e-5)


def test_what_a_batch_may_be() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Bilinear(3, 4, 2)

        def forward(self, a: Any, b: Any) -> Any:
            return {"out": self.inner(a, b), "note": 1}

    a, b, y = ad.randn(5, 3), ad.randn(5, 4), ad.randint(0, 2, (5,))
    assert nn.diagnose(Two(), ((a, b), y)).healthy
    loss = lambda out, target: F.cross_entropy(out["out"], target)  # noqa: E731
    assert nn.diagnose(Two(), [(a, b), y], loss).healthy
    assert nn.diagnose(Two(), [(a, b)], lambda out: out["out"].sum()).gradients["inner.weight"] > 0
    with pytest.raises(ArgumentError, match="3 parts"):
        nn.diagnose(Two(), (a, b, y))
    with pytest.raises(DTypeError, match=r"nn\.Module"):
        nn.diagnose(a, a)
