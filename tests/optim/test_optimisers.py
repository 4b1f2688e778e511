"""What all optimisers share: groups, closures, parameters without gradients, mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError


@pytest.mark.feature("P16")
def test_groups_have_options_of_their_own() -> None:
    found = []
    for m in (ad, torch):
        a, b = (m.tensor([1.0, 2.0]).requires_grad_() for _ in range(2))
        optimiser = m.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
        optimiser.add_param_group({"params": (c := m.tensor([3.0]).requires_grad_()), "lr": 1.0})
        ((a * a).sum() + (b * b).sum() + (c * c).sum()).backward()
        optimiser.step()
        found.append([p.tolist() for p in (a, b, c)])
    np.testing.assert_allclose(
        found[0][0] + found[0][1] + found[0][2], found[1][0] + found[1][1] + found[1][2]
    )


def test_parameters_without_gradient_are_left_alone_and_closures_run() -> None:
    a, b = (ad.tensor([1.0], requires_grad=True) for _ in range(2))
    optimiser = ad.optim.SGD([a, b], lr=0.1)

    def closure() -> Any:
        optimiser.zero_grad()
        loss = (a * 3.0).sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 3.0
    assert b.item() == 1.0 and a.item() == pytest.approx(0.7)
    optimiser.zero_grad(set_to_none=False)
    assert a.grad.item() == 0.0
    optimiser.zero_grad()
    assert a.grad is None


def test_mistakes() -> None:
    x = ad.tensor([1.0], requires_grad=True)
    for wrong, message in [
        (lambda: ad.optim.SGD([]), "no parameters"),
        (lambda: ad.optim.SGD(x), "list of tensors"),
        (lambda: ad.optim.SGD([x, x]), "named twice"),
        (lambda: ad.optim.SGD([x * 2.0]), "result of a computation"),
        (lambda: ad.optim.SGD([x], lr=-1.0), "lr must be at least 0"),
        (lambda: ad.optim.Adam([x], betas=(1.0, 0.9)), r"betas\[0\] must be in"),
        (lambda: ad.optim.SGD([x], nesterov=True), "nesterov needs momentum"),
        (lambda: ad.optim.SGD([{"params": [x], "learning_rate": 1}]), "learning_rate"),
        (lambda: ad.optim.Adam([3.0]), "float"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
