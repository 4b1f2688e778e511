"""Lazy code computes what eager code does, later, and not what nobody asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn, ops
from adjoint.compile.interpreted import Interpreted


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ops whose meaning was asked for."""
    found: list[str] = []
    monkeypatch.setattr("adjoint.compile.program.program_of", Interpreted)
    for row in ops.TABLE.values():
        monkeypatch.setattr(row, "ref", counted(row.name, row.ref, found))
    from adjoint.tensors import lazy

    lazy._program.cache_clear()
    yield found
    lazy._program.cache_clear()


def counted(name: str, ref: Callable[..., Any], found: list[str]) -> Callable[..., Any]:
    def count(*args: Any, **params: Any) -> Any:
        found.append(name)
        return ref(*args, **params)

    return count


@pytest.mark.feature("T31")
def test_nothing_runs_until_a_value_is_read(ran: list[str]) -> None:
    x = ad.ones(3, 3)
    ran.clear()
    with ad.lazy():
        y = (x @ x).sin() + 1
        z = y.exp()
        unused = x.cos().sum()
        assert ran == []
        assert z.shape == (3, 3)
        np.testing.assert_allclose(z.numpy(), np.exp(np.sin(3.0) + 1), rtol=1e-6)
        assert ran.count("dot") == 1
        assert "cos" not in ran
    before = list(ran)
    y.numpy()  # was kept, because somebody held it
    assert ran == before
    assert "cos" not in ran
    unused.item()  # also after the block
    assert "cos" in ran


@pytest.mark.feature("T31")
def test_what_nobody_holds_is_never_computed(ran: list[str]) -> None:
    with ad.lazy():
        x = ad.ones(2) * 2
        (x.tan() + 1).sum()
        x.numpy()
    assert "sin" not in ran


def train(lazily: bool, optimiser: str) -> list[bytes]:
    ad.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
    chosen = getattr(ad.optim, optimiser)(net.parameters(), lr=0.05)
    x = ad.randn(6, 4)

    def step() -> Any:
        chosen.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        chosen.step()
        return loss

    losses = []
    for _ in range(3):
        if lazily:
            with ad.lazy():
                losses.append(step())
        else:
            losses.append(step())
    tensors = [*losses, *net.state_dict().values()]
    return [t.detach().numpy() for t in tensors]


@pytest.mark.feature("T31")
@pytest.mark.parametrize("optimiser", ["SGD", "Adam"])
def test_training_is_that_of_eager_code(optimiser: str) -> None:
    for lazily, plain in zip(train(True, optimiser), train(False, optimiser), strict=True):
        np.testing.assert_allclose(lazily, plain, rtol=2e-5, atol=1e-6)


def test_values_decide_what_happens() -> None:
    with ad.lazy():
        x = ad.arange(4.0)
        for _ in range(10):
            if x.sum() > 20:
                break
            x = x * 2
    assert x.sum().item() == 24


def test_gradients_after_the_block() -> None:
    x = ad.tensor([1.0, 2.0], requires_grad=True)
    with ad.lazy():
        y = (x.sin() * x).sum()
    y.backward()
    expected = np.sin([1.0, 2.0]) + np.cos([1.0, 2.0]) * [1.0, 2.0]
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)


def test_with_other_tools_inside() -> None:
    x = ad.randn(3, 4)

    def function(x: Any) -> Any:
        return ad.checkpoint(lambda y: y.sin().exp(), x).sum()

    expected = ad.grad(function)(x).numpy()
    with ad.lazy():
        found = ad.grad(function)(x)
        rows = ad.vmap(ad.grad(function))(x)
        captured = ad.jit(lambda x: x * 2 + 1)(x * 1)
        with ad.no_grad():
            values, places = x.sort(dim=1)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(rows.detach().numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(captured.numpy(), x.numpy() * 2 + 1, rtol=1e-6)
    np.testing.assert_array_equal(values.numpy(), np.sort(x.numpy(), 1))
    np.testing.assert_array_equal(places.numpy(), np.argsort(x.numpy(), 1))


def test_assignments_and_views() -> None:
    with ad.lazy():
        x = ad.zeros(2, 3)
        row = x[1]
        row += 2
        x[0, 1] = 5
        x.mul_(3)
    np.testing.assert_array_equal(x.numpy(), [[0, 15, 0], [6, 6, 6]])


def test_inside_a_capture_it_changes_nothing() -> None:
    @ad.jit
    def step(x: Any) -> Any:
        with ad.lazy():
            return x * 2

    assert step(ad.ones(2)).tolist() == [2, 2]


def test_equal_programs_are_compiled_once() -> None:
    from adjoint.tensors import lazy

    lazy._program.cache_clear()
    for i in range(4):
        with ad.lazy():
            assert (ad.full((2,), i) * 3 + 1).tolist() == [3 * i + 1] * 2
    assert lazy._program.cache_info().misses <= 2


def test_an_error_inside_ends_it() -> None:
    from adjoint.ir.node import state

    with pytest.raises(ad.AdjointError), ad.lazy():
        ad.ones(2) @ ad.ones(3)
    assert state.divert is None
