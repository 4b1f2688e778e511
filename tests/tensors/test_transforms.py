"""grad, vjp, jvp, vmap, Jacobians, Hessians: against torch.func and each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError, GradError, RecordingError, ShapeError

FUNCTIONS: list[tuple[str, Callable[[Any, Any], Any], tuple[int, ...]]] = [
    ("square", lambda m, x: x * x, (4,)),
    ("tanh", lambda m, x: m.tanh(x), (3, 2)),
    ("exp sum", lambda m, x: m.exp(x).sum(0), (3, 2)),
    ("sin cos", lambda m, x: m.sin(x) * m.cos(x), (5,)),
    ("softmax-like", lambda m, x: m.exp(x) / m.exp(x).sum(), (4,)),
    ("outer", lambda m, x: x.reshape(3, 1) * x.reshape(1, 3), (3,)),
    ("matmul", lambda m, x: x @ x.T, (2, 3)),
    ("stack", lambda m, x: m.stack([x[0], x[1] * x[2], m.sin(x[0])]), (3,)),
    ("sqrt", lambda m, x: m.sqrt(x * x + 1.0), (4,)),
    ("log", lambda m, x: m.log(x * x + 0.5), (4,)),
    ("division", lambda m, x: x[:2] / (x[2:] * x[2:] + 1.0), (4,)),
    ("cumsum", lambda m, x: m.cumsum(x, 0) * x, (4,)),
    ("max", lambda m, x: m.amax(x, 1), (3, 4)),
    ("where", lambda m, x: m.where(x > 0, x * x, m.sin(x)), (5,)),
    ("narrow", lambda m, x: x[1:] * x[:-1], (5,)),
    ("flip", lambda m, x: m.flip(x, (0,)) * x, (4,)),
    ("concat", lambda m, x: m.cat([x, x * x]), (2,)),
    ("mean", lambda m, x: (x - x.mean()) * x, (4,)),
    ("wide", lambda m, x: m.tanh(x.repeat(3)), (2,)),
    ("tall", lambda m, x: (x.reshape(2, 4) * x.reshape(2, 4)).sum(1), (8,)),
]


@pytest.mark.feature("T11", "T10", "T23")
@pytest.mark.parametrize(("name", "f", "shape"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_jacobians_by_rows_and_by_columns(name: str, f: Any, shape: tuple[int, ...]) -> None:
    value = np.random.default_rng(3).normal(size=shape)
    x, t = ad.tensor(value), torch.tensor(value)
    rows = ad.jacrev(lambda x: f(ad, x))(x).numpy()
    columns = ad.jacfwd(lambda x: f(ad, x))(x).numpy()
    oracle = torch.func.jacrev(lambda t: f(torch, t))(t).numpy()
    np.testing.assert_allclose(rows, columns, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(rows, oracle, rtol=1e-10, atol=1e-12)
    v = np.random.default_rng(4).normal(size=shape)
    out, tangent = ad.jvp(lambda x: f(ad, x), (x,), (ad.tensor(v),))
    assert out.shape == tangent.shape
    flat = oracle.reshape(*out.shape, -1) @ v.reshape(-1)
    np.testing.assert_allclose(tangent.numpy(), flat, rtol=1e-10, atol=1e-12)
    _, push = ad.linearize(lambda x: f(ad, x), x)
    np.testing.assert_allclose(push(ad.tensor(v)).numpy(), flat, rtol=1e-10, atol=1e-12)
    ct = np.random.default_rng(5).normal(size=out.shape)
    _, pull = ad.vjp(lambda x: f(ad, x), x)
    (back,) = pull(ad.tensor(ct))
    assert abs((ct * flat).sum() - (back.numpy() * v).sum()) <= 1e-12 * max(
        1, abs((ct * flat).sum())
    )
    assert not rows.size or not ad.jacrev(lambda x: f(ad, x))(x).requires_grad


@pytest.mark.feature("T17")
def test_hessians_and_their_products() -> None:
    value, v = np.random.default_rng(0).normal(size=(2, 6))
    f = lambda m, x: (m.tanh(x) * x).sum() + (x[0] * x[1] * x[2]) ** 2  # noqa: E731
    x = ad.tensor(value)
    dense = ad.hessian(lambda x: f(ad, x))(x).numpy()
    oracle = torch.autograd.functional.hessian(lambda t: f(torch, t), torch.tensor(value)).numpy()
    np.testing.assert_allclose(dense, oracle, rtol=1e-9, atol=1e-12)
    product = ad.hvp(lambda x: f(ad, x), (x,), (ad.tensor(v),)).numpy()
    np.testing.assert_allclose(product, dense @ v, rtol=1e-8)


@pytest.mark.feature("T17")
def test_a_hessian_product_of_a_million_parameters_costs_few_gradients() -> None:
    """Counted in elements computed, not seconds: every node of the pass adds its size."""
    from adjoint.ir.node import state

    x = ad.tensor(np.random.default_rng(0).normal(size=1_000_000))
    f = lambda x: (ad.tanh(x) * x).sum()  # noqa: E731
    counted: list[int] = []
    largest: list[int] = []

    def cost(work: Callable[[], Any]) -> int:
        counted.clear()

        def see(node: Any, *_: object) -> None:
            counted.append(0 if node.value is None else node.value.size)
            largest.append(counted[-1])

        state.watch = see
        try:
            work()
        finally:
            state.watch = None
        return sum(counted)

    tracked = x.clone().requires_grad_()
    gradient = cost(lambda: ad.autograd.grad(f(tracked), tracked, create_graph=True))
    product = cost(lambda: ad.hvp(f, (x,), (x,)))
    assert 0 < product <= 5 * gradient
    assert max(largest) <= 1_000_000


@pytest.mark.feature("T23")
def test_transforms_compose_to_any_order() -> None:
    t = ad.tensor(0.3, dtype=ad.float64)
    third = ad.grad(ad.grad(ad.grad(ad.tanh)))(t).item()
    th = np.tanh(0.3)
    assert third == pytest.approx((1 - th**2) * (6 * th**2 - 2), rel=1e-10)
    forward_over_reverse = ad.jvp(ad.grad(ad.tanh), (t,), (ad.tensor(1.0, dtype=ad.float64),))[1]
    reverse_over_forward = ad.grad(lambda x: ad.jvp(ad.tanh, (x,), (ad.ones_like(x),))[1])(t)
    assert forward_over_reverse.item() == pytest.approx(reverse_over_forward.item(), rel=1e-12)
    x = ad.tensor(np.random.default_rng(0).normal(size=(3, 4)))
    nested = ad.vmap(ad.vmap(ad.grad(ad.grad(ad.tanh))))(x).numpy()
    np.testing.assert_allclose(nested, -2 * np.tanh(x.numpy()) * (1 - np.tanh(x.numpy()) ** 2))


def test_no_confusion_between_nested_variables() -> None:
    """d/dx (x * d/dy (x + y)) at 1 is 1, not 2."""
    one = ad.tensor(1.0)
    assert ad.grad(lambda x: x * ad.grad(lambda y: x + y)(one))(one).item() == 1.0
    inner = lambda x: ad.jvp(lambda y: x * y, (one,), (one,))[1]  # noqa: E731
    assert ad.jvp(inner, (one,), (one,))[1].item() == 1.0


class Pair(NamedTuple):
    first: Any
    second: Any


def test_trees_aux_and_argnums() -> None:
    x, y = ad.tensor([1.0, 2.0]), ad.tensor([3.0, 4.0])
    tree = {"a": x, "b": [y, Pair(x, None)]}
    grads = ad.grad(lambda t: (t["a"] * t["b"][0] + t["b"][1].first).sum())(tree)
    assert isinstance(grads["b"][1], Pair) and grads["b"][1].second is None
    np.testing.assert_array_equal(grads["a"].numpy(), y.numpy())
    np.testing.assert_array_equal(grads["b"][1].first.numpy(), [1.0, 1.0])
    gx, gy = ad.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(x, y)
    np.testing.assert_array_equal(gx.numpy(), y.numpy())
    np.testing.assert_array_equal(gy.numpy(), x.numpy())
    (value, aux), g = ad.value_and_grad(lambda a: ((a * a).sum(), {"hidden": a * 2}), has_aux=True)(
        x
    )
    assert value.item() == 5.0 and not aux["hidden"].requires_grad
    np.testing.assert_array_equal(g.numpy(), [2.0, 4.0])
    rows = ad.jacrev(lambda a, b: {"sum": a + b, "product": a * b}, argnums=(0, 1))(x, y)
    assert rows["product"][0].shape == (2, 2) and len(rows["sum"]) == 2
    np.testing.assert_array_equal(rows["product"][0].numpy(), np.diag(y.numpy()))


def test_what_a_function_closes_over_is_differentiated_outside() -> None:
    w = ad.tensor([1.0, 2.0, 3.0], dtype=ad.float64, requires_grad=True)
    x = ad.tensor([0.5, 0.1, -0.2], dtype=ad.float64)
    penalty = ad.grad(lambda x: ad.tanh(x * w).sum())(x).square().sum()
    penalty.backward()
    tw = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    tx = torch.tensor([0.5, 0.1, -0.2], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(torch.tanh(tx * tw).sum(), tx, create_graph=True)
    g.square().sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), tw.grad.numpy(), rtol=1e-10)
    assert not ad.grad(lambda x: (x * x).sum())(x).requires_grad
    assert ad.vmap(lambda r: r * w.sum())(x).requires_grad


@pytest.mark.feature("T9")
def test_a_vjp_never_forms_the_jacobian() -> None:
    import tracemalloc

    from adjoint.nn import functional as F

    kernel = ad.tensor(np.random.default_rng(0).normal(size=(1, 1, 3, 3)))
    conv = lambda x: F.conv2d(x[None, None], kernel, padding=1)[0, 0]  # noqa: E731
    small = ad.tensor(np.random.default_rng(1).normal(size=(8, 8)))
    jacobian = ad.jacrev(conv)(small).numpy().reshape(64, 64)
    ct = np.random.default_rng(2).normal(size=(8, 8))
    _, pull = ad.vjp(conv, small)
    np.testing.assert_allclose(
        pull(ad.tensor(ct))[0].numpy().reshape(-1), ct.reshape(-1) @ jacobian, rtol=1e-10
    )
    image = ad.tensor(np.zeros((1024, 1024)))
    tracemalloc.start()
    _, pull = ad.vjp(conv, image)
    pull(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * image.nbytes


def test_vmap_axes_and_sizes() -> None:
    a = np.random.default_rng(0).normal(size=(3, 4, 5))
    b = np.random.default_rng(1).normal(size=(4, 2))
    x, y = ad.tensor(a), ad.tensor(b)
    out = ad.vmap(lambda r, s: r.sum(0)[:2] * s, in_axes=(1, 0), out_axes=1)(x, y).numpy()
    expected = np.stack([a[:, i].sum(0)[:2] * b[i] for i in range(4)], axis=1)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    shared = ad.vmap(lambda r, s: r @ s, in_axes=(0, None))(x, ad.tensor(b[:1].repeat(5, 0)))
    np.testing.assert_allclose(shared.numpy(), a @ b[:1].repeat(5, 0), rtol=1e-12)
    trees = ad.vmap(lambda d: {"s": d["x"] + d["n"]}, in_axes=({"x": 0, "n": None},))(
        {"x": x, "n": ad.tensor(1.0, dtype=ad.float64)}
    )
    np.testing.assert_allclose(trees["s"].numpy(), a + 1)
    constant = ad.vmap(lambda r: (r, ad.tensor(7.0)), out_axes=(0, None))(x)[1]
    assert constant.shape == ()
    with pytest.raises(ShapeError, match="batch sizes differ"):
        ad.vmap(lambda r, s: r)(x, y)
    with pytest.raises(AdjointError, match="depends on the batch"):
        ad.vmap(lambda r: r, out_axes=None)(x)
    with pytest.raises(AdjointError, match="in_axes names 1"):
        ad.vmap(lambda r, s: r, in_axes=(0,))(x, y)


@pytest.mark.feature("T41")
def test_reading_a_value_inside_a_recording_names_the_line() -> None:
    x = ad.tensor([1.0, 2.0])
    kept: list[Any] = []

    def branch(v: Any) -> Any:
        if v > 0:  # reads a value
            return v
        return -v

    with pytest.raises(RecordingError, match=r"test_transforms.py:\d+ in .*branch"):
        ad.vmap(branch)(x)
    ad.vmap(lambda v: (kept.append(v * 2.0), v)[1])(x)
    with pytest.raises(RecordingError, match="left over from a recording"):
        kept[0] + 1.0


@pytest.mark.feature("T24")
def test_the_remedies_work_inside_vmap() -> None:
    x = ad.tensor([1.0, -2.0])
    assert ad.vmap(lambda v: ad.where(v > 0, v, -v))(x).tolist() == [1.0, 2.0]


def test_mistakes_with_transforms() -> None:
    x = ad.tensor([1.0, 2.0])
    with pytest.raises(GradError, match=r"float32\[2\]"):
        ad.grad(lambda v: v * v)(x)
    with pytest.raises(AdjointError, match="float arguments"):
        ad.grad(lambda v: v.sum())(ad.tensor([1, 2]))
    with pytest.raises(AdjointError, match="must return tensors"):
        ad.grad(lambda v: 3.0)(x)
    with pytest.raises(ShapeError, match="its tensor's shape"):
        ad.jvp(lambda v: v, (x,), (ad.ones(3),))
    with pytest.raises(AdjointError, match="1 were given"):
        ad.grad(lambda v: v.sum(), argnums=1)(x)


def test_empty_jacobians() -> None:
    empty = ad.zeros(0, 3)
    assert ad.jacrev(lambda v: v * v)(empty).shape == (0, 3, 0, 3)
    assert ad.jacfwd(lambda v: v * v)(empty).shape == (0, 3, 0, 3)


@pytest.mark.feature("T22")
@pytest.mark.parametrize("size", [1, 10, 1000])
def test_forward_differences_need_one_evaluation_per_parameter(size: int) -> None:
    calls: list[int] = []

    def f(x: ad.Tensor) -> ad.Tensor:
        calls.append(1)
        return (ad.sin(x) * x).sum()

    x = ad.tensor(np.linspace(-1, 1, size))
    ad.grad(f)(x)
    assert len(calls) == 1  # one forward (and one backward, which calls nothing of the user's)
    calls.clear()
    base, eps = f(x).item(), 1e-6
    numeric = [
        (f(ad.tensor(x.numpy() + eps * (np.arange(size) == i))).item() - base) / eps
        for i in range(size)
    ]
    assert len(calls) == size + 1
    np.testing.assert_allclose(numeric, ad.grad(f)(x).numpy(), atol=1e-4)


INSIDE = {
    "detach": lambda v: (v.detach() * v).sum(),
    "no_grad": lambda v: (_doubled_without_grad(v) * v).sum(),
    "assignment": lambda v: _assigned(v).sum(),
    "data": lambda v: _data_scaled(v).sum(),
    "backward": lambda v: (_own_backward(v) * v).sum(),
}


def _doubled_without_grad(v: Any) -> Any:
    with ad.no_grad():
        return v * 2.0


def _assigned(v: Any) -> Any:
    y = v * 1.0
    y[0] = v[1] * 3.0
    y[1:].mul_(2.0)
    return y * v


def _data_scaled(v: Any) -> Any:
    y = v * 1.0
    y.data.mul_(2.0)
    return y * v


def _own_backward(v: Any) -> Any:
    w = v.detach().requires_grad_()
    (w * w * w).sum().backward()
    return w.grad


@pytest.mark.feature("T18", "T23")
@pytest.mark.parametrize("name", INSIDE)
def test_stopped_gradients_stay_stopped_inside_vmap(name: str) -> None:
    f = INSIDE[name]
    x = ad.tensor(np.random.default_rng(0).normal(size=(4, 3)))
    np.testing.assert_allclose(ad.vmap(f)(x).numpy(), [f(r).item() for r in x], rtol=1e-12)
    each = np.stack([ad.grad(f)(r).numpy() for r in x])
    np.testing.assert_allclose(ad.vmap(ad.grad(f))(x).numpy(), each, rtol=1e-12)
    whole = ad.grad(lambda x: ad.vmap(f)(x).sum())(x).numpy()
    np.testing.assert_allclose(whole, each, rtol=1e-12)
