"""Which gradients are still multiplied by a loss scale, so that nothing reads them as they are."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Protocol

from adjoint.base import errors


class Scaler(Protocol):
    """A loss scaler: says of which parameters the gradients are scaled now."""

    def is_scaled(self, param: Any) -> bool: ...


SCALERS: weakref.WeakSet[Any] = weakref.WeakSet()


def refuse_scaled(op: str, params: Iterable[Any]) -> None:
    """Raise GradError when a gradient is still multiplied by a loss scale."""
    if not SCALERS:
        return
    for param in params:
        if any(scaler.is_scaled(param) for scaler in SCALERS):
            raise errors.grad(
                f"{op}: the gradients are still multiplied by the loss scale",
                hint="call scaler.unscale_(optimizer) before it",
            )
