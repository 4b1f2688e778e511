"""A running average of weights, beside the weights that are trained."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_items, as_number
from adjoint.base.dtype import int64
from adjoint.ir.capture import live
from adjoint.ir.node import Node
from adjoint.nn.module import Module
from adjoint.optim.step import Ticks, later
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import wrap
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


class EMA:
    """average <- decay * average + (1 - decay) * parameter, at every ``update()``.

    of: a module, or a list of tensors. With ``warm_up`` the decay of update t = 0, 1, ... is
    min(decay, (1 + t) / (10 + t)), so that the first weights are soon forgotten. ``with
    ema.applied():`` puts the averages into the parameters. Works inside ``jit``. Source: Polyak and
    Juditsky, SIAM J. Control Optim. 1992.
    """

    def __init__(self, of: Module | Iterable[Tensor], decay: float = 0.999, warm_up: bool = False):
        if not 0 <= as_number("EMA", "decay", decay) <= 1:
            raise errors.argument(
                "EMA", f"decay must be in [0, 1], got {decay}", hint="0.999 looks back 1000 updates"
            )
        found: Any = list(of.parameters()) if isinstance(of, Module) else as_items(of)
        if not found or not all(isinstance(p, Tensor) for p in found):
            raise errors.bad_argument("EMA", "of", of, "a module or a list of tensors")
        self.parameters: list[Tensor] = found
        self.decay, self.warm_up = decay, warm_up
        self.averages = [tensor(p.detach(), dtype=p.dtype) for p in found]
        self.updates = tensor(0, dtype=int64)
        self._ticks = Ticks()

    @no_grad()
    def update(self) -> None:
        """Take the present values into the averages."""
        scales: dict[str, Any] = {}
        if self.warm_up:
            count = later(self.updates, self._ticks.now(self.updates))

            def rest() -> float:
                t = count()
                return 1 - min(self.decay, (1 + t) / (10 + t))

            for dtype in dict.fromkeys(p.dtype for p in self.parameters):
                made = live(rest, dtype)
                scales[dtype.name] = wrap(made) if isinstance(made, Node) else made
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            rest_of = scales.get(parameter.dtype.name, 1 - self.decay)
            moved = average + (parameter.detach() - average) * rest_of
            average.assign(moved.node, "update")
        self._ticks.up(self.updates)

    @contextmanager
    def applied(self) -> Generator[None]:
        """Inside, the parameters have the averages as values."""
        before = [p.detach().clone() for p in self.parameters]
        self._put(self.averages)
        try:
            yield
        finally:
            self._put(before)

    @no_grad()
    def copy_to(self) -> None:
        """Leave the averages in the parameters."""
        self._put(self.averages)

    def _put(self, values: list[Tensor]) -> None:
        with no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.assign(value.detach().clone().node, "EMA")

    def state_dict(self) -> dict[str, Any]:
        """The averages and how many updates they have seen."""
        return {"averages": [a.detach() for a in self.averages], "updates": int(self.updates)}

    @no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        for average, saved in zip(self.averages, state_dict["averages"], strict=True):
            average.assign(tensor(saved, dtype=average.dtype).node, "load_state_dict")
        self.updates.assign(tensor(state_dict["updates"], dtype=int64).node, "load_state_dict")
