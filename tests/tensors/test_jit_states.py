"""Captured steps write over weights where they lie, and yet no value anybody holds ever changes."""

from __future__ import annotations

import gc
import sys
from typing import Any

import numpy as np
import psutil
import pytest

import adjoint as ad
from adjoint.base.errors import AdjointError
from adjoint.tensors import replay


@pytest.fixture(params=["in machine code", "in Python"])
def check(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to see whether states are as a run left them."""
    if request.param == "in Python":
        monkeypatch.setattr(replay, "CHECK", None)
    elif sys.implementation.name == "cpython" and sys.version_info < (3, 14):
        assert replay.CHECK is not None


class Setup:
    """A weight with momentum, and a captured step that doubles it and leaves a gradient."""

    def __init__(self) -> None:
        self.w = ad.tensor([1.0, 2.0], requires_grad=True)
        self.seen = ad.zeros(2)
        self.step = ad.jit(self._step)

    def _step(self, x: Any) -> Any:
        self.w.forget_gradient()
        loss = (self.w * self.w * x).sum()
        loss.backward()
        with ad.no_grad():
            self.w.mul_(2.0)
            self.seen.add_(self.w.grad)
        return loss


ONES = ad.ones(2)


def test_weights_and_gradients_stay_in_their_arrays(check: None) -> None:
    setup = Setup()
    setup.step(ONES)
    where = [id(t.node) for t in (setup.w, setup.seen, setup.w.grad)]
    grad = id(setup.w.grad)
    for _ in range(3):
        setup.step(ONES)
    assert [id(t.node) for t in (setup.w, setup.seen, setup.w.grad)] == where
    assert id(setup.w.grad) == grad
    assert setup.w.tolist() == [16.0, 32.0] and setup.w.grad.tolist() == [16.0, 32.0]
    assert setup.seen.tolist() == [30.0, 60.0] and setup.step.recordings == 1


HOLDERS = {
    "detach": lambda s: s.w.detach(),
    "clone": lambda s: s.w.clone(),
    "view": lambda s: s.w[0:2],
    "array": lambda s: s.w.detach().numpy(),
    "slice of the array": lambda s: s.w.detach().numpy()[0:2],
    "node": lambda s: s.w.node,
    "gradient": lambda s: s.w.grad,
    "node of the gradient": lambda s: s.w.grad.node,
    "array of the gradient": lambda s: s.w.grad.numpy(),
    "buffer": lambda s: s.seen.detach(),
    "product": lambda s: s.w * 1.0,
    "memory": lambda s: memoryview(s.seen.numpy()),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_what_somebody_holds_does_not_change(name: str, check: None) -> None:
    setup, other = Setup(), Setup()
    for _ in range(3):
        setup.step(ONES)
        other.step(ONES)
        held = HOLDERS[name](setup)
        before = content(held)
        for _ in range(2):
            setup.step(ONES)
            other.step(ONES)
        assert content(held) == before
        for a, b in zip(values(setup), values(other), strict=True):
            assert a == b
    assert setup.step.recordings == 1


def content(held: Any) -> list[float]:
    if isinstance(held, memoryview | np.ndarray):
        return held.tolist()
    return (held.array() if hasattr(held, "array") else held.detach().numpy()).tolist()


def values(setup: Setup) -> list[Any]:
    return [setup.w.tolist(), setup.seen.tolist(), setup.w.grad.tolist()]


def test_an_eager_graph_keeps_the_weights_it_was_computed_with() -> None:
    setup = Setup()
    setup.step(ONES)
    loss = (setup.w * setup.w).sum()
    setup.step(ONES)
    setup.step(ONES)
    setup.w.grad = None
    loss.backward()
    assert setup.w.grad.tolist() == [4.0, 8.0]  # 2 w, of the w that was


def test_changes_from_outside_are_seen(check: None) -> None:
    setup = Setup()
    setup.step(ONES)
    with ad.no_grad():
        setup.w.fill_(1.0)
    setup.seen.zero_()
    assert setup.step(ONES).item() == 2.0
    assert values(setup) == [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]
    setup.w.data = ad.tensor([3.0, 3.0])
    assert setup.step(ONES).item() == 18.0
    setup.w.grad = None
    assert setup.step(ONES).item() == 72.0
    setup.w.grad = mine = ad.ones(2)
    setup.step(ONES)
    assert mine.tolist() == [1.0, 1.0] and setup.w.grad.tolist() == [24.0, 24.0]
    assert setup.step.recordings == 1


def test_a_weight_given_from_an_array_leaves_the_array_alone() -> None:
    setup = Setup()
    given = np.array([5.0, 5.0], np.float32)
    setup.seen.data = ad.from_numpy(given)
    setup.step(ONES)
    setup.step(ONES)
    assert given.tolist() == [5.0, 5.0] and setup.seen.tolist() == [11.0, 17.0]


def test_loading_a_state_between_steps() -> None:
    layer = ad.nn.Linear(3, 2)
    optimiser = ad.optim.Adam(layer.parameters(), lr=0.1)

    @ad.jit
    def step(x: Any) -> Any:
        optimiser.zero_grad()
        loss = layer(x).square().mean()
        loss.backward()
        optimiser.step()
        return loss

    x = ad.ones(4, 3)
    step(x)
    saved = {k: v.clone() for k, v in layer.state_dict().items()}
    kept = {k: v.tolist() for k, v in saved.items()}
    losses = [step(x).item() for _ in range(3)]
    assert {k: v.tolist() for k, v in saved.items()} == kept
    layer.load_state_dict(saved)
    assert losses[0] == step(x).item()
    assert {k: v.tolist() for k, v in saved.items()} == kept


def test_two_programs_share_their_states(check: None) -> None:
    setup = Setup()
    look = ad.jit(lambda x: (setup.w * x + setup.seen).detach())
    setup.step(ONES)
    where = id(setup.w.node)
    for turn in range(1, 4):
        w, seen = setup.w.tolist(), setup.seen.tolist()
        assert look(ONES).tolist() == [a + b for a, b in zip(w, seen, strict=True)]
        setup.step(ONES)
        assert setup.w.tolist() == [2.0 ** (turn + 1), 2.0 ** (turn + 2)]
    assert id(setup.w.node) == where  # reading it did not make the other program copy


def test_an_argument_that_is_also_a_state(check: None) -> None:
    total = ad.tensor([1.0, 2.0])

    @ad.jit
    def add(x: Any) -> Any:
        total.add_(x)
        return x * 1.0

    for _ in range(3):
        before = total.tolist()
        assert add(total).tolist() == before
        assert total.tolist() == [2 * b for b in before]
        assert add(total[0:2]).tolist() == [2 * b for b in before]


def test_arguments_that_are_changed_inside() -> None:
    f = ad.jit(lambda x: x.add_(1.0) * 2.0)
    x = ad.zeros(2)
    old = x.detach().numpy().copy()
    for turn in range(1, 4):
        assert f(x).tolist() == [2.0 * turn] * 2
        assert x.tolist() == [float(turn)] * 2
    assert old.tolist() == [0.0, 0.0]


def test_the_same_tensor_twice() -> None:
    f = ad.jit(lambda x, y: x * 2.0 + y)
    x, y = ad.ones(2), ad.zeros(2)
    for _ in range(2):
        assert f(x, x).tolist() == [3.0, 3.0]
        assert f(x, y).tolist() == [2.0, 2.0]
        assert f(x, y).tolist() == [2.0, 2.0]
        assert f(x, x).tolist() == [3.0, 3.0]


def test_handles_that_share_a_value_may_part() -> None:
    a = ad.ones(2)
    b = ad.zeros(2)
    b.data = a.detach()
    b.node = a.node

    @ad.jit
    def step(x: Any) -> Any:
        a.add_(x)
        return a * 10.0 + b

    for turn in range(1, 4):
        assert step(ONES).tolist() == [10.0 * (turn + 1) + 1.0] * 2
        assert b.tolist() == [1.0, 1.0]


def test_swapped_values() -> None:
    a, b = ad.tensor([1.0, 2.0]), ad.tensor([3.0, 4.0])

    @ad.jit
    def swap(x: Any) -> None:
        c = a.detach() * x
        a.copy_(b)
        b.copy_(c)

    for turn in range(4):
        expected = ([3.0, 4.0], [1.0, 2.0]) if turn % 2 == 0 else ([1.0, 2.0], [3.0, 4.0])
        swap(ONES)
        assert (a.tolist(), b.tolist()) == expected


def test_arguments_in_any_layout() -> None:
    f = ad.jit(lambda x: x * 2.0 + 1.0)
    big = np.arange(24, dtype=np.float32).reshape(4, 6)
    bytes_ = np.zeros(4 * 6 * 4 + 1, np.uint8)
    odd = bytes_[1:].view(np.float32)[:12].reshape(2, 6)
    odd[...] = 3.0
    for x in (big[::2], big[:2, ::-1], np.asfortranarray(big[:2]), big[1:3], odd):
        for _ in range(2):
            np.testing.assert_array_equal(f(ad.from_numpy(x)).numpy(), x * 2 + 1)
    assert f(ad.zeros(2, 1).expand(2, 6)).tolist() == [[1.0] * 6] * 2
    assert f.recordings == 1


def test_results_are_the_callers() -> None:
    f = ad.jit(lambda x: (x + 1.0, x))
    x = ad.zeros(3)
    kept = [f(x) for _ in range(3)]
    f(ad.ones(3))
    assert all(a.tolist() == [1.0] * 3 and b.tolist() == [0.0] * 3 for a, b in kept)


def test_an_error_of_a_host_step_leaves_everything_as_it_was() -> None:
    w = ad.eye(2)
    count = ad.zeros(1)

    @ad.jit
    def step(x: Any) -> Any:
        count.add_(1.0)
        lower = ad.linalg.cholesky(x)
        w.copy_(lower)
        return lower

    good, bad = ad.eye(2) * 4.0, ad.tensor([[1.0, 2.0], [2.0, 1.0]])
    step(good)
    for _ in range(2):
        with pytest.raises((AdjointError, np.linalg.LinAlgError)):
            step(bad)
        assert count.tolist() == [1.0] and w.tolist() == [[2.0, 0.0], [0.0, 2.0]]
    step(good)
    assert count.tolist() == [2.0]


def test_many_replays_keep_memory_constant(check: None) -> None:
    setup = Setup()
    process = psutil.Process()
    xs = [ad.ones(2) for _ in range(3)]
    for i in range(200):
        setup.step(xs[i % 3])
    gc.collect()
    objects, before = len(gc.get_objects()), process.memory_info().rss
    for i in range(10_000):
        setup.step(xs[i % 3])
    gc.collect()
    assert len(gc.get_objects()) <= objects + 20
    assert process.memory_info().rss - before < 1 << 20


def test_a_state_that_numpy_computes_with() -> None:
    """A host step reads a weight, which nothing but its handle holds."""
    w = ad.eye(3) * 4.0

    @ad.jit
    def step() -> Any:
        lower = ad.linalg.cholesky(w)
        w.add_(ad.eye(3))
        return lower

    for turn in range(4):
        np.testing.assert_allclose(step().numpy(), np.eye(3) * np.sqrt(4 + turn), rtol=1e-6)


def test_a_weight_that_is_frozen_or_changed_in_kind_records_again(check: None) -> None:
    w = ad.tensor([1.0, 2.0], requires_grad=True)
    v = ad.tensor([1.0, 1.0], requires_grad=True)
    optimiser = ad.optim.SGD([w, v], lr=0.5)

    @ad.jit
    def step(x: Any) -> Any:
        optimiser.zero_grad()
        loss = (w * v.sum() * x).sum()
        loss.backward()
        return loss

    step(ONES)
    step(ONES)
    assert w.grad is not None
    w.requires_grad_(False)
    w.grad = None
    step(ONES)
    assert w.grad is None and step.recordings == 2
    w.requires_grad_(True)
    step(ONES)
    assert w.grad.tolist() == [2.0, 2.0] and step.recordings == 2
    v.data = ad.ones(3)
    step(ONES)
    assert w.grad.tolist() == [3.0, 3.0] and v.grad.tolist() == [3.0] * 3 and step.recordings == 3


@pytest.mark.filterwarnings("ignore:jit. add has been recorded 5 times")
def test_several_shapes_in_turn() -> None:
    total = ad.zeros(1)

    @ad.jit
    def add(x: Any) -> Any:
        total.add_(x.sum())
        return x + total

    expected = 0.0
    for turn in range(12):
        size = 2 + turn % 6
        expected += size
        assert add(ad.ones(size)).tolist() == [expected + 1.0] * size
    assert add.recordings == 6


def test_large_programs_share_an_arena() -> None:
    def chain(x: Any) -> Any:
        for _ in range(3):
            x = ad.softmax(x @ x, dim=1)
        return x.sum()

    first, second = ad.jit(chain), ad.jit(chain)
    small, large = ad.ones(600, 600), ad.ones(700, 700)
    for _ in range(3):
        assert first(small).item() == pytest.approx(600)
        assert second(large).item() == pytest.approx(700)
    arenas = [f._last.replay._free[0].instance.arena for f in (first, second)]
    assert arenas[0] is arenas[1] and arenas[0].size == second.memory().arena >= 1 << 20


def test_a_node_that_takes_the_place_of_a_freed_one_is_noticed(check: None) -> None:
    """Memory of objects is used again at once; what lies there is another node."""
    setup = Setup()
    setup.step(ONES)
    for turn in range(50):
        with ad.no_grad():
            setup.w.mul_(0.5)
            setup.w.mul_(1.0)
        setup.seen.zero_()
        setup.seen.add_(float(turn))
        assert setup.step(ONES).item() == 5.0
        assert setup.w.tolist() == [2.0, 4.0] and setup.w.grad.tolist() == [2.0, 4.0]
        assert setup.seen.tolist() == [2.0 + turn, 4.0 + turn]
    assert setup.step.recordings == 1


@pytest.mark.feature("T28")
def test_tables_of_kernels_time_and_memory() -> None:
    setup = Setup()
    with pytest.raises(AdjointError, match="nothing is recorded"):
        setup.step.profile()
    for _ in range(2):
        setup.step(ONES)
    before = values(setup)
    profile = setup.step.profile(rounds=2)
    assert values(setup) == before
    assert len(profile.rows) >= 1 and "GFLOP/s" in str(profile) and profile.seconds > 0
    assert "wave" in setup.step.kernels and len(setup.step.kernels.splitlines()) > 1
    assert setup.step.memory().inputs == 4 * 8 and "arena" in str(setup.step.memory())
    setup.step(ONES)
    assert setup.w.tolist() == [2 * x for x in before[0]]


@pytest.mark.parametrize(
    "options", [{"maximize": True}, {"momentum": 0.9, "dampening": 0.1}], ids=str
)
def test_what_is_computed_before_the_first_input_is_met(options: dict[str, Any]) -> None:
    p = ad.ones(3, requires_grad=True)
    optimiser = ad.optim.SGD([p], lr=0.1, **options)

    @ad.jit
    def step() -> Any:
        p.grad = ad.zeros(3)
        optimiser.step()
        return p * 1

    assert step().tolist() == [1, 1, 1]
