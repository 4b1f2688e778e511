"""Training or inference: the mode as a block, and a warning for inference in training mode."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adjoint.base.advice import advise
from adjoint.ir.node import state

if TYPE_CHECKING:
    from adjoint.nn.module import Module


class _Declared:
    depth = 0  # blocks of train_mode() that are open


@contextmanager
def mode(module: Module, training: bool) -> Generator[Module]:
    """``module`` in one mode inside the block; afterwards each part is in the mode it was in, also
    after an error."""
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    _Declared.depth += training
    try:
        yield module
    finally:
        _Declared.depth -= training
        for part, was in before:
            object.__setattr__(part, "training", was)


def check_mode(layer: Module) -> None:
    """Warn, once for each model, of a layer that drops or normalises by batch where gradients are
    off.

    Nothing is said inside ``train_mode()``, when the module that the user called is in ``eval()``
    (only parts of it were switched, on purpose), and when the user called the layer itself.
    """
    if not layer.training or state.grad or _Declared.depth or "_was_told" in layer.__dict__:
        return
    callers = active_modules()
    if len(callers) < 2 or not callers[0].training:
        return
    for part in callers[0].modules():
        object.__setattr__(part, "_was_told", True)
    model = type(callers[0]).__name__
    name = path_of(callers[0], layer)
    advise(
        f"{model}.{name} ({type(layer).__name__}) runs in training mode where gradients are off",
        hint="For inference: with model.eval_mode(): ..., or model.eval() before and "
        "model.train() after it. If it is meant: with model.train_mode(): ...",
    )


def active_modules() -> Sequence[Module]:
    """The modules whose calls are going on, the outermost first, as the call stack shows them."""
    from adjoint.nn.module import Module

    code = Module.__call__.__code__
    found: list[Module] = []
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is code:
            found.append(frame.f_locals["self"])
        frame = frame.f_back
    return found[::-1]


def path_of(model: Module, part: Module) -> str:
    """The dotted name of ``part`` in ``model``; an empty string when it is not found."""
    return next((name for name, module in model.named_modules() if module is part), "")
