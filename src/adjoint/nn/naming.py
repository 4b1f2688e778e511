"""Where in a model an error happened: ``Net.head[2]: Linear(in_features=64, ...)``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from adjoint.base.errors import AdjointError

if TYPE_CHECKING:
    from adjoint.nn.module import Module


def place_error(error: AdjointError, module: Module) -> None:
    """Note that ``error`` passed through ``module`` on its way out; called from the inside out."""
    trail: list[Any] = error.__dict__.setdefault("modules", [])
    if not trail or trail[-1] is not module:
        trail.append(module)
    innermost = trail[0]
    label = f"{type(innermost).__name__}(...)"
    if not innermost._modules:
        with contextlib.suppress(ValueError):  # Python does not print huge integers
            label = repr(innermost)
    path = type(module).__name__
    for outer, inner in zip(reversed(trail[1:]), reversed(trail[:-1]), strict=True):
        path += _step(outer, inner)
    error.module_path = f"in {label}" if len(trail) == 1 else f"in {path}: {label}"


def _step(outer: Module, inner: Module) -> str:
    for name, module in outer.named_modules():
        if module is inner:
            parts = name.split(".")
            return "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in parts)
    return f".<{type(inner).__name__}>"
