"""Schedulers that multiply the rate by a factor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.optim import schedules
from adjoint.optim.lr_scheduler.base import Factor, LRScheduler, check_optimizer, is_function, share
from adjoint.optim.optimizer import Optimizer

Function = Callable[[int], float]


class LambdaLR(LRScheduler):
    """lr = initial lr * lr_lambda(step); one function, or one for each group."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Function | Sequence[Function], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = functions(type(self).__name__, optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * function(self.last_epoch) for base, function in pairs]

    def state_dict(self) -> dict[str, Any]:
        kept = [None if is_function(f) else dict(f.__dict__) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for function, kept in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if kept is not None:
                function.__dict__.update(kept)
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})


class MultiplicativeLR(LambdaLR):
    """lr <- lr * lr_lambda(step) at every step but the first."""

    def get_lr(self) -> list[float]:
        if self._is_initial:
            return self._present()
        pairs = zip(self._present(), self.lr_lambdas, strict=True)
        return [lr * function(self.last_epoch) for lr, function in pairs]


class StepLR(Factor):
    """lr * gamma^(step // step_size)."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, as_number("StepLR", "gamma", gamma)
        schedules.step_decay(1.0, step_size)
        super().__init__(optimizer, last_epoch)

    def curve(self, step: int) -> float:
        return schedules.step_decay(1.0, self.step_size, self.gamma)(step)


class MultiStepLR(Factor):
    """lr * gamma^(milestones reached)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.milestones, self.gamma = Counter(milestones), as_number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def curve(self, step: int) -> float:
        return schedules.multi_step(1.0, list(self.milestones.elements()), self.gamma)(step)


class ConstantLR(Factor):
    """lr * factor for the first ``total_iters`` steps."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        share("ConstantLR", "factor", factor)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def curve(self, step: int) -> float:
        return self.factor if step < self.total_iters else 1.0


class LinearLR(Factor):
    """lr * (start_factor, rising linearly to end_factor in ``total_iters`` steps)."""

    _waits = True

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0,
        total_iters: int = 5, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        share("LinearLR", "start_factor", start_factor, positive=True)
        share("LinearLR", "end_factor", end_factor)
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        schedules.linear(1.0, 1.0, total_iters)
        super().__init__(optimizer, last_epoch)

    def curve(self, step: int) -> float:
        return schedules.linear(self.start_factor, self.end_factor, self.total_iters)(step)


class ExponentialLR(Factor):
    """lr * gamma^step."""

    _waits = True

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = as_number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def curve(self, step: int) -> float:
        return self.gamma**step

    def get_lr(self) -> list[float]:
        if self._is_initial:
            return self._present()
        return [lr * self.gamma for lr in self._present()]


class PolynomialLR(Factor):
    """lr * (1 - step / total_iters)^power, then 0."""

    _waits = True

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters, self.power = total_iters, as_number("PolynomialLR", "power", power)
        schedules.polynomial(1.0, total_iters)
        super().__init__(optimizer, last_epoch)

    def curve(self, step: int) -> float:
        return schedules.polynomial(1.0, self.total_iters, self.power)(step)

    def get_lr(self) -> list[float]:
        return self._present() if self.last_epoch > self.total_iters else super().get_lr()


def functions(op: str, optimizer: Any, given: Any) -> list[Any]:
    """One function for each group."""
    count = len(check_optimizer(op, optimizer).param_groups)
    found = list(given) if isinstance(given, (list, tuple)) else [given] * count
    if len(found) != count:
        raise errors.argument(
            op, f"{count} groups need {count} functions, got {len(found)}",
            hint="pass one function for all",
        )  # fmt: skip
    for function in found:
        if not callable(function):
            raise errors.bad_argument(op, "lr_lambda", function, "a function of the step")
    return found
