"""backward, grad, hooks, no_grad, user-written functions: against closed forms and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import GradError, ShapeError
from adjoint.ir.interpret import interpret


def double(values: object, requires_grad: bool = False) -> ad.Tensor:
    return ad.tensor(values, dtype=ad.float64, requires_grad=requires_grad)


@pytest.mark.feature("T14")
def test_default_seed_is_one_and_a_given_cotangent_is_the_vjp() -> None:
    x = double([1.0, 2.0, 3.0], requires_grad=True)
    y = x * x
    with pytest.raises(GradError, match=r"float64\[3\]"):
        y.backward()
    y.backward(double([1.0, 10.0, 100.0]), retain_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 40.0, 600.0])
    x.grad = None
    seen: list[float] = []
    total = y.sum()
    total.register_hook(lambda g: seen.append(g.item()))
    total.backward()
    assert seen == [1.0]
    with pytest.raises(ShapeError, match="shape"):
        (x * x).backward(double([1.0, 2.0]))


@pytest.mark.feature("T8")
def test_gradients_add_up_over_uses_and_over_calls() -> None:
    x = double(3.0, requires_grad=True)
    (x * x + x * x + x).backward()
    assert x.grad.item() == 13.0
    (x * 2.0).backward()
    assert x.grad.item() == 15.0


@pytest.mark.feature("T38")
def test_worked_example_k_is_wx_plus_b() -> None:
    rng = np.random.default_rng(0)
    w, x, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 1)), rng.normal(size=(4, 1))
    upstream = rng.normal(size=(4, 1))
    tw, tx, tb = double(w, True), double(x, True), double(b, True)
    (tw @ tx + tb).backward(double(upstream))
    np.testing.assert_allclose(tw.grad.numpy(), upstream @ x.T, rtol=1e-14)
    np.testing.assert_allclose(tx.grad.numpy(), w.T @ upstream, rtol=1e-14)
    np.testing.assert_array_equal(tb.grad.numpy(), upstream)
    batch, ups = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    tw, tb = double(w, True), double(b[:, 0], True)
    (double(batch) @ tw.T + tb).backward(double(ups))
    rows = sum(np.outer(u, v) for u, v in zip(ups, batch, strict=True))
    np.testing.assert_allclose(tw.grad.numpy(), rows, rtol=1e-13)
    np.testing.assert_allclose(tb.grad.numpy(), ups.sum(0), rtol=1e-14)


@pytest.mark.feature("T16")
def test_derivatives_of_any_order_by_extending_the_graph() -> None:
    x = double(0.4, requires_grad=True)
    y = ad.tanh(x)
    for _ in range(3):
        (y,) = ad.autograd.grad(y, x, create_graph=True)
    t = np.tanh(0.4)
    assert y.item() == pytest.approx((1 - t**2) * (6 * t**2 - 2), rel=1e-8)
    w = double([0.3, -0.7], requires_grad=True)
    (g,) = ad.autograd.grad((ad.tanh(w) * w).sum(), w, create_graph=True)
    g.square().sum().backward()
    tw = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    (tg,) = torch.autograd.grad((torch.tanh(tw) * tw).sum(), tw, create_graph=True)
    tg.square().sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), tw.grad.numpy(), rtol=1e-8)


def test_a_graph_is_used_once_unless_kept() -> None:
    x = double([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4.0, 8.0])
    with pytest.raises(GradError, match="retain_graph=True"):
        loss.backward()


def test_grad_of_chosen_inputs_leaves_dot_grad_alone() -> None:
    x, y = double([1.0, 2.0], True), double([3.0, 4.0], True)
    hidden = x * y
    loss = (hidden * hidden).sum()
    gx, gh = ad.autograd.grad(loss, [x, hidden], retain_graph=True)
    np.testing.assert_array_equal(gx.numpy(), [18.0, 64.0])
    np.testing.assert_array_equal(gh.numpy(), [6.0, 16.0])
    assert x.grad is None
    z = double(1.0, True)
    with pytest.raises(GradError, match="allow_unused"):
        ad.autograd.grad(loss, z, retain_graph=True)
    assert ad.autograd.grad(loss, z, retain_graph=True, allow_unused=True) == (None,)
    (gz,) = ad.autograd.grad(loss, z, materialize_grads=True)
    assert gz.item() == 0.0


def test_grad_with_respect_to_a_result_keeps_what_lies_before_it() -> None:
    x = double(2.0, True)
    hidden = x * x
    (gh,) = ad.autograd.grad(hidden * 3.0, hidden)
    assert gh.item() == 3.0
    hidden.backward()
    assert x.grad.item() == 4.0


@pytest.mark.feature("T36")
def test_hooks_see_the_sum_and_each_message() -> None:
    x = double(2.0, True)
    y = x * 1.0
    messages: list[float] = []
    sums: list[float] = []
    y.register_message_hook(lambda child, g: messages.append(g.item()))
    handle = y.register_hook(lambda g: (sums.append(g.item()), g * 2.0)[1])
    (y * 3.0 + y * 5.0).backward(retain_graph=True)
    assert sorted(messages) == [3.0, 5.0]
    assert sums == [8.0] and x.grad.item() == 16.0
    handle.remove()
    x.grad = None
    (y * 3.0).backward()
    assert x.grad.item() == 3.0
    y = x * 1.0
    y.register_message_hook(lambda child, g: g * 10.0)
    x.grad = None
    (y + y * 2.0).backward()
    assert x.grad.item() == 30.0


def test_retain_grad_and_leaf_hooks_survive_a_change_of_data() -> None:
    x = double([1.0, 2.0], True)
    y = x * 3.0
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), [6.0, 12.0])
    seen: list[object] = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    x.data = double([5.0, 6.0])
    x.grad = None
    (x * x).sum().backward()
    assert seen == [[10.0, 12.0]]


def test_no_grad_detach_and_modes() -> None:
    x = double([1.0, 2.0], True)
    with ad.no_grad():
        y = x * 2.0
        with ad.enable_grad():
            z = x * 2.0
    assert not y.requires_grad and z.requires_grad and y.grad_fn is None and z.grad_fn is not None
    assert y.node.args == ()

    @ad.no_grad()
    def untracked() -> ad.Tensor:
        return x * 2.0

    assert not untracked().requires_grad and ad.is_grad_enabled()
    (x.detach() * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1.0, 2.0])
    with pytest.raises(ZeroDivisionError), ad.no_grad():
        raise ZeroDivisionError
    assert ad.is_grad_enabled()
    with ad.set_grad_enabled(False):
        assert not ad.is_grad_enabled()
    assert ad.is_grad_enabled()


@pytest.mark.feature("T4", "T5")
def test_every_value_exists_at_once_and_the_graph_can_be_walked() -> None:
    x, w = double([1.0, -2.0, 0.5], True), double([0.1, 0.2, 0.3], True)
    hidden = ad.tanh(x * w)
    assert isinstance(hidden.node.value, np.ndarray)
    loss = (hidden + x).sum()
    leaves, stack = set(), [loss.node]
    while stack:
        node = stack.pop()
        stack.extend(node.args or ())
        if node.leaf is not None:
            leaves.add(node)
    assert leaves == {x.node, w.node}
    graph = ad.autograd.graph(loss)
    graph.verify()
    (again,) = interpret(graph, graph.inputs)
    assert again.array().tobytes() == loss.node.array().tobytes()
    kept = loss.item()
    del hidden, graph, again
    loss.backward()
    assert loss.item() == kept


@pytest.mark.feature("T24")
@pytest.mark.parametrize("start", [0.3, 1.7, -2.0, 8.0])
def test_python_control_flow_on_values(start: float) -> None:
    def run(x, where):  # the same text for both libraries
        y = x
        while y.abs().sum() < 10.0:
            y = y * 2.0 if y.sum() > 0 else y * y + 0.5
        for _ in range(int(y.abs().sum()) % 3):
            y = y + x
        return y.sum() if where(y) else (y * y).sum()

    x = double([start, start / 2], True)
    t = torch.tensor([start, start / 2], dtype=torch.float64, requires_grad=True)
    run(x, lambda y: y[0] > 3).backward()
    run(t, lambda y: y[0] > 3).backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12)


@pytest.mark.feature("T25")
def test_a_net_of_random_depth_gives_unused_layers_no_gradient() -> None:
    rng = np.random.default_rng(0)
    layers = [double(rng.normal(size=(4, 4)) * 0.5, True) for _ in range(12)]
    x, target = double(rng.normal(size=(16, 4))), double(rng.normal(size=(16, 4)) * 0.1)
    losses = []
    for _ in range(60):
        depth = int(rng.integers(1, 13))
        y = x
        for w in layers[:depth]:
            y = ad.tanh(y @ w)
        loss = (y - target).square().mean()
        loss.backward()
        assert all(w.grad is not None for w in layers[:depth])
        assert all(w.grad is None for w in layers[depth:])
        with ad.no_grad():
            for w in layers[:depth]:
                w -= 0.3 * w.grad
                w.grad = None
        losses.append(loss.item())
    assert np.mean(losses[-15:]) < 0.6 * np.mean(losses[:15])


def test_backward_may_pass_through_integers_and_unused_results() -> None:
    x = double([3.0, 1.0, 2.0], True)
    values, places = ad.max(x.reshape(1, 3), 1)
    assert not places.requires_grad
    values.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1.0, 0.0, 0.0])


@pytest.mark.feature("T18", "T19")
def test_the_leak_detector_names_the_line_and_spares_correct_loops() -> None:
    w = double([1.0, 2.0], True)
    with ad.autograd.detect_leaks() as found, pytest.warns(ad.autograd.GraphLeakWarning) as caught:
        for _ in range(200):
            (g,) = ad.autograd.grad((w * w).sum(), w)
            w = w - 0.01 * g  # the planted leak
    line = test_the_leak_detector_names_the_line_and_spares_correct_loops.__code__.co_firstlineno
    assert len(found.reported) == len(caught) == 1
    reported = int(found.reported[0].split(":")[1].split()[0])
    with open(__file__) as source:
        assert "the planted leak" in source.readlines()[reported - 1]
    assert reported > line
    w = double([1.0, 2.0], True)
    with ad.autograd.detect_leaks() as found:
        for _ in range(200):
            (g,) = ad.autograd.grad((w * w).sum(), w)
            w = (w - 0.01 * g).detach().requires_grad_()
    assert found.reported == []
    w = double([1.0, 2.0], True)
    total = double(0.0)
    with ad.autograd.detect_leaks() as found, pytest.warns(ad.autograd.GraphLeakWarning):
        for _ in range(60):
            loss = (w * w).sum()
            loss.backward()
            total = total + loss
    assert len(found.reported) == 1
