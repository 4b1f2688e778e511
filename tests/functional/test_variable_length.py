"""Padded and masked batches give what the sequences give one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint.tensors import functional as F

LENGTHS = [5, 1, 7, 3]
WIDTH = 4
RNG = np.random.default_rng(0)
SEQUENCES = [RNG.normal(size=(n, WIDTH)) for n in LENGTHS]
W, U, Q, K, V = (RNG.normal(size=(WIDTH, WIDTH)) * 0.5 for _ in range(5))


def padded() -> tuple[Any, Any]:
    longest = max(LENGTHS)
    batch = np.full((len(LENGTHS), longest, WIDTH), 7.5)  # what stands in the padding is no matter
    mask = np.zeros((len(LENGTHS), longest), bool)
    for i, s in enumerate(SEQUENCES):
        batch[i, : len(s)], mask[i, : len(s)] = s, True
    return ad.tensor(batch), ad.tensor(mask)


def parameters() -> list[Any]:
    return [ad.tensor(p, requires_grad=True) for p in (W, U, Q, K, V)]


def rnn(params: list[Any], x: Any, mask: Any) -> Any:
    """x: (batch, time, width); the state stands still where the mask is off."""
    w, u = params[:2]

    def step(h: Any, item: Any) -> Any:
        x_t, m_t = item
        new = ad.tanh(x_t @ w + h @ u)
        return ad.where(m_t[:, None], new, h), None

    start = ad.zeros(x.shape[0], WIDTH, dtype=ad.float64)
    return ad.scan(step, start, (x.transpose(0, 1), mask.transpose(0, 1)))[0]


def attention(params: list[Any], x: Any, mask: Any) -> Any:
    q, k, v = (x @ p for p in params[2:])
    scores = q @ k.transpose(1, 2) / WIDTH**0.5
    scores = ad.where(mask[:, None, :], scores, float("-inf"))
    out = F.softmax(scores, dim=-1) @ v
    return ad.where(mask[:, :, None], out, 0.0).sum(1)


def pooling(params: list[Any], x: Any, mask: Any) -> Any:
    hidden = ad.where(mask[:, :, None], x @ params[0], 0.0)
    return hidden.sum(1) / mask.sum(1, keepdim=True).double()


def loss(params: list[Any], x: Any, mask: Any) -> Any:
    target = ad.where(mask, 2, -100)
    each = F.cross_entropy((x @ params[1]).transpose(1, 2), target, reduction="none")
    return each.sum(1, keepdim=True)


@pytest.mark.feature("T26")
@pytest.mark.parametrize("model", [rnn, attention, pooling, loss], ids=lambda f: f.__name__)
def test_values_and_gradients_equal_one_by_one(model: Any) -> None:
    params = parameters()
    out = model(params, *padded())
    weights = ad.tensor(RNG.normal(size=out.shape))
    (out * weights).sum().backward()
    alone = parameters()
    rows = []
    for i, sequence in enumerate(SEQUENCES):
        mask = ad.ones(1, len(sequence), dtype=ad.bool)
        row = model(alone, ad.tensor(sequence)[None], mask)
        (row * weights[i : i + 1]).sum().backward()
        rows.append(row.detach().numpy())
    np.testing.assert_allclose(out.detach().numpy(), np.concatenate(rows), rtol=1e-6)
    for batched, single in zip(params, alone, strict=True):
        assert (batched.grad is None) == (single.grad is None)
        if single.grad is not None:
            np.testing.assert_allclose(batched.grad.numpy(), single.grad.numpy(), rtol=1e-6)
