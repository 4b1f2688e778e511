"""``torch.accelerator``'s questions: is there a device faster than the CPU, and which one."""

from __future__ import annotations

from adjoint.runtime import cuda
from adjoint.runtime.device import Device, device


def is_available() -> bool:
    """Whether an accelerator can be used."""
    return cuda.is_available()


def current_accelerator() -> Device | None:
    """The accelerator in use, or None."""
    return device("cuda") if cuda.is_available() else None
