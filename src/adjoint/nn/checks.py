"""Arguments of layers that are modules or functions, checked."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_items
from adjoint.nn.module import Module


def as_module(owner: str, name: str, value: Any) -> Any:
    """``value``, which is a module. Raises DTypeError."""
    if not isinstance(value, Module):
        raise errors.bad_argument(owner, name, value, "a module")
    return value


def as_callable(owner: str, name: str, value: Any) -> Any:
    """``value``, which is a module or a function, or None. Raises DTypeError."""
    if value is not None and not callable(value):
        raise errors.bad_argument(owner, name, value, "a module or a function")
    return value


def as_list(owner: str, name: str, values: Any, kind: Any, wanted: str) -> list[Any]:
    """The items of ``values``, all of them of ``kind``. Raises DTypeError."""
    found = None if isinstance(values, str) else as_items(values)
    if found is None or not all(isinstance(v, kind) for v in found):
        raise errors.bad_argument(owner, name, values, wanted)
    return found
