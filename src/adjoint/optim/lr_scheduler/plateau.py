"""The scheduler that looks at the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint.optim import schedules
from adjoint.optim.lr_scheduler.base import LRScheduler, check_optimizer, each, number, set_rate
from adjoint.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """``schedules.Plateau`` for every group: ``step(loss)`` lowers the rates when the loss no
    longer improves."""

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
        min_lr: float | Sequence[float] = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        self.optimizer = check_optimizer("ReduceLROnPlateau", optimizer)
        self._watch = schedules.Plateau(
            1.0, factor, patience, threshold, threshold_mode, mode, cooldown, eps=-1.0
        )
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.min_lrs = each("min_lr", optimizer, min_lr)
        self.last_epoch = 0
        self._last_lr = self._present()

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]  # it takes a loss
        self, metrics: Any, epoch: int | None = None
    ) -> None:
        """Take note of a loss or score."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._watch.rate = 1.0
        if self._watch.report(metrics):
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                old = number(group["lr"])
                new = max(old * self.factor, least)
                if old - new > self.eps:
                    set_rate(group, new)
        self._last_lr = self._present()

    @property
    def best(self) -> float:
        """The best number so far."""
        return self._watch.best

    @property
    def num_bad_epochs(self) -> int:
        """Reports since the best one."""
        return self._watch.bad

    def state_dict(self) -> dict[str, Any]:
        watch = self._watch.state_dict()
        kept = {k: v for k, v in super().state_dict().items() if k != "_watch"}
        return {
            **kept, "best": watch["best"], "num_bad_epochs": watch["bad"],
            "cooldown_counter": watch["resting"],
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = {k: v for k, v in state_dict.items() if k in self.__dict__}
        super().load_state_dict(own)
        self._watch.load_state_dict(
            {
                "best": state_dict["best"], "bad": state_dict["num_bad_epochs"],
                "resting": state_dict["cooldown_counter"],
            }
        )  # fmt: skip
