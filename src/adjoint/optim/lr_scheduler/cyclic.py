"""Schedulers of the rate and the momentum together: one cycle, or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_integer, as_number
from adjoint.optim import schedules
from adjoint.optim.lr_scheduler.base import LRScheduler, check_optimizer, each, set_rate
from adjoint.optim.optimizer import Optimizer
from adjoint.optim.step import Group


class OneCycleLR(LRScheduler):
    """``schedules.one_cycle`` for the rate, and its inverse for momentum (or beta1)."""

    def __init__(
        self, optimizer: Optimizer, max_lr: float | Sequence[float],
        total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
        cycle_momentum: bool = True, base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95, div_factor: float = 25.0,
        final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer("OneCycleLR", optimizer)
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        as_choice("OneCycleLR anneal_strategy", anneal_strategy, ["cos", "linear"])
        self._anneal_func_type = anneal_strategy
        ends = schedules.one_cycle_phases(pct_start, self.total_steps, three_phase)
        self._schedule_phases = _phases(ends)
        if last_epoch == -1:
            peaks = each("max_lr", optimizer, max_lr)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["initial_lr"], group["max_lr"] = peak / div_factor, peak
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = start_momentum(optimizer, base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise errors.argument(
                "OneCycleLR", f"step {self.last_epoch} of a cycle of {self.total_steps} steps",
                hint="total_steps=epochs * len(loader)",
            )  # fmt: skip
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            set_momentum(group, self._value(group, "momentum"), self.use_beta1)
        return [self._value(group, "lr") for group in self.optimizer.param_groups]

    def _value(self, group: Group, of: str) -> float:
        ends = [p["end_step"] for p in self._schedule_phases]
        names = [self._schedule_phases[0][f"start_{of}"]]
        names += [p[f"end_{of}"] for p in self._schedule_phases]
        curve = schedules.phased(ends, [group[n] for n in names], self._anneal_func_type)
        return curve(self.last_epoch)


class CyclicLR(LRScheduler):
    """``schedules.cyclic`` between base_lr and max_lr, and the inverse for momentum (or beta1)."""

    def __init__(
        self, optimizer: Optimizer, base_lr: float | Sequence[float],
        max_lr: float | Sequence[float], step_size_up: int = 2000,
        step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
        cycle_momentum: bool = True, base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer("CyclicLR", optimizer)
        lows = each("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows, strict=True):
                set_rate(group, low)
        self.max_lrs = each("max_lr", optimizer, max_lr)
        up = as_number("CyclicLR", "step_size_up", step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if scale_fn is None:
            as_choice("CyclicLR mode", mode, ["triangular", "triangular2", "exp_range"])
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom = scale_fn
        by_cycle = scale_mode == "cycle" if scale_fn is not None else mode != "exp_range"
        self.scale_mode = "cycle" if by_cycle else "iterations"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = start_momentum(optimizer, base_momentum, max_momentum, last_epoch)
            self.base_momentums = each("base_momentum", optimizer, base_momentum)
            self.max_momentums = each("max_momentum", optimizer, max_momentum)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def scale_fn(self, x: float) -> float:
        """The height of cycle number ``x`` (or at step ``x``)."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return {"triangular": 1.0, "triangular2": 0.5 ** (x - 1), "exp_range": self.gamma**x}[
            self.mode
        ]

    def _height(self) -> float:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        ratio = self.step_ratio
        height = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
        return height * self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)

    def get_lr(self) -> list[float]:
        height = self._height()
        if self.cycle_momentum:
            triples = zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            )
            for group, low, high in triples:
                set_momentum(group, high - (high - low) * height, self.use_beta1)
        pairs = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (high - low) * height for low, high in pairs]


def start_momentum(optimizer: Optimizer, base: Any, top: Any, last_epoch: int) -> bool:
    """Set the momentum of every group to its largest value; whether it is beta1."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise errors.argument(
            "cycle_momentum", f"{type(optimizer).__name__} has no momentum and no betas",
            hint="cycle_momentum=False",
        )  # fmt: skip
    is_beta = "betas" in optimizer.defaults
    if last_epoch == -1:
        highs, lows = each("max_momentum", optimizer, top), each("base_momentum", optimizer, base)
        for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
            set_momentum(group, high, is_beta)
            group["max_momentum"], group["base_momentum"] = high, low
    return is_beta


def set_momentum(group: Group, value: float, is_beta: bool) -> None:
    """Give a group another momentum."""
    if is_beta:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def _total_steps(total: Any, epochs: Any, steps_per_epoch: Any) -> int:
    if total is None and (epochs is None or steps_per_epoch is None):
        raise errors.argument(
            "OneCycleLR", "the length of the cycle is not known",
            hint="pass total_steps, or epochs and steps_per_epoch",
        )  # fmt: skip
    if total is None:
        total = as_integer("OneCycleLR", "epochs", epochs) * as_integer(
            "OneCycleLR", "steps_per_epoch", steps_per_epoch
        )
    schedules.one_cycle(1.0, total)
    return total


def _phases(ends: list[float]) -> list[dict[str, Any]]:
    rates = ["initial_lr", "max_lr", "min_lr"]
    momenta = ["max_momentum", "base_momentum", "max_momentum"]
    if len(ends) == 3:
        rates.insert(2, "initial_lr")
        momenta.append("max_momentum")
    return [
        {
            "end_step": end, "start_lr": rates[i], "end_lr": rates[i + 1],
            "start_momentum": momenta[i], "end_momentum": momenta[i + 1],
        }
        for i, end in enumerate(ends)
    ]  # fmt: skip
