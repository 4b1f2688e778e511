"""scan: the same numbers as a Python loop, forward, backward, second order, batched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import AdjointError, ShapeError

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 3)) * 0.5
XS = RNG.normal(size=(6, 3))


def cell(w: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        h, count = carry
        h = ad.tanh(w @ h + x)
        return (h, count + 1), {"sum": h.sum(), "h": h}

    return step


def scanned(w: Any, xs: Any) -> Any:
    start = (ad.zeros(3, dtype=ad.float64), ad.tensor(0))
    return ad.scan(cell(w), start, xs)


def looped(w: Any, xs: Any) -> Any:
    carry: Any = (ad.zeros(3, dtype=ad.float64), ad.tensor(0))
    ys = []
    for i in range(xs.shape[0]):
        carry, y = cell(w)(carry, xs[i])
        ys.append(y)
    return carry, {k: ad.stack([y[k] for y in ys]) for k in ys[0]}


def loss(run: Any) -> Any:
    def f(w: Any, xs: Any) -> Any:
        carry, ys = run(w, xs)
        return (carry[0] * carry[0]).sum() + (ys["sum"] * ys["sum"]).sum() + ys["h"][2].sum()

    return f


@pytest.mark.feature("T26")
def test_values_gradients_and_second_order() -> None:
    w, xs = ad.tensor(W), ad.tensor(XS)
    (h, count), ys = scanned(w, xs)
    (h2, _), ys2 = looped(w, xs)
    assert count.item() == 6
    np.testing.assert_allclose(h.numpy(), h2.numpy(), rtol=1e-14)
    np.testing.assert_allclose(ys["sum"].numpy(), ys2["sum"].numpy(), rtol=1e-14)
    for i in (0, 1):
        ours = ad.grad(loss(scanned), i)(w, xs).numpy()
        np.testing.assert_allclose(ours, ad.grad(loss(looped), i)(w, xs).numpy(), rtol=1e-12)
    ours = ad.hessian(loss(scanned))(w, xs).numpy()
    np.testing.assert_allclose(ours, ad.hessian(loss(looped))(w, xs).numpy(), rtol=1e-9, atol=1e-12)
    tangent = ad.jvp(loss(scanned), (w, xs), (w, xs))[1].item()
    assert tangent == pytest.approx(ad.jvp(loss(looped), (w, xs), (w, xs))[1].item(), rel=1e-12)


def test_closures_get_gradients_by_backward() -> None:
    grads = []
    for run in (scanned, looped):
        w, xs = ad.tensor(W, requires_grad=True), ad.tensor(XS, requires_grad=True)
        loss(run)(w, xs).backward()
        grads.append((w.grad.numpy(), xs.grad.numpy()))
    for ours, oracle in zip(*grads, strict=True):
        np.testing.assert_allclose(ours, oracle, rtol=1e-12)


def test_batched_in_every_combination() -> None:
    ws, batch = ad.tensor(np.stack([W, W * 0.5])), ad.tensor(np.stack([XS, XS * 2]))
    for axes in ((0, 0), (0, None), (None, 0)):
        args = (ws if axes[0] == 0 else ws[0], batch if axes[1] == 0 else batch[0])
        ours = ad.vmap(ad.grad(loss(scanned)), in_axes=axes)(*args)
        for i in range(2):
            single = [a[i] if x == 0 else a for a, x in zip(args, axes, strict=True)]
            oracle = ad.grad(loss(looped))(*single).numpy()
            np.testing.assert_allclose(ours[i].numpy(), oracle, rtol=1e-12)


def test_reverse_length_and_no_steps() -> None:
    xs = ad.arange(4).double()
    carry, ys = ad.scan(
        lambda c, x: (c * 2 + x, c), ad.tensor(0.0, dtype=ad.float64), xs, reverse=True
    )
    assert carry.item() == ((((0 * 2 + 3) * 2 + 2) * 2 + 1) * 2 + 0)
    assert ys.tolist() == [17.0, 8.0, 3.0, 0.0]
    carry, ys = ad.scan(lambda c, _: (c * 2.0, None), ad.tensor(1.0), length=10)
    assert carry.item() == 1024.0 and ys is None
    carry, ys = ad.scan(lambda c, x: (c + x, c), ad.tensor(1.0), ad.zeros(0))
    assert carry.item() == 1.0 and ys.shape == (0,)


def test_mistakes() -> None:
    xs = ad.zeros(4)
    with pytest.raises(ShapeError, match="carry must keep its shape"):
        ad.scan(lambda c, x: (ad.stack([c, c]), c), ad.tensor(1.0), xs)
    with pytest.raises(AdjointError, match="pair"):
        ad.scan(lambda c, x: c, ad.tensor(1.0), xs)
    with pytest.raises(AdjointError, match="length"):
        ad.scan(lambda c, x: (c, x), ad.tensor(1.0), xs, length=5)
