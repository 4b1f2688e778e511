"""Module: registration, names, modes, state, hooks, trees; containers; where errors happen."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError
from adjoint.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.nn.state import StateDictError


class Affine(Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        values = np.random.default_rng(inputs * 31 + outputs).normal(size=(outputs, inputs))
        self.weight = Parameter(ad.tensor(values))
        self.bias = Parameter(ad.zeros(outputs, dtype=ad.float64))

    def forward(self, x: ad.Tensor) -> ad.Tensor:
        return x @ self.weight.T + self.bias

    def extra_repr(self) -> str:
        return f"{self.inputs} -> {self.outputs}"


class Wrap(Module):
    def __init__(self, inner: Module) -> None:
        super().__init__()
        self.inner = inner
        self.scale = Parameter(ad.ones(1, dtype=ad.float64))
        self.register_buffer("count", ad.tensor(0))
        self.register_buffer("scratch", ad.zeros(3), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.scale


def deep(depth: int) -> Module:
    module: Module = Affine(3, 3)
    for _ in range(depth):
        module = Wrap(module)
    return module


@pytest.mark.feature("M1")
def test_names_to_depth_five_each_parameter_once() -> None:
    module = deep(5)
    names = [n for n, _ in module.named_parameters()]
    assert names[0] == "scale" and names[-1] == "inner.inner.inner.inner.inner.bias"
    assert len(names) == len(set(names)) == 7
    assert sum(p.numel() for p in module.parameters()) == 5 + 12
    assert "inner.count" in module.state_dict() and "scratch" not in module.state_dict()
    assert [n for n, _ in module.named_buffers()][:2] == ["count", "scratch"]
    assert type(module.get_submodule("inner.inner")) is Wrap
    assert module.get_parameter("inner.scale") is module.inner.scale
    with pytest.raises(AdjointError, match=r"did you mean 'inner.scale'"):
        module.get_parameter("inner.scales")


@pytest.mark.feature("M1")
def test_shared_parameters_are_counted_once_and_saved_under_each_name() -> None:
    a, b = Affine(3, 3), Affine(3, 3)
    b.weight = a.weight
    both = Sequential(a, b, a)
    assert [n for n, _ in both.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert {"0.weight", "1.weight", "2.weight"} <= set(both.state_dict())
    both(ad.ones(2, 3, dtype=ad.float64)).sum().backward()
    assert a.weight.grad is b.weight.grad


@pytest.mark.feature("M1")
def test_common_mistakes_say_what_to_do() -> None:
    class Forgot(Module):
        def __init__(self) -> None:
            self.weight = Parameter(ad.ones(2))

    class NoForward(Module):
        pass

    module = Affine(2, 2)
    for wrong, message in [
        (Forgot, r"super\(\).__init__\(\)"),
        (lambda: NoForward()(1), "forward is not defined"),
        (lambda: setattr(module, "weight", ad.ones(2, 2)), "nn.Parameter"),
        (lambda: module.register_buffer("a.b", ad.ones(1)), "cannot be the name"),
        (lambda: module.register_buffer("forward", ad.ones(1)), "exists already"),
        (lambda: Sequential(Affine), "instantiate it"),
        (lambda: Sequential(3), "needs modules, got int"),
        (lambda: module.train(1), "True or False"),
        (lambda: Parameter(ad.tensor([1, 2])), "float"),
        (lambda: Parameter(None), "Parameter"),
    ]:
        with pytest.raises(AdjointError, match=message):
            wrong()
    with pytest.raises(AttributeError, match="did you mean 'weight'"):
        _ = module.wieght


@pytest.mark.feature("M2")
def test_several_inputs_in_containers_and_hooks() -> None:
    class Both(Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a + b, a - b

    class Add(Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a * b

    seen: list[int] = []
    model = Sequential(Both(), Add())
    model[0].register_forward_pre_hook(lambda m, args: seen.append(len(args)))
    handle = model.register_forward_hook(lambda m, args, out: out * 10.0)
    a, b = ad.tensor([3.0]), ad.tensor([1.0])
    assert model(a, b).item() == 80.0 and seen == [2]
    handle.remove()
    assert model(a, b).item() == 8.0


TOPOLOGIES = {
    "chain": lambda m, x: m["a"](m["b"](x)),
    "branch": lambda m, x: m["a"](x) + m["b"](x),
    "skip": lambda m, x: x + m["a"](x),
    "deep skip": lambda m, x: x + m["b"](ad.tanh(m["a"](x)) + x),
    "loop": lambda m, x: m["a"](m["a"](m["a"](x))),
    "shared": lambda m, x: m["a"](m["b"](m["a"](x))),
    "gate": lambda m, x: ad.sigmoid(m["a"](x)) * ad.tanh(m["b"](x)),
    "concat": lambda m, x: ad.cat([m["a"](x), m["b"](x)], 1)[:, 1:5],
    "several outputs": lambda m, x: sum((m["a"](x), m["b"](x) * m["a"](x))),
    "python branch": lambda m, x: m["a"](x) if float(x.sum()) > 0 else m["b"](x),
}


@pytest.mark.feature("M3")
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_any_topology_has_the_right_gradient(name: str) -> None:
    model = ModuleDict({"a": Affine(3, 3), "b": Affine(3, 3)})
    x = ad.tensor(np.random.default_rng(0).normal(size=(2, 3)))
    twin = {k: m.weight.detach().numpy() for k, m in model.items()}

    def value(weights: dict[str, Any]) -> float:
        for key, module in model.items():
            module.weight.data = ad.tensor(weights[key])
        return TOPOLOGIES[name](model, x).square().sum().item()

    TOPOLOGIES[name](model, x).square().sum().backward()
    for key, module in model.items():
        gradient = np.zeros((3, 3)) if module.weight.grad is None else module.weight.grad.numpy()
        for place in np.ndindex(3, 3):
            step = {k: w.copy() for k, w in twin.items()}
            step[key][place] += 1e-6
            up = value(step)
            step[key][place] -= 2e-6
            assert gradient[place] == pytest.approx((up - value(step)) / 2e-6, rel=1e-5, abs=1e-6)


@pytest.mark.feature("M7")
def test_train_and_eval_reach_the_whole_tree_and_parts_of_it() -> None:
    module = deep(3)
    assert all(m.training for m in module.modules())
    assert module.eval() is module
    assert not any(m.training for m in module.modules())
    module.inner.train()
    assert [m.training for m in module.modules()] == [False, True, True, True]


@pytest.mark.feature("M14")
def test_state_round_trip_and_a_report_that_helps() -> None:
    source, target = deep(2), deep(2)
    for param in source.parameters():
        param.data = ad.randn(*param.shape, dtype=ad.float64)
    result = target.load_state_dict(source.state_dict())
    assert result.missing_keys == result.unexpected_keys == []
    for a, b in zip(source.parameters(), target.parameters(), strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
        assert b.requires_grad and b.is_leaf and a is not b
    source.scale.data.fill_(9.0)
    assert target.scale.item() != 9.0
    state = source.state_dict()
    state["inner.scael"] = state.pop("inner.scale")
    before = target.scale.item()
    with pytest.raises(StateDictError) as caught:
        target.load_state_dict(state)
    assert "missing (1): inner.scale" in str(caught.value)
    assert "did you mean 'inner.scale'" in str(caught.value)
    assert target.scale.item() == before
    partly = target.load_state_dict(state, strict=False)
    assert partly.missing_keys == ["inner.scale"] and partly.unexpected_keys == ["inner.scael"]
    assert target.scale.item() == 9.0
    with pytest.raises(StateDictError, match=r"wrong shape: scale: \(1,\) here, \(2,\) given"):
        target.load_state_dict({"scale": ad.ones(2)}, strict=False)
    wrapped = {f"module.{k}": v for k, v in source.state_dict().items()}
    with pytest.raises(StateDictError, match=r"rename=\{'module.': ''\}"):
        target.load_state_dict(wrapped)
    target.load_state_dict(wrapped, rename={"module.": ""})


@pytest.mark.feature("M14")
def test_state_dicts_of_torch_load_as_they_are() -> None:
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).double()
    ours = Sequential(Affine(3, 4), Affine(4, 2))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(
        ours(ad.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-12
    )


def test_conversion_freezing_and_zero_grad() -> None:
    module = deep(1)
    x = ad.ones(2, 3, dtype=ad.float64)
    module(x).sum().backward()
    first = module.scale
    module.float()
    assert module.scale is first and first.dtype is ad.float32 and first.requires_grad
    assert module.count.dtype is ad.int64 and first.grad.dtype is ad.float32
    module.zero_grad()
    assert all(p.grad is None for p in module.parameters())
    module.requires_grad_(False)
    assert not module(x.float()).requires_grad
    meta = deep(1).to("meta")
    assert str(meta.scale.device) == "meta" and meta(
        ad.empty(2, 3, dtype=ad.float64, device="meta")
    ).shape == (2, 3)


def test_copies_are_independent() -> None:
    module = deep(1)
    twin = copy.deepcopy(module)
    twin.scale.data.fill_(5.0)
    assert module.scale.item() == 1.0 and twin.scale is not module.scale
    assert isinstance(twin.scale, Parameter) and twin.scale.requires_grad


@pytest.mark.feature("T23")
def test_a_module_is_a_tree_for_transforms() -> None:
    module = deep(1)
    x = ad.tensor(np.random.default_rng(0).normal(size=(4, 3)))
    loss = lambda m: m(x).square().mean()  # noqa: E731
    grads = ad.grad(loss)(module)
    assert type(grads) is Wrap and grads.inner.weight.shape == (3, 3)
    loss(module).backward()
    for param, grad in zip(module.parameters(), grads.parameters(), strict=True):
        np.testing.assert_allclose(grad.detach().numpy(), param.grad.numpy(), rtol=1e-12)
    each = ad.vmap(ad.grad(lambda m, row: m(row[None]).square().mean()), in_axes=(None, 0))(
        module, x
    )
    assert each.inner.weight.shape == (4, 3, 3)
    np.testing.assert_allclose(
        each.inner.weight.mean(0).detach().numpy(), module.inner.weight.grad.numpy(), rtol=1e-12
    )


def test_containers() -> None:
    layers = [Affine(2, 2) for _ in range(4)]
    chain = Sequential(*layers)
    assert len(chain) == 4 and chain[-1] is layers[3] and list(chain) == layers
    assert isinstance(chain[1:3], Sequential) and list(chain[1:3]) == layers[1:3]
    assert [n for n, _ in chain[1:3].named_children()] == ["1", "2"]
    with pytest.raises(AdjointError, match="out of range"):
        chain[4]
    chain[0] = Affine(2, 2)
    chain.append(Affine(2, 2)).extend([Affine(2, 2)])
    assert len(chain) == 6
    items = ModuleList(layers[:2])
    items.insert(1, layers[2])
    assert list(items) == [layers[0], layers[2], layers[1]] and len(items[1:]) == 2
    named = ModuleDict({"x": layers[0]})
    named["y"] = layers[1]
    assert "y" in named and list(named) == ["x", "y"]
    with pytest.raises(AdjointError, match=r"did you mean 'x'|known"):
        named["xx"]
    params = ParameterList([ad.ones(2), ad.zeros(3)])
    assert len(list(params.parameters())) == 2 and params[-1].shape == (3,)


def test_repr_shows_the_tree_and_errors_show_the_place() -> None:
    class Net(Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = Sequential(Affine(4, 8), Affine(8, 3), Affine(4, 2))

        def forward(self, x: Any) -> Any:
            return self.head(x)

    net = Net()
    assert repr(net) == (
        "Net(\n  (head): Sequential(\n    (0): Affine(4 -> 8)\n    (1): Affine(8 -> 3)\n"
        "    (2): Affine(4 -> 2)\n  )\n)"
    )
    with pytest.raises(AdjointError) as caught:
        net(ad.ones(2, 4, dtype=ad.float64))
    assert str(caught.value).startswith(
        "in Net.head[2]: Affine(4 -> 2)\nmatmul: inner sizes differ"
    )


@pytest.mark.feature("T34")
def test_no_module_defines_a_backward() -> None:
    import ast
    from pathlib import Path

    import adjoint.nn

    for file in Path(adjoint.nn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert "backward" not in node.name or node.name.endswith("hook"), (
                    f"{file}:{node.lineno}"
                )

    class Residual(Module):
        def __init__(self, inner: Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return x + self.inner(x)

    inner = Affine(3, 3)
    x = ad.tensor([0.3, -0.2, 0.9], dtype=ad.float64)
    whole = ad.jacrev(lambda v: Residual(inner)(v[None])[0])(x).detach().numpy()
    part = ad.jacrev(lambda v: inner(v[None])[0])(x).detach().numpy()
    np.testing.assert_allclose(whole, np.eye(3) + part, rtol=1e-10)
