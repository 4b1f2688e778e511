"""Schedulers made of others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_integer
from adjoint.optim.lr_scheduler.base import LRScheduler, set_rate
from adjoint.optim.lr_scheduler.plateau import ReduceLROnPlateau
from adjoint.optim.optimizer import Optimizer


class ChainedScheduler(LRScheduler):
    """Several schedulers, all stepped together."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._schedulers = together("ChainedScheduler", schedulers, optimizer)
        self.optimizer = self._schedulers[0].optimizer
        self._last_lr = self._present()

    def step(self, epoch: int | None = None) -> None:
        """Step them all."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._present()

    def state_dict(self) -> dict[str, Any]:
        inner = [s.state_dict() for s in self._schedulers]
        return {**super().state_dict(), "_schedulers": inner}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})


class SequentialLR(ChainedScheduler):
    """One scheduler after another: number i + 1 begins at ``milestones[i]``."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._schedulers = together("SequentialLR", schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise errors.argument(
                "SequentialLR", f"{len(schedulers)} schedulers need {len(schedulers) - 1} "
                f"milestones, got {len(milestones)}", hint="one where each but the first begins",
            )  # fmt: skip
        self._milestones = [as_integer("SequentialLR", "milestones", m) for m in milestones]
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            set_rate(group, group["initial_lr"])
        for scheduler in _leaves(self._schedulers):
            scheduler.last_epoch -= 1  # take back their first step
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Step the one whose turn it is."""
        self.last_epoch += 1
        at = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[at]
        if at > 0 and self._milestones[at - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def together(op: str, schedulers: Any, optimizer: Any) -> list[LRScheduler]:
    """``schedulers``, which have to share one optimiser and to need no metric."""
    found = list(schedulers)
    if not found:
        raise errors.argument(op, "got no schedulers", hint="pass a list of them")
    for scheduler in found:
        if not isinstance(scheduler, LRScheduler):
            raise errors.bad_argument(op, "schedulers", scheduler, "a list of schedulers")
        if isinstance(scheduler, ReduceLROnPlateau):
            raise errors.argument(
                op, "ReduceLROnPlateau needs a loss at every step",
                hint="step it by itself, after the others",
            )  # fmt: skip
        if scheduler.optimizer is not (optimizer or found[0].optimizer):
            raise errors.argument(
                op, "the schedulers belong to different optimisers",
                hint="build all of them with the same optimizer",
            )  # fmt: skip
    return found


def _leaves(schedulers: Iterable[LRScheduler]) -> list[LRScheduler]:
    found: list[LRScheduler] = []
    for scheduler in schedulers:
        inner = getattr(scheduler, "_schedulers", None)
        found += [scheduler] if inner is None else _leaves(inner)
    return found
