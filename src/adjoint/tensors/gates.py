"""A gate: tensors pass as they are, and their gradients are shown to a function on the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjoint.tensors.function import Context, Function
from adjoint.tensors.handle import Handle

Shown = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def through(tensors: Sequence[Handle], show: Shown) -> tuple[Any, ...]:
    """``tensors``, behind which ``show(gradients)`` is called once with all their gradients (zeros
    where there is none); what it returns goes on."""
    made = _Gate.apply(show, *tensors)
    return made if isinstance(made, tuple) else (made,)


class _Gate(Function):
    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        show, *tensors = args
        ctx.show = show  # type: ignore[attr-defined]
        return tuple(tensors) if len(tensors) > 1 else tensors[0]

    @staticmethod
    def backward(ctx: Context, *gradients: Any) -> Any:
        return (None, *ctx.show(gradients))  # type: ignore[attr-defined]
