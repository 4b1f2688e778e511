"""Averages of weights under PyTorch's names: a second model that holds them.

Source: Izmailov et al., UAI 2018. A net with batch normalisation needs ``update_bn`` afterwards:
its running statistics belong to the weights they were collected with.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_integer, as_number
from adjoint.base.dtype import int64
from adjoint.nn.module import Module
from adjoint.optim.lr_scheduler.base import LRScheduler, check_optimizer, each, number
from adjoint.optim.optimizer import Optimizer
from adjoint.tensors.arithmetic import where
from adjoint.tensors.creation import tensor
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor

Average = Callable[[Tensor, Tensor, Tensor], Tensor]
MultiAverage = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """decay * average + (1 - decay) * parameter, for ``AveragedModel(avg_fn=...)``."""
    _check_decay(decay)
    return lambda average, current, count: average * decay + current * (1 - decay)


def get_swa_avg_fn() -> Average:
    """average + (parameter - average) / (count + 1): the mean of all so far."""
    return lambda average, current, count: (
        average + (current - average) / (count + 1).to(average.dtype)
    )


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """As ``get_ema_avg_fn``, for lists of tensors, changed in place."""
    return _for_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> MultiAverage:
    """As ``get_swa_avg_fn``, for lists of tensors, changed in place."""
    return _for_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of ``model`` whose parameters are averages of those it is shown.

    ``update_parameters(model)``: the first call copies, later ones apply ``avg_fn(average, current,
    count)`` or ``multi_avg_fn`` to all (by default the mean). ``use_buffers`` averages the buffers
    too, else they are copied. The averages stand under ``module.`` in the ``state_dict``.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, Module):
            raise errors.bad_argument("AveragedModel", "model", model, "a module")
        if avg_fn is not None and multi_avg_fn is not None:
            raise errors.argument(
                "AveragedModel", "got avg_fn and multi_avg_fn", hint="pass one of the two"
            )
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor(0, dtype=int64))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the present weights of ``model`` into the averages."""
        mine: list[Tensor] = [*self.module.parameters()]
        theirs: list[Tensor] = [*model.parameters()]
        if self.use_buffers:
            mine, theirs = [*mine, *self.module.buffers()], [*theirs, *model.buffers()]
        self._average(mine, [t.detach() for t in theirs])
        first = self.n_averaged == 0
        for average, current in zip(mine, theirs, strict=True):
            _assign(average, where(first, current.detach(), average.detach()))
        if not self.use_buffers:
            for mine_one, one in zip(self.module.buffers(), model.buffers(), strict=True):
                _assign(mine_one, one.detach().clone())
        self.n_averaged += 1

    def _average(self, mine: list[Tensor], theirs: list[Tensor]) -> None:
        if self.multi_avg_fn is not None:
            self.multi_avg_fn(mine, theirs, self.n_averaged)
            return
        function = self.avg_fn or get_swa_avg_fn()
        for average, current in zip(mine, theirs, strict=True):
            _assign(average, function(average.detach(), current, self.n_averaged))


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Collect the running statistics of batch normalisation anew, as plain averages over ``loader``
    (whose batches are inputs, or lists that begin with them). Modes and momenta stay as they were.
    """
    norms = [m for m in model.modules() if hasattr(m, "reset_running_stats")]
    if not norms:
        return
    was, momenta = model.training, [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    try:
        for batch in loader:
            model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(was)


class SWALR(LRScheduler):
    """From the present rate to ``swa_lr`` in ``anneal_epochs`` steps, then constant."""

    def __init__(
        self, optimizer: Optimizer, swa_lr: float | Sequence[float], anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer("SWALR", optimizer)
        rates = each("swa_lr", optimizer, swa_lr)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        as_choice("SWALR anneal_strategy", anneal_strategy, ["cos", "linear"])
        if as_integer("SWALR", "anneal_epochs", anneal_epochs) < 0:
            raise errors.argument(
                "SWALR", f"anneal_epochs cannot be negative, got {anneal_epochs}", hint="0: at once"
            )
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[float]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        found = []
        for group in self.optimizer.param_groups:
            rate, goal = number(group["lr"]), group["swa_lr"]
            start = goal if before == 1 else (rate - before * goal) / (1 - before)
            found.append(goal * now + start * (1 - now))
        return found


def _for_lists(function: Average) -> MultiAverage:
    @no_grad()
    def update(averages: Sequence[Tensor], current: Sequence[Tensor], count: Tensor) -> None:
        for average, one in zip(averages, current, strict=True):
            _assign(average, function(average.detach(), one, count))

    return update


def _assign(old: Tensor, value: Tensor) -> None:
    old.assign(value.node if value.dtype is old.dtype else value.to(old.dtype).node, "average")


def _check_decay(decay: Any) -> None:
    if not 0 <= as_number("get_ema_avg_fn", "decay", decay) <= 1:
        raise errors.argument(
            "get_ema_avg_fn", f"decay must be in [0, 1], got {decay}", hint="0.999, say"
        )
