"""Devices: where a value lives, and who runs an op there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint.base import errors


class Device:
    """A place for values: ``cpu`` (NumPy arrays) or ``meta`` (shapes without memory).

    Devices are singletons, compared with ``is``. ``device("cpu")`` finds one by name.
    kernels: faster ways to compute what an op means, by name; the compiler enters them.
    """

    __slots__ = ("holds_values", "index", "kernels", "type")

    def __init__(self, kind: str, index: int | None = None, holds_values: bool = True) -> None:
        self.type = kind
        self.index = index
        self.holds_values = holds_values
        self.kernels: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"device(type='{self}')"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return other is self or (isinstance(other, str) and other in (str(self), self.type))

    def __hash__(self) -> int:
        return hash(str(self))


CPU = Device("cpu")
META = Device("meta", holds_values=False)
DEVICES: dict[str, Device] = {"cpu": CPU, "cpu:0": CPU, "meta": META}


def device(name: object) -> Device:
    """The device called ``name``; raises ArgumentError for one this machine does not have."""
    if isinstance(name, Device):
        return name
    found = DEVICES.get(name) if isinstance(name, str) else None
    if found is None:
        raise errors.unknown_name("device", name, DEVICES)
    return found
