"""Tests verify every op; without that, eager code takes shorter ways to the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.config import Flags
from adjoint.ir import graph, node
from adjoint.ops import pointwise


@pytest.fixture(params=[False, True], ids=["plain", "verified"], autouse=True)
def flags(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (node, graph, pointwise):
        monkeypatch.setattr(module, "FLAGS", Flags(verify=request.param))
    yield


PROGRAMS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "number": lambda m, a, b, c: a * 2.0 + 1.0 - 0.5 * a,
    "row": lambda m, a, b, c: (a + b) * b - a / (b * b + 1.0),
    "column and row": lambda m, a, b, c: c * b + c,
    "0-d tensor": lambda m, a, b, c: a * b.sum() - c[0, 0],
    "where": lambda m, a, b, c: m.where(a > b, a, c),
    "where number": lambda m, a, b, c: m.where(a > 0.0, a * b, 0.5),
    "maximum": lambda m, a, b, c: m.maximum(a, c) + m.minimum(b, a),
    "expand kept": lambda m, a, b, c: (e := b.expand(3, 4)) * e + a,
    "expand then reduce": lambda m, a, b, c: (b.expand(3, 4) * c.expand(3, 4)).sum(0),
    "expand then reshape": lambda m, a, b, c: c.expand(3, 4).reshape(2, 6) * 2.0,
    "reflected": lambda m, a, b, c: 1.0 - 2.0 / (a * a + 3.0),
    "compare": lambda m, a, b, c: (a <= b).double() * a + (a != c).double(),
}


@pytest.mark.feature("T15")
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients_equal_torch(name: str) -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=s) for s in ((3, 4), (4,), (3, 1))]
    ours = [ad.tensor(v, requires_grad=True) for v in values]
    oracle = [torch.tensor(v, requires_grad=True) for v in values]
    out, expected = PROGRAMS[name](ad, *ours), PROGRAMS[name](torch, *oracle)
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-13)
    out.square().sum().backward()
    expected.square().sum().backward()
    for a, t in zip(ours, oracle, strict=True):
        if t.grad is None:
            assert a.grad is None
        else:
            np.testing.assert_allclose(a.grad.numpy(), t.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.feature("T15")
def test_a_bias_is_not_copied_per_row() -> None:
    import tracemalloc

    x, bias = ad.ones(1000, 100), ad.ones(100, requires_grad=True)
    tracemalloc.start()
    y = x + bias
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * y.nbytes
    weights = np.random.default_rng(0).normal(size=(1000, 100)).astype(np.float32)
    (y * ad.tensor(weights)).sum().backward()
    np.testing.assert_allclose(bias.grad.numpy(), weights.sum(0), rtol=1e-5)


def test_an_unread_expand_survives_the_release_of_its_graph() -> None:
    x = ad.tensor([1.0, 2.0], requires_grad=True)
    wide = x.expand(3, 2)
    (wide * 2.0).sum().backward()
    assert wide.tolist() == [[1.0, 2.0]] * 3
