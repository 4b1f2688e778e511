"""Floor 5: a Graph becomes a Program; kernels compiled for this machine.

``register`` enters them in the device table, where eager ops find them; LLVM is loaded by the
first that is used.
"""

from __future__ import annotations

from typing import Any

from adjoint.runtime.device import CPU


def register() -> None:
    """Let eager ops on the CPU use compiled kernels."""
    CPU.kernels["dot"] = _dot
    CPU.kernels["conv"] = _conv
    CPU.kernels["whole"] = _whole


def _dot(a: Any, b: Any) -> Any:
    """The compiled product, put in its place when first asked for."""
    from adjoint.compile.products import dot  # loads LLVM

    CPU.kernels["dot"] = dot
    return dot(a, b)


def _conv(*args: Any) -> Any:
    """The compiled convolution, put in its place when first asked for."""
    from adjoint.compile.convolutions import conv  # loads LLVM

    CPU.kernels["conv"] = conv
    return conv(*args)


def _whole(*args: Any) -> Any:
    """Ops and regions by their templates, put in its place when first asked for."""
    from adjoint.compile.eager_whole import whole  # loads LLVM

    CPU.kernels["whole"] = whole
    return whole(*args)
