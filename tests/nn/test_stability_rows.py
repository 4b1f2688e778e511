"""Numerical stability where it matters: losses, norms and optimisers, eager and captured."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import NonFiniteError
from adjoint.ir.node import Node, state
from adjoint.nn import functional as F
from tests.nn.nn_cases import CASES, Case
from tests.nn.test_nn_cases import drawn, step, tensors
from tests.optim.cases import OWN, TWINS, Training

RNG = np.random.default_rng(0)
WAYS = {"eager": lambda f: f, "captured": ad.jit}
both = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(autouse=True, scope="module")
def nothing_old_to_look_at() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def with_gradient(way: str, f: Callable[[Any], Any], x: np.ndarray) -> tuple[Any, Any]:
    """f(x), and the gradient of its sum."""

    def run(x: Any) -> Any:
        x = x.detach().requires_grad_()
        out = f(x)
        (grad,) = ad.autograd.grad(out.sum(), x)
        return out.detach(), grad

    out, grad = WAYS[way](run)(ad.tensor(x))
    return out.numpy(), grad.numpy()


# --- exponentials and their logarithms --------------------------------------------------------


@pytest.mark.feature("Z1")
@both
@pytest.mark.parametrize("size", [1.0, 1e4, 1e38])
def test_softmax_of_anything_sums_to_one(way: str, size: float) -> None:
    x = (RNG.uniform(-size, size, (6, 9))).astype(np.float32)
    x[0, 3] = -np.inf
    weights = ad.arange(9.0)
    out, grad = with_gradient(way, lambda x: F.softmax(x, 1) * weights, x)
    assert np.isfinite(out).all() and np.isfinite(grad).all()
    sums, _ = with_gradient(way, lambda x: F.softmax(x, 1), x)
    np.testing.assert_allclose(sums.sum(1), 1, atol=1e-6)
    assert sums[0, 3] == 0 and grad[0, 3] == 0
    shifted, _ = with_gradient(way, lambda x: F.softmax(x + 8.0, 1), x)
    if size == 1.0:
        np.testing.assert_allclose(shifted, sums, rtol=1e-5)
    nothing, _ = with_gradient(way, lambda x: F.softmax(x, 1), np.full((2, 3), -np.inf, "f"))
    assert np.isnan(nothing).all()  # documented: it has no softmax


@pytest.mark.feature("Z2")
@both
@pytest.mark.parametrize("span", [1.0, 1e4])
def test_logarithms_of_sums_keep_their_digits(way: str, span: float) -> None:
    x = RNG.uniform(-span, span, (50, 20)).astype(np.float32)
    wide = x.astype(np.longdouble)
    top = wide.max(1, keepdims=True)
    total = np.exp(wide - top).sum(1, keepdims=True)
    true, shares = np.log(total) + top, np.exp(wide - top) / total
    out, grad = with_gradient(way, lambda x: ad.logsumexp(x, 1), x)
    assert (np.abs(out - true[:, 0]) / np.maximum(np.abs(true[:, 0]), 1)).max() < 1e-6
    assert np.abs(grad - shares).max() < 1e-6
    out, grad = with_gradient(way, lambda x: F.log_softmax(x, 1)[:, 0], x)
    logs = (wide - true)[:, 0]
    assert (np.abs(out - logs) / np.maximum(np.abs(logs), 1)).max() < 1e-6
    np.testing.assert_allclose(grad, np.eye(20)[0] - shares, atol=1e-6)
    infinite = np.array([[-np.inf, np.inf, 0]], np.float32)
    edge, _ = with_gradient(way, lambda x: ad.logsumexp(x, 1), infinite)
    assert edge.tolist() == [np.inf]


@pytest.mark.feature("Z4")
@both
def test_cross_entropy_of_extreme_logits(way: str) -> None:
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, -1e4]], np.float32)
    labels = ad.tensor([1, 0, 2])
    out, grad = with_gradient(way, lambda x: F.cross_entropy(x, labels, reduction="none"), logits)
    np.testing.assert_allclose(out, [2e4, 2e4 + np.log(2), 1e4 + np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(grad, [[1, -1, 0], [-1, 0.5, 0.5], [0.5, 0.5, -1]], atol=1e-6)
    target = ad.tensor([[0.0], [1.0], [1.0]])
    scores = np.array([[1e4], [-1e4], [1e4]], np.float32)
    out, grad = with_gradient(
        way, lambda x: F.binary_cross_entropy_with_logits(x, target, reduction="none"), scores
    )
    np.testing.assert_allclose(out[:, 0], [1e4, 1e4, 0.0])
    np.testing.assert_allclose(grad[:, 0], [1.0, -1.0, 0.0])
    p = ad.tensor(logits, requires_grad=True)
    naive = -ad.log(ad.exp(p) / ad.exp(p).sum(1, keepdim=True))
    naive.sum().backward()
    assert not np.isfinite(naive.detach().numpy()).all()  # the chain of the textbook fails
    assert not np.isfinite(p.grad.numpy()).all()


# --- the tracer -------------------------------------------------------------------------------


@pytest.mark.feature("Z3")
@both
def test_overflow_gives_infinity(way: str) -> None:
    out, _ = with_gradient(way, ad.exp, np.array([100.0, 88.0], np.float32))
    assert out[0] == np.inf and np.isfinite(out[1])
    out, _ = with_gradient(way, ad.exp, np.array([100.0]))
    assert out[0] == pytest.approx(2.688e43, rel=1e-3)
    out, _ = with_gradient(way, ad.exp, np.array([12.0, 11.0], np.float16))
    assert out[0] == np.inf and np.isfinite(out[1])


@pytest.mark.feature("Z3")
@both
def test_the_tracer_names_the_first_op(way: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    nn.init.zeros_(net[0].weight)
    nn.init.zeros_(net[0].bias)

    def forward(x: Any) -> Any:
        h = net(x)
        return (ad.log(h) * 0.0).sum()  # the fault: what follows is NaN only because of it

    def backward(x: Any) -> None:
        ad.sqrt(net(x)).sum().backward()

    x = ad.ones(3, 2)
    run = WAYS[way](forward)
    assert np.isnan(run(x).item())
    with pytest.raises(NonFiniteError) as caught, ad.autograd.detect_anomaly():
        run(x)
    text = str(caught.value)
    assert text.startswith("log: made 6 inf") and "test_stability_rows.py" in text
    assert "in test_the_tracer_names_the_first_op.<locals>.forward" in text
    with pytest.raises(NonFiniteError, match=r"in the gradient of sqrt, computed at "), \
         ad.autograd.detect_anomaly():  # fmt: skip
        WAYS[way](backward)(x)
    assert np.isnan(run(x).item())  # captured again, afterwards


# --- divisions --------------------------------------------------------------------------------

NORMS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "LayerNorm": (lambda: nn.LayerNorm(64), (8, 64)),
    "RMSNorm": (lambda: nn.RMSNorm(64, eps=1e-5), (8, 64)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (8, 4, 32)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4), (2, 4, 64)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (128, 4)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), (8, 4, 5, 5)),
}


@pytest.mark.feature("Z5")
@both
@pytest.mark.parametrize("name", NORMS)
def test_norms_of_constants_are_zero(way: str, name: str) -> None:
    make, shape = NORMS[name]
    layer = make()
    for value in (0.0, 3.0) if name != "RMSNorm" else (0.0,):
        out, grad = with_gradient(way, layer, np.full(shape, value, np.float32))
        np.testing.assert_allclose(out, 0, atol=1e-6)
        assert np.isfinite(grad).all()
    tiny = (RNG.normal(size=shape) * 1e-4).astype(np.float32)  # the variance is far below eps
    out, _ = with_gradient(way, layer, tiny)
    assert np.abs(out).max() < 0.2  # inside the root: not blown up to 1


@pytest.mark.feature("Z8")
@both
@pytest.mark.parametrize("name", [n for n in NORMS if n != "RMSNorm"])
def test_norms_of_data_far_from_zero(way: str, name: str) -> None:
    make, shape = NORMS[name]
    x = (1e4 + np.random.default_rng(0).normal(size=shape)).astype(np.float32)
    layer = make()
    out, _ = with_gradient(way, layer, x)
    wide = make().double()
    true = wide(ad.tensor(x.astype(np.float64))).detach().numpy()
    spread = out.std() ** 2 / true.std() ** 2
    assert abs(spread - 1) < 1e-3
    np.testing.assert_allclose(out, true, atol=5e-3)
    if hasattr(layer, "running_var") and layer.running_var is not None:
        found = (layer.running_var.numpy() - 0.9) / 0.1
        wanted = (wide.running_var.numpy() - 0.9) / 0.1
        if way == "eager" or layer.num_batches_tracked.item() == 1:
            np.testing.assert_allclose(found, wanted, rtol=1e-3)
    short = (x * x).mean(0) - x.mean(0) ** 2  # what one pass over float32 gives
    exact = x.astype(np.float64).var(0)
    assert (np.abs(short - exact) > 1e-2 * exact).any()


@pytest.mark.feature("Z5")
@both
@pytest.mark.parametrize("case", [*TWINS, *OWN], ids=str)
def test_a_zero_gradient_makes_no_step(way: str, case: tuple[str, dict[str, Any]]) -> None:
    name, options = case
    if "weight_decay" in inspect.signature(getattr(ad.optim, name)).parameters:
        options = {**options, "weight_decay": 0.0}
    p = nn.Parameter(ad.tensor([1.0, -2.0, 0.0]))
    optimiser = getattr(ad.optim, name)([p], **options)

    def go() -> None:
        optimiser.zero_grad()
        (p * 0.0).sum().backward()
        optimiser.step()

    run = WAYS[way](go)
    for _ in range(2):
        run()
    assert p.tolist() == [1.0, -2.0, 0.0]


@pytest.mark.feature("Z5")
@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RMSprop", "Adagrad"])
def test_the_eps_of_adaptive_methods_is_outside_of_the_root(name: str) -> None:
    """A first step of a gradient g: lr g / (|g| + eps), up to what the method puts in front."""
    moved = []
    for gradient in (1.0, 1e-6):
        p = nn.Parameter(ad.tensor([0.0], dtype="float64"))
        options: dict[str, Any] = {"lr": 1.0, "eps": 1e-6}
        if name == "RMSprop":
            options["alpha"] = 0.0
        optimiser = getattr(ad.optim, name)([p], **options)
        p.grad = ad.tensor([gradient], dtype="float64")
        optimiser.step()
        moved.append(p.item())
    assert moved[1] / moved[0] == pytest.approx(0.5, rel=1e-5)  # inside the root: about 1e-3


# --- float64 throughout -----------------------------------------------------------------------


class Narrow:
    """Notes floats narrower than float64 that ops make."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __enter__(self) -> Narrow:
        state.watch = self
        return self

    def __exit__(self, *_: object) -> None:
        state.watch = None

    def __call__(self, node: Node, op: Any, args: Any, params: Any) -> None:
        dtypes = [part.dtype for part in node.parts] if node.parts else [node.dtype]
        name = repr(params["region"]) if "region" in params else op.name
        # numbers that steps are counted by are float32 as in PyTorch, and so are draws that are
        # compared with a probability
        if name == "uniform" or not (node.shape or node.parts):
            return
        if any(d.kind == "f" and d.bits < 64 for d in dtypes):
            self.found.append(f"{name} {node}")


@pytest.mark.feature("Z9")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_layers_stay_in_float64(case: Case) -> None:
    layer = getattr(nn, case.name)(*case.arguments, **tensors(case.options, ad.tensor)).double()
    arrays = drawn(list(case.inputs), RNG, "float64")
    given = {k: drawn(v, RNG, "float64") for k, v in case.given.items()}
    with Narrow() as watch:
        found = step(layer, arrays, given, "float64", 0)
    assert watch.found == []
    floats = [v.dtype for v in found.values() if v is not None and v.dtype.kind == "f"]
    assert set(floats) <= {np.dtype("float64")}


@pytest.mark.feature("Z9")
@pytest.mark.parametrize("case", [*TWINS, *OWN, ("Muon", {"lr": 0.01})], ids=str)
def test_optimisers_stay_in_float64(case: tuple[str, dict[str, Any]]) -> None:
    name, options = case
    training = Training(ad, name, options, "float64")
    training.run(1)
    with Narrow() as watch:
        training.run(2)
    assert watch.found == []
    dtypes = {
        v.dtype.name for s in training.optimiser.state.values() for k, v in s.items()
        if isinstance(v, ad.Tensor) and v.ndim
    }  # fmt: skip
    assert dtypes <= {"float64"}
