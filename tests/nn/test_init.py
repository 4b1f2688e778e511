"""Initialisation: moments and bounds as in torch.nn.init, exact structure where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError
from adjoint.nn import init

DRAWN: list[tuple[str, dict[str, Any]]] = [
    ("uniform_", {"a": -2.0, "b": 3.0}),
    ("normal_", {"mean": 1.0, "std": 0.5}),
    ("trunc_normal_", {"std": 2.0, "a": -1.0, "b": 3.0}),
    ("xavier_uniform_", {"gain": 1.5}),
    ("xavier_normal_", {}),
    ("kaiming_uniform_", {"a": 5**0.5}),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {"nonlinearity": "tanh"}),
]


@pytest.mark.parametrize(("name", "options"), DRAWN)
def test_the_distribution_is_torchs(name: str, options: dict[str, Any]) -> None:
    shape = (64, 16, 3, 3)
    ad.manual_seed(0)
    torch.manual_seed(0)
    ours = ad.zeros(*shape, requires_grad=True)
    assert getattr(init, name)(ours, **options) is ours and ours.requires_grad
    theirs = getattr(torch.nn.init, name)(torch.zeros(shape), **options)
    a, b = ours.detach().numpy().reshape(-1), theirs.numpy().reshape(-1)
    assert scipy.stats.ks_2samp(a, b).pvalue > 1e-3
    np.testing.assert_allclose([a.min(), a.max(), a.std()], [b.min(), b.max(), b.std()], rtol=0.2)


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (4, 2, 3, 3)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    w = init.orthogonal_(ad.zeros(*shape), gain=2.0).numpy().reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4.0 * np.eye(len(product)), atol=1e-5)


@pytest.mark.feature("O19")
def test_exact_structures_and_gains() -> None:
    np.testing.assert_array_equal(init.eye_(ad.zeros(2, 3)).numpy(), np.eye(2, 3))
    for groups in (1, 2):
        ours = init.dirac_(ad.zeros(4, 2, 3, 3), groups).numpy()
        np.testing.assert_array_equal(ours, torch.nn.init.dirac_(torch.zeros(4, 2, 3, 3), groups))
    for name, param in [("relu", None), ("leaky_relu", 0.2), ("tanh", None), ("selu", None)]:
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)
    w = init.sparse_(ad.zeros(10, 6), 0.3).numpy()
    np.testing.assert_array_equal((w == 0).sum(0), [3] * 6)
    assert init.ones_(ad.zeros(2)).tolist() == [1, 1] and init.constant_(
        ad.ones(2), 3
    ).tolist() == [3, 3]


def test_mistakes() -> None:
    for wrong, message in [
        (lambda: init.xavier_uniform_(ad.zeros(3)), "at least 2 dimensions"),
        (lambda: init.calculate_gain("rleu"), "did you mean 'relu'"),
        (lambda: init.kaiming_normal_(ad.zeros(2, 2), mode="fan"), "fan_in"),
        (lambda: init.trunc_normal_(ad.zeros(50), a=50.0, b=60.0), "almost nothing"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
