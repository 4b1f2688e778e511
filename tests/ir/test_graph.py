"""Graph: what was recorded prints, verifies, hashes and runs; eager results can be walked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import Tensor, ops
from adjoint.base.dtype import float32, float64, int64
from adjoint.base.errors import RecordingError
from adjoint.ir.graph import Graph, record, recording
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Node, Type, abstract, constant, grad_mode
from adjoint.ir.reverse import backward
from adjoint.ops import Region
from adjoint.ops.structure import results
from adjoint.tensors.handle import wrap

VECTOR = Type((3,), float64)


def sines(x: Node) -> list[Node]:
    return [ops.sin(x) * x + 2.0]


def constants(*values: Any) -> list[Node]:
    return [constant(np.asarray(v, np.float64)) for v in values]


# --- recording and running ----------------------------------------------------------------------


def test_a_graph_prints() -> None:
    table = constant(np.arange(3.0))

    def function(x: Node, i: Node) -> list[Node]:
        with grad_mode(False):
            fixed = ops.exp(x)
        return [ops.gather(table * x, i, batch=0), ops.reduce_sum(fixed, axes=(0,))]

    graph = record(function, [VECTOR, Type((2,), int64)], name="lookup")
    assert str(graph) == (
        "lookup(x0: float64[3], x1: int64[2]):\n"
        "  c0: float64[3] = constant\n"
        "  n0: float64[3] = exp(x0)  # no gradient\n"
        "  n1: float64[3] = mul(c0, x0)\n"
        "  n2: float64[2] = gather(n1, x1, batch=0)\n"
        "  n3: float64[] = reduce_sum(n0, axes=(0,))\n"
        "  return n2, n3"
    )
    assert repr(graph) == "<Graph lookup: 2 inputs, 4 nodes>"


def test_regions_loops_and_several_results_print() -> None:
    polar = Region("polar", lambda r, a: [r * ops.cos(a), r * ops.sin(a)])
    body = record(lambda c, x: [c * x, c], [Type((), float64)] * 2, name="body")

    text = str(record(lambda r, a: results(polar(r, a)), [VECTOR, VECTOR]))
    assert "(float64[3], float64[3]) = call(x0, x1, region=polar)" in text
    assert "pick(n0, index=1)" in text
    looped = record(
        lambda x, xs: results(ops.loop(x, xs, body=body, carries=1, scanned=1, length=3)),
        [Type((), float64), VECTOR],
    )
    assert f"loop(x0, x1, body={body.key[:16]}, carries=1, length=3, scanned=1)" in str(looped)


@pytest.mark.feature("T4")
def test_recording_computes_nothing_that_depends_on_an_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("computed")

    monkeypatch.setattr(ops.sin, "ref", fail)
    assert len(record(sines, [VECTOR]).nodes) == 3


def test_running_computes_records_or_differentiates() -> None:
    graph = record(sines, [VECTOR])
    x = constants([1.0, 2.0, 3.0])[0]
    (value,) = interpret(graph, [x])
    np.testing.assert_array_equal(value.array(), np.sin(x.array()) * x.array() + 2)
    again = record(lambda v: interpret(graph, [v]), [VECTOR])
    assert again == graph and again.key == graph.key
    x.needs_grad = True
    (value,) = interpret(graph, [x])
    found = backward([value], [constant(np.ones(3))])[x].array()
    np.testing.assert_allclose(found, np.cos(x.array()) * x.array() + np.sin(x.array()))


def test_what_was_recorded_without_gradients_runs_without_them() -> None:
    def function(x: Node) -> list[Node]:
        with grad_mode(False):
            still = ops.sin(x)
        return [still * x]

    x = constants(2.0)[0]
    x.needs_grad = True
    (value,) = interpret(record(function, [Type((), float64)]), [x])
    assert backward([value], constants(1.0))[x].array() == np.sin(2.0)


def test_an_output_may_be_an_input_or_a_constant() -> None:
    given = constants(7.0)[0]
    graph = record(lambda x: [x, given, x], [VECTOR])
    assert graph.nodes == () and graph.constants == (given,)
    x = constants([1.0, 2.0, 3.0])[0]
    assert interpret(graph, [x]) == [x, given, x]


def test_a_recorded_node_has_no_value_and_says_where_it_was_made() -> None:
    with recording():
        x = abstract(VECTOR)
        y = ops.sin(x)
        with pytest.raises(RecordingError, match=r"(?s)float64\[3\] has no value.*test_graph.py"):
            y.array("item")
    with pytest.raises(RecordingError, match=r"(?s)left over.*test_graph.py"):
        ops.cos(y)
    assert y.is_abstract and not constants(1.0)[0].is_abstract


# --- verification -------------------------------------------------------------------------------


def test_verify_accepts_what_was_recorded_and_refuses_what_was_tampered_with() -> None:
    graph = record(sines, [VECTOR])
    graph.verify()
    order = graph.nodes
    graph.nodes = order[::-1]
    with pytest.raises(AssertionError, match="before it is computed"):
        graph.verify()
    graph.nodes = order[:-1]
    with pytest.raises(AssertionError, match="not computed by the graph"):
        graph.verify()
    graph.nodes = order
    order[1].dtype = float32
    with pytest.raises(AssertionError, match=r"infer says|one type"):
        graph.verify()


def test_updates_must_keep_the_type() -> None:
    with recording():
        x, y = abstract(VECTOR), abstract(Type((), float64))
        new = ops.sin(x)
    graph = Graph([x, y], [new], updates=[(0, 0)])
    graph.verify()
    assert str(graph).endswith("return n0\n  update x0 = n0")
    with pytest.raises(AssertionError, match="update of input 1"):
        Graph([x, y], [new], updates=[(1, 0)]).verify()


def test_a_rule_that_breaks_its_promise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.sin, "ref", lambda x: np.sin(x).astype(np.float32))
    with pytest.raises(AssertionError, match=r"infer says .*float64.* ref gives .*float32"):
        ops.sin(constants(1.0)[0])


# --- keys ---------------------------------------------------------------------------------------


def scaled(by: float) -> Callable[[Node], list[Node]]:
    return lambda x: [x * by]


def with_table(*values: float) -> Callable[[Node], list[Node]]:
    return lambda x: [x * constants(values)[0]]


def reduced(*axes: int) -> Callable[[Node], list[Node]]:
    return lambda x: [ops.reduce_sum(x, axes=axes)]


def still(x: Node) -> list[Node]:
    with grad_mode(False):
        return sines(x)


def in_region(body: Callable[..., Sequence[Node]]) -> Callable[[Node], list[Node]]:
    region = Region("same name", body)
    return lambda x: [region(x)]


def scanned(body: Callable[[Node, Node], list[Node]], length: int) -> Callable[[Node], list[Node]]:
    def function(x: Node) -> list[Node]:
        graph = record(body, [VECTOR, VECTOR])
        return results(ops.loop(x, x, body=graph, carries=1, scanned=0, length=length))

    return function


PROGRAMS: dict[str, Callable[[Node], list[Node]]] = {
    "sines": sines,
    "cosines": lambda x: [ops.cos(x) * x + 2.0],
    "other constant": lambda x: [ops.sin(x) * x + 2.0000001],
    "other wiring": lambda x: [x * ops.sin(x) + 2.0],
    "two results": lambda x: [*sines(x), x],
    "results turned round": lambda x: [x, *sines(x)],
    "without gradients": still,
    "scaled by 2": scaled(2.0),
    "scaled by -0": scaled(-0.0),
    "scaled by 0": scaled(0.0),
    "table 1 2 3": with_table(1, 2, 3),
    "table 1 2 4": with_table(1, 2, 4),
    "over nothing": reduced(),
    "over the axis": reduced(0),
    "a region": in_region(lambda x: [ops.sin(x)]),
    "another region of that name": in_region(lambda x: [ops.cos(x)]),
    "a loop": scanned(lambda c, x: [c * x], 3),
    "a longer loop": scanned(lambda c, x: [c * x], 4),
    "another loop": scanned(lambda c, x: [c + x], 3),
}


def test_equal_programs_have_equal_keys_and_others_do_not() -> None:
    keys = {name: record(f, [VECTOR]).key for name, f in PROGRAMS.items()}
    assert keys == {name: record(f, [VECTOR]).key for name, f in PROGRAMS.items()}
    assert len(set(keys.values())) == len(PROGRAMS)
    for shape, dtype in [((4,), float64), ((3,), float32)]:
        assert record(sines, [Type(shape, dtype)]).key != keys["sines"]
    first, second = (record(sines, [VECTOR]) for _ in range(2))
    assert first == second and hash(first) == hash(second) and first != record(still, [VECTOR])


def test_a_user_function_is_the_same_each_time_it_is_recorded() -> None:
    class Double(ad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x + x

        @staticmethod
        def backward(ctx: Any, ct: Tensor) -> Tensor:
            return ct * 2

    def function(x: Node) -> list[Node]:
        return [Double.apply(wrap(x)).node]

    assert record(function, [VECTOR]).key == record(function, [VECTOR]).key


def test_names_and_the_order_of_recording_unused_things_do_not_matter() -> None:
    def noisy(x: Node) -> list[Node]:
        ops.exp(x)
        return sines(x)

    assert record(noisy, [VECTOR]).key == record(sines, [VECTOR]).key


# --- walking what was computed eagerly ----------------------------------------------------------


def model(w: Tensor, x: Tensor, b: Tensor) -> Tensor:
    h = ad.tanh(x @ w + b)
    y = ad.cat([h, h[:, [0, 1, 0]]], 1)
    return (ad.where(y > 0, y, y * 0.1) ** 2).mean(0).sum() + w.amax() * b[1]


@pytest.mark.feature("T4")
def test_walking_a_result_reaches_every_leaf_and_reruns_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    w, b = (ad.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 4), (4,)))
    x = ad.tensor(rng.standard_normal((5, 3)))
    out = model(w, x, b)
    nodes, leaves = walk(out.grad_fn)
    assert {w.node, b.node} <= set(leaves)
    assert x.node in leaves
    values: dict[Node, Any] = {n: n.array() for n in leaves}
    for node in nodes:
        assert node.op is not None and node.args is not None
        values[node] = node.op.ref(*(values[a] for a in node.args), **node.params)
        np.testing.assert_array_equal(values[node], node.value if node.parts else node.array())
    assert values[out.node].tobytes() == out.detach().numpy().tobytes()


def walk(start: Node | None) -> tuple[list[Node], list[Node]]:
    """Computed nodes, oldest first, and leaves, by ``args`` alone."""
    assert start is not None
    seen: set[Node] = set()
    stack = [start]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            assert node.args is not None
            stack.extend(node.args)
    ordered = sorted(seen, key=lambda n: n.serial)
    return [n for n in ordered if n.args], [n for n in ordered if not n.args]


@pytest.mark.feature("T4")
def test_the_walked_graph_runs_on_other_leaves() -> None:
    """Comparisons carry no gradient and are remembered by their value: there are none here."""

    def smooth(w: Tensor, x: Tensor, b: Tensor) -> Tensor:
        h = ad.tanh(x @ w + b)
        return (ad.cat([h, h[:, [0, 1, 0]]], 1) ** 2).mean(0).sum()

    rng = np.random.default_rng(1)
    w, b = (ad.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 4), (4,)))
    x = ad.tensor(rng.standard_normal((5, 3)))
    graph = ad.autograd.graph(smooth(w, x, b))
    assert graph.inputs == (w.node, b.node)
    again = interpret(graph, [w.node, b.node])[0].array()
    assert again.tobytes() == smooth(w, x, b).detach().numpy().tobytes()
    w2, b2 = (rng.standard_normal(s) for s in ((3, 4), (4,)))
    other = interpret(graph, [constant(w2), constant(b2)])[0].array()
    assert other.item() == smooth(ad.tensor(w2), x, ad.tensor(b2)).item()


@pytest.mark.feature("T5")
def test_without_a_graph_the_value_stays() -> None:
    w = ad.tensor([1.0, 2.0], requires_grad=True)
    y = (w * w).sum()
    y.backward()
    assert y.node.args is None and y.item() == 5.0
