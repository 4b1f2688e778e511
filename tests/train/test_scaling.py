"""Loss scaling: clipping comes after unscaling, steps that overflow are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, GradError, RecordingError
from adjoint.train import GradScaler


def made(dtype: Any = ad.float32) -> tuple[Any, Any, Any]:
    ad.manual_seed(0)
    net = nn.Linear(4, 3).to(dtype)
    return net, ad.optim.SGD(net.parameters(), lr=0.1), ad.randn(8, 4).to(dtype)


def test_the_clipped_step_is_that_without_a_scaler() -> None:
    net, optimizer, x = made()
    twin, other, _ = made()
    scaler = GradScaler()
    for _ in range(3):
        optimizer.zero_grad()
        scaler.scale((net(x) ** 2).mean()).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        other.zero_grad()
        (twin(x) ** 2).mean().backward()
        assert norm.item() == pytest.approx(
            nn.utils.clip_grad_norm_(twin.parameters(), 0.5).item(), rel=1e-6
        )
        other.step()
    np.testing.assert_allclose(net.weight.tolist(), twin.weight.tolist(), rtol=1e-6)


@pytest.mark.parametrize("clip", ["clip_grad_norm_", "clip_grad_value_"])
def test_clipping_what_is_still_scaled_is_refused(clip: str) -> None:
    net, optimizer, x = made()
    stranger, _, _ = made()
    scaler = GradScaler()
    (stranger(x) ** 2).mean().backward()
    for _ in range(2):
        optimizer.zero_grad()
        scaler.scale((net(x) ** 2).mean()).backward()
        with pytest.raises(GradError, match=r"(?s)loss scale.*unscale_\(optimizer\)"):
            getattr(nn.utils, clip)(net.parameters(), 1.0)
        getattr(nn.utils, clip)(stranger.parameters(), 1.0)  # not its own
        scaler.unscale_(optimizer)
        getattr(nn.utils, clip)(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    off = GradScaler(enabled=False)
    optimizer.zero_grad()
    off.scale((net(x) ** 2).mean()).backward()
    off.unscale_(optimizer)
    getattr(nn.utils, clip)(net.parameters(), 1.0)
    off.step(optimizer)
    off.update()
    assert off.get_scale() == 1.0 and not off.is_enabled()


def test_small_gradients_survive_and_overflow_is_left_out() -> None:
    net, optimizer, x = made(ad.float16)
    (net(x).mean() * 1e-7).backward()
    assert not net.weight.grad.numpy().any()  # too small for float16
    optimizer.zero_grad()
    scaler = GradScaler(init_scale=2.0**10)
    scaler.scale(net(x).mean() * 1e-3).backward()
    assert net.weight.grad.numpy().any()
    before = net.weight.tolist()
    optimizer.zero_grad()
    scaler.scale(net(x).mean() * 60000.0).backward()
    assert scaler.step(optimizer) is None and scaler.skipped == 1
    scaler.update()
    assert net.weight.tolist() == before and scaler.get_scale() == 2.0**9


def test_the_scale_is_pytorchs() -> None:
    scaler = GradScaler(init_scale=8.0, growth_interval=3)
    twin = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    found = []
    for m, s in ((ad, scaler), (torch, twin)):
        p = m.ones(2, requires_grad=True)
        opt = m.optim.SGD([p], lr=0.1)
        scales = []
        for k in range(9):
            opt.zero_grad()
            s.scale((p * (float("inf") if k == 4 else 1.0)).sum()).backward()
            s.step(opt)
            s.update()
            scales.append(s.get_scale())
        found.append((scales, p.tolist()))
    assert found[0] == found[1]
    again = GradScaler()
    again.load_state_dict(twin.state_dict())
    assert again.state_dict() == scaler.state_dict()


def test_wrong_use() -> None:
    net, optimizer, x = made()
    scaler = GradScaler()
    with pytest.raises(ArgumentError, match="no step"):
        scaler.update()
    scaler.scale(net(x).mean()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(ArgumentError, match="unscaled already"):
        scaler.unscale_(optimizer)
    with pytest.raises(RecordingError, match="bfloat16"):
        ad.jit(lambda x: scaler.scale(net(x).mean()))(x)
    with pytest.raises(ArgumentError, match="backoff_factor"):
        GradScaler(backoff_factor=2.0)
    scaler.update(32.0)
    assert scaler.get_scale() == 32.0
