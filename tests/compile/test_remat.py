"""Steps that compute values again to fit a budget: the same bits, less memory, little work."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError
from adjoint.compile.fuse import prepare
from adjoint.compile.interpreted import Interpreted
from adjoint.compile.outline import Outline, seconds
from adjoint.compile.program import Program
from adjoint.compile.remat import arena_bytes, rematerialize
from adjoint.ir.graph import Graph


def plain(width: int) -> Any:
    return nn.Sequential(nn.Linear(width, width), nn.GELU())


def noisy(width: int) -> Any:
    return nn.Sequential(
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(0.2)
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = noisy(width)

    def forward(self, x: Any) -> Any:
        return x + self.inner(x) * x.tanh()


def recorded(
    depth: int, block: Any = plain, width: int = 16, rows: int = 64, train: bool = False
) -> Graph:
    """The raw recording of a step: forward and backward, and with ``train`` an update."""
    ad.manual_seed(0)
    layers = nn.ModuleList([block(width) for _ in range(depth)])
    params = list(layers.parameters())
    optimiser = ad.optim.SGD(params, lr=0.1, momentum=0.9)

    def step(x: Any) -> Any:
        for p in params:
            p.grad = None
        for layer in layers:
            x = layer(x)
        loss = x.square().mean()
        loss.backward()
        if train:
            optimiser.step()
        return loss

    return prepare(ad.record(step, ad.empty(rows, width, device="meta")))


def arrays(graph: Graph) -> list[Any]:
    rng = np.random.default_rng(0)
    found: list[Any] = []
    for node in graph.inputs:
        if node.dtype.kind == "f":
            found.append(np.array(0.3 * rng.normal(size=node.shape), node.dtype.numpy))
        else:
            found.append(np.array(rng.integers(0, 100, node.shape), node.dtype.numpy))
    return found


def results(program: Any, graph: Graph) -> list[bytes]:
    return [np.array(a).tobytes() for a in program([a.copy() for a in arrays(graph)])]


def work(graph: Graph) -> float:
    return sum(seconds(n) for n in graph.nodes if n.op is not None and n.op.kind != "view")


# --- the same results -----------------------------------------------------------------------------


@pytest.mark.feature("E1", "E2")
@pytest.mark.parametrize(("block", "train"), [(plain, True), (Residual, False), (noisy, True)])
def test_every_bit_is_the_same(block: Any, train: bool) -> None:
    graph = recorded(5, block, train=train)
    again = rematerialize(graph, 0.7)
    assert len(again.nodes) > len(graph.nodes)
    again.verify()
    assert results(Interpreted(again), graph) == results(Interpreted(graph), graph)
    assert results(Program(again), graph) == results(Program(graph), graph)


@pytest.mark.feature("E2")
def test_a_budget_is_kept_by_the_program() -> None:
    graph = recorded(8)
    start = Program(graph).scope.placement.size
    for budget in (0.7, start // 2):
        found = Program(rematerialize(graph, budget)).scope.placement.size
        assert found <= (budget * start if budget <= 1 else budget)


def test_the_choice_is_always_the_same() -> None:
    """Two recordings of one step must not become two programs."""
    assert rematerialize(recorded(6), 0.6).key == rematerialize(recorded(6), 0.6).key


def test_enough_memory_changes_nothing() -> None:
    graph = recorded(4)
    assert rematerialize(graph, 1.0).key == graph.key
    assert rematerialize(graph, 1 << 30).key == graph.key


@pytest.mark.feature("E2")
def test_an_impossible_budget_says_what_is_possible() -> None:
    graph = recorded(9)
    with pytest.raises(
        ArgumentError, match=r"100 bytes are too few: .* needs [\d,]+, and ([\d,]+)"
    ):
        rematerialize(graph, 100)


def test_a_graph_without_anything_to_drop() -> None:
    graph = ad.record(lambda x: (x @ x).sin() @ x, ad.empty(8, 8, device="meta"))
    with pytest.raises(ArgumentError, match="too few"):
        rematerialize(graph, 1e-3)


def test_random_numbers_are_drawn_once() -> None:
    """Dropout masks come from the same key the second time."""
    graph = recorded(6, lambda w: nn.Sequential(plain(w), nn.Dropout(0.5)))
    again = rematerialize(graph, 0.7)
    keys = [n for n in again.inputs if n.dtype is ad.uint32]
    assert len(keys) == 6
    assert len(again.inputs) == len(graph.inputs)


# --- how much memory and work ---------------------------------------------------------------------


@pytest.mark.feature("E1")
def test_memory_of_deep_nets_and_what_it_costs() -> None:
    first = 0.5 * arena_bytes(recorded(16, rows=256))
    for depth in (16, 36):
        graph = recorded(depth, rows=256)
        again = rematerialize(graph, first * (depth / 16) ** 0.5)
        assert arena_bytes(again) <= first * (depth / 16) ** 0.5
        assert work(again) <= 1.35 * work(graph)


@pytest.mark.feature("E1")
@pytest.mark.slow
def test_memory_up_to_1024_layers() -> None:
    first = 0.5 * arena_bytes(recorded(16, rows=256))
    for depth in (32, 128, 256, 512, 1024):
        graph = recorded(depth, rows=256)
        again = rematerialize(graph, first * (depth / 16) ** 0.6)
        assert work(again) <= 1.35 * work(graph)


@pytest.mark.feature("E2")
@pytest.mark.slow
@pytest.mark.parametrize("block", [plain, noisy])
@pytest.mark.parametrize("share", [0.7, 0.5])
def test_close_to_the_best_choice_of_layers(block: Any, share: float) -> None:
    """Within 10 % of the best of all 2^9 ways to keep the values of whole layers."""
    graph = recorded(9, block, rows=256)
    goal = share * arena_bytes(graph)
    found = rematerialize(graph, goal)
    outline = Outline(graph)
    turn = len(outline) // 2
    turn = outline.peak(outline.plain())[1]
    used = {r for i in range(turn, len(outline)) for r in outline.reads[i] if r < turn}
    base = sum(outline.seconds)
    best = base * 2
    for keep in product([False, True], repeat=9):
        kept = {r for r in used if keep[min(r * 9 // turn, 8)]}
        order = outline.again(turn, kept)
        if outline.peak(order)[0] <= goal:
            best = min(best, sum(outline.seconds[n] for n, _ in order))
    assert total_seconds(Outline(found)) <= 1.1 * best


def total_seconds(outline: Outline) -> float:
    return sum(outline.seconds)


# --- the outline ----------------------------------------------------------------------------------


def test_what_is_stored() -> None:
    def function(x: Any) -> Any:
        y = x.sin() * 2  # used twice
        return (y.T @ x).tanh().sum(), y.exp().sum()

    outline = Outline(prepare(ad.record(function, ad.empty(4, 4, device="meta"))))
    names = [n.op.name for n in outline.nodes if n.op is not None]
    assert names == ["mul", "dot", "reduce_sum", "reduce_sum"]
    assert outline.sizes == [64, 64, 0, 0]
    assert outline.reads == [(), (0,), (1,), (0,)]
    assert outline.peak(outline.plain())[0] == 128


def test_the_order_with_second_computations() -> None:
    def chain(x: Any) -> Any:
        values = [x]
        for _ in range(3):
            values.append(values[-1] @ values[-1])
        for value in reversed(values[:-1]):
            values.append(values[-1] @ value)
        return values[-1] @ values[0]

    outline = Outline(prepare(ad.record(chain, ad.empty(2, 2, device="meta"))))
    order = outline.again(3, {0})
    assert numbers(order)[:3] == [0, 1, 2]
    assert sorted(numbers(order)) != numbers(outline.plain())
    for at, (_, reads) in enumerate(order):
        assert all(r < at for r in reads)


def numbers(order: Sequence[tuple[int, Sequence[int]]]) -> list[int]:
    return [n for n, _ in order]
