"""The learning-rate finder: one short run with growing rates, after which all is as before."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_number
from adjoint.ir.node import state as recording
from adjoint.nn.checks import as_module
from adjoint.nn.module import Module
from adjoint.optim.optimizer import Optimizer
from adjoint.tensors.generator import get_rng_state, set_rng_state
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor

SMOOTHING = 0.9  # what the running mean keeps of the losses before
WORSE = 4.0  # this many times the best smoothed loss is divergence
AT_FIRST = 0.1  # the share of the run in which nothing is called divergence
BELOW = 10.0  # the rate suggested is this many times below that of the lowest loss


class Found(NamedTuple):
    """The rates tried, their losses, the losses smoothed, the rate to use, and whether the run
    ended in divergence."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float
    diverged: bool


def lr_find(
    model: Module,
    optimizer: Optimizer,
    loss: Callable[..., Tensor],
    batches: Iterable[Any],
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
) -> Found:
    """Train for up to ``steps`` batches with rates growing geometrically from ``low`` to ``high``.

    loss: a function of (model, batch). batches: gone through again when they end. One batch's loss
    is noisy, so the losses are smoothed, the run goes on to divergence (4 times the best) and not
    to the first rise, and the suggestion is the steepest point, or a tenth of the rate of the
    lowest loss if that is less. Weights, buffers, gradients, the optimiser and the random generator
    are then put back bit for bit. Source: Smith, WACV 2017; Howard and Gugger 2020.
    """
    count = as_integer("lr_find", "steps", steps)
    low, high = as_number("lr_find", "low", low), as_number("lr_find", "high", high)
    if not 0 < low < high or count < 2:
        raise errors.argument(
            "lr_find", f"cannot go from {low} to {high} in {count} steps", hint="low < high"
        )
    if recording.capture is not None:
        raise errors.argument("lr_find", "looks at every loss", hint="call it outside of jit")
    as_module("lr_find", "model", model)
    if not isinstance(optimizer, Optimizer):
        raise errors.bad_argument("lr_find", "optimizer", optimizer, "an optimiser")
    saved = _Saved(model, optimizer)
    rates = [low * (high / low) ** (i / (count - 1)) for i in range(count)]
    losses: list[float] = []
    smoothed: list[float] = []
    diverged = False
    try:
        for rate, batch in zip(rates, _endless(batches), strict=False):
            losses.append(_step(model, optimizer, loss, batch, rate))
            mean = losses[-1] if not smoothed else smoothed[-1]
            mean = SMOOTHING * mean + (1 - SMOOTHING) * losses[-1]
            smoothed.append(mean)
            early = len(losses) < AT_FIRST * count
            if not math.isfinite(losses[-1]) or (not early and mean > WORSE * min(smoothed)):
                diverged = True
                break
    finally:
        saved.put_back()
    return Found(rates[: len(losses)], losses, smoothed, _suggest(rates, smoothed), diverged)


def _step(
    model: Module, optimizer: Optimizer, loss: Callable[..., Tensor], batch: Any, rate: float
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    value = loss(model, batch)
    value.backward()
    optimizer.step()
    return value.item()


def _suggest(rates: list[float], smoothed: list[float]) -> float:
    """Where the loss falls fastest per factor of the rate, but well below where it is lowest."""
    usable = [s if math.isfinite(s) else math.inf for s in smoothed]
    lowest = min(range(len(usable)), key=usable.__getitem__)
    slopes = [usable[i + 1] - usable[i - 1] for i in range(1, lowest)]
    steepest = rates[1 + slopes.index(min(slopes))] if slopes else rates[0]
    return min(steepest, rates[lowest] / BELOW)


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise errors.argument("lr_find", "got no batches", hint="a list or a loader")


class _Saved:
    """All that a run changes."""

    def __init__(self, model: Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.training = [(m, m.training) for m in model.modules()]
        tensors = [*model.parameters(), *model.buffers()]
        owned = [p for g in optimizer.param_groups for p in g["params"]]
        handles: dict[int, Tensor] = {id(t): t for t in [*tensors, *owned]}
        self.values = [(t, t.detach().clone(), t.grad) for t in handles.values()]
        self.groups = [dict(g) for g in optimizer.param_groups]
        self.state = {
            p: {k: v.clone() if isinstance(v, Tensor) else copy.copy(v) for k, v in s.items()}
            for p, s in optimizer.state.items()
        }
        self.held = {p: dict(s) for p, s in optimizer.state.items()}
        self.count = None if optimizer._count is None else optimizer._count.clone()
        self.was_stepped = optimizer.was_stepped
        self.generator = get_rng_state()

    @no_grad()
    def put_back(self) -> None:
        for tensor, value, gradient in self.values:
            tensor.assign(value.node, "lr_find")
            tensor.grad = gradient
        opt = self.optimizer
        for group, before in zip(opt.param_groups, self.groups, strict=True):
            group.clear()
            group.update(before)
        opt.state.clear()
        for param, state in self.state.items():
            held = self.held[param]
            for name, value in state.items():
                if isinstance(value, Tensor) and isinstance(held[name], Tensor):
                    held[name].assign(value.node, "lr_find")
                else:
                    held[name] = value
            opt.state[param] = held
        opt._layout += 1
        opt._count = self.count
        opt.was_stepped = self.was_stepped
        for module, mode in self.training:
            object.__setattr__(module, "training", mode)
        set_rng_state(self.generator)
