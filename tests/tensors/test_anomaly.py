"""The finder of infinities and NaNs: ten planted faults, each located; correct code is spared."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import NonFiniteError

FAULTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "log of zero": ("log", lambda: ad.log(ad.tensor([1.0, 0.0]))),
    "zero over zero": ("div", lambda: ad.zeros(2) / ad.zeros(2)),
    "exp overflows": ("exp", lambda: ad.exp(ad.tensor([1.0, 100.0]))),
    "root of a negative": ("sqrt", lambda: ad.sqrt(ad.tensor([-1.0]))),
    "half overflows": ("mul", lambda: ad.tensor([300.0], dtype=ad.float16) * 300.0),
    "cast overflows": ("cast", lambda: ad.tensor([1e30]).half()),
    "gradient of a root at 0": ("div", lambda: _backward(lambda x: ad.sqrt(x), [0.0])),
    "gradient of a norm at 0": ("div", lambda: _backward(lambda x: ad.sqrt((x * x).sum()), [0.0])),
    "a step too large": ("mul", lambda: _diverge()),
    "variance of one": ("div", lambda: ad.var(ad.tensor([3.0]))),
}  # fmt: skip


def _backward(f: Any, at: list[float]) -> None:
    f(ad.tensor(at, requires_grad=True)).sum().backward()


def _diverge() -> None:
    x = ad.tensor([10.0])
    for _ in range(100):
        x = x - x * x


@pytest.mark.feature("Z3", "T41")
@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_located(name: str) -> None:
    op, fault = FAULTS[name]
    with pytest.raises(NonFiniteError) as caught, ad.autograd.detect_anomaly():
        fault()
    text = str(caught.value)
    assert text.startswith(f"{op}: made "), text
    assert re.search(r"at tests/tensors/test_anomaly.py:\d+ in ", text), text
    assert "argument 0: " in text
    if name.startswith("gradient"):
        assert "in the gradient of sqrt, computed at tests/tensors/test_anomaly.py:" in text


@pytest.mark.feature("Z3")
def test_correct_code_and_data_that_was_never_finite_are_spared() -> None:
    with ad.autograd.detect_anomaly():
        x = ad.tensor(np.random.default_rng(0).normal(size=(4, 4)), requires_grad=True)
        ad.tanh(x @ x).square().mean().backward()
        masked = ad.where(ad.tensor([True, False]), ad.tensor([1.0, 2.0]), ad.tensor(float("-inf")))
        ad.exp(masked)
    assert np.isinf(ad.exp(ad.tensor([1000.0])).numpy()).all()


@pytest.mark.feature("Z3")
def test_overflow_facts() -> None:
    assert ad.exp(ad.tensor(100.0)).item() == float("inf")
    assert ad.exp(ad.tensor(100.0, dtype=ad.float64)).item() == pytest.approx(2.688e43, rel=1e-3)
    assert ad.exp(ad.tensor(12.0, dtype=ad.float16)).item() == float("inf")
    assert not ad.isnan(ad.exp(ad.tensor([100.0, 1e4]))).any()
