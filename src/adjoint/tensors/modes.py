"""Switching gradient tracking: as a context or a decorator."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from adjoint.ir.node import state

F = TypeVar("F", bound=Callable[..., Any])


class set_grad_enabled:
    """Track gradients (or not) from here on, or inside a ``with`` block."""

    def __init__(self, mode: bool) -> None:
        self._before = state.grad
        self._mode = state.grad = bool(mode)

    def __enter__(self) -> None:
        state.grad = self._mode

    def __exit__(self, *_: object) -> None:
        state.grad = self._before


class _Mode:
    """A reusable context and decorator that sets gradient tracking to ``mode``."""

    mode = True

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(state.grad)
        state.grad = self.mode

    def __exit__(self, *_: object) -> None:
        state.grad = self._before.pop()

    def __call__(self, function: F) -> F:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_Mode):
    """Inside, nothing is remembered for derivatives: results need no gradient."""

    mode = False


class inference_mode(no_grad):
    """``no_grad`` under PyTorch's other name."""


class enable_grad(_Mode):
    """Inside, derivatives are tracked again."""


def is_grad_enabled() -> bool:
    """Whether operations are tracked for derivatives now."""
    return state.grad
