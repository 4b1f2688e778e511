"""What networks are written with. Adjoint has PyTorch's names, so one text serves both.

JAX has no such names: its networks are in ``jax_networks.py``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from bench import libraries


@dataclass(frozen=True)
class Kit:
    """A library, its layers and its functions, under PyTorch's names."""

    lib: Any
    nn: Any = None
    F: Any = None


def kit_of(library: str) -> Kit:
    """The kit of one of the libraries that have PyTorch's names, or of NumPy without layers."""
    package = libraries.PACKAGES[library]
    lib = importlib.import_module(package)
    if library == libraries.NUMPY:
        return Kit(lib)
    nn = importlib.import_module(f"{package}.nn")
    return Kit(lib, nn, nn.functional)
