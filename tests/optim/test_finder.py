"""The learning-rate finder leaves no trace, and stops at divergence, not at the first wiggle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn, optim
from adjoint.base.errors import AdjointError
from adjoint.optim.finder import lr_find


def setting(**options: Any) -> tuple[Any, Any, list[Any]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    ad.manual_seed(3)
    net = nn.Sequential(
        nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2)
    )
    batches = [(ad.tensor(x[i : i + 32]), ad.tensor(y[i : i + 32])) for i in range(0, 256, 32)]
    return net, optim.Adam(net.parameters(), **options), batches


def loss(net: Any, batch: Any) -> Any:
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def train(net: Any, optimiser: Any, batches: list[Any], epochs: int) -> float:
    for _ in range(epochs):
        for batch in batches:
            optimiser.zero_grad()
            value = loss(net, batch)
            value.backward()
            optimiser.step()
    return value.item()


def bits(net: Any, optimiser: Any) -> list[bytes]:
    found = [t.numpy().tobytes() for t in net.state_dict().values()]
    for state in optimiser.state_dict()["state"].values():
        found += [v.numpy().tobytes() for v in state.values()]
    return [
        *found,
        repr(optimiser.state_dict()["param_groups"]).encode(),
        ad.rand(3).numpy().tobytes(),
    ]


@pytest.mark.feature("S1")
@pytest.mark.parametrize("before", [0, 1])
def test_all_is_as_before_to_the_last_bit(before: int) -> None:
    net, optimiser, batches = setting(lr=optim.schedules.constant(0.01))
    twin, other, _ = setting(lr=optim.schedules.constant(0.01))
    ad.manual_seed(7)
    train(net, optimiser, batches, before) if before else None
    lr_find(net, optimiser, loss, batches, steps=30)
    mine = bits(net, optimiser)
    ad.manual_seed(7)
    train(twin, other, batches, before) if before else None
    assert mine == bits(twin, other)
    train(net, optimiser, batches, 1)
    assert all(m.training for m in net.modules())


@pytest.mark.feature("S1")
def test_the_suggestion_trains_and_the_run_ends_in_divergence() -> None:
    net, optimiser, batches = setting()
    found = lr_find(net, optimiser, loss, batches, steps=80, high=1e3)
    assert found.diverged and len(found.rates) < 80
    ratios = np.diff(np.log(found.rates))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)
    # a single batch may be worse than the one before without an end
    assert (np.diff(found.losses[:20]) > 0).any()
    assert 1e-4 < found.suggestion < 1.0
    assert found.suggestion <= found.rates[int(np.argmin(found.smoothed))] / 10 * (1 + 1e-9)
    for group in optimiser.param_groups:
        group["lr"] = found.suggestion
    assert train(net, optimiser, batches, 15) < 0.35


def test_mistakes() -> None:
    net, optimiser, batches = setting()
    for wrong, message in [
        (lambda: lr_find(net, optimiser, loss, batches, low=1.0, high=0.1), "low < high"),
        (lambda: lr_find(net, optimiser, loss, []), "no batches"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
