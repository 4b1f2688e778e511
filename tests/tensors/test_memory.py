"""Nothing is kept that nobody can reach: live nodes and process memory stay flat."""

from __future__ import annotations

import gc

import numpy as np
import psutil
import pytest

import adjoint as ad
from adjoint.ir.node import Node


def live_nodes() -> int:
    gc.collect()
    return sum(type(o) is Node for o in gc.get_objects())  # isinstance would wake lazy objects


def test_with_gradients_off_nothing_is_retained() -> None:
    w = ad.ones(8, 8, requires_grad=True)
    x = ad.ones(4, 8)
    before = live_nodes()
    with ad.no_grad():
        for _ in range(50):
            x = ad.tanh(x @ w) + 0.1
    assert live_nodes() - before <= 2
    assert x.node.args == () and not x.requires_grad


def test_backward_frees_the_graph_while_the_loss_is_still_held() -> None:
    w = ad.ones(8, 8, requires_grad=True)
    before = live_nodes()
    y = ad.ones(4, 8)
    for _ in range(50):
        y = ad.tanh(y @ w)
    loss = y.sum()
    assert live_nodes() - before > 100
    loss.backward()
    del y
    assert live_nodes() - before <= 6


@pytest.mark.feature("T18")
@pytest.mark.parametrize("style", ["grad and no_grad", "detach both"])
def test_ten_thousand_steps_do_not_grow(style: str) -> None:
    rng = np.random.default_rng(0)
    x, y = ad.tensor(rng.normal(size=(16, 4))), ad.tensor(rng.normal(size=(16, 1)))
    w = ad.tensor(rng.normal(size=(4, 1)), requires_grad=True)
    process = psutil.Process()

    def steps(count: int) -> None:
        nonlocal w
        for _ in range(count):
            loss = ((x @ w - y) * (x @ w - y)).mean()
            loss.backward()
            if style == "detach both":
                w = (w.detach() - 0.01 * w.grad.detach()).requires_grad_()
            else:
                with ad.no_grad():
                    w -= 0.01 * w.grad
                w.grad = None

    steps(1000)
    nodes, memory = live_nodes(), process.memory_info().rss
    steps(10_000)
    assert live_nodes() - nodes <= 2
    assert process.memory_info().rss - memory < 1 << 20
