"""What the tests of optimisers share: every optimiser with options, a small non-convex net, and one
way to train it under adjoint and under torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import adjoint as ad

Array = np.ndarray[Any, Any]

TWINS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.001, "maximize": True}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.01}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.01}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.01}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.01}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta", {"weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.005, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.002, "centered": True, "momentum": 0.5, "eps": 1e-4}),
    ("Rprop", {}),
]
"""Optimisers that torch has too, and whose steps are smooth enough to compare."""

OWN: list[tuple[str, dict[str, Any]]] = [
    ("Lion", {"lr": 0.001, "weight_decay": 0.1}),
    ("LAMB", {"lr": 0.01}),
    ("Momentum", {"lr": 0.02, "form": "signed"}),
    ("Momentum", {"lr": 0.02, "form": "average", "bias_correction": True}),
    ("Momentum", {"lr": 0.02, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.001, "bias_correction": False}),
]
"""Optimisers and options that torch has not."""


def weights() -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=s) * 0.5 for s in ((4, 8), (8,), (8, 3), ())]


class Training:
    """A net of two layers, its optimiser in two groups, and one step of it, on batches that
    disagree (else gradients vanish, and what adaptive methods make of them is noise)."""

    def __init__(self, m: Any, name: str, options: dict[str, Any], dtype: str = "float64") -> None:
        rng = np.random.default_rng(1)
        kind = getattr(m, dtype)
        self.params = [m.tensor(w, dtype=kind).requires_grad_() for w in weights()]
        used = [p for p in self.params if p.ndim == 2] if name == "Muon" else self.params
        groups = [{"params": used[:2]}]
        if used[2:]:
            groups.append({"params": used[2:], "lr": options.get("lr", 0.01) * 0.5})
        self.optimiser = getattr(m.optim, name)(groups, **options)
        self._all = m.optim.SGD(self.params, lr=0.1)
        self.batches = [
            [m.tensor(rng.normal(size=(16, k)), dtype=kind) for k in (4, 3)] for _ in range(5)
        ]
        self.x, self.y = (m.clone(t) for t in self.batches[0])
        self._tanh, self._clone = m.tanh, m.clone

    def loss(self) -> Any:
        w1, b1, w2, scale = self.params
        error = self._tanh(self.x @ w1 + b1) @ w2 * scale - self.y
        return (error * error).mean()

    def step(self) -> None:
        self._all.zero_grad()
        self.loss().backward()
        self.optimiser.step()

    def run(self, steps: int, step: Callable[[], Any] | None = None, start: int = 0) -> Training:
        """``steps`` steps, each with another batch and learning rate."""
        rates = [g["lr"] for g in self.optimiser.param_groups]
        for t in range(start, start + steps):
            for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + np.cos(t / 20)) / 2
            for held, new in zip((self.x, self.y), self.batches[t % 5], strict=True):
                held.copy_(self._clone(new))
            (step or self.step)()
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        return self

    @property
    def values(self) -> list[Array]:
        return [p.detach().numpy().copy() for p in self.params]


def adjoint_training(name: str, options: dict[str, Any], dtype: str = "float64") -> Training:
    return Training(ad, name, options, dtype)


def assert_close(ours: list[Array], theirs: list[Array], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def assert_equal(ours: list[Array], theirs: list[Array]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
