"""Averages of weights: EMA, and torch's swa_utils."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn, optim
from adjoint.base.errors import AdjointError
from adjoint.optim import swa_utils


def nets(seed: int = 0) -> tuple[Any, Any]:
    ours = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)
    )
    copy(theirs, ours)
    return ours, theirs


def copy(theirs: Any, ours: Any) -> None:
    ours.load_state_dict({k: ad.tensor(v.numpy()) for k, v in theirs.state_dict().items()})


def same(ours: Any, theirs: Any, tolerance: float = 1e-6) -> None:
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for key, value in other.items():
        np.testing.assert_allclose(mine[key].numpy(), value.numpy(), rtol=tolerance, atol=tolerance)


KINDS: list[dict[str, Any]] = [
    {}, {"use_buffers": True}, {"avg_fn": "get_ema_avg_fn"},
    {"multi_avg_fn": "get_ema_multi_avg_fn"},
    {"multi_avg_fn": "get_swa_multi_avg_fn"}, {"avg_fn": "get_swa_avg_fn"},
]  # fmt: skip


def averaged(m: Any, net: Any, kind: dict[str, Any]) -> Any:
    space = m.optim.swa_utils
    options = {
        k: (getattr(space, v)(0.9) if "ema" in v else getattr(space, v)())
        if isinstance(v, str) else v
        for k, v in kind.items()
    }  # fmt: skip
    return space.AveragedModel(net, **options)


@pytest.mark.feature("E3")
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_averaged_models_are_torchs(kind: dict[str, Any]) -> None:
    torch.manual_seed(0)
    ours, theirs = nets()
    mine, other = averaged(ad, ours, kind), averaged(torch, theirs, kind)
    rng = np.random.default_rng(0)
    for _ in range(5):
        with torch.no_grad():
            for p in [*theirs.parameters(), *theirs.buffers()]:
                if p.is_floating_point():
                    p += torch.tensor(rng.normal(size=tuple(p.shape)), dtype=p.dtype)
                else:
                    p += 1
        copy(theirs, ours)
        mine.update_parameters(ours)
        other.update_parameters(theirs)
        same(mine, other)
    x = rng.normal(size=(8, 4)).astype(np.float32)
    got, want = mine(ad.tensor(x)), other(torch.tensor(x))
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.feature("E3")
def test_running_statistics_have_to_be_collected_anew() -> None:
    torch.manual_seed(0)
    ours, theirs = nets()
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(8, 4)).astype(np.float32) for _ in range(4)]
    ours.eval(), theirs.eval()
    swa_utils.update_bn([(ad.tensor(b), None) for b in batches], ours)
    torch.optim.swa_utils.update_bn([torch.tensor(b) for b in batches], theirs)
    same(ours, theirs, 1e-5)
    assert not ours.training and ours[1].momentum == 0.1
    plain = nn.Linear(2, 2)
    swa_utils.update_bn([], plain)
    assert plain.training


@pytest.mark.feature("E3")
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 5])
def test_swalr(strategy: str, epochs: int) -> None:
    found = []
    for m in (ad, torch):
        opt = m.optim.SGD([m.ones(1).requires_grad_()], lr=1.0)
        decay = m.optim.lr_scheduler.ExponentialLR(opt, 0.9)
        swa = m.optim.swa_utils.SWALR(opt, 0.05, anneal_epochs=epochs, anneal_strategy=strategy)
        seen = []
        for t in range(15):
            opt.step()
            (swa if t > 5 else decay).step()
            seen.append(opt.param_groups[0]["lr"])
        found.append(seen)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


@pytest.mark.feature("E3")
def test_inside_jit_and_the_first_call_copies() -> None:
    found = []
    for wrap in (lambda f: f, ad.jit):
        ad.manual_seed(0)
        net = nn.Linear(3, 2)
        average = swa_utils.AveragedModel(net, avg_fn=swa_utils.get_ema_avg_fn(0.8))
        ema = optim.EMA(net, decay=0.9, warm_up=True)
        optimiser = optim.SGD(net.parameters(), lr=0.1)

        def step(net: Any = net, a: Any = average, e: Any = ema, o: Any = optimiser) -> None:
            o.zero_grad()
            (net(ad.ones(1, 3)) ** 2).sum().backward()
            o.step()
            a.update_parameters(net)
            e.update()

        run = wrap(step)
        run()
        first = [p.detach().numpy().tobytes() for p in average.module.parameters()]
        assert first == [p.detach().numpy().tobytes() for p in net.parameters()]
        for _ in range(4):
            run()
        assert average.n_averaged.item() == ema.updates.item() == 5
        found.append([*average.state_dict().values(), *ema.averages])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


def test_ema_is_its_formula_and_can_be_swapped_in() -> None:
    p = ad.tensor([0.0, 4.0], dtype=ad.float64, requires_grad=True)
    ema = optim.EMA([p], decay=0.75)
    want = np.array([0.0, 4.0])
    for value in ([1.0, 1.0], [2.0, 0.0], [5.0, 5.0]):
        p.data = ad.tensor(value, dtype=ad.float64)
        ema.update()
        want = 0.75 * want + 0.25 * np.asarray(value)
    np.testing.assert_allclose(ema.averages[0].numpy(), want, rtol=1e-15)
    with pytest.raises(RuntimeError), ema.applied():
        np.testing.assert_array_equal(p.detach().numpy(), ema.averages[0].numpy())
        raise RuntimeError
    assert p.tolist() == [5.0, 5.0] and p.requires_grad
    fresh = optim.EMA([p], decay=0.75)
    fresh.load_state_dict(ema.state_dict())
    ema.update(), fresh.update()
    assert fresh.averages[0].tolist() == ema.averages[0].tolist() and fresh.updates.item() == 4
    fresh.copy_to()
    assert p.tolist() == fresh.averages[0].tolist()


def test_mistakes() -> None:
    net = nn.Linear(2, 2)
    for wrong, message in [
        (lambda: optim.EMA(net, decay=2), r"\[0, 1\]"),
        (lambda: optim.EMA([1, 2]), "a module or a list of tensors"),
        (lambda: swa_utils.get_ema_avg_fn(-1), r"\[0, 1\]"),
        (lambda: swa_utils.AveragedModel(3), "a module"),
        (lambda: swa_utils.AveragedModel(net, avg_fn=max, multi_avg_fn=max), "one of the two"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
