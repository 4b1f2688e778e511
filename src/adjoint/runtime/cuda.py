"""What programs ask before they choose a device. No CUDA backend is registered, so: nothing."""

from __future__ import annotations

from adjoint.runtime.device import DEVICES


def is_available() -> bool:
    """Whether a CUDA device can be used."""
    return any(name.startswith("cuda") for name in DEVICES)


def device_count() -> int:
    """How many CUDA devices can be used."""
    return sum(name.startswith("cuda:") for name in DEVICES)
