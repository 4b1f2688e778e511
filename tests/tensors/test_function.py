"""Functions with a forward and a backward of the user's own, under every transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError, GradError, ShapeError


class Mixed(ad.autograd.Function):
    """Three inputs (one of integers, one unused), two outputs."""

    @staticmethod
    def forward(ctx: Any, x: Any, count: Any, unused: Any) -> Any:
        ctx.save_for_backward(x, count)
        return x * x * count, x.sum()

    @staticmethod
    def backward(ctx: Any, ct: Any, ct_sum: Any) -> Any:
        x, count = ctx.saved_tensors
        return ct * 2.0 * x * count + ct_sum, None, None


class Cube(ad.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        (x,) = ctx.saved_tensors
        return ct * 3.0 * x * x


def inputs() -> tuple[ad.Tensor, ad.Tensor, ad.Tensor]:
    x = ad.tensor([0.5, -1.0, 2.0], dtype=ad.float64)
    return x, ad.tensor([1, 2, 3]), ad.tensor([9.0], dtype=ad.float64)


@pytest.mark.feature("T3")
def test_several_inputs_and_outputs_match_finite_differences() -> None:
    x, count, unused = inputs()

    def f(x: ad.Tensor) -> ad.Tensor:
        a, b = Mixed.apply(x, count, unused)
        return (a * ad.tensor([1.0, 2.0, 3.0], dtype=ad.float64)).sum() + b * b

    ad.testing.gradcheck(f, [x])
    gradient = ad.grad(f)(x).numpy()
    eps = 1e-6
    for i in range(3):
        step = np.zeros(3)
        step[i] = eps
        up, down = f(ad.tensor(x.numpy() + step)), f(ad.tensor(x.numpy() - step))
        assert gradient[i] == pytest.approx((up.item() - down.item()) / (2 * eps), rel=1e-6)
    unused.requires_grad_()
    x.requires_grad_()
    a, _ = Mixed.apply(x, count, unused)
    a.sum().backward()
    assert unused.grad is None
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy() * count.numpy())


@pytest.mark.feature("T3", "T23")
def test_it_works_under_every_transform() -> None:
    x = ad.tensor(np.random.default_rng(0).normal(size=(4, 3)))
    f = lambda r: Cube.apply(r).sum()  # noqa: E731
    plain = lambda r: (r * r * r).sum()  # noqa: E731
    for make in (
        ad.grad,
        ad.hessian,
        ad.jacrev,
        ad.jacfwd,
        lambda g: ad.grad(lambda r: ad.grad(g)(r).sum()),
    ):
        np.testing.assert_allclose(make(f)(x[0]).numpy(), make(plain)(x[0]).numpy(), rtol=1e-12)
        batched = ad.vmap(make(f))(x).numpy()
        np.testing.assert_allclose(batched, ad.vmap(make(plain))(x).numpy(), rtol=1e-12)
    tangent = ad.jvp(f, (x[0],), (x[1],))[1]
    assert tangent.item() == pytest.approx(ad.jvp(plain, (x[0],), (x[1],))[1].item())


@pytest.mark.feature("T3")
def test_the_users_backward_is_used_and_not_the_true_derivative() -> None:
    class StraightThrough(ad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return (x > 0).double()

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            return ct * 7.0

    x = ad.tensor([[0.5, -1.0]], dtype=ad.float64, requires_grad=True)
    StraightThrough.apply(x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[7.0, 7.0]])
    through = ad.grad(lambda v: ad.vmap(StraightThrough.apply)(v).sum())(x.detach())
    np.testing.assert_array_equal(through.numpy(), [[7.0, 7.0]])


@pytest.mark.feature("T32")
def test_a_layer_with_hand_written_backward_beside_derived_ones() -> None:
    """Caffe's style: out = relu(x W^T), gradients written out, state in NumPy buffers."""

    class HandLinear(ad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return x @ w.T

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            x, w = ctx.saved_tensors
            return ct @ w, ct.T @ x

    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
    data = rng.normal(size=(7, 3))
    grads = []
    for layer in (HandLinear.apply, lambda x, w: x @ w.T):
        w1 = ad.tensor(first, requires_grad=True)
        w2 = ad.tensor(second, requires_grad=True)
        hidden = ad.tanh(layer(ad.tensor(data), w1))
        (hidden @ w2.T).square().sum().backward()
        grads.append((w1.grad.numpy(), w2.grad.numpy()))
    for ours, derived in zip(*grads, strict=True):
        np.testing.assert_allclose(ours, derived, rtol=1e-6)


def test_double_backward_matches_torch() -> None:
    class TorchCube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            (x,) = ctx.saved_tensors
            return ct * 3.0 * x * x

    found = []
    for lib, cube in ((ad, Cube), (torch, TorchCube)):
        x = lib.tensor([0.5, -1.5], dtype=lib.float64, requires_grad=True)
        (g,) = lib.autograd.grad(cube.apply(x).sum(), x, create_graph=True)
        (h,) = lib.autograd.grad((g * g).sum(), x)
        found.append(h.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_mistakes_in_a_function_are_named() -> None:
    class WrongCount(Cube):
        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            return ct, ct

    class WrongShape(Cube):
        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            return ct.sum()

    class NotTensor(Cube):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return 3

    x = ad.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradError, match=r"WrongCount.backward: returned 2 gradients for 1"):
        WrongCount.apply(x).sum().backward()
    with pytest.raises(ShapeError, match=r"WrongShape.backward"):
        WrongShape.apply(x).sum().backward()
    with pytest.raises(AdjointError, match=r"NotTensor.forward"):
        NotTensor.apply(x)
