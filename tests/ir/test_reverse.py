"""The reverse pass: linear, iterative, right at fan-outs, and open to hooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import Tensor, ops
from adjoint.base.errors import GradError
from adjoint.ir.node import Node, constant
from adjoint.ir.reverse import backward, reachable
from adjoint.ops import TABLE
from adjoint.testing import gradgradcheck
from adjoint.transform.grad import Pullback
from adjoint.transform.jvp import jvp
from adjoint.transform.vmap import vmap


def leaf(value: Any) -> Node:
    node = constant(np.asarray(value, np.float64))
    node.needs_grad = True
    return node


@pytest.fixture
def rule_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of the row at every call of a derivative rule."""
    calls: list[str] = []
    for name, row in TABLE.items():
        monkeypatch.setattr(row, "vjp", spy(name, row.vjp, calls))
    return calls


def spy(name: str, vjp: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def called(*args: Any) -> Any:
        calls.append(name)
        return vjp(*args)

    return called


@pytest.mark.feature("T7")
def test_a_chain_of_a_hundred_thousand_ops() -> None:
    assert sys.getrecursionlimit() < 20_000
    x = ad.tensor(3.0, requires_grad=True)
    y = x
    for _ in range(100_001):
        y = -y
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == -1.0
    del y  # freeing the chain does not recurse either


@pytest.mark.feature("T7")
def test_a_long_chain_is_freed_and_walked_without_recursion() -> None:
    """Kept by retain_graph, printed and run again as a Graph, and dropped all at once."""
    x = ad.tensor(0.5, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y * 1.0
    y.backward(retain_graph=True)
    graph = ad.autograd.graph(y)
    assert len(graph.nodes) == 20_000
    assert len(str(graph).splitlines()) > 20_000
    assert len(graph.key) == 64
    del y, graph


@pytest.mark.slow
@pytest.mark.feature("T7")
def test_transforms_of_a_long_chain_do_not_recurse() -> None:
    def chain(*nodes: Node) -> list[Node]:
        x = nodes[0]
        for _ in range(50_000):
            x = ops.neg(x)
        return [x]

    x, v = constant(np.array(0.5)), constant(np.array(2.0))
    assert jvp(chain, [x], [v])[1][0].array() == 2.0
    assert vmap(chain, 1, [constant(np.ones(1))], [0], lambda n: [0])[0].array() == [1.0]
    second = Pullback(lambda n: [Pullback(chain, [n], [True])([n])[0]], [x], [True])  # type: ignore[list-item]
    found = second([v])[0]
    assert found is not None and found.array() == 2.0


@pytest.mark.feature("T7")
@pytest.mark.parametrize("count", [250, 500, 1000])
def test_doubling_a_thousand_times_is_linear(count: int, rule_calls: list[str]) -> None:
    """2^1000 paths, 1000 nodes: every rule runs once."""
    x = ad.tensor(1.0, dtype=ad.float64, requires_grad=True)
    y = x
    for _ in range(count):
        y = y + y
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 2.0**count
    assert rule_calls == ["add"] * count


@pytest.mark.feature("T7")
@pytest.mark.parametrize("size", [50, 100, 200])
def test_derivatives_of_derivatives_grow_linearly(size: int, rule_calls: list[str]) -> None:
    """Reverse over reverse of a chain: rule calls are a fixed number per op of the program."""

    def chain(x: Tensor) -> Tensor:
        for _ in range(size):
            x = ad.sin(x)
        return x

    ad.grad(ad.grad(chain))(ad.tensor(0.3, dtype=ad.float64))
    first = len(rule_calls)
    assert first <= 8 * size


@pytest.mark.feature("T7")
def test_nodes_beside_the_path_are_not_visited(rule_calls: list[str]) -> None:
    x, w = leaf(2.0), leaf(3.0)
    side = x
    for _ in range(50):
        side = ops.sin(side)
    out = ops.exp(w) * 2.0 + side
    found = backward([out], [constant(np.array(1.0))], [w])
    assert set(found) == {w}
    assert sorted(rule_calls) == ["add", "exp", "mul"]


@pytest.mark.feature("T7")
def test_nodes_older_than_what_is_wanted_are_not_collected() -> None:
    x = leaf(1.0)
    for _ in range(100):
        x = ops.sin(x)
    middle = x
    for _ in range(5):
        x = ops.sin(x)
    assert len(reachable([x], middle.serial)) == 6


DIAMONDS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "two ways": (lambda x: ad.sin(x) * ad.exp(x), ((3,),)),
    "three ways and the input": (lambda x: ad.sin(x) * ad.exp(x) + x * x + x, ((2, 2),)),
    "same on both sides of a product": (lambda x: x * x, ((3,),)),
    "same on both sides of a matrix product": (lambda x: x @ x, ((3, 3),)),
    "product with its transpose": (lambda x: x @ x.T, ((2, 3),)),
    "same in every place of a concatenation": (lambda x: ad.cat([x, ad.sin(x), x]) ** 2, ((3,),)),
    "same in both branches": (lambda x: ad.where(x > 1, x * x, x * 3), ((4,),)),
    "quotient of itself": (lambda x: x / (1 + x * x), ((3,),)),
    "diamond of diamonds": (
        lambda x: (lambda y: (lambda z: z * y + z)(ad.sin(y) * y))(x * ad.exp(-x)),
        ((2,),),
    ),
    "broadcast against itself": (lambda x: x[:, None] * x[None, :], ((3,),)),
    "taken several times": (lambda x: x[[0, 2, 0, 0]] * x[[1, 1, 2, 0]], ((3,),)),
    "two inputs crossing": (lambda x, y: (x * y + x) * (x * y + y), ((2,), (2,))),
    "two results": (lambda x: ad.stack([x * x, ad.sin(x) * x]), ((2,),)),
}


@pytest.mark.feature("T8")
@pytest.mark.parametrize("name", DIAMONDS)
def test_fan_out(name: str) -> None:
    function, shapes = DIAMONDS[name]
    rng = np.random.default_rng(0)
    assert gradgradcheck(function, [ad.tensor(rng.uniform(0.5, 2, s)) for s in shapes])


@pytest.mark.feature("T8")
@pytest.mark.parametrize("uses", [1, 2, 7, 64])
def test_one_tensor_used_many_times(uses: int) -> None:
    x = leaf([1.0, 2.0])
    total = ops.sin(x)
    for k in range(1, uses):
        total = total + x * float(k)
    found = backward([total], [constant(np.ones(2))])[x].array()
    np.testing.assert_allclose(found, np.cos([1.0, 2.0]) + sum(range(uses)), 1e-14)


@pytest.mark.feature("T8")
def test_outputs_that_overlap() -> None:
    """One output upstream of another, and the same output twice: their cotangents add up."""
    x = leaf(2.0)
    y = x * x
    z = ops.sin(y)
    one = constant(np.array(1.0))
    found = backward([z, y, y], [one, one, one], [x, y])
    np.testing.assert_allclose(found[y].array(), np.cos(4.0) + 2)
    np.testing.assert_allclose(found[x].array(), (np.cos(4.0) + 2) * 4)


def test_wanted_nodes_that_do_not_take_part_are_absent() -> None:
    x, other = leaf(2.0), leaf(3.0)
    assert set(backward([x * x], [constant(np.array(1.0))], [x, other])) == {x}
    assert backward([constant(np.array(1.0))], [constant(np.array(1.0))], [x]) == {}


def test_release_lets_go_of_the_graph_and_a_second_pass_says_so() -> None:
    x = leaf(2.0)
    y = ops.sin(x * x)
    one = constant(np.array(1.0))
    assert backward([y], [one], release=True)[x].array() == pytest.approx(4 * np.cos(4.0))
    assert y.args is None and y.value is not None
    with pytest.raises(GradError, match="already used"):
        backward([y], [one])


# --- hooks --------------------------------------------------------------------------------------


def seen_messages(x: Tensor) -> list[tuple[str, float]]:
    messages: list[tuple[str, float]] = []

    def hook(child: Node, message: Tensor) -> None:
        assert child.op is not None
        messages.append((child.op.name, message.item()))

    x.register_message_hook(hook)
    return messages


@pytest.mark.feature("T36")
@pytest.mark.parametrize("computed", [False, True])
def test_one_message_per_child_and_their_sum(computed: bool) -> None:
    x = ad.tensor(0.5, dtype=ad.float64, requires_grad=True)
    y = x * 2 if computed else x
    messages, sums = seen_messages(y), list[float]()
    y.register_hook(lambda total: sums.append(total.item()))
    (ad.sin(y) + ad.exp(y) + 3 * y).backward()
    at = 1.0 if computed else 0.5
    wanted = {"sin": np.cos(at), "exp": np.exp(at), "mul": 3.0}
    assert {name for name, _ in messages} == set(wanted)
    assert len(messages) == 3
    for name, value in messages:
        assert value == pytest.approx(wanted[name], rel=1e-15)
    assert sums == [pytest.approx(sum(v for _, v in messages), rel=1e-15)]
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(sums[0] * (2 if computed else 1))


@pytest.mark.feature("T36")
def test_a_message_can_be_replaced() -> None:
    x = ad.tensor(0.5, dtype=ad.float64, requires_grad=True)

    def hook(child: Node, message: Tensor) -> Tensor | None:
        return message * 10 if child.op is TABLE["exp"] else None

    x.register_message_hook(hook)
    later = seen_messages(x)
    (ad.sin(x) + ad.exp(x)).backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(np.cos(0.5) + 10 * np.exp(0.5))
    assert dict(later)["exp"] == pytest.approx(10 * np.exp(0.5))  # hooks run in order


@pytest.mark.feature("T36")
def test_both_operands_send_a_message() -> None:
    x = ad.tensor(3.0, dtype=ad.float64, requires_grad=True)
    messages = seen_messages(x)
    (x * x).backward()
    assert messages == [("mul", 3.0), ("mul", 3.0)]


@pytest.mark.feature("T36")
def test_a_sum_can_be_replaced_and_hooks_removed() -> None:
    x = ad.tensor([1.0, 2.0], dtype=ad.float64, requires_grad=True)
    y = x * 3
    y.register_hook(lambda total: total * 0 + 1)
    handle = y.register_hook(lambda total: total * 5)
    handle.remove()
    (y * y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.feature("T36")
def test_hooks_of_a_leaf_stay_and_take_part_in_higher_derivatives() -> None:
    x = ad.tensor(2.0, dtype=ad.float64, requires_grad=True)
    x.register_hook(lambda total: total * x)  # x * 3 x^2
    (first,) = ad.autograd.grad(x * x * x, x, create_graph=True)
    assert first.item() == 2 * 12
    first.backward()  # d/dx 3 x^3 = 9 x^2, times x by the hook
    assert x.grad is not None
    assert x.grad.item() == 9 * 4 * 2


@pytest.mark.feature("T14")
def test_the_seed_of_a_scalar_is_exactly_one() -> None:
    for dtype in (ad.float64, ad.float32, ad.float16, ad.bfloat16):
        x = ad.tensor(2.0, dtype=dtype, requires_grad=True)
        seeds: list[Tensor] = []
        y = x * 1
        y.register_hook(seeds.append)
        y.backward()
        assert [(s.item(), s.dtype, s.shape) for s in seeds] == [(1.0, dtype, ())]


@pytest.mark.feature("T14")
def test_a_result_that_is_no_scalar_needs_a_cotangent() -> None:
    x = ad.tensor([[1.0, 2.0]], dtype=ad.float64, requires_grad=True)
    with pytest.raises(GradError, match=r"float64\[1, 2\]"):
        (x * x).backward()
    (x * x).backward(ad.tensor([[3.0, 5.0]], dtype=ad.float64))
    _, pull = ad.vjp(lambda v: v * v, x.detach())
    assert x.grad is not None
    expected: Sequence[Any] = pull(ad.tensor([[3.0, 5.0]], dtype=ad.float64))
    assert x.grad.tolist() == expected[0].tolist() == [[6.0, 20.0]]
