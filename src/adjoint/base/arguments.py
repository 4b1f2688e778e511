"""Plain arguments of public functions, checked: flags, integers, numbers, functions."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from adjoint.base import errors

_LONGEST = 2**1023  # larger integers are no floats


def as_number(op: str, name: str, value: Any) -> float:
    """A Python number from a number, a NumPy scalar or a 0-d tensor. Raises DTypeError."""
    kind: object = value.__class__
    if kind is float or kind is bool:
        return value
    if kind is not int and getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, (int, float)):
        raise errors.bad_argument(op, name, value, "a number")
    if not -_LONGEST < value < _LONGEST and isinstance(value, int):
        raise errors.does_not_fit(op, value, "float64", 64, "f")
    return value


def as_integer(op: str, name: str, value: Any) -> int:
    """A Python integer of at most 64 bits from whatever is exactly one. Raises DTypeError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except (TypeError, ValueError, OverflowError):
        raise errors.bad_argument(op, name, value, "an integer") from None
    if not -(2**63) <= number < 2**63:
        raise errors.does_not_fit(op, number, "int64", 64, "i")
    return number


def as_flag(op: str, name: str, value: Any) -> bool:
    """A bool from True, False, 0, 1, or what NumPy and tensors have for them. Raises DTypeError."""
    if value is True or value is False:
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    raise errors.bad_argument(op, name, value, "True or False")


def as_choice(op: str, value: Any, choices: Iterable[str]) -> str:
    """``value``, one of the names in ``choices``. Raises ArgumentError."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise errors.unknown_name(op, value, known)
    return value


def as_items(value: Any) -> list[Any] | None:
    """The elements of whatever can be gone through, else None."""
    try:
        return list(value)
    except TypeError:
        return None


def as_function(op: str, value: Any) -> Any:
    """``value``, which can be called. Raises DTypeError."""
    if not callable(value):
        raise errors.bad_argument(op, "the first argument", value, "a function")
    return value
