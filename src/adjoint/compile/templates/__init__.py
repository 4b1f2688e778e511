"""Templates: ops and regions with kernels of their own. Importing this registers them all."""

from __future__ import annotations

from adjoint.compile.templates import (
    attention,
    attention_gradient,
    extreme,
    indexing,
    pooling,
    pooling_choice,
    pooling_gradient,
    random,
    scanning,
    searching,
    sorting,
)

__all__ = [
    "attention",
    "attention_gradient",
    "extreme",
    "indexing",
    "pooling",
    "pooling_choice",
    "pooling_gradient",
    "random",
    "scanning",
    "searching",
    "sorting",
]
