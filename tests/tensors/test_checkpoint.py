"""Checkpointed programs give the bits of plain ones and hold less memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.compile.fuse import prepare
from adjoint.compile.remat import arena_bytes
from adjoint.ir.graph import Graph


class Block(nn.Module):
    """Everything that could go wrong the second time: dropout, batch norm, fan-out, a counter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.drop = nn.BatchNorm1d(width), nn.Dropout(0.3)
        self.calls = 0

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        self.calls += 1
        h = self.drop(nn.functional.gelu(self.norm(self.a(x))))
        return x + self.b(h) * scale + x * h


def plain(block: Any, h: Any) -> Any:
    return block(h, scale=0.5)


def each(block: Any, h: Any) -> Any:
    return ad.checkpoint(block, h, scale=0.5)


def nested(block: Any, h: Any) -> Any:
    def twice(h: Any, *, scale: float) -> Any:
        return ad.checkpoint(block, ad.checkpoint(ad.tanh, h), scale=scale)

    return ad.checkpoint(twice, h, scale=0.5)


def nested_plain(block: Any, h: Any) -> Any:
    return block(ad.tanh(h), scale=0.5)


def train(through: Callable[..., Any], captured: bool, steps: int = 3) -> tuple[list[bytes], int]:
    """The bytes of losses, gradients, weights and running statistics; calls of the first block."""
    ad.manual_seed(0)
    blocks = nn.ModuleList([Block(6) for _ in range(3)])
    optimiser = ad.optim.SGD(blocks.parameters(), lr=0.05, momentum=0.9)
    x = ad.randn(8, 6)

    def step(x: Any) -> Any:
        optimiser.zero_grad()
        h = x * 2
        for block in blocks:
            h = through(block, h)
        loss = h.square().mean()
        loss.backward()
        optimiser.step()
        return loss

    run = ad.jit(step) if captured else step
    losses = [run(x) for _ in range(steps)]
    tensors = [*losses, *(p.grad for p in blocks.parameters()), *blocks.state_dict().values()]
    return [t.detach().numpy().tobytes() for t in tensors], blocks[0].calls


@pytest.mark.feature("E1")
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize(("reference", "through"), [(plain, each), (nested_plain, nested)])
def test_training_is_that_of_the_plain_net_bit_for_bit(
    captured: bool, reference: Any, through: Any
) -> None:
    expected, calls = train(reference, captured)
    assert train(through, captured) == (expected, calls)


def gradients(loss: Any, *leaves: Any) -> list[bytes]:
    for leaf in leaves:
        leaf.grad = None
    loss.backward()
    return [leaf.grad.numpy().tobytes() for leaf in leaves]


def leaf(*shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).normal(size=shape)
    return ad.tensor(values, requires_grad=True)


def both(function: Any, *leaves: Any, args: tuple[Any, ...] | None = None) -> None:
    given = leaves if args is None else args
    expected = gradients(function(*given).sum(), *leaves)
    assert gradients(ad.checkpoint(function, *given).sum(), *leaves) == expected


def test_one_tensor_used_many_times_sums_in_the_plain_order() -> None:
    x = leaf(50)

    def inner(y: Any) -> Any:
        return y * 0.1 + y.sin() * 0.3 + y.exp() * 0.7 + y / 3 + y.square() * y

    x.grad = None
    (inner(x * 1.7) * x + x.cos() * 0.37 + inner(x)).sum().backward()
    expected = x.grad.numpy().copy()
    x.grad = None
    (ad.checkpoint(inner, x * 1.7) * x + x.cos() * 0.37 + ad.checkpoint(inner, x)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_closures_keywords_trees_and_what_is_not_a_tensor() -> None:
    x, w = leaf(3, 4), leaf(4, 4, seed=1)

    def function(tree: Any, *, power: int) -> Any:
        h = tree["x"] @ w
        return {"h": h, "pair": (h**power, 7, "name"), "index": h.argmax(1), "same": tree["x"]}

    out = ad.checkpoint(function, {"x": x}, power=2)
    assert out["pair"][1:] == (7, "name")
    assert out["same"].node is x.node
    assert not out["index"].requires_grad
    assert out["h"].requires_grad
    found = gradients((out["h"] + out["pair"][0]).sum(), x, w)
    plain_out = function({"x": x}, power=2)
    assert found == gradients((plain_out["h"] + plain_out["pair"][0]).sum(), x, w)


def test_only_some_results_are_used() -> None:
    x = leaf(5)
    first, _ = ad.checkpoint(lambda y: (y.sin(), y.cos()), x)
    assert gradients(first.sum(), x) == [np.cos(x.detach().numpy()).tobytes()]


def test_nothing_to_differentiate() -> None:
    out = ad.checkpoint(lambda y: y + 1, ad.ones(2))
    assert not out.requires_grad
    with ad.no_grad():
        assert not ad.checkpoint(lambda y: y + 1, leaf(2)).requires_grad


def test_what_is_detached_inside_stays_detached() -> None:
    x = leaf(6)

    def straight_through(y: Any) -> Any:
        with ad.no_grad():
            scale = y.abs().max()
        return y + (y.round() - y).detach() * scale

    both(straight_through, x)


def test_user_functions_inside() -> None:
    class Square(ad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (x,) = ctx.saved_tensors
            return gradient * x * 3  # wrong on purpose, to see that it is this rule that is used

    both(lambda y: Square.apply(y.sin()) * y, leaf(4))


def test_control_flow_on_values_and_loops() -> None:
    def function(y: Any) -> Any:
        y = y * 2 if y.sum() > 0 else y * 3
        final, stacked = ad.scan(lambda c, x: ((c * x).tanh(), c + x), y[0], y)
        return final + stacked.sum(0)

    both(function, leaf(5, 3))


def test_hooks_and_retained_gradients_inside() -> None:
    x = leaf(3)
    seen: list[Any] = []
    kept: list[Any] = []

    def function(y: Any) -> Any:
        h = y.sin()
        h.register_hook(lambda g: g * 10)
        h.register_hook(lambda g: seen.append(g.numpy().copy()))
        h.retain_grad()
        kept.append(h)
        return h * 2

    (found,) = gradients(ad.checkpoint(function, x).sum(), x)
    np.testing.assert_array_equal(seen, [np.full(3, 20.0)])
    np.testing.assert_array_equal(kept[0].grad.numpy(), np.full(3, 20.0))
    assert found == (20 * np.cos(x.detach().numpy())).tobytes()


def test_second_derivatives_and_transforms() -> None:
    def function(y: Any) -> Any:
        return (y.sin() * y.exp() + y**3).sum()

    def inside(y: Any) -> Any:
        return ad.checkpoint(function, y)

    x = ad.tensor(np.random.default_rng(0).normal(size=4))
    np.testing.assert_array_equal(ad.grad(inside)(x).numpy(), ad.grad(function)(x).numpy())
    np.testing.assert_allclose(ad.hessian(inside)(x).numpy(), ad.hessian(function)(x).numpy())
    many = ad.tensor(np.random.default_rng(1).normal(size=(5, 4)))
    rows = [ad.grad(function)(row).numpy() for row in many]
    np.testing.assert_allclose(ad.vmap(ad.grad(inside))(many).numpy(), rows, rtol=1e-14)
    outer = ad.grad(lambda m: ad.vmap(inside)(m).sum())(many)
    np.testing.assert_allclose(outer.numpy(), rows, rtol=1e-14)
    out, push = ad.jvp(inside, (x,), (ad.ones_like(x),))
    expected = ad.jvp(function, (x,), (ad.ones_like(x),))
    np.testing.assert_allclose([out.item(), push.item()], [e.item() for e in expected])


@pytest.mark.parametrize("captured", [False, True])
def test_create_graph(captured: bool) -> None:
    def run(function: Any) -> Any:
        def penalty(x: Any) -> Any:
            leaf = x.detach().requires_grad_()
            (g,) = ad.autograd.grad(function(leaf).sum(), [leaf], create_graph=True)
            (h,) = ad.autograd.grad(g.square().sum(), [leaf])
            return h

        return (ad.jit(penalty) if captured else penalty)(ad.tensor([0.3, -1.2, 2.0]))

    def function(y: Any) -> Any:
        return y.sin() * y.exp()

    expected = run(function).numpy()
    got = run(lambda y: ad.checkpoint(function, y)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_random_stream_goes_on_as_without() -> None:
    def draws(through: Any) -> Any:
        ad.manual_seed(5)
        x = leaf(4)
        through(lambda y: nn.functional.dropout(y, 0.5), x).sum().backward()
        return ad.rand(3).numpy().tobytes(), x.grad.numpy().tobytes()

    assert draws(ad.checkpoint) == draws(lambda f, x: f(x))


def test_a_shape_only_model() -> None:
    layer = nn.Linear(3, 3, device="meta")
    out = ad.checkpoint(layer, ad.empty(2, 3, device="meta"))
    assert out.shape == (2, 3)


@pytest.mark.parametrize("segments", [1, 2, 3, 5])
def test_sequential(segments: int) -> None:
    ad.manual_seed(1)
    net = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(5)])
    x = leaf(3, 4).float().detach().requires_grad_()
    leaves = [x, *net.parameters()]
    expected = gradients(net(x).sum(), *leaves)
    assert gradients(ad.checkpoint_sequential(net, segments, x).sum(), *leaves) == expected


@pytest.mark.parametrize(
    ("functions", "segments", "message"),
    [
        ([ad.sin, ad.cos], 0, "0 segments for 2 functions"),
        ([ad.sin, ad.cos], 3, "3 segments for 2 functions"),
        ([ad.sin, ad.cos], True, "segments"),
        ([ad.sin, ad.cos], 1.5, "segments"),
        ([ad.sin, 3], 1, "a function"),
        (3, 1, "a list of functions"),
    ],
)
def test_wrong_arguments_of_sequential(functions: Any, segments: Any, message: str) -> None:
    with pytest.raises(ad.AdjointError, match=message):
        ad.checkpoint_sequential(functions, segments, ad.ones(1))


def test_under_the_name_of_pytorch() -> None:
    from adjoint.utils.checkpoint import checkpoint as same

    assert same is ad.checkpoint


def test_a_failing_function_leaves_no_trace() -> None:
    def fail(y: Any) -> Any:
        raise ValueError("mine")

    from adjoint.ir.node import state

    with pytest.raises(ValueError, match="mine"):
        ad.checkpoint(fail, leaf(1))
    assert state.watch is None


# --- memory ---------------------------------------------------------------------------------------


def chain(depth: int, segments: int, rows: int = 128, width: int = 16) -> tuple[Any, Any]:
    """A step of a deep net, and its input."""
    ad.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(depth)]
    params = [p for layer in layers for p in layer.parameters()]

    def step(x: Any) -> Any:
        for p in params:
            p.grad = None
        loss = ad.checkpoint_sequential(layers, segments, x).square().mean()
        loss.backward()
        return loss

    return step, ad.randn(rows, width)


def recorded(step: Any, x: Any) -> Graph:
    captured = ad.jit(step)
    captured(x)
    return prepare(captured.graph)


def eager_peak(step: Any, x: Any) -> int:
    step(x)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    step(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def contractions(graph: Graph) -> int:
    return sum(n.op is not None and n.op.kind == "contract" for n in graph.nodes)


@pytest.mark.feature("E1")
def test_eager_memory_falls() -> None:
    assert eager_peak(*chain(64, 8)) < 0.4 * eager_peak(*chain(64, 1))


@pytest.mark.feature("E1")
def test_captured_memory_grows_like_the_root_of_the_depth() -> None:
    peaks = {n: arena_bytes(recorded(*chain(n, int(n**0.5)))) for n in (16, 49)}
    plain_peak = arena_bytes(recorded(*chain(49, 1)))
    assert peaks[49] < 0.35 * plain_peak
    assert peaks[49] <= peaks[16] * (49 / 16) ** 0.6


@pytest.mark.feature("E1")
def test_nothing_is_computed_twice_that_is_not_needed() -> None:
    plain_count = contractions(recorded(*chain(16, 1)))
    count = contractions(recorded(*chain(16, 4)))
    assert plain_count < count <= plain_count + 12


@pytest.mark.feature("E1")
@pytest.mark.slow
def test_memory_over_many_depths() -> None:
    """At most n^0.6 from 16 to 1024."""
    depths = [16, 36, 64, 144, 256, 1024]
    sizes = [arena_bytes(recorded(*chain(n, round(n**0.5), rows=64, width=8))) for n in depths]
    slope, _ = np.polyfit(np.log(depths), np.log(sizes), 1)
    assert slope <= 0.6
