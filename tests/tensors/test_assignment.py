"""Handles over immutable values: in-place changes, views, ``.data``, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError, GradError, ShapeError

EVERY_OTHER = slice(None, None, 2)
PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "add_ after use": lambda m, x: ((y := x * x), y.add_(1.0), y * y)[-1],
    "mul_ on a result": lambda m, x: (x * 2).mul_(x),
    "set a row": lambda m, x: ((y := x * 1.0), y.__setitem__(0, x[1] * 3), y * y)[-1],
    "set a slice": lambda m, x: ((y := x * 1), y.__setitem__((..., EVERY_OTHER), 5.0), y * y)[-1],
    "set by mask": lambda m, x: ((y := x * 1.0), y.__setitem__(x > 0, 0.5), y * y)[-1],
    "set by indices": lambda m, x: ((y := x * 1.0), y.__setitem__([2, 0], x[:2]), y * y)[-1],
    "fill a view": lambda m, x: ((y := x * 1.0), y[1].fill_(2.0), y * y)[-1],
    "scale a view": lambda m, x: ((y := x * x), y[:, 1].mul_(3.0), y * x)[-1],
    "change a transposed view": lambda m, x: ((y := x * x), y.t()[0].add_(x[:, 1]), y * y)[-1],
    "view of a view": lambda m, x: ((y := x * x), y.view(-1)[2:5].zero_(), y + x)[-1],
    "in-place on a diagonal": lambda m, x: ((y := x * x), y[:, :3].diagonal().mul_(2.0), y)[-1],
    "augmented assignment": lambda m, x: _augmented(x),
    "zero under no_grad is passed over": lambda m, x: _clamped(m, x),
    "copy_": lambda m, x: ((y := x * 1.0), y.copy_(x * x), y * x)[-1],
    "unsqueeze then change": lambda m, x: ((y := x * x), y.unsqueeze(0)[0, 1].mul_(x[0]), y)[-1],
}  # fmt: skip


def _augmented(x: Any) -> Any:
    y = x * x
    y += x
    y *= 2.0
    y[0] -= x[1]
    return y * y


def _clamped(m: Any, x: Any) -> Any:
    y = x + 1.0
    with m.no_grad():
        y.clamp_(0.0, 1.5)
    return (y * 3.0).sum() + 0.0 * x.sum()


@pytest.mark.feature("T20", "T13")
@pytest.mark.parametrize("name", PROGRAMS)
def test_in_place_programs_give_torchs_values_and_gradients(name: str) -> None:
    value = np.random.default_rng(0).normal(size=(3, 4))
    x = ad.tensor(value, requires_grad=True)
    t = torch.tensor(value, requires_grad=True)
    ours, oracle = PROGRAMS[name](ad, x), PROGRAMS[name](torch, t)
    np.testing.assert_allclose(ours.detach().numpy(), oracle.detach().numpy(), rtol=1e-12)
    ours.sum().backward()
    oracle.sum().backward()
    assert x.grad.shape == x.shape
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12)


OVERWRITES: dict[str, Callable[[Any], Any]] = {
    "data =": lambda w: setattr(w, "data", w.detach() * 100.0),
    "data[...] =": lambda w: w.data.__setitem__(0, 99.0),
    "data.fill_": lambda w: w.data.fill_(7.0),
    "data.mul_": lambda w: w.data.mul_(3.0),
    "data view": lambda w: w.data.view(-1)[1:].zero_(),
    "detach().add_": lambda w: w.detach().add_(5.0),
    "no_grad -=": lambda w: w.__isub__(1.0),
    "no_grad copy_": lambda w: w.copy_(w * 0.0),
    "no_grad setitem": lambda w: w.__setitem__(1, 3.0),
    "no_grad view": lambda w: w[0].zero_(),
}
USES: dict[str, Callable[[Any], Any]] = {
    "square": lambda w: (w * w).sum(),
    "exp": lambda w: ad.exp(w).sum(),
}


@pytest.mark.feature("T20")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", OVERWRITES)
def test_overwriting_what_backward_needs_never_gives_a_wrong_gradient(name: str, use: str) -> None:
    """Twenty planted cases: the gradient is that of the values used forward, and identity stays."""
    value = np.array([[0.5, -1.0], [2.0, 0.1]])
    w = ad.tensor(value, requires_grad=True)
    same = w
    loss = USES[use](w)
    with ad.no_grad():
        OVERWRITES[name](w)
    assert same is w and w.requires_grad and w.is_leaf
    assert not np.array_equal(w.detach().numpy(), value)
    loss.backward()
    expected = 2 * value if use == "square" else np.exp(value)
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-12)
    w.grad = None
    USES[use](w).backward()
    now = w.detach().numpy()
    np.testing.assert_allclose(w.grad.numpy(), 2 * now if use == "square" else np.exp(now))


def test_a_leaf_that_requires_grad_is_not_changed_in_place() -> None:
    w = ad.tensor([1.0, 2.0], requires_grad=True)
    for change in (
        lambda: w.add_(1.0), lambda: w.__setitem__(0, 1.0), lambda: w[0].zero_(),
        lambda: w.__iadd__(1.0), lambda: w.fill_(0.0),
    ):  # fmt: skip
        with pytest.raises(GradError, match="no_grad"):
            change()
    assert w.tolist() == [1.0, 2.0]


def test_in_place_keeps_shape_and_dtype() -> None:
    x = ad.ones(3)
    with pytest.raises(ShapeError, match="cannot change the shape"):
        x.add_(ad.ones(2, 3))
    counts = ad.tensor([1, 2])
    with pytest.raises(AdjointError, match="float"):
        counts.mul_(0.5)
    counts.add_(ad.tensor([1, 1], dtype=ad.int32))
    assert counts.dtype is ad.int64
    half = ad.ones(2, dtype=ad.float16)
    half.add_(ad.ones(2, dtype=ad.float64))
    assert half.dtype is ad.float16 and half.tolist() == [2.0, 2.0]
    root = ad.zeros(1)
    with pytest.raises(ShapeError, match="clone"):
        root.expand(3).add_(1.0)


def test_views_write_through_to_every_living_ancestor_and_hold_none_alive() -> None:
    import gc
    import weakref

    root = ad.zeros(2, 3)
    middle = root.t()
    middle[0].add_(5.0)
    assert root.tolist() == [[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]] and middle.tolist()[0] == [5.0, 5.0]
    gone = weakref.ref(root)
    del root
    gc.collect()
    assert gone() is None
    middle[1, 0] = 9.0
    assert middle.tolist()[1] == [9.0, 0.0]


def test_repeated_indices_in_an_assignment_keep_the_last() -> None:
    x = ad.zeros(4, requires_grad=True)
    v = ad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1.0
    y[[1, 1, 2]] = v
    assert y.tolist() == [0.0, 2.0, 3.0, 0.0]
    y.sum().backward()
    assert v.grad.tolist() == [0.0, 1.0, 1.0] and x.grad.tolist() == [1.0, 0.0, 0.0, 1.0]
