"""Weights computed from other parameters: weight norm, spectral norm, and any other way."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations as torch_ways

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, ShapeError
from adjoint.nn.utils import parametrizations, parametrize

LAYERS = [
    ("Linear", (3, 4), (2, 3)), ("Conv2d", (3, 4, 2), (1, 3, 4, 5)),
    ("ConvTranspose1d", (3, 5, 2), (2, 3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "shape"), LAYERS)
@pytest.mark.parametrize(
    ("way", "options"),
    [("weight_norm", {}), ("weight_norm", {"dim": None}), ("spectral_norm", {}),
     ("spectral_norm", {"n_power_iterations": 3})],
)  # fmt: skip
@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("older", [False, True], ids=["new", "older"])
@pytest.mark.filterwarnings("ignore:.*norm. is deprecated")
def test_weight_and_spectral_norm(
    name: str,
    arguments: Any,
    shape: Any,
    way: str,
    options: Any,
    captured: bool,
    older: bool,
) -> None:
    """Outputs, gradients and the vectors of the power method, twice while training, then not."""
    theirs = getattr(torch.nn.utils if older else torch_ways, way)(
        getattr(torch.nn, name)(*arguments).double(), **options
    )
    ours = getattr(nn.utils if older else parametrizations, way)(
        getattr(nn, name)(*arguments).double(), **options
    )
    assert repr(ours) == re.sub(r"_(\w+Norm)", r"\1", repr(theirs))
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    values = np.random.default_rng(0).normal(size=shape)

    def step(x: ad.Tensor) -> ad.Tensor:
        ours.zero_grad()
        out = ours(x)
        (out * out).sum().backward()
        return out.detach()

    run = ad.jit(step) if captured else step
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        theirs.zero_grad()
        out, twin = run(ad.tensor(values)), theirs(torch.tensor(values))
        (twin * twin).sum().backward()
        np.testing.assert_allclose(out.numpy(), twin.detach().numpy(), atol=1e-10)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), atol=1e-10)
        for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
            np.testing.assert_allclose(mine.numpy(), other.numpy(), atol=1e-10)


def test_what_the_norms_promise() -> None:
    spectral = nn.utils.spectral_norm(nn.Linear(6, 5), n_power_iterations=50)
    spectral(ad.zeros(1, 6))
    assert np.linalg.norm(spectral.weight.detach().numpy(), 2) == pytest.approx(1, abs=1e-5)
    plain = nn.Linear(6, 5)
    before = plain.weight.detach().clone()
    normed = nn.utils.weight_norm(plain)
    assert (normed.weight - before).abs().max() < 1e-6  # it starts as it was
    with ad.no_grad():
        normed.weight_v.mul_(3.0)  # the direction alone counts
    assert (normed.weight - before).abs().max() < 1e-6
    nn.utils.remove_weight_norm(normed)
    nn.utils.remove_spectral_norm(spectral)
    for layer in (normed, spectral):
        assert type(layer) is nn.Linear and list(layer.state_dict()) == ["bias", "weight"]
        assert not layer._pre_hooks
    assert (normed.weight - before).abs().max() < 1e-6
    assert np.linalg.norm(spectral.weight.detach().numpy(), 2) == pytest.approx(1, abs=1e-5)


class Positive(nn.Module):
    def forward(self, x: ad.Tensor) -> ad.Tensor:
        return x.exp()

    def right_inverse(self, value: ad.Tensor) -> ad.Tensor:
        return value.log()


def test_a_parametrisation_of_ones_own() -> None:
    layer = nn.Linear(3, 2)
    with ad.no_grad():
        layer.weight.copy_(ad.ones(2, 3) * 2.0)
    parametrize.register_parametrization(layer, "weight", Positive())
    assert parametrize.is_parametrized(layer, "weight") and not parametrize.is_parametrized(
        layer, "bias"
    )
    assert (layer.weight - 2.0).abs().max() < 1e-6
    assert [n for n, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    layer.weight = ad.ones(2, 3) * 5.0  # type: ignore[assignment]
    assert (layer.weight - 5.0).abs().max() < 1e-5
    twin = copy.deepcopy(layer)
    assert (twin.weight == layer.weight).all()
    grads = ad.grad(lambda m: m(ad.ones(1, 3)).sum())(layer)
    np.testing.assert_allclose(
        grads.parametrizations.weight.original.detach().numpy(), 5.0, rtol=1e-5
    )
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and (layer.weight - 5.0).abs().max() < 1e-5
    assert list(layer.state_dict()) == ["bias", "weight"] and layer.weight.requires_grad


class Sum(nn.Module):
    def forward(self, x: ad.Tensor) -> ad.Tensor:
        return x.sum()


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="weight"):
        parametrize.register_parametrization(nn.Linear(2, 2), "wight", Positive())
    with pytest.raises(ShapeError, match="keep shape and dtype"):
        parametrize.register_parametrization(nn.Linear(2, 2), "weight", Sum())
    with pytest.raises(ArgumentError, match="not computed from weight_g"):
        nn.utils.remove_weight_norm(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="must be positive"):
        nn.utils.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
    with pytest.raises(ArgumentError, match="there is no one original"):
        layer = parametrizations.weight_norm(nn.Linear(2, 2))
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
