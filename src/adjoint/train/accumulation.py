"""Gradient accumulation that equals the full batch: one division, by the count of all samples."""

from __future__ import annotations

from typing import Any, Protocol

from adjoint.base import errors
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


class Steps(Protocol):
    """What accumulation needs of an optimiser."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None: ...

    def step(self) -> Any: ...


class Accumulation:
    """Adds up the gradients of small batches to exactly those of one large batch.

    ``backward(loss, count)`` for each batch, where ``loss`` is the mean over ``count`` samples (or
    tokens that are not masked), then ``step()``: the gradient is sum(count * gradient) /
    sum(count), however the batches were cut, also when the last ones are smaller. Losses divided
    by the number of batches would not give this. Statistics of batch normalisation are those of
    the small batches. ``count`` may be a tensor, as ``(y != pad).sum()`` is.

    step(): divide, clip to ``max_norm`` if given, ``optimizer.step()``, ``zero_grad()``; does
    nothing without a batch. ``divide()`` does the first alone, to look at the gradients.
    """

    def __init__(self, optimizer: Steps, max_norm: float | None = None) -> None:
        self.optimizer = optimizer
        self.max_norm = max_norm
        self.count: Any = 0
        self._loss: Any = 0.0
        self._is_divided = False

    def backward(self, loss: Tensor, count: Any) -> None:
        """The backward pass of ``count * loss``. Raises ArgumentError for a negative count."""
        if self._is_divided:
            raise errors.argument(
                "Accumulation", "backward() after divide()", hint="call step() in between"
            )
        if not isinstance(count, Handle) and count < 0:
            raise errors.argument(
                "Accumulation", f"count is a number of samples, got {count}",
                hint="len(y), or the number of tokens that are not masked",
            )  # fmt: skip
        if self._is_empty:
            self.optimizer.zero_grad()
        (loss * count).backward()
        self._loss = self._loss + loss.detach() * count
        self.count = self.count + count

    @property
    def loss(self) -> Tensor:
        """The mean loss over all samples so far."""
        self._check()
        return self._loss / self.count

    def divide(self) -> None:
        """Make the gradients those of the mean over all samples."""
        self._check()
        if self._is_divided:
            return
        self._is_divided = True
        with no_grad():
            for param in self._params():
                param.grad = param.grad / self.count

    def step(self) -> Tensor | None:
        """Divide, clip, step and clear; gives the mean loss, or None without a batch."""
        if self._is_empty:
            return None
        from adjoint.nn.gradients import clip_grad_norm_

        loss = self.loss
        self.divide()
        if self.max_norm is not None:
            clip_grad_norm_(self._params(), self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.count, self._loss, self._is_divided = 0, 0.0, False
        return loss

    @property
    def _is_empty(self) -> bool:
        return not isinstance(self.count, Handle) and self.count == 0

    def _check(self) -> None:
        if self._is_empty:
            raise errors.argument(
                "Accumulation", "no batch was added", hint="backward(loss, count) first"
            )

    def _params(self) -> list[Any]:
        groups = self.optimizer.param_groups
        return [p for group in groups for p in group["params"] if p.grad is not None]
