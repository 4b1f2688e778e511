"""Templates: ops and regions with kernels of their own. Importing this registers them all."""

from __future__ import annotations

from adjoint.compile.templates import (
    indexing,
    pooling,
    pooling_choice,
    pooling_gradient,
    random,
)

__all__ = ["indexing", "pooling", "pooling_choice", "pooling_gradient", "random"]
