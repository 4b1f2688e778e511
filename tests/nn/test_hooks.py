"""Hooks around forward and backward, taps, models cut at a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, ShapeError


def pair() -> tuple[nn.Module, torch.nn.Module]:
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
    ).double()
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("through", [False, True])
def test_backward_hooks_are_pytorchs(place: int, through: bool) -> None:
    """What hooks are shown, and gradients after they have changed them."""
    values = np.random.default_rng(0).normal(size=(5, 3))
    shown: list[list[Any]] = [[], []]
    grads: list[Any] = []
    for side, net in enumerate(pair()):
        tensor: Any = (ad, torch)[side].tensor
        x = tensor(values, requires_grad=through)
        log = shown[side]

        def before(module: Any, grad_output: Any) -> Any:
            return tuple(2 * g for g in grad_output)

        def after(module: Any, grad_input: Any, grad_output: Any, log: Any = log) -> Any:
            log.extend(None if g is None else g.numpy() for g in (*grad_input, *grad_output))
            return tuple(None if g is None else 3 * g for g in grad_input)

        net[place].register_full_backward_pre_hook(before)
        hook = net[place].register_full_backward_hook(after)
        (net(x) ** 2).sum().backward()
        hook.remove()
        (net(x) ** 2).sum().backward()
        grads.append([x.grad, *(p.grad for p in net.parameters())])
    assert len(shown[0]) == len(shown[1]) == 2
    for mine, other in zip(shown[0], shown[1], strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            np.testing.assert_allclose(mine, other, atol=1e-12)
    for mine, other in zip(*grads, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            np.testing.assert_allclose(mine.numpy(), other.numpy(), atol=1e-12)


def test_backward_hook_of_a_module_with_several_tensors() -> None:
    class Both(nn.Module):
        def forward(self, a: Any, scale: float, b: Any) -> Any:
            return a * scale, a * b

    module, seen = Both(), []
    module.register_full_backward_hook(lambda m, i, o: seen.append((i, o)))
    a, b = ad.tensor([1.0, 2.0], requires_grad=True), ad.tensor([3.0, 4.0], requires_grad=True)
    first, second = module(a, 5.0, b)
    (first.sum() + second.sum()).backward()
    [(grad_input, grad_output)] = seen
    assert grad_input[1] is None and len(grad_output) == 2
    assert (grad_input[0] == a.grad).all() and (grad_input[2] == b.grad).all()
    assert a.grad.tolist() == [8.0, 9.0] and b.grad.tolist() == [1.0, 2.0]
    with ad.no_grad():
        module(a, 5.0, b)
    assert len(seen) == 1


def test_forward_hooks_with_options() -> None:
    class Scale(nn.Module):
        def forward(self, x: Any, by: float = 1.0) -> Any:
            if by == 0:
                raise ValueError("zero")
            return x * by

    module, order = Scale(), []
    module.register_forward_hook(lambda m, a, out: order.append("first"))
    module.register_forward_hook(lambda m, a, out: order.append("zeroth"), prepend=True)
    hooks = [
        module.register_forward_pre_hook(
            lambda m, a, k: (a, {"by": k["by"] + 1}), with_kwargs=True
        ),
        module.register_forward_hook(lambda m, a, k, out: out + k["by"], with_kwargs=True),
    ]
    assert module(ad.ones(1), by=2.0).item() == 6.0 and order == ["zeroth", "first"]
    for hook in hooks:
        hook.remove()
    module.register_forward_hook(lambda m, a, out: order.append(out), always_call=True)
    with pytest.raises(ValueError, match="zero"):
        module(ad.ones(1), by=0)
    assert order[-1] is None and len(order) == 3


def test_hooks_inside_jit() -> None:
    net, _ = pair()
    net[1].register_forward_hook(lambda m, a, out: out * 2)
    net[1].register_full_backward_hook(lambda m, i, o: tuple(g * 3 for g in i))
    x = ad.tensor(np.random.default_rng(0).normal(size=(2, 3)))

    def step(x: Any) -> Any:
        net.zero_grad()
        out = net(x)
        out.sum().backward()
        return out.detach()

    wanted = step(x).numpy()
    slope = net[0].weight.grad.numpy()
    run = ad.jit(step)
    for _ in range(2):
        np.testing.assert_allclose(run(x).numpy(), wanted, rtol=1e-12)
        np.testing.assert_allclose(net[0].weight.grad.numpy(), slope, rtol=1e-12)


@pytest.mark.feature("M13")
def test_taps_give_any_activation_by_name() -> None:
    net, _ = pair()
    net = nn.Sequential({"body": net, "head": nn.Linear(2, 2).double()})
    x = ad.tensor(np.random.default_rng(0).normal(size=(2, 3)))
    tapped = nn.Taps(net, ["body.1", "head"])
    for call in (tapped, ad.jit(lambda v: tapped(v))):
        for _ in range(2):
            out, seen = call(x)
            assert list(seen) == ["body.1", "head"]
            np.testing.assert_allclose(
                seen["body.1"].detach().numpy(), net.body[:2](x).detach().numpy(), rtol=1e-12
            )
            assert (seen["head"] == out).all()
    assert not any(m._hooks for m in net.modules())  # nothing is left: no cost when off
    twice = nn.Taps(nn.Siamese(nn.Linear(3, 2).double()), ["net"])
    assert len(twice(x, x)[1]["net"]) == 2
    with pytest.raises(ArgumentError, match=r"did you mean 'body\.1'"):
        nn.Taps(net, ["bodi.1"])


@pytest.mark.feature("M16")
def test_a_model_cut_at_a_layer_with_a_new_head() -> None:
    net, _ = pair()
    x = ad.tensor(np.random.default_rng(0).normal(size=(2, 3)))
    made = nn.Backbone(net, "1", nn.Linear(4, 7).double(), freeze=True)
    assert made(x).shape == (2, 7)
    np.testing.assert_array_equal(
        nn.Backbone(net, "1")(x).detach().numpy(), net[:2](x).detach().numpy()
    )
    np.testing.assert_allclose(
        ad.jit(lambda v: made(v))(x).detach().numpy(), made(x).detach().numpy(), rtol=1e-12
    )
    assert made.get_parameter("backbone.0.weight") is net[0].weight
    made(x).sum().backward()
    assert net[0].weight.grad is None and made.head.weight.grad is not None
    with pytest.raises(ShapeError, match="Linear"):
        made(ad.ones(2, 5, dtype=ad.float64))
    with pytest.raises(ArgumentError):
        nn.Backbone(net, "3")


def test_buffers_and_submodules_by_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = nn.Buffer(ad.ones(2))
            self.scratch = nn.Buffer(ad.zeros(2), persistent=False)
            self.inner = nn.Sequential(nn.Linear(2, 2))

    net = Net()
    assert list(net.state_dict()) == ["kept", "inner.0.weight", "inner.0.bias"]
    assert [n for n, _ in net.named_buffers()] == ["kept", "scratch"]
    assert net.get_buffer("kept") is net.kept and not net.kept.requires_grad
    net.set_submodule("inner.0", nn.Tanh())
    assert isinstance(net.inner[0], nn.Tanh)
    assert net.type("float64").kept.dtype is ad.float64
    with pytest.raises(ArgumentError, match="did you mean 'kept'"):
        net.get_buffer("kep")
    with pytest.raises(ArgumentError):
        net.set_submodule("outer", nn.Tanh())


def stateful(lib: Any) -> list[Any]:
    """What hooks of saving and loading see and change, with either library."""

    class Counting(lib.Linear):
        count = 0

        def get_extra_state(self) -> Any:
            return self.count

        def set_extra_state(self, state: Any) -> None:
            self.count = state

    log: list[Any] = []
    net = lib.Sequential(Counting(2, 2), lib.Linear(2, 1))
    net[0].count = 7
    net[0].register_state_dict_pre_hook(lambda m, prefix, keep: log.append((prefix, keep)))
    net[1].register_state_dict_post_hook(
        lambda m, state, prefix, meta: state.update({f"{prefix}more": 1})
    )
    state = net.state_dict()
    log.append(list(state))
    other = lib.Sequential(Counting(2, 2), lib.Linear(2, 1))
    other[1].register_load_state_dict_pre_hook(
        lambda m, state, prefix, *_: state.pop(f"{prefix}more")
    )
    other.load_state_dict(state)
    log.append((other[0].count, "1.more" in state))
    del state["0.bias"], state["0._extra_state"]
    other.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    other.load_state_dict(state)
    log.append(tuple(other.load_state_dict({**state, "2.x": state["0.weight"]}, strict=False)))
    return log


def test_hooks_of_saving_and_loading_are_pytorchs() -> None:
    assert stateful(nn) == stateful(torch.nn)
