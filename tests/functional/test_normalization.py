"""Normalisations beyond their twins: what the statistics depend on, and hard numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
import adjoint.nn.functional as F
from adjoint import nn
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError


def array(*shape: int, dtype: str = "float64") -> Any:
    return np.random.default_rng(3).normal(size=shape).astype(dtype)


@pytest.mark.feature("N1")
def test_batch_norm_standardises_every_channel() -> None:
    x = ad.tensor(array(16, 5, 3) * 7 + 40)
    y = F.batch_norm(x, None, None, training=True, eps=1e-12)
    assert y.mean((0, 2)).abs().max() < 1e-10
    assert (y.var((0, 2), correction=0) - 1).abs().max() < 1e-10


@pytest.mark.feature("N1")
def test_the_batch_statistics_are_differentiated() -> None:
    """The sum over a standardised channel is constant, so its gradient is 0; were the statistics
    constants, it would not be."""
    x = ad.tensor(array(6, 3), requires_grad=True)
    F.batch_norm(x, None, None, training=True).sum().backward()
    assert x.grad.abs().max() < 1e-12


@pytest.mark.feature("N2")
def test_running_statistics_are_the_closed_form_average() -> None:
    layer = nn.BatchNorm1d(3, momentum=0.3).double()
    plain = nn.BatchNorm1d(3, momentum=None).double()
    batches = [array(5, 3) * (k + 1) + k for k in range(4)]
    for batch in batches:
        layer(ad.tensor(batch))
        plain(ad.tensor(batch))
    shares = 0.3 * 0.7 ** np.arange(4)[::-1]
    means = np.stack([b.mean(0) for b in batches])
    variances = np.stack([b.var(0, ddof=1) for b in batches])  # the divisor is n - 1
    np.testing.assert_allclose(layer.running_mean.numpy(), shares @ means, atol=1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), shares @ variances + 0.7**4, atol=1e-12)
    np.testing.assert_allclose(plain.running_mean.numpy(), means.mean(0), atol=1e-12)
    np.testing.assert_allclose(plain.running_var.numpy(), variances.mean(0), atol=1e-12)
    assert layer.num_batches_tracked.item() == 4


@pytest.mark.feature("N2")
def test_in_eval_examples_do_not_meet_and_nothing_moves() -> None:
    layer = nn.BatchNorm2d(3).double()
    layer(ad.tensor(array(4, 3, 2, 2)))
    layer.eval()
    before = {k: v.numpy().copy() for k, v in layer.state_dict().items()}
    x = ad.tensor(array(8, 3, 2, 2))
    assert (layer(x)[:1] == layer(x[:1])).all()
    assert all((v.numpy() == before[k]).all() for k, v in layer.state_dict().items())


@pytest.mark.feature("N2")
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_captured_step_moves_the_buffers(momentum: float | None) -> None:
    layer, twin = nn.BatchNorm1d(3, momentum=momentum), nn.BatchNorm1d(3, momentum=momentum)
    run = ad.jit(lambda x: layer(x))
    for k in range(4):
        x = ad.randn(6, 3) + k
        assert (run(x) - twin(x)).abs().max() < 1e-6
    assert run.recordings == 1
    for name, value in twin.state_dict().items():
        np.testing.assert_allclose(layer.state_dict()[name].numpy(), value.numpy(), atol=1e-6)
    layer.eval()
    before = layer.running_mean.clone()
    assert (run(x) == layer(x)).all() and (layer.running_mean == before).all()
    assert layer.num_batches_tracked.item() == 4


@pytest.mark.feature("N4", "N5")
def test_group_norm_in_its_limits() -> None:
    x = ad.tensor(array(3, 6, 4, 5))
    one = F.group_norm(x, 1)
    assert (one - F.layer_norm(x, (6, 4, 5))).abs().max() < 1e-12
    assert (F.group_norm(x, 6) - F.instance_norm(x)).abs().max() < 1e-12
    assert (F.group_norm(x, 2)[:1] == F.group_norm(x[:1], 2)).all()


@pytest.mark.feature("N6")
def test_rows_of_layer_norm_do_not_meet() -> None:
    x = ad.tensor(array(64, 33, dtype="float32"))
    whole = F.layer_norm(x, (33,))
    assert all((F.layer_norm(x[i : i + 1], (33,)) == whole[i]).all() for i in range(64))


@pytest.mark.feature("N7")
def test_rms_norm_keeps_no_scale_but_the_shift() -> None:
    x = ad.tensor(array(4, 9))
    same = F.rms_norm(x * 7.0, (9,), eps=0.0)
    assert (same - F.rms_norm(x, (9,), eps=0.0)).abs().max() < 1e-12
    assert (F.rms_norm(x + 3.0, (9,)) - F.rms_norm(x, (9,))).abs().max() > 0.1


@pytest.mark.feature("N6", "Z1")
def test_a_large_mean_costs_no_digits() -> None:
    """Two passes: at mean 1e4 and deviation 1, E[x^2] - E[x]^2 in float32 would keep one digit."""
    x = (array(3, 4096) + 1e4).astype(np.float32)
    exact = x.astype(np.float64) - x.astype(np.float64).mean(1, keepdims=True)
    exact /= exact.std(1, keepdims=True)
    got = F.layer_norm(ad.tensor(x), (4096,), eps=0.0).numpy()
    np.testing.assert_allclose(got, exact, atol=2e-3)
    assert np.abs(got.std(1) - 1).max() < 1e-4


@pytest.mark.feature("N6")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_accumulates_in_float32(dtype: str) -> None:
    values = array(3, 2048, dtype="float32") * 30
    x = ad.tensor(values).to(dtype).requires_grad_()
    t = torch.tensor(values).to(getattr(torch, dtype)).requires_grad_()
    weight, twin = ad.ones(2048), torch.ones(2048)  # float32 weights, as in mixed precision
    y, other = (
        F.layer_norm(x, (2048,), weight),
        torch.nn.functional.layer_norm(t.float(), (2048,), twin),
    )
    np.testing.assert_allclose(
        y.float().detach().numpy(), other.detach().numpy(), rtol=0.02, atol=0.02
    )
    (y * y * y).sum().backward()
    (other**3).sum().backward()
    assert x.grad.dtype.name == dtype
    np.testing.assert_allclose(x.grad.float().numpy(), t.grad.float().numpy(), rtol=0.05, atol=0.02)


@pytest.mark.feature("N1", "T16")
def test_second_derivative_agrees_with_pytorch() -> None:
    def penalty(x: Any, w: Any, package: Any, function: Any) -> Any:
        y = package.batch_norm(x, None, None, w, None, True)
        return function((y * y * y).sum(), x)

    x, w = array(5, 3), array(3) + 2
    a, u = ad.tensor(x, requires_grad=True), ad.tensor(w, requires_grad=True)
    b, v = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    mine = penalty(a, u, F, lambda s, x: ad.autograd.grad(s, x, create_graph=True)[0])
    other = penalty(
        b, v, torch.nn.functional, lambda s, x: torch.autograd.grad(s, x, create_graph=True)[0]
    )
    (mine * mine).sum().backward()
    (other * other).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-9)
    np.testing.assert_allclose(u.grad.numpy(), v.grad.numpy(), atol=1e-9)


@pytest.mark.feature("N1", "N2")
def test_batch_norm_in_half_precision() -> None:
    layer, wide = nn.BatchNorm1d(3).half(), nn.BatchNorm1d(3)
    x = ad.randn(64, 3) * 20 + 5
    for training in (True, False):
        layer.train(training)
        wide.train(training)
        y = layer(x.half())
        assert y.dtype is ad.float16 and (y.float() - wide(x)).abs().max() < 0.02
    assert (layer.running_var.float() - wide.running_var).abs().max() < 0.1


def test_sync_batch_norm_takes_over_state() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm1d(4)))
    before = net(ad.randn(5, 3)) is not None and dict(net.state_dict())
    made = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert isinstance(made[1], nn.SyncBatchNorm) and isinstance(made[2][0], nn.SyncBatchNorm)
    assert all((v == before[k]).all() for k, v in made.state_dict().items())


def test_wrong_arguments() -> None:
    x = ad.randn(4, 6, 5)
    with pytest.raises(ShapeError, match="does not end in the sizes"):
        F.layer_norm(x, (6,))
    with pytest.raises(ShapeError, match="weight must have the shape"):
        F.layer_norm(x, (5,), ad.ones(6))
    with pytest.raises(ShapeError, match="do not divide into 4 groups"):
        F.group_norm(x, 4)
    with pytest.raises(ArgumentError, match="do not divide"):
        nn.GroupNorm(4, 6)
    with pytest.raises(ShapeError, match="one value per channel"):
        nn.BatchNorm1d(6)(ad.randn(1, 6))
    with pytest.raises(ShapeError, match="one value per channel"):
        F.instance_norm(ad.randn(2, 3, 1))
    with pytest.raises(ShapeError, match="needs 4 dimensions"):
        nn.BatchNorm2d(6)(x)
    with pytest.raises(ArgumentError, match="needs running_mean and running_var"):
        F.batch_norm(x, None, None)
    with pytest.raises(DTypeError, match="a float dtype"):
        F.rms_norm(ad.arange(4), (4,))
    with pytest.raises(DTypeError, match="different dtypes"):
        F.layer_norm(x.double(), (5,), ad.ones(5))
    with pytest.raises(ArgumentError, match="eps cannot be negative"):
        F.layer_norm(x, (5,), eps=-1.0)
