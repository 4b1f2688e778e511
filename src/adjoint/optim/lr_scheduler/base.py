"""What all schedulers share: the count, the rates, saving, and the checks of arguments."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.optim.optimizer import Optimizer
from adjoint.optim.step import Group
from adjoint.tensors.handle import Handle
from adjoint.tensors.tensor import Tensor

_TOO_EARLY = (
    "lr_scheduler.step() came before optimizer.step(): the first learning rate is skipped. "
    "Call optimizer.step() first, or give the optimiser a schedule: lr=schedules.cosine(...)"
)


class LRScheduler:
    """Base class: ``get_lr`` gives the next rate of every group. ``last_epoch`` is the number of
    the last step, -1 before the first; when resuming, build the scheduler first and then load."""

    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = check_optimizer(type(self).__name__, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", number(group["lr"]))
            elif "initial_lr" not in group:
                raise errors.argument(
                    type(self).__name__, f"group {i} has no 'initial_lr' to resume from",
                    hint="load the optimiser's state_dict first, or leave last_epoch out",
                )  # fmt: skip
        self.base_lrs = [number(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        self.step()
        self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rate of each group at ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr")

    def get_last_lr(self) -> list[float]:
        """The rate of each group that the last ``step`` set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on by one step, or to ``epoch``. Warns when the optimiser has not made a step yet."""
        if self._step_count == 1 and not self.optimizer.was_stepped:
            warnings.warn(_TOO_EARLY, UserWarning, stacklevel=2)
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            values = self._closed_form()
        self._set(values)

    def _closed_form(self) -> list[float]:
        return self.get_lr()

    def _set(self, values: Iterable[float]) -> None:
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            set_rate(group, value)
        self._last_lr = [number(g["lr"]) for g in self.optimizer.param_groups]

    def _present(self) -> list[float]:
        return [number(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers; functions are left out."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer" and not is_function(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self.__dict__.update(state_dict)


_LRScheduler = LRScheduler


class Factor(LRScheduler):
    """A factor on the initial rate, applied as its ratio to the factor before, so that several
    schedulers (and changes by hand) multiply."""

    _waits = False  # whether the first call leaves the rate as it is

    def curve(self, step: int) -> float:
        """The factor at ``step``."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if self._is_initial and self._waits and t != 0:
            return self._present()
        now, before = self.curve(t), self.curve(t - 1) if t > 0 else 1.0
        if before == 0:
            return self._closed_form()
        return [lr if now == before else lr * (now / before) for lr in self._present()]

    def _closed_form(self) -> list[float]:
        return [base * self.curve(self.last_epoch) for base in self.base_lrs]


def check_optimizer(op: str, optimizer: Any) -> Optimizer:
    """``optimizer``, which has to be one, and whose rate has to be a number."""
    if not isinstance(optimizer, Optimizer):
        raise errors.bad_argument(op, "optimizer", optimizer, "an Optimizer")
    if any(callable(group["lr"]) for group in optimizer.param_groups):
        raise errors.argument(
            op, "the optimiser has a schedule already: its lr is a function of the step",
            hint="use one of the two: give the optimiser a number as lr",
        )  # fmt: skip
    return optimizer


def each(name: str, optimizer: Optimizer, value: Any) -> list[float]:
    """One number for each group."""
    count = len(optimizer.param_groups)
    found = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(found) != count:
        raise errors.argument(
            name, f"{count} groups need {count} values, got {len(found)}",
            hint="pass one number for all",
        )  # fmt: skip
    return [as_number("scheduler", name, v) for v in found]


def share(op: str, name: str, value: Any, positive: bool = False) -> None:
    """Raise unless ``value`` is in [0, 1] (and not 0)."""
    number = as_number(op, name, value)
    if not 0 <= number <= 1 or (positive and number == 0):
        low = "above 0" if positive else "at least 0"
        raise errors.argument(
            op, f"{name} must be {low} and at most 1, got {number}", hint="0.1, say"
        )


def set_rate(group: Group, value: float) -> None:
    """Give a group another rate (in place, if a tensor holds it)."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def number(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Handle) else value


def is_function(value: Any) -> bool:
    return isinstance(value, (types.FunctionType, types.MethodType))
