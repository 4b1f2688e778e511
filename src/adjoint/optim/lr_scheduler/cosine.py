"""Cosine annealing, without and with restarts."""

from __future__ import annotations

import math

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.optim import schedules
from adjoint.optim.lr_scheduler.base import LRScheduler
from adjoint.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """eta_min + (lr - eta_min) (1 + cos(pi step / T_max)) / 2; it rises again after ``T_max``."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max, self.eta_min = T_max, as_number("CosineAnnealingLR", "eta_min", eta_min)
        schedules.cosine(1.0, T_max)
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        return (1 + math.cos(math.pi * step / self.T_max)) / 2

    def get_lr(self) -> list[float]:
        t, low = self.last_epoch, self.eta_min
        if self._is_initial:
            return self._present()
        if self._step_count == 1 and t > 0:
            return self._closed_form()
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # just after the lowest point
            pairs = zip(self._present(), self.base_lrs, strict=True)
            return [lr + (base - low) * (1 - self._share(1)) for lr, base in pairs]
        ratio = self._share(t) / self._share(t - 1)
        return [ratio * (lr - low) + low for lr in self._present()]

    def _closed_form(self) -> list[float]:
        low = self.eta_min
        return [low + (base - low) * self._share(self.last_epoch) for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine from lr to ``eta_min`` over T_0 steps, again over T_0 * T_mult, and so on. ``step``
    takes a fractional epoch too."""

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        schedules.cycles(T_0, T_mult)
        self.T_0, self.T_i, self.T_mult = T_0, T_0, T_mult
        self.eta_min = as_number("CosineAnnealingWarmRestarts", "eta_min", eta_min)
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        curve = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * curve for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on by one step, or to ``epoch``, which may be a fraction."""
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            self.T_cur, self.T_i = self._place(epoch)
        self._step_count += 1
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _place(self, epoch: float) -> tuple[float, int]:
        if epoch < 0:
            raise errors.argument(
                "step", f"an epoch is not negative, got {epoch}", hint="0 is first"
            )
        whole = math.floor(epoch)
        at, length = schedules.cycles(self.T_0, self.T_mult)(whole)
        return at + (epoch - whole), length

    def _update_lr(self, epoch: int | None = None) -> None:
        self.step(epoch)
