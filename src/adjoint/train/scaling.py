"""Loss scaling for float16: gradients too small for the type are multiplied up, and back."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.ir.node import state
from adjoint.ir.reverse import reachable
from adjoint.nn.scaled import SCALERS
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


class GradScaler:
    """``scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()``.

    The loss is multiplied by a scale, and the gradients are divided by it before the step; a step
    whose gradients are not finite is left out, and the scale multiplied by ``backoff_factor``;
    after ``growth_interval`` good steps it is multiplied by ``growth_factor``. To clip, call
    ``unscale_(optimizer)`` first: ``nn.utils.clip_grad_norm_`` refuses gradients that are still
    scaled. bfloat16 needs no scaler. ``skipped``: how many steps were left out.
    Source: Micikevicius et al., "Mixed precision training", ICLR 2018.
    """

    def __init__(
        self, device: str = "cpu", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if init_scale <= 0 or growth_factor <= 1 or not 0 < backoff_factor < 1:
            raise errors.argument(
                "GradScaler",
                "needs init_scale > 0, growth_factor > 1 and backoff_factor in (0, 1)",
                hint="the defaults are 65536, 2 and 0.5",
            )  # fmt: skip
        self._scale = float(init_scale)
        self._growth = growth_factor
        self._backoff = backoff_factor
        self._interval = growth_interval
        self._enabled = enabled
        self._good = 0
        self.skipped = 0
        self._owners: dict[int, weakref.ref[Any]] = {}  # of gradients that are scaled now
        self._finite: dict[int, bool] = {}  # of the optimisers that were unscaled
        SCALERS.add(self)

    def scale(self, outputs: Tensor) -> Tensor:
        """``outputs`` times the scale. Raises RecordingError inside ``jit``: whether a step is
        left out depends on values."""
        if not self._enabled:
            return outputs
        if state.capture is not None:
            raise errors.build(
                errors.RecordingError, "GradScaler: cannot be captured, it looks at values",
                hint="use bfloat16, which needs no scaler, or leave the scaler out of jit",
            )  # fmt: skip
        for node in reachable([outputs.node]):
            if node.leaf is not None:
                self._owners[id(node.leaf())] = node.leaf
        return outputs * self._scale

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of ``optimizer`` by the scale. Raises ArgumentError the second time
        before ``update()``."""
        if not self._enabled:
            return
        if id(optimizer) in self._finite:
            raise errors.argument(
                "unscale_", "the gradients of this optimiser are unscaled already",
                hint="call scaler.update() after each step",
            )  # fmt: skip
        finite = True
        with no_grad():
            for param in (p for g in optimizer.param_groups for p in g["params"]):
                self._owners.pop(id(param), None)
                if param.grad is not None:
                    param.grad = (param.grad.float() / self._scale).to(param.grad.dtype)
                    finite = finite and bool(np.isfinite(param.grad.numpy()).all())
        self._finite[id(optimizer)] = finite

    def step(self, optimizer: Any) -> Any:
        """``optimizer.step()`` if all its gradients are finite; unscales them if need be."""
        if not self._enabled:
            return optimizer.step()
        if id(optimizer) not in self._finite:
            self.unscale_(optimizer)
        if self._finite[id(optimizer)]:
            return optimizer.step()
        self.skipped += 1
        return None

    def update(self, new_scale: float | None = None) -> None:
        """Lower the scale after a step with gradients that were not finite, or let it grow."""
        if not self._enabled:
            return
        if not self._finite:
            raise errors.argument(
                "GradScaler.update", "no step was made", hint="call scaler.step(optimizer) first"
            )
        good = all(self._finite.values())
        self._good = self._good + 1 if good else 0
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not good:
            self._scale *= self._backoff
        elif self._good == self._interval:
            self._scale, self._good = self._scale * self._growth, 0
        self._owners.clear()
        self._finite.clear()

    def get_scale(self) -> float:
        """The scale now; 1 when switched off."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def is_scaled(self, param: Any) -> bool:
        """Whether the gradient of ``param`` is multiplied by the scale now."""
        owner = self._owners.get(id(param))
        return owner is not None and owner() is param

    def state_dict(self) -> dict[str, Any]:
        """The scale and how it changes, under PyTorch's names."""
        return {
            "scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
            "growth_interval": self._interval, "_growth_tracker": self._good,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict()``, or PyTorch's."""
        self._scale = float(state_dict["scale"])
        self._growth = state_dict["growth_factor"]
        self._backoff = state_dict["backoff_factor"]
        self._interval = state_dict["growth_interval"]
        self._good = state_dict["_growth_tracker"]
