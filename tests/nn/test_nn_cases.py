"""Every line of ``nn_cases``: outputs, gradients, state and print against the PyTorch twin."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.tree import flatten
from adjoint.tensors.handle import Handle
from tests.nn.nn_cases import CASES, Case

Array = np.ndarray[Any, np.dtype[Any]]
TOLERANCE = {"float64": 1e-10, "float32": 2e-4}

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
]

each = pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=str(c), marks=[pytest.mark.feature(*c.features)] if c.features else [])
        for c in CASES
    ],
)
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.fixture(autouse=True, scope="module")
def nothing_old_to_look_at() -> Iterator[None]:
    """A capture looks at every object for tensors; what was imported holds none of ours."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch waits for its threads longer than such small layers take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@each
@dtypes
def test_layer_is_pytorchs(case: Case, dtype: str) -> None:
    """Two training steps and a run in eval mode: outputs, gradients, and buffers afterwards."""
    ours, theirs = twins(case, dtype)
    for mode in case.modes:
        switch(ours, theirs, mode)
        for seed in range(2):
            run_both(case, ours, theirs, dtype, seed)


def captured_params() -> Iterator[Any]:
    """Each line with each dtype; of plain layers only the first of a family is in the fast set."""
    families: set[str] = set()
    for case in CASES:
        family = case.name.rstrip("123d")
        rest = case.modes == ("eval",) and family in families
        families.add(family)
        for dtype in ("float64", "float32"):
            marks = [pytest.mark.feature(*case.features)] if case.features else []
            if rest or (case.modes == ("eval",) and dtype == "float64"):
                marks.append(pytest.mark.slow)
            yield pytest.param(case, dtype, id=f"{dtype}-{case}", marks=marks)


@pytest.mark.parametrize(("case", "dtype"), list(captured_params()))
def test_layer_captured(case: Case, dtype: str) -> None:
    """The same inside ``jit``: what is recorded at the first call runs for the second."""
    if not case.captured:
        pytest.skip("reads its input's values")
    ours, theirs = twins(case, dtype)
    for mode in case.modes:
        switch(ours, theirs, mode)
        run_both(case, ours, theirs, dtype, seed=0, captured=True)


@each
def test_state_goes_both_ways(case: Case) -> None:
    ours, theirs = twins(case, "float64")
    if case.printed:
        assert repr(ours) == repr(theirs)
    saved = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
    for value in saved.values():
        value.mul_(2)
    theirs.load_state_dict(saved)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), saved[name].numpy())


def twins(case: Case, dtype: str) -> tuple[nn.Module, torch.nn.Module]:
    """Both layers with the same state, of which every float parameter is moved a little."""
    ours = getattr(nn, case.name)(*case.arguments, **tensors(case.options, ad.tensor)).to(dtype)
    options = tensors(case.options, torch.tensor)
    make = case.twin or (lambda: getattr(torch.nn, case.name)(*case.arguments, **options))
    torch.manual_seed(0)
    theirs = make().to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, theirs


def tensors(options: dict[str, Any], make: Any) -> dict[str, Any]:
    return {k: make(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


def switch(ours: nn.Module, theirs: torch.nn.Module, mode: str) -> None:
    ours.train(mode == "train")
    theirs.train(mode == "train")


def run_both(
    case: Case, ours: nn.Module, theirs: torch.nn.Module, dtype: str, seed: int,
    captured: bool = False,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    arrays = drawn(list(case.inputs), rng, dtype)
    given = {k: drawn(v, rng, dtype) for k, v in case.given.items()}
    mine = step(ours, arrays, given, dtype, 2 if captured else 0)
    other = twin_step(theirs, arrays, given, dtype, 2 if captured else 1)
    compare(mine, other, TOLERANCE[dtype] * case.slack)
    state = {k: v.numpy() for k, v in ours.state_dict().items()}
    compare(state, {k: v.numpy() for k, v in theirs.state_dict().items()}, TOLERANCE[dtype])


def drawn(value: Any, rng: np.random.Generator, dtype: str) -> Any:
    """Shapes as arrays, whatever holds them; what is drawn is marked by its dtype."""
    if isinstance(value, list):
        return [drawn(v, rng, dtype) for v in value]
    if isinstance(value, tuple) and all(isinstance(n, int) for n in value):
        return Drawn(rng.standard_normal(value).astype(dtype))
    return value


class Drawn:
    """An array whose gradient is compared."""

    def __init__(self, array: Array) -> None:
        self.array = array


def weights(shape: Any, dtype: str) -> Array:
    """Cotangents: the same for both sides."""
    return np.random.default_rng(7).standard_normal(tuple(shape)).astype(dtype)


def step(module: nn.Module, arrays: Any, given: Any, dtype: str, jitted: int) -> dict[str, Any]:
    """Outputs and gradients; ``jitted``: how often to call a captured step."""
    leaves: list[ad.Tensor] = []

    def enter(value: Any) -> Any:
        if isinstance(value, Drawn):
            leaves.append(ad.tensor(value.array, requires_grad=True))
            return leaves[-1]
        if isinstance(value, list):
            return tuple(enter(v) for v in value)
        return ad.tensor(value) if isinstance(value, np.ndarray) else value

    inputs = [enter(a) for a in arrays]
    named = {k: enter(v) for k, v in given.items()}

    def run(*args: Any, **kwargs: Any) -> list[ad.Tensor]:
        module.zero_grad()
        for leaf in leaves:
            leaf.forget_gradient()
        out = [x for x in flatten(module(*args, **kwargs))[0] if isinstance(x, Handle)]
        terms = [(x * ad.tensor(weights(x.shape, dtype))).sum() for x in out if x.dtype.kind == "f"]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        if total.requires_grad:
            total.backward()
        return [x.detach() for x in out]

    call = ad.jit(run) if jitted else run
    out: list[ad.Tensor] = []
    for _ in range(jitted or 1):
        out = call(*inputs, **named)
    found: dict[str, Any] = {f"out{i}": x.numpy() for i, x in enumerate(out)}
    found |= {f"input{i}": _array(x.grad) for i, x in enumerate(leaves)}
    return found | {n: _array(p.grad) for n, p in module.named_parameters()}


def twin_step(
    module: torch.nn.Module, arrays: Any, given: Any, dtype: str, times: int
) -> dict[str, Any]:
    leaves: list[torch.Tensor] = []

    def enter(value: Any) -> Any:
        if isinstance(value, Drawn):
            leaves.append(torch.tensor(value.array, requires_grad=True))
            return leaves[-1]
        if isinstance(value, list):
            return tuple(enter(v) for v in value)
        return torch.tensor(value) if isinstance(value, np.ndarray) else value

    inputs = [enter(a) for a in arrays]
    named = {k: enter(v) for k, v in given.items()}
    out: list[torch.Tensor] = []
    for _ in range(times):
        for leaf in (*leaves, *module.parameters()):
            leaf.grad = None
        made = module(*inputs, **named)
        out = [x for x in flatten(made)[0] if isinstance(x, torch.Tensor)]
        terms = [
            (x * torch.tensor(weights(x.shape, dtype))).sum() for x in out if x.is_floating_point()
        ]
        total = torch.stack(terms).sum()
        if total.requires_grad:
            total.backward()
    found: dict[str, Any] = {f"out{i}": x.detach().numpy() for i, x in enumerate(out)}
    found |= {f"input{i}": _array(x.grad) for i, x in enumerate(leaves)}
    return found | {n: _array(p.grad) for n, p in module.named_parameters()}


def _array(grad: Any) -> Array | None:
    return None if grad is None else grad.numpy()


def compare(mine: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    assert list(mine) == list(other)
    for name, value in mine.items():
        twin = other[name]
        if value is None or twin is None:
            rest = twin if value is None else value  # a gradient of 0 may be absent on one side
            assert rest is None or not rest.any(), name
            continue
        assert value.shape == twin.shape and value.dtype == twin.dtype, name
        scale = max(float(np.abs(twin).max(initial=0)), 1.0)
        np.testing.assert_allclose(value, twin, tolerance, tolerance * scale, err_msg=name)
