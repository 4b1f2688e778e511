"""Compare a function of adjoint tensors with its PyTorch twin: values, gradients, batching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import adjoint as ad
from adjoint.testing import gradcheck

Function = Callable[..., Any]


def floats(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Normal random numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def outputs(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def numbers(x: Any) -> np.ndarray:
    return x.detach().numpy()


def agree(
    mine: Function,
    theirs: Function,
    *arrays: np.ndarray,
    tolerance: float = 1e-10,
    single: float | None = 2e-4,
    gradient: bool = True,
) -> None:
    """Forward values and first gradients of ``mine`` equal those of ``theirs``, in float64 and
    (unless ``single`` is None) in float32. Integer arrays are passed on as they are."""
    _agree(mine, theirs, arrays, tolerance, gradient)
    if single is not None:
        short = [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]
        _agree(mine, theirs, short, single, gradient)


def _agree(
    mine: Function,
    theirs: Function,
    arrays: Sequence[np.ndarray],
    tolerance: float,
    gradient: bool,
) -> None:
    xs = [ad.tensor(a, requires_grad=gradient and a.dtype.kind == "f") for a in arrays]
    ts = [torch.tensor(a, requires_grad=gradient and a.dtype.kind == "f") for a in arrays]
    got, want = outputs(mine(*xs)), outputs(theirs(*ts))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert tuple(g.shape) == tuple(w.shape)
        assert g.dtype.name == str(w.dtype).removeprefix("torch.")
        np.testing.assert_allclose(numbers(g), numbers(w), rtol=tolerance, atol=tolerance)
    pairs = [(g, w) for g, w in zip(got, want, strict=True) if w.requires_grad]
    if not gradient or not pairs:
        return
    rng = np.random.default_rng(1)
    total: Any = 0
    twin: Any = 0
    for g, w in pairs:
        weight = rng.normal(size=tuple(w.shape)).astype(numbers(w).dtype)
        total = (g * ad.tensor(weight)).sum() + total
        twin = (w * torch.tensor(weight)).sum() + twin
    total.backward()
    twin.backward()
    for x, t in zip(xs, ts, strict=True):
        if t.grad is not None:
            assert x.grad is not None
            np.testing.assert_allclose(numbers(x.grad), t.grad, rtol=tolerance, atol=tolerance)


def smooth(function: Function, *arrays: np.ndarray, order: int = 2) -> None:
    """Derivatives agree with finite differences, first and second."""
    xs = [ad.tensor(a) for a in arrays]
    gradcheck(function, xs, order=order, mode="random", atol=1e-5, rtol=1e-5)


def maps(function: Function, *arrays: np.ndarray, shared: Sequence[int] = ()) -> None:
    """vmap over axis 0 equals a loop, and so does vmap of the gradient of the sum. Arguments in
    ``shared`` have no batch axis."""
    axes = tuple(None if i in shared else 0 for i in range(len(arrays)))
    size = next(len(a) for i, a in enumerate(arrays) if i not in shared)
    xs = [ad.tensor(a) for a in arrays]

    def weighted(*inputs: Any) -> Any:
        parts = [r for r in outputs(function(*inputs)) if r.dtype.is_floating_point]
        return sum(((r * r).sum() for r in parts[1:]), start=(parts[0] * parts[0]).sum())

    moved = tuple(i for i, a in enumerate(arrays) if a.dtype.kind == "f")
    for f in (lambda *a: tuple(outputs(function(*a))), ad.grad(weighted, argnums=moved)):
        got = ad.vmap(f, in_axes=axes)(*xs)
        rows = [f(*(x if i in shared else x[k] for i, x in enumerate(xs))) for k in range(size)]
        for at, g in enumerate(outputs(got)):
            want = np.stack([numbers(outputs(row)[at]) for row in rows])
            np.testing.assert_allclose(numbers(g), want, rtol=1e-9, atol=1e-9)
